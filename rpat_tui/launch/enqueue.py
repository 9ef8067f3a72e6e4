"""Queuing runs: what `rpat run` and the form do once it is clear what is asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rpat.config import RunConfig
from rpat_tui.compose import needs
from rpat_tui.home import Home
from rpat_tui.launch import frozen, worker
from rpat_tui.store import index, queries, queue
from rpat_tui.store.db import transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What came of it."""

    numbers: tuple[int, ...]
    """The runs that stand for what was asked: new ones, and those taken instead of new ones."""
    made: tuple[int, ...]
    """The new ones."""
    remarks: tuple[str, ...]
    """A line for each thing that people should know."""


def start(
    home: Home,
    db: sqlite3.Connection,
    configs: Sequence[RunConfig],
    wish: index.Wish,
    command: str,
    *,
    after: Sequence[str] = (),
    reuse: bool = False,
    first: bool = False,
) -> Queued:
    """Queue configs with the code of this moment, and see to it that a worker is there.

    `after` names runs that must be done before. Prerequisites that were trained, or will be, are
    not trained again; with `reuse` nothing is. `first` puts the new runs in front of the queue.
    Raises `ConfigError` for a run that does not exist, before anything is made.
    """
    before = queries.runs(db, numbers=queries.find(db, after)) if after else []
    wish = replace(wish, after=tuple(row["uid"] for row in before))
    remarks: list[str] = []
    wanted = without_present(db, configs)
    twins = queries.twins(db, [config.fingerprint() for config in wanted])
    if reuse:
        remarks += map(_reused, twins.values())
        index.want_evaluations(db, wanted, twins)
        wanted = [config for config in wanted if config.fingerprint() not in twins]
    elif twins:
        remarks.append(_twins_remark(twins))
    made = index.enqueue(home, db, wanted, wish, frozen.provenance(home, command))
    if first and made:
        with transaction(db):
            queue.place_first(db, made)
    numbers = sorted([*made, *(twin["n"] for twin in twins.values())]) if reuse else made
    worker.ensure(home)
    return Queued(numbers=tuple(numbers), made=tuple(made), remarks=tuple(remarks))


def without_present(db: sqlite3.Connection, configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Leave out the prerequisites of others that need not be trained again."""
    needed = [fingerprint for config in configs for fingerprint, _ in needs(config)]
    there = queries.usable(db, needed)
    return [config for config in configs if config.fingerprint() not in there]


def _reused(twin: Mapping[str, Any]) -> str:
    words = {"done": "has trained this", "queued": "is queued for this"}
    return f"{twin['id']} {words.get(twin['state'], 'is training this')}"


def _twins_remark(twins: Mapping[str, Mapping[str, Any]]) -> str:
    first, *others = twins.values()
    more = f" (and {len(others)} more)" if others else ""
    done = "has trained" if first["state"] == "done" else f"is {first['state']} for"
    return f"{first['id']} {done} the same{more}; --reuse takes it instead of training again"
