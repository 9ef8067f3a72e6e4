"""Short trainings by the real core in processes of their own, and the numbers they end with."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from rpat.recipes import recipe
from rpat_tui.home import Home
from rpat_tui.store import index, queries

ROOT = Path(__file__).parents[2]
PER_EPOCH = 16


def enqueue(home: Home, db: sqlite3.Connection, seeds: list[int], epochs: int = 3) -> list[int]:
    """Queue short trainings on digits, one a seed; the code of this checkout executes them."""
    changes = {
        "data.train_n": 16 * PER_EPOCH, "data.test_n": 32, "optim.batch_size": 16,
        "schedule.epochs": epochs, "attack.steps": 2, "eval.steps": 2, "eval.selection_steps": 1,
        "eval.batch_size": 16, "log_every": 1, "device": "cpu",
    }  # fmt: skip
    base = recipe("trades", ("rpat",), dataset="digits").override(changes)
    configs = [base.override({"seed": seed}) for seed in seeds]
    return index.enqueue(home, db, configs, index.Wish(), {"snapshot_path": str(ROOT)})


def numbers(db: sqlite3.Connection, n: int) -> dict[str, Any]:
    """Every number of a run but those of time: its points and its evaluations."""
    points = {
        (p["name"], p["step"]): (p["epoch"], p["value"])
        for p in queries.metrics(db, n)
        if not p["name"].startswith("time/")
    }
    found = [
        (e["checkpoint"], e["network"], e["attack"], e["epoch"], e["clean"], e["robust"],
         e["weights"])
        for e in queries.evaluations(db, n)
    ]  # fmt: skip
    assert points
    assert found
    return {"points": points, "evaluations": sorted(found)}
