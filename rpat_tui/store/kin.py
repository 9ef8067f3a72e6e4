"""Which runs belong together: the seeds of one experiment, and experiments that look alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

Key = tuple[str, str]
"""A group: the fingerprint of its configs without the seed, and that of its images."""


def keys_of(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Key]:
    """Return the group of each run."""
    marks = ", ".join("?" for _ in numbers)
    rows = db.execute(f"select n, group_key, data_key from runs where n in ({marks})", [*numbers])
    return {n: (group, data) for n, group, data in rows}


def seeds_of(db: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    """Return runs with all others that differ from one of them only in the seed."""
    found: dict[int, None] = {}
    for n in numbers:
        rows = db.execute(
            "select r.n from runs r join runs me on me.group_key = r.group_key "
            "and me.data_key = r.data_key and me.kind = r.kind "
            "where me.n = ? and (not r.archived or r.n = me.n) order by r.n",
            (n,),
        ).fetchall()
        found |= dict.fromkeys(row[0] for row in rows)
    return list(found)


def look_alikes(db: sqlite3.Connection, n: int, most: int) -> list[int]:
    """Return a run's group and up to `most` in all that look like it: RPAT or not, other settings.

    Those without RPAT come first, so that they are what the others are compared with.
    """
    rows = db.execute(
        "select r.n, r.group_key, r.data_key from runs r join runs me on me.dataset = r.dataset "
        "and me.source = r.source and me.norm = r.norm and me.model = r.model "
        "and me.method = r.method and me.kind = r.kind "
        "where me.n = ? and (not r.archived or r.n = me.n) "
        "order by r.rpat, r.group_key <> me.group_key, r.n",
        (n,),
    ).fetchall()
    own = next(((row[1], row[2]) for row in rows if row[0] == n), None)
    keys = list(dict.fromkeys((row[1], row[2]) for row in rows))
    shown = set(keys[:most]) if own in keys[:most] else {*keys[: most - 1], own}
    return [row[0] for row in rows if (row[1], row[2]) in shown]


def facets(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return what lists and tables can be narrowed to: (column, value), of training runs."""
    found: list[tuple[str, str]] = []
    for column in ("dataset", "norm", "model", "method"):
        rows = db.execute(
            f"select distinct {column} from runs where kind = 'train' and not archived order by 1"
        )
        found += [(column, value) for (value,) in rows]
    return found
