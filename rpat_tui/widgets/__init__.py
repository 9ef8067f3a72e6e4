"""Pieces of screens that are used by two screens or more. Nothing here reads or decides."""
