"""Other machines' homes beside this one: their journals mirrored, one view, acts over the link."""
