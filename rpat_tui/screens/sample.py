"""One curve in every kind of characters, so that one sees which this terminal draws well."""

from __future__ import annotations

import math
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from rpat_tui.charts.chart import Chart, Series, View

KINDS = {"1": "braille", "2": "block", "3": "ascii"}


class Sample(ModalScreen[str | None]):
    """Three drawings; 1, 2 or 3 takes one, escape none."""

    DEFAULT_CSS = """
    Sample { align: center middle; background: $background 60%; }
    Sample > .box { width: 78; max-width: 98%; height: auto; border: round $primary;
                    padding: 0 1; background: $surface; }
    Sample Horizontal { height: 9; }
    Sample Horizontal Static { width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"take('{kind}')", kind) for key, kind in KINDS.items()),
        Binding("escape,q", "leave", "cancel"),
    ]

    def compose(self) -> ComposeResult:
        """Draw the curve three times."""
        with Vertical(classes="box"):
            yield Static("Which of these is a smooth curve here?  1, 2 or 3; esc keeps what is")
            with Horizontal():
                for key, kind in KINDS.items():
                    yield Static(Text(f"{key} {kind}\n{drawn(kind)}", no_wrap=True))

    def action_take(self, kind: str) -> None:
        """Leave with a kind."""
        self.dismiss(kind)

    def action_leave(self) -> None:
        """Leave without one."""
        self.dismiss(None)


def drawn(kind: str) -> str:
    """Return a curve in one kind of characters, 24 cells wide."""
    x = [float(i) for i in range(41)]
    series = Series.of("", x, [50 - 40 * math.exp(-v / 12) + 3 * math.sin(v / 3) for v in x])
    return Chart([series]).paint(24, 8, View(), kind, coloured=False).text()
