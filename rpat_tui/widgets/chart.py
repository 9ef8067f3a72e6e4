"""The chart pane: a chart that sends only the cells that changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from rpat_tui.charts.axes import Limits
from rpat_tui.charts.canvas import GLYPHS
from rpat_tui.charts.chart import Chart, Marker, Series, View
from rpat_tui.charts.grid import Grid
from rpat_tui.widgets.keyed import Keyed
from rpat_tui.widgets.painted import Painted

SMOOTHING = (0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.99)
NARROWEST = 1e-6
"""The part of the whole that a zoom shows at least."""


class ChartWidget(Keyed, Painted, can_focus=True):
    """Shows lines, answers to the keys of the chart pane, and tells where its crosshair is."""

    CONTEXT = "chart"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metrics", "metrics"),
        Binding("left_square_bracket", "smooth(-1)", "less smooth", key_display="[", show=False),
        Binding("right_square_bracket", "smooth(1)", "smoother", key_display="]", show=False),
        Binding("plus", "zoom(0.5)", "zoom in", key_display="+", show=False),
        Binding("minus", "zoom(2)", "zoom out", key_display="-", show=False),
        Binding("h,left", "move(-1)", "left", key_display="h", show=False),
        Binding("l,right", "move(1)", "right", key_display="l", show=False),
        Binding("i", "inspect", "inspect"),
        Binding("escape", "leave", "leave inspect", show=False),
        Binding("Y", "log", "log y", show=False),
        Binding("w", "axis", "x axis", show=False),
        Binding("f", "follow", "follow live", show=False),
        Binding("b", "best", "best markers", show=False),
        Binding("0", "reset", "reset view", show=False),
    ]

    @dataclass
    class CrosshairMoved(Message):
        """The crosshair is at another place, or gone (None); other charts may follow."""

        chart: ChartWidget
        x: float | None

        @property
        def control(self) -> ChartWidget:
            """The chart whose crosshair moved."""
            return self.chart

    @dataclass
    class MetricsAsked(Message):
        """The user wants to choose metrics."""

        chart: ChartWidget

    @dataclass
    class AxisAsked(Message):
        """The user wants another x axis: epoch, step or time."""

        chart: ChartWidget

    def __init__(
        self,
        *,
        title: str = "",
        charts: str = "braille",
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """Make an empty chart; `charts` is `braille`, `block` or `ascii`."""
        super().__init__(name=name, id=id, classes=classes)
        self._limits = Limits()
        self._chart = Chart([], title=title, limits=self._limits)
        self._glyphs = _known(charts)
        self._view = View()
        self._following = True

    # ------------------------------------------------------------- data

    @property
    def charts(self) -> str:
        """The set of characters: `braille`, `block` or `ascii`."""
        return self._glyphs

    @charts.setter
    def charts(self, name: str) -> None:
        self._glyphs = _known(name)
        self.paint()

    @property
    def view(self) -> View:
        """What is looked at."""
        return self._view

    @property
    def chart(self) -> Chart:
        """What is shown."""
        return self._chart

    @property
    def following(self) -> bool:
        """Whether a zoomed view moves along with new points."""
        return self._following

    def set_series(
        self,
        series: Sequence[Series],
        *,
        title: str | None = None,
        planned_end: float | None = None,
        x_name: str = "",
        whole: bool = False,
        focus: int | None = None,
    ) -> None:
        """Show other lines, or the same with more points; only what differs is sent.

        The y axis never shrinks; `reset_limits` first where the lines are of another kind.
        """
        old = self._chart
        self._chart = Chart(
            series, old.markers, old.title if title is None else title, planned_end,
            x_name=x_name, whole=whole, focus=focus, limits=self._limits,
        )  # fmt: skip
        if self._following:
            self._catch_up()
        self.paint()

    def set_markers(self, markers: Sequence[Marker]) -> None:
        """Show other signs for learning-rate drops and best values."""
        if tuple(markers) != tuple(self._chart.markers):
            self._chart.markers = tuple(markers)
            self.paint()

    def set_crosshair(self, x: float | None) -> None:
        """Put the crosshair somewhere, as another chart says; posts nothing."""
        if x != self._view.crosshair:
            self._look(crosshair=x)

    def set_smoothing(self, weight: float) -> None:
        """Smooth with a weight in [0, 1)."""
        self._look(smooth=weight)

    def reset_limits(self) -> None:
        """Let the y axis fit the data anew."""
        self._limits.reset()

    # ------------------------------------------------------------- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Let escape pass to the screen unless it ends the inspection."""
        if action == "leave":
            return self._view.crosshair is not None
        return True

    def action_metrics(self) -> None:
        """Ask the screen for its choice of metrics."""
        self.post_message(self.MetricsAsked(self))

    def action_axis(self) -> None:
        """Ask the screen for the next x axis."""
        self.post_message(self.AxisAsked(self))

    def action_smooth(self, direction: int) -> None:
        """Smooth more or less."""
        now = min(range(len(SMOOTHING)), key=lambda i: abs(SMOOTHING[i] - self._view.smooth))
        self._look(smooth=SMOOTHING[min(max(now + direction, 0), len(SMOOTHING) - 1)])

    def action_zoom(self, factor: float) -> None:
        """Show a smaller or larger part, around the crosshair or the newest point."""
        low, high = self._chart.extent()
        x0, x1 = self._window()
        anchor = self._view.crosshair
        if anchor is None or not x0 <= anchor <= x1:
            newest = self._newest()
            anchor = newest if self._following and x0 <= newest <= x1 else (x0 + x1) / 2
        self._zoom(factor, anchor, low, high)

    def _zoom(self, factor: float, anchor: float, low: float, high: float) -> None:
        x0, x1 = self._window()
        width = min(max((x1 - x0) * factor, (high - low) * NARROWEST), high - low)
        self._limits.reset()  # to look closer is to want to see more of the height too
        if width >= (high - low) * (1 - 1e-9):
            self._look(x0=None, x1=None)
            return
        share = (anchor - x0) / (x1 - x0) if x1 > x0 else 0.5
        start = min(max(anchor - share * width, low), high - width)
        self._look(x0=start, x1=start + width)

    def action_move(self, direction: int) -> None:
        """Pan, or move the crosshair to the next point."""
        x0, x1 = self._window()
        if self._view.crosshair is None:
            low, high = self._chart.extent()
            if self._view.x0 is None:
                return
            width = x1 - x0
            start = min(max(x0 + direction * width / 4, low), high - width)
            self._following = start + width >= self._newest() and self._following
            self._look(x0=start, x1=start + width)
            return
        found = self._next_point(self._view.crosshair, direction)
        if found is not None:
            if not x0 <= found <= x1:
                width, (low, high) = x1 - x0, self._chart.extent()
                start = min(max(found - width / 2, low), high - width)
                self._view = replace(self._view, x0=start, x1=start + width)
            self._point_at(found)

    def action_inspect(self) -> None:
        """Show or hide the crosshair, first at the newest point in sight."""
        if self._view.crosshair is not None:
            self._point_at(None)
            return
        x0, x1 = self._window()
        newest = self._newest()
        if math.isfinite(newest):
            self._point_at(min(max(newest, x0), x1))

    def action_leave(self) -> None:
        """Hide the crosshair."""
        self._point_at(None)

    def action_log(self) -> None:
        """Change between a linear and a logarithmic y axis."""
        self._look(log_y=not self._view.log_y)

    def action_follow(self) -> None:
        """Let a zoomed view move along with new points, or hold it."""
        self._following = not self._following
        if self._following:
            self._catch_up()
            self.paint()

    def action_best(self) -> None:
        """Show or hide the markers of best values."""
        self._look(best=not self._view.best)

    def action_reset(self) -> None:
        """Show everything, with limits that fit."""
        self._limits.reset()
        self._following = True
        had = self._view.crosshair
        self._look(x0=None, x1=None, y0=None, y1=None, crosshair=None)
        if had is not None:
            self.post_message(self.CrosshairMoved(self, None))

    # ------------------------------------------------------------- mouse

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Zoom in at the pointer."""
        self._wheel(event, 0.5)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Zoom out at the pointer."""
        self._wheel(event, 2.0)

    def _wheel(self, event: events.MouseEvent, factor: float) -> None:
        place = self._under(event)
        if place is not None:
            event.stop()
            self._zoom(factor, place, *self._chart.extent())

    def on_click(self, event: events.Click) -> None:
        """Put the crosshair under the pointer."""
        place = self._under(event)
        if place is not None:
            event.stop()
            near = [s.x[abs(s.x - place).argmin()] for s in self._chart.series if s.x.size]
            self._point_at(float(min(near, key=lambda x: abs(x - place))) if near else None)

    def _under(self, event: events.MouseEvent) -> float | None:
        area, offset = self._chart.area, event.get_content_offset(self)
        if area is None or offset is None or not area.left <= offset.x < area.left + area.columns:
            return None
        return area.x_of(offset.x)

    # ------------------------------------------------------------- view

    def _window(self) -> tuple[float, float]:
        low, high = self._chart.extent()
        x0, x1 = self._view.x0, self._view.x1
        return (low if x0 is None else x0), (high if x1 is None else x1)

    def _newest(self) -> float:
        return max((float(s.x[-1]) for s in self._chart.series if s.x.size), default=math.nan)

    def _next_point(self, x: float, direction: int) -> float | None:
        """Return the next point at least a dot away, on any line."""
        x0, x1 = self._window()
        area = self._chart.area
        least = (x1 - x0) / max((area.columns if area else 1) * 2, 1)
        found = []
        for s in self._chart.series:
            if direction > 0:
                i = int(s.x.searchsorted(x + least, "left"))
                found += [float(s.x[i])] if i < s.x.size else []
            else:
                i = int(s.x.searchsorted(x - least, "right")) - 1
                found += [float(s.x[i])] if i >= 0 else []
        return (min if direction > 0 else max)(found, default=None)

    def _catch_up(self) -> None:
        """Move a zoomed view on by quarters until it holds the newest point."""
        newest, (x0, x1) = self._newest(), self._window()
        if self._view.x0 is None or not math.isfinite(newest) or x0 <= newest <= x1:
            return
        width, (low, high) = x1 - x0, self._chart.extent()
        quarters = math.ceil((newest - x1) / (width / 4)) if newest > x1 else 0
        start = x0 + quarters * width / 4 if quarters else newest - width * 0.75
        start = min(max(start, low), high - width)
        self._view = replace(self._view, x0=start, x1=start + width)

    def _point_at(self, x: float | None) -> None:
        changed = x != self._view.crosshair
        self._look(crosshair=x)
        if changed:
            self.refresh_bindings()
            self.post_message(self.CrosshairMoved(self, x))

    def _look(self, **changes: Any) -> None:
        self._view = replace(self._view, **changes)
        self.paint()

    # ------------------------------------------------------------- painting

    def on_focus(self) -> None:
        """Show the focus in the title."""
        self._look(focused=True)

    def on_blur(self) -> None:
        """Take the sign of focus away."""
        self._look(focused=False)

    def draw(self, width: int, height: int, *, coloured: bool) -> Grid:
        """Draw the chart as it is looked at."""
        return self._chart.paint(width, height, self._view, self._glyphs, coloured=coloured)


def _known(charts: str) -> str:
    if charts not in GLYPHS:
        raise ValueError(f"charts '{charts}' does not exist; choose {', '.join(GLYPHS)}")
    return charts
