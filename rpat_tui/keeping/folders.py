"""The folder in a job's config: where its run lies in this home. Ids may change, uids do not."""

from __future__ import annotations

import sqlite3

from rpat.rundir import RunDir, read_json, write_json
from rpat_tui.home import Home
from rpat_tui.store import carry
from rpat_tui.store.db import transaction
from rpat_tui.store.queue import name_of


def mend(home: Home, db: sqlite3.Connection) -> None:
    """Let every job name the folder that its run has here; its identity is without it."""
    for n, folder in carry.folders(db):
        run = RunDir(home.runs / name_of(n))
        with transaction(db):
            job = read_json(run.config)
            job["config"]["subject"]["folder"] = folder
            write_json(run.config, job)
            carry.mark(db, n, imported=carry.facts(db, n)["imported"], config=job["config"])
