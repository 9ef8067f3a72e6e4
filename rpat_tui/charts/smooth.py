"""Smoothing and bands over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BLOCK = 32


def smoothed(y: Floats, weight: float) -> Floats:
    """Return the debiased exponential mean of `y`; `weight` in [0, 1) is the share of the past.

    A missing value stays missing and leaves the mean as it was.
    """
    if not 0 <= weight < 1:
        raise ValueError(f"weight {weight:g} is outside [0, 1)")
    if weight == 0 or not y.size:
        return y
    here = np.isfinite(y)
    values = y if here.all() else y[here]
    mean = _decayed(values, weight)
    mean *= 1 - weight
    # 1 - w^t grows from 1 - w to 1: dividing by it takes the start at zero out again
    early = min(values.size, math.ceil(-40 / math.log(weight)))
    mean[:early] /= -np.expm1(math.log(weight) * np.arange(1, early + 1))
    if values is y:
        return mean
    out = np.full(y.shape, np.nan)
    out[here] = mean
    return out


def _decayed(values: Floats, weight: float) -> Floats:
    """Return the sums s_t = weight * s_{t-1} + v_t, block by block."""
    n = values.size
    if n <= _BLOCK:
        blocks, size = 1, n
    else:
        blocks, size = -(-n // _BLOCK), _BLOCK
    padded = np.zeros(blocks * size)
    padded[:n] = values
    lag = np.arange(size)[:, None] - np.arange(size)
    powers = np.where(lag >= 0, weight ** np.maximum(lag, 0).astype(np.float64), 0.0)
    sums = padded.reshape(blocks, size) @ powers.T
    if blocks > 1:
        carried = _decayed(sums[:, -1].copy(), weight**size)
        sums[1:] += carried[:-1, None] * weight ** np.arange(1.0, size + 1)
    return sums.ravel()[:n]


def band(
    lines: Sequence[tuple[Floats, Floats]], least: int | None = None
) -> tuple[Floats, Floats, Floats]:
    """Return the grid, the mean and the standard deviation of several lines.

    The grid is every place where a line has a point; between its points a line is straight. Where
    fewer than `least` lines (all of them, unless given) have a value, mean and deviation are NaN:
    a seed that ended early ends the band and does not bend it. The deviation of one line is NaN.
    """
    if not lines:
        empty = np.empty(0)
        return empty, empty, empty
    grid = np.unique(np.concatenate([x for x, _ in lines]))
    table = np.stack([
        np.interp(grid, x, y, left=np.nan, right=np.nan) if x.size else np.full(grid.shape, np.nan)
        for x, y in lines
    ])  # fmt: skip
    here = np.isfinite(table)
    count = here.sum(axis=0)
    enough = count >= max(least if least is not None else len(lines), 1)
    total = np.where(here, table, 0.0).sum(axis=0)
    mean = np.where(enough, total / np.maximum(count, 1), np.nan)
    square = np.where(here, (table - mean) ** 2, 0.0).sum(axis=0)
    spread = np.where(enough & (count > 1), np.sqrt(square / np.maximum(count - 1, 1)), np.nan)
    return grid, mean, spread
