"""Which launcher a run belongs to."""

from __future__ import annotations

import sqlite3

from rpat_tui.home import Home
from rpat_tui.launch.launcher import SLURM, Launcher
from rpat_tui.launch.local import Local
from rpat_tui.launch.slurm.side import Slurm
from rpat_tui.store.queue import launcher_of


def side_of(home: Home, db: sqlite3.Connection, n: int) -> Launcher:
    """Return the place where a run executes, to pass requests on."""
    return Slurm(home) if launcher_of(db, n) == SLURM else Local(home)
