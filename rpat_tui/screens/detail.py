"""One run whole: every metric in small charts, results, findings, its config, its history."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from rpat.knobs import show
from rpat_tui.charts.chart import Marker, Series
from rpat_tui.screens.base import Page, act_bindings
from rpat_tui.screens.border import BORDER_KEYS, Border
from rpat_tui.screens.details import describe_run
from rpat_tui.screens.failure import failure_text
from rpat_tui.store import curves, queries
from rpat_tui.widgets.chart import ChartWidget

CHARTS = {
    "accuracy": ("test/clean_acc", "test/pgd_acc"),
    "logit MSE": ("test/logit_mse", "test/logit_mse_success", "test/logit_mse_failure"),
    "loss": ("train/loss",),
}


class Detail(Page):
    """A run on top of the screen it was opened from; escape goes back."""

    DEFAULT_CSS = """
    Detail {
        #charts { width: 3fr; }
        #facts { width: 2fr; min-width: 36; border-left: solid $border-blurred; padding: 0 1;
                 scrollbar-size-vertical: 1; scrollbar-color: $border-blurred;
                 scrollbar-background: $background; }
        ChartWidget { height: 1fr; }
        #card { height: auto; border: round $error; padding: 0 1; display: none; }
        #card.-open { display: block; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back"),
        *act_bindings(
            "stop", "kill", "pause", "requeue", "restart", hidden=("kill", "requeue", "restart")
        ),
        Binding("L", "log", "log"),
        *BORDER_KEYS,
        Binding("y", "copy", "copy"),
    ]

    BORDER = Border("#facts")

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def body(self) -> ComposeResult:
        """Charts to the left, facts to the right."""
        with Horizontal():
            with Vertical(id="charts"):
                yield Static("", id="card", markup=False)
                for name in CHARTS:
                    yield ChartWidget(
                        title=name, charts=self.rpat.charts, id=f"c-{name.replace(' ', '-')}"
                    )
            with VerticalScroll(id="facts"):
                yield Static("", id="text", markup=False)

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
                partial(curves.read, numbers=[self.n], names=metrics)
            )
            chart = self.query_one(f"#c-{name.replace(' ', '-')}", ChartWidget)
            chart.set_series(
                [Series.of(c.title, c.x, c.y, colour=i, dashes=i) for i, c in
                 enumerate(found.curves)],
                title=name, planned_end=found.planned, x_name=found.x_name, whole=True,
            )  # fmt: skip
            chart.set_markers([Marker(x) for x in found.drops])
        text = await self.rpat.reader.read(lambda db: self._facts(db))
        self.query_one("#text", Static).update(text)
        home = self.rpat.home
        failed = await self.rpat.reader.read(lambda db: failure_text(home, db, self.n))
        card = self.query_one("#card", Static)
        card.set_class(failed is not None, "-open")
        if failed is not None:
            card.update(failed)

    def _facts(self, db: object) -> Text:
        import sqlite3

        assert isinstance(db, sqlite3.Connection)
        text = describe_run(db, self.n)
        text.append("\n\n")
        for section, values in queries.config_of(db, self.n).items():
            if not isinstance(values, dict) or not values:
                continue
            text.append(f"{section}\n", style="bold")
            for key, value in values.items():
                shown = show(tuple(value) if isinstance(value, list) else value)
                text.append(f"  {key:<16} {shown or '–'}\n", style="dim")
        text.append("history\n", style="bold")
        for move in queries.transitions(db, self.n):
            reason = f" {move['reason']}" if move["reason"] else ""
            text.append(f"  {queries.iso(move['t'])}  {move['new']}{reason}\n", style="dim")
        return text

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
