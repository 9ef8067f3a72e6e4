"""The user's folders, where the XDG base directory specification puts them.

A variable that names no absolute path does not count, as the specification says.
"""

from __future__ import annotations

import os
from pathlib import Path

_USUAL = {"CONFIG": "~/.config", "DATA": "~/.local/share", "STATE": "~/.local/state"}


def config() -> Path:
    """Return the folder for settings and themes."""
    return _folder("CONFIG")


def data() -> Path:
    """Return the folder for runs."""
    return _folder("DATA")


def state() -> Path:
    """Return the folder for what one machine remembers."""
    return _folder("STATE")


def _folder(kind: str) -> Path:
    named = Path(os.environ.get(f"XDG_{kind}_HOME", ""))
    return (named if named.is_absolute() else Path(_USUAL[kind]).expanduser()) / "rpat"
