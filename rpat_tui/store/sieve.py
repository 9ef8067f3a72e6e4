"""The filter language of lists, over things that are no runs yet: the cells of a suite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from rpat_tui.store.filters import compile_filter

_TEXT = ("id", "name", "note", "state", "reason", "method", "dataset", "source", "norm", "model",
         "sweep", "kind", "imported")  # fmt: skip
_NUMBER = ("n", "seed", "lam", "epoch", "epochs", "priority", "rpat", "archived", "created")


def keep(where: str, things: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Return which things a filter keeps; keys that a thing lacks are empty.

    Raises `ConfigError` naming what cannot be understood.
    """
    clause, bound = compile_filter(where)
    db = sqlite3.connect(":memory:")
    try:
        db.execute(f"create table r ({', '.join((*_TEXT, *_NUMBER))})")
        db.execute("create table tags (run, tag)")
        db.execute("create table void (value, max_value, max_epoch)")
        columns = (*_TEXT, *_NUMBER)
        rows = [
            [i if key == "n" else thing.get(key, "" if key in _TEXT else None) for key in columns]
            for i, thing in enumerate(things)
        ]
        db.executemany(f"insert into r values ({', '.join('?' for _ in columns)})", rows)
        found = db.execute(
            f"select r.n from r left join void c on 0 left join void p on 0 where {clause}",
            bound,
        )
        kept = {n for (n,) in found}
    finally:
        db.close()
    return [i in kept for i in range(len(things))]
