"""What people do to runs, as data: one action, two doors.

A screen shows an action's key and title, says why it is not possible, and copies the equivalent
command; what it does is the same function that the command calls, imported when it is done.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rpat.errors import ConfigError
from rpat_tui.home import Home
from rpat_tui.keeping import labels
from rpat_tui.store import queue
from rpat_tui.store.db import transaction
from rpat_tui.store.queue import FINAL, OPEN

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One action on runs."""

    name: str
    key: str
    title: str
    command: str
    """The command without the runs: `rpat stop`."""
    do: Callable[[Home, sqlite3.Connection, int], str]
    """Does it to one run; returns a line for people, raises `ConfigError`."""
    refuse: Callable[[Row], str] = lambda row: ""
    """Why it is not possible for a run; '' where it is."""
    label: str = ""
    """What the foot of a screen calls it where the title is long."""
    asks: str = ""
    """A question that must be answered with yes before; {} stands for the runs."""
    typed: bool = False
    """The id must be typed before: it cannot be taken back by the same key."""

    def words(self, rows: Sequence[Row]) -> str:
        """Return the equivalent command."""
        return " ".join([self.command, *(shlex.quote(str(row["id"])) for row in rows)])

    def reason(self, rows: Sequence[Row]) -> str:
        """Return why nothing of it is possible; '' where it is for at least one run."""
        if not rows:
            return f"{self.title}: no run is chosen"
        reasons = [self.refuse(row) for row in rows]
        return reasons[0] if all(reasons) else ""


def _is_over(row: Row) -> str:
    if row["state"] in FINAL:
        return f"{row['id']} is {row['state']}: nothing to stop"
    return ""


def _cannot_pause(row: Row) -> str:
    if row["state"] == "paused" and row["archived"]:
        return f"{row['id']} is archived: rpat unarchive {row['id']} first"
    if row["state"] in ("queued", "starting", "running", "paused", "pausing"):
        return ""
    return f"{row['id']} is {row['state']}: only what waits or runs can pause"


def _cannot_requeue(row: Row) -> str:
    if row["state"] in ("failed", "stopped"):
        return f"{row['id']} is archived: rpat unarchive {row['id']} first" * bool(row["archived"])
    if row["state"] == "paused":
        return f"{row['id']} is paused: pause / resume lets it go on"
    return f"{row['id']} is {row['state']}: only failed and stopped runs are queued again"


def _is_not_queued(row: Row) -> str:
    return (
        "" if row["state"] == "queued" else f"{row['id']} is {row['state']}: it is not in the queue"
    )


def _cannot_leave(row: Row) -> str:
    if row["state"] in (*OPEN, "queued"):
        return f"{row['id']} is {row['state']}: stop it first"
    return ""


def _cannot_archive(row: Row) -> str:
    return (
        f"{row['id']} is archived: undo archive brings it back"
        if row["archived"]
        else _cannot_leave(row)
    )


def _is_not_archived(row: Row) -> str:
    return "" if row["archived"] else f"{row['id']} is not archived: nothing to undo"


def _stop(home: Home, db: sqlite3.Connection, n: int) -> str:
    from rpat_tui.launch import control

    return control.stop(home, db, n, "stop")


def _kill(home: Home, db: sqlite3.Connection, n: int) -> str:
    from rpat_tui.launch import control

    return control.stop(home, db, n, "kill")


def _requeue(home: Home, db: sqlite3.Connection, n: int, *, from_start: bool = False) -> str:
    from rpat_tui.launch import control

    return control.requeue(home, db, n, from_start=from_start)


def _delete(home: Home, db: sqlite3.Connection, n: int) -> str:
    from rpat_tui.keeping import trash

    return "\n".join(trash.delete(home, db, trash.plan(home, db, [n])))


def _pause(home: Home, db: sqlite3.Connection, n: int) -> str:
    from rpat_tui.launch import control

    state = db.execute("select state from runs where n = ?", (n,)).fetchone()[0]
    return control.resume(db, n) if state == "paused" else control.stop(home, db, n, "pause")


def _first(home: Home, db: sqlite3.Connection, n: int) -> str:
    with transaction(db):
        queue.place_first(db, [n])
    return f"{queue.name_of(n)} is first in the queue"


def _last(home: Home, db: sqlite3.Connection, n: int) -> str:
    with transaction(db):
        queue.place_last(db, [n])
    return f"{queue.name_of(n)} is last in the queue"


def _step(db: sqlite3.Connection, n: int, by: int) -> str:
    with transaction(db):
        if n not in queue.waiting(db):
            raise ConfigError(f"{queue.name_of(n)} is not in the queue")
        moved = queue.place_one(db, n, by)
    end = "first" if by < 0 else "last"
    word = "earlier" if by < 0 else "later"
    return f"{queue.name_of(n)} {f'is one {word}' if moved else f'is {end} already'}"


ACTS: dict[str, Act] = {
    act.name: act
    for act in (
        Act(
            name="stop", key="s", title="stop", command="rpat stop", refuse=_is_over,
            do=_stop,
        ),
        Act(
            name="kill", key="X", title="kill", command="rpat kill", refuse=_is_over,
            do=_kill,
            asks="Kill {}? What came after the last checkpoint is lost.",
        ),
        Act(
            name="pause", key="p", title="pause / resume", label="pause/resume",
            command="rpat pause", refuse=_cannot_pause, do=_pause,
        ),
        Act(
            name="requeue", key="r", title="requeue", command="rpat requeue",
            refuse=_cannot_requeue, do=_requeue,
        ),
        Act(
            name="restart", key="R", title="requeue from start",
            command="rpat requeue --from-start", refuse=_cannot_requeue,
            do=partial(_requeue, from_start=True),
            asks="Start {} again from the beginning? The checkpoints are moved aside.",
        ),
        Act(
            name="archive", key="d", title="archive", command="rpat archive",
            refuse=_cannot_archive, do=labels.archive,
        ),
        Act(
            name="unarchive", key="u", title="undo archive", command="rpat unarchive",
            refuse=_is_not_archived, do=labels.unarchive,
        ),
        Act(
            name="delete", key="D", title="delete", command="rpat delete", refuse=_cannot_leave,
            do=_delete, typed=True, asks="Delete {}? rpat undelete brings it back from the trash.",
        ),
        Act(
            name="earlier", key="K", title="one earlier in the queue", label="earlier",
            command="rpat queue up", refuse=_is_not_queued,
            do=lambda home, db, n: _step(db, n, -1),
        ),
        Act(
            name="later", key="J", title="one later in the queue", label="later",
            command="rpat queue down", refuse=_is_not_queued,
            do=lambda home, db, n: _step(db, n, 1),
        ),
        Act(
            name="first", key="left_square_bracket", title="first in the queue", label="first",
            command="rpat queue first",
            refuse=_is_not_queued, do=_first,
        ),
        Act(
            name="last", key="right_square_bracket", title="last in the queue", label="last",
            command="rpat queue last",
            refuse=_is_not_queued, do=_last,
        ),
    )
}  # fmt: skip
