"""The form on its screen: typing, errors, the dry run, queuing, leaving."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static, TextArea

from rpat_tui import presets as kept
from rpat_tui.app import RpatApp
from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.screens.ask import Ask
from rpat_tui.screens.ask import Line as AskLine
from rpat_tui.screens.compose import Compose
from rpat_tui.screens.form import Line, Switches, Words
from rpat_tui.screens.pick import Pick
from rpat_tui.screens.runs import RunsScreen
from rpat_tui.store import db as database
from rpat_tui.store import queries
from tests.console.conftest import Enqueue, db, enqueue, home, standin  # noqa: F401  fixtures

Steps = Callable[[RpatApp, Pilot[Any]], Coroutine[Any, Any, None]]


@pytest.fixture
def started(standin: Home, monkeypatch: pytest.MonkeyPatch) -> list[Home]:  # noqa: F811
    """Homes for which a worker was asked; none is started."""
    asked: list[Home] = []
    monkeypatch.setattr(worker, "ensure", asked.append)
    with database.opened(standin):
        pass
    return asked


def drive(home: Home, steps: Steps, **options: Any) -> None:  # noqa: F811
    """Open the form in an application of its own and go through some steps."""
    size = options.pop("size", (120, 40))

    async def scene() -> None:
        app = RpatApp(home, poll=0, **options)
        async with app.run_test(size=size) as pilot:
            app.action_compose()
            await until(lambda: app.focused is not None and app.focused.id == "method")
            await steps(app, pilot)

    asyncio.run(scene())


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def form(app: RpatApp) -> Compose:
    assert isinstance(app.screen, Compose)
    return app.screen


def said(app: RpatApp, *names: str) -> str:
    """Return what stands in a pane; without a name, all that the form comes to."""
    panes = [app.screen.query_one(f"#{n}", Static) for n in names or ("found", "checks")]
    return "\n".join(str(pane.content) for pane in panes)


def write(app: RpatApp, **texts: str) -> None:
    for name, text in texts.items():
        app.screen.query_one(f"#{name}", Input).value = text


def count(home: Home) -> int:  # noqa: F811
    with database.opened(home) as connection:
        return len(queries.runs(connection))


def test_typing_shows_the_command_the_config_and_what_is_wrong(started: list[Home]) -> None:
    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        assert "Name a method" in said(app) or not said(app).strip()
        assert app.focused is not None
        assert app.focused.id == "method"
        await pilot.press(*"mart", "tab", "right", "left", "space")
        write(app, dataset="digits", epsilon="8/255")
        words = "--method mart --rpat --dataset digits --epsilon 8/255"
        await until(lambda: said(app, "command") == f"$ rpat run {words}")
        assert "rpat       lam 1  alpha 0.5" in said(app)
        assert "unknown here yet" in said(app)
        assert "threat.epsilon 0.1 -> 8/255" in said(app)
        line = app.screen.query_one("#line-epsilon", Line)
        assert line.note == "= 0.03137"
        assert app.screen.query_one("#epochs", Input).placeholder == "6"
        write(app, epsilon="8")
        await until(lambda: line.problem)
        assert "write 8/255" in line.problem
        assert line.size.height > 1 or line.styles.height
        assert "write 8/255" in said(app)
        write(app, epsilon="0.1")
        await until(lambda: not line.problem)

    drive(started_home(started), steps)


def started_home(_: list[Home]) -> Home:
    from rpat_tui.home import find_home

    return find_home()


def test_queuing_makes_the_runs_and_closes(started: list[Home]) -> None:
    place = started_home(started)

    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        write(app, preset="digits/pgd-at", seeds="0-1", tags="a, b", priority="60")
        await pilot.press("ctrl+s")
        await until(lambda: isinstance(app.screen, RunsScreen))
        await until(lambda: started)
        table = app.screen.query_one("RunTable")
        await until(lambda: app.run_at_cursor == 2, 10)
        assert table.line.key == 2  # type: ignore[attr-defined]

    drive(place, steps)
    assert set(started) == {place}
    with database.opened(place) as connection:
        rows = queries.runs(connection)
    assert sorted(row["seed"] for row in rows) == [0, 1]
    assert {row["state"] for row in rows} == {"queued"}
    assert {tuple(row["tags"]) for row in rows} == {("a", "b")}
    assert {row["priority"] for row in rows} == {60}


def test_queuing_first_goes_in_front(started: list[Home], enqueue: Enqueue) -> None:  # noqa: F811
    place = started_home(started)
    enqueue(2)

    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        write(app, preset="digits/mart")
        await pilot.press("ctrl+t")
        await until(lambda: isinstance(app.screen, RunsScreen))

    drive(place, steps)
    with database.opened(place) as connection:
        order = [load.n for load in queries.workload(connection).loads]
    assert order[0] == 3


def test_what_is_wrong_is_not_queued(started: list[Home]) -> None:
    place = started_home(started)

    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        write(app, preset="digits/mart", lr="fast")
        await pilot.press("ctrl+s")
        await until(lambda: app.focused is not None and app.focused.id == "lr")
        assert isinstance(app.screen, Compose)
        write(app, lr="", after="r0077")
        await pilot.press("ctrl+s")
        await until(lambda: app.focused is not None and app.focused.id == "after")

    drive(place, steps)
    assert count(place) == 0
    assert not started


def test_a_dry_run_queues_nothing(started: list[Home]) -> None:
    place = started_home(started)

    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        write(app, preset="digits/cure", seeds="0,1")
        await pilot.press("ctrl+r")
        await until(lambda: "4 runs would be queued; nothing was started" in said(app))
        assert "clean digits resnet8 seed 1" in said(app)
        await pilot.press("escape")
        await until(lambda: "queued first" in said(app))

    drive(place, steps)
    assert count(place) == 0
    assert not started


def test_a_run_that_is_there_is_named_and_can_be_taken(
    started: list[Home], enqueue: Enqueue  # noqa: F811
) -> None:  # fmt: skip
    place = started_home(started)
    enqueue(1, epochs=3)

    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        write(app, method="pgd-at", dataset="digits", epochs="3", seeds="0-1")
        await until(lambda: "seed 0 queued already: r0001" in said(app))
        switches = app.screen.query_one("#choices", Switches)
        switches.focus()
        await pilot.press("space")
        await until(lambda: "taken instead" in said(app))
        assert said(app, "command").endswith("--reuse")
        await pilot.press("ctrl+s")
        await until(lambda: isinstance(app.screen, RunsScreen))

    drive(place, steps)
    assert count(place) == 2


def test_a_run_can_be_cloned(started: list[Home], enqueue: Enqueue) -> None:  # noqa: F811
    place = started_home(started)
    enqueue(2, epochs=3, method="trades", rpat=True, tags=("t",))

    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RunsScreen))
        app.compose_like(2)
        await until(lambda: app.focused is not None and app.focused.id == "method")
        await until(lambda: "seed 1 queued already: r0002" in said(app))
        assert said(app, "command") == (
            "$ rpat run --method trades --rpat --dataset digits --epochs 3 --seeds 1 --tag t"
        )
        await pilot.press("escape")  # nothing was changed: no question
        await until(lambda: isinstance(app.screen, RunsScreen))

    drive(place, steps)


def test_escape_asks_where_something_would_be_lost(started: list[Home]) -> None:
    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        await pilot.press("m", "escape")
        await until(lambda: isinstance(app.screen, Ask))
        await pilot.press("n")
        await until(lambda: isinstance(app.screen, Compose))
        assert app.screen.query_one("#method", Input).value == "m"
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, Ask))
        await pilot.press("y")
        await until(lambda: isinstance(app.screen, RunsScreen))

    drive(started_home(started), steps)


def test_a_data_set_that_is_not_here_is_said(started: list[Home]) -> None:
    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        write(app, method="mart")
        await until(lambda: "CIFAR-10 is not here: the run downloads it" in said(app))
        write(app, dataset="tiny-imagenet")
        await until(lambda: "data set 'tiny-imagenet' is not in" in said(app))

    drive(started_home(started), steps)


def test_enter_lists_what_a_field_can_hold(started: list[Home]) -> None:
    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        await pilot.press(*"pgd-at,", "enter")
        await until(lambda: isinstance(app.screen, Pick))
        await pilot.press(*"trad", "enter")
        await until(lambda: isinstance(app.screen, Compose))
        assert app.screen.query_one("#method", Input).value == "pgd-at,trades"

    drive(started_home(started), steps)


def test_up_and_down_go_from_field_to_field(started: list[Home]) -> None:
    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        await pilot.press("down", "down")
        assert app.focused is not None
        assert app.focused.id == "lam"
        await pilot.press("up")
        assert app.focused.id == "wrappers"

    drive(started_home(started), steps)


def test_the_form_is_kept_as_a_preset_and_started_from(started: list[Home]) -> None:
    place = started_home(started)

    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        await pilot.press("ctrl+o")
        assert isinstance(app.screen, Compose)  # there is nothing to keep
        write(app, method="mart", dataset="digits", epochs="2", seeds="0-2")
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(app.screen, AskLine))
        await pilot.press(*"mine", "enter")
        await until(lambda: isinstance(app.screen, Compose))
        write(app, method="", dataset="", epochs="", seeds="", preset="mine")
        await until(lambda: "$ rpat run --preset mine" in said(app, "command"))
        await until(lambda: "3 runs to queue" in said(app, "checks"))
        assert app.screen.query_one("#epochs", Input).placeholder == "2"

    drive(place, steps)
    assert kept.own()["mine"].texts["seeds"] == "0-2"


def test_single_keys_do_not_leave_the_form(started: list[Home]) -> None:
    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        app.screen.query_one("#wrappers", Switches).focus()
        await pilot.press("q", "2", "n")
        assert isinstance(app.screen, Compose)
        assert app.current_mode == "runs"

    drive(started_home(started), steps)


def test_a_read_only_window_queues_nothing(started: list[Home]) -> None:
    place = started_home(started)

    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        write(app, preset="digits/mart")
        await pilot.press("ctrl+s")
        await until(lambda: any("read-only" in n.message for n in app._notifications))
        assert isinstance(app.screen, Compose)

    drive(place, steps, readonly=True)
    assert count(place) == 0


def test_the_editor_gives_back_lines(
    started: list[Home], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\ngrep -q "^# optim.lr=0.05" "$1" && echo optim.lr=0.2 >> "$1"\n')
    script.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(script))
    from contextlib import nullcontext

    monkeypatch.setattr(RpatApp, "suspend", lambda _: nullcontext())

    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        write(app, preset="digits/mart")
        await until(lambda: "mart" in said(app, "command") and form(app).resolved.asked)
        await pilot.press("ctrl+g")
        await until(lambda: app.screen.query_one("#set", TextArea).text == "optim.lr=0.2")
        await until(lambda: said(app, "command").endswith("--set optim.lr=0.2"))

    drive(started_home(started), steps)


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (160, 48)])
def test_every_size_shows_the_field_one_is_in(started: list[Home], size: tuple[int, int]) -> None:
    async def steps(app: RpatApp, pilot: Pilot[Any]) -> None:
        write(app, preset="digits/mart")
        for name in ("preset", "wrappers", "epsilon", "set", "note", "choices", "verdict"):
            app.screen.query_one(f"#{name}").focus()
            await pilot.pause()
            assert app.focused is not None
            assert app.focused.region.width >= 20
            assert app.screen.query_one("#panes").region.contains_region(app.focused.region)
        assert app.screen.query_one("#verdict").region.width >= 36

    drive(started_home(started), steps, size=size)


def test_the_last_word_of_a_list_is_completed() -> None:
    found = asyncio.run(Words(["pgd-at", "trades"]).get_suggestion("pgd-at, tr"))
    assert found == "pgd-at, trades"
