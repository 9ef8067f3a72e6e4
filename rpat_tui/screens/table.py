"""Screen 4: the paper-style table, cell by cell."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from dataclasses import replace
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from rpat.errors import RpatError
from rpat_tui.contrast import RULE_TITLES, RULES
from rpat_tui.exports._layout import NO_RUN, TITLES
from rpat_tui.gaps import Plan, fill
from rpat_tui.glyphs import clock
from rpat_tui.paper_table import LAYOUTS
from rpat_tui.screens import paper
from rpat_tui.screens.ask import Ask
from rpat_tui.screens.base import IN_DEMO, Page, retitle
from rpat_tui.screens.pick import Pick
from rpat_tui.screens.saving import save
from rpat_tui.store import kin
from rpat_tui.store.queue import name_of
from rpat_tui.table import MEASURES
from rpat_tui.widgets.papertable import Layout, PaperTable

EVERYTHING = "everything"
FORMATS = {"md": "md", "latex": "tex", "csv": "csv", "json": "json", "html": "html"}
"""Formats of the export, and how their files end."""
DEMO_GOES = "the runs of the demo are deleted with it"
LISTED = 10
"""Parts of a plan that a question names."""
FRAMED = 110
"""Columns from which on panes have frames."""
CALM = 10
"""A table that is dear to make is made anew for at most a tenth of the time."""


class TableScreen(Page):
    """The table, and what is behind the cell at the cursor."""

    AUTO_FOCUS = "PaperTable"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (FRAMED, "-wide"), (150, "-broad")]  # noqa: RUF012
    DEFAULT_CSS = """
    TableScreen {
        #head, #cell { text-wrap: nowrap; text-overflow: ellipsis; }
        #head { height: 1; padding: 0 1; color: $text-muted; }
        #both { height: 1fr; }
        #left { height: 1fr; width: 1fr; padding: 0 1; }
        #aside { height: 4; padding: 0 1; border-top: solid $border-blurred; scrollbar-size: 1 1;
                 border-title-color: $text-muted; }
        #cell { height: auto; }
        &.-wide #left, &.-broad #left, &.-broad #aside {
            border: round $border-blurred; border-title-color: $text-muted;
        }
        &.-wide #left:focus-within, &.-broad #left:focus-within {
            border: round $primary; border-title-color: $foreground;
        }
        &.-wide #head, &.-broad #head { display: none; }
        &.-broad #both { layout: horizontal; }
        &.-broad #aside { width: 56; height: 1fr; }
        &.-broad #cell { text-wrap: wrap; }
        &.-broad.-beside #both { layout: vertical; }
        &.-broad.-beside #aside { width: 1fr; height: 5; }
        &.-broad.-beside #cell { text-wrap: nowrap; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("F", "fill(True)", "fill", tooltip="queue everything that the table lacks"),
        Binding(
            "f",
            "fill(False)",
            "fill the cell",
            show=False,
            tooltip="queue what the row at the cursor lacks in this column",
        ),
        Binding("P", "paper", "paper", tooltip="published numbers below ours"),
        Binding("b", "rule", "rule", tooltip="read results by the next rule"),
        Binding("R", "basis", "basis", show=False, tooltip="Mean and NRR on AutoAttack or PGD-20"),
        Binding("x", "columns", "columns", tooltip="show other columns"),
        Binding("v", "layout", "layout", tooltip="data sets side by side, or below each other"),
        Binding("slash", "narrow", "filter", tooltip="keep a data set, a norm, a network"),
        Binding("e", "export", "export", tooltip="write it to a file"),
        Binding("y", "copy", "copy", show=False, tooltip="copy the command that prints the same"),
        Binding("escape", "app.previous", "back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.ask = paper.Ask()
        self.answer = paper.Answer()
        self._next = 0.0
        self._pulse = -2
        self._needed = 0
        """The columns that data sets side by side take; 0 where that is not known."""
        self._wished = False
        """Whether a key has just asked for the layout."""

    def body(self) -> ComposeResult:
        """What is shown, the table, the cell."""
        yield Static("", id="head", markup=False)
        with Vertical(id="both"):
            with Vertical(id="left"):
                yield PaperTable("reading", ascii_only=self.rpat.glyphs.name == "ascii", id="table")
            with VerticalScroll(id="aside", can_focus=False) as aside:
                aside.border_title = "Cell"
                yield Static("", id="cell", markup=False)

    def on_mount(self) -> None:
        """Begin in the table, laid out as it was."""
        layout = self.rpat.remembered.get("table", "layout", "long")
        far = self.rpat.elsewhere.view.places if self.rpat.elsewhere is not None else []
        self.ask = replace(
            self.ask,
            layout=layout if layout in LAYOUTS else "long",
            remote=tuple(place.name for place in far),
        )
        self.table.focus()

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys of now; the foot of a narrow window has no room for that of the layout."""
        found = super().active_bindings
        if self.has_class("-narrow"):
            for key, active in found.items():
                if active.binding.id == "table.layout":
                    found[key] = active._replace(binding=replace(active.binding, show=False))
        return found

    @property
    def table(self) -> PaperTable:
        """The table."""
        return self.query_one(PaperTable)

    # ----------------------------------------------------------------- reading

    async def renew(self) -> None:
        """Read the table again, unless it was dear and has just been read."""
        if self._pulse == self.rpat.pulse and self._pulse >= 0:
            return
        if time.monotonic() >= self._next:
            await self._read()

    async def _read(self) -> None:
        began, ask, pulse = time.monotonic(), self.ask, self.rpat.pulse
        try:
            shown = await self.rpat.reader.read(partial(self._laid_out, ask=ask, room=self.room))
        except RpatError as error:
            self.rpat.say_in_bar(str(error))
            return
        took = time.monotonic() - began
        self._next = time.monotonic() + (CALM * took if took > 0.2 else 0)
        if self._next > time.monotonic():
            self.set_timer(CALM * took + 0.1, self._late)
        self._pulse = pulse
        if ask == self.ask:  # else another table was asked for meanwhile
            self._show(*shown)

    def _laid_out(
        self, db: sqlite3.Connection, ask: paper.Ask, room: int
    ) -> tuple[paper.Answer, Layout, int]:
        """Return the table as it fits, and the columns that its data sets side by side take."""
        answer, needed = paper.read(db, ask), 0
        if ask.layout != "long":
            layout = paper.laid_out(answer, self.rpat.glyphs, ask.layout)
            needed = layout.least
            if needed <= room:
                return answer, layout, needed
        return answer, paper.laid_out(answer, self.rpat.glyphs), needed

    @property
    def room(self) -> int:
        """The columns that lines may take where the cell's pane is below."""
        width = self.app.size.width
        return width - (4 if width >= FRAMED else 2)

    async def _late(self) -> None:
        """Read what changed while the table was at rest."""
        if self._pulse != self.rpat.pulse and self.is_current:
            await self._read()

    def _ask(self, **changes: object) -> None:
        self.ask = replace(self.ask, **changes)  # type: ignore[arg-type]
        self._head("reading")
        self.run_worker(self._read(), exclusive=False)

    # ----------------------------------------------------------------- showing

    def _show(self, answer: paper.Answer, layout: Layout, needed: int) -> None:
        table, wished = self.table, self._wished
        row, column = table.row, table.column % max(table.shown.each, 1)
        other = bool(layout.groups) != bool(table.shown.groups)
        self.answer, self._needed, self._wished = answer, needed, False
        self.set_class(bool(layout.groups), "-beside")
        table.empty = NO_RUN
        table.show(layout)
        if other and row >= 0:
            table.go(row, column)
        if wished and needed > self.room:
            self.ask = replace(self.ask, layout="long")
            now, hides = self.app.size.width, self.rpat.key_of("table.columns")
            self.app.notify(
                f"{self._too_narrow()}, this one is {now}; {hides} hides columns",
                severity="warning",
            )
            self._needed = 0
        elif wished:
            self.rpat.remembered.put("table", "layout", self.ask.layout)
        self._head()
        self._cell()

    def _too_narrow(self) -> str:
        frame = self.app.size.width - self.room
        return f"side by side needs a window {self._needed + frame} wide"

    def _head(self, doing: str = "") -> None:
        rows = self.answer.table.rows
        groups = [f"{sum(1 for row in rows if row.n)} rows"]
        waiting = sum(len(items) for items in self.answer.open.values())
        groups += [f"{waiting} open"] * bool(waiting)
        parts = [
            f"Table  {RULE_TITLES.get(self.ask.rule, self.ask.rule)}",
            self._too_narrow() if self._needed > self.room else "", ", ".join(groups),
            f"Mean, NRR on {'AA' if self.ask.robust == 'aa' else 'PGD-20'}",
            " ".join(self.ask.filters.values()),
            doing,
        ]  # fmt: skip
        said = "   ".join(filter(None, parts))
        self._put("#head", Text(said, no_wrap=True, overflow="ellipsis"))
        retitle(self.query_one("#left"), said)

    def _cell(self) -> None:
        at, column, signs = self.table.row, self.table.column, self.rpat.glyphs
        if at < 0 and self.table.beside:
            group = self.table.shown.groups[column // self.table.shown.each]
            said = paper.describe_gap(self.answer, self.table.beside, column, group)
        else:
            said = paper.describe(self.answer, at, column, signs)
        if self.has_class("-beside") or not self.has_class("-broad"):
            self._put("#cell", Text("\n".join(said), no_wrap=True, overflow="ellipsis"))
            return
        text = Text("\n\n".join(filter(None, said)))
        self._put("#cell", text.append_text(paper.by_seed(self.answer, at, signs)))

    def _put(self, place: str, text: Text) -> None:
        widget = self.query_one(place, Static)
        if getattr(widget, "_shown", None) != text:
            widget._shown = text  # type: ignore[attr-defined]
            grown = text.plain.count("\n") >= widget.size.height
            widget.update(text, layout=place == "#cell" and (grown or self.has_class("-broad")))

    # ----------------------------------------------------------------- what the table says

    def on_paper_table_moved(self, event: PaperTable.Moved) -> None:
        """Say what is behind the cell."""
        self._cell()

    async def on_paper_table_opened(self, event: PaperTable.Opened) -> None:
        """Show the runs behind the row."""
        if event.row < 0:
            self.app.notify("there is no run of this yet", severity="warning")
            return
        row = self.answer.table.rows[event.row]
        open_runs = [item.subject.run for item in self.answer.open.get(event.row, ())]
        names = sorted({*row.runs, *open_runs})
        if names:
            await self.rpat.show_runs(" or ".join(f"id={name}" for name in names))

    def on_resize(self, event: events.Resize) -> None:
        """Keep the line about the cell; lay the table out anew where it fits now, or no more."""
        self.call_after_refresh(self._cell)
        self.refresh_bindings()
        if self._needed and (self._needed <= self.room) != bool(self.table.shown.groups):
            self.aside(self._read())

    # ----------------------------------------------------------------- keys

    def action_paper(self) -> None:
        """Put the published numbers and the differences below ours, or take them away."""
        self._ask(paper=not self.ask.paper)

    def action_rule(self) -> None:
        """Read results by the next rule."""
        self._ask(rule=RULES[(RULES.index(self.ask.rule) + 1) % len(RULES)])

    def action_layout(self) -> None:
        """Put data sets side by side, as the paper does, or below each other."""
        self._wished = True
        self._ask(layout="paper" if self.ask.layout == "long" else "long")

    def action_basis(self) -> None:
        """Let Mean and NRR rest on AutoAttack or on PGD-20."""
        self._ask(robust="pgd20" if self.ask.robust == "aa" else "aa")

    def action_narrow(self) -> None:
        """Ask what to keep: a data set, a norm, a network, a method."""
        self.aside(self._ask_what_to_keep())

    async def _ask_what_to_keep(self) -> None:
        try:
            found = await self.rpat.reader.read(kin.facets)
        except RpatError as error:
            self.rpat.say_in_bar(str(error))
            return
        words = [EVERYTHING, *(f"{column} {value}" for column, value in found)]
        self.app.push_screen(Pick("show", words), self._narrow)

    def _narrow(self, choice: str | None) -> None:
        if choice == EVERYTHING:
            self._ask(dataset="", norm="", model="", method="")
        elif choice is not None:
            column, _, value = choice.partition(" ")
            self._ask(**{column: value})

    def action_columns(self) -> None:
        """Ask which column to show or to hide."""
        words = [f"{'hide' if m in self.ask.measures else 'show'} {TITLES[m]}" for m in MEASURES]
        self.app.push_screen(Pick("columns", words), self._column)

    def _column(self, choice: str | None) -> None:
        if choice is None:
            return
        name = next(m for m in MEASURES if TITLES[m] == choice.partition(" ")[2])
        shown = {*self.ask.measures} ^ {name}
        if shown:
            self._ask(measures=tuple(m for m in MEASURES if m in shown))

    def action_fill(self, everything: bool) -> None:
        """Say what would be queued so that nothing is missing, and queue it when told to."""
        self.aside(self._ask_to_fill(everything))

    async def _ask_to_fill(self, everything: bool) -> None:
        if self.rpat.readonly:
            self.app.notify("fill: this window is read-only", severity="warning")
            return
        if self.rpat.replay is not None:
            self.app.notify(IN_DEMO, severity="warning")
            return
        if self.rpat.elsewhere is not None:
            self.app.notify(
                "fill: other machines are in this table; rpat fill queues what this one lacks",
                severity="warning",
            )
            return
        answer, at = self.answer, -1 if everything else self.table.row
        if at < 0 and not everything:
            self.app.notify("fill: there is no run of this to repeat", severity="warning")
            return
        home, column, slots = self.rpat.home, self.table.column, self.rpat.slots
        plan = await self.told(
            self.rpat.reader.read(lambda db: paper.lacking(home, db, answer, at, column, slots))
        )
        if plan is None:
            return
        if not plan.tasks:
            where = "the table" if everything else "this cell"
            self.app.notify(f"nothing is missing of {where}, or it is on its way")
            return
        self.app.push_screen(Ask(_question(plan)), lambda yes: self._filled(yes, plan))

    def _filled(self, yes: bool | None, plan: Plan) -> None:
        home = self.rpat.home

        def do(db: sqlite3.Connection) -> str:
            numbers = fill(home, db, plan, self.ask.fill_command())
            return "queued: " + " ".join(map(name_of, numbers[:8])) + " …" * (len(numbers) > 8)

        if yes:
            self.rpat.change(do)

    def action_export(self) -> None:
        """Ask for a format and write the table to a file."""
        self.app.push_screen(Pick("export as", tuple(FORMATS)), self._export)

    def _export(self, layout: str | None) -> None:
        if layout is not None:
            self.run_worker(self._write(layout), exclusive=False)

    async def _write(self, layout: str) -> None:
        """Write what `rpat table` would print, so that it can be verified like that."""
        ask, why = self.ask, DEMO_GOES * (self.rpat.replay is not None)
        try:
            text, why = await self.rpat.reader.read(lambda db: paper.exported(db, ask, layout, why))
            path = await asyncio.to_thread(save, "table", FORMATS[layout], text)
        except RpatError as error:
            self.app.notify(str(error), severity="error")
            return
        said = [str(path)]
        said += ["with the columns that are hidden here"] * (ask.measures != MEASURES)
        said += [f"rpat table --verify cannot read it: {why}"] * bool(why)
        self.app.notify("\n".join(said), title="written")

    def action_copy(self) -> None:
        """Copy the command that prints the same."""
        self.rpat.copy(self.ask.command())


def _question(plan: Plan) -> str:
    """Return what is asked before anything is queued: how much, how long, what."""
    ends = plan.cost.finish
    when = f", all done ~{clock(ends[1])}" if ends is not None else ""
    listed = plan.lines()[:LISTED]
    if len(plan.tasks) > LISTED:
        listed.append(f"and {len(plan.tasks) - LISTED} more")
    return "\n".join([f"Queue {plan.count()}?  {plan.price()}{when}", "", *listed])
