"""From values to places on a picture: limits, round ticks, linear and logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` to `high`, drawn from `start` to `end`, in units of the picture."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value is."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def scale(values: Iterable[float], start: float, end: float, *, log: bool = False) -> Scale:
    """Return an axis with round limits around values; [0, 1] where there are none."""
    found = [value for value in values if math.isfinite(value)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if log and low > 0 and high / low > 20:
        low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
        count = round(math.log10(high / low))
        return Scale(low, high, start, end, [low * 10**i for i in range(count + 1)], log=True)
    if high - low < 1e-12 * max(abs(high), 1):
        pad = abs(high) * 0.1 or 1.0
        low, high = low - pad, high + pad
    step = _step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale(first * step, last * step, start, end, [i * step for i in range(first, last + 1)])


def tight(low: float, high: float, start: float, end: float) -> Scale:
    """Return an axis with exactly these limits and round ticks inside."""
    step = _step((high - low) / 6)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Scale(low, high, start, end, [i * step for i in range(first, last + 1)])


def _step(least: float) -> float:
    unit = 10.0 ** math.floor(math.log10(least))
    return next(f * unit for f in (1, 2, 2.5, 5, 10) if f * unit >= least * (1 - 1e-9))


def written(value: float) -> str:
    """Write a tick."""
    return "0" if abs(value) < 1e-12 else f"{value:.6g}"
