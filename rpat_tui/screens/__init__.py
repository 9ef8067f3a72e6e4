"""One screen per file: layout, keys, messages; what they show is read, what they do is an act."""
