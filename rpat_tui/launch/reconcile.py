"""Journals and processes into true states, run after run; and what tables report kept up to date.

The worker calls `reconcile` each second; a reading command calls it when no worker lives. It may
run anywhere and at any time. Where nothing has changed it imports none of what judges runs.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from rpat_tui.home import Home
from rpat_tui.launch.locks import held
from rpat_tui.store import pooled, queries

if TYPE_CHECKING:
    from rpat_tui.launch.stuck import Watch

KEEPING = 0.2
"""Seconds in which what tables report is kept up to date; the rest waits for the next call."""


def reconcile(
    home: Home,
    db: sqlite3.Connection,
    *,
    seconds: float = float("inf"),
    watch: Watch | None = None,
    clusters: bool = True,
) -> bool:
    """Bring the database up to date with the run directories and the processes.

    `watch` is the memory of a process that looks again and again: it finds runs that are stuck.
    Runs on a cluster are left out without `clusters`: nothing new is known of them.
    Returns False when another process is at it, or when `seconds` ran out before the last run.
    """
    deadline = time.monotonic() + seconds
    with held(home.ingest_lock) as free:
        if not free:
            return False
        present = queries.open_runs(db, submitted=True)
        if watch is not None:
            watch.forget({run["id"] for run in present})
        for run in present:
            from rpat_tui.launch.settle import settle  # needs much that judges processes

            if time.monotonic() > deadline:
                return False
            if clusters or not run["launcher"]:
                settle(home, db, run, watch)
        if not pooled.is_current(db):
            from rpat_tui import pools  # a command that finds nothing new needs no statistics

            pools.keep(db, until=min(deadline, time.monotonic() + KEEPING))
    return True
