"""One run whole: every metric in small charts, results, findings, its config, its history."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from rpat.knobs import show
from rpat_tui.charts.chart import Marker, Series
from rpat_tui.screens import overtime
from rpat_tui.screens.aspects import overview
from rpat_tui.screens.base import Page, act_bindings
from rpat_tui.screens.border import BORDER_KEYS, Border
from rpat_tui.screens.failure import failure_text
from rpat_tui.store import queries
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.keyed import Keyed

CHARTS = {
    "accuracy": ("test/clean_acc", "test/pgd_acc"),
    "logit MSE": ("test/logit_mse", "test/logit_mse_success", "test/logit_mse_failure"),
    "loss": ("train/loss",),
}


class Scroll(Keyed, VerticalScroll, can_focus=True):
    """Facts that are moved by the same keys as everything else."""

    CONTEXT = "facts"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll_down", "down", show=False),
        Binding("k,up", "scroll_up", "up", show=False),
    ]


class Detail(Page):
    """A run on top of the screen it was opened from; escape goes back."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  textual's own form
    DEFAULT_CSS = """
    Detail {
        #charts { width: 3fr; }
        #facts { width: 2fr; min-width: 36; }
        #summary, #settings { padding: 0 1; scrollbar-size-vertical: 1;
                              scrollbar-color: $border-blurred;
                              scrollbar-background: $background; }
        #summary { height: auto; max-height: 60%; }
        #settings { height: 1fr; border-top: solid $border-blurred;
                    border-title-color: $text-muted; }
        #text, #config { height: auto; }
        ChartWidget { height: 1fr; }
        .plot { height: 1fr; }
        #card { height: auto; border: round $error; border-title-color: $error; padding: 0 1;
                display: none; }
        #card.-open { display: block; }
        &.-wide .pane {
            border: round $border-blurred; border-title-color: $text-muted;
            &:focus-within { border: round $primary; border-title-color: $foreground; }
        }
        &.-narrow #charts { width: 1fr; display: none; }
        &.-narrow #facts { width: 1fr; }
        &.-narrow #summary { max-height: 100%; height: 3fr; }
        &.-narrow #settings { height: 2fr; }
        &.-narrow.-charts #charts { display: block; }
        &.-narrow.-charts #facts { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back"),
        *act_bindings(
            "stop", "kill", "pause", "requeue", "restart", hidden=("kill", "requeue", "restart")
        ),
        Binding("L", "log", "log"),
        Binding("c", "clone", "new one like this", show=False),
        Binding("tab", "pane(1)", "next pane", show=False),
        Binding("shift+tab", "pane(-1)", "pane before", show=False),
        *BORDER_KEYS,
        Binding("y", "copy", "copy"),
    ]

    BORDER = Border("#facts")

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def body(self) -> ComposeResult:
        """Charts to the left, facts to the right."""
        yield Static("", id="card", markup=False)
        with Horizontal():
            with Vertical(id="charts"):
                for name in CHARTS:
                    with Vertical(classes="plot pane"):
                        yield ChartWidget(
                            title=name, charts=self.rpat.charts, id=f"c-{name.replace(' ', '-')}"
                        )
            with Vertical(id="facts"):
                with Scroll(id="summary", classes="pane") as summary:
                    summary.border_title = "Results"
                    yield Static("", id="text", markup=False)
                with Scroll(id="settings", classes="pane") as settings:
                    settings.border_title = "Config and history"
                    yield Static("", id="config", markup=False)

    @property
    def axis(self) -> str:
        """What the charts are drawn over: as in the list."""
        return overtime.recalled(self.rpat.remembered)

    def on_mount(self) -> None:
        """Begin with the curves, or with the results where only one of them has room."""
        if self.has_class("-narrow"):
            self.query_one("#summary").focus()
        else:
            self.query(ChartWidget).first().focus()

    def on_resize(self) -> None:
        """Fit the panes to the new width."""
        self.fit_border()

    def chosen(self) -> Sequence[int]:
        """Return the run."""
        return [self.n]

    async def renew(self) -> None:
        """Read charts and facts again."""
        for name, metrics in CHARTS.items():
            found = await self.rpat.reader.read(
                partial(overtime.read, numbers=[self.n], names=metrics, axis=self.axis)
            )
            chart = self.query_one(f"#c-{name.replace(' ', '-')}", ChartWidget)
            chart.set_series(
                [Series.of(c.title, c.x, c.y, colour=i, dashes=i) for i, c in
                 enumerate(found.curves)],
                title=name, planned_end=found.planned, x_name=found.x_name, whole=True,
            )  # fmt: skip
            chart.set_markers([Marker(x) for x in found.drops])
        home, signs = self.rpat.seen, self.rpat.glyphs
        texts = await self.rpat.reader.read(
            lambda db: (overview(home, db, self.n, signs), self._facts(db))
        )
        for place, text in zip(("text", "config"), texts, strict=True):
            pane = self.query_one(f"#{place}", Static)
            if pane.content != text:
                pane.update(text)
        failed = await self.rpat.reader.read(lambda db: failure_text(home, db, self.n))
        card = self.query_one("#card", Static)
        card.set_class(failed is not None, "-open")
        if failed is not None and failed != card.content:
            card.border_title = "What happened"
            card.update(failed)

    def _facts(self, db: object) -> Text:
        import sqlite3

        assert isinstance(db, sqlite3.Connection)
        text = Text()
        for section, values in queries.config_of(db, self.n).items():
            if not isinstance(values, dict) or not values:
                continue
            text.append(f"{section}\n", style="bold")
            for key, value in values.items():
                shown = show(tuple(value) if isinstance(value, list) else value)
                text.append(f"  {key:<16} ", style="dim").append(f"{shown or '–'}\n")
        text.append("history\n", style="bold")
        for move in queries.transitions(db, self.n):
            reason = f" {move['reason']}" if move["reason"] else ""
            text.append(f"  {queries.iso(move['t'])}  ", style="dim")
            text.append(f"{move['new']}{reason}\n")
        text.rstrip()
        return text

    def panes(self) -> dict[str, Widget]:
        """Return results, config and charts."""
        charts = dict(zip(CHARTS, self.query(ChartWidget), strict=True))
        return {
            "results": self.query_one("#summary"), "config": self.query_one("#settings"), **charts
        }  # fmt: skip

    def to_pane(self, pane: Widget) -> None:
        """Go to a pane; where there is little room, it comes to the front."""
        self.set_class(isinstance(pane, ChartWidget), "-charts")
        self.call_after_refresh(pane.focus)

    def action_pane(self, by: int) -> None:
        """Go to the next pane; where there is little room, it comes to the front."""
        panes = list(self.panes().values())
        here = next((i for i, pane in enumerate(panes) if pane.has_focus), 0)
        self.to_pane(panes[(here + by) % len(panes)])

    def on_chart_widget_axis_asked(self) -> None:
        """Draw all charts over steps, hours or epochs."""
        overtime.next_axis(self.rpat.remembered, self.axis)
        for chart in self.query(ChartWidget):
            chart.action_reset()
        self.aside(self.renew())

    def action_clone(self) -> None:
        """Compose a run like this one."""
        self.rpat.compose_like(self.n)

    def action_back(self) -> None:
        """Go back to where the run was opened."""
        self.app.pop_screen()

    def action_log(self) -> None:
        """Show the run's output."""
        self.rpat.run_at_cursor = self.n
        self.app.pop_screen()
        self.rpat.action_mode("logs")

    def on_chart_widget_crosshair_moved(self, event: ChartWidget.CrosshairMoved) -> None:
        """Link the crosshairs of all charts."""
        for chart in self.query(ChartWidget):
            if chart is not event.chart:
                chart.set_crosshair(event.x)
