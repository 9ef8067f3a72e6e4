"""The Table screen: the paper-style table, cell by cell."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from textual.pilot import Pilot

from rpat.rundir import RunDir
from rpat_tui import exports
from rpat_tui.app import RpatApp
from rpat_tui.compare import summarise
from rpat_tui.home import Home
from rpat_tui.launch import frozen, worker
from rpat_tui.screens.ask import Ask
from rpat_tui.screens.runs import RunsScreen
from rpat_tui.screens.table import TableScreen
from rpat_tui.store import db as database
from rpat_tui.store import queries
from rpat_tui.widgets.papertable import Figure, Layout, PaperTable, TableLine
from tests.tui.driving import press, rest, seen
from tests.tui.stored import copied, drive, small_home


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


def test_an_exported_file_is_what_the_command_prints(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        told: list[str] = []
        monkeypatch.setattr(app, "notify", lambda text, **_: told.append(text))
        await opened(pilot, app)
        for layout in ("md", "md", "latex", "csv", "json"):
            await press(pilot, "e", *layout, "enter")
        assert told[-1] == str(tmp_path / "table.json")

    drive(home, check, (160, 40))
    assert (tmp_path / "table-2.md").exists()
    with database.opened(home) as db:
        made = summarise(queries.measurements(db, checkpoint="best"), checkpoint="best")
    for layout, name in (("md", "table.md"), ("latex", "table.tex"), ("json", "table.json")):
        out = io.StringIO()
        exports.get(layout).write(made, out)
        assert (tmp_path / name).read_text() == out.getvalue()


def test_ascii_stays_ascii(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await opened(pilot, app)
        await press(pilot, "R", "P", "G")
        table = app.screen.query_one(PaperTable)
        assert "".join(table.render_line(y).text for y in range(table.size.height)).isascii()

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
            lines += [TableLine("row", f"row {i}", figures=figures, row=i) for i in range(5000)]
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
