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

LEAST_LABEL, MOST_LABEL = 18, 44
PLAIN = ASCII | str.maketrans(
    {"·": "-", "°": "'", **{sign: f"^{i}" for i, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}}
)


class Figure(NamedTuple):
    """What stands in a cell; `style` is empty, `bold`, `underline` or both."""

    text: str
    style: str = ""


class TableLine(NamedTuple):
    """A line: a `heading`, a `row` that the cursor visits, `paper` and `diff` below it, a `note`.

    `row` is the index of a row of the table. A tuple, since a table may have thousands.
    """

    kind: str
    label: str
    aside: str = ""
    figures: tuple[Figure, ...] = ()
    row: int = -1


class Widths(NamedTuple):
    """The widths of columns, and of what stands behind their points; spreads may be `tight`."""

    tight: bool
    columns: tuple[int, ...]
    rests: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Lines under headings, the places of those that the cursor visits, and how wide all is."""

    heads: tuple[str, ...] = ()
    lines: tuple[TableLine, ...] = ()
    stops: tuple[int, ...] = ()
    label: int = LEAST_LABEL
    """Cells that the longest label takes, up to `MOST_LABEL`."""
    widths: tuple[Widths, ...] = (Widths(False, (), ()),)
    """From loose to tight."""

    @classmethod
    def of(
        cls, heads: Sequence[str], lines: Sequence[TableLine], *, ascii_only: bool = False
    ) -> Layout:
        """Measure lines; their figures have no wide characters."""
        rows = [line for line in lines if line.kind == "row"]
        longest = max((cells(f"{x.label}  {x.aside}".strip()) for x in rows), default=0)
        columns = list(zip(*(line.figures for line in lines if line.figures), strict=True))
        return cls(
            heads=tuple(heads),
            lines=tuple(lines),
            stops=tuple(i for i, line in enumerate(lines) if line.kind == "row"),
            label=min(max(longest, LEAST_LABEL), MOST_LABEL),
            widths=_widths(heads, columns or [()] * len(heads), ascii_only),
        )

    def fitting(self, width: int) -> Widths:
        """Return the widest columns that leave room for the labels, or the narrowest there are."""
        fitting = (w for w in self.widths if sum(w.columns) + self.label <= width)
        return next(fitting, self.widths[-1])


class PaperTable(Keyed, Widget, can_focus=True):
    """Lines under fixed headings; arrows or hjkl move the cursor, which stays in sight."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "paper--title", "paper--heading", "paper--row", "paper--dim", "paper--cursor",
        "paper--line", "paper--blurred",
    }  # fmt: skip
    DEFAULT_CSS = """
    PaperTable {
        width: 1fr; height: 1fr; color: $foreground;
        & > .paper--title { color: $text-muted; text-style: bold; }
        & > .paper--heading { color: $text-primary; text-style: bold; }
        & > .paper--row { color: $foreground; }
        & > .paper--dim { color: $text-muted; }
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
        self._arrange()
        self._drawn = (-1, -1)
        self._tell()

    @property
    def row(self) -> int:
        """The row of the table at the cursor, -1 where there is none."""
        return self.lines[self.stops[self.at]].row if self.stops else -1

    def go(self, row: int) -> None:
        """Put the cursor on a row of the table."""
        found = [i for i, stop in enumerate(self.stops) if self.lines[stop].row == row]
        if found:
            self.at = found[0]
            self._tell()

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
        self.action_move(halves * max((self.size.height - 1) // 2, 1), 0)

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
            places = {index - self.top + 1 for index in (left[0], here)}
            edge = self.gutter
            self.refresh(*(
                Region(edge.left, edge.top + y, self.size.width, 1) for y in sorted(places) if y > 0
            ))  # fmt: skip
        self.post_message(self.Moved(self.row, self.column))

    def _keep_in_view(self) -> None:
        room = max(self.size.height - 1, 1)
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
        self._widths = self.shown.fitting(self.size.width)
        room = self.size.width - sum(self._widths.columns)
        self._label = max(min(self.shown.label, room), 8)
        self._keep_in_view()
        self.refresh()

    def _plain(self, text: str) -> str:
        return text.translate(PLAIN) if self.ascii_only else text

    def _short(self, text: str, size: int) -> str:
        return cut(self._plain(text), size, "~" if self.ascii_only else "…")

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"paper--{name}")

    def render_line(self, y: int) -> Strip:
        """Return a line in sight; the first one holds the headings."""
        width = self.size.width
        if y == 0:
            text = Text("Method".ljust(self._label), style=self._style("title"))
            for head, size in zip(self.shown.heads, self._widths.columns, strict=True):
                text.append(self._plain(head).rjust(size))
            return self._strip(text, width)
        index = self.top + y - 1
        if not self.lines:
            return self._strip(Text(self.empty if y == 1 else "", self._style("dim")), width)
        if index >= len(self.lines):
            return Strip.blank(width, self.rich_style)
        return self._strip(self._line(index), width)

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
            said = _said(figure.text, self._widths.tight, self.ascii_only)
            whole, rest = _split(said)
            after = behind - cells(rest)
            text.append(" " * (size - cells(whole) - behind))
            own = Style.parse(figure.style) if figure.style else Style.null()
            if here and i == self.column:
                own += self._style("cursor" if self.has_focus else "blurred")
            text.append(said, own)
            text.append(" " * after)
        return text

    def _strip(self, text: Text, width: int) -> Strip:
        base = self.rich_style
        segments = [Segment(s.text, base + s.style if s.style else base)
                    for s in text.render(self.app.console, end="")]  # fmt: skip
        return Strip(segments).adjust_cell_length(width, base)


def _widths(
    heads: Sequence[str], columns: Iterable[Sequence[Figure]], ascii_only: bool
) -> tuple[Widths, Widths]:
    """Return how wide columns must be for numbers whose points stand below each other."""
    made = []
    for tight in (False, True):
        sizes, rests = [], []
        for head, column in zip(heads, columns, strict=True):
            texts = {_said(text, tight, ascii_only) for text in {text for text, _ in column}}
            shapes = {(text.find("."), len(text)) for text in texts}
            wholes = max([size if point < 0 else point for point, size in shapes], default=0)
            rests.append(max([size - point for point, size in shapes if point >= 0], default=0))
            sizes.append(max(cells(head), wholes + rests[-1]) + 2 - tight)
        made.append(Widths(tight, tuple(sizes), tuple(rests)))
    return made[0], made[1]


def _said(text: str, tight: bool, ascii_only: bool) -> str:
    text = text.replace(" ± ", "±") if tight else text
    return text.translate(PLAIN) if ascii_only and not text.isascii() else text


def _split(text: str) -> tuple[str, str]:
    """Return what stands before a number's point and the rest, so that points align."""
    whole, point, rest = text.partition(".")
    return whole, point + rest
