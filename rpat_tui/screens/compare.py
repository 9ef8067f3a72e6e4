"""Screen 3: groups of runs beside each other: curves, the Pareto plane, configs, results, tests."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from rpat.errors import RpatError
from rpat_tui import sheet
from rpat_tui.charts.chart import Floats, Marker, Series
from rpat_tui.charts.plane import Point
from rpat_tui.charts.smooth import band
from rpat_tui.contrast import MOST, RULE_TITLES, RULES, Contrast, Group, contrast, groups_of
from rpat_tui.launch.differences import differences
from rpat_tui.screens import beside
from rpat_tui.screens.base import Page, retitle
from rpat_tui.screens.border import BORDER_KEYS, Border
from rpat_tui.screens.diffing import FullDiff
from rpat_tui.screens.pick import Pick
from rpat_tui.screens.saving import save
from rpat_tui.store import curves, kin
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.colours import series_colours
from rpat_tui.widgets.keyed import Keyed
from rpat_tui.widgets.plane import PlaneWidget

METRICS = {
    "PGD": "test/pgd_acc",
    "clean": "test/clean_acc",
    "logit MSE": "test/logit_mse",
    "logit MSE, success": "test/logit_mse_success",
    "logit MSE, failure": "test/logit_mse_failure",
    "loss": "train/loss",
    "learning rate": "lr",
    "seconds an epoch": "time/epoch_s",
}
"""What the curves can show, in the order of the menu."""
PANES = {
    "groups": "Groups", "curves": "Curves", "plane": "Pareto", "config": "Config",
    "results": "Results",
}  # fmt: skip
"""In the order of the tab key."""
NOBODY = "no runs are chosen: mark some with space on screen 1, or put the cursor on one"
WHOLE = ("test/clean_acc", "test/pgd_acc")


@dataclass(frozen=True, slots=True)
class Bundle:
    """One metric of one group: its mean over seeds and their deviation."""

    group: Group
    x: Floats
    mean: Floats
    spread: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that the screen shows, as of one reading."""

    groups: tuple[Group, ...] = ()
    made: Contrast = field(default_factory=lambda: Contrast(groups=()))
    bundles: tuple[Bundle, ...] = ()
    planned: float | None = None
    drops: tuple[float, ...] = ()
    path: dict[str, tuple[Bundle, ...]] = field(default_factory=dict)
    """Clean and PGD accuracy of each group, by letter."""
    code: tuple[str, ...] = ()
    whole: bool = True
    """Whether each group holds all seeds that there are."""


class Groups(Keyed, VerticalScroll, can_focus=True):
    """The list of groups, with a cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", show=False),
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("space", "include", "in/out"),
    ]

    class Moved(Message):
        """The cursor is on another group."""

    @dataclass
    class Toggled(Message):
        """A group shall be left out, or come back."""

        at: int

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.at, self.count = 0, 0

    def compose(self) -> ComposeResult:
        """Hold a text."""
        yield Static("", markup=False)

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.at = min(max(self.at + by, 0), max(self.count - 1, 0))
        self.post_message(self.Moved())

    def action_include(self) -> None:
        """Leave the group at the cursor out, or bring it back."""
        self.post_message(self.Toggled(self.at))


def _size_panes(screen: Screen[Any], width: int | None) -> None:
    """Give the left column a width; None is the one of the CSS."""
    columns = None if width is None else f"{width} 1fr 1fr"
    screen.query_one("#panes").styles.grid_columns = columns


class CompareScreen(Page):
    """Groups, curves, plane, configs and results; one pane at a time where there is little room."""

    AUTO_FOCUS = "Groups"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  textual's own form
    DEFAULT_CSS = """
    CompareScreen {
        #panes { layout: grid; grid-size: 3 3; grid-columns: 38 1fr 1fr; grid-rows: 9 1fr 13;
                 height: 1fr; }
        #panes > * { height: 1fr; width: 1fr; }
        #curves, #plane { row-span: 2; }
        #strip { display: none; height: 1; padding: 0 1; color: $text-muted; }
        #panes > * { border: round $border-blurred; border-title-color: $text-muted; }
        #groups, #config, #results { padding: 0 1; }
        #panes > *:focus { border: round $primary; border-title-color: $foreground; }
        #groups Static, #config Static { text-wrap: nowrap; text-overflow: ellipsis; }
        #config { row-span: 2; }
        #results { column-span: 2; }
        &.-narrow #panes { grid-size: 1 1; grid-columns: 1fr; grid-rows: 1fr; }
        &.-one #panes { grid-size: 1 1; grid-columns: 1fr; grid-rows: 1fr; }
        &.-narrow #panes > * { row-span: 1; column-span: 1; display: none; }
        &.-one #panes > * { row-span: 1; column-span: 1; display: none; }
        &.-narrow #panes > .-here { display: block; }
        &.-narrow #panes > * { border: none; }
        &.-narrow #panes > *:focus { border: none; }
        &.-narrow #strip, &.-one #strip { display: block; }
        &.-narrow #panes.-pair { grid-size: 1 2; grid-rows: 8 1fr; }
        &.-narrow #panes.-pair > #results { border-top: solid $border-blurred; }
        &.-one #panes > .-here { display: block; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric", "metric"),
        Binding("b", "rule", "rule", priority=True),
        Binding(
            "a",
            "keys_shown",
            "all",
            show=False,
            tooltip="all keys of the configs, or those that differ",
        ),
        Binding("D", "full_diff", "diff", tooltip="everything in which two groups differ"),
        Binding("e", "export", "export"),
        Binding("y", "copy", "copy", show=False),
        Binding("tab", "pane(1)", "pane", priority=True),
        Binding("shift+tab", "pane(-1)", "pane before", show=False, priority=True),
        Binding("z", "zoom", "zoom", show=False),
        Binding("T", "app.mode('table')", "table", show=False),
        Binding("escape", "app.previous", "back", show=False),
        *BORDER_KEYS,
    ]

    BORDER = Border("#groups", left=True, size=_size_panes)

    def __init__(self) -> None:
        super().__init__()
        self.metric, self.rule = "PGD", "best"
        self.every_key = False
        self.left_out: set[kin.Key] = set()
        self.seen = Seen()
        self._code: dict[tuple[int, int], str] = {}

    def body(self) -> ComposeResult:
        """Groups and configs to the left, charts and results to the right."""
        yield Static("", id="strip")
        with Container(id="panes"):
            yield Groups(id="groups")
            yield ChartWidget(charts=self.rpat.charts, id="curves")
            yield PlaneWidget(charts=self.rpat.charts, id="plane")
            with VerticalScroll(id="config", can_focus=True):
                yield Static("", markup=False)
            with VerticalScroll(id="results", can_focus=True):
                yield Static("", markup=False)

    def on_mount(self) -> None:
        """Begin with the list of groups."""
        self._go("groups")

    @property
    def chart(self) -> ChartWidget:
        """The curves."""
        return self.query_one(ChartWidget)

    @property
    def groups(self) -> Groups:
        """The list of groups."""
        return self.query_one(Groups)

    def chosen(self) -> Sequence[int]:
        """Return the runs that are compared."""
        return [n for group in self.seen.groups for n in group.numbers]

    # ----------------------------------------------------------------- reading

    async def renew(self) -> None:
        """Read everything again, in the reader's thread."""
        marked, cursor = self.rpat.marked, self.rpat.run_at_cursor
        read = partial(self._read, marked=marked, cursor=cursor, rule=self.rule, metric=self.metric)
        try:
            seen = await self.rpat.reader.read(read)
        except RpatError as error:
            self.rpat.say_in_bar(str(error))
            return
        before, self.seen = self.seen, seen
        if [g.key for g in before.groups] != [g.key for g in seen.groups]:
            self.query_one(PlaneWidget).reset_limits()
            self.chart.reset_limits()
        self.groups.count = len(seen.groups)
        self.groups.at = min(self.groups.at, max(len(seen.groups) - 1, 0))
        self._show()

    def _read(
        self,
        db: sqlite3.Connection,
        *,
        marked: Sequence[int],
        cursor: int | None,
        rule: str,
        metric: str,
    ) -> Seen:
        numbers = list(marked)
        if not numbers and cursor is not None:
            numbers = kin.look_alikes(db, cursor, MOST)
        every = groups_of(db, numbers) if numbers else ()
        shown = [group for group in every if group.key not in self.left_out]
        if not shown:
            return Seen(groups=every)
        made = contrast(db, shown, rule=rule, paper=True)
        read = curves.read(db, [n for g in shown for n in g.numbers], [METRICS[metric], *WHOLE])
        bundles = {name: _bundles(read, shown, name) for name in {METRICS[metric], *WHOLE}}
        firsts = [group.numbers[0] for group in shown]
        return Seen(
            groups=every,
            made=made,
            bundles=bundles[METRICS[metric]],
            planned=read.planned,
            drops=tuple(read.drops),
            path={
                a.group.letter: (a, b)
                for a in bundles[WHOLE[0]]
                for b in bundles[WHOLE[1]]
                if a.group is b.group
            },
            code=tuple(self._code_of(db, shown[0], other) for other in shown[1:]),
            whole=sorted(kin.seeds_of(db, firsts)) == sorted(n for g in shown for n in g.numbers),
        )

    def _code_of(self, db: sqlite3.Connection, first: Group, other: Group) -> str:
        """Say how the code of two groups differs; read once, since snapshots never change."""
        pair = (first.numbers[0], other.numbers[0])
        if pair not in self._code:
            self._code[pair] = beside.code_line(differences(self.rpat.seen, db, *pair))
        return f"{first.letter}..{other.letter}  {self._code[pair]}"

    # ----------------------------------------------------------------- showing

    def _show(self) -> None:
        look = beside.Look(
            colours=series_colours(self.app), ascii_only=self.rpat.glyphs.name == "ascii",
            states=self.rpat.glyphs.states,
        )  # fmt: skip
        seen, made = self.seen, self.seen.made
        runs = sum(len(group.numbers) for group in made.groups)
        many = f"{len(made.groups)} group{'s' * (len(made.groups) != 1)}"
        self._title("groups", f"{many}, {runs} run{'s' * (runs != 1)}")
        self._put("groups", beside.groups_text(
            seen.groups, {g.letter for g in made.groups}, self.groups.at, look,
        ) if seen.groups else Text(NOBODY))  # fmt: skip
        keys = "all keys" if self.every_key else f"{len(made.differing)} of {len(made.settings)}"
        self._title("config", f"Config: {keys}{'' if self.every_key else ' keys differ'}")
        self._put(
            "config",
            beside.config_text(made, seen.code, self.every_key, self._width("config"), look),
        )
        self._title("results", f"Results: {RULE_TITLES.get(self.rule, self.rule)}")
        self._put("results", beside.results_text(made, self._width("results"), look))
        self._draw_curves()
        self._draw_plane()
        here = next((p for p in PANES if self.query_one(f"#{p}").has_focus_within), "groups")
        title = "" if here in ("curves", "plane") else self.query_one(f"#{here}").border_title
        text, bar = (
            strip(here, Content.from_markup(str(title or "")).plain),
            self.query_one("#strip", Static),
        )
        if bar.content != text:
            bar.update(text)

    def _width(self, pane: str) -> int:
        return self.query_one(f"#{pane}").size.width or self.app.size.width - 4

    def _title(self, pane: str, text: str) -> None:
        retitle(self.query_one(f"#{pane}"), text)

    def _put(self, pane: str, text: Text) -> None:
        widget = self.query_one(f"#{pane}").query_one(Static)
        if getattr(widget, "_shown", None) != text:
            widget._shown = text  # type: ignore[attr-defined]
            widget.update(text)

    def _draw_curves(self) -> None:
        series = []
        for bundle in self.seen.bundles:
            group, at = bundle.group, self._colour(bundle.group)
            more = np.nan_to_num(bundle.spread, nan=0.0)
            banded = bool(np.isfinite(bundle.spread).any())
            series.append(Series.of(
                group.title, bundle.x, bundle.mean, colour=at, dashes=at % 4,
                letter=group.letter,
                lower=bundle.mean - more if banded else None,
                upper=bundle.mean + more if banded else None,
            ))  # fmt: skip
        banded = any(s.lower is not None for s in series)
        self.chart.set_series(
            series, title=self.metric + ("  ±1 std" if banded else ""),
            planned_end=self.seen.planned, x_name="epoch", whole=True,
        )  # fmt: skip
        self.chart.set_markers([Marker(x) for x in self.seen.drops])

    def _draw_plane(self) -> None:
        """Show the results, or where each group was at the crosshair's epoch."""
        plane, at = self.query_one(PlaneWidget), self.chart.view.crosshair
        points, made = [], self.seen.made
        when = "last epoch" if at is None else f"epoch {at:g}"
        if at is None and not any(measure == "pgd20" for _, measure in made.cells):
            at = math.inf
        if at is not None:
            for group in made.groups:
                clean, pgd = self.seen.path.get(group.letter, (None, None))
                if clean and pgd:
                    here = _at(clean, at), _at(pgd, at)
                    colour = self._colour(group)
                    points.append(Point(group.title, *here, colour=colour, letter=group.letter))
            plane.set_points(points, title=f"Pareto, {when}")
            return
        for group in made.groups:
            clean_cell, pgd_cell = (made.cells.get((group.letter, m)) for m in ("clean", "pgd20"))
            colour, row = self._colour(group), made.rows.get(group.letter)
            if clean_cell and pgd_cell:
                points.append(Point(
                    group.title, clean_cell.mean, pgd_cell.mean, colour=colour, letter=group.letter
                ))  # fmt: skip
            printed = row.printed() if row is not None and row.paper else {}
            x, y = printed.get("clean"), printed.get("pgd20")
            if x is not None and y is not None:
                points.append(Point(f"paper {group.letter}", x, y, colour=colour))
        plane.set_points(points, title="Pareto", y_name="PGD-20")

    def _colour(self, group: Group) -> int:
        return ord(group.letter) - ord("A")

    # ----------------------------------------------------------------- what panes say

    def on_groups_moved(self) -> None:
        """Show the cursor elsewhere."""
        self._show()

    def on_groups_toggled(self, event: Groups.Toggled) -> None:
        """Leave a group out, or bring it back."""
        if event.at < len(self.seen.groups):
            self.left_out ^= {self.seen.groups[event.at].key}
            self.aside(self.renew())

    def on_chart_widget_axis_asked(self) -> None:
        """Say why there is one axis here."""
        self.app.notify("means over seeds are drawn over epochs; screen 1 has steps and hours")

    def on_chart_widget_crosshair_moved(self, event: ChartWidget.CrosshairMoved) -> None:
        """Show on the plane where the groups were at that epoch."""
        self.query_one(PlaneWidget).reset_limits()
        self._draw_plane()

    def on_chart_widget_metrics_asked(self, event: ChartWidget.MetricsAsked) -> None:
        """Ask which metric the curves shall show."""
        self.action_metric()

    def on_resize(self, event: events.Resize) -> None:
        """Lay the results out for the new width."""
        self.fit_border()
        self.call_after_refresh(self._show)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Remember the pane, for where only one has room."""
        here = next((p for p in PANES if self.query_one(f"#{p}").has_focus_within), "groups")
        for name in PANES:
            self.query_one(f"#{name}").set_class(name == here, "-here")
        self._pair(here)
        self.call_after_refresh(self._show)

    # ----------------------------------------------------------------- keys

    def _go(self, pane: str) -> None:
        for name in PANES:
            self.query_one(f"#{name}").set_class(name == pane, "-here")
        self._pair(pane)
        widget = self.query_one(f"#{pane}")
        self.call_after_refresh(widget.focus)

    def _pair(self, pane: str) -> None:
        """Where there is little room, let the results stand below the groups."""
        pair = pane == "groups" and self.has_class("-narrow") and not self.has_class("-one")
        self.query_one("#panes").set_class(pair, "-pair")
        if pair:
            self.query_one("#results").add_class("-here")

    def panes(self) -> dict[str, Widget]:
        """Return groups, curves, plane, configs and results."""
        return {name: self.query_one(f"#{name}") for name in PANES}

    def to_pane(self, pane: Widget) -> None:
        """Go to a pane; where there is little room, it comes to the front."""
        self._go(str(pane.id))

    def action_pane(self, by: int) -> None:
        """Go to the next pane."""
        names = list(PANES)
        here = next((i for i, p in enumerate(names) if self.query_one(f"#{p}").has_focus), -by)
        self._go(names[(here + by) % len(names)])

    def action_zoom(self) -> None:
        """Give the focused pane the whole screen, or take it back."""
        self.toggle_class("-one")
        self.fit_border()
        self.call_after_refresh(self._show)

    def action_metric(self) -> None:
        """Ask which metric the curves shall show."""
        self.app.push_screen(Pick("show", tuple(METRICS)), self._take_metric)

    def _take_metric(self, name: str | None) -> None:
        if name is not None and name != self.metric:
            self.metric = name
            self.chart.reset_limits()
            self.run_worker(self.renew(), exclusive=False)

    def action_rule(self) -> None:
        """Read the results by the next rule."""
        self.rule = RULES[(RULES.index(self.rule) + 1) % len(RULES)]
        self.query_one(PlaneWidget).reset_limits()
        self.aside(self.renew())

    def action_keys_shown(self) -> None:
        """Show all keys of the configs, or those that differ."""
        self.every_key = not self.every_key
        self._show()

    def action_full_diff(self) -> None:
        """Show everything in which the group at the cursor differs from the first one."""
        self.aside(self._read_full_diff())

    async def _read_full_diff(self) -> None:
        groups = self.seen.made.groups
        if len(groups) < 2:
            self.app.notify("two groups are needed: mark runs on screen 1", severity="warning")
            return
        at = self.seen.groups[self.groups.at] if self.seen.groups else groups[1]
        other = at if at in groups and at is not groups[0] else groups[1]
        home, pair = self.rpat.seen, (groups[0].numbers[0], other.numbers[0])
        found = await self.told(self.rpat.reader.read(lambda db: differences(home, db, *pair)))
        if found is not None:
            self.app.push_screen(FullDiff(found))

    def action_export(self) -> None:
        """Ask for a format and write the comparison to a file."""
        if self.seen.made.groups:
            self.app.push_screen(Pick("export as", tuple(sheet.FORMATS)), self._export)

    def _export(self, layout: str | None) -> None:
        if layout is not None:
            self.run_worker(self._write(layout), exclusive=False)

    async def _write(self, layout: str) -> None:
        text = sheet.FORMATS[layout](self.seen.made)
        try:
            path = await asyncio.to_thread(
                save, "compare", sheet.ENDINGS.get(layout, layout), text
            )  # fmt: skip
        except RpatError as error:
            self.app.notify(str(error), severity="error")
            return
        self.app.notify(str(path), title="written")

    def action_copy(self) -> None:
        """Copy the command that prints the same."""
        groups = self.seen.made.groups
        words = [
            self.rpat.name_of(n)
            for g in groups
            for n in (g.numbers[:1] if self.seen.whole else g.numbers)
        ]
        rule = [] if self.rule == "best" else ["--rule", self.rule]
        only = [] if self.seen.whole else ["--only"]
        self.rpat.copy(" ".join(["rpat compare", *words, *rule, *only]))


def strip(here: str, title: str) -> Text:
    """Return the names of the panes, the one in front marked, and what that one shows."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for name, said in PANES.items():
        text.append(f" {said} ", style="reverse" if name == here else "").append(" ")
    return text.append(f"  {title}", style="bold")


def _bundles(read: curves.Curves, groups: Sequence[Group], name: str) -> tuple[Bundle, ...]:
    """Return the mean curve of each group that has points."""
    found = []
    for group in groups:
        lines = [
            (np.array(c.x, dtype=np.float64), np.array(c.y, dtype=np.float64))
            for c in read.curves
            if c.name == name and c.n in group.numbers
        ]
        if lines:
            found.append(Bundle(group, *band(lines, least=1)))
    return tuple(found)


def _at(bundle: Bundle, x: float) -> float:
    """Return the mean at the nearest place."""
    if not bundle.x.size:
        return math.nan
    i = bundle.x.size - 1 if math.isinf(x) else int(np.abs(bundle.x - x).argmin())
    return float(bundle.mean[i])
