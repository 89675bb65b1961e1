"""What a person looks at: artifacts, pages, charts, events and exports."""
