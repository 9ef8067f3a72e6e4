"""Samples of what runs use: their card and their processes, into `monitor.jsonl` of each attempt.

The worker is the only writer. Samples are keyed by time and not by step; the ingest copies them
into the database, and the peak of a run's memory on its card decides who may share it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress

from rpat.identity import process_identity
from rpat.journal import VERSION, Journal
from rpat.rundir import Attempt
from rpat_tui.home import Home
from rpat_tui.launch import processes
from rpat_tui.launch.box import Box, Use, living
from rpat_tui.launch.cards import Card
from rpat_tui.launch.devices import card_of
from rpat_tui.store.memory import Occupant

Values = dict[str, float]


class Monitor:
    """Looks at every run with a living trainer each `every` seconds; 0: never."""

    def __init__(
        self, home: Home, box: Box, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.home, self.box, self.every, self.clock = home, box, every, clock
        self._due = float("-inf")
        self._journals: dict[tuple[int, int], Journal] = {}
        self._work: dict[tuple[int, int], tuple[float, float]] = {}

    def look(self, db: sqlite3.Connection) -> int:
        """Write a sample of each run when it is time to; returns how many."""
        if not self.every or self.clock() < self._due:
            return 0
        self._due = self.clock() + self.every
        occupants = self.box.needs.occupants(db)
        alive = [run for run in occupants if run.trainer and run.trainer["pid"] in living(run)]
        self._forget({(run.n, run.attempt) for run in alive})
        if not alive:
            return 0
        cards = {}
        if any(card_of(run.slot) for run in alive):
            cards = {card.place: card for card in self.box.cards(min(self.every / 2, 1.0))}
        uses = self.box.uses(list(cards.values()), occupants)
        machine = _machine()
        return sum(
            self._write(run, cards.get(card_of(run.slot)), uses.get(card_of(run.slot)), machine)
            for run in alive
        )

    def close(self) -> None:
        """Close all files."""
        self._forget(set())

    def _forget(self, kept: set[tuple[int, int]]) -> None:
        for key in self._journals.keys() - kept:
            with suppress(OSError):
                self._journals.pop(key).close()
        self._work = {key: work for key, work in self._work.items() if key in kept}

    def _write(self, run: Occupant, card: Card | None, use: Use | None, machine: Values) -> bool:
        values = {**_on_card(run, card, use), **self._processes(run), **machine}
        device = card_of(run.slot) or "cpu"
        try:
            self._journal(run).write("sample", device=device, values=values)
        except OSError:  # a full disk, or a folder that is gone: samples are no reason to stop
            return False
        return True

    def _journal(self, run: Occupant) -> Journal:
        key = (run.n, run.attempt)
        if key not in self._journals:
            path = Attempt(self.home.runs / run.name, run.attempt).monitor
            journal = self._journals[key] = Journal(path)
            if journal.seq == 0:
                journal.write("begin", v=VERSION, attempt=run.attempt, **process_identity())
        return self._journals[key]

    def _processes(self, run: Occupant) -> Values:
        """Return memory and work of a run's processes; shared memory counts in each of them."""
        found = processes.tree(living(run))
        key, now = (run.n, run.attempt), self.clock()
        seconds = sum(process.seconds for process in found)
        values = {"host/rss_mb": round(sum(process.rss_mb for process in found), 1)}
        before = self._work.get(key)
        self._work[key] = (now, seconds)
        if before is not None and now > before[0]:
            share = max(0.0, seconds - before[1]) / (now - before[0])
            values["host/cpu_percent"] = round(100 * share, 1)
        return values


def _on_card(run: Occupant, card: Card | None, use: Use | None) -> Values:
    if card is None or use is None:
        return {}
    known = {
        "gpu/utilisation": card.utilisation,
        "gpu/memory_mb": card.used_mb,
        "gpu/process_mb": use.runs.get(run.n),
        "gpu/temperature_c": card.temperature,
        "gpu/power_w": card.power_w,
    }
    return {name: value for name, value in known.items() if value is not None}


def _machine() -> Values:
    values: Values = {}
    with suppress(OSError):
        values["host/load1"] = round(os.getloadavg()[0], 2)
    free = processes.free_mb()
    return values if free is None else {**values, "host/free_mb": free}
