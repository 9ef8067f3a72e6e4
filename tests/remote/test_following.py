"""Links that stay open for a window: what changes there arrives, what drops comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rpat_tui.app import RpatApp
from rpat_tui.home import Home
from rpat_tui.keeping import labels, trash
from rpat_tui.remote import follow
from rpat_tui.remote.follow import Elsewhere
from rpat_tui.remote.places import Place
from rpat_tui.remote.view import View
from rpat_tui.store import db as database
from tests.console.conftest import until
from tests.console.examples import example
from tests.remote.conftest import WAIT, Server, everything, held_by, place
from tests.remote.test_looking import train_on
from tests.tui.conftest import nothing_starts as nothing_starts
from tests.tui.driving import seen
from tests.tui.driving import until as appears

Far = Callable[..., Home]
Shell = Callable[..., str]
Follow = Callable[..., Elsewhere]


@pytest.fixture
def following(home: Home) -> Iterator[Follow]:
    """Return what follows machines until the test ends."""
    made: list[Elsewhere] = []

    def start(*places: Place) -> Elsewhere:
        elsewhere = Elsewhere(View(home, places), WAIT, first=0.05)
        with elsewhere.view.opened():
            elsewhere.start()
        made.append(elsewhere)
        return elsewhere

    yield start
    for elsewhere in made:
        elsewhere.close()
    for elsewhere in made:
        for thread in (*elsewhere.followers.values(), elsewhere._joiner):
            thread.join(WAIT)
            assert not thread.is_alive()


def shown(elsewhere: Elsewhere) -> dict[str, object]:
    """Return what the view holds now."""
    with database.opened_readonly(elsewhere.view.home) as db:
        return everything(db)


def words(elsewhere: Elsewhere) -> list[str]:
    """Return how it is with each machine."""
    return [standing.word for standing in elsewhere.standings()]


def test_what_changes_there_and_here_arrives(
    home: Home, db: sqlite3.Connection, far: Far, shell: Shell, following: Follow
) -> None:
    example(home, db)
    there = far()
    elsewhere = following(place(there, shell()))
    until(lambda: len(shown(elsewhere)) == 20)
    train_on(there, 9, range(8, 11))
    with database.opened(there) as other:
        labels.write(there, other, 3, note="seen")
        trash.delete(there, other, trash.plan(there, other, [4]))
    labels.tag(home, db, 1, ["mine"], [])
    until(lambda: shown(elsewhere) == {**held_by(home), **held_by(there, "box:")})
    assert words(elsewhere) == ["live"]


def test_a_link_that_is_killed_comes_back_with_all_that_was_missed(
    home: Home, far: Far, server: Server, following: Follow
) -> None:
    there = far()
    elsewhere = following(place(there, server.ssh))
    follower = elsewhere.followers["box"]
    until(lambda: len(shown(elsewhere)) == 10)
    for epoch in range(8, 12):
        until(lambda: follower.link is not None)
        assert follower.link is not None
        broken = follower.link
        os.kill(broken.pid, signal.SIGKILL)
        train_on(there, 9, range(epoch, epoch + 1))
        until(lambda link=broken: follower.link not in (None, link))
    until(lambda: shown(elsewhere) == held_by(there, "box:"))
    assert words(elsewhere) == ["live"]


def test_a_machine_that_is_away_is_said_to_be_and_takes_no_acts(
    home: Home, far: Far, shell: Shell, following: Follow
) -> None:
    there = far()
    gate = there.path.parent / "gate"
    gate.touch()
    run = f"[ -e {gate} ] || {{ echo 'ssh: no route to host' >&2; exit 255; }}; exec sh -c \"$*\""
    elsewhere = following(
        place(there, shell(run=run)), place(Home(there.path / "no"), shell(), "lab")
    )
    until(lambda: words(elsewhere) == ["live", "away"])
    before = elsewhere.standings()[1]
    assert "has no runs yet" in before.why
    follower = elsewhere.followers["box"]
    assert elsewhere.act("note", ["box:r0001"], {"text": "one"}) == (["box: r0001: noted"], [])
    gate.unlink()
    assert follower.link is not None
    os.kill(follower.link.pid, signal.SIGKILL)
    until(lambda: words(elsewhere) == ["away", "away"])
    said, refused = elsewhere.act("note", ["box:r0001"], {"text": "two"})
    assert said == []
    assert len(refused) == 1
    assert refused[0].startswith("nothing was done: box ")
    until(lambda: len(shown(elsewhere)) == 10)
    gate.touch()
    until(lambda: words(elsewhere)[0] == "live")
    assert elsewhere.act("note", ["box:r0001"], {"text": "three"})[1] == []
    until(lambda: shown(elsewhere) == held_by(there, "box:"))
    assert elsewhere.standings()[1].since == before.since


def test_a_second_window_shares_what_the_first_keeps_up_to_date(
    home: Home, far: Far, shell: Shell, following: Follow
) -> None:
    there = far()
    where = place(there, shell())
    first = following(where)
    until(lambda: words(first) == ["live"])
    second = following(where)
    until(lambda: words(second) == ["live"])
    assert second.followers["box"].link is None
    assert second.act("note", ["box:r0002"], {"text": "hello"}) == (["box: r0002: noted"], [])
    until(lambda: shown(second)["box:r0002"]["note"] == "hello")
    first.close()
    until(lambda: second.followers["box"].link is not None)


def test_a_silent_link_is_given_up(
    home: Home, far: Far, shell: Shell, following: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "SILENT", 0.5)  # it says something every five seconds
    elsewhere = following(place(far(), shell()))
    until(lambda: any("silent" in standing.why for standing in elsewhere.standings()))


# ----------------------------------------------------------------- the window


@pytest.mark.usefixtures("nothing_starts")
def test_the_window_shows_other_machines_and_acts_there(
    home: Home, db: sqlite3.Connection, far: Far, shell: Shell
) -> None:
    example(home, db)
    there = far()
    with database.opened(there) as other:
        other.execute("update runs set state = 'queued', held = 1 where n = 10")
    where = place(there, shell())

    async def go() -> None:
        elsewhere = Elsewhere(View(home, [where]), WAIT)
        with elsewhere.view.opened():
            pass
        app = RpatApp(home, poll=0.1, elsewhere=elsewhere)
        async with app.run_test(size=(120, 34)) as pilot:
            for keys, *texts in (
                ("", "Runs 20 of 20", "box live", "box:r0001"),
                ("g", "▶  box:r0010  ◌"),
                ("s", "▶  box:r0010  ■"),
                ("t+away", "+away"),
                ("\r", "#away"),
                ("2", "Queue  0 open"),
                ("4", "TRADES"),
                ("5", "box:r0010"),
            ):
                for key in keys:
                    await pilot.press({"\r": "enter", "+": "plus"}.get(key, key))
                for text in texts:
                    await appears(pilot, lambda text=text: text in seen(app))
            await pilot.press("q")

    asyncio.run(go())
    with database.opened(there) as other:
        assert other.execute("select state from runs where n = 10").fetchone() == ("stopped",)
        assert other.execute("select tag from tags where run = 10").fetchall() == [("away",)]


def test_closing_the_window_leaves_nothing_behind(
    home: Home, far: Far, shell: Shell, tmp_path: Path
) -> None:
    elsewhere = Elsewhere(View(home, [place(far(), shell())]), WAIT)
    elsewhere.start()
    follower = elsewhere.followers["box"]
    until(lambda: follower.link is not None)
    assert follower.link is not None
    child = follower.link._child
    elsewhere.close()
    follower.join(WAIT)
    assert child.poll() is not None
