"""Failed runs that are queued again by themselves, as often as was allowed."""

from __future__ import annotations

import sqlite3
from typing import Any

from rpat_tui.store.db import transaction
from rpat_tui.store.queue import move

HOPELESS = ("config", "nan", "data", "weights", "import", "checkpoint")
"""Reasons that would be the same the next time."""


def retry(db: sqlite3.Connection, n: int, attempt: dict[str, Any]) -> bool:
    """Queue a run that has just failed again, where it may be; returns whether it is queued.

    It goes on from its last checkpoint. A reason that cannot go away by itself is not tried again.
    """
    state, reason, retries, retried = db.execute(
        "select state, reason, retries, retried from runs where n = ?", (n,)
    ).fetchone()
    if state != "failed" or retried >= retries or attempt.get("error_reason") in HOPELESS:
        return False
    with transaction(db):
        db.execute("update runs set retried = retried + 1 where n = ?", (n,))
        move(db, n, "queued", f"try {retried + 2} of {retries + 1} after: {reason}")
    return True
