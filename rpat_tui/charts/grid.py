"""A rectangle of characters, each with the role that colours it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rpat_tui.charts.canvas import BLANK, Canvas
from rpat_tui.charts.palette import ANSI

Style = TypeVar("Style")

COLOURS = len(ANSI)
ROLES = (
    "", "axis", "label", "title", "focus", "note", "crosshair", "reading", "line", "mark",
    *(f"series-{i}" for i in range(COLOURS)),
    *(f"bold-{i}" for i in range(COLOURS)),
    *(f"band-{i}" for i in range(COLOURS)),
)  # fmt: skip
"""What a character is for. `line` and `mark` belong to a plane; a role may have no style."""
ROLE = {name: index for index, name in enumerate(ROLES)}
_HALF = 0
"""The second cell of a wide character."""

ASCII = str.maketrans({
    "λ": "lam", "ε": "eps", "α": "alpha", "β": "beta", "±": "+-", "×": "x", "–": "-", "—": "-",
    "…": "~", "∞": "inf", "₂": "2",
})  # fmt: skip


class Grid:
    """Characters and roles, row by row."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = max(height, 0), max(width, 0)
        self.characters = np.full((self.height, self.width), BLANK, dtype=np.uint32)
        self.roles = np.zeros((self.height, self.width), dtype=np.int16)

    def write(self, row: int, column: int, text: str, role: str = "", end: int = -1) -> int:
        """Write text up to a column (the width); returns the column behind it."""
        end = self.width if end < 0 else min(end, self.width)
        if not 0 <= row < self.height:
            return column
        for character in text:
            size = cells(character)
            if size == 0:
                continue
            if column + size > end:
                break
            if column >= 0:
                self.characters[row, column] = ord(character)
                self.characters[row, column + 1 : column + size] = _HALF
                self.roles[row, column : column + size] = ROLE[role]
            column += size
        return column

    def paste(self, canvas: Canvas, row: int, column: int, roles: NDArray[Any]) -> None:
        """Lay a canvas at a place; `roles` is the role of each owner."""
        place = np.s_[row : row + canvas.rows, column : column + canvas.columns]
        drawn = canvas.owner >= 0
        self.characters[place] = np.where(drawn, canvas.characters(), self.characters[place])
        self.roles[place] = np.where(drawn, roles[canvas.owner], self.roles[place])

    def runs(self, row: int, start: int = 0, end: int | None = None) -> Iterator[tuple[str, str]]:
        """Yield a row's stretches of one role as (text, role)."""
        characters, roles = self.characters[row, start:end], self.roles[row, start:end]
        if not roles.size:
            return
        text = characters.astype("<u4").tobytes().decode("utf-32-le")
        cuts = [0, *(np.flatnonzero(np.diff(roles)) + 1).tolist(), roles.size]
        for a, b in itertools.pairwise(cuts):
            yield text[a:b].replace("\0", ""), ROLES[roles[a]]

    def rows(self, styles: Mapping[str, Style], plain: Style) -> list[list[tuple[str, Style]]]:
        """Return every row as (text, style); a role without a style is plain."""
        return [
            [(text, styles.get(role, plain)) for text, role in self.runs(row)]
            for row in range(self.height)
        ]

    def text(self) -> str:
        """Return the characters alone."""
        return "\n".join("".join(text for text, _ in self.runs(row)) for row in range(self.height))

    def changes(self, old: Grid, gap: int = 6) -> list[tuple[int, int, int]]:
        """Return what differs from a grid of the same size as (row, column, cells).

        Stretches closer than `gap` are one: moving the cursor costs as much as a few cells.
        """
        differs = (self.characters != old.characters) | (self.roles != old.roles)
        found = []
        for row in np.flatnonzero(differs.any(axis=1)).tolist():
            columns = np.flatnonzero(differs[row])
            breaks = np.flatnonzero(np.diff(columns) > gap)
            firsts = columns[np.concatenate([[0], breaks + 1])]
            lasts = columns[np.concatenate([breaks, [columns.size - 1]])]
            for a, b in zip(firsts.tolist(), lasts.tolist(), strict=True):
                wide = a > 0 and bool((self.characters[row, a] == _HALF).any())
                found.append((row, a - wide, b - a + 1 + wide))
        return found


def cells(text: str) -> int:
    """Return how many cells a text takes; control characters take none."""
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, size: int, sign: str = "…") -> str:
    """Shorten a text to some cells, with a sign where something was cut off."""
    if cells(text) <= size:
        return text
    out = ""
    for character in text:
        if cells(out + character) + cells(sign) > size:
            break
        out += character
    return out + sign if cells(out + sign) <= size else ""


def plain(text: str) -> str:
    """Write a text in ASCII, Greek letters by their names."""
    return "".join(c if " " <= c <= "~" else "?" for c in text.translate(ASCII))
