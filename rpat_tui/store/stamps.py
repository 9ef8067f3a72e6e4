"""What a table's numbers were made from: runs and the digests of the weights that were measured."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

CHUNK = 10_000
"""Runs that one question names: SQLite takes 32,766 values."""


def sources(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[str, dict[str, str]]]:
    """Return each run's uid, and the digests of its measured weights by checkpoint."""
    found: dict[str, tuple[str, dict[str, set[str]]]] = {}
    for start in range(0, len(ids), CHUNK):
        some = list(ids[start : start + CHUNK])
        asked = ", ".join("?" for _ in some)
        for name, uid, checkpoint, weights in db.execute(
            "select p.id, p.uid, e.checkpoint, e.weights from runs p "
            "join evaluations e on e.run = p.n "
            f"where p.id in ({asked}) and e.state = 'done' and e.split = 'test' "
            "union select p.id, p.uid, e.checkpoint, e.weights from runs p "
            "join runs j on j.parent = p.uid join evaluations e on e.run = j.n "
            f"where p.id in ({asked}) and e.state = 'done' and e.split = 'test'",
            some * 2,
        ):
            found.setdefault(name, (uid, {}))[1].setdefault(checkpoint, set()).add(weights)
    return {
        name: (uid, {kind: ",".join(sorted(some)) for kind, some in weights.items()})
        for name, (uid, weights) in found.items()
    }


def members(db: sqlite3.Connection, groups: Sequence[str]) -> list[int]:
    """Return the training runs of some groups, oldest first."""
    marks = ", ".join("?" for _ in groups)
    rows = db.execute(
        f"select n from runs where kind = 'train' and group_key in ({marks}) order by n",
        list(groups),
    )
    return [n for (n,) in rows]
