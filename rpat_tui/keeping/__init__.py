"""Housekeeping: labels, archive and trash, disk use and pruning, bundles between homes."""
