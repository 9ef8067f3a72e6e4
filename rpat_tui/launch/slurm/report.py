"""What people are told of a run's job, from what is stored; Slurm is not asked here."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

from rpat_tui.home import settings
from rpat_tui.store import submissions


def job(db: sqlite3.Connection, n: int) -> dict[str, Any] | None:
    """Return a run's newest job as plain values with stable keys; None without one."""
    found = submissions.newest(db, n)
    if found is None:
        return None
    return {
        "job": found.job or None, "name": found.name, "said": found.said, "why": found.why,
        "node": found.node or None, "submission": found.number,
        "age_s": None if found.seen is None else round(time.time() - found.seen, 1),
    }  # fmt: skip


def lines(db: sqlite3.Connection, n: int) -> list[str]:
    """Return where the cluster stands with a run, the strongest first."""
    from rpat_tui.launch.slurm.side import silence

    found = []
    if quiet := silence(db):
        minutes = (time.time() - quiet["since"]) / 60
        found.append(f"Slurm has not answered for {minutes:.0f} min: {quiet['why']}")
    current = submissions.current(db, n)
    if current is None:
        return [*found, *_flight(db, n)]
    if not current.job:
        return [*found, "it is being submitted"]
    where = f" on {current.node}" if current.node and current.said != "PENDING" else ""
    why = f" ({current.why})" if current.why else ""
    age = "" if current.seen is None else f", {time.time() - current.seen:.0f} s ago"
    said = f": {current.said}{why}{where}{age}" if current.said else ""
    return [*found, f"Slurm job {current.job}{said}"]


def _flight(db: sqlite3.Connection, n: int) -> list[str]:
    """Return which limit keeps a run from being submitted, if one does."""
    limit = int(settings()["launcher.slurm.in_flight"].value)
    counts = submissions.in_flight(db)
    sweep, resources = db.execute("select sweep, resources from runs where n = ?", (n,)).fetchone()
    own = int(json.loads(resources).get("in_flight") or 0)
    if limit and counts[""] >= limit:
        return [f"{counts['']} jobs are with Slurm: launcher.slurm.in_flight allows no more"]
    if own and counts.get(sweep, 0) >= own:
        return [f"{counts[sweep]} jobs of {sweep} are with Slurm: --in-flight allows no more"]
    return ["it is not submitted yet"]
