"""Points of some metrics of some runs, as arrays' raw material: what charts are drawn from."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rpat_tui.store import spans

TITLES = {
    "test/clean_acc": "clean", "test/pgd_acc": "PGD", "test/logit_mse": "logit MSE",
    "test/logit_mse_success": "success", "test/logit_mse_failure": "failure",
    "train/loss": "loss", "step/loss": "loss", "lr": "lr", "time/epoch_s": "s/epoch",
}  # fmt: skip
LIMIT = 200_000
"""Points of a curve that are read; of longer ones the newest."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one run; x in epochs, or in steps for metrics of steps."""

    run: str
    n: int
    name: str
    x: list[float]
    y: list[float]  # NaN where the metric was not finite
    steps: list[int] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The metric's short name."""
        return TITLES.get(self.name, self.name)


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves over one axis, its planned end, and where the learning rate falls."""

    curves: list[Curve] = field(default_factory=list)
    planned: float | None = None
    x_name: str = "epoch"
    drops: list[float] = field(default_factory=list)


def read(db: sqlite3.Connection, numbers: Sequence[int], names: Sequence[str]) -> Curves:
    """Return the curves of runs in their order; those without points are left out."""
    steps = all(name.startswith("step/") for name in names)
    x = "step" if steps else "epoch"
    place = spans.STEP if steps else spans.EPOCH
    found, planned = [], 0.0
    for n in numbers:
        row = db.execute("select id, epochs, steps from runs where n = ?", (n,)).fetchone()
        if row is None:
            continue
        planned = max(planned, row[2] if steps else row[1])
        for name in names:
            points = db.execute(
                f"select {place}, k.value, {spans.STEP} from series s "
                "cross join packed_points k where s.run = ? and s.name = ? "
                f"and {spans.after('-1')} order by k.at desc limit ?",
                (n, name, LIMIT),
            ).fetchall()[::-1]
            if points:
                places, values, at = zip(*points, strict=True)
                y = [math.nan if value is None else value for value in values]
                found.append(Curve(row[0], n, name, [*places], y, [*at]))
    drops = _drops(db, numbers[-1]) if numbers and not steps else []
    return Curves(found, planned or None, x, drops)


def _drops(db: sqlite3.Connection, n: int) -> list[float]:
    """Return the epochs after which the learning rate fell by more than a quarter."""
    rows = db.execute(
        f"select {spans.EPOCH}, k.value from series s cross join packed_points k "
        f"where s.run = ? and s.name = 'lr' and {spans.after('-1')} order by k.at",
        (n,),
    ).fetchall()
    pairs = pairwise(rows)
    return [
        before[0]
        for before, after in pairs
        if before[1] and after[1] and after[1] < 0.75 * before[1]
    ]
