"""What a person can ask of a run, wherever it executes: stop, kill, go on."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from rpat.errors import ConfigError
from rpat.rundir import Attempt, RunDir
from rpat_tui.home import Home
from rpat_tui.launch.sides import side_of
from rpat_tui.store import queries
from rpat_tui.store.db import transaction
from rpat_tui.store.index import depend, place, task
from rpat_tui.store.queue import FINAL, move, name_of

SAID = {
    "stop": "{0} saves its work and stops; rpat requeue {0} goes on",
    "pause": "{0} saves its work and pauses; rpat resume {0} goes on",
    "kill": "{0} is killed; rpat requeue {0} goes on from its checkpoint",
}


def stop(home: Home, db: sqlite3.Connection, n: int, word: str = "stop") -> str:
    """Ask a run to save its work and end (`stop`, `pause`), or end it at once (`kill`).

    Returns one line that says what happens now. A run that has ended is left alone.
    """
    side = side_of(home, db, n)
    ask = side.kill if word == "kill" else side.stop
    with transaction(db):
        state = _state(db, n)
        if state == "queued" or (state == "paused" and word != "pause"):
            new = "paused" if word == "pause" else "stopped"
            ask(db, n, word)
            move(db, n, new, "on request")
            return f"{name_of(n)} was {state}: it is {new}"
    if state in (*FINAL, "paused"):
        return f"{name_of(n)} is {state}: nothing to {word}"
    return ask(db, n, word) or SAID[word].format(name_of(n))


def resume(db: sqlite3.Connection, n: int) -> str:
    """Queue a paused run again; it goes on where it was.

    Raises `ConfigError` in any other state.
    """
    with transaction(db):
        state = _state(db, n)
        if state == "pausing":
            raise ConfigError(f"run {name_of(n)} is still saving its work; try again in a moment")
        if state != "paused":
            raise ConfigError(f"run {name_of(n)} is {state}; only paused runs are resumed")
        _refuse_archived(db, n)
        move(db, n, "queued", "resumed")
    return f"{name_of(n)} is queued and goes on where it was"


def restart(home: Home, db: sqlite3.Connection, n: int) -> bool:
    """End a run that is stuck, so that it is queued again; returns whether that was done now.

    A request of a person stands: it is never replaced by this one.
    """
    newest = queries.attempts(db, n)[-1]
    request = Attempt(home.runs / name_of(n), newest["number"]).stop
    if request.exists():
        return False
    return not side_of(home, db, n).kill(db, n, "stuck")


def requeue(
    home: Home,
    db: sqlite3.Connection,
    n: int,
    *,
    from_start: bool = False,
    launcher: str | None = None,
    resources: Mapping[str, str] | None = None,
) -> str:
    """Queue a failed or stopped run again; it goes on from its last checkpoint.

    `from_start` moves its checkpoints aside; `launcher` and `resources` say where it executes now
    and what it asks of a cluster, as far as that changes. Raises `ConfigError` in any other state.
    """
    run = RunDir(home.runs / name_of(n))
    with transaction(db):
        state = _state(db, n)
        if state not in ("failed", "stopped"):
            raise ConfigError(
                f"run {name_of(n)} is {state}; only failed and stopped runs are queued again"
            )
        if not run.config.is_file():
            raise ConfigError(
                f"run {name_of(n)} has no directory; rpat undelete {name_of(n)} brings it back, "
                "or rpat reindex forgets it"
            )
        _refuse_archived(db, n)
        if launcher is not None or resources:
            place(home, db, n, launcher, resources or {})
        if from_start:
            _set_aside(run.checkpoints)
        kind = db.execute("select kind from runs where n = ?", (n,)).fetchone()[0]
        depend(db, n, task(kind, queries.config_of(db, n)))
        move(db, n, "queued", "from the start" if from_start else "")
    where = "its checkpoint" if run.last.exists() else "the start"
    return f"{name_of(n)} is queued again and goes on from {where}"


def _refuse_archived(db: sqlite3.Connection, n: int) -> None:
    if queries.is_archived(db, n):
        raise ConfigError(f"run {name_of(n)} is archived; rpat unarchive {name_of(n)} first")


def _state(db: sqlite3.Connection, n: int) -> str:
    return str(db.execute("select state from runs where n = ?", (n,)).fetchone()[0])


def _set_aside(folder: Path) -> None:
    if any(folder.iterdir()):
        number = 1
        while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
            number += 1
        folder.rename(aside)
    folder.mkdir(exist_ok=True)
