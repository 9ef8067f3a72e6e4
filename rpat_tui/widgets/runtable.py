"""The list of runs: a window on any number of lines, of which only the visible ones are read.

Reads happen in a thread; keys only move what is already here, and lines that are not here yet are
drawn as such. A tick compares the cells of the new lines with those on the screen and repaints
those that differ; equal lines send nothing.

A plain widget that keeps its own offset: the virtual size of a `ScrollView` lays out the whole
screen whenever a run is added.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, Protocol

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from rpat.errors import RpatError
from rpat_tui.glyphs import UNICODE, Glyphs
from rpat_tui.store.rows import Line
from rpat_tui.widgets.colours import SERIES, series_style
from rpat_tui.widgets.columns import DEFAULT, FIXED, Cell, Placed, fit, place
from rpat_tui.widgets.keyed import Keyed

GUTTER = 3
"""Cells before the first column: the cursor, the mark, a space."""

CURVES = SERIES
"""Colours that runs are told apart by: those of their curves."""

NEAR = 12
"""Cells between two changes that are sent along: going to the second costs as much."""

PATIENCE = 0.04
"""Seconds before lines that are still being read are drawn as such."""

FIRST_PATIENCE = 0.3
"""The same before anything was read; what is painted twice is sent twice."""


class Source(Protocol):
    """What a table shows. Its methods run in the table's thread, one after the other."""

    def refresh(self) -> bool:
        """See what is new; False where everything that was read still holds."""
        ...

    def count(self) -> int:
        """Return how many lines there are."""
        ...

    def window(self, offset: int, limit: int) -> Sequence[Line]:
        """Return some lines."""
        ...

    def position(self, key: int) -> int | None:
        """Return where a line stands now."""
        ...

    def runs(self) -> Sequence[int]:
        """Return the numbers of all runs."""
        ...

    def totals(self) -> tuple[int, int]:
        """Return how many runs match, and how many there are."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the table looks at when it asks its source."""

    key: int | None
    index: int
    top: int
    height: int
    held: tuple[int, int]
    anew: bool
    sought: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """An answer: some lines from `offset` on, and where the cursor's line stands now."""

    wanted: Wanted
    count: int
    index: int
    top: int
    offset: int
    lines: Sequence[Line]
    totals: tuple[int, int]


def read(source: Source, wanted: Wanted) -> Page | None:
    """Return the page that is wanted, None where nothing changed; runs in the table's thread."""
    first, last = max(wanted.top, 0), wanted.top + wanted.height
    changed = source.refresh()
    count = source.count()
    enough = wanted.held[0] <= first and min(last, count) <= wanted.held[1]
    if not changed and not wanted.anew and enough:
        return None
    index = wanted.index
    if wanted.key is not None:
        found = source.position(wanted.key)
        index = wanted.index if found is None else found
        count = source.count()  # looking for the line may have shown that there are more
    index = max(min(index, count - 1), 0)
    top = settle(wanted.top, wanted.index, index, count, wanted.height)
    offset = max(top - wanted.height, 0)
    lines = source.window(offset, top + 2 * wanted.height - offset)
    return Page(wanted, source.count(), index, top, offset, lines, source.totals())


def settle(top: int, was: int, index: int, count: int, height: int) -> int:
    """Return the first line to show when the cursor's line moves to `index`.

    It stays where it is on the screen; at the very top, what is new comes into view instead.
    """
    if top > 0:
        top += index - was
    return keep_in_view(top, index, count, height)


def keep_in_view(top: int, index: int, count: int, height: int) -> int:
    """Return the first line to show so that the cursor is seen and no line is wasted."""
    top = min(max(top, index - height + 1), index)
    return max(min(top, count - height), 0)


@dataclass(frozen=True, slots=True)
class Span:
    """Some cells of a line of the screen."""

    x: int
    text: str
    width: int
    style: str


class RunTable(Keyed, Widget, can_focus=True):
    """A table of runs; see the module. Give it a source with `show`, a tick with `reload`."""

    CONTEXT = "list"
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "run-table--title", "run-table--sorted", "run-table--cursor", "run-table--blurred",
        "run-table--missing", "run-table--dim", "run-table--group", "run-table--queued",
        "run-table--starting", "run-table--running", "run-table--pausing", "run-table--paused",
        "run-table--done", "run-table--failed", "run-table--stopped", "run-table--lost",
        "run-table--archived", "run-table--bar", "run-table--thumb", "run-table--pointer",
    }  # fmt: skip

    DEFAULT_CSS = """
    RunTable {
        width: 1fr; height: 1fr; color: $foreground;
        & > .run-table--title { color: $text-muted; text-style: bold; }
        & > .run-table--sorted { color: $foreground; text-style: bold; }
        & > .run-table--cursor { background: $block-cursor-blurred-background; text-style: bold; }
        & > .run-table--blurred { background: $foreground 8%; }
        & > .run-table--pointer { color: $foreground; text-style: bold; }
        & > .run-table--group { text-style: italic; }
        & > .run-table--missing, & > .run-table--queued, & > .run-table--archived,
        & > .run-table--dim, & > .run-table--bar { color: $text-muted; }
        & > .run-table--thumb { color: $foreground 70%; }
        & > .run-table--starting, & > .run-table--running { color: $secondary; }
        & > .run-table--pausing, & > .run-table--paused, & > .run-table--stopped {
            color: $text-warning;
        }
        & > .run-table--done { color: $success; }
        & > .run-table--failed { color: $error; text-style: bold; }
        &:light > .run-table--starting, &:light > .run-table--running { color: $text-secondary; }
        &:light > .run-table--done { color: $text-success; }
        &:light > .run-table--failed { color: $text-error; text-style: bold; }
        & > .run-table--lost { color: $text-accent; text-style: bold; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "down", show=False),
        Binding("k,up", "move(-1)", "up", show=False),
        Binding("g,home", "jump(False)", "first", show=False),
        Binding("G,end", "jump(True)", "last", show=False),
        Binding("pagedown", "page(2)", "page down", show=False),
        Binding("pageup", "page(-2)", "page up", show=False),
        Binding("ctrl+d", "page(1)", "half a page down", show=False),
        Binding("ctrl+u", "page(-1)", "half a page up", show=False),
        Binding("h,left", "sideways(-1)", "columns to the left", show=False),
        Binding("l,right", "sideways(1)", "columns to the right", show=False),
        Binding("space", "mark", "mark"),
        Binding("*", "mark_all", "mark all shown", show=False),
        Binding("0", "mark_none", "mark none", show=False),
        Binding("enter", "open", "open"),
        Binding("S", "sort", "sort", show=False),
    ]

    @dataclass
    class _Told(Message):
        table: RunTable

        @property
        def control(self) -> RunTable:
            """The table that sent it."""
            return self.table

    @dataclass
    class CursorMoved(_Told):
        """The cursor is on another line, or on none."""

        line: Line | None

    @dataclass
    class Marked(_Told):
        """Other runs are marked now."""

        runs: tuple[int, ...]

    @dataclass
    class Opened(_Told):
        """Somebody wants to see a run."""

        line: Line

    @dataclass
    class Unfolded(_Told):
        """Somebody wants a group's runs shown below it, or hidden again."""

        line: Line

    @dataclass
    class SortRequested(_Told):
        """Somebody wants another order; `column` is None where it is to be asked for."""

        column: str | None

    @dataclass
    class Loaded(_Told):
        """Lines were read; `shown` of `every` runs match."""

        shown: int
        every: int

    @dataclass
    class Failed(_Told):
        """The source could not be read; what is shown is what was known before."""

        text: str

    def __init__(
        self,
        source: Source | None = None,
        *,
        columns: Sequence[str] = DEFAULT,
        ids: int = 0,
        glyphs: Glyphs = UNICODE,
        colour_of: Callable[[int], int] = lambda run: run - 1,
        thread: Executor | None = None,
        empty: str = "no runs",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """Prepare a table; `colour_of` gives each run the number of its colour.

        `ids` are the cells that ids take at least.
        """
        super().__init__(id=id, classes=classes)
        self.source = source
        self.columns, self.ids = tuple(columns), ids
        self.glyphs = glyphs
        self.colour_of = colour_of
        self.empty = empty
        self.sort, self.descending, self.means = "", False, False
        self.count = 0
        self.cursor = 0
        self._sought: int | None = None
        self.moved = float("-inf")
        """When a person last moved the cursor, on the monotonic clock."""
        self.top = 0
        self.skip = 0
        self.known = False
        self.marked: dict[int, None] = {}
        """Runs, in the order in which they were marked."""
        self._own_thread = thread is None
        self._thread = thread
        self._lines: dict[int, Line] = {}
        self._held = (0, 0)
        self._key: int | None = None
        self._reading = False
        self._again = False
        self._anew = False
        self._late = False
        self._totals: tuple[int, int] | None = None
        self._placed: list[Placed] = []
        self._cut = False
        self._shown: list[tuple[Span, ...]] = []
        self._strips: dict[int, Strip] = {}
        self._made: dict[int, tuple[Line, bool, str, tuple[Span, ...]]] = {}
        self._styles: dict[str, Style] = {}

    # ------------------------------------------------------------- what is shown

    def show(
        self,
        source: Source,
        *,
        sort: str = "",
        descending: bool = False,
        means: bool = False,
        keep: bool = True,
    ) -> None:
        """Show another source; `keep` keeps the cursor on its run, `means` makes room for ±."""
        self.source, self.sort, self.descending = source, sort, descending
        self._held = (0, 0)
        self._anew = True
        if not keep:
            self.cursor = self.top = 0
            self._key = None
        if means != self.means:
            self.means = means
            self._arrange()
        else:
            self.paint()
        self.reload()

    def choose(self, columns: Sequence[str]) -> None:
        """Show other columns, or the same ones in another order."""
        self.columns = tuple(columns)
        self.skip = 0
        self._arrange()

    @property
    def line(self) -> Line | None:
        """The line under the cursor, where it is known."""
        return self._lines.get(self.cursor)

    @property
    def rows(self) -> int:
        """How many lines there is room for."""
        return max(self.size.height - 1, 0)

    def reload(self) -> None:
        """Look whether anything changed; at once where nothing is being read, else right after."""
        if self.source is None or not self.is_mounted or not self.rows:
            return
        self._again = True
        if not self._reading:
            self._reading = True
            if not self.known:
                self.set_timer(FIRST_PATIENCE, self._be_late)
            self.run_worker(self._read(), group="run-table", exit_on_error=True)

    def _be_late(self) -> None:
        self._late = True
        self.paint()

    async def _read(self) -> None:
        """Ask the source in the thread until nothing more is wanted."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="run-table")
        loop = asyncio.get_running_loop()
        try:
            while self._again and self.source is not None:
                self._again, source = False, self.source
                anew, self._anew = self._anew, False
                sought, self._sought = self._sought, None
                key = sought or self._key
                wanted = Wanted(
                    key, self.cursor, self.top, self.rows, self._held, anew, sought is not None
                )
                page = await loop.run_in_executor(self._thread, read, source, wanted)
                if page is not None and source is self.source:
                    self.apply(page)
        except RpatError as error:
            self._be_late()  # nothing is coming that the titles should wait for
            self.post_message(self.Failed(self, str(error)))
        finally:
            self._reading = False

    def apply(self, page: Page) -> None:
        """Take an answer over and repaint the cells that differ from what is shown."""
        wanted = page.wanted
        self.known = True
        self.count = page.count
        old = self._lines
        self._lines = {}
        for index, line in enumerate(page.lines, page.offset):
            before = old.get(index)
            self._lines[index] = before if before == line and before is not None else line
        self._held = (page.offset, page.offset + len(page.lines))
        exact = (self.cursor, self.top) == (wanted.index, wanted.top)
        if exact:
            self.cursor, self.top = page.index, page.top
        elif not wanted.sought:  # a key was faster: it counts from where the cursor has gone
            self.cursor += page.index - wanted.index
            self.top += page.top - wanted.top
        self._stay()
        self.paint()
        if page.totals != self._totals:
            self._totals = page.totals
            self.post_message(self.Loaded(self, *page.totals))
        self._follow(after=not exact)

    def _stay(self) -> None:
        """Keep the cursor on a line and in view."""
        self.cursor = max(min(self.cursor, self.count - 1), 0)
        self.top = keep_in_view(self.top, self.cursor, self.count, max(self.rows, 1))

    def _follow(self, *, after: bool = True) -> None:
        """Say where the cursor is now; `after` that, read what it comes close to."""
        line = self.line
        key = line.key if line else None
        if line is not None or not self.count:
            if key != self._key:
                self._key = key
                self.post_message(self.CursorMoved(self, line))
        else:
            self._key = None  # it is known once its line has been read
        margin = self.rows // 2
        low, high = max(self.top - margin, 0), min(self.top + self.rows + margin, self.count)
        if after and (low < self._held[0] or high > self._held[1]):
            self._anew = True
            self.reload()

    # ------------------------------------------------------------- keys

    def _go(self, index: int) -> None:
        self.cursor = index
        self.moved, self._sought = time.monotonic(), None
        self._stay()
        last = min(self.top + self.rows, self.count)
        if self._held[0] <= self.top and last <= self._held[1]:
            self.paint()
        else:  # the lines are here in a moment, mostly; placeholders would be sent for nothing
            self.set_timer(PATIENCE, self.paint)
        self._follow()

    def action_move(self, by: int) -> None:
        """Move the cursor by lines."""
        self._go(self.cursor + by)

    def action_jump(self, last: bool) -> None:
        """Move the cursor to the first or the last line."""
        self._go(self.count - 1 if last else 0)

    def action_page(self, halves: int) -> None:
        """Move the cursor and what is shown by half pages."""
        by = halves * max(self.rows // 2, 1)
        self.top += by
        self.top = max(min(self.top, self.count - self.rows), 0)
        self._go(self.cursor + by)

    def action_sideways(self, by: int) -> None:
        """Move the columns sideways, by one."""
        last = sum(name not in FIXED for name in self.columns) - 1
        if by > 0 and not self._cut:
            return
        self.skip = max(min(self.skip + by, last), 0)
        self._arrange()

    def action_mark(self) -> None:
        """Mark the run under the cursor, or all runs of a folded line; or take the marks off."""
        if self.line is None:
            return
        members = self.line.members
        if all(run in self.marked for run in members):
            self.mark(run for run in self.marked if run not in members)
        else:
            self.mark([*self.marked, *members])

    def action_mark_all(self) -> None:
        """Mark all runs of the list, also those that are not in view."""
        self.run_worker(self._mark_all(), group="mark-all", exclusive=True)

    async def _mark_all(self) -> None:
        if self.source is None or self._thread is None:
            return
        loop = asyncio.get_running_loop()
        try:
            runs = await loop.run_in_executor(self._thread, self.source.runs)
        except RpatError as error:
            self.post_message(self.Failed(self, str(error)))
            return
        self.mark([*self.marked, *runs])

    def action_mark_none(self) -> None:
        """Take all marks off."""
        self.mark(())

    def mark(self, runs: Iterable[int]) -> None:
        """Let these runs be marked, and no others."""
        marked = dict.fromkeys(runs)
        if marked != self.marked:
            self.marked = marked
            self.paint()
            self.post_message(self.Marked(self, tuple(marked)))

    def action_open(self) -> None:
        """Open the run under the cursor; unfold a folded line."""
        if self.line is not None:
            self.post_message((self.Unfolded if self.line.folds else self.Opened)(self, self.line))

    def action_sort(self) -> None:
        """Ask for another order."""
        self.post_message(self.SortRequested(self, None))

    def goto(self, index: int) -> None:
        """Put the cursor on a line by its place."""
        self._go(index)

    def seek(self, key: int) -> None:
        """Put the cursor on a run once it has been found, unless a key is faster."""
        self._sought = key
        self._anew = True
        self.reload()

    # ------------------------------------------------------------- mouse and size

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is; a second click opens, one on a title sorts."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            hit = (p for p in self._placed if p.x <= offset.x <= p.x + p.width)
            if column := next(hit, None):
                self.post_message(self.SortRequested(self, column.column.name))
        elif self.top + offset.y - 1 < self.count:
            self._go(self.top + offset.y - 1)
            if event.chain == 2:
                self.action_open()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Move what is shown; the cursor comes along at the edge."""
        event.stop()
        self._wheel(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Move what is shown; the cursor comes along at the edge."""
        event.stop()
        self._wheel(-3)

    def _wheel(self, by: int) -> None:
        self.top = max(min(self.top + by, self.count - self.rows), 0)
        self._go(max(min(self.cursor, self.top + self.rows - 1), self.top))

    def on_resize(self) -> None:
        """Fit the columns and keep the cursor in view."""
        self._stay()
        self._arrange()
        self.reload()

    def on_focus(self, event: events.Focus) -> None:
        """Show the cursor's line as the one that keys go to."""
        self._focus(event, True)
        if self.parent is not None:
            self.parent.post_message(events.DescendantFocus(self))

    def on_blur(self, event: events.Blur) -> None:
        """Show that keys go elsewhere."""
        self._focus(event, False)
        if self.parent is not None:
            self.parent.post_message(events.DescendantBlur(self))

    def _focus(self, event: events.Event, has: bool) -> None:
        """Repaint the cursor's line; a widget would repaint itself whole."""
        event.prevent_default()
        self.has_focus = has
        self._styles.clear()
        y = self.cursor - self.top + 1
        self._strips.pop(y, None)
        self.refresh(Region(0, y, self.size.width, 1))

    def on_unmount(self) -> None:
        """Let the thread end; a read under way is not waited for."""
        if self._own_thread and isinstance(self._thread, ThreadPoolExecutor):
            close = getattr(self.source, "close", None)
            if close is not None:
                self._thread.submit(close)
            self._thread.shutdown(wait=False)

    # ------------------------------------------------------------- painting

    def notify_style_update(self) -> None:
        """Forget styles: the theme, or something else that decides them, has changed."""
        super().notify_style_update()
        self._styles.clear()
        self._strips.clear()

    def _arrange(self) -> None:
        """Place the columns anew and repaint everything."""
        width = self.size.width - 2  # the bar at the right edge, and a space before it
        self._placed, self._cut = place(
            self.columns,
            width,
            self.skip,
            start=GUTTER,
            means=self.means,
            glyphs=self.glyphs,
            ids=self.ids,
        )
        self._made.clear()
        self._shown = []
        self.paint()

    def paint(self) -> None:
        """Compare what is to be seen with what is shown; repaint the cells that differ."""
        if not self.is_mounted or not self.size or not (self.known or self._late):
            return
        wanted = [self._title(), *(self._row(y) for y in range(self.rows))]
        old, self._shown = self._shown, wanted
        if len(old) != len(wanted):
            self._strips.clear()
            self.refresh()
            return
        regions = []
        for y, (before, now) in enumerate(zip(old, wanted, strict=True)):
            if before is now or before == now:
                continue
            self._strips.pop(y, None)
            regions += _changes(y, before, now)
        if regions:
            self.refresh(*regions)

    def render(self) -> RenderResult:
        """Return nothing: lines are drawn one by one."""
        return ""

    def render_line(self, y: int) -> Strip:
        """Return a line of the screen."""
        strip = self._strips.get(y)
        if strip is None:
            if y >= len(self._shown):
                return Strip.blank(self.size.width, self.rich_style)
            segments = _segments((span.text, self._style(span.style)) for span in self._shown[y])
            strip = self._strips[y] = Strip(segments, self.size.width)
        return strip

    def _style(self, name: str) -> Style:
        """Return a style by its name; the cursor's line has a background of its own."""
        found = self._styles.get(name)
        if found is None:
            kind, _, under = name.partition("|")
            if kind.startswith("curve-"):
                found = self.rich_style + series_style(self.app, kind)
            else:
                found = (
                    self.get_component_rich_style(f"run-table--{kind}") if kind else self.rich_style
                )
            if under:
                over = "run-table--cursor" if self.has_focus else "run-table--blurred"
                style = self.get_component_rich_style(over)
                found += Style(bgcolor=style.bgcolor, bold=style.bold, reverse=style.reverse)
            self._styles[name] = found
        return found

    def _title(self) -> tuple[Span, ...]:
        """Return the row of titles, with the sort mark and signs for columns out of sight."""
        spans = [Span(0, " " * GUTTER, GUTTER, "title")]
        if self.skip:
            spans = [Span(0, f" {self.glyphs.left} ", GUTTER, "title")]
        sign = self.glyphs.descending if self.descending else self.glyphs.ascending
        for at in self._placed:
            text = self.glyphs.lam if at.column.name == "lam" else at.column.title
            style = "title"
            if at.column.name == self.sort:
                text, style = f"{text}{sign}", "sorted"
            spans.append(self._cell(at, (text, style)))
        end = self.glyphs.right if self._cut else " "
        return self._filled(spans, "title", Span(self.size.width - 1, end, 1, "title"))

    def _row(self, y: int) -> tuple[Span, ...]:
        """Return a row of the screen; the same object where nothing about it changed."""
        index = self.top + y
        bar = self._bar(y)
        if index >= self.count:
            text = self.empty if self.known and not self.count and y == 0 else ""
            text = fit(" " * GUTTER + text, max(self.size.width - 1, 0), self.glyphs)
            return (Span(0, text, self.size.width - 1, "dim"), bar)
        under = index == self.cursor
        line = self._lines.get(index)
        if line is None:
            return self._placeholder(under, bar)
        mark = self._mark(line)
        before = self._made.get(index)
        # What was made for the same line under the same circumstances is the same object.
        if before and before[0] is line and (before[1], before[2]) == (under, mark):
            spans = before[3]
        else:
            spans = self._spans(line, under, mark, bar)
            if len(self._made) > 4 * self.rows + 64:
                self._made.clear()
            self._made[index] = (line, under, mark, spans)
        return spans if spans[-1] == bar else (*spans[:-1], bar)

    def _spans(self, line: Line, under: bool, mark: str, bar: Span) -> tuple[Span, ...]:
        pointer = self.glyphs.cursor if under else " "
        spans = [Span(0, pointer, 1, _on("pointer", under))]
        sign, style = {"": (" ", ""), "part": (self.glyphs.part, "dim")}.get(
            mark, (self.glyphs.mark, mark)
        )
        spans.append(Span(1, sign, 1, _on(style, under)))
        fold = ""
        if line.folds:
            fold = self.glyphs.fold if line.open else self.glyphs.unfold
        spans.append(Span(2, fold or " ", 1, _on("pointer" if fold else "", under)))
        for at in self._placed:
            text, style = at.column.cell(line, self.glyphs)
            if at.column.name == "state" and at.width < 3:
                text = text[0]
            spans.append(self._cell(at, (text, style), under))
        return self._filled(spans, _on("", under), bar)

    def _cell(self, at: Placed, cell: Cell, under: bool = False) -> Span:
        text = fit(cell[0], at.width, self.glyphs, right=at.column.right)
        return Span(at.x, text, at.width, _on(cell[1], under))

    def _filled(self, spans: list[Span], style: str, last: Span) -> tuple[Span, ...]:
        """Return spans with the gaps between them, up to the last cell of the line."""
        made: list[Span] = []
        x = 0
        for span in spans:
            if span.x > x:
                made.append(Span(x, " " * (span.x - x), span.x - x, style))
            made.append(span)
            x = span.x + span.width
        if last.x > x:
            made.append(Span(x, " " * (last.x - x), last.x - x, style))
        return (*made, last)

    def _placeholder(self, under: bool, bar: Span) -> tuple[Span, ...]:
        """Return a line that is still being read."""
        text = f"{self.glyphs.cursor if under else ' '}  {self.glyphs.more}"
        width = max(self.size.width - 1, 0)
        return (Span(0, fit(text, width, self.glyphs), width, _on("dim", under)), bar)

    def _mark(self, line: Line) -> str:
        """Return the style of a line's mark; `part` where only some of its runs are marked."""
        marked = [run for run in line.members if run in self.marked]
        if not marked:
            return ""
        if len(marked) < len(line.members):
            return "part"
        return f"curve-{self.colour_of(line.members[0]) % CURVES}"

    def _bar(self, y: int) -> Span:
        """Return the cell at the right edge, which shows where in the list this is."""
        x = self.size.width - 1
        if self.count <= self.rows or not self.rows:
            return Span(x, " ", 1, "")
        size = max(self.rows * self.rows // self.count, 1)
        room = self.count - self.rows
        start = (self.top * (self.rows - size) + room // 2) // room
        if start <= y < start + size:
            return Span(x, self.glyphs.thumb, 1, "thumb")
        return Span(x, self.glyphs.track, 1, "bar")


def _on(style: str, under: bool) -> str:
    """Mark a style as one on the cursor's line, so that spans there differ from others."""
    return f"{style}|cursor" if under else style


def _segments(pieces: Iterable[tuple[str, Style]]) -> list[Segment]:
    """Join pieces of one look: each change costs up to 40 bytes. Blanks have only a background."""
    made: list[Segment] = []
    for text, style in pieces:
        if made and (last := made[-1].style) is not None:
            blank = not text.strip() and style.bgcolor == last.bgcolor
            if last == style or (blank and not last.underline and not last.reverse):
                made[-1] = Segment(made[-1].text + text, last)
                continue
        made.append(Segment(text, style))
    return made


def _changes(y: int, before: tuple[Span, ...], now: tuple[Span, ...]) -> list[Region]:
    """Return the regions in which two lines of the screen differ; near ones become one."""
    if [(s.x, s.width) for s in before] != [(s.x, s.width) for s in now]:
        return [Region(0, y, now[-1].x + 1, 1)]
    regions: list[Region] = []
    for old, new in zip(before, now, strict=True):
        if old == new:
            continue
        if regions and new.x - regions[-1].right <= NEAR:
            first = regions.pop().x
            regions.append(Region(first, y, new.x + new.width - first, 1))
        else:
            regions.append(Region(new.x, y, new.width, 1))
    return regions
