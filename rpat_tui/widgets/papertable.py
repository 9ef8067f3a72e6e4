"""A paper-style table to walk through: the cursor is a cell; only lines in sight are drawn.

How wide its columns must be follows from all lines, which may be thousands: `Layout.of` measures
them where that holds up no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from rpat_tui.charts.grid import ASCII, cells, cut
from rpat_tui.widgets.keyed import Keyed

LEAST_LABEL, MOST_LABEL, LEAST_BESIDE = 18, 44, 10
BAR = " │"
"""Stands before each group of columns."""
PLAIN = ASCII | str.maketrans(
    {"·": "-", "│": "|", "°": "'", **{sign: f"^{i}" for i, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}}
)


class Figure(NamedTuple):
    """What stands in a cell; `style` is empty, `bold`, `underline` or both.

    `brief` is a shorter text, where columns side by side leave no room for the other.
    """

    text: str
    style: str = ""
    brief: str = ""


class TableLine(NamedTuple):
    """A line: a `heading`, a `row` that the cursor visits, `paper` and `diff` below it, a `note`.

    `rows` are indices of rows of the table, one for each group of columns, -1 where there is none.
    A tuple, since a table may have thousands.
    """

    kind: str
    label: str
    aside: str = ""
    figures: tuple[Figure, ...] = ()
    rows: tuple[int, ...] = ()


class Widths(NamedTuple):
    """The widths of columns, and of what stands behind their points, at one of `DENSITIES`."""

    density: int
    columns: tuple[int, ...]
    rests: tuple[int, ...]


LOOSE, TIGHT, BRIEF = DENSITIES = range(3)
"""`82.92 ± 0.31`, `82.92±0.31`, and what is brief: `82.9±.3`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Lines under headings, the places of those that the cursor visits, and how wide all is.

    `groups` are titles of as many columns each, which stand beside each other.
    """

    heads: tuple[str, ...] = ()
    lines: tuple[TableLine, ...] = ()
    groups: tuple[str, ...] = ()
    stops: tuple[int, ...] = ()
    label: int = LEAST_LABEL
    """Cells that the longest label takes, up to `MOST_LABEL`."""
    widths: tuple[Widths, ...] = (Widths(LOOSE, (), ()),)
    """From loose to brief."""

    @classmethod
    def of(
        cls,
        heads: Sequence[str],
        lines: Sequence[TableLine],
        groups: Sequence[str] = (),
        *,
        ascii_only: bool = False,
    ) -> Layout:
        """Measure lines; their figures have no wide characters."""
        rows = [line for line in lines if line.figures]
        longest = max((cells(f"{x.label}  {x.aside}".rstrip()) for x in rows), default=0)
        columns = list(zip(*(line.figures for line in lines if line.figures), strict=True))
        return cls(
            heads=tuple(heads),
            lines=tuple(lines),
            groups=tuple(groups),
            stops=tuple(i for i, line in enumerate(lines) if line.kind == "row"),
            label=min(max(longest + 1, LEAST_BESIDE if groups else LEAST_LABEL), MOST_LABEL),
            widths=tuple(
                _widths(heads, columns or [()] * len(heads), groups, density, ascii_only)
                for density in (DENSITIES if groups else (LOOSE, TIGHT))
            ),
        )

    @property
    def each(self) -> int:
        """How many columns a group has."""
        return len(self.heads) // max(len(self.groups), 1)

    @property
    def least(self) -> int:
        """The cells that the lines take at least."""
        return min(self.label, LEAST_LABEL) + self._beside(self.widths[-1])

    def fitting(self, width: int) -> tuple[Widths, int]:
        """Return the widest columns that leave room for the labels, or the narrowest there are.

        Beside them the cells that are left for the labels.
        """
        fitting = (w for w in self.widths if self._beside(w) + self.label <= width)
        found = next(fitting, self.widths[-1])
        return found, max(min(self.label, width - self._beside(found)), 8)

    def _beside(self, widths: Widths) -> int:
        return sum(widths.columns) + len(BAR) * len(self.groups)


class PaperTable(Keyed, Widget, can_focus=True):
    """Lines under fixed headings; arrows or hjkl move the cursor, which stays in sight."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "paper--title", "paper--heading", "paper--row", "paper--dim", "paper--cursor",
        "paper--line", "paper--blurred", "paper--bar",
    }  # fmt: skip
    DEFAULT_CSS = """
    PaperTable {
        width: 1fr; height: 1fr; color: $foreground;
        & > .paper--title { color: $text-muted; text-style: bold; }
        & > .paper--heading { color: $text-primary; text-style: bold; }
        & > .paper--row { color: $foreground; }
        & > .paper--dim { color: $text-muted; }
        & > .paper--bar { color: $border-blurred; }
        & > .paper--line { background: $foreground 8%; }
        & > .paper--cursor { background: $block-cursor-blurred-background; text-style: bold; }
        & > .paper--blurred { background: $foreground 12%; }
    }
    """
    CONTEXT = "cells"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1, 0)", "down", show=False),
        Binding("k,up", "move(-1, 0)", "up", show=False),
        Binding("h,left", "move(0, -1)", "left", show=False),
        Binding("l,right", "move(0, 1)", "right", show=False),
        Binding("g,home", "jump(False)", "first row", show=False),
        Binding("G,end", "jump(True)", "last row", show=False),
        Binding("pagedown", "page(2)", "page down", show=False),
        Binding("pageup", "page(-2)", "page up", show=False),
        Binding("ctrl+d", "page(1)", "half a page down", show=False),
        Binding("ctrl+u", "page(-1)", "half a page up", show=False),
        Binding("enter", "open", "runs"),
    ]

    @dataclass
    class Moved(Message):
        """The cursor is on another cell, or on none (-1)."""

        row: int
        column: int

    @dataclass
    class Opened(Message):
        """Somebody wants to see the runs behind a row."""

        row: int

    def __init__(self, empty: str = "", *, ascii_only: bool = False, id: str | None = None) -> None:
        """Prepare an empty table; `empty` is said while there is no line."""
        super().__init__(id=id)
        self.empty, self.ascii_only = empty, ascii_only
        self.shown = Layout()
        self.at, self.column, self.top = 0, 0, 0
        self._label, self._widths = LEAST_LABEL, self.shown.widths[0]
        self._drawn = (-1, -1)

    # ------------------------------------------------------------- data

    @property
    def lines(self) -> tuple[TableLine, ...]:
        """The lines that are shown."""
        return self.shown.lines

    @property
    def stops(self) -> tuple[int, ...]:
        """The places of the lines that the cursor visits."""
        return self.shown.stops

    def show(self, layout: Layout) -> None:
        """Show other lines; the cursor stays on its place, as far as there is one."""
        if layout == self.shown:
            return
        self.shown = layout
        self.at = min(self.at, max(len(self.stops) - 1, 0))
        self.column = min(self.column, max(len(layout.heads) - 1, 0))
        self._arrange()
        self._drawn = (-1, -1)
        self._tell()

    @property
    def row(self) -> int:
        """The row of the table at the cursor, -1 where there is none."""
        return self.beside[self.column // self.shown.each] if self.stops else -1

    @property
    def beside(self) -> tuple[int, ...]:
        """The rows of the table on the line at the cursor, one for each group of columns."""
        return self.lines[self.stops[self.at]].rows if self.stops else ()

    @property
    def tops(self) -> int:
        """How many lines the headings take."""
        return 2 if self.shown.groups else 1

    def go(self, row: int, column: int) -> None:
        """Put the cursor on a row of the table and a column of its group."""
        for at, stop in enumerate(self.stops):
            rows = self.lines[stop].rows
            if row in rows:
                self.at, self.column = at, rows.index(row) * self.shown.each + column
                self._tell()
                return

    # ------------------------------------------------------------- keys

    def action_move(self, down: int, right: int) -> None:
        """Move the cursor by a row or a column."""
        self.at = min(max(self.at + down, 0), max(len(self.stops) - 1, 0))
        self.column = min(max(self.column + right, 0), max(len(self.shown.heads) - 1, 0))
        self._tell()

    def action_jump(self, last: bool) -> None:
        """Go to the first or the last row."""
        self.at = max(len(self.stops) - 1, 0) if last else 0
        self._tell()

    def action_page(self, halves: int) -> None:
        """Move by half a page or a whole one."""
        self.action_move(halves * max((self.size.height - self.tops) // 2, 1), 0)

    def action_open(self) -> None:
        """Ask for the runs behind the row."""
        if self.stops:
            self.post_message(self.Opened(self.row))

    def on_mouse_scroll_down(self) -> None:
        """Go down."""
        self.action_move(3, 0)

    def on_mouse_scroll_up(self) -> None:
        """Go up."""
        self.action_move(-3, 0)

    def _tell(self) -> None:
        """Draw the lines that the cursor left and reached, or all where they moved."""
        here, top = self.stops[self.at] if self.stops else 0, self.top
        self._keep_in_view()
        left, self._drawn = self._drawn, (here, self.top)
        if left[1] != self.top or top != self.top:
            self.refresh()
        else:
            places = {index - self.top + self.tops for index in (left[0], here)}
            edge = self.gutter
            self.refresh(*(
                Region(edge.left, edge.top + y, self.size.width, 1)
                for y in sorted(places)
                if y >= self.tops
            ))  # fmt: skip
        self.post_message(self.Moved(self.row, self.column))

    def _keep_in_view(self) -> None:
        room = max(self.size.height - self.tops, 1)
        here = self.stops[self.at] if self.stops else 0
        first = here if self.at else 0  # with the first row its heading is seen
        if here and self.lines[here - 1].kind == "heading":
            first = here - 1
        last = here
        while last + 1 < len(self.lines) and self.lines[last + 1].kind in ("paper", "diff"):
            last += 1
        if self.at == len(self.stops) - 1:
            last = len(self.lines) - 1 if len(self.lines) - here <= room else last
        self.top = min(max(self.top, last - room + 1), first)
        self.top = max(min(self.top, len(self.lines) - room), 0)

    # ------------------------------------------------------------- drawing

    def on_resize(self) -> None:
        """Fit the columns to the new width."""
        self._arrange()

    def on_focus(self) -> None:
        """Show the cursor."""
        self.refresh()

    def on_blur(self) -> None:
        """Show that the keys go elsewhere."""
        self.refresh()

    def _arrange(self) -> None:
        """Give each column its width: spreads lose their spaces first, then labels are cut."""
        self._widths, self._label = self.shown.fitting(self.size.width)
        self._keep_in_view()
        self.refresh()

    def _plain(self, text: str) -> str:
        return text.translate(PLAIN) if self.ascii_only else text

    def _short(self, text: str, size: int) -> str:
        return cut(self._plain(text), size, "~" if self.ascii_only else "…")

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"paper--{name}")

    def render_line(self, y: int) -> Strip:
        """Return a line in sight, or a heading."""
        width = self.size.width
        if y < self.tops:
            return self._strip(self._titles() if y < self.tops - 1 else self._heads(), width)
        index = self.top + y - self.tops
        if not self.lines:
            return self._strip(Text(self.empty if y == 1 else "", self._style("dim")), width)
        if index >= len(self.lines):
            return Strip.blank(width, self.rich_style)
        return self._strip(self._line(index), width)

    def _titles(self) -> Text:
        """Return the titles of the groups, each above its columns."""
        text, each = Text(" " * self._label), self.shown.each
        for i, group in enumerate(self.shown.groups):
            room = sum(self._widths.columns[i * each : (i + 1) * each])
            text.append(self._plain(BAR), self._style("bar"))
            text.append(f" {self._plain(group)}".ljust(room), self._style("heading"))
        return text

    def _heads(self) -> Text:
        text = Text("Method".ljust(self._label), style=self._style("title"))
        for i, (head, size) in enumerate(zip(self.shown.heads, self._widths.columns, strict=True)):
            self._divide(text, i)
            text.append(self._plain(head).rjust(size))
        return text

    def _divide(self, text: Text, column: int) -> None:
        """Draw the line between groups before the first column of one."""
        if self.shown.groups and column % self.shown.each == 0:
            text.append(self._plain(BAR), self._style("bar"))

    def _line(self, index: int) -> Text:
        line = self.lines[index]
        if line.kind == "heading":
            return Text(self._plain(line.label), self._style("heading"))
        if not line.figures:
            return Text(self._plain(line.label), self._style("dim"))
        here = bool(self.stops) and index == self.stops[self.at]
        style = self._style("row" if line.kind == "row" else "dim")
        style += self._style("line") if here else Style.null()
        aside_style = style + self._style("dim").without_color + Style(dim=True)
        text = Text(self._short(line.label, self._label - 1), style)
        room = self._label - 1 - cells(text.plain) - 2
        if line.aside and room > 3:
            text.append("  " + self._short(line.aside, room), aside_style)
        text.append(" " * (self._label - cells(text.plain)))
        sizes = zip(self._widths.columns, self._widths.rests, strict=True)
        for i, (figure, (size, behind)) in enumerate(zip(line.figures, sizes, strict=True)):
            said = _said(figure, self._widths.density, self.ascii_only)
            whole, rest = _split(said)
            after = behind - cells(rest)
            self._divide(text, i)
            text.append(" " * (size - cells(whole) - behind))
            own = Style.parse(figure.style) if figure.style else Style.null()
            if here and i == self.column:
                own += self._style("cursor" if self.has_focus else "blurred")
            text.append(said, own)
            text.append(" " * after)
        return text

    def _strip(self, text: Text, width: int) -> Strip:
        base = self.rich_style
        own = base + text.style if isinstance(text.style, Style) else base
        segments = [Segment(s.text, base + s.style if s.style else own)
                    for s in text.render(self.app.console, end="")]  # fmt: skip
        return Strip(segments).adjust_cell_length(width, base)


def _widths(
    heads: Sequence[str],
    columns: Iterable[Sequence[Figure]],
    groups: Sequence[str],
    density: int,
    ascii_only: bool,
) -> Widths:
    """Return how wide columns must be for numbers whose points stand below each other.

    The first of a group is wider where the title of the group asks for it.
    """
    sizes, rests = [], []
    for head, column in zip(heads, columns, strict=True):
        shapes = {(t.find("."), len(t)) for t in {_said(f, density, ascii_only) for f in column}}
        wholes = max([size if point < 0 else point for point, size in shapes], default=0)
        rests.append(max([size - point for point, size in shapes if point >= 0], default=0))
        sizes.append(max(cells(head), wholes + rests[-1]) + (2 if density == LOOSE else 1))
    each = len(heads) // max(len(groups), 1)
    for i, group in enumerate(groups):
        missing = cells(group) + 1 - sum(sizes[i * each : (i + 1) * each])
        sizes[i * each] += max(missing, 0)
    return Widths(density, tuple(sizes), tuple(rests))


def _said(figure: Figure, density: int, ascii_only: bool) -> str:
    text = figure[0]
    if density == BRIEF and figure[2]:
        text = figure[2]
    elif density != LOOSE:
        text = text.replace(" ± ", "±")
    return text.translate(PLAIN) if ascii_only and not text.isascii() else text


def _split(text: str) -> tuple[str, str]:
    """Return what stands before a number's point and the rest, so that points align."""
    whole, point, rest = text.partition(".")
    return whole, point + rest
