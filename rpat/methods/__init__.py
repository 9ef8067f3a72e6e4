"""One training objective a file; the file is found by the name of its knobs in `rpat.config`."""
