"""Curves over steps or hours in place of epochs: `w` in a chart."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rpat_tui.charts.curves import AXES, Clock
from rpat_tui.remembered import Remembered
from rpat_tui.store import curves, queries
from rpat_tui.store.curves import Curve, Curves

SPENT = ("time/epoch_s", "time/eval_s")
"""What a run's hours are made of: training and evaluation, without pauses."""


def recalled(kept: Remembered) -> str:
    """Return the axis that was chosen last."""
    axis = kept.get("runs", "axis", "epoch")
    return axis if axis in AXES else "epoch"


def next_axis(kept: Remembered, axis: str) -> str:
    """Go from epochs to steps, to hours, and back to epochs; remember where."""
    known = list(AXES)
    chosen = known[(known.index(axis) + 1) % len(known)]
    kept.put("runs", "axis", None if chosen == "epoch" else chosen)
    return chosen


def read(db: sqlite3.Connection, numbers: Sequence[int], names: Sequence[str], axis: str) -> Curves:
    """Return curves over an axis; `epoch` leaves metrics of steps over their steps.

    Over hours nothing is planned: the axis ends with the last point.
    """
    found = curves.read(db, numbers, names)
    if axis in ("epoch", found.x_name):
        return found
    clocks = {n: _clock(db, n, axis) for n in {curve.n for curve in found.curves}}
    moved = [_moved(curve, clocks[curve.n], axis) for curve in found.curves]
    ends = [end for clock in clocks.values() if (end := clock.end(axis)) is not None]
    last = clocks.get(numbers[-1]) if numbers else None
    drops = [_place(last, epoch, axis) for epoch in found.drops] if last else []
    return replace(
        found, curves=[curve for curve in moved if curve.x], planned=max(ends, default=None),
        x_name=AXES[axis], drops=[x for x in drops if x == x],
    )  # fmt: skip


def _clock(db: sqlite3.Connection, n: int, axis: str) -> Clock:
    epochs, steps = db.execute("select epochs, steps from runs where n = ?", (n,)).fetchone()
    spent = [queries.points(db, n, name) for name in SPENT] if axis == "time" else []
    return Clock.of(epochs, steps, spent)


def _moved(curve: Curve, clock: Clock, axis: str) -> Curve:
    points = [(step, 0, None) for step in curve.steps]
    x = clock.places(points, axis)
    known = np.isfinite(x)  # the hours of an epoch are known at its end
    return replace(
        curve, x=x[known].tolist(), y=np.array(curve.y)[known].tolist(),
        steps=np.array(curve.steps)[known].tolist(),
    )  # fmt: skip


def _place(clock: Clock, epoch: float, axis: str) -> float:
    step = epoch * clock.steps / clock.epochs if clock.epochs else float("nan")
    if axis == "step":
        return step
    if clock.ends.size < 2:
        return float("nan")
    return float(np.interp(step, clock.ends, clock.hours, right=np.nan))
