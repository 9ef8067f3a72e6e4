"""The window without a terminal: its keys, its acts, and homes in every condition."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from textual.binding import Binding
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from rpat.errors import ConfigError
from rpat.rundir import RunDir
from rpat_tui.acts import ACTS
from rpat_tui.app import RpatApp
from rpat_tui.cli import app as commands
from rpat_tui.home import Home, settings
from rpat_tui.launch.cards import Card
from rpat_tui.replay import CAST, Part, Replay
from rpat_tui.screens.base import Page
from rpat_tui.screens.detail import Detail
from rpat_tui.screens.jump import Jump, letters
from rpat_tui.screens.keys import Keys
from rpat_tui.screens.modes import MODES, PLACES
from rpat_tui.screens.pick import Pick
from rpat_tui.screens.queue import QueueScreen
from rpat_tui.screens.runs import METRICS, About, RunsScreen
from rpat_tui.store import db as database
from rpat_tui.store.queue import MOVES
from rpat_tui.widgets.bar import Bar
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.runtable import RunTable
from rpat_tui.widgets.tail import Tail
from tests.tui.driving import driven, press, rest, said, seen, table, until

pytestmark = pytest.mark.usefixtures("nothing_starts")

SIZES = [(80, 24), (160, 48)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with recorded runs in every state."""
    replay = Replay(Home(tmp_path / "home"))
    replay.begin()
    return replay.home


@pytest.fixture
def db(home: Home) -> Iterator[sqlite3.Connection]:
    with database.opened(home) as connection:
        yield connection


def dump(home: Home) -> list[str]:
    with database.opened_readonly(home) as db:
        return list(db.iterdump())


# ----------------------------------------------------------------- keys


@pytest.mark.parametrize(("key", "mode"), list(zip("12345", PLACES, strict=True)))
def test_every_global_key_goes_to_its_screen(shared: Home, key: str, mode: str) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "2" if key == "1" else "1", key)
        assert app.current_mode == mode
        assert type(app.screen).__name__ == PLACES[mode][1]
        await press(pilot, "grave_accent")
        assert app.current_mode == ("queue" if key == "1" else "runs")
        await press(pilot, "grave_accent")
        assert app.current_mode == mode

    driven(shared, drive)


def test_a_look_at_a_screen_that_has_no_panes_yet_is_harmless(shared: Home) -> None:
    """A slow machine may look between the key that opens a screen and the screen's panes."""

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        screen = QueueScreen()
        shown = app.push_screen(screen)
        assert app.screen is screen
        assert not screen.is_mounted
        await screen.told(screen.renew())
        await shown
        await rest(pilot)
        assert len(screen.numbers) == screen.menu.option_count > 0

    driven(shared, drive)


def test_quitting_asks_nothing_and_leaves_with_success(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await pilot.press("q")

    assert driven(shared, drive).return_code == 0


def test_the_palette_opens_with_both_of_its_keys(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        for key in ("ctrl+p", "colon"):
            await press(pilot, key)
            assert type(app.screen).__name__ == "CommandPalette"
            await press(pilot, "escape")

    driven(shared, drive)


async def each_screen(pilot: Pilot[int], app: RpatApp) -> list[Screen[Any]]:
    """Visit every screen; return them."""
    found: list[Screen[Any]] = []
    for mode in MODES:
        app.action_mode(mode)
        await rest(pilot)
        found.append(app.screen)
    app.action_mode("runs")
    for push in (lambda: app.open_run(1), app.action_compose):
        push()
        await rest(pilot)
        found.append(app.screen)
        app.pop_screen()
        await rest(pilot)
    return found


def own(kind: type) -> list[type]:
    """Return the classes of ours that a kind gets its bindings from."""
    return [c for c in kind.__mro__ if c.__module__.startswith("rpat_tui")]


def bindings(kind: type) -> list[Binding]:
    made = [b for c in own(kind) for b in vars(c).get("BINDINGS", ()) if isinstance(b, Binding)]
    return list(Binding.make_bindings(made))


def contexts(screens: list[Screen[Any]]) -> list[tuple[Screen[Any], type | None]]:
    """Return every screen with every kind of widget of ours that can have the keyboard on it."""
    out: list[tuple[Screen[Any], type | None]] = []
    for screen in screens:
        kinds = {type(w) for w in screen.query("*") if w.can_focus and own(type(w))}
        out += [(screen, kind) for kind in sorted(kinds, key=str)] or [(screen, None)]
    return out


def test_the_help_lists_every_key_of_a_screen_its_panes_and_the_app(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        for screen, kind in contexts(await each_screen(pilot, app)):
            help_ = Keys(screen)
            rows = {what for _, group in help_.groups for _, what in group}
            for owner in filter(None, (type(screen), kind, RpatApp)):
                for binding in bindings(owner):
                    assert binding.description, (owner, binding.key)
                    assert {binding.description, binding.tooltip} & rows, (owner, binding)

    driven(shared, drive)


def test_the_help_is_shown_searched_and_left(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "question_mark")
        assert isinstance(app.screen, Keys)
        assert "this screen" in seen(app)
        assert "requeue from start" in seen(app)
        await press(pilot, *"kill")
        assert "X" in seen(app)
        assert "requeue from start" not in seen(app)
        await press(pilot, "escape")
        assert isinstance(app.screen, RunsScreen)

    driven(shared, drive)


def test_escape_is_passed_on_by_a_chart_that_is_not_inspected(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        app.open_run(1)
        await rest(pilot)
        await press(pilot, "i", "escape")
        assert isinstance(app.screen, Detail)
        await press(pilot, "escape")
        assert isinstance(app.screen, RunsScreen)

    driven(shared, drive)


def test_long_lines_of_a_log_are_cut_or_wrapped(home: Home) -> None:
    words = [f"{i:04d}" for i in range(60)]
    output = RunDir(home.runs / "r0001").attempts()[-1].output
    output.write_text("first\n" + " ".join(words) + "\nlast\n")

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        app.run_at_cursor = 1
        app.action_mode("logs")
        await press(pilot, "o")
        tail = app.screen.query_one(Tail)
        assert [row.split()[0] for row in tail.rows] == ["first", "0000", "last"]
        assert "0059" not in seen(app)
        await press(pilot, "w")
        assert "".join(tail.rows).replace(" ", "") == "".join(["first", *words, "last"])
        assert "0059" in seen(app)
        assert "last" in seen(app)
        await press(pilot, "g")
        assert tail.rows[0] == "first"
        await press(pilot, "w")
        assert len(tail.rows) == 3
        assert "0059" not in seen(app)

    driven(home, drive, (80, 24))


@pytest.mark.parametrize("mode", ["runs", "queue", "logs"])
def test_the_foot_fits_in_eighty_columns_and_shows_the_help(shared: Home, mode: str) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        app.action_mode(mode)
        await rest(pilot)
        await until(pilot, lambda: "q quit" in seen(app).splitlines()[-1])
        assert "? keys" in seen(app).splitlines()[-1]

    driven(shared, drive, (80, 24))


# ----------------------------------------------------------------- acts


def command(words: str) -> bool:
    """Return whether the program knows a command with its options."""
    here: Any = typer.main.get_command(commands)
    options = []
    for word in shlex.split(words)[1:]:
        if word.startswith("--"):
            options.append(word)
        else:
            here = here.commands.get(word)
    known = {name for p in here.params for name in p.opts} if here else set()
    return here is not None and not hasattr(here, "commands") and set(options) <= known


def test_every_act_has_a_key_a_place_in_the_palette_and_a_command(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        screens = await each_screen(pilot, app)
        for act in ACTS.values():
            assert command(act.command), act.command
            keys = {b.key for s in screens for b in bindings(type(s))
                    if b.action == f"act('{act.name}')"}  # fmt: skip
            assert keys == {act.key}
            for screen in (s for s in screens if isinstance(s, Page)):
                offered = {c.title: c.help for c in app.get_system_commands(screen)}
                assert offered[act.title] == act.command

    driven(shared, drive)


@pytest.mark.parametrize("archived", [False, True], ids=["listed", "archived"])
@pytest.mark.parametrize("act", ACTS.values(), ids=lambda act: act.name)
def test_an_act_is_refused_with_a_reason_wherever_the_command_would_refuse(
    home: Home, db: sqlite3.Connection, act: Any, archived: bool
) -> None:
    from rpat_tui.store import queries

    for state in MOVES:
        db.execute("update runs set state = ?, archived = ? where n = 1", (state, archived))
        rows = queries.runs(db, numbers=[1])
        if not rows:
            assert act.name == "delete"
            break
        (row,) = rows
        reason = act.refuse(row)
        try:
            refused = "nothing to" in (text := act.do(home, db, 1))
        except ConfigError as error:
            refused, text = True, str(error)
        if refused:
            assert "r0001" in reason, (state, text)
            assert state in reason or "archived" in reason


@pytest.mark.parametrize("state", ["done", "queued"])
def test_a_key_that_is_not_possible_says_why(shared: Home, state: str) -> None:
    before = dump(shared)
    key = {"done": "s", "queued": "r"}[state]

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "G" if state == "done" else "g", key)
        assert f"is {state}" in said(app)

    driven(shared, drive)
    assert dump(shared) == before


def test_stopping_pausing_and_the_order_of_the_queue_from_the_keyboard(
    home: Home, db: sqlite3.Connection
) -> None:
    def state(n: int) -> str:
        return str(db.execute("select state from runs where n = ?", (n,)).fetchone()[0])

    def order() -> list[int]:
        from rpat_tui.store import queue

        return queue.waiting(db)

    last = len(CAST)

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "g", "p")
        await until(pilot, lambda: state(last) == "paused")
        await press(pilot, "p")
        await until(pilot, lambda: state(last) == "queued")
        await press(pilot, "2")
        await press(pilot, *("j",) * 6)
        chosen = app.screen.chosen()[0]  # type: ignore[attr-defined]
        await press(pilot, "left_square_bracket")
        await until(pilot, lambda: order()[0] == chosen)
        await press(pilot, "J")
        await until(pilot, lambda: order()[1] == chosen)
        await press(pilot, "K")
        await until(pilot, lambda: order()[0] == chosen)
        await press(pilot, "K")
        await until(pilot, lambda: "is first already" in said(app))
        await press(pilot, "right_square_bracket")
        await until(pilot, lambda: order()[-1] == chosen)
        await press(pilot, "1", "g", "X")
        await press(pilot, "n")
        assert state(last) == "queued"
        await press(pilot, "X", "y")
        await until(pilot, lambda: state(last) == "stopped")

    driven(home, drive)


def test_the_places_of_the_machine_are_set_from_the_queue(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("RPAT_CPU_SLOTS", "RPAT_RUNS_PER_GPU"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "2", "S")
        assert "runs the CPU takes, now 1" in seen(app)
        await press(pilot, "4", "enter")
        assert "cpu_slots is 4" in said(app)
        await until(pilot, lambda: re.search(r"│ +3  free", seen(app)))
        monkeypatch.setattr(app.driver, "read", lambda: [Card(index=0, name="A100")])
        app.surveyed = float("-inf")
        await app.look()
        await press(pilot, "S", *"auto", "enter", "S")
        assert "runs a card takes, now auto" in seen(app)
        await press(pilot, "escape")
        app.readonly = True
        await press(pilot, "S")
        assert "this window is read-only" in said(app)

    driven(home, drive)
    assert settings()["runs_per_gpu"].value == "auto"
    assert settings()["cpu_slots"].value == 4


def test_a_window_that_is_read_only_changes_nothing(shared: Home) -> None:
    before = dump(shared)

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        for key in (
            *(
                act.key
                for act in ACTS.values()
                if act.name not in ("earlier", "later", "first", "last")
            ),
        ):
            await press(pilot, key)
        await press(pilot, "2", "j", "j")
        brackets = ("left_square_bracket", "right_square_bracket")
        for key in ("K", "J", *brackets, "s", "X", "p", "plus", "minus", "P"):
            await press(pilot, key)
        assert "read-only" in said(app)
        assert "read-only" in seen(app).splitlines()[0]

    driven(shared, drive, readonly=True)
    assert dump(shared) == before


# ----------------------------------------------------------------- the list


def test_a_filter_narrows_as_one_types_and_escape_takes_it_away(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        every = table(app).count
        await press(pilot, "slash", *"mart")
        assert 0 < table(app).count < every
        await until(pilot, lambda: "/mart" in seen(app))
        await press(pilot, "space", "left_parenthesis")  # not a filter yet
        assert 0 < table(app).count < every
        await press(pilot, "enter")
        assert table(app).has_focus
        await press(pilot, "escape")
        assert table(app).count == every
        assert not app.screen.query_one("#filter", Input).display

    driven(shared, drive)


@pytest.mark.parametrize("moved", [False, True])
def test_the_cursor_goes_to_a_run_that_was_queued_unless_it_was_moved(
    shared: Home, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "G")
        last, looked = table(app).line, asyncio.Event()
        monkeypatch.setattr(app, "look", looked.wait)
        app.show_run(5)
        if moved:
            await pilot.press("k", "j")
        looked.set()
        await rest(pilot)
        assert last is not None
        assert table(app).line is not None
        assert table(app).line.key == (last.key if moved else 5)  # type: ignore[union-attr]

    driven(shared, drive)


def test_a_column_is_chosen_for_the_order_and_again_reverses(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await press(pilot, "S")
        assert isinstance(app.screen, Pick)
        await press(pilot, *"pgd", "enter")
        assert screen.query_of_list.sort == "pgd"
        first = table(app)._lines[0].id
        await press(pilot, "S", *"pgd", "enter")
        assert table(app)._lines[0].id != first

    driven(shared, drive)


def test_seeds_are_folded_and_unfolded(tmp_path: Path) -> None:
    replay = Replay(Home(tmp_path / "home"), cast=[Part(0, "done"), Part(1, "done")])
    replay.recorded[1] = json.loads(json.dumps(replay.recorded[0]))
    replay.recorded[1]["config"]["seed"] = 1
    replay.begin()

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        assert table(app).count == 2
        await press(pilot, "v")
        assert table(app).count == 1
        assert "±" in seen(app)
        await press(pilot, "enter")
        assert table(app).count == 3
        await press(pilot, "v")
        assert table(app).count == 2

    driven(replay.home, drive)


def test_marked_runs_are_overlaid_in_their_colours(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "G", "space", "k", "space")
        assert app.marked == (1, 2)
        chart = app.screen.query_one(ChartWidget)
        assert {s.name for s in chart.chart.series} == {"r0001", "r0002"}
        assert chart.chart.title == "PGD accuracy"
        await press(pilot, "0")
        assert app.marked == ()
        assert chart.chart.title == "accuracy"
        assert len(chart.chart.series) == 2

    driven(shared, drive, (160, 48))


def test_the_chart_shows_another_metric_from_its_menu(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "G", "tab", "m")
        assert isinstance(app.screen, Pick)
        await press(pilot, *"learn", "enter")
        assert app.screen.query_one(ChartWidget).chart.title == "learning rate"
        for name in METRICS:
            app.screen._show_metric(name)  # type: ignore[attr-defined]
            await rest(pilot)
            assert app.screen.query_one(ChartWidget).chart.title == name

    driven(shared, drive, (160, 48))


def test_curves_are_drawn_over_epochs_steps_and_hours(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "G", "tab")
        chart = app.screen.query_one(ChartWidget)
        n = app.screen.chosen()[0]  # type: ignore[attr-defined]
        with database.opened_readonly(app.home) as db:
            steps, epochs = db.execute("select steps, epochs from runs where n = ?", [n]).fetchone()
            spent = db.execute(
                "select sum(value) from points p join series s on s.id = p.series "
                "where s.run = ? and s.name in ('time/epoch_s', 'time/eval_s')", [n],
            ).fetchone()[0]  # fmt: skip
        over_epochs = chart.chart
        assert (over_epochs.x_name, over_epochs.planned_end) == ("epoch", epochs)
        await press(pilot, "w")
        assert (chart.chart.x_name, chart.chart.planned_end) == ("step", steps)
        share = steps / epochs
        for one, other in zip(chart.chart.series, over_epochs.series, strict=True):
            assert one.x.tolist() == pytest.approx((other.x * share).tolist())
        drops = [marker.x * share for marker in over_epochs.markers]
        assert [marker.x for marker in chart.chart.markers] == pytest.approx(drops)
        await press(pilot, "w")
        assert (chart.chart.x_name, chart.chart.planned_end) == ("hours", None)
        assert chart.chart.series[0].x[-1] == pytest.approx(spent / 3600)
        assert "x: hours" in seen(app)
        app.open_run(n)
        await rest(pilot)
        assert {c.chart.x_name for c in app.screen.query(ChartWidget)} == {"hours"}
        await press(pilot, "w")
        assert {c.chart.x_name for c in app.screen.query(ChartWidget)} == {"epoch"}
        assert not said(app)

    driven(shared, drive, (160, 48))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_panes_are_reached_and_zoomed_in_any_size(shared: Home, size: tuple[int, int]) -> None:
    wide = size[0] >= 110

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        chart = app.screen.query_one(ChartWidget)
        assert table(app).has_focus
        assert chart.region.width > 20 if wide else not chart.region.width
        await press(pilot, "tab")
        assert chart.has_focus
        assert chart.region.width > 20
        assert bool(table(app).region.width) == wide
        await press(pilot, "z")
        assert chart.region.width > size[0] - 4
        await press(pilot, "z", "tab")
        details = app.screen.query_one("#details")
        assert details.has_focus
        assert details.region.width > 20
        await press(pilot, "tab")
        assert table(app).has_focus
        assert table(app).region.width > 20
        await press(pilot, "z")
        assert table(app).region.width == size[0] - 2 * wide
        await press(pilot, "z", "shift+tab", "shift+tab")
        assert chart.has_focus
        await press(pilot, "shift+tab", "z")
        await press(pilot, "tab")
        assert app.screen.query_one(ChartWidget).region.width > 20  # never a focus nobody sees

    driven(shared, drive, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_pane_is_reached_by_its_letter(shared: Home, size: tuple[int, int]) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        def focused() -> object:
            assert app.focused is not None
            return app.focused.id

        await press(pilot, "apostrophe")
        assert isinstance(app.screen, Jump)
        assert all(sign in seen(app) for sign in ("l  list", "c  chart", "d  details"))
        screen = app.screen_stack[0]
        for letter, pane in (("c", ChartWidget), ("d", About), ("l", RunTable)):
            await press(pilot, *["apostrophe"] * (letter != "c"), letter)
            assert isinstance(app.focused, pane)
            assert app.focused.region.area
        await press(pilot, "apostrophe", "q", "apostrophe", "escape", "apostrophe", "apostrophe")
        assert app.screen is screen
        assert isinstance(app.focused, RunTable)
        await press(pilot, "3", "apostrophe", "r")
        assert focused() == "results"
        await press(pilot, "apostrophe", "o")
        assert focused() == "config"
        await press(pilot, "1", "enter", "apostrophe", "o")
        assert focused() == "c-loss"
        assert app.focused.region.area  # type: ignore[union-attr]
        await press(pilot, "escape", "4", "apostrophe")
        assert said(app) == "this screen has one pane: there is none to jump to"

    driven(shared, drive, size)


@pytest.mark.parametrize("theme", ["dark", "light", "16-colour", "mono"])
def test_letters_lie_on_the_page_in_every_theme(shared: Home, theme: str) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "apostrophe")
        assert "d  details" in seen(app)
        assert "Runs 14 of 14" in seen(app)
        (line,) = [line for line in app.screen._compositor.render_strips() if "c  ch" in line.text]
        (word,) = [s for s in line if "c  chart" in s.text]
        assert word.style is not None
        assert word.style.reverse or word.style.color != word.style.bgcolor

    driven(shared, drive, (120, 34), theme=theme)


def test_panes_have_letters_of_their_own() -> None:
    names = ["config", "curves", "cc", "c", "logit MSE", "l"]
    assert letters(names) == dict(zip("cuabld", [*names[:3], "c", "logit MSE", "l"], strict=True))


def test_the_pages_about_a_run_are_turned_in_a_wide_window(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "G")
        for page, text in (("Overview", "took"), ("Changes", "the run most like it"),
                           ("Checks", "selected-on-test"), ("Files", "config.json")):  # fmt: skip
            assert page in seen(app)
            assert text in seen(app)
            await press(pilot, "full_stop")
        assert "took" in seen(app)
        await press(pilot, "comma")
        assert "config.json" in seen(app)

    driven(shared, drive, (160, 48))


def test_a_key_without_a_use_here_says_where_it_works(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "J")
        assert "J does nothing here: one later in the queue, in the queue (2)" in said(app)
        await press(pilot, "4", "space")
        assert "mark, in the list of runs (1)" in said(app)
        told = said(app)
        await press(pilot, "ctrl+b")
        assert said(app) == told

    driven(shared, drive)


ONE_EACH = {part.state: n for n, part in enumerate(CAST, 1)}
"""A run in each state."""


@pytest.mark.parametrize("state", ONE_EACH)
def test_a_run_in_any_state_is_opened_and_its_log_read(shared: Home, state: str) -> None:
    n = ONE_EACH[state]

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        app.open_run(n)
        await rest(pilot)
        assert f"r{n:04d}" in seen(app)
        await press(pilot, "L")
        assert app.current_mode == "logs"
        assert f"r{n:04d}" in seen(app)
        await press(pilot, "o", "e", "f", "g", "G", "slash", *"ep", "enter", "n", "N", "escape")
        await press(pilot, "less_than_sign", "greater_than_sign", "y")
        assert f"rpat show r{n:04d}" in said(app)

    driven(shared, drive, (80, 24))


# ----------------------------------------------------------------- homes in every condition


async def everywhere(pilot: Pilot[int], app: RpatApp) -> None:
    """Press what there is on every screen."""
    for key in ("2", "j", "K", "P", "enter", "5", "e", "f", "1", "enter", "space", "v", "tab", "m"):
        await press(pilot, key)
        if not isinstance(app.screen, Page):
            await press(pilot, "escape")


def test_an_empty_home_says_what_to_do(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").make()
    with database.opened(home):
        pass

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        assert "no runs yet" in seen(app).lower()
        await everywhere(pilot, app)

    driven(home, drive)


def test_a_home_that_does_not_exist_is_not_made_by_looking(tmp_path: Path) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        assert "no runs yet" in seen(app).lower()
        for key in ("2", "5", "1"):
            await press(pilot, key)
        assert not (tmp_path / "home").exists()

    driven(Home(tmp_path / "home"), drive)


def test_a_database_that_vanishes_is_missed_and_welcomed_back(home: Home, tmp_path: Path) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        count = table(app).count
        for path in home.path.glob("rpat.db*"):
            path.rename(tmp_path / path.name)
        await app.look()
        for key in ("2", "1", "j", "enter", "escape"):
            await press(pilot, key)
        assert "home" in seen(app).splitlines()[0]
        assert table(app).count == count  # what was known stays
        for path in tmp_path.glob("rpat.db*"):
            path.rename(home.path / path.name)
        await app.look()
        await press(pilot, "j")
        await app.look()
        await rest(pilot)
        assert table(app).count == count
        assert app.screen.query_one(Bar).state.remark == ""

    driven(home, drive)


def test_a_locked_database_blocks_no_key(home: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        lock = sqlite3.connect(home.database, isolation_level=None)
        lock.execute("begin immediate")
        try:
            at = table(app).cursor
            await press(pilot, "j", "j", "2", "1", "space")
            assert table(app).cursor == at + 2
        finally:
            lock.close()

    driven(home, drive)


def test_odd_names_and_long_notes_are_shown(home: Home, db: sqlite3.Connection) -> None:
    name = "名前 ☃ \x1b[31m[red]é̀"
    db.execute("update runs set name = ?, note = ?, sweep = ?", (name, "长 note " * 63, "[b]x"))

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "j", "enter")
        assert "\x1b" not in seen(app)
        assert "长" in seen(app)
        await press(pilot, "escape", "2", "j", "5")

    for size in SIZES:
        driven(home, drive, size)


def test_runs_without_metrics_and_with_missing_values_are_drawn(
    home: Home, db: sqlite3.Connection
) -> None:
    db.execute("update points set value = null where series % 2")
    db.execute("update latest_best set value = null, max_value = null where series % 3 = 0")
    db.execute("delete from points where series % 5 = 0")

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        for _ in range(6):
            await press(pilot, "space", "j")
        await press(pilot, "0", "G", "enter")
        assert isinstance(app.screen, Detail)

    driven(home, drive, (160, 48))


def test_a_storm_of_sizes_keeps_the_cursor_on_its_run(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, *("j",) * 9)
        there = table(app).line
        assert there is not None
        for width, height in ((70, 20), (200, 60), (40, 12), (20, 5), (160, 48), (80, 24),
                              (111, 8), (60, 16), (240, 70), (100, 30)):  # fmt: skip
            await pilot.resize_terminal(width, height)
        await rest(pilot)
        assert table(app).line == there
        assert there.id in seen(app)

    driven(shared, drive)


# ----------------------------------------------------------------- the demo


def test_the_demo_shows_every_state_and_moves(tmp_path: Path, monkeypatch: Any) -> None:
    import time

    replay = Replay(Home(tmp_path / "demo"))
    replay.begin()
    now = time.time()

    def states() -> dict[str, int]:
        with database.opened_readonly(replay.home) as db:
            return dict(db.execute("select state, count(*) from runs group by state").fetchall())

    assert set(states()) == set(MOVES) - {"pausing"}
    ends: dict[str, int] = {}
    for step in range(1, 40):
        monkeypatch.setattr(time, "time", lambda at=now + 10 * step: at)
        replay.tick()
        ends = states()
    assert ends.get("queued", 0) == ends.get("running", 0) == ends.get("starting", 0) == 0
    assert ends["done"] == sum(p.state in ("done", "archived", "running", "starting", "queued")
                               for p in CAST)  # fmt: skip
    with database.opened_readonly(replay.home) as db:
        assert {n for (n,) in db.execute("select note from runs")} == {"replayed recording"}
        assert {n for (n,) in db.execute("select name from runs")} == {"demo"}


def test_runs_of_the_demo_are_stopped_resumed_and_queued_again(
    tmp_path: Path, monkeypatch: Any
) -> None:
    import time

    replay = Replay(Home(tmp_path / "demo"), cast=[Part(0, "running", 0.5)])
    replay.begin()
    now = time.time()

    def tick(later: float) -> tuple[str, int]:
        monkeypatch.setattr(time, "time", lambda: now + later)
        replay.tick()
        with database.opened_readonly(replay.home) as db:
            found: tuple[str, int] = db.execute("select state, epoch from runs").fetchone()
            return found

    with database.opened(replay.home) as db:
        ACTS["pause"].do(replay.home, db, 1)
        state, epoch = tick(0)
        assert state == "paused"
        ACTS["pause"].do(replay.home, db, 1)
        assert tick(1)[0] == "starting"
        assert tick(4)[0] == "running"
        assert tick(4.1)[1] >= epoch
        ACTS["stop"].do(replay.home, db, 1)
        assert tick(4.2)[0] == "stopped"
        ACTS["requeue"].do(replay.home, db, 1)
        tick(11)
        assert tick(300) == ("done", 5)


def test_the_recordings_are_small_and_of_digits() -> None:
    from importlib.resources import files

    text = (files("rpat_tui") / "demo" / "recordings.jsonl").read_text("utf-8")
    assert len(text) < 60_000
    for line in text.splitlines():
        assert json.loads(line)["config"]["data"]["name"] == "digits"


def test_the_demo_leaves_no_home_behind() -> None:
    replay = Replay.somewhere()
    assert replay.home.exists()
    replay.remove()
    assert replay.folder is not None
    assert not replay.folder.exists()


def test_what_the_window_costs_is_said_where_it_is_asked_for(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        before = app.sent
        await press(pilot, "j", "j")
        assert app.sent >= before
        app._show_stats()
        await rest(pilot)
        for word in ("B/s", "reads/s", "% CPU"):
            assert word in seen(app)

    driven(shared, drive, size=(140, 30), stats=True)
