"""Limits, ticks and labels that stay readable and stay still."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

LADDER = (1.0, 2.0, 2.5, 5.0)
FEW = 3
"""Labels that a vertical axis has at least."""

Tick = tuple[int, str]


def steps(least: float) -> Iterator[float]:
    """Yield the steps 1, 2, 2.5 and 5 times a power of ten from `least` upwards."""
    exponent = math.floor(math.log10(least)) if least > 0 else -300
    while exponent < 308:
        for factor in LADDER:
            step = factor * 10.0**exponent
            if step >= least * (1 - 1e-9):
                yield step
        exponent += 1


def nice_limits(low: float, high: float, parts: int = 4) -> tuple[float, float]:
    """Return limits around two values that are multiples of a step of the ladder."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        reach = abs(low) * 0.05 or 0.5
        low, high = low - reach, high + reach
    step = next(steps((high - low) / parts))
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def nice_log_limits(low: float, high: float) -> tuple[float, float]:
    """Return limits around two positive values: 1, 2 or 5 times a power of ten."""
    if not (low > 0 and math.isfinite(high)):
        return 0.1, 1.0

    def rung(value: float, up: bool) -> float:
        exponent = math.floor(math.log10(value))
        rungs = [f * 10.0**e for e in (exponent - 1, exponent, exponent + 1) for f in (1, 2, 5)]
        if up:
            return min(r for r in rungs if r >= value * (1 - 1e-9))
        return max(r for r in rungs if r <= value * (1 + 1e-9))

    bottom, top = rung(low, up=False), rung(high, up=True)
    return (bottom / 2, top * 2) if bottom == top else (bottom, top)


class Limits:
    """Limits that grow in steps with the data and shrink only when told."""

    def __init__(self) -> None:
        self.low = self.high = math.nan
        self.log = False

    def fit(self, low: float, high: float, log: bool = False) -> tuple[float, float]:
        """Return limits that hold the values, the old ones where they do."""
        if log != self.log:
            self.reset()
            self.log = log
        if not (self.low <= low and high <= self.high):
            if math.isfinite(self.low):
                low, high = min(low, self.low), max(high, self.high)
            nice = nice_log_limits if log else nice_limits
            self.low, self.high = nice(low, high)
        return self.low, self.high

    def reset(self) -> None:
        """Forget: the next data decide anew."""
        self.low = self.high = math.nan


# ----------------------------------------------------------------- labels


def decimals(step: float) -> int:
    """Return the decimals that tell multiples of a step apart."""
    for digits in range(13):
        scaled = step * 10**digits
        if abs(scaled - round(scaled)) < 1e-6 * max(scaled, 1e-300) and round(scaled):
            return digits
    return 13


def labeller(low: float, high: float, step: float) -> Callable[[float], str]:
    """Return the function that writes an axis' values, all in one form."""
    most = max(abs(low), abs(high))
    if most >= 1e15 or most < 1e-3:
        size = max(most, step)
        digits = max(0, math.floor(math.log10(size)) - math.floor(math.log10(step)))
        digits = min(digits + (decimals(step / 10.0 ** math.floor(math.log10(step))) > 0), 8)
        return lambda value: _scientific(value, digits) if abs(value) > step / 1e6 else "0"
    for scale, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if most >= scale * 10 and decimals(step / scale) <= 3:
            digits = decimals(step / scale)
            return lambda value: f"{value / scale:.{digits}f}{suffix}" if value else "0"
    digits = decimals(step)
    return lambda value: f"{value + 0.0:.{digits}f}"


def _scientific(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def short(value: float | None, missing: str = "–") -> str:
    """Write a value in about four characters, as a legend does."""
    if value is None or not math.isfinite(value):
        return missing
    size = abs(value)
    if size >= 1e5 or 0 < size < 1e-3:
        return _scientific(value, 1)
    if size >= 1000:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 or size == 0 else f"{value:.3f}"


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [k * step for k in range(first, last + 1)] if last - first < 1000 else []


# ----------------------------------------------------------------- axes


def vertical(low: float, high: float, rows: int, *, log: bool = False) -> list[Tick]:
    """Return the labels of a vertical axis as (row from the top, text); no two touch."""
    if rows < 2 or not high > low:
        return []
    position = _log_place(low, high) if log else _place(low, high)

    def placed(values: list[float], write: Callable[[float], str]) -> list[Tick]:
        return [(round((1 - position(v)) * (rows - 1)), write(v)) for v in reversed(values)]

    best: list[Tick] = []
    gap = 3 if rows >= 18 else 2
    for values, write in _log_candidates(low, high) if log else _candidates(low, high, rows):
        ticks = placed(values, write)
        if len(ticks) >= 2 and all(b[0] - a[0] >= gap for a, b in pairwise(ticks)):
            best = ticks
            break
    if len(best) < FEW and rows >= 5:  # the limits are round, so their middle nearly is
        middle = math.sqrt(low) * math.sqrt(high) if log else (low + high) / 2
        if log:
            return placed([low, middle, high], lambda v: f"{v:.2g}" if 1e-3 < v < 1e4 else
                          _scientific(v, 1))  # fmt: skip
        return placed([low, middle, high], labeller(low, high, (high - low) / 2))
    return best or placed([low, high], labeller(low, high, high - low))


def horizontal(
    low: float, high: float, columns: int, *, whole: bool = False
) -> list[tuple[int, int, str]]:
    """Return a horizontal axis' labels as (column of the tick, column of the text, text).

    At least two blanks are between labels; with `whole`, only whole numbers have one.
    """
    if columns < 2 or not high > low:
        return []
    position = _place(low, high)
    for step in steps((high - low) / columns):
        if whole and abs(step - round(step)) > 1e-9:
            continue
        values = _multiples(low, high, step)
        if not values:
            if step > high - low:
                break
            continue
        write = labeller(low, high, step)
        ticks = []
        for value in values:
            at, text = round(position(value) * (columns - 1)), write(value)
            ticks.append((at, min(max(at - len(text) // 2, 0), max(columns - len(text), 0)), text))
        if all(b[1] - (a[1] + len(a[2])) >= 2 for a, b in pairwise(ticks)):
            return [tick for tick in ticks if tick[1] + len(tick[2]) <= columns]
    return []


def _place(low: float, high: float) -> Callable[[float], float]:
    return lambda value: (value - low) / (high - low)


def _log_place(low: float, high: float) -> Callable[[float], float]:
    bottom, span = math.log10(low), math.log10(high) - math.log10(low)
    return lambda value: (math.log10(value) - bottom) / span


def _candidates(
    low: float, high: float, rows: int
) -> Iterator[tuple[list[float], Callable[[float], str]]]:
    for step in steps((high - low) / rows):
        if step > high - low:
            return
        yield _multiples(low, high, step), labeller(low, high, step)


def _log_candidates(
    low: float, high: float
) -> Iterator[tuple[list[float], Callable[[float], str]]]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))

    def inside(factors: tuple[int, ...], every: int = 1) -> list[float]:
        values = [
            f * 10.0**e for e in range(first, last + 1) if e % every == 0 for f in factors
        ]  # fmt: skip
        return [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]

    def write(value: float) -> str:
        return f"{value:g}" if 1e-3 <= value < 1e4 else _scientific(value, 0)

    if last - first < 40:
        yield inside((1, 2, 3, 4, 5, 6, 7, 8, 9)), write
        yield inside((1, 2, 5)), write
        yield inside((1, 3)), write
    for every in range(1, max(last - first, 1) + 1):
        yield inside((1,), every), write
