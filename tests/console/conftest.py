"""A home, its database, and runs that the stand-in core executes."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rpat.recipes import recipe
from rpat_tui.cli import main
from rpat_tui.home import Home
from rpat_tui.launch import frozen, worker
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
        attack: str = "pgd",
        name: str = "",
        tags: tuple[str, ...] = (),
        retries: int = 0,
    ) -> list[int]:
        base = recipe(method, ("rpat",) if rpat else (), dataset="digits", epochs=epochs)
        configs = [base.override({"seed": n, "eval.attack": attack}) for n in range(count)]
        wish = index.Wish(name=name, tags=tags, note=note, retries=retries)
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


# ----------------------------------------------------------------- commands


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Rpat = Callable[..., Said]


@pytest.fixture
def rpat(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Rpat:
    """Run a command in this process, through the same `main` as the real one."""
    monkeypatch.delenv("COLUMNS", raising=False)  # a pipe is wide, whatever the tests run in

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["rpat", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Said(int(left.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that was never made, and where nothing is ever started."""

    def started(_: Home) -> None:
        pytest.fail("a worker was started")

    monkeypatch.setattr(worker, "ensure", started)
    for name in ("RPAT_DATA", "RPAT_CPU_SLOTS", "RPAT_WORKER_IDLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RPAT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def standin(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose runs, queued by commands, are executed by the stand-in core."""
    monkeypatch.setattr(frozen, "provenance", lambda *_: {"snapshot_path": str(STANDIN)})
    freeze_the_standin(monkeypatch)
    return home


def freeze_the_standin(patch: pytest.MonkeyPatch) -> None:
    """Let workers freeze the stand-in for the evaluations that they queue by themselves."""
    folders = [str(STANDIN), str(STANDIN.parents[1]), os.environ.get("PYTHONPATH", "")]
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
    patch.setenv("RPAT_REAL_CORE", str(STANDIN.parents[1] / "rpat"))


def refused(said: Said, *fragments: str) -> None:
    """A wrong request: status 2, one line on standard error that says everything."""
    assert said.code == 2, said
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("rpat: ")
    for fragment in fragments:
        assert fragment in said.err
