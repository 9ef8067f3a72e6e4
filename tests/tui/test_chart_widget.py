"""The chart pane: its keys, and what it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.events import MouseScrollUp
from textual.pilot import Pilot

from rpat_tui.charts.chart import Marker
from rpat_tui.charts.grid import ROLES
from rpat_tui.charts.palette import DARK, LIGHT
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.painted import CLASSES, SERIES
from tests.tui.chart_app import ChartApp, series
from tests.tui.terminal import Terminal, needs_a_pty

Check = Callable[[Pilot[None], ChartWidget], Awaitable[None]]


def driven(check: Check, size: tuple[int, int] = (80, 24), **options: object) -> ChartApp:
    """Run a check against the app without a terminal."""
    app = ChartApp(**options)

    async def drive() -> None:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await check(pilot, app.query_one(ChartWidget))

    asyncio.run(drive())
    return app


def shown(chart: ChartWidget) -> str:
    return "\n".join(chart.render_line(y).text for y in range(chart.size.height))


def test_every_key_of_the_pane_is_bound_once_and_described():
    keys = [key for b in ChartWidget.BINDINGS for key in b.key.split(",")]
    assert len(keys) == len(set(keys))
    assert {
        "m", "left_square_bracket", "right_square_bracket", "plus", "minus", "h", "l", "left",
        "right", "i", "Y", "w", "f", "b", "0",
    } <= set(keys)  # fmt: skip
    assert all(b.description for b in ChartWidget.BINDINGS)


@pytest.mark.parametrize("size", [(20, 6), (40, 10), (80, 24), (200, 60)], ids=str)
@pytest.mark.parametrize("charts", ["braille", "block", "ascii"])
def test_it_fills_any_size(size, charts):
    async def check(pilot, chart):
        text = shown(chart)
        assert {cell_len(row) for row in text.splitlines()} == {size[0]}
        assert len(text.splitlines()) == size[1]
        assert any(c in text for c in "┤+")
        await pilot.resize_terminal(size[0] + 7, size[1] + 3)
        await pilot.pause()
        assert {cell_len(row) for row in shown(chart).splitlines()} == {size[0] + 7}

    driven(check, size, charts=charts)


def test_what_is_refreshed_is_what_changed():
    async def check(pilot, chart):
        calls = []
        chart.refresh = lambda *regions, **_: calls.append(regions)  # type: ignore[method-assign]
        chart.app.action_same()
        assert calls == []
        before = shown(chart).splitlines()
        chart.app.action_point()
        assert len(calls) == 1
        assert calls[0], "a bare refresh paints everything"
        after = shown(chart).splitlines()
        spans = [(r.y, r.x, r.right) for r in calls[0]]
        assert all(bottom.height == 1 for bottom in calls[0])
        for y, (old, new) in enumerate(zip(before, after, strict=True)):
            for x, (a, b) in enumerate(zip(old, new, strict=True)):
                assert a == b or any(y == row and x0 <= x < x1 for row, x0, x1 in spans)
        assert sum(r.width for r in calls[0]) < 40

    driven(check, (120, 35))


def test_smoothing_zooming_and_panning_change_the_view():
    async def check(pilot, chart):
        await pilot.press("right_square_bracket", "right_square_bracket")
        assert chart.view.smooth == 0.6
        assert "smooth 0.6" in shown(chart)
        await pilot.press("left_square_bracket")
        assert chart.view.smooth == 0.3
        await pilot.press("h")  # nothing to pan yet
        assert chart.view.x0 is None
        await pilot.press("plus", "plus")
        x0, x1 = chart.view.x0, chart.view.x1
        assert x1 - x0 == pytest.approx(119 / 4, rel=0.02)
        assert x0 <= 60 <= x1
        await pilot.press("h")
        assert chart.view.x0 < x0
        await pilot.press("l", "right")
        assert chart.view.x0 > x0
        await pilot.press("minus", "minus", "minus")
        assert (chart.view.x0, chart.view.x1) == (None, None)

    driven(check)


def test_the_crosshair_moves_point_by_point_and_tells():
    heard = []

    class Listening(ChartApp):
        def on_chart_widget_crosshair_moved(self, event):
            heard.append(event.x)

    app = Listening()

    async def drive():
        async with app.run_test(size=(80, 24)) as pilot:
            chart = app.query_one(ChartWidget)
            await pilot.pause()
            await pilot.press("i", "h", "left", "l")
            assert chart.view.crosshair == 59
            assert "│" in shown(chart).splitlines()[5][5:]
            await pilot.press("escape")
            assert chart.view.crosshair is None
            chart.set_crosshair(30)
            await pilot.pause()
            assert chart.view.crosshair == 30
            await pilot.press("i")

    asyncio.run(drive())
    assert heard == [60, 59, 58, 59, None, None]  # and nothing when another chart moved it


def test_the_other_keys():
    asked = []

    class Listening(ChartApp):
        def on_chart_widget_metrics_asked(self):
            asked.append("metrics")

        def on_chart_widget_axis_asked(self):
            asked.append("axis")

    app = Listening()

    async def drive():
        async with app.run_test(size=(80, 24)) as pilot:
            chart = app.query_one(ChartWidget)
            chart.set_markers([Marker(40, "best", 48.0), Marker(75)])
            await pilot.pause()
            assert "★" in shown(chart)
            assert "▲" in shown(chart)
            await pilot.press("b")
            assert "★" not in shown(chart)
            await pilot.press("Y")
            assert chart.view.log_y
            assert "log" in shown(chart).splitlines()[0]
            await pilot.press("f")
            assert not chart.following
            await pilot.press("plus", "i", "m", "w", "0")
            assert (chart.view.x0, chart.view.crosshair, chart.following) == (None, None, True)

    asyncio.run(drive())
    assert asked == ["metrics", "axis"]


def test_a_zoomed_view_follows_new_points_unless_told():
    async def check(pilot, chart):
        await pilot.press("plus", "plus", "plus")
        for _ in range(30):
            chart.app.action_point()
        assert chart.view.x0 <= 90 <= chart.view.x1
        await pilot.press("f")
        held = chart.view
        for _ in range(20):
            chart.app.action_point()
        assert chart.view == held
        await pilot.press("f")
        assert chart.view.x0 <= 110 <= chart.view.x1

    driven(check)


def test_the_limits_stay_while_points_come_and_shrink_on_reset():
    async def check(pilot, chart):
        before = chart.chart.area
        chart.set_series([s for s in series(60) if "PGD" in s.name], planned_end=120)
        assert chart.chart.area.y1 == before.y1
        await pilot.press("0")
        assert chart.chart.area.y1 < before.y1

    driven(check)


def test_focus_is_seen():
    async def check(pilot, chart):
        assert chart.render_line(0)._segments[0].style.reverse
        chart.app.set_focus(None)
        await pilot.pause()
        assert not chart.render_line(0)._segments[0].style.reverse

    driven(check)


def test_the_colours_follow_the_theme():
    async def check(pilot, chart):
        def colour() -> str:
            return chart.render_line(0)._segments[2].style.color.name

        assert colour() == DARK[0]
        chart.app.theme = "textual-light"
        await pilot.pause()
        assert colour() == LIGHT[0]

    driven(check)
    assert set(CLASSES) == {role for role in ROLES if role and not role.startswith(SERIES)}


def test_the_wheel_zooms_and_a_click_inspects():
    async def check(pilot, chart):
        await pilot._post_mouse_events([MouseScrollUp], ChartWidget, (40, 10))
        await pilot.pause()
        assert chart.view.x0 is not None
        await pilot.click(ChartWidget, offset=(30, 10))
        await pilot.pause()
        assert chart.view.crosshair is not None

    driven(check)


def test_data_that_came_before_the_screen_are_shown():
    async def check(pilot, chart):
        assert "r0193 clean" in shown(chart)

    driven(check, (120, 20))


# ----------------------------------------------------------------- a real terminal


APP = [str(Path(__file__).with_name("chart_app.py"))]


@pytest.fixture
def terminal():
    needs_a_pty()
    root = str(Path(__file__).parents[2])
    with Terminal(["-m", "tests.tui.chart_app"], 120, 35, PYTHONPATH=root) as made:
        made.until("r0188 PGD")
        made.read(0.6)
        yield made


def test_a_live_point_costs_little_and_an_equal_one_nothing(terminal):
    assert "acc %" in terminal.screen.display[0]
    sizes = []
    for _ in range(5):
        terminal.send("p")
        sizes.append(len(terminal.read()))
    assert 0 < max(sizes) < 1000, sizes
    assert sum(1 for row in terminal.screen.display if any("⠀" < c <= "⣿" for c in row)) > 10
    terminal.send("s")
    assert terminal.read(0.8) == b""
    before = terminal.text()
    terminal.send("\x0c")  # nothing is bound to it here: nothing is sent
    terminal.read(0.3)
    assert terminal.text() == before


def test_the_screen_is_left_as_it_was(terminal):
    terminal.send("q")
    assert terminal.wait() == 0
