"""Smoothness in the terminal: the deviation from the straight line, and a table of the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.text import Text

from rpat_tui.figures.glyphs import ASCII, RICH, Glyphs
from rpat_tui.figures.reading import MEASURES, Way, apart, ceiling, common, number

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
_AXIS = 10
_WIDEST = 100
_LABEL = 12
_COLUMNS = {
    "deviation_mid": 11, "second_max": 14, "jacobian_change": 10, "jacobian_relative": 10,
    "clean_acc": 8, "robust_acc": 8,
}  # fmt: skip
FIRST_TO_GO = ("clean_acc", "jacobian_relative", "second_max", "robust_acc", "jacobian_change")
"""The order in which a terminal that is too narrow loses columns."""
_BRAILLE = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


@dataclass(frozen=True, slots=True)
class Curves:
    """A line for each network, and under it a table with the network's other numbers."""

    ways: Sequence[Way]
    width: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw as the console can."""
        signs = ASCII if options.ascii_only else RICH
        for line in self.lines(signs):
            line.rstrip()
            yield line

    def lines(self, signs: Glyphs) -> Iterator[Text]:
        """Yield the figure's lines."""
        width = min(self.width, _WIDEST)
        marks = _marks(self.ways, signs)
        attacks = common(way.perturbation for way in self.ways)
        title = f"Smoothness: how straight the logits run to the {attacks} image"
        yield from (Text(words, style="bold") for words in signs.wrap(title, width))
        yield from _dim(signs.wrap(common(way.setting for way in self.ways), width))
        note = "deviation: squared distance of the logits to the line between both ends"
        if apart(self.ways):
            note += "; each curve as a part of its own highest"
        yield from _dim(signs.wrap(note, width))
        yield Text()
        yield from self._legend(signs, marks, width)
        yield from self._chart(signs, marks, width)
        yield Text()
        yield from self._table(signs, marks, width)
        yield Text()
        yield from _dim(signs.wrap(common(way.jacobians for way in self.ways), width))

    def _legend(self, signs: Glyphs, marks: list[str], width: int) -> Iterator[Text]:
        line = Text(" " * _AXIS)
        for i, way in enumerate(self.ways):
            entry = f"{marks[i]} {signs.text(way.subject)}"
            if len(line) > _AXIS and len(line) + len(entry) > width:
                yield line
                line = Text(" " * _AXIS)
            line.append(entry + "   ", style=_colour(i))
        yield line

    def _chart(self, signs: Glyphs, marks: list[str], width: int) -> Iterator[Text]:
        room, rows = width - _AXIS - 1, 13 if width < 100 else 15
        own = apart(self.ways)
        highest = ceiling(max((way.top for way in self.ways), default=0.0))
        canvas = _Canvas(room, rows, signs)
        for i, way in enumerate(self.ways):
            top = (way.top if own else highest) or 1.0
            points = [
                (alpha, value / top)
                for alpha, value in zip(way.alphas, way.deviation, strict=True)
                if value is not None
            ]
            canvas.curve(points, marks[i], _colour(i))
        unit = 1.0 if own else highest
        labels = {0: number(unit), rows // 2: number(unit / 2), rows - 1: "0"}
        vertical, tick, corner, horizontal, mark = signs.axis
        for row in range(rows):
            text = labels.get(row, "")
            line = Text(f"{text:>{_AXIS - 2}} ", style="dim")
            line.append(tick if text else vertical, style="dim")
            yield line.append_text(canvas.row(row))
        yield self._foot(signs, room, corner, horizontal, mark)
        yield self._numbers(room)
        yield Text(signs.text("α: 0 clean, 1 perturbed").rjust(_AXIS + room), style="dim")

    def _foot(self, signs: Glyphs, room: int, corner: str, line: str, mark: str) -> Text:
        ticks = {round(quarter / 4 * (room - 1)) for quarter in range(5)}
        drawn = "".join(mark if column in ticks else line for column in range(room))
        return Text(" " * (_AXIS - 1) + corner + drawn, style="dim")

    def _numbers(self, room: int) -> Text:
        line = [" "] * (_AXIS + room + 2)
        for quarter, text in enumerate(("0", "0.25", "0.5", "0.75", "1")):
            place = _AXIS + round(quarter / 4 * (room - 1)) - len(text) // 2
            line[place : place + len(text)] = text
        return Text("".join(line).rstrip(), style="dim")

    def _table(self, signs: Glyphs, marks: list[str], width: int) -> Iterator[Text]:
        longest = max(len(signs.text(way.subject)) for way in self.ways) + 4
        keys = _fitting(width)
        label = max(_LABEL, min(longest, width - sum(_COLUMNS[key] for key in keys)))
        for part in (0, 1):
            heads = {key: MEASURES[key][part] for key in keys}
            yield Text(" " * label + _cells(heads), style="dim")
        for i, way in enumerate(self.ways):
            line = Text(f"{marks[i]} ", style=_colour(i))
            line.append(signs.cut(signs.text(way.subject), label - 3).ljust(label - 2), style="")
            cells = {key: _cell(key, way.measures[key], signs) for key in keys}
            yield line.append(_cells(cells), style="default")
            base = next((one for one in self.ways if one.subject == way.base), way)
            if base is not way:
                cells = {key: _change(key, way, base, signs) for key in keys}
                text = signs.cut(f"  against {signs.text(base.subject)}", label - 1).ljust(label)
                yield Text(text + _cells(cells), style="dim")


class _Canvas:
    """Dots of curves, 2 x 4 in a cell (one in ASCII), with marks over them."""

    def __init__(self, columns: int, rows: int, signs: Glyphs) -> None:
        self.columns, self.rows, self.signs = columns, rows, signs
        self.dots: dict[tuple[int, int], int] = {}
        self.styles: dict[tuple[int, int], str] = {}
        self.marks: dict[tuple[int, int], tuple[str, str]] = {}

    def curve(self, points: list[tuple[float, float]], mark: str, style: str) -> None:
        """Draw a line through points of the unit square, and a mark at each of them."""
        for (x0, y0), (x1, y1) in pairwise(points):
            steps = 8 * self.columns
            for k in range(steps + 1):
                part = k / steps
                self._dot(x0 + part * (x1 - x0), y0 + part * (y1 - y0), style)
        for x, y in points:
            place = round((1 - y) * (self.rows - 1)), round(x * (self.columns - 1))
            self.marks.setdefault(place, (mark, style))

    def _dot(self, x: float, y: float, style: str) -> None:
        # Marks stand in the middle of a cell, so the unit square ends half a cell inside.
        column, row = x * (self.columns - 1) + 0.5, (1 - y) * (self.rows - 1) + 0.5
        place = int(row), int(column)
        bit = _BRAILLE[int(column % 1 * 2)][int(row % 1 * 4)]
        self.dots[place] = self.dots.get(place, 0) | bit
        self.styles.setdefault(place, style)

    def row(self, row: int) -> Text:
        """Return one line of cells."""
        line = Text()
        for column in range(self.columns):
            place = row, column
            if place in self.marks:
                line.append(*self.marks[place])
            elif place in self.dots:
                sign = "." if self.signs.ascii else chr(0x2800 + self.dots[place])
                line.append(sign, style=self.styles[place])
            else:
                line.append(" ")
        return line


def _marks(ways: Sequence[Way], signs: Glyphs) -> list[str]:
    """Return a mark for each network; one with RPAT's term has the hollow one of its base."""
    bases = list(dict.fromkeys(way.base for way in ways))
    return [
        (signs.base if way.base == way.subject else signs.rpat)[
            bases.index(way.base) % len(signs.base)
        ]
        for way in ways
    ]


def _dim(lines: list[str]) -> Iterator[Text]:
    return (Text(line, style="dim") for line in lines)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _fitting(width: int) -> list[str]:
    """Return the measures for which there is room."""
    keys = list(MEASURES)
    for key in FIRST_TO_GO:
        if _LABEL + sum(_COLUMNS[key] for key in keys) <= width:
            break
        keys.remove(key)
    return keys


def _cells(texts: dict[str, str]) -> str:
    return "".join(text.rjust(_COLUMNS[key]) for key, text in texts.items())


def _cell(key: str, value: float | None, signs: Glyphs) -> str:
    if key.endswith("_acc"):
        return signs.none if value is None else f"{value:.1f}"
    return number(value, signs.none)


def _change(key: str, way: Way, base: Way, signs: Glyphs) -> str:
    """Return how much RPAT's term changed a number: in percent of it, accuracies in points."""
    after, before = way.measures[key], base.measures[key]
    if after is None or before is None:
        return ""
    if key.endswith("_acc"):
        return signs.text(f"{after - before:+.1f}".replace("-", "−"))
    if not before:
        return ""
    return signs.text(f"{100 * (after / before - 1):+.0f} %".replace("-", "−"))
