"""Lists of runs that were never stored, a program that shows one, and the demo's home."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")

import pytest
from textual.app import App, ComposeResult
from textual.message import Message

from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.launch.cards import Driver
from rpat_tui.replay import Replay
from rpat_tui.store.rows import Line, Stat
from rpat_tui.widgets.runtable import RunTable
from tests.console.conftest import rpat as rpat


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no worker, and have no cards in this machine."""
    monkeypatch.setattr(worker, "ensure", lambda _: None)
    monkeypatch.setattr(Driver, "read", lambda _: [])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Give a home with recorded runs in every state to those who change nothing."""
    replay = Replay(Home(tmp_path_factory.mktemp("shared") / "home"))
    replay.begin()
    return replay.home


def line(n: int, **changes: Any) -> Line:
    """Return a run that is plausible."""
    values = {name: Stat(50 + n % 300 / 10) for name in ("clean", "pgd", "nrr")}
    made = Line(
        key=n, id=f"r{n:04d}", state="done", members=(n,), method="trades", rpat=n % 2, lam=1.0,
        dataset="cifar10", model="resnet18", seeds=(n % 3,), epoch=120, epochs=120, values=values,
        created=1.7e9,
    )  # fmt: skip
    return made._replace(**changes)


class Many:
    """A source of lines with the keys `count` to 1, in this order; `changed` ones differ."""

    def __init__(self, count: int) -> None:
        self.keys: Sequence[int] = range(count, 0, -1)
        self.changed: dict[int, Line] = {}
        self.new = True
        self.asked: list[tuple[int, int]] = []
        self.gate = threading.Event()
        """Reads wait for it."""
        self.gate.set()

    def refresh(self) -> bool:
        self.gate.wait(10)
        new, self.new = self.new, False
        return new

    def count(self) -> int:
        return len(self.keys)

    def window(self, offset: int, limit: int) -> list[Line]:
        self.asked.append((offset, limit))
        return [self.changed.get(key) or line(key) for key in self.keys[offset : offset + limit]]

    def position(self, key: int) -> int | None:
        return self.keys.index(key) if key in self.keys else None

    def runs(self) -> Sequence[int]:
        return self.keys

    def totals(self) -> tuple[int, int]:
        return len(self.keys), len(self.keys) + 1

    def change(self, n: int, **changes: Any) -> None:
        """Let a run look different from the next tick on."""
        self.changed[n] = (self.changed.get(n) or line(n))._replace(**changes)
        self.new = True

    def insert(self, *keys: int) -> None:
        """Put runs in front of all others."""
        self.keys = [*keys, *self.keys]
        self.new = True


class Shown(App[None]):
    """One table that fills the screen; remembers what it was told."""

    def __init__(self, source: Many, **options: Any) -> None:
        super().__init__()
        self.source, self.options = source, options
        self.told: list[Message] = []

    def compose(self) -> ComposeResult:
        yield RunTable(self.source, **self.options)

    def on_mount(self) -> None:
        self.table.focus()

    @property
    def table(self) -> RunTable:
        return self.query_one(RunTable)

    def on_run_table_cursor_moved(self, message: RunTable.CursorMoved) -> None:
        self.told.append(message)

    def on_run_table_marked(self, message: RunTable.Marked) -> None:
        self.told.append(message)

    def on_run_table_opened(self, message: RunTable.Opened) -> None:
        self.told.append(message)

    def on_run_table_unfolded(self, message: RunTable.Unfolded) -> None:
        self.told.append(message)

    def on_run_table_sort_requested(self, message: RunTable.SortRequested) -> None:
        self.told.append(message)

    def on_run_table_loaded(self, message: RunTable.Loaded) -> None:
        self.told.append(message)

    def on_run_table_failed(self, message: RunTable.Failed) -> None:
        self.told.append(message)
