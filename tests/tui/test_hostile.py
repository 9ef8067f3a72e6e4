"""Homes as nobody wants them: every screen opens, and no key is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.message_pump import MessagePump
from textual.pilot import Pilot

from rpat_tui.app import RpatApp
from rpat_tui.home import Home
from rpat_tui.screens.detail import Detail
from tests.tui.driving import press, rest, seen
from tests.tui.stored import drive, small_home

SIZES = [(80, 24), (160, 48)]
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\x90q\x9c\x08\x7f\r\n\u202eevil\u2066[/red] [b]x"
    "é\u0301\u0301漢字👩\u200d🔬🏽🇩🇪❤\ufe0fשלום क्षि\u00ad\u2028\ue000"
)
WALK = (
    "j space tab m escape i tab v enter v",
    "enter",
    "escape 2",
    "j K enter",
    "escape 3",
    "j tab tab a z",
    "escape 4",
    "l P b G",
    "5",
    "o e G g slash x enter escape",
    "1 question_mark",
    "escape ctrl+p",
    "escape n",
    "tab escape slash p g d enter",
    "escape S escape t escape e",
    "escape G y",
)
"""Every screen, with what lies in front of it."""

pytestmark = pytest.mark.usefixtures("nothing_starts")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small home that is copied for each test."""
    return small_home(tmp_path_factory.mktemp("built")).path


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Home:
    """Nine runs."""
    return Home(Path(shutil.copytree(built, tmp_path / "home")))


def changed(home: Home, *statements: str, values: tuple[object, ...] = ()) -> None:
    with contextlib.closing(sqlite3.connect(home.database)) as db, db:
        for statement in statements:
            db.execute(statement, values)


async def everywhere(pilot: Pilot[int], app: RpatApp) -> None:
    """Go through every screen."""
    for keys in WALK:
        await pilot.press(*keys.split())
        await rest(pilot)


def evils(home: Home) -> None:
    """Spoil most runs, each in its way: 9 has nothing, 8 no number, 7 hostile words."""
    changed(
        home, "delete from points where series in (select id from series where run = 9)",
        "delete from latest_best where series in (select id from series where run = 9)",
        "delete from evaluations where run > 7",
        "update evaluations set clean = null where run = 5",
        "update points set value = case step % 3 when 0 then null when 1 then 9e999 "
        "else -9e999 end where series in (select id from series where run = 8)",
        "update latest_best set value = null, max_value = null, min_value = null "
        "where series in (select id from series where run = 8)",
        "update latest_best set value = 9e999, min_value = -9e999 "
        "where series in (select id from series where run = 4)",
        "update evaluations set robust = 9e999 where run = 3",
    )  # fmt: skip
    for n, words in ((7, HOSTILE), (6, "wörd 长 " * 84), (2, HOSTILE)):
        changed(home, "update runs set name = ?1, note = ?1, sweep = ?1, reason = ?1, stage = ?1 "
                "where n = ?2", values=(words, n))  # fmt: skip
        changed(home, "insert into tags values (?2, ?1)", values=(words, n))
    changed(home, "update runs set state = 'failed' where n in (7, 2)")
    (home.runs / "r0007" / "attempts" / "0001" / "output.log").write_text(HOSTILE * 3, "utf-8")
    with (home.runs / "r0007" / "attempts" / "0001" / "journal.jsonl").open("a") as stream:
        stream.write(f"{HOSTILE}\n")


@pytest.mark.parametrize(
    "size", [SIZES[0], pytest.param(SIZES[1], marks=pytest.mark.slow)], ids=str
)
def test_every_screen_opens_on_runs_of_every_evil(home: Home, size: tuple[int, int]) -> None:
    evils(home)

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        for n in range(9, 1, -1):
            app.open_run(n)
            await rest(pilot)
            assert isinstance(app.screen, Detail)
            assert f"r{n:04d}" in seen(app)
            await press(pilot, "escape")
        await press(pilot, "asterisk")
        await everywhere(pilot, app)

    drive(home, check, size)


def test_what_is_not_known_is_no_zero(home: Home) -> None:
    evils(home)

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        rows = [line for line in seen(app).splitlines() if re.match(r".{0,4}r000[89]", line)]
        assert len(rows) == 2
        for row in rows:
            assert row.count("–") >= 3, row
            assert not re.search(r"\b0\.0\b|\bnan\b|\binf\b", row), row
        app.open_run(8)
        await rest(pilot)
        assert not re.search(r"(last|best PGD|clean) 0\.0", seen(app))

    drive(home, check, (160, 48))


@pytest.mark.slow
def test_a_home_without_runs_has_every_screen(home: Home) -> None:
    changed(home, "delete from runs")
    drive(home, everywhere, SIZES[0])


def test_a_curve_of_a_million_points_is_drawn_and_no_key_waits_for_it(home: Home) -> None:
    changed(
        home, "insert or replace into points (series, step, epoch, value) "
        "with recursive t(x) as (select 1 union all select x + 1 from t where x < 1000000) "
        "select (select id from series where run = 9 and name = 'test/pgd_acc'), x, x / 391, "
        "50 + 40 * sin(x / 1e5) from t",
    )  # fmt: skip

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        app.open_run(9)
        await rest(pilot)
        assert "r0009" in seen(app)

    drive(home, check, SIZES[1])


# ----------------------------------------------------------------- databases that do not answer


async def alive(pump: MessagePump) -> None:
    """What sends messages to a screen, or to the app, is served."""
    done = asyncio.Event()
    pump.call_later(done.set)
    await asyncio.wait_for(done.wait(), 20)


@pytest.mark.parametrize("key", ["s", "enter", "3", "4", "5", "c", "space", "asterisk"])
def test_a_key_is_served_while_a_question_hangs(home: Home, key: str) -> None:
    """A question to the database that hangs holds up what asks, and neither app nor screen."""
    gate = threading.Event()

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        app.reader.thread.submit(gate.wait, 60)
        try:
            await app._press_keys([key])
            await alive(app)
            await alive(app.screen)
            app.action_mode("queue")
            await alive(app)
            await alive(app.screen)
        finally:
            gate.set()
        await pilot.pause()

    drive(home, check)


def test_an_answer_that_is_overdue_is_said_with_the_age_of_what_is_shown(home: Home) -> None:
    gate = threading.Event()

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await app.look()
        await rest(pilot)
        app.reader.thread.submit(gate.wait, 60)
        asking = asyncio.create_task(app.look())
        await pilot.pause()
        app._began -= 5
        app._say_overdue()
        await pilot.pause()
        bar = seen(app).splitlines()[0]
        assert re.search(r"as of \d\d:\d\d:\d\d: no answer from the database for 5s", bar)
        gate.set()
        await asking
        await app.look()
        await rest(pilot)
        assert "as of" not in seen(app)

    drive(home, check, (140, 30))


def test_a_database_that_another_process_locks_is_said_and_welcomed_back(home: Home) -> None:
    lock = sqlite3.connect(home.database, isolation_level=None)
    lock.execute("pragma locking_mode = exclusive")
    lock.execute("begin exclusive")

    async def go() -> None:
        app = RpatApp(home, poll=0)
        async with app.run_test(size=(140, 30)) as pilot:
            asking = asyncio.create_task(app.look())
            for key in ("j", "2", "3", "1", "slash", "x", "escape", "s"):
                await app._press_keys([key])
                await alive(app)
                await alive(app.screen)
            app._began -= 5
            app._say_overdue()
            await pilot.pause()
            assert "no answer from the database for" in seen(app).splitlines()[0]
            assert "Runs 0 of 0" not in seen(app), "unknown is not none"
            lock.close()
            await asking
            await app.look()
            await rest(pilot)
            assert "r0009" in seen(app)
            assert "no answer" not in seen(app)

    asyncio.run(go())


def test_a_damaged_database_is_said_with_its_remedy(home: Home) -> None:
    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await app.look()
        size = home.database.stat().st_size
        for path in home.path.glob("rpat.db-*"):
            path.unlink()
        home.database.write_bytes(b"\x00garbage" * (size // 8))
        await app.reader._run(app.reader.store.close)
        await app.look()
        await pilot.press("j", "2", "1", "enter", "escape")
        await pilot.pause()
        assert "rpat reindex" in seen(app).splitlines()[0]

    drive(home, check, (160, 30))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_disk_that_takes_nothing_is_said_where_something_is_written(
    built: Path, small_disk: Path, trouble: str
) -> None:
    home = Home(Path(shutil.copytree(built, small_disk / "home")))
    changed(home, "pragma wal_checkpoint(truncate)")
    if trouble == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    async def check(pilot: Pilot[int], app: RpatApp) -> None:
        await app.look()
        await rest(pilot)
        assert "r0009" in seen(app)
        if trouble == "full":
            with contextlib.suppress(OSError), (small_disk / "filler").open("wb", 0) as filler:
                while True:
                    filler.write(b"x" * 4096)
        await pilot.press("e", *"note", "enter")
        words = ("full", "refuses") if trouble == "full" else ("cannot be opened", "Read-only")
        for _ in range(200):
            await pilot.pause(0.02)
            told = " ".join(str(note.message) for note in app._notifications)
            if any(word in told for word in words):
                break
        else:
            raise AssertionError(told)
        await pilot.press("2", "j", "3", "4", "5", "1", "j", "enter", "escape")
        await pilot.pause()
        assert "r0009" in seen(app)

    drive(home, check, (120, 34))


# ----------------------------------------------------------------- many runs


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_thousand_runs_are_walked_through(tmp_path: Path) -> None:
    from bench import window

    home = Home(tmp_path / "home")
    window.build(home, 100_000, 1)
    drive(home, everywhere, SIZES[1])
