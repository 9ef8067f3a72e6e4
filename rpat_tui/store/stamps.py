"""What a table's numbers were made from: runs and the digests of the weights that were measured."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence

CHUNK = 10_000
"""Runs that one question names: SQLite takes 32,766 values."""


def sources(
    db: sqlite3.Connection, ids: Sequence[str], checkpoints: Sequence[str]
) -> dict[tuple[str, str], str]:
    """Return by run and checkpoint the run's uid and the digests of its measured weights."""
    found: dict[tuple[str, str], set[str]] = {}
    kinds = ", ".join("?" for _ in checkpoints)
    for start in range(0, len(ids), CHUNK):
        some = list(ids[start : start + CHUNK])
        asked = ", ".join("?" for _ in some)
        for own in ("e.run = p.n", "e.run in (select n from runs where parent = p.uid)"):
            for name, uid, kind, weights in db.execute(
                "select p.id, p.uid, e.checkpoint, e.weights from runs p "
                f"join evaluations e on {own} where p.id in ({asked}) "
                f"and e.checkpoint in ({kinds}) and e.state = 'done' and e.split = 'test'",
                [*some, *checkpoints],
            ):
                found.setdefault((name, kind), set()).update((uid, weights))
    return {key: " ".join(sorted(words)) for key, words in found.items()}


def of(sources: Sequence[str], cells: Sequence[tuple[str, float, float | None, int]]) -> str:
    """Return the digest of a row: what its runs were measured on, and the values that it shows."""
    words = [*sorted(sources), *(f"{name} {mean!r} {std!r} {n}" for name, mean, std, n in cells)]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def members(db: sqlite3.Connection, groups: Sequence[str]) -> list[int]:
    """Return the training runs of some groups, oldest first."""
    marks = ", ".join("?" for _ in groups)
    rows = db.execute(
        f"select n from runs where kind = 'train' and group_key in ({marks}) order by n",
        list(groups),
    )
    return [n for (n,) in rows]
