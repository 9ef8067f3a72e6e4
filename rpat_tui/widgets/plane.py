"""The Pareto pane: clean against robust accuracy, with lines of equal worth."""

from __future__ import annotations

from collections.abc import Sequence

from rpat_tui.charts.axes import Limits
from rpat_tui.charts.chart import View
from rpat_tui.charts.grid import Grid
from rpat_tui.charts.plane import Plane, Point
from rpat_tui.widgets.painted import Painted


class PlaneWidget(Painted, can_focus=True):
    """Shows points on the plane; those on the front are full, the beaten ones hollow."""

    def __init__(self, *, charts: str = "braille", id: str | None = None) -> None:
        """Make an empty plane; `charts` is `braille`, `block` or `ascii`."""
        super().__init__(id=id)
        self._glyphs = charts
        self._limits = (Limits(), Limits())
        self._plane = Plane([], limits=self._limits)
        self._focused = False

    @property
    def plane(self) -> Plane:
        """What is shown."""
        return self._plane

    def draw_with(self, charts: str) -> None:
        """Draw with other characters: `braille`, `block` or `ascii`."""
        self._glyphs = charts
        self.paint()

    def set_points(
        self, points: Sequence[Point], *, title: str = "Pareto", y_name: str = "PGD"
    ) -> None:
        """Show other points; the axes never shrink until `reset_limits`."""
        self._plane = Plane(points, title, x_name="clean", y_name=y_name, limits=self._limits)
        self.paint()

    def reset_limits(self) -> None:
        """Let the axes fit the points anew."""
        for limits in self._limits:
            limits.reset()

    def on_focus(self) -> None:
        """Show the focus in the title."""
        self._focused = True
        self.paint()

    def on_blur(self) -> None:
        """Take the sign of focus away."""
        self._focused = False
        self.paint()

    def draw(self, width: int, height: int, *, coloured: bool) -> Grid:
        """Draw the plane."""
        view = View(focused=self._focused)
        return self._plane.paint(width, height, view, self._glyphs, coloured=coloured)
