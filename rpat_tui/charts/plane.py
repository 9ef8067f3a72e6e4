"""Clean against robust accuracy: points, the front that nothing beats, and lines of equal worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rpat_tui.charts.axes import Limits, horizontal, short, steps, vertical
from rpat_tui.charts.canvas import BLANK, GLYPHS, Canvas, Glyphs
from rpat_tui.charts.chart import PLAIN_VIEW, Area, View
from rpat_tui.charts.grid import COLOURS, ROLE, Grid, Style, cells, cut, plain

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """A result: clean accuracy to the right, robust accuracy upwards, in percent."""

    name: str
    x: float
    y: float
    colour: int = 0
    letter: str = ""


def front(points: Sequence[Point]) -> set[int]:
    """Return the indexes of the points that no other beats on one side and equals on the other."""
    finite = [i for i, p in enumerate(points) if math.isfinite(p.x) and math.isfinite(p.y)]
    return {
        i
        for i in finite
        if not any(
            points[j].x >= points[i].x
            and points[j].y >= points[i].y
            and (points[j].x, points[j].y) != (points[i].x, points[i].y)
            for j in finite
        )
    }


def same_mean(level: float, x: Floats) -> Floats:
    """Return the robust accuracy that gives a Mean of `level` at each clean one."""
    return 2 * level - x


def same_nrr(level: float, x: Floats) -> Floats:
    """Return the robust accuracy that gives an NRR of `level` at each clean one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(2 * x > level, level * x / (2 * x - level), np.nan)


class Plane:
    """Points on the plane of clean and robust accuracy.

    A full sign is on the front, a hollow one is beaten. Lines of equal Mean are straight, those
    of equal NRR are bent; both are named where they leave the plane.
    """

    def __init__(
        self,
        points: Sequence[Point],
        title: str = "Pareto",
        *,
        x_name: str = "clean",
        y_name: str = "robust",
        limits: tuple[Limits, Limits] | None = None,
        lines: Sequence[str] = ("Mean", "NRR"),
        focus: int | None = None,
    ) -> None:
        self.points = tuple(points)
        self.title = title
        self.x_name, self.y_name = x_name, y_name
        self.limits = limits or (Limits(), Limits())
        self.lines = tuple(lines)
        self.focus = focus
        self.area: Area | None = None

    def render(
        self,
        width: int,
        height: int,
        view: View = PLAIN_VIEW,
        glyphs: str = "braille",
        colours: Mapping[str, Style] | None = None,
        nothing: Any = "",
    ) -> list[list[tuple[str, Any]]]:
        """Return rows of (text, style), each `width` cells wide."""
        grid = self.paint(width, height, view, glyphs, coloured=colours is not None)
        return grid.rows(colours or {}, nothing)

    def paint(
        self,
        width: int,
        height: int,
        view: View = PLAIN_VIEW,
        glyphs: str = "braille",
        *,
        coloured: bool = True,
    ) -> Grid:
        """Draw into a new grid."""
        grid, signs = Grid(height, width), GLYPHS[glyphs]

        def clean(text: str) -> str:
            text = "".join(c for c in text if c.isprintable())
            return plain(text) if signs.name == "ascii" else text

        head = f"{self.title}  x {self.x_name}  y {self.y_name}"
        role = "focus" if view.focused else "title"
        grid.write(0, 0, cut(clean(head), width, signs.sign("cut")), role)
        self.area = None
        if width < 12 or height < 6:
            return grid
        seen = [p for p in self.points if math.isfinite(p.x) and math.isfinite(p.y)]
        x0, x1 = _around([p.x for p in seen], self.limits[0], view.x0, view.x1)
        y0, y1 = _around([p.y for p in seen], self.limits[1], view.y0, view.y1)
        rows = height - 3
        ticks = vertical(y0, y1, rows)
        gutter = min(max([3, *(len(text) for _, text in ticks)]), width // 3)
        area = Area(1, gutter + 1, rows, width - gutter - 1, x0, x1, y0, y1)
        self.area = area
        labels = dict(ticks)
        for row in range(rows):
            text = labels.get(row, "")
            text = text if len(text) <= gutter else ""
            grid.write(1 + row, gutter - len(text), text, "label")
            grid.write(1 + row, gutter, signs.sign("tick_y" if text else "axis_y"), "axis")
        line = signs.sign("corner") + signs.sign("axis_x") * area.columns
        grid.write(rows + 1, gutter, line, "axis")
        for at, column, text in horizontal(x0, x1, area.columns):
            grid.write(rows + 1, area.left + at, signs.sign("tick_x"), "axis")
            grid.write(rows + 2, area.left + column, text, "label")
        if not seen:
            grid.write(
                1 + rows // 2, area.left + 1, cut("no results yet", area.columns - 1), "note"
            )
            return grid
        self._draw(grid, area, signs, clean)
        return grid

    def _draw(self, grid: Grid, area: Area, signs: Glyphs, clean: Callable[[str], str]) -> None:
        canvas = Canvas(area.rows, area.columns, signs)
        x = area.x0 + np.arange(canvas.width) / (canvas.width - 1) * (area.x1 - area.x0)
        names: list[tuple[int, int, str]] = []
        for name, of, dashes in (("Mean", same_mean, 2), ("NRR", same_nrr, 3)):
            if name not in self.lines:
                continue
            for level in _levels(name, area):
                y = of(level, x)
                up = (1 - (y - area.y0) / (area.y1 - area.y0)) * (canvas.height - 1)
                canvas.line(np.arange(canvas.width, dtype=np.float64), up, 0, dashes)
                inside = np.flatnonzero((up >= 0) & (up < canvas.height))
                if inside.size:
                    last = int(inside[-1])
                    names.append((
                        int(up[last]) // signs.down, last // signs.across,
                        f"{name[0]}{short(level).removesuffix('.0').removesuffix('.00')}",
                    ))  # fmt: skip
        grid.paste(canvas, area.top, area.left, np.array([ROLE["line"]], dtype=np.int16))
        taken = np.zeros((area.rows, area.columns), dtype=bool)
        best = front(self.points)
        places: dict[int, tuple[int, int]] = {}
        for i, p in enumerate(self.points):
            if not (math.isfinite(p.x) and math.isfinite(p.y)):
                continue
            column = round((p.x - area.x0) / (area.x1 - area.x0) * (area.columns - 1))
            row = round((1 - (p.y - area.y0) / (area.y1 - area.y0)) * (area.rows - 1))
            if 0 <= row < area.rows and 0 <= column < area.columns:
                places[i] = row, column
                taken[row, column] = True
        for i, (row, column) in places.items():
            sign = signs.sign("point" if i in best else "hollow")
            if signs.name == "ascii":
                sign = "O" if i in best else "o"
            role = f"{'bold' if i in best else 'series'}-{self.points[i].colour % COLOURS}"
            grid.write(area.top + row, area.left + column, sign, role)
        order = sorted(places, key=lambda i: (i != self.focus, i not in best, i))
        missing = [i for i in order if not self._name(grid, area, i, places[i], taken, clean)]
        for row, column, text in names:
            start = min(column, area.columns - len(text))
            if not taken[row, start : start + len(text)].any():
                taken[row, max(start - 1, 0) : start + len(text) + 1] = True
                grid.write(area.top + row, area.left + start, text, "note")
        hidden = len(self.points) - len(places)
        notes = [f"{len(missing)} unnamed"] * bool(missing) + [f"{hidden} not here"] * bool(hidden)
        if notes:
            text = ", ".join(notes)
            start = grid.width - len(text)
            if (grid.characters[0, max(start - 2, 0) :] == BLANK).all():
                grid.write(0, start, text, "note")

    def _name(
        self,
        grid: Grid,
        area: Area,
        i: int,
        place: tuple[int, int],
        taken: NDArray[np.bool_],
        clean: Callable[[str], str],
    ) -> bool:
        """Write a point's name beside it where nothing is, else its letter; says whether it did."""
        p, (row, column) = self.points[i], place
        role = f"{'bold' if i == self.focus else 'series'}-{p.colour % COLOURS}"
        name = clean(p.name)
        both = f"{p.letter} {name}".strip()
        for text in dict.fromkeys((both, cut(both, 12), p.letter or name[:2])):
            size = cells(text)
            centre = column - size // 2
            for r, c in (
                (row, column + 2), (row, column - size - 1), (row - 1, column + 1),
                (row + 1, column + 1), (row - 1, column - size), (row + 1, column - size),
                (row - 1, centre), (row + 1, centre), (row - 2, centre), (row + 2, centre),
                (row, column + 1),
            ):  # fmt: skip
                if not (0 <= r < area.rows and c >= 0 and c + size <= area.columns and size):
                    continue
                if taken[r, max(c - 1, 0) : c + size + 1].sum() > (r == row and c == column + 1):
                    continue
                taken[r, c : c + size] = True
                left = area.left + c
                for edge in (c - 1, c + size):  # a line of equal worth does not touch a name
                    if 0 <= edge < area.columns and not taken[r, edge]:
                        grid.write(area.top + r, area.left + edge, " ")
                grid.write(area.top + r, left, text, role)
                return True
        return False


def _around(
    values: list[float], limits: Limits, low: float | None, high: float | None
) -> tuple[float, float]:
    if values:
        reach = max((max(values) - min(values)) * 0.08, 0.25)
        found = limits.fit(min(values) - reach, max(values) + reach)
    else:
        found = (0.0, 100.0)
    a, b = low if low is not None else found[0], high if high is not None else found[1]
    return (a, b) if b > a else (a, a + 1.0)


def _levels(name: str, area: Area) -> list[float]:
    """Return up to four round levels of Mean or NRR that cross the plane."""

    def worth(x: float, y: float) -> float:
        if name == "Mean":
            return (x + y) / 2
        return 2 * x * y / (x + y) if x + y > 0 else 0.0

    low, high = worth(area.x0, area.y0), worth(area.x1, area.y1)
    if not high > low:
        return []
    step = next(steps((high - low) / 4))
    return [
        k * step
        for k in range(math.ceil(low / step + 1e-6), math.floor(high / step - 1e-6) + 1)
        if k * step > 0
    ][:6]
