"""What goes on the wire: one file a dialect, pure building and reading, and the two drivers that run it."""
