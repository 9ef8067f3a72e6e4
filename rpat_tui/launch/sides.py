"""Which launcher a run belongs to."""

from __future__ import annotations

import sqlite3

from rpat_tui.home import Home
from rpat_tui.launch.launcher import Launcher
from rpat_tui.launch.local import Local


def side_of(home: Home, db: sqlite3.Connection, n: int) -> Launcher:
    """Return the place where a run executes, to pass requests on."""
    return Local(home)
