"""Homes as nobody wants them: every screen opens, no key is lost, and nothing is said that is not so."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from bench.store import METRICS
from rpat_tui.app import RpatApp
from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.launch.cards import Driver
from rpat_tui.store import db as database
from tests.tui.stored import drive, press, seen, settle, small_home

SIZES = [(80, 24), (160, 48)]
OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f]")
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\x90q\x9c\x08\x7f\r\n\u202eevil\u2066[/red] [b]x"
    "é\u0301\u0301漢字👩\u200d🔬🏽🇩🇪❤\ufe0fשלום क्षि\u00ad\u2028\ue000"
)
WALK = (
    "j space tab m escape i tab v enter v", "enter", "escape 2", "j K enter", "escape 3",
    "j tab tab a z", "escape 4", "l P b G", "5", "o e G g slash x enter escape", "1 question_mark",
    "escape ctrl+p", "escape n", "tab escape slash p g d enter", "escape S escape t escape e",
    "escape G y",
)
"""Every screen, with what lies in front of it."""


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is started, and this machine has no cards."""
    monkeypatch.setattr(worker, "ensure", lambda _: None)
    monkeypatch.setattr(Driver, "read", lambda _: [])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small home that is copied for each test."""
    return small_home(tmp_path_factory.mktemp("built")).path


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Home:
    """Nine runs."""
    import shutil

    return Home(Path(shutil.copytree(built, tmp_path / "home")))


def changed(home: Home, *statements: str, values: tuple[object, ...] = ()) -> None:
    with sqlite3.connect(home.database) as db:
        for statement in statements:
            db.execute(statement, values)


async def everywhere(pilot: Pilot[int], app: RpatApp) -> None:
    """Go through every screen."""
    for keys in WALK:
        await pilot.press(*keys.split())
        await settle(pilot)


def nothing(home: Home) -> None:
    changed(home, "delete from runs")


def no_metrics(home: Home) -> None:
    changed(home, "delete from points", "delete from latest_best", "delete from evaluations")


def not_finite(home: Home) -> None:
    changed(
        home, "update points set value = case step % 3 when 0 then null when 1 then 9e999 "
        "else -9e999 end", "update latest_best set value = 9e999, min_value = -9e999 "
        "where series % 2", "update latest_best set value = null, max_value = null "
        "where series % 2 = 0", "update evaluations set clean = null, robust = 9e999",
    )  # fmt: skip


def hostile_words(home: Home) -> None:
    changed(
        home, "update runs set name = ?1, note = ?1, sweep = ?1, reason = ?1, stage = ?1",
        "insert into tags select n, ?1 from runs", "update attempts set device = ?1",
        values=(HOSTILE,),
    )  # fmt: skip
    changed(home, "update runs set state = 'failed' where n = 3")
    for path in home.runs.glob("*/attempts/*"):
        (path / "output.log").write_text(HOSTILE * 3, "utf-8")
        with (path / "journal.jsonl").open("a") as stream:
            stream.write(f"{HOSTILE}\n")


def long_notes(home: Home) -> None:
    changed(home, "update runs set note = ?1, name = ?1, reason = ?1", values=("wörd 长 " * 84,))


CASES: dict[str, Callable[[Home], None]] = {
    "no runs": nothing, "no metrics": no_metrics, "not finite": not_finite,
    "hostile words": hostile_words, "long notes": long_notes,
}  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_every_screen_opens(home: Home, case: str, size: tuple[int, int]) -> None:
    CASES[case](home)
    drive(home, everywhere, size)
