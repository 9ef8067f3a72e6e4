"""The Table screen: the paper-style table, cell by cell."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from textual.pilot import Pilot

from rpat.rundir import RunDir
from rpat_tui.app import RpatApp
from rpat_tui.home import Home
from rpat_tui.launch import frozen, worker
from rpat_tui.remembered import Remembered
from rpat_tui.replay import Replay
from rpat_tui.screens.ask import Ask
from rpat_tui.screens.paper import Ask as TableAsk
from rpat_tui.screens.runs import RunsScreen
from rpat_tui.screens.table import FORMATS, TableScreen
from rpat_tui.store import db as database
from rpat_tui.widgets.papertable import Figure, Layout, PaperTable, TableLine
from tests.console.conftest import Rpat
from tests.tui.driving import driven, press, rest, said, seen, until
from tests.tui.stored import copied, drive, paper_home, small_home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home that no test changes."""
    return small_home(tmp_path_factory.mktemp("tabled"))


async def opened(pilot: Pilot[int], app: RpatApp) -> TableScreen:
    await press(pilot, "4")
    assert isinstance(app.screen, TableScreen)
    return app.screen


def row(app: RpatApp, start: str) -> str:
    lines = [line.strip(" │") for line in seen(app).splitlines()]
    found = [line for line in lines if line.startswith(start)]
    assert found, seen(app)
    return found[0].partition("││")[0].strip(" │")


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_rows_means_and_what_is_open(home: Home, size: tuple[int, int]) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        assert "CIFAR-10 · ResNet-18" in seen(app)
        assert row(app, "PGD-AT").split()[-1] == "3"
        assert "*" in row(app, "+ RPAT")
        trades = row(app, "TRADES")
        assert trades.split()[-1] == "1/3"
        assert "●" in trades
        assert "3 rows, 2 open" in seen(app)
        assert all(len(line) <= size[0] for line in seen(app).splitlines())

    drive(home, check, size)


def test_the_line_below_says_what_is_behind_a_cell(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        assert "runs r0001 r0002 r0003" in seen(app)
        await press(pilot, "j", "l")
        assert "PGD-AT + RPAT" in seen(app)
        assert "against no RPAT: p" in seen(app)
        await press(pilot, "G", "l")
        assert "runs r0007 ● r0008 4/12 ◌ r0009" in seen(app)
        assert "AA is missing: rpat eval r0007 --attack aa" in seen(app)
        await press(pilot, "g", "home", "end", "pageup", "down", "up", "left")
        assert app.screen.query_one(PaperTable).row == 0

    drive(home, check)


def test_the_papers_numbers_stand_below_ours(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        assert "difference" not in seen(app)
        await press(pilot, "P")
        assert "82.92" in row(app, "paper")
        assert row(app, "difference")
        assert "(Table 1)" in seen(app)

    drive(home, check)


def test_rules_basis_and_filters(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        said = copied(app, monkeypatch)
        screen = await opened(pilot, app)
        await press(pilot, "y", "b", "y", "b", "R", "P", "y")
        assert "best PGD" in seen(app)
        assert "NRR°" in seen(app)
        await press(pilot, "slash", *"method t", "enter", "y")
        assert screen.ask.method == "trades"
        assert "PGD-AT" not in seen(app)
        await press(pilot, "slash", *"everything", "enter")
        assert screen.ask.filters == {}
        assert said == [
            "rpat table",
            "rpat table --checkpoint final",
            "rpat table --select pgd --robust pgd20 --paper",
            "rpat table --method trades --select pgd --robust pgd20 --paper",
        ]

    drive(home, check)


def test_what_is_missing_is_asked_about_once_and_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = small_home(tmp_path)
    RunDir(own.runs / "r0007").best("online").touch()
    monkeypatch.setattr(worker, "ensure", lambda _: None)
    monkeypatch.setattr(frozen, "provenance", lambda *_: {})

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        told: list[str] = []
        monkeypatch.setattr(app, "notify", lambda text, **_: told.append(text))
        await opened(pilot, app)
        await press(pilot, "G", "f")
        assert told == ["nothing is missing of this cell, or it is on its way"]
        await press(pilot, "F")
        assert isinstance(app.screen, Ask)
        assert "AutoAttack on r0008, trades cifar10 seed 1, once it is done" in seen(app)
        await press(pilot, "n", "F", "y")
        assert isinstance(app.screen, TableScreen)
        await press(pilot, "F")
        assert isinstance(app.screen, TableScreen)

    drive(own, check)
    with database.opened(own) as db:
        assert db.execute("select count(*) from runs where wants = 'aa'").fetchone()[0] >= 2


def test_columns_are_hidden_and_come_back(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        await press(pilot, "x", *"hide AA", "enter")
        assert row(app, "Method").split() == ["Method", "Clean", "PGD-20", "Mean", "NRR", "n"]
        await press(pilot, "l", "l")
        assert "Mean" in seen(app).splitlines()[-4]
        await press(pilot, "x", *"show AA", "enter")
        assert "AA" in row(app, "Method")

    drive(home, check)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with two data sets that no test changes."""
    return paper_home(tmp_path_factory.mktemp("paper"))


@pytest.mark.parametrize(("width", "clean"), [(120, "83.8±.1*"), (160, "83.76±0.07*")])
def test_data_sets_stand_side_by_side_where_there_is_room(
    paper: Home, width: int, clean: str
) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        assert "CIFAR-100 · ResNet-18" in seen(app)
        await press(pilot, "v")
        assert row(app, "CIFAR-10").split() == ["CIFAR-10", "│", "CIFAR-100"]
        heads = ["Clean", "PGD-20", "AA", "Mean", "NRR", "n"]
        assert row(app, "Method").split() == ["Method", "│", *heads, "│", *heads]
        assert "ResNet-18 · l_inf · best checkpoint" in seen(app)
        lines = [line.strip(" │") for line in seen(app).splitlines()]
        rpat = [line.split() for line in lines if line.startswith("+ RPAT")]
        assert rpat[0][3] == clean
        assert rpat[1][-8:] == ["●", rpat[1][-7], "●", *rpat[1][-5:-1], "1/3"]
        assert rpat[2][-6:] == [*"–––––", "0"]
        assert all(len(line) <= width for line in seen(app).splitlines())
        await press(pilot, "v")
        assert "CIFAR-100 · ResNet-18" in seen(app)

    drive(paper, check, (width, 34))


def test_side_by_side_the_cursor_goes_from_data_set_to_data_set(
    paper: Home, nothing_starts: None
) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        screen = await opened(pilot, app)
        await press(pilot, *"jjjl", "v")
        cell = "TRADES + RPAT · cifar10 · resnet18 · PGD-20 52.98 ± 0.13"
        assert cell in seen(app)
        assert "runs r0010 r0011 r0012" in seen(app)
        await press(pilot, *"llllll")
        assert "TRADES + RPAT · cifar100 · resnet18 · PGD-20 30.08" in seen(app)
        assert "runs r0028 ● r0029 4/12 ◌ r0030" in seen(app)
        below = screen.table.row
        await press(pilot, "v")
        assert (screen.table.row, screen.table.column) == (below, 1)
        assert "TRADES + RPAT · cifar100 · resnet18 · PGD-20 30.08" in seen(app)
        await press(pilot, "v", "G")
        assert "MART + RPAT · CIFAR-100 · resnet18 · PGD-20" in seen(app)
        assert "no run yet" in seen(app)
        assert "c on r0016 in the list composes one like it" in seen(app)
        await press(pilot, "enter", "f")
        assert said(app).splitlines() == [
            "there is no run of this yet", "fill: there is no run of this to repeat"
        ]  # fmt: skip
        await press(pilot, "k", "enter")
        assert isinstance(app.screen, RunsScreen)
        assert app.screen.query_of_list.where == "id=r0031 or id=r0032 or id=r0033"

    driven(paper, check)


def test_what_is_too_narrow_for_two_data_sets_is_said_in_a_line(
    paper: Home, nothing_starts: None
) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        before = seen(app)
        await press(pilot, "v")
        assert seen(app) == before
        assert re.fullmatch(
            r"side by side needs a window 1\d\d wide, this one is 80; x hides columns", said(app)
        )
        await press(pilot, "x", *"hide Mean", "enter", "x", *"hide PGD", "enter", "v")
        assert row(app, "Method").split().count("NRR") == 2
        assert len(said(app).splitlines()) == 1

    driven(paper, check, (80, 24))


def test_a_window_that_becomes_narrow_says_so_and_finds_back(
    paper: Home, nothing_starts: None
) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        screen = await opened(pilot, app)
        await press(pilot, "v")
        for width, beside in ((80, False), (120, True), (100, False), (160, True)):
            await pilot.resize_terminal(width, 34)
            await until(pilot, lambda want=beside: bool(screen.table.shown.groups) == want)
            await rest(pilot)
            assert ("side by side needs a window 1" in seen(app)) != beside
            assert ("CIFAR-100 · ResNet-18" in seen(app)) != beside

    driven(paper, check)


def test_the_layout_is_remembered_copied_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_starts: None, rpat: Rpat
) -> None:
    own = paper_home(tmp_path)
    monkeypatch.chdir(tmp_path)

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        copies = copied(app, monkeypatch)
        await opened(pilot, app)
        await press(pilot, "v", "y", "e", *"md", "enter")
        assert copies == ["rpat table --layout paper"]
        app.remember()

    async def again(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        assert "│ CIFAR-100 " in seen(app)
        await press(pilot, "v")
        app.remember()

    async def at_last(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        assert "CIFAR-100 · ResNet-18" in seen(app)

    for what in (check, again, at_last):
        driven(own, what, remembered=Remembered(own))
    printed = rpat("table", "--layout", "paper", "--format", "md", "--home", str(own.path))
    assert (tmp_path / "table.md").read_text("utf-8") == printed.out


def test_the_papers_numbers_stand_below_ours_side_by_side(paper: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        await press(pilot, "v", "P")
        numbers = [line.replace("│", " ").split() for line in seen(app).splitlines()]
        printed = [line[1:] for line in numbers if line[:1] == ["paper"]]
        assert " ".join(printed[0]) == "82.9 50.6 46.7 64.8 59.8 56.6 28.8 25.0 40.8 34.7"
        assert len(printed[-1]) == 5, "MART with RPAT on CIFAR-100 has no run here"
        difference = next(line for line in numbers if line[:1] == ["difference"])
        assert difference[1:4] == ["+.0", "+1.2", "!"]

    drive(paper, check)


def test_enter_shows_the_runs_behind_a_row(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        await press(pilot, "j", "enter")
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.query_of_list.where == "id=r0004 or id=r0005 or id=r0006"
        await rest(pilot)
        assert "Runs 3 of" in seen(app)
        await press(pilot, "escape")
        assert screen.query_of_list.where == ""

    drive(home, check)


@pytest.mark.parametrize(("keys", "words"), [
    ((), ()),
    (("slash", *"method pgd", "enter", "b", "b", "R", "P", "v"),
     ("--method", "pgd-at", "--select", "pgd", "--robust", "pgd20", "--paper",
      "--layout", "paper")),
])  # fmt: skip
def test_an_exported_file_is_what_the_command_prints_and_can_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_starts: None, rpat: Rpat,
    keys: tuple[str, ...], words: tuple[str, ...],
) -> None:  # fmt: skip
    own = small_home(tmp_path)
    monkeypatch.setenv("RPAT_HOME", str(own.path))
    monkeypatch.chdir(tmp_path)

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        await press(pilot, *keys)
        for layout in ("md", *FORMATS):
            await press(pilot, "e", *layout, "enter")
        assert said(app).splitlines()[-1] == str(tmp_path / f"table.{FORMATS[layout]}")

    driven(own, check, (160, 40))
    assert (tmp_path / "table-2.md").exists()
    for layout, ending in FORMATS.items():
        file = tmp_path / f"table.{ending}"
        assert file.read_text("utf-8") == rpat("table", *words, "--format", layout).out
        assert rpat("table", "--verify", file.name).code == 0
    with database.opened(own) as db:
        db.execute("update evaluations set clean = clean + 1 where run = 1")
    drifted = rpat("table", "--verify", "table.md")
    assert (drifted.code, " Clean: " in drifted.out) == (1, True), drifted


def test_the_command_names_the_other_machines_that_are_shown() -> None:
    ask = TableAsk(rule="final", remote=("box", "lab"))
    assert ask.command() == "rpat table --checkpoint final --remote box --remote lab"


def test_a_file_that_no_command_makes_again_says_so_and_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_starts: None
) -> None:
    own = small_home(tmp_path)
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect(own.database) as db:
        db.execute("update runs set dataset = 'cifar11' where method = 'trades'")

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        await press(pilot, "slash", *"cifar11", "enter", "x", *"hide AA", "enter")
        await press(pilot, "e", *"md", "enter")
        path, columns, why = said(app).splitlines()
        assert path == str(tmp_path / "table.md")
        assert columns == "with the columns that are hidden here"
        assert why.startswith(
            "rpat table --verify cannot read it: --dataset 'cifar11' is not known"
        )

    driven(own, check)
    text = (tmp_path / "table.md").read_text("utf-8")
    assert "| TRADES" in text
    assert "PGD-AT" not in text
    assert "made by" not in text


def test_a_table_of_the_demo_is_exported_without_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Home, nothing_starts: None
) -> None:
    monkeypatch.chdir(tmp_path)

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        app.replay = Replay(shared)
        await opened(pilot, app)
        await press(pilot, "e", *"csv", "enter")
        assert "cannot read it: the runs of the demo are deleted with it" in said(app)

    driven(shared, check)
    text = (tmp_path / "table.csv").read_text("utf-8")
    assert len(text.splitlines()) > 1
    assert "asked" not in text


def test_ascii_stays_ascii(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        await press(pilot, "R", "P", "G")
        table = app.screen.query_one(PaperTable)
        for key in "Gv":
            await press(pilot, key)
            assert "".join(table.render_line(y).text for y in range(table.size.height)).isascii()
        assert "| CIFAR-10" in seen(app)

    drive(home, check, ascii_only=True)


def test_a_long_table_scrolls_with_the_cursor_in_sight() -> None:
    import asyncio

    from textual.app import App, ComposeResult

    class Shown(App[None]):
        def compose(self) -> ComposeResult:
            yield PaperTable()

    async def go() -> None:
        app = Shown()
        async with app.run_test(size=(60, 12)) as pilot:
            table = app.query_one(PaperTable)
            figures = tuple(Figure("12.34 ± 0.50") for _ in range(3))
            lines = [TableLine("heading", "block")]
            lines += [TableLine("row", f"row {i}", figures=figures, rows=(i,)) for i in range(5000)]
            lines.append(TableLine("note", "the end"))
            table.show(Layout.of(("a", "b", "c"), lines))
            table.focus()
            for key, first in (("G", 4999), ("k", 4998), ("pageup", 4988), ("g", 0)):
                await pilot.press(key)
                await pilot.pause()
                text = [table.render_line(y).text for y in range(12)]
                assert table.row == first
                assert any(f"row {first} " in line for line in text), text
            assert "block" in text[1]
            assert {len(line) for line in text} == {60}

    asyncio.run(go())
