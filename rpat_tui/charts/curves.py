"""From points of runs, as queries return them, to lines of a chart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rpat_tui.charts.chart import Marker, Series

Floats = NDArray[np.float64]
Points = Sequence[tuple[int, int, float | None]]
"""(step, epoch, value), by step."""

SHORT = {
    "clean": "test/clean_acc", "pgd": "test/pgd_acc", "loss": "train/loss",
    "logit-mse": "test/logit_mse", "lr": "lr", "s/epoch": "time/epoch_s",
    "images/s": "time/images_per_s", "step-loss": "step/loss",
}  # fmt: skip
"""Names that people type, and the metrics that they mean."""
LABELS = {full: label for label, full in SHORT.items()} | {"test/pgd_acc": "PGD"}
AXES = {"epoch": "epoch", "step": "step", "time": "hours"}
"""What x may be, and its unit."""


def unit_of(metric: str) -> str:
    """Return what a metric is measured in: metrics of one unit share a chart."""
    return "acc %" if metric.endswith("_acc") else LABELS.get(metric, metric)


@dataclass(frozen=True)
class Clock:
    """Where a run's steps are on each axis."""

    epochs: int
    steps: int
    ends: Floats  # steps at which epochs ended, from 0
    hours: Floats  # hours of training and evaluation until then

    @classmethod
    def of(cls, epochs: int, steps: int, seconds: Iterable[Points] = ()) -> Clock:
        """Make a run's clock; `seconds` are its points of time/epoch_s and time/eval_s."""
        spent: dict[int, float] = {}
        for points in seconds:
            for step, _, value in points:
                spent[step] = spent.get(step, 0.0) + (value or 0.0)
        ends = sorted(spent)
        hours = np.cumsum([0.0, *(spent[step] for step in ends)]) / 3600
        return cls(epochs, steps, np.array([0, *ends], dtype=np.float64), hours)

    def places(self, points: Points, axis: str) -> Floats:
        """Return the x value of each point; NaN where it is not known yet."""
        step = np.array([p[0] for p in points], dtype=np.float64)
        if axis == "step":
            return step
        if axis == "time":
            if self.ends.size < 2:
                return np.full(step.shape, np.nan)
            return np.interp(step, self.ends, self.hours, right=np.nan)
        epoch = np.array([p[1] for p in points], dtype=np.float64)
        if self.steps and (np.diff(epoch) == 0).any():  # several an epoch
            return step * self.epochs / self.steps
        return epoch

    def end(self, axis: str) -> float | None:
        """Return where the run is planned to end."""
        return {"epoch": float(self.epochs), "step": float(self.steps)}.get(axis) or None

    def drops(self, milestones: Iterable[float], axis: str) -> list[Marker]:
        """Return the markers of learning-rate drops, given as parts of the run."""
        end = self.end(axis)
        return [Marker(part * end) for part in milestones if part < 1] if end else []


def line(name: str, points: Points, clock: Clock, axis: str = "epoch", **options: Any) -> Series:
    """Return a metric's points as a line."""
    values = np.array([np.nan if p[2] is None else p[2] for p in points], dtype=np.float64)
    return Series(name, clock.places(points, axis), values, **options)


def best(series: Series) -> Marker | None:
    """Return the marker of a line's highest value."""
    if not np.isfinite(series.y).any():
        return None
    i = int(np.nanargmax(series.y))
    return Marker(float(series.x[i]), "best", float(series.y[i]), series.colour)


def named(metric: str) -> str:
    """Return the full name of a metric."""
    return SHORT.get(metric, metric)


def label(metric: str) -> str:
    """Return what a legend calls a metric."""
    return LABELS.get(metric, metric)


def milestones(config: Mapping[str, Any]) -> list[float]:
    """Return where a run's learning rate drops, as parts of the run."""
    return [float(part) for part in config.get("schedule", {}).get("milestones", ())]
