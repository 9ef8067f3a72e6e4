"""The Compare screen: groups, curves, plane, configs, results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot

from rpat_tui.app import RpatApp
from rpat_tui.home import Home
from rpat_tui.screens.compare import PANES, CompareScreen
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.plane import PlaneWidget
from tests.tui.driving import press, rest, seen
from tests.tui.stored import copied, drive, small_home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home that no test changes."""
    return small_home(tmp_path_factory.mktemp("compared"))


async def opened(pilot: Pilot[int], app: RpatApp, *numbers: int) -> CompareScreen:
    app.marked = numbers
    app.run_at_cursor = app.run_at_cursor or 1
    await press(pilot, "3")
    assert isinstance(app.screen, CompareScreen)
    return app.screen


def test_marked_runs_are_groups_with_curves_results_and_tests(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        screen = await opened(pilot, app, 1, 2, 3, 4, 5, 6)
        text = seen(app)
        assert "2 groups, 6 runs" in text
        assert "A ━ pgd-at" in text
        assert "B ┅ pgd-at+rpat λ1" in text
        assert "keys differ" in text
        assert "lam" in text
        assert "same code" in text
        assert "B-A" in text
        assert "+3.37" in text  # AA and PGD-20
        assert "paired t, two-sided, Holm over 4 comparisons" in text
        assert "B-A clean: no spread over seeds: no test" in text
        assert "*" in text
        series = app.screen.query_one(ChartWidget).chart.series
        assert [s.letter for s in series] == ["A", "B"]
        assert all(s.lower is not None for s in series)
        points = app.screen.query_one(PlaneWidget).plane.points
        assert [p.name for p in points] == [
            "pgd-at", "paper A", "pgd-at+rpat λ1", "paper B",
        ]  # fmt: skip
        assert screen.chosen() == [1, 2, 3, 4, 5, 6]

    drive(home, check, (160, 48))


def test_without_marks_the_look_alikes_of_the_run_at_the_cursor_are_compared(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        app.run_at_cursor = 5
        screen = await opened(pilot, app)
        assert [g.title for g in screen.seen.groups] == ["pgd-at", "pgd-at+rpat λ1"]

    drive(home, check)


def test_two_seeds_are_no_test_and_a_group_can_be_left_out(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        screen = await opened(pilot, app, 1, 2, 4, 5, 6, 7, 8)
        assert "n too small (2): no test" in seen(app)
        await press(pilot, "down", "space")
        assert [g.letter for g in screen.seen.made.groups] == ["A", "C"]
        assert "C-A" in seen(app)
        assert "B-A" not in seen(app)
        await press(pilot, "space")
        assert [g.letter for g in screen.seen.made.groups] == ["A", "B", "C"]

    drive(home, check, (160, 48))


def test_rules_change_the_results_and_keys_show_the_whole_config(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        screen = await opened(pilot, app, 1, 2, 3, 4, 5, 6)
        await press(pilot, "b")
        assert screen.rule == "final"
        assert "Results: final weights" in seen(app)
        await press(pilot, "b")
        assert "Results: best PGD" in seen(app)
        assert "optim" not in seen(app)
        await press(pilot, "a")
        assert "all keys" in seen(app)
        assert "batch_size" in seen(app) or "threat" in seen(app)

    drive(home, check)


def test_the_crosshair_moves_the_plane_to_that_epoch(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app, 1, 2, 3, 4, 5, 6)
        before = app.screen.query_one(PlaneWidget).plane.points
        await press(pilot, "tab", "i", "left", "left")
        plane = app.screen.query_one(PlaneWidget).plane
        assert plane.title.startswith("Pareto, epoch ")
        assert plane.points != before
        await press(pilot, "escape")
        assert app.screen.query_one(PlaneWidget).plane.points == before
        assert isinstance(app.screen, CompareScreen)
        await press(pilot, "escape")
        assert not isinstance(app.screen, CompareScreen)

    drive(home, check)


def test_where_there_is_little_room_tab_goes_through_the_panes(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app, 1, 2, 3, 4, 5, 6)
        for pane, text in zip(
            PANES, ("r0001 r0002 r0003", "PGD", "Pareto", "keys differ", "Results"), strict=True
        ):
            displayed = [p for p in PANES if app.screen.query_one(f"#{p}").display]
            assert displayed == ([pane, "results"] if pane == "groups" else [pane])
            assert app.screen.query_one(f"#{pane}").has_focus
            assert text in seen(app)
            await press(pilot, "tab")
        assert app.screen.query_one("#groups").has_focus
        await press(pilot, "shift+tab")
        rows = seen(app).splitlines()
        assert any("B-A" in row for row in rows)
        assert len(rows) == 24

    drive(home, check, (80, 24))


def test_the_full_differences_of_two_groups_are_read_and_left(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        screen = await opened(pilot, app, 1, 4)
        await press(pilot, "D")
        assert "r0001 and r0004" in seen(app)
        assert "wrappers" in seen(app)
        await press(pilot, "j", "k", "escape")
        assert app.screen is screen

    drive(home, check)


def test_another_metric_is_drawn(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        screen = await opened(pilot, app, 1, 2, 3)
        await press(pilot, "m", *"loss", "enter")
        assert screen.metric == "loss"
        assert screen.chart.chart.title.startswith("loss")

    drive(home, check)


def test_it_is_written_to_a_new_file_and_copied_as_a_command(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        said = copied(app, monkeypatch)
        await opened(pilot, app, 1, 2, 3, 4, 5, 6)
        await press(pilot, "y", "b", "y")
        await opened(pilot, app, 1, 2, 3, 4)
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        await screen.renew()
        await press(pilot, "y")
        assert said == [
            "rpat compare r0001 r0004",
            "rpat compare r0001 r0004 --rule final",
            "rpat compare r0001 r0002 r0003 r0004 --rule final --only",
        ]
        for layout in ("json", "json", "md", "latex", "csv", "text"):
            await press(pilot, "e", *layout, "enter")
            await rest(pilot)

    drive(home, check)
    assert {p.name for p in tmp_path.iterdir()} >= {
        "compare.json", "compare-2.json", "compare.md", "compare.tex", "compare.csv", "compare.txt",
    }  # fmt: skip
    found = json.loads((tmp_path / "compare.json").read_text())
    assert [g["runs"] for g in found["groups"]][1] == ["r0004"]
    assert found["tests"][0]["reason"] == "n too small (1): no test"


def test_without_runs_it_says_what_to_do_and_ascii_stays_ascii(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app, 1, 4)
        inner = "".join(str(w.query_one("Static").content) for w in (  # type: ignore[attr-defined]
            app.screen.query_one("#groups"), app.screen.query_one("#config"),
            app.screen.query_one("#results"),
        ))  # fmt: skip
        assert inner.isascii()
        app.marked, app.run_at_cursor = (), None
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        await screen.renew()
        await rest(pilot)
        assert "no runs are chosen" in seen(app)

    drive(home, check, ascii_only=True)
