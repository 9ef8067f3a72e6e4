"""What people write about a run: name, note, tags, and that it is archived.

It is written to the run's `meta.json` first, replaced whole, then to its row; whoever dies in
between has changed the truth, and `rpat reindex` brings the row up to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from rpat.errors import ConfigError
from rpat.rundir import RunDir, read_json, write_json
from rpat_tui.home import Home
from rpat_tui.store import carry
from rpat_tui.store.belonging import bump
from rpat_tui.store.db import transaction
from rpat_tui.store.meta import META
from rpat_tui.store.queue import OPEN, name_of


def written(home: Home, n: int) -> dict[str, Any]:
    """Return what people wrote about a run."""
    try:
        return META | read_json(RunDir(home.runs / name_of(n)).meta)
    except (OSError, ValueError):
        return dict(META)


def write(home: Home, db: sqlite3.Connection, n: int, **changes: Any) -> dict[str, Any]:
    """Change what people wrote about a run; returns all of it."""
    with transaction(db):  # two writers come one after the other
        meta = written(home, n) | changes
        write_json(RunDir(home.runs / name_of(n)).meta, meta)
        carry.label(
            db, n, name=meta["name"], note=meta["note"], tags=meta["tags"],
            archived=meta["archived"],
        )  # fmt: skip
        bump(db)
    return meta


def tag(
    home: Home, db: sqlite3.Connection, n: int, add: Sequence[str], remove: Sequence[str]
) -> list[str]:
    """Add and remove tags; returns those that the run has now."""
    for word in add:
        if not word or any(sign in word for sign in ', "()') or word != word.strip():
            raise ConfigError(f"tag '{word}': write a word without spaces, commas and brackets")
    there = [word for word in written(home, n)["tags"] if word not in remove]
    tags = list(dict.fromkeys([*there, *add]))
    return list(write(home, db, n, tags=tags)["tags"])


def name(home: Home, db: sqlite3.Connection, n: int, text: str) -> None:
    """Give a run a name, or '' to take it away. Raises `ConfigError` for what looks like an id."""
    if text.removeprefix("r").isdigit():
        raise ConfigError(f"name '{text}' looks like the id of a run; choose another")
    write(home, db, n, name=text)


def archive(home: Home, db: sqlite3.Connection, n: int) -> str:
    """Take a run out of lists and tables; returns one line that says how to undo it."""
    run = carry.facts(db, n)
    if run["state"] == "queued" or run["state"] in OPEN:
        raise ConfigError(
            f"run {run['id']} is {run['state']}; only runs that have ended are archived "
            f"(rpat stop {run['id']} ends it)"
        )
    if run["archived"]:
        return f"{run['id']} is archived already; rpat unarchive {run['id']} brings it back"
    write(home, db, n, archived=True)
    return f"{run['id']} has left lists and tables; rpat unarchive {run['id']} brings it back"


def unarchive(home: Home, db: sqlite3.Connection, n: int) -> str:
    """Bring a run back into lists and tables."""
    if not carry.facts(db, n)["archived"]:
        return f"{name_of(n)} is not archived: nothing to do"
    write(home, db, n, archived=False)
    return f"{name_of(n)} is in lists and tables again"
