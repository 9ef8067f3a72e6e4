"""States, the moves between them, and taking the next run: intent, kept in the database.

    queued → starting → running → done
                               ↘ failed, stopped, paused, lost

Every move writes a row with its reason and evidence. `lost` is not final: evidence moves it on.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

from rpat.errors import StoreError
from rpat.identity import Identity

OPEN = ("starting", "running", "pausing", "lost")
"""A process may exist."""

FINAL = ("done", "failed", "stopped")
"""Nothing happens any more unless a person asks."""

BLOCKED = (
    "(state = 'queued' and exists (select 1 from dependencies d "
    "left join runs r on r.uid = d.needs where d.run = runs.n "
    "and (r.state is null or r.state in ('failed', 'stopped', 'paused'))))"
)
"""Waits for a run that will not end by itself: nothing happens until a person acts on that one."""

DUE = (
    "(kind = 'train' and state = 'done' and wants <> '' "
    "and not exists (select 1 from evaluations e where e.run = runs.n and e.attack = wants) "
    "and not exists (select 1 from runs c, json_each(c.config, '$.attacks') a "
    "join tags t on t.run = c.n and t.tag = 'automatic' "
    "where c.parent = runs.uid and a.value = runs.wants))"
)
"""Has ended and still waits for the evaluation that it asked for; the worker queues that."""

_ENDS = {"done", "failed", "stopped", "paused", "lost", "queued"}

MOVES: dict[str, set[str]] = {
    "queued": {"starting", "stopped"},
    "starting": {"running", "pausing", *_ENDS},
    "running": {"pausing", *_ENDS},
    "pausing": {"running", *_ENDS},
    "lost": {"starting", "running", "pausing", *_ENDS},
    "paused": {"queued", "stopped"},
    "done": set(),
    "failed": {"queued"},
    "stopped": {"queued"},
}


def move(
    db: sqlite3.Connection,
    run: int,
    new: str,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    *,
    t: float | None = None,
) -> bool:
    """Move a run to another state and write why; the caller holds a transaction.

    Returns whether anything changed: the same state and reason again is no move. Raises
    `StoreError` for a move that is not in `MOVES`.
    """
    old, old_reason = db.execute("select state, reason from runs where n = ?", (run,)).fetchone()
    if (old, old_reason) == (new, reason):
        return False
    if old != new and new not in MOVES[old]:
        raise StoreError(f"run {name_of(run)} is {old} and cannot become {new}")
    now = time.time() if t is None else t
    changes: dict[str, Any] = {"state": new, "reason": reason}
    if new == "queued":
        changes |= {"slot": "", "ended": None}
    elif new in FINAL or new == "paused":
        changes |= {"ended": now, "slot": ""}
    sets = ", ".join(f"{column} = :{column}" for column in changes)
    db.execute(f"update runs set {sets} where n = :n", {**changes, "n": run})
    db.execute(
        "insert into transitions (run, old, new, t, reason, evidence) values (?, ?, ?, ?, ?, ?)",
        (run, old, new, now, reason, json.dumps(dict(evidence or {}))),
    )
    return True


def take(
    db: sqlite3.Connection, slot: str, kinds: tuple[str, ...], worker: Identity
) -> tuple[int, str] | None:
    """Take the next queued run whose device is one of `kinds`; the caller holds a transaction.

    Higher priority first, then the older run. Returns its number and id.
    """
    marks = ", ".join("?" for _ in kinds)
    row = db.execute(
        f"select n, id, attempt from runs where state = 'queued' and device in ({marks}) "
        "and not exists (select 1 from dependencies d left join runs r on r.uid = d.needs "
        "where d.run = runs.n and (r.state is null or r.state <> 'done')) "
        "order by priority desc, n limit 1",
        kinds,
    ).fetchone()
    if row is None:
        return None
    evidence = {"worker": dict(worker), "slot": slot, "after_attempt": row[2]}
    move(db, row[0], "starting", "", evidence)
    db.execute(
        "update runs set slot = ?, started = coalesce(started, ?) where n = ?",
        (slot, time.time(), row[0]),
    )
    db.execute("delete from launches where run = ?", (row[0],))
    return row[0], row[1]


def launched(db: sqlite3.Connection, run: int, process: Identity) -> None:
    """Remember the attendant that was started for a run."""
    db.execute(
        "insert or replace into launches values (?, ?, ?, ?, ?, ?)",
        (run, process["host"], process["boot"], process["pid"], process["started"], time.time()),
    )


def busy_slots(db: sqlite3.Connection) -> set[str]:
    """Return the slots whose runs may still have a process."""
    marks = ", ".join("?" for _ in OPEN)
    rows = db.execute(f"select slot from runs where state in ({marks}) and slot <> ''", OPEN)
    return {slot for (slot,) in rows}


def work_left(db: sqlite3.Connection) -> bool:
    """Return whether a run can be started, now or soon, or may have a process."""
    marks = ", ".join("?" for _ in ("queued", *OPEN))
    row = db.execute(
        f"select 1 from runs where (state in ({marks}) and not {BLOCKED}) or {DUE} limit 1",
        ("queued", *OPEN),
    ).fetchone()
    return row is not None


def name_of(run: int) -> str:
    """Return the id of a run's number."""
    return f"r{run:04d}"
