"""A chart as a Rich renderable, for commands."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from rich.segment import Segment
from rich.style import Style

from rpat_tui.charts.canvas import suitable
from rpat_tui.charts.chart import PLAIN_VIEW, View
from rpat_tui.charts.grid import COLOURS
from rpat_tui.charts.palette import ANSI

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from rpat_tui.charts.grid import Grid

ROLE_STYLES = {
    "axis": "bright_black", "label": "bright_black", "title": "bold", "focus": "bold reverse",
    "note": "bright_black", "crosshair": "bright_black", "reading": "", "line": "bright_black",
    "mark": "yellow",
    **{f"series-{i}": ANSI[i] for i in range(COLOURS)},
    **{f"bold-{i}": f"bold {ANSI[i]}" for i in range(COLOURS)},
    **{f"band-{i}": f"dim {ANSI[i]}" for i in range(COLOURS)},
}  # fmt: skip
"""Styles in the 16 colours of the terminal, which knows its background."""


class Paintable(Protocol):
    """A chart or a plane."""

    def paint(
        self, width: int, height: int, view: View = ..., glyphs: str = ..., *, coloured: bool = ...
    ) -> Grid:
        """Draw into a new grid."""
        ...


class RichChart:
    """Draws a chart as wide as the console; plain text where that has no colours."""

    def __init__(
        self,
        chart: Paintable,
        *,
        width: int | None = None,
        height: int = 20,
        view: View = PLAIN_VIEW,
        glyphs: str | None = None,
    ) -> None:
        self.chart = chart
        self.width, self.height = width, height
        self.view = view
        self.glyphs = glyphs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        coloured = console.color_system is not None and not console.no_color
        grid = self.chart.paint(
            self.width or options.max_width,
            self.height,
            self.view,
            self.glyphs or suitable(console.encoding, os.environ.get("TERM", "")),
            coloured=coloured,
        )
        styles = {role: Style.parse(text) for role, text in ROLE_STYLES.items()} if coloured else {}
        for row in grid.rows(styles, Style.null()):
            if not coloured:
                yield Segment("".join(text for text, _ in row).rstrip())
            else:
                for text, style in row:
                    yield Segment(text, style)
            yield Segment.line()
