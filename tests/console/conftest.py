"""A home, its database, and runs that the stand-in core executes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rpat.recipes import recipe
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import index

STANDIN = Path(__file__).parents[1] / "standin"

Enqueue = Callable[..., list[int]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home that commands find by themselves; workers in it leave soon."""
    monkeypatch.setenv("RPAT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RPAT_WORKER_IDLE", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path / "home").make()


@pytest.fixture
def db(home: Home) -> Iterator[sqlite3.Connection]:
    """The home's database."""
    with database.opened(home) as connection:
        yield connection


def enqueuer(home: Home, db: sqlite3.Connection) -> Enqueue:
    """Return the function that queues runs of the stand-in core; `note` holds its orders."""

    def make(
        count: int = 1,
        note: str = "",
        epochs: int = 3,
        method: str = "pgd-at",
        *,
        rpat: bool = False,
        name: str = "",
        tags: tuple[str, ...] = (),
    ) -> list[int]:
        base = recipe(method, ("rpat",) if rpat else (), dataset="digits", epochs=epochs)
        configs = [base.override({"seed": seed}) for seed in range(count)]
        wish = index.Wish(name=name, tags=tags, note=note)
        return index.enqueue(home, db, configs, wish, {"snapshot_path": str(STANDIN)})

    return make


@pytest.fixture
def enqueue(home: Home, db: sqlite3.Connection) -> Enqueue:
    """Queue runs of the stand-in core."""
    return enqueuer(home, db)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition holds; fail loudly when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
