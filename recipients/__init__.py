"""Who it is for: a list wherever it lies, read row by row, each usable or removed with its reason."""
