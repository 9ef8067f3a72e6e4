"""A screen with one chart, driven through a pty: `p` adds a point, `s` sets the same again."""

from __future__ import annotations

import os
import sys

import numpy as np
from textual.app import App, ComposeResult
from textual.binding import Binding

from rpat_tui.charts.chart import Series
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.thrift import save_bytes


def series(points: int) -> list[Series]:
    """Return four made-up curves with some points."""
    e = np.arange(1.0, points + 1)
    return [
        Series("r0193 clean", e, 80 * (1 - np.exp(-e / 9)), colour=0),
        Series("r0193 PGD", e, 50 * (1 - np.exp(-e / 12)), colour=0, dashes=1),
        Series("r0188 clean", e, 72 * (1 - np.exp(-e / 10)), colour=1),
        Series("r0188 PGD", e, 44 * (1 - np.exp(-e / 15)), colour=1, dashes=1),
    ]


class ChartApp(App[None]):
    """The chart alone, as large as the terminal."""

    BINDINGS = [  # noqa: RUF012  Textual's own way
        Binding("p", "point"),
        Binding("s", "same"),
        Binding("q", "quit"),
    ]

    def __init__(self, points: int = 60, charts: str = "braille") -> None:
        super().__init__()
        self.points, self.glyphs = points, charts

    def compose(self) -> ComposeResult:
        yield ChartWidget(title="acc %", charts=self.glyphs)

    def on_mount(self) -> None:
        self.show()
        self.query_one(ChartWidget).focus()

    def show(self) -> None:
        self.query_one(ChartWidget).set_series(
            series(self.points), planned_end=120, x_name="epoch", whole=True
        )

    def action_point(self) -> None:
        self.points += 1
        self.show()

    def action_same(self) -> None:
        self.show()


if __name__ == "__main__":
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    save_bytes()
    ChartApp(int(sys.argv[1]) if len(sys.argv) > 1 else 60).run()
