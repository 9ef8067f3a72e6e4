"""How fast attacks were and what runs still ask for: history that estimates and plans rest on."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

NEWEST = 8
"""Evaluations whose pace counts."""


def attack_paces(db: sqlite3.Connection, model: str, dataset: str, attack: str) -> list[float]:
    """Return seconds an image of the newest evaluations with an attack, oldest first."""
    rows = db.execute(
        "select e.seconds / e.n from evaluations e join runs j on j.n = e.run "
        "where j.model = ? and j.dataset = ? and e.attack = ? and e.state = 'done' "
        "and e.seconds > 0 and e.n > 0 order by e.t desc limit ?",
        (model, dataset, attack, NEWEST),
    ).fetchall()
    return [pace for (pace,) in reversed(rows)]


def wishes(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Return the attack that each run asks for once it is done; '' for none."""
    marks = ", ".join("?" for _ in numbers)
    return dict(db.execute(f"select n, wants from runs where n in ({marks})", list(numbers)))
