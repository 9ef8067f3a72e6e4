"""A paper-style table to walk through: the cursor is a cell; only lines in sight are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

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


@dataclass(frozen=True, slots=True)
class Figure:
    """What stands in a cell; `style` is empty, `bold`, `underline` or both."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class TableLine:
    """A line: a `heading`, a `row` that the cursor visits, `paper` and `diff` below it, a `note`.

    `row` is the index of a row of the table.
    """

    kind: str
    label: str
    aside: str = ""
    figures: tuple[Figure, ...] = ()
    row: int = -1


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
        self.heads: tuple[str, ...] = ()
        self.lines: tuple[TableLine, ...] = ()
        self.stops: tuple[int, ...] = ()
        self.at, self.column, self.top = 0, 0, 0
        self._label, self._tight = LEAST_LABEL, False
        self._sizes: tuple[int, ...] = ()
        self._rests: tuple[int, ...] = ()
        self._drawn = (-1, -1)

    # ------------------------------------------------------------- data

    def show(self, heads: Sequence[str], lines: Sequence[TableLine]) -> None:
        """Show other lines; the cursor stays on its place, as far as there is one."""
        if (tuple(heads), tuple(lines)) == (self.heads, self.lines):
            return
        self.heads, self.lines = tuple(heads), tuple(lines)
        self.stops = tuple(i for i, line in enumerate(self.lines) if line.kind == "row")
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
        self.column = min(max(self.column + right, 0), max(len(self.heads) - 1, 0))
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
        longest = max([LEAST_LABEL, *(cells(f"{x.label}  {x.aside}".strip()) for x in self.lines
                                      if x.kind == "row")])  # fmt: skip
        wanted = min(longest, MOST_LABEL)
        for tight in (False, True):
            self._tight = tight
            columns = [
                [_split(self._said(line.figures[i])) for line in self.lines if line.figures]
                for i in range(len(self.heads))
            ]
            self._rests = tuple(max((cells(rest) for _, rest in c), default=0) for c in columns)
            self._sizes = tuple(
                max([cells(head), *(cells(whole) + rests for whole, _ in column)]) + 2 - tight
                for head, rests, column in zip(self.heads, self._rests, columns, strict=True)
            )
            if sum(self._sizes) + wanted <= self.size.width:
                break
        self._label = max(min(wanted, self.size.width - sum(self._sizes)), 8)
        self._keep_in_view()
        self.refresh()

    def _said(self, figure: Figure) -> str:
        return self._plain(figure.text.replace(" ± ", "±") if self._tight else figure.text)

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
            for head, size in zip(self.heads, self._sizes, strict=True):
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
        for i, (figure, size) in enumerate(zip(line.figures, self._sizes, strict=True)):
            said = self._said(figure)
            whole, rest = _split(said)
            after = self._rests[i] - cells(rest)
            text.append(" " * (size - cells(whole) - self._rests[i]))
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


def _split(text: str) -> tuple[str, str]:
    """Return what stands before a number's point and the rest, so that points align."""
    whole, point, rest = text.partition(".")
    return whole, point + rest
