"""A widget that draws a grid of characters and sends only the cells that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from rpat_tui.charts.grid import ROLES, Grid
from rpat_tui.widgets.colours import series_style

SERIES = ("series-", "bold-", "band-")
"""Roles that have the colour of a series."""
CLASSES = {role: f"chart--{role}" for role in ROLES if role and not role.startswith(SERIES)}


class Painted(Widget):
    """Draws a grid of its size, anew when asked to; colours come from the theme."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(CLASSES.values())
    DEFAULT_CSS = """
    Painted {
        height: 1fr; width: 1fr; min-width: 8; min-height: 4;
        .chart--axis, .chart--crosshair { color: $foreground 45%; }
        .chart--label, .chart--note { color: $text-muted; }
        .chart--title { color: $foreground; text-style: bold; }
        .chart--focus { color: $foreground; text-style: bold reverse; }
        .chart--reading { color: $foreground; text-style: bold; }
        .chart--line { color: $foreground 35%; }
        .chart--mark { color: $warning; }
    }
    """

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        """Make a widget that has drawn nothing yet."""
        super().__init__(name=name, id=id, classes=classes)
        self._grid: Grid | None = None
        self._strips: list[Strip] = []
        self._colours: dict[str, Style] | None = None

    def draw(self, width: int, height: int, *, coloured: bool) -> Grid:
        """Return what is to be seen: nothing, unless a kind says what."""
        return Grid(height, width)

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.paint()

    def notify_style_update(self) -> None:
        """Take the colours of a new theme."""
        super().notify_style_update()
        self._colours = None
        self._strips = []  # the new colours are known only when it is drawn

    def _styles(self) -> dict[str, Style]:
        if self._colours is None:
            self._colours = {
                role: self.get_component_rich_style(name) for role, name in CLASSES.items()
            }
            plain = self.rich_style
            for role in ROLES:
                if role.startswith(SERIES):
                    self._colours[role] = plain + series_style(self.app, role)
        return self._colours

    def _made(self, grid: Grid, rows: Sequence[int] | None = None) -> list[Strip]:
        styles, plain = self._styles(), self.rich_style
        return [
            Strip([Segment(text, styles.get(role, plain)) for text, role in grid.runs(y)],
                  grid.width)
            for y in (range(grid.height) if rows is None else rows)
        ]  # fmt: skip

    def paint(self) -> None:
        """Draw, and refresh the cells that differ from what is shown."""
        width, height = self.size
        if not (self.is_attached and width and height):
            return
        coloured = not self.app.no_color
        grid = self.draw(width, height, coloured=coloured)
        old, self._grid = self._grid, grid
        if old is None or (old.width, old.height) != (width, height):
            self._strips = self._made(grid)
            self.refresh()
            return
        spans = grid.changes(old)
        if not spans:
            return
        if self._strips:
            changed = sorted({y for y, _, _ in spans})
            for y, strip in zip(changed, self._made(grid, changed), strict=True):
                self._strips[y] = strip
        self.refresh(*(Region(x, y, size, 1) for y, x, size in spans))

    def render_line(self, y: int) -> Strip:
        """Return a row as it was last drawn."""
        if not self._strips and self._grid is not None:
            self._strips = self._made(self._grid)
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self.rich_style)
