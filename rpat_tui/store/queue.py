"""States, the moves between them, and taking the next run: intent, kept in the database.

    queued → starting → running → done
                               ↘ failed, stopped, paused, lost

Every move writes a row with its reason and evidence. `lost` is not final: evidence moves it on.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rpat.errors import StoreError
from rpat_tui.store.belonging import bump

if TYPE_CHECKING:
    from rpat.identity import Identity

ALL = "*"
"""The place of a hold on everything."""

ORDER = "priority desc, rank is null, rank, n"
"""The order of the queue: ranks are given to what people have moved."""

_FREE = (
    "state = 'queued' and not held and not exists (select 1 from dependencies d "
    "left join runs p on p.uid = d.needs "
    "where d.run = runs.n and (p.state is null or p.state <> 'done'))"
)

READY = f"({_FREE} and launcher = '')"
"""Could start on this machine if there was a place for it."""

SUBMITTABLE = (
    f"({_FREE} and launcher = 'slurm' and not exists "
    "(select 1 from submissions s where s.run = runs.n and s.closed is null))"
)
"""Could be given to the cluster."""

FOLLOWED = "(state <> 'over' and (closed is null or closed > strftime('%s', 'now') - 3600))"
"""A submission whose job may still exist; one that nobody wants is not followed for ever."""

OPEN = ("starting", "running", "pausing", "lost")
"""A process may exist."""

FINAL = ("done", "failed", "stopped")
"""Nothing happens any more unless a person asks."""

ENDED_BADLY = ("failed", "lost", "stopped")
"""A person wants to know why."""

BLOCKED = (
    "(state = 'queued' and exists (select 1 from dependencies d "
    "left join runs r on r.uid = d.needs where d.run = runs.n "
    "and (r.state is null or r.state in ('failed', 'stopped', 'paused'))))"
)
"""Waits for a run that will not end by itself: nothing happens until a person acts on that one."""

DUE = (
    "(kind = 'train' and state = 'done' and wants <> '' and imported = '' "
    "and not exists (select 1 from evaluations e where e.run = runs.n and e.attack = wants) "
    "and not exists (select 1 from runs c, json_each(c.config, '$.attacks') a "
    "join tags t on t.run = c.n and t.tag = 'automatic' "
    "where c.parent = runs.uid and a.value = runs.wants))"
)
"""Has ended and still waits for the evaluation that it asked for; the worker queues that."""

_ENDS = {"done", "failed", "stopped", "paused", "lost", "queued"}

MOVES: dict[str, set[str]] = {
    "queued": {"starting", "stopped", "paused"},
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
    if old not in OPEN:
        bump(db)  # somebody's decision: no journal tells of it
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
    db: sqlite3.Connection,
    slot: str,
    kinds: tuple[str, ...],
    worker: Identity,
    *,
    card: str = "",
    only: int | None = None,
) -> tuple[int, str] | None:
    """Take the next queued run whose device is one of `kinds`; the caller holds a transaction.

    Higher priority first, then the order of the queue. Runs that are held back, that wait for
    others, or whose place is on hold (`card` names the card of a slot) stay. `only` is the run that
    was chosen for the slot. Returns its number and id.
    """
    places = [ALL, slot, card or slot]
    if db.execute("select 1 from holds where place in (?, ?, ?)", places).fetchone():
        return None
    marks = ", ".join("?" for _ in kinds)
    row = db.execute(
        f"select n, id, attempt from runs where {READY} and device in ({marks}) "
        "and n = coalesce(?, n) "
        f"order by {ORDER} limit 1",
        (*kinds, only),
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


def any_ready(db: sqlite3.Connection) -> bool:
    """Return whether a run could start if there was a place for it."""
    return db.execute(f"select 1 from runs where {READY} limit 1").fetchone() is not None


def waiting(db: sqlite3.Connection) -> list[int]:
    """Return the queued runs in the order in which they would be taken."""
    return [n for (n,) in db.execute(f"select n from runs where state = 'queued' order by {ORDER}")]


def set_priority(db: sqlite3.Connection, run: int, priority: int) -> None:
    """Give a run another priority; it goes behind the runs that have it already."""
    db.execute("update runs set priority = ?, rank = null where n = ?", (priority, run))


def launcher_of(db: sqlite3.Connection, run: int) -> str:
    """Return which launcher a run belongs to; '' is this machine."""
    return str(db.execute("select launcher from runs where n = ?", (run,)).fetchone()[0])


def place_of(db: sqlite3.Connection, run: int) -> tuple[str, dict[str, str]]:
    """Return which launcher a run belongs to, and what it asks of a cluster."""
    launcher, resources = db.execute(
        "select launcher, resources from runs where n = ?", (run,)
    ).fetchone()
    return launcher, json.loads(resources)


def place_first(db: sqlite3.Connection, runs: Sequence[int]) -> None:
    """Put runs in front of everything that is queued, in the given order."""
    others = _others(db, runs)
    _reorder(db, [*runs, *others], runs, others[:1])


def place_last(db: sqlite3.Connection, runs: Sequence[int]) -> None:
    """Put runs behind everything that is queued, in the given order."""
    others = _others(db, runs)
    _reorder(db, [*others, *runs], runs, others[-1:])


def place_before(db: sqlite3.Connection, runs: Sequence[int], other: int) -> None:
    """Put runs directly before another queued run, in the given order."""
    others = _others(db, runs)
    position = others.index(other)
    _reorder(db, [*others[:position], *runs, *others[position:]], runs, [other])


def place_one(db: sqlite3.Connection, run: int, by: int) -> bool:
    """Move a queued run one place earlier (`by` is -1) or later (1); returns whether it moved."""
    order = waiting(db)
    here = order.index(run)
    if not 0 <= here + by < len(order):
        return False
    behind = order[here - 1 :][:1] if by < 0 else order[here + 2 :][:1]
    if behind:
        place_before(db, [run], behind[0])
    else:
        place_last(db, [run])
    return True


def _others(db: sqlite3.Connection, runs: Sequence[int]) -> list[int]:
    return [n for n in waiting(db) if n not in runs]


def _reorder(
    db: sqlite3.Connection, order: Sequence[int], moved: Sequence[int], neighbour: Sequence[int]
) -> None:
    """Write an order down as ranks; what was moved takes the priority of its new neighbour."""
    for n in neighbour:
        db.executemany(
            "update runs set priority = (select priority from runs where n = ?) where n = ?",
            [(n, run) for run in moved],
        )
    db.executemany("update runs set rank = ? where n = ?", list(enumerate(order)))


def hold(db: sqlite3.Connection, place: str, reason: str = "") -> None:
    """Start nothing more on a slot, a card or anywhere (`ALL`); what runs goes on."""
    db.execute("insert or replace into holds values (?, ?, ?)", (place, reason, time.time()))


def release(db: sqlite3.Connection, place: str) -> bool:
    """Take a hold back; returns whether there was one."""
    return db.execute("delete from holds where place = ?", (place,)).rowcount > 0


def holds(db: sqlite3.Connection) -> dict[str, str]:
    """Return the places on hold, each with the reason."""
    return dict(db.execute("select place, reason from holds order by place").fetchall())


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
        f"select 1 from runs where (state in ({marks}) and not {BLOCKED}) or {DUE} "
        f"or exists (select 1 from submissions where {FOLLOWED}) limit 1",
        ("queued", *OPEN),
    ).fetchone()
    return row is not None


def name_of(run: int) -> str:
    """Return the id of a run's number."""
    return f"r{run:04d}"
