"""Many points, few columns: what a line over a million points looks like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def envelope(
    x: Floats, y: Floats, x0: float, x1: float, columns: int
) -> tuple[Floats, Floats, bool]:
    """Return the points that draw `y` over `columns` columns of dots from `x0` to `x1`.

    `x` is sorted. A dense line becomes the first, lowest, highest and last value of each column
    that has points, at the column's middle; a column without a finite value is NaN, and a gap at
    its edge stays one. The nearest points outside the view lead the line to its edges. The flag
    says whether columns were made; with few points they are returned as they are.
    """
    low = int(np.searchsorted(x, x0, "left"))
    high = int(np.searchsorted(x, x1, "right"))
    before, after = slice(max(low - 1, 0), low), slice(high, high + 1)
    if high - low <= 4 * columns or columns < 2:
        inner = slice(before.start, min(high + 1, x.size))
        return x[inner], y[inner], False
    width = (x1 - x0) / (columns - 1)
    edges = x0 + (np.arange(columns + 1) - 0.5) * width
    bounds = np.searchsorted(x[low:high], edges, "left")
    bounds[0], bounds[-1] = 0, high - low
    full = np.flatnonzero(np.diff(bounds))
    starts, ends = bounds[full], bounds[full + 1]
    inside = y[low:high]
    lowest = np.minimum.reduceat(inside, starts)
    highest = np.maximum.reduceat(inside, starts)
    torn = np.flatnonzero(np.isnan(lowest))  # a NaN hides the others: look again without it
    for i in torn:
        part = inside[starts[i] : ends[i]]
        lowest[i] = np.fmin.reduce(part)
        highest[i] = np.fmax.reduce(part)
    four = np.stack([inside[starts], lowest, highest, inside[ends - 1]], axis=1)
    middle = np.repeat(x0 + full * width, 4)
    return (
        np.concatenate([x[before], middle, x[after]]),
        np.concatenate([y[before], four.ravel(), y[after]]),
        True,
    )
