"""Dots to characters: lines drawn on a fine grid, shown as braille, quadrants or ASCII.

A cell of a terminal has one colour, so each cell remembers which series drew in it last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
BLANK = 32


@dataclass(frozen=True, slots=True)
class Glyphs:
    """A set of characters: dots in a cell, the character of each pattern, and the frame's signs."""

    name: str
    across: int
    down: int
    weights: NDArray[np.uint8]  # [down, across]
    table: NDArray[np.uint32]  # character by pattern
    swatches: tuple[str, ...]  # what a legend shows, by dash pattern
    signs: dict[str, str]

    def sign(self, name: str) -> str:
        """Return a sign of the frame: `tick_y`, `axis_y`, `drop`, `best`, …"""
        return self.signs[name]


def _codes(text: str) -> NDArray[np.uint32]:
    return np.array([ord(character) for character in text], dtype=np.uint32)


_LINES = {
    "tick_y": "┤", "axis_y": "│", "corner": "└", "axis_x": "─", "tick_x": "┬", "drop": "▲",
    "best": "★", "crosshair": "│", "point": "●", "hollow": "○", "missing": "–", "cut": "…",
    "times": "×", "spread": "±",
}  # fmt: skip
_ASCII = {
    "tick_y": "+", "axis_y": "|", "corner": "+", "axis_x": "-", "tick_x": "+", "drop": "^",
    "best": "*", "crosshair": "|", "point": "o", "hollow": ".", "missing": "-", "cut": "~",
    "times": "x", "spread": "+-",
}  # fmt: skip
_SWATCHES = ("──", "╌╌", "··", "─·")

GLYPHS = {
    "braille": Glyphs(
        "braille", 2, 4,
        np.array([[1, 8], [2, 16], [4, 32], [64, 128]], dtype=np.uint8),
        np.where(np.arange(256) > 0, 0x2800 + np.arange(256), BLANK).astype(np.uint32),
        _SWATCHES, _LINES,
    ),
    "block": Glyphs(
        "block", 2, 2,
        np.array([[1, 2], [4, 8]], dtype=np.uint8),
        _codes(" ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"), _SWATCHES, _LINES,
    ),
    "ascii": Glyphs(
        "ascii", 1, 3,
        np.array([[1], [2], [4]], dtype=np.uint8),
        _codes(" '-'.:.|"), ("--", "- ", "..", "-."), _ASCII,
    ),
}  # fmt: skip
"""The sets of characters by name, finest first."""

DASHES = tuple(
    np.array([mark == "x" for mark in pattern], dtype=bool)
    for pattern in ("x", "xxxx...", "x..", "xxxxx..x..")
)
"""Patterns along a line: solid, dashed, dotted, dash and dot."""


def suitable(encoding: str | None, term: str = "") -> str:
    """Return the name of the finest set of characters that an output can show."""
    known = (encoding or "ascii").lower().replace("-", "")
    return "braille" if known.startswith("utf") and term != "linux" else "ascii"


def clipped(
    x0: Floats, y0: Floats, x1: Floats, y1: Floats, width: float, height: float
) -> tuple[Floats, Floats, Floats, Floats, Bools]:
    """Cut segments to a rectangle that is a dot wider than the canvas on each side.

    Returns the ends and which segments are left; no segment is then longer than the canvas.
    """
    dx, dy = x1 - x0, y1 - y0
    enter, leave = np.zeros_like(x0), np.ones_like(x0)
    outside = np.zeros(x0.shape, dtype=bool)
    for start, delta, low, high in ((x0, dx, -1.0, width), (y0, dy, -1.0, height)):
        still = delta == 0
        outside |= still & ((start < low) | (start > high))
        safe = np.where(still, 1.0, delta)
        a, b = (low - start) / safe, (high - start) / safe
        enter = np.where(still, enter, np.maximum(enter, np.minimum(a, b)))
        leave = np.where(still, leave, np.minimum(leave, np.maximum(a, b)))
    kept = ~outside & (enter <= leave)
    return x0 + enter * dx, y0 + enter * dy, x0 + leave * dx, y0 + leave * dy, kept


class Canvas:
    """A grid of cells, `across` x `down` dots in each; `owner` says who drew in a cell last."""

    def __init__(self, rows: int, columns: int, glyphs: Glyphs) -> None:
        self.rows, self.columns, self.glyphs = rows, columns, glyphs
        self.width, self.height = columns * glyphs.across, rows * glyphs.down
        self.bits = np.zeros((rows, columns), dtype=np.uint8)
        self.owner = np.full((rows, columns), -1, dtype=np.int16)

    def line(
        self, x: Floats, y: Floats, owner: int, dashes: int = 0, *, by_column: bool = False
    ) -> None:
        """Draw a line through points given in dots, y downwards; NaN leaves a gap.

        Dashes run along the line, or with its columns where a line is dense (`by_column`).
        """
        pattern = DASHES[dashes % len(DASHES)]
        here = np.isfinite(x) & np.isfinite(y)
        lone = here.copy()  # points with a gap on both sides
        lone[1:] &= ~here[:-1]
        lone[:-1] &= ~here[1:]
        self.dots(x[lone], y[lone], owner)
        both = here[:-1] & here[1:]
        if not both.any():
            return
        x0, y0, x1, y1, kept = clipped(
            x[:-1][both], y[:-1][both], x[1:][both], y[1:][both], self.width, self.height
        )
        x0, y0, x1, y1 = x0[kept], y0[kept], x1[kept], y1[kept]
        if not x0.size:
            return
        dx, dy = x1 - x0, y1 - y0
        count = np.ceil(np.maximum(np.abs(dx), np.abs(dy))).astype(np.int64) + 1
        first = np.cumsum(count) - count
        along = np.arange(int(count.sum())) - np.repeat(first, count)
        share = along / np.repeat(np.maximum(count - 1, 1), count)
        column = np.rint(np.repeat(x0, count) + share * np.repeat(dx, count))
        row = np.rint(np.repeat(y0, count) + share * np.repeat(dy, count))
        if pattern.size > 1:
            # each segment begins on the dot that ended the one before
            place = column.astype(np.int64) if by_column else along + np.repeat(
                first - np.arange(first.size), count
            )  # fmt: skip
            on = pattern[place % pattern.size]
            column, row = column[on], row[on]
        self._set(column, row, owner)

    def dots(self, x: Floats, y: Floats, owner: int) -> None:
        """Set single dots."""
        here = np.isfinite(x) & np.isfinite(y)
        near = np.clip(x[here], -9, self.width + 9), np.clip(y[here], -9, self.height + 9)
        self._set(np.rint(near[0]), np.rint(near[1]), owner)

    def fill(self, lower: Floats, upper: Floats, owner: int) -> None:
        """Fill loosely between two edges, given in dots for each column of dots."""
        across = np.arange(self.width)
        down = np.arange(self.height)[:, None]
        inside = (down >= np.ceil(upper)) & (down <= np.floor(lower))  # NaN compares false
        step = 2 if self.glyphs.down > 2 else 3
        sparse = (down + (across // step % 2) * (step // 2 or 1)) % 2 == 0
        sparse = sparse & (across % step == 0)
        row, column = np.nonzero(inside & sparse)
        self._set(column.astype(np.float64), row.astype(np.float64), owner)

    def _set(self, column: Floats, row: Floats, owner: int) -> None:
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        places = row[inside] * self.width + column[inside]
        dots = np.zeros(self.height * self.width, dtype=bool)
        dots[places.astype(np.intp)] = True
        down, across = self.glyphs.down, self.glyphs.across
        parts = dots.reshape(self.rows, down, self.columns, across)
        bits = (parts * self.glyphs.weights[None, :, None, :]).sum(axis=(1, 3), dtype=np.uint8)
        self.bits |= bits
        self.owner[bits > 0] = owner

    def over(self, other: Canvas) -> None:
        """Lay another canvas over this one: where it has dots, only its own are left."""
        drawn = other.bits > 0
        self.bits[drawn] = other.bits[drawn]
        self.owner[drawn] = other.owner[drawn]

    def characters(self) -> NDArray[Any]:
        """Return the code point of each cell."""
        return self.glyphs.table[self.bits]
