"""A chart of lines in characters, and what is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpat_tui.charts.axes import Limits, horizontal, short, vertical
from rpat_tui.charts.canvas import BLANK, DASHES, GLYPHS, Canvas, Glyphs
from rpat_tui.charts.envelope import envelope
from rpat_tui.charts.grid import COLOURS, ROLE, Grid, Style, cells, cut, plain
from rpat_tui.charts.smooth import smoothed

Floats = NDArray[np.float64]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HUGE = 1e150
"""What is larger is drawn here: distances and products of values stay numbers."""


@dataclass(frozen=True, eq=False)
class Series:
    """A line: points sorted by x; NaN in y is a gap, and so is what is not finite.

    `colour` and `dashes` are indexes; `letter` is shown at the line's end, and always without
    colours. A band lies between `lower` and `upper`.
    """

    name: str
    x: Floats
    y: Floats
    colour: int = 0
    unit: str = ""
    lower: Floats | None = None
    upper: Floats | None = None
    dashes: int = 0
    letter: str = ""
    _memory: dict[tuple[str, float], Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, name: str, x: ArrayLike, y: ArrayLike, **options: Any) -> Series:
        """Make a series of any numbers; None is a gap."""
        return cls(
            name, np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), **options
        )

    def __post_init__(self) -> None:
        x = np.asarray(self.x, dtype=np.float64)
        order: Any = slice(None)
        near = np.abs(x) <= HUGE
        if not near.all():
            order = np.flatnonzero(near)
        if x[order].size > 1 and (np.diff(x[order]) < 0).any():
            places = np.arange(x.size)[order]
            order = places[np.argsort(x[places], kind="stable")]
        object.__setattr__(self, "x", x[order])
        for name in ("y", "lower", "upper"):
            values = getattr(self, name)
            if values is None:
                continue
            values = np.asarray(values, dtype=np.float64)
            if values.shape != x.shape:
                raise ValueError(f"series {self.name}: {values.size} values at {x.size} places")
            values = values[order]
            if (np.abs(values) > HUGE).any():
                values = np.where(np.isinf(values), np.nan, np.clip(values, -HUGE, HUGE))
            object.__setattr__(self, name, values)

    def values(self, part: str = "y", weight: float = 0.0) -> Floats:
        """Return `y`, `lower` or `upper`, smoothed."""
        raw: Floats = getattr(self, part)
        if weight == 0:
            return raw
        if (part, weight) not in self._memory:
            for key in [key for key in self._memory if key[1] != weight]:
                del self._memory[key]
            self._memory[part, weight] = smoothed(raw, weight)
        return self._memory[part, weight]

    def at(self, x: float) -> float:
        """Return the value of the nearest point, as it was measured."""
        if not self.x.size:
            return math.nan
        right = int(np.searchsorted(self.x, x))
        around = [i for i in (right - 1, right) if 0 <= i < self.x.size]
        return float(self.y[min(around, key=lambda i: abs(self.x[i] - x))])

    def last(self) -> float:
        """Return the newest finite value."""
        for end in range(self.y.size, 0, -4096):
            part = self.y[max(end - 4096, 0) : end]
            here = np.flatnonzero(np.isfinite(part))
            if here.size:
                return float(part[here[-1]])
        return math.nan


@dataclass(frozen=True)
class Marker:
    """A sign: `drop` under the axis where the learning rate falls, `best` on a line."""

    x: float
    kind: Literal["drop", "best"] = "drop"
    y: float = math.nan
    colour: int = 0


@dataclass(frozen=True)
class View:
    """What is looked at; a limit that is None follows the data."""

    x0: float | None = None
    x1: float | None = None
    y0: float | None = None
    y1: float | None = None
    log_y: bool = False
    smooth: float = 0.0
    crosshair: float | None = None
    best: bool = True
    focused: bool = False


PLAIN_VIEW = View()


@dataclass(frozen=True, slots=True)
class Area:
    """Where the plot lies in the grid, and the values at its edges."""

    top: int
    left: int
    rows: int
    columns: int
    x0: float
    x1: float
    y0: float
    y1: float

    def x_of(self, column: int) -> float:
        """Return the x value in the middle of a column of the grid."""
        return self.x0 + (column - self.left + 0.5) / self.columns * (self.x1 - self.x0)


class Chart:
    """Lines over a common x axis."""

    def __init__(
        self,
        series: Sequence[Series],
        markers: Sequence[Marker] = (),
        title: str = "",
        planned_end: float | None = None,
        *,
        x_name: str = "",
        whole: bool = False,
        focus: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Describe a chart.

        `planned_end` fixes the x axis from 0 to there, so that a new point changes little; `whole`
        labels whole numbers alone; the series with the index `focus` is drawn over the others;
        `limits` hold the y axis still from one chart to the next.
        """
        self.series = tuple(series)
        self.markers = tuple(markers)
        self.title = title
        self.planned_end = planned_end
        self.x_name = x_name
        self.whole = whole
        self.focus = focus
        self.limits = limits or Limits()
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
        """Return rows of (text, style), each `width` cells wide.

        `colours` gives a style for each role of `grid.ROLES`; without it, dashes and letters tell
        the series apart and every style is `nothing`.
        """
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
        """Draw into a new grid; `area` then says where the plot lies."""
        grid = Grid(height, width)
        signs = GLYPHS[glyphs]
        drawn = self._drawn(coloured)
        self.area = None
        if width < 8 or height < 4:
            self._legend(grid, drawn, view, signs)
            return grid
        framed = height >= 5
        rows = height - 3 if framed else height - 1
        x0, x1 = self._x_limits(view)
        # as many columns as there may be: what the y limits are does not hang on the labels
        y0, y1 = self._y_limits(drawn, view, x0, x1, (width - 2) * signs.across)
        ticks = vertical(y0, y1, rows, log=view.log_y)
        gutter = min(max([3, *(len(text) for _, text in ticks)]), max(width // 3, 1))
        area = Area(1, gutter + 1, rows, width - gutter - 1, x0, x1, y0, y1)
        self.area = area
        self._frame(grid, area, ticks, signs, view, framed=framed)
        self._lines(grid, area, drawn, view, signs)
        self._legend(grid, drawn, view, signs)
        return grid

    # ------------------------------------------------------------- limits

    def extent(self) -> tuple[float, float]:
        """Return the x limits of the whole chart."""
        firsts = [float(s.x[0]) for s in self.series if s.x.size]
        lasts = [float(s.x[-1]) for s in self.series if s.x.size]
        if self.planned_end is not None:
            low = min([0.0, *firsts])
            return low, max([self.planned_end, *lasts, low + 1e-9])
        if not firsts:
            return 0.0, 1.0
        low, high = min(firsts), max(lasts)
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
            reach = 0.5 if abs(low) < 1e9 else abs(low) * 1e-3
            return low - reach, high + reach
        return low, high

    def _x_limits(self, view: View) -> tuple[float, float]:
        low, high = self.extent()
        low = view.x0 if view.x0 is not None else low
        high = view.x1 if view.x1 is not None else high
        return (low, high) if high > low else (low, low + 1.0)

    def _y_limits(
        self, drawn: Sequence[Series], view: View, x0: float, x1: float, dots: int
    ) -> tuple[float, float]:
        if view.y0 is not None and view.y1 is not None and view.y1 > view.y0:
            return view.y0, view.y1
        low, high = math.inf, -math.inf
        for s in drawn:
            parts = ["y", *(part for part in ("lower", "upper") if getattr(s, part) is not None)]
            for part in parts:
                x, y, _ = envelope(s.x, s.values(part, view.smooth), x0, x1, dots)
                seen = y[(x >= x0) & (x <= x1) & np.isfinite(y)]
                if view.log_y:
                    seen = seen[seen > 1 / HUGE]
                if seen.size:
                    low, high = min(low, float(seen.min())), max(high, float(seen.max()))
        if low > high:
            return (0.1, 1.0) if view.log_y else (0.0, 1.0)
        low, high = self.limits.fit(low, high, view.log_y)
        low = view.y0 if view.y0 is not None else low
        high = view.y1 if view.y1 is not None else high
        return (low, high) if high > low else (low, low + 1.0)

    # ------------------------------------------------------------- drawing

    def _drawn(self, coloured: bool) -> list[Series]:
        """Return the series as they are drawn: without colours, no two alike."""
        if coloured or len(self.series) < 2:
            return list(self.series)
        alike = len({s.dashes for s in self.series}) < min(len(self.series), len(DASHES))
        letters = _letters(self.series)
        return [
            replace(s, dashes=i % len(DASHES) if alike else s.dashes, letter=letters[i])
            for i, s in enumerate(self.series)
        ]

    def _frame(
        self,
        grid: Grid,
        area: Area,
        ticks: list[tuple[int, str]],
        signs: Glyphs,
        view: View,
        *,
        framed: bool,
    ) -> None:
        gutter = area.left - 1
        labels = dict(ticks)
        for row in range(area.rows):
            text = labels.get(row, "")
            text = text if len(text) <= gutter else ""  # half a number is another number
            grid.write(area.top + row, gutter - len(text), text, "label")
            grid.write(area.top + row, gutter, signs.sign("tick_y" if text else "axis_y"), "axis")
        if not framed:
            return
        axis, below = area.top + area.rows, area.top + area.rows + 1
        grid.write(axis, gutter, signs.sign("corner") + signs.sign("axis_x") * area.columns, "axis")
        free = 0
        for at, column, text in horizontal(area.x0, area.x1, area.columns, whole=self.whole):
            grid.write(axis, area.left + at, signs.sign("tick_x"), "axis")
            if column >= free:
                grid.write(below, area.left + column, text, "label")
                free = column + len(text) + 1
        for marker in self.markers:
            if marker.kind == "drop" and area.x0 <= marker.x <= area.x1:
                share = (marker.x - area.x0) / (area.x1 - area.x0)
                grid.write(
                    axis, area.left + round(share * (area.columns - 1)), signs.sign("drop"), "mark"
                )
        if view.crosshair is not None and area.x0 <= view.crosshair <= area.x1:
            text = _number(view.crosshair)
            at = round((view.crosshair - area.x0) / (area.x1 - area.x0) * (area.columns - 1))
            start = min(max(at - len(text) // 2, 0), max(area.columns - len(text), 0))
            grid.write(below, area.left + start - 1, f" {text} ", "reading")

    def _lines(
        self, grid: Grid, area: Area, drawn: Sequence[Series], view: View, signs: Glyphs
    ) -> None:
        canvas = Canvas(area.rows, area.columns, signs)
        bands = Canvas(area.rows, area.columns, signs)
        scale = _Scale(area, canvas, log=view.log_y)
        order = sorted(range(len(drawn)), key=lambda i: i == self.focus)
        roles = np.zeros(2 * len(drawn) + 1, dtype=np.int16)
        ends: list[tuple[int, Floats, Floats]] = []
        dots = False
        for i in order:
            s = drawn[i]
            roles[2 * i] = ROLE[f"series-{s.colour % COLOURS}"]
            roles[2 * i + 1] = ROLE[f"band-{s.colour % COLOURS}"]
            if s.lower is not None and s.upper is not None and s.x.size > 1:
                across = area.x0 + np.arange(canvas.width) / max(canvas.width - 1, 1) * (
                    area.x1 - area.x0
                )
                edges = [
                    np.interp(across, s.x, s.values(part, view.smooth), left=np.nan, right=np.nan)
                    for part in ("lower", "upper")
                ]
                bands.fill(scale.y(edges[0]), scale.y(edges[1]), 2 * i + 1)
            x, y, dense = envelope(s.x, s.values("y", view.smooth), area.x0, area.x1, canvas.width)
            px, py = scale.x(x), scale.y(y)
            canvas.line(px, py, 2 * i, s.dashes, by_column=dense)
            inside = np.isfinite(py) & (px >= -0.5) & (px < canvas.width) & (py > -1)
            inside &= py < canvas.height
            dots = dots or bool(inside.any())
            ends.append((i, px[inside], py[inside]))
        bands.over(canvas)
        grid.paste(bands, area.top, area.left, roles)
        if not dots and not (canvas.bits.any() or bands.bits.any()):
            self._nothing(grid, area, drawn, view)
        for i, px, py in ends:
            if px.size == 1:  # a lone dot is easily missed
                row, column = _cell(px[0], py[0], signs)
                role = f"series-{drawn[i].colour % COLOURS}"
                grid.write(area.top + row, area.left + column, signs.sign("point"), role)
        if view.crosshair is not None and area.x0 <= view.crosshair <= area.x1:
            share = (view.crosshair - area.x0) / (area.x1 - area.x0)
            column = area.left + round(share * (area.columns - 1))
            for row in range(area.top, area.top + area.rows):
                if grid.characters[row, column] == BLANK:
                    grid.write(row, column, signs.sign("crosshair"), "crosshair")
        if view.best:
            for marker in self.markers:
                if marker.kind == "best" and area.x0 <= marker.x <= area.x1:
                    there = scale.y(np.array([marker.y]))[0]
                    if math.isfinite(there) and -1 < there < canvas.height:
                        row, column = _cell(scale.x(np.array([marker.x]))[0], there, signs)
                        role = f"bold-{marker.colour % COLOURS}"
                        grid.write(area.top + row, area.left + column, signs.sign("best"), role)
        taken: set[tuple[int, int]] = set()
        for i, px, py in reversed(ends):
            if drawn[i].letter and px.size:
                self._letter(grid, area, drawn[i], _cell(px[-1], py[-1], signs), taken)

    def _letter(
        self, grid: Grid, area: Area, s: Series, end: tuple[int, int], taken: set[tuple[int, int]]
    ) -> None:
        """Write a series' letter behind its last point, or as near as there is room."""
        row, column = end
        near = [
            (row + down, column + right)
            for right in (1, 2, 0, -1, 3)
            for down in (0, -1, 1, -2, 2)
            if 0 <= row + down < area.rows and 0 <= column + right < area.columns
        ]
        free = [place for place in near if place not in taken]
        empty = [p for p in free if grid.characters[area.top + p[0], area.left + p[1]] == BLANK]
        place = (empty or free or near)[0]
        taken.add(place)
        role = f"bold-{s.colour % COLOURS}"
        grid.write(area.top + place[0], area.left + place[1], s.letter, role)

    def _nothing(self, grid: Grid, area: Area, drawn: Sequence[Series], view: View) -> None:
        if not any(s.y.size for s in drawn):
            text = "no points yet"
        elif not any(np.isfinite(s.y).any() for s in drawn):
            text = "no finite values"
        elif view.log_y and not any((s.y > 1 / HUGE).any() for s in drawn):
            text = "nothing above zero"
        else:
            text = "nothing here; 0 shows all"
        text = cut(text, area.columns, "")
        column = area.left + max((area.columns - len(text)) // 2, 0)
        grid.write(area.top + area.rows // 2, column, text, "note")

    # ------------------------------------------------------------- legend

    def _legend(self, grid: Grid, drawn: Sequence[Series], view: View, signs: Glyphs) -> None:
        """Write title, series and values: values go first, then letters of names, no series."""
        ascii_only = signs.name == "ascii"
        sign = signs.sign("cut")

        def clean(text: str) -> str:
            text = "".join(c for c in text if c.isprintable())
            return plain(text) if ascii_only else text

        title, names = clean(self.title), [clean(s.name) for s in drawn]
        marks = [
            signs.swatches[s.dashes % len(signs.swatches)] + (f" {s.letter}" if s.letter else "")
            for s in drawn
        ]
        missing = signs.sign("missing")
        if view.crosshair is None:
            values = [short(s.last(), missing) for s in drawn]
        else:
            values = [short(s.at(view.crosshair), missing) for s in drawn]
        notes = [f"smooth {view.smooth:g}"] if view.smooth else []
        notes += ["log"] if view.log_y else []
        if view.crosshair is not None and grid.height < 5:
            notes.append(f"at {_number(view.crosshair)}")
        full = [*notes, *([f"x: {clean(self.x_name)}"] if self.x_name else [])]
        choice = ["  ".join(full), "  ".join(notes)]
        place = _fit(title, marks, names, values, choice, grid.width, sign)
        title, marks, names, values, note = place
        role = "focus" if view.focused else "title"
        column = grid.write(0, 0, title, role)
        tight = not any(names) and not any(marks)
        for i, s in enumerate(drawn):
            series = f"{'bold' if i == self.focus else 'series'}-{s.colour % COLOURS}"
            if tight:
                column = grid.write(0, column, values[i], series)
                continue
            column += 2 if column else 0
            column = grid.write(0, column, marks[i], series)
            if names[i]:
                column = grid.write(0, column + bool(marks[i]), names[i], series)
            if values[i]:
                column = grid.write(0, column + 1, values[i], "reading")
        if note:
            grid.write(0, grid.width - cells(note), note, "note")
        if view.focused and not title and grid.width:
            grid.roles[0, 0] = ROLE["focus"]


def _fit(
    title: str,
    marks: list[str],
    names: list[str],
    values: list[str],
    notes: list[str],
    width: int,
    sign: str,
) -> tuple[str, list[str], list[str], list[str], str]:
    """Drop what a legend can do without until it fits: note, values, names, then title."""

    def size(t: str, m: list[str], n: list[str], v: list[str], o: str) -> int:
        total = cells(t)
        for mark, name, value in zip(m, n, v, strict=True):
            total += (2 if total else 0) + cells(mark)
            total += (cells(name) + bool(mark) if name else 0) + (cells(value) + 1 if value else 0)
        return total + (cells(o) + 2 if o else 0)

    none = [""] * len(names)
    choices = [(values, note) for note in (*notes, "")] + [(none, notes[-1]), (none, "")]
    for v, o in choices:
        if size(title, marks, names, v, o) <= width:
            return title, marks, names, v, o
    longest = max((cells(name) for name in names), default=0)
    for t in (title, cut(title, 8, sign), ""):
        for most in range(longest, 2, -1):
            shorter = _shortened(names, most, sign)
            if size(t, marks, shorter, none, "") <= width:
                return t, marks, shorter, none, ""
    one = [mark[:1] for mark in marks]
    letters = [mark.partition(" ")[2] or LETTERS[i % 52] for i, mark in enumerate(marks)]
    for m, n in ((one, _shortened(names, 2, "")), (one, letters), (none, letters)):
        if size("", m, n, none, "") <= width:
            return "", m, n, none, ""
    if len(letters) > width:  # more series than cells: the last cells count the rest
        counted = f"+{len(letters) - width + 3}"[:3]
        letters = [*letters[: max(width - 3, 0)], counted[:width]]
        letters += [""] * (len(names) - len(letters))
    return "", none, none, letters, ""


def _shortened(names: list[str], most: int, sign: str) -> list[str]:
    """Shorten names at the end, or where they stay different: at the start, in the middle."""
    heads = [cut(name, most, sign) for name in names]
    if len(set(heads)) == len(set(names)) or not all(name.isascii() for name in names):
        return heads

    def kept(head: int) -> list[str]:
        tail = most - head - len(sign)
        if tail <= 0:
            return heads
        return [n if len(n) <= most else n[:head] + sign + n[len(n) - tail :] for n in names]

    return max((heads, kept(0), kept(most // 2)), key=lambda made: len(set(made)))


def _letters(series: Sequence[Series]) -> list[str]:
    given = [s.letter for s in series]
    free = iter([letter for letter in LETTERS if letter not in given])
    return [letter or next(free, "?") for letter in given]


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 1e-6 < abs(value) + 1 and (
        abs(value) < 1e7
    ) else f"{value:.4g}"  # fmt: skip


def _cell(x: float, y: float, signs: Glyphs) -> tuple[int, int]:
    return max(round(float(y)), 0) // signs.down, max(round(float(x)), 0) // signs.across


class _Scale:
    """From values to dots."""

    def __init__(self, area: Area, canvas: Canvas, *, log: bool) -> None:
        self.area, self.canvas, self.log = area, canvas, log

    def x(self, values: Floats) -> Floats:
        a = self.area
        return (values - a.x0) / (a.x1 - a.x0) * (self.canvas.width - 1)

    def y(self, values: Floats) -> Floats:
        low, high = self.area.y0, self.area.y1
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.where(values > 1 / HUGE, np.log10(values), np.nan)
            low, high = math.log10(low), math.log10(high)
        share = (values - low) / (high - low)
        return (1 - np.clip(share, -1e6, 1e6)) * (self.canvas.height - 1)
