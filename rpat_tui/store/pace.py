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


def endings(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, set[str]]:
    """Return the attacks that each training run will be measured with once it is done."""
    marks = ", ".join("?" for _ in numbers)
    rows = db.execute(
        "select n, wants, json_extract(config, '$.eval.attack') from runs "
        f"where kind = 'train' and n in ({marks})",
        list(numbers),
    )
    return {
        n: {wants} - {""} | (set() if attack == "none" else {"pgd"}) for n, wants, attack in rows
    }
