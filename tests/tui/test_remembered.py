"""What a window remembers of a project, and its file in every condition."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from rpat.errors import ConfigError
from rpat_tui import settings
from rpat_tui.app import RpatApp
from rpat_tui.home import Home
from rpat_tui.remembered import FILTERS, Remembered, saved
from rpat_tui.screens.arrange import Arrange
from rpat_tui.screens.ask import Line
from rpat_tui.screens.runs import RunsScreen
from rpat_tui.screens.sample import KINDS, Sample, drawn
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.columns import DEFAULT
from tests.tui.driving import driven, press, rest, said, seen, table, until

WIDE = (160, 48)


@pytest.fixture(autouse=True)
def _alone(nothing_starts: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for s in settings.SETTINGS:
        monkeypatch.delenv(s.env, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _forgotten(shared: Home) -> None:
    for file in shared.path.glob("window*.json"):
        file.unlink()


def again(home: Home, drive: Any, size: tuple[int, int] = WIDE, **options: Any) -> Remembered:
    """Drive a window that remembers, and close it."""
    kept = Remembered(home)
    driven(home, drive, size, remembered=kept, **options)
    assert kept.save() == ""
    return kept


async def command(pilot: Pilot[int], app: RpatApp, text: str) -> None:
    """Type a command into the palette and take the first hit."""
    await pilot.press("colon")
    await until(pilot, lambda: type(app.screen).__name__ == "CommandPalette")
    palette = app.screen
    palette.query_one(Input).value = text
    hits = palette.query_one(OptionList)
    await until(pilot, lambda: palette._list_visible and hits.highlighted is not None)  # type: ignore[attr-defined]
    for _ in range(200):
        await pilot.press("enter")
        if app.screen is not palette:
            break
        await pilot.pause(0.02)
    await rest(pilot)


# ----------------------------------------------------------------- a window opened again


def test_the_list_is_as_it_was_left(shared: Home) -> None:
    async def arrange(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "G", "space", "k", "space")
        await press(pilot, "S", *"pgd", "enter", "S", *"pgd", "enter")
        await press(pilot, "slash", *"mart", "enter", "v", "a")

    async def look(pilot: Pilot[int], app: RpatApp) -> None:
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        q = screen.query_of_list
        assert (q.sort, q.descending, q.where, q.group_seeds, q.archived) == (
            "pgd", False, "mart", True, True,
        )  # fmt: skip
        assert app.marked == (1, 2)
        assert "/mart" in seen(app)
        assert screen.query_one("#filter", Input).value == "mart"
        await press(pilot, "escape", "v", "a", "0")

    async def new(pilot: Pilot[int], app: RpatApp) -> None:
        assert app.marked == ()
        assert app.screen.query_of_list.where == ""  # type: ignore[attr-defined]

    again(shared, arrange)
    again(shared, look)
    again(shared, new)


def test_columns_are_chosen_ordered_and_kept(shared: Home) -> None:
    async def arrange(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "o")
        assert isinstance(app.screen, Arrange)
        await press(pilot, "space")
        assert "id is always shown" in said(app)
        await press(pilot, "j", "j", "space", "j", "J", "enter")  # method goes, lam after dataset
        assert table(app).columns[2:4] == ("dataset", "lam")
        assert "method" not in seen(app).splitlines()[2]
        await press(pilot, "o", "space", "escape")  # cancelled
        assert table(app).columns[2:4] == ("dataset", "lam")

    async def look(pilot: Pilot[int], app: RpatApp) -> None:
        assert table(app).columns[2:4] == ("dataset", "lam")
        await press(pilot, "o", "equals_sign", "enter")
        assert table(app).columns == DEFAULT

    again(shared, arrange)
    kept = again(shared, look)
    assert kept.get("runs", "columns", []) == []


@pytest.mark.parametrize(
    ("way", "pane"),
    [
        ((), "#side"),
        pytest.param(("G", "enter"), "#facts", marks=pytest.mark.slow),
        pytest.param(("3",), "#groups", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_border_moves_comes_back_and_is_kept(
    shared: Home, way: tuple[str, ...], pane: str
) -> None:
    found: list[int] = []

    def width(app: RpatApp) -> int:
        return app.screen.query_one(pane).outer_size.width

    async def move(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, *way)
        found.append(width(app))
        await press(pilot, "less_than_sign", "less_than_sign")
        moved = width(app)
        assert abs(moved - found[0]) == 8
        await press(pilot, "equals_sign")
        assert width(app) == found[0]
        await press(pilot, "greater_than_sign")
        found.append(width(app))
        assert (found[1] - found[0]) * (moved - found[0]) < 0
        for _ in range(40):
            app.screen.action_border(1)  # type: ignore[attr-defined]
        await rest(pilot)
        assert 20 <= width(app) <= 140  # neither pane vanishes
        await press(pilot, "equals_sign", "greater_than_sign")

    async def look(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, *way)
        assert width(app) == found[1]

    again(shared, move)
    again(shared, look)


def test_a_moved_border_leaves_one_pane_alone_its_whole_screen(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        side = app.screen.query_one("#side")
        await press(pilot, "less_than_sign", "tab", "z")
        assert side.outer_size.width == WIDE[0]
        await press(pilot, "less_than_sign")
        assert "no border" in said(app)
        await press(pilot, "z")
        assert side.outer_size.width == 68
        await pilot.resize_terminal(80, 24)
        await rest(pilot)
        assert side.outer_size.width == 80
        await pilot.resize_terminal(*WIDE)
        await rest(pilot)
        assert side.outer_size.width == 68

    again(shared, drive)


def test_filters_are_saved_used_and_forgotten_by_name(shared: Home) -> None:
    async def save(pilot: Pilot[int], app: RpatApp) -> None:
        await command(pilot, app, "save early")
        assert "no filter is set" in said(app)
        await press(pilot, "slash", *"mart", "enter")
        await command(pilot, app, "save not/a")
        assert "is no name" in said(app)
        await command(pilot, app, "save early")
        assert json.loads((shared.path / "window.json").read_text())[FILTERS] == {"early": "mart"}
        assert saved("@early", str(shared.path)) == "mart"
        assert saved("mart", str(shared.path)) == "mart"
        with pytest.raises(ConfigError, match="did you mean 'early'"):
            saved("@earl", str(shared.path))
        await press(pilot, "escape", "slash", "at", *"early", "enter")
        assert app.screen.query_of_list.where == "mart"  # type: ignore[attr-defined]

    async def use(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "escape", "2")
        await command(pilot, app, "filter early")
        assert app.screen.query_of_list.where == "mart"  # type: ignore[attr-defined]
        await command(pilot, app, "filter method:trades")
        assert app.screen.query_of_list.where == "method:trades"  # type: ignore[attr-defined]
        await command(pilot, app, "unsave early")
        assert app.remembered.filters() == {}

    again(shared, save)
    again(shared, use)


# ----------------------------------------------------------------- commands with words


def test_commands_with_words_sort_go_and_dress(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "2")
        await command(pilot, app, "sort clean")
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.query_of_list.sort == "clean"
        way = screen.query_of_list.descending
        await command(pilot, app, "sort clean")
        assert screen.query_of_list.descending != way
        await command(pilot, app, "goto r0003")
        await until(pilot, lambda: table(app).line and table(app).line.id == "r0003")  # type: ignore[union-attr]
        await command(pilot, app, "goto 9999")
        assert "r9999 is not in this list" in said(app)
        await command(pilot, app, "goto x")
        assert "is no run" in said(app)
        await command(pilot, app, "thm lgt")  # fuzzy
        assert app.theme == "light"

    again(shared, drive)


def test_settings_are_changed_in_the_window_with_the_judgement_of_the_command(
    shared: Home, tmp_path: Path
) -> None:
    file = tmp_path / "config" / "rpat" / "config.toml"

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await command(pilot, app, "config tui.theme light")
        assert app.theme == "light"
        assert 'theme = "light"' in file.read_text("utf-8")
        await command(pilot, app, "config retries many")
        assert "setting retries is 'many'" in said(app)
        await command(pilot, app, "config cpu_slots")
        assert isinstance(app.screen, Line)
        assert "runs at a time" in seen(app)
        await press(pilot, "backspace", "3", "enter")
        assert settings.settings()["cpu_slots"].value == 3
        await command(pilot, app, "config keys.map emacs")
        await press(pilot, "1", "g", "ctrl+n")
        assert table(app).cursor == 1

    again(shared, drive)


def test_charts_are_chosen_by_looking_at_a_sample(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await command(pilot, app, "charts")
        assert isinstance(app.screen, Sample)
        for kind in KINDS.values():
            assert kind in seen(app)
            assert any(
                line.strip() and line.strip() in seen(app) for line in drawn(kind).split("\n")
            )
        await press(pilot, "3")
        assert app.screen.query_one(ChartWidget).charts == "ascii"
        assert settings.settings()["tui.charts"].value == "ascii"

    again(shared, drive)


def test_a_read_only_window_writes_nothing(shared: Home, tmp_path: Path) -> None:
    kept = Remembered(shared, write=False)

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "slash", *"mart", "enter", "space", "less_than_sign")
        await command(pilot, app, "save early")
        await command(pilot, app, "config retries 3")
        assert "read-only" in said(app)

    driven(shared, drive, WIDE, readonly=True, remembered=kept)
    kept.save()
    assert not list(shared.path.glob("window*"))
    assert not (tmp_path / "config" / "rpat").exists()


# ----------------------------------------------------------------- the file


@pytest.mark.parametrize("text", [b"{", b"", b"\xff\xfe", b"[]", b'{"runs": {"sort": "pgd"'])
def test_a_damaged_file_is_set_aside_with_one_line(shared: Home, text: bytes) -> None:
    file = shared.path / "window.json"
    file.write_bytes(text)

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        assert "window.damaged.json" in said(app)
        assert "\n" not in said(app)
        await press(pilot, "space")

    again(shared, drive)
    assert (shared.path / "window.damaged.json").read_bytes() == text
    assert json.loads(file.read_text("utf-8"))["runs"]["marks"]


@pytest.mark.parametrize(
    "values",
    [
        {"sort": "gone", "where": "(", "marks": [99, "x", None], "columns": [["id"], 3]},
        {"sort": 7, "where": ["x"], "marks": "all", "columns": "id", "descending": "no"},
        {"unfolded": [[1, 2], ["a"], "x"], "group_seeds": 1, "border": "wide", "metric": []},
        {"border": -5, "columns": ["id", "gone"], "metric": "gone"},
        {"border": 10**6, "marks": [True, -1, 10**30]},
    ],
    ids=str,
)
def test_values_of_another_kind_are_left_out(shared: Home, values: dict[str, Any]) -> None:
    (shared.path / "window.json").write_text(json.dumps({"runs": values, "filters": 3}), "utf-8")

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        assert "r0015" in seen(app)
        assert table(app).columns == DEFAULT
        assert app.remembered.filters() == {}
        assert app.screen.query_one("#list").outer_size.width >= 20
        await press(pilot, "space", "S", *"pgd", "enter", "tab")

    again(shared, drive)


def test_two_windows_keep_each_others_filters(shared: Home) -> None:
    one, other = Remembered(shared), Remembered(shared)
    one.put(FILTERS, "a", "mart")
    other.put(FILTERS, "b", "trades")
    other.put("runs", "sort", "pgd")
    assert one.save() == other.save() == ""
    assert one.filters() == {"a": "mart", "b": "trades"}
    other.put(FILTERS, "a", None)
    other.save()
    assert Remembered(shared).filters() == {"b": "trades"}
    assert Remembered(shared).get("runs", "sort", "id") == "pgd"


def test_a_home_that_cannot_be_written_is_remembered_elsewhere(
    shared: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shared.path / "window.json").write_text('{"filters": {"a": "mart"}}', "utf-8")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    kept = Remembered(shared)
    assert kept.filters() == {"a": "mart"}
    kept.put("runs", "sort", "pgd")
    assert kept.save() == ""
    assert kept.path is not None
    assert kept.path.is_relative_to(tmp_path / "state")
    assert Remembered(shared).get("runs", "sort", "id") == "pgd"
    assert json.loads((shared.path / "window.json").read_text()) == {"filters": {"a": "mart"}}


def test_where_nothing_can_be_written_it_is_said_once(
    shared: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("a file where a folder belongs", "utf-8")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    kept = Remembered(shared)
    kept.put("runs", "sort", "pgd")
    assert "nothing will be remembered" in kept.save()
    kept.put("runs", "sort", "nrr")
    assert kept.save() == ""


def test_a_home_that_does_not_exist_is_not_made_by_remembering(tmp_path: Path) -> None:
    kept = Remembered(Home(tmp_path / "none"))
    kept.put("runs", "sort", "pgd")
    assert kept.save() == ""
    assert not (tmp_path / "none").exists()
