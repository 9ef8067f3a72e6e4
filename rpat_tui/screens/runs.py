"""Screen 1: the runs, a live chart of the one at the cursor or of the marked ones, details."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from rpat.errors import ConfigError
from rpat_tui.charts.chart import Marker, Series
from rpat_tui.charts.palette import Palette
from rpat_tui.home import Home
from rpat_tui.keeping import labels
from rpat_tui.remembered import Remembered
from rpat_tui.screens import overtime
from rpat_tui.screens.ask import Line as AskLine
from rpat_tui.screens.aspects import PAGES, brief, tabs
from rpat_tui.screens.base import Page, act_bindings, retitle
from rpat_tui.screens.border import BORDER_KEYS, Border
from rpat_tui.screens.pick import Pick
from rpat_tui.store.filters import compile_filter
from rpat_tui.store.queue import name_of
from rpat_tui.store.rows import Line
from rpat_tui.store.window import SORTS, Query
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.columns import COLUMNS, DEFAULT
from rpat_tui.widgets.keyed import Keyed
from rpat_tui.widgets.runtable import RunTable

METRICS: dict[str, tuple[str, ...]] = {
    "accuracy": ("test/clean_acc", "test/pgd_acc"),
    "PGD": ("test/pgd_acc",),
    "clean": ("test/clean_acc",),
    "logit MSE": ("test/logit_mse", "test/logit_mse_success", "test/logit_mse_failure"),
    "loss": ("train/loss",),
    "loss of steps": ("step/loss",),
    "learning rate": ("lr",),
    "seconds an epoch": ("time/epoch_s",),
}
"""What the chart can show, in the order of the menu; of several runs only the last one's first."""

OVERLAY = {"accuracy": ("test/pgd_acc",), "logit MSE": ("test/logit_mse",)}
"""Of several runs a chart shows one curve each."""

MOST_MARKS = 500
"""Marks that are remembered."""

TITLES = {"accuracy": "PGD accuracy"}
"""What such a chart is called where the choice says more than is shown."""


class About(Keyed, VerticalScroll, can_focus=True):
    """Pages about the run at the cursor; left and right turn them."""

    DEFAULT_CSS = """
    About { scrollbar-size-vertical: 1; scrollbar-color: $border-blurred;
            scrollbar-background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h,left", "screen.page(-1)", "page before", show=False),
        Binding("l,right", "screen.page(1)", "next page", show=False),
        Binding("j,down", "scroll_down", "down", show=False),
        Binding("k,up", "scroll_up", "up", show=False),
    ]


class RunsScreen(Page):
    """The home screen; one pane at a time where there is little room."""

    AUTO_FOCUS = "RunTable"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide"), (150, "-broad")]  # noqa: RUF012
    DEFAULT_CSS = """
    RunsScreen {
        #list { width: 1fr; height: 1fr; }
        #side { width: 54; height: 1fr; }
        #head { height: 1; padding: 0 1; color: $text-muted; }
        #filter { display: none; height: 1; border: none; padding: 0 1; }
        #filter.-open { display: block; }
        #brief { height: 1; padding: 0 1; border: none; background: $panel; }
        &.-wide #brief, &.-broad #brief { display: none; }
        #welcome { display: none; height: 1fr; padding: 1 2; }
        &.-empty #welcome { display: block; }
        &.-empty #table { height: 2; }
        #plot { height: 3fr; }
        #details { height: 2fr; min-height: 8; padding: 0 1; border-top: solid $border-blurred;
                   border-title-color: $text-muted; border-title-background: $background; }
        #about { height: auto; min-height: 100%; }
        &.-narrow #side { display: none; width: 1fr; }
        &.-narrow.-chart #side { display: block; }
        &.-narrow.-chart #list { display: none; }
        &.-zoom-list #side { display: none; }
        &.-zoom-side #list { display: none; }
        &.-zoom-plot #details { display: none; }
        &.-zoom-details #plot { display: none; }
        &.-zoom-details #details { height: 1fr; }
        &.-wide .pane, &.-broad .pane {
            border: round $border-blurred; border-title-color: $text-muted;
            &:focus-within { border: round $primary; border-title-color: $foreground; }
        }
        &.-wide #head, &.-broad #head { display: none; }
        &.-broad #side { width: 40%; }
        &.-zoom-side #side { display: block; width: 1fr; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "app.compose", "new", tooltip="compose new runs"),
        Binding("c", "clone", "new one like this", show=False),
        *act_bindings(
            "stop", "kill", "pause", "requeue", "restart", hidden=("kill", "requeue", "restart")
        ),
        *act_bindings("archive", "unarchive", "delete", hidden=("archive", "unarchive", "delete")),
        Binding("t", "tag", "tag the chosen runs", show=False),
        Binding("e", "note", "note on the chosen runs", show=False),
        Binding("slash", "filter", "filter"),
        Binding(
            "v", "seeds", "seeds", show=False, tooltip="fold runs that differ only in the seed"
        ),
        Binding("a", "archived", "archived runs as well", show=False),
        Binding("z", "zoom", "this pane alone", show=False),
        Binding("tab", "pane(1)", "next pane", show=False),
        Binding("shift+tab", "pane(-1)", "pane before", show=False),
        Binding(
            "full_stop",
            "page(1)",
            "next page",
            key_display=".",
            show=False,
            tooltip="next page of the details",
        ),
        Binding("comma", "page(-1)", "page before", key_display=",", show=False),
        Binding("y", "copy", "copy", show=False),
        Binding("L", "app.mode('logs')", "log", show=False),
        Binding("escape", "clear", "take the filter away", show=False),
        Binding("o", "columns", "choose and order columns", show=False),
        *BORDER_KEYS,
    ]
    BORDER = Border("#side")

    def __init__(self) -> None:
        super().__init__()
        self.query_of_list = Query()
        self.metric = "accuracy"
        self.axis = "epoch"
        self.palette = Palette()
        self.at: Line | None = None
        self.totals = ""
        self.found: tuple[int, int] | None = None
        self.page = next(iter(PAGES))
        self.described: tuple[int | None, str] = (None, "")
        self._drawing, self._outdated = False, False

    # ----------------------------------------------------------------- layout

    def body(self) -> ComposeResult:
        """Table to the left, chart and details to the right."""
        with Horizontal():
            with Vertical(id="list", classes="pane"):
                yield Static("", id="head", markup=False)
                yield Input(placeholder="method:mart pgd>50 not is:archived", id="filter")
                yield RunTable(
                    glyphs=self.rpat.glyphs,
                    colour_of=lambda n: self.palette.colour(self.rpat.name_of(n)),
                    thread=self.rpat.reader.thread,
                    ids=self.rpat.ids,
                    id="table",
                )
                yield Static(_welcome(self.rpat.key_of), id="welcome", markup=False)
                yield Static("", id="brief", markup=False)
            with Vertical(id="side"):
                with Vertical(id="plot", classes="pane"):
                    yield ChartWidget(charts=self.rpat.charts, id="chart")
                with About(id="details", classes="pane") as about:
                    about.border_title = tabs(self.page)
                    yield Static("", id="about", markup=False)

    @property
    def table(self) -> RunTable:
        """The list."""
        return self.query_one(RunTable)

    @property
    def chart(self) -> ChartWidget:
        """The chart."""
        return self.query_one(ChartWidget)

    @property
    def details(self) -> About:
        """What is known of the run at the cursor."""
        return self.query_one(About)

    def on_mount(self) -> None:
        """Show the list as it was left."""
        self.query_of_list = recalled(self.rpat.remembered)
        none: list[object] = []
        kept = [str(name) for name in self.rpat.remembered.get("runs", "columns", none)]
        if "id" in kept and all(name in COLUMNS for name in kept):
            self.table.columns = tuple(kept)
        metric = self.rpat.remembered.get("runs", "metric", self.metric)
        self.metric = metric if metric in METRICS else self.metric
        self.axis = overtime.recalled(self.rpat.remembered)
        if self.query_of_list.where:
            self._open_line(self.query_of_list.where)
        self._list()
        self.table.focus()
        if marks := self.rpat.remembered.get("runs", "marks", none):
            self.run_worker(self._mark_again(marks), exclusive=False)

    async def _mark_again(self, marks: list[object]) -> None:
        """Mark the runs that were, as far as they are still there."""
        numbers = [n for n in marks if type(n) is int and 0 < n < 1 << 63]
        there = await self.told(self.rpat.reader.read(lambda db: existing(db, numbers)))
        if there and not self.table.marked:
            self.table.mark(there)

    def on_resize(self) -> None:
        """Fit the panes to the new width."""
        self.fit_border()

    def _list(self, *, keep: bool = True) -> None:
        q = self.query_of_list
        keep_in_mind(self.rpat.remembered, q)
        self.table.show(
            self.rpat.reader.store.listing(q), sort=q.sort, descending=q.descending,
            means=q.group_seeds, keep=keep,
        )  # fmt: skip

    async def renew(self) -> None:
        """Read the window of the list again, and what the chart shows."""
        self.table.reload()
        await self._draw()

    # ----------------------------------------------------------------- what the table says

    def on_run_table_loaded(self, event: RunTable.Loaded) -> None:
        """Say how many runs are shown."""
        self.found = (event.shown, event.every)
        self.set_class(not event.every, "-empty")
        self._head()

    def _head(self) -> None:
        where = self.query_of_list.where
        counted = "…" if self.found is None else "{:,} of {:,}".format(*self.found)
        text = f"Runs {counted}" + (f"   /{where}" if where else "")
        text += "   archived" if self.query_of_list.archived else ""
        if text != self.totals:
            self.totals = text
            self.query_one("#head", Static).update(text, layout=False)
            retitle(self.query_one("#list"), text)

    def on_run_table_failed(self, event: RunTable.Failed) -> None:
        """Say why nothing new is shown."""
        there = self.rpat.seen.exists()
        self.set_class(not there, "-empty")
        key = self.rpat.key_of("runs.compose")
        none = f"no runs yet: {key} composes the first one"
        self.rpat.say_in_bar(event.text if there else none)

    def on_run_table_cursor_moved(self, event: RunTable.CursorMoved) -> None:
        """Follow the cursor with chart and details."""
        self.at = event.line
        self.rpat.run_at_cursor = self._numbers()[-1] if event.line else None
        self.aside(self._draw())

    def on_run_table_marked(self, event: RunTable.Marked) -> None:
        """Overlay the marked runs."""
        self.rpat.marked = event.runs
        self.rpat.remembered.put("runs", "marks", list(event.runs[:MOST_MARKS]) or None)
        self.aside(self._draw_everywhere())

    async def _draw_everywhere(self) -> None:
        await self._draw()
        front = self.app.screen
        if front is not self and isinstance(front, Page):
            await front.renew()  # another screen was quicker than the marks

    def on_run_table_opened(self, event: RunTable.Opened) -> None:
        """Open a run."""
        self.rpat.open_run(event.line.members[-1])

    def on_run_table_unfolded(self, event: RunTable.Unfolded) -> None:
        """Show or hide a group's runs."""
        key = event.line.group
        there = self.query_of_list.unfolded
        changed = there - {key} if key in there else there | {key}
        self.query_of_list = dataclasses.replace(self.query_of_list, unfolded=changed)
        self._list()

    def on_run_table_sort_requested(self, event: RunTable.SortRequested) -> None:
        """Sort by the column, or ask for one; the same again reverses."""
        if event.column is not None:
            self._sort(event.column)
        else:
            self.app.push_screen(Pick("sort by", SORTS), self._sort)

    def _sort(self, column: str | None) -> None:
        if column is None:
            return
        q = self.query_of_list
        down = not q.descending if column == q.sort else column not in ("method", "dataset", "name")
        self.query_of_list = dataclasses.replace(q, sort=column, descending=down)
        self._list()

    # ----------------------------------------------------------------- chart and details

    def _numbers(self) -> tuple[int, ...]:
        """Return the runs of the chart: the marked ones and the one at the cursor, drawn last."""
        own = tuple(self.at.members) if self.at else ()
        marked = tuple(n for n in self.table.marked if n not in own)
        return (*marked, *own)

    async def _draw(self) -> None:
        """Draw what is chosen; what was chosen meanwhile is drawn right after, once."""
        self._outdated = True
        while self._outdated and not self._drawing:
            self._outdated, self._drawing = False, True
            try:
                await self.told(self._read_and_draw())
            finally:
                self._drawing = False

    async def _read_and_draw(self) -> None:
        numbers, chosen, axis = self._numbers(), self.metric, self.axis
        if not numbers:
            self.chart.set_series([], title="no run is chosen")
            self._describe(None, Text(""))
            return
        names = METRICS[chosen] if len(numbers) == 1 else OVERLAY.get(chosen, METRICS[chosen][:1])
        found = await self.rpat.reader.read(lambda db: overtime.read(db, numbers, names, axis))
        series = [
            Series.of(
                c.title if len(numbers) == 1 else c.run,
                c.x, c.y, colour=self.palette.colour(c.run) if len(numbers) > 1 else i,
                dashes=i % 4, letter="ABCDEFGH"[i % 8],
            )
            for i, c in enumerate(found.curves)
        ]  # fmt: skip
        title = chosen if len(numbers) == 1 else TITLES.get(chosen, chosen)
        if self.chart.chart.title != title:
            self.chart.reset_limits()
        self.chart.set_series(
            series, title=title, planned_end=found.planned, x_name=found.x_name, whole=True,
            focus=len(series) - 1 if series else None,
        )  # fmt: skip
        self.chart.set_markers([Marker(x) for x in found.drops])
        last, page, home, signs = numbers[-1], self.page, self.rpat.seen, self.rpat.glyphs
        text = await self.rpat.reader.read(lambda db: PAGES[page](home, db, last, signs))
        self._describe(last, text)
        if self.has_class("-narrow"):
            line = await self.rpat.reader.read(lambda db: brief(db, last, signs))
            if line != self.query_one("#brief", Static).content:
                self.query_one("#brief", Static).update(line, layout=False)

    def _describe(self, n: int | None, text: Text) -> None:
        """Show the page about a run; an equal one sends nothing."""
        about = self.query_one("#about", Static)
        if (n, self.page) != self.described:
            self.described = (n, self.page)
            self.details.scroll_home(animate=False)
        before = about.content
        if text != before:
            room, width = self.details.size.height, max(about.size.width, 1)
            texts = (text, before if isinstance(before, Text) else Text(""))
            longer = max(len(t.wrap(self.app.console, width)) for t in texts) > room
            about.update(text, layout=longer)  # laying out anew paints the whole screen

    def on_chart_widget_metrics_asked(self, event: ChartWidget.MetricsAsked) -> None:
        """Ask which metric the chart shall show."""
        self.app.push_screen(Pick("show", tuple(METRICS)), self._show_metric)

    def _show_metric(self, name: str | None) -> None:
        if name is not None:
            self.metric = name
            self.rpat.remembered.put("runs", "metric", name)
            self.run_worker(self._draw(), exclusive=False)

    def on_chart_widget_axis_asked(self) -> None:
        """Draw over steps, hours or epochs, and remember it."""
        self.axis = overtime.next_axis(self.rpat.remembered, self.axis)
        self.chart.action_reset()
        self.aside(self._draw())

    # ----------------------------------------------------------------- keys

    def chosen(self) -> Sequence[int]:
        """Return the marked runs, else those at the cursor."""
        return list(self.table.marked) or (list(self.at.members) if self.at else [])

    def action_filter(self) -> None:
        """Open the filter line."""
        line = self.query_one("#filter", Input)
        line.add_class("-open")
        line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as one types; what cannot be understood yet changes nothing."""
        self._filter(event.value, quiet=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter and go back to the list."""
        self._filter(event.value, quiet=False)
        self.table.focus()

    def _filter(self, text: str, *, quiet: bool) -> None:
        if text.startswith("@"):
            text = self.rpat.remembered.filters().get(text[1:], text)
        try:
            compile_filter(text)
        except ConfigError as error:
            if not quiet:
                self.app.notify(str(error), severity="warning")
            return
        if text != self.query_of_list.where:
            self.query_of_list = dataclasses.replace(self.query_of_list, where=text)
            self._list()
            self._head()  # the number of runs may stay the same

    def filter_by(self, where: str) -> None:
        """Show the runs that another screen is about; escape takes the filter away."""
        self._open_line(where)
        self._filter(where, quiet=False)
        self.table.focus()

    def _open_line(self, where: str) -> None:
        line = self.query_one("#filter", Input)
        line.value = where
        line.set_class(bool(where), "-open")

    def action_columns(self) -> None:
        """Choose and order the columns."""
        from rpat_tui.screens.arrange import Arrange

        self.app.push_screen(Arrange(self.table.columns), self._arrange)

    def _arrange(self, columns: tuple[str, ...] | None) -> None:
        if columns is not None:
            self.table.choose(columns)
            kept = None if columns == DEFAULT else list(columns)
            self.rpat.remembered.put("runs", "columns", kept)

    def sort_by(self, column: str) -> None:
        """Sort by a column; the same again reverses."""
        self._sort(column)

    def action_clear(self) -> None:
        """Close the filter line and take the filter away."""
        line = self.query_one("#filter", Input)
        line.value = ""
        line.remove_class("-open")
        self._filter("", quiet=True)
        self.table.focus()

    def action_tag(self) -> None:
        """Ask for tags of the chosen runs: +a -b."""
        self._write("tags of the chosen runs", "+rebuttal -old", _tag, "tag", _tags)

    def action_note(self) -> None:
        """Ask for a note on the chosen runs."""
        self._write("note on the chosen runs", "", _note, "note", lambda text: {"text": text})

    def _write(
        self, title: str, hint: str, change: Callable[[Home, Any, int, str], str],
        act: str, values: Callable[[str], dict[str, Any]],
    ) -> None:  # fmt: skip
        home = self.rpat.home

        async def write(text: str) -> None:
            rows = await self.told(self.rows()) or []
            self.rpat.change_runs(rows, act, values(text), lambda db, n: change(home, db, n, text))

        def answered(text: str | None) -> None:
            if text:
                self.aside(write(text))

        self.app.push_screen(AskLine(title, hint=hint), answered)

    def action_seeds(self) -> None:
        """Fold runs that differ only in the seed, or unfold them."""
        q = self.query_of_list
        self.query_of_list = dataclasses.replace(
            q, group_seeds=not q.group_seeds, unfolded=frozenset()
        )
        self._list()

    def action_archived(self) -> None:
        """Show archived runs as well, or not."""
        q = self.query_of_list
        self.query_of_list = dataclasses.replace(q, archived=not q.archived)
        self._list()
        self._head()

    def panes(self) -> dict[str, Widget]:
        """Return list, chart and details."""
        return {"list": self.table, "chart": self.chart, "details": self.details}

    def action_pane(self, by: int) -> None:
        """Go to the next pane: list, chart, details."""
        panes = list(self.panes().values())
        here = next((i for i, pane in enumerate(panes) if pane.has_focus), 0)
        self.to_pane(panes[(here + by) % len(panes)])

    def to_pane(self, pane: Widget) -> None:
        """Bring a pane to the front and go there."""
        self.set_class(pane is not self.table, "-chart")
        self.remove_class("-zoom-list", "-zoom-side", "-zoom-plot", "-zoom-details")
        self.fit_border()
        pane.focus()

    def action_zoom(self) -> None:
        """Give the focused pane the whole screen, or take it back."""
        if self.table.has_focus:
            self.toggle_class("-zoom-list")
            self.fit_border()
            return
        on = not self.has_class("-zoom-side")
        self.set_class(on, "-zoom-side")
        self.set_class(on and self.chart.has_focus, "-zoom-plot")
        self.set_class(on and self.details.has_focus, "-zoom-details")
        self.fit_border()

    def action_page(self, by: int) -> None:
        """Show another page about the run."""
        names = list(PAGES)
        self.page = names[(names.index(self.page) + by) % len(names)]
        retitle(self.details, Content.from_markup(tabs(self.page)))
        self.aside(self._draw())

    def action_clone(self) -> None:
        """Compose a run like the one at the cursor."""
        if self.at:
            self.rpat.compose_like(self.at.members[-1])


def _welcome(key_of: Callable[[str], str]) -> Text:
    """Return what a home without runs says: how one begins, with the keys in force."""
    compose = key_of("runs.compose")
    text = Text(f"No runs yet: {compose} composes the first one.\n\n")
    for key, said in (
        (compose, "a form; the data set digits needs no GPU"),
        (key_of("everywhere.keys"), "every key of this screen"),
        (key_of("everywhere.command-palette"), "every action by its name"),
        (key_of("everywhere.leave"), "leaves; runs go on without this window"),
    ):
        text.append(f"  {key:<8}", style="bold").append(f"{said}\n")
    text.append("\nrpat tui --demo shows this window with replayed recordings.", style="dim")
    return text


def recalled(kept: Remembered) -> Query:
    """Return the list as it was left; what is not understood any more is as in a new home."""
    where = kept.get("runs", "where", "")
    try:
        compile_filter(where)
        q = Query(where=where, sort=kept.get("runs", "sort", "id"))
    except ConfigError:
        q = Query()
    none: list[object] = []
    folds = kept.get("runs", "unfolded", none)
    pairs = [tuple(f) for f in folds if isinstance(f, list) and len(f) == 2]
    return dataclasses.replace(
        q,
        descending=kept.get("runs", "descending", True),
        group_seeds=kept.get("runs", "group_seeds", False),
        archived=kept.get("runs", "archived", False),
        unfolded=frozenset(p for p in pairs if all(isinstance(x, str) for x in p)),
    )


def keep_in_mind(kept: Remembered, q: Query) -> None:
    """Remember how the list is looked at; what is as in a new home is forgotten."""
    new = Query()
    for name in ("where", "sort", "descending", "group_seeds", "archived"):
        value = getattr(q, name)
        kept.put("runs", name, None if value == getattr(new, name) else value)
    kept.put("runs", "unfolded", [list(group) for group in sorted(q.unfolded)] or None)


def existing(db: Any, numbers: Sequence[int]) -> list[int]:
    """Return those runs that are there, in their order."""
    marks = ",".join("?" * len(numbers))
    there = {n for (n,) in db.execute(f"select n from runs where n in ({marks})", numbers)}
    return [n for n in numbers if n in there]


def _tag(home: Home, db: Any, n: int, text: str) -> str:
    words = _tags(text)
    labels.tag(home, db, n, words["add"], words["remove"])
    return f"{name_of(n)}: tagged {text}"


def _tags(text: str) -> dict[str, list[str]]:
    """Return the tags to add and to remove."""
    words = text.replace(",", " ").split()
    return {
        "add": [word.removeprefix("+") for word in words if not word.startswith("-")],
        "remove": [word[1:] for word in words if word.startswith("-")],
    }


def _note(home: Home, db: Any, n: int, text: str) -> str:
    labels.write(home, db, n, note=text)
    return f"{name_of(n)}: noted"
