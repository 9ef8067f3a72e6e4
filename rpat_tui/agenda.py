"""A suite in a home: where each of its cells stands, and what would close its holes.

A cell is a row of the suite, a seed and a measure.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rpat.recipes import label
from rpat_tui import holes
from rpat_tui.holes import MEASURED_BY, STATES, TRAINING, Standing, Task, Want
from rpat_tui.home import Home
from rpat_tui.store import sieve
from rpat_tui.suites import Changes, Entry, Suite, checkpoints, entries

_ATTACKS: dict[str, tuple[str, ...]] = {"none": (), "pgd": ("pgd",), "aa": ("pgd", "aa")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number that a suite wants; `why` says of a missing one what there is instead."""

    entry: Entry
    measure: str
    state: str
    run: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """A suite's runs as they are wanted, and where each stands."""

    suite: Suite
    entries: tuple[Entry, ...] = ()
    standings: tuple[Standing, ...] = ()

    @property
    def cells(self) -> Iterator[Cell]:
        """Every number that the suite wants."""
        for entry, standing in zip(self.entries, self.standings, strict=True):
            for measure in measures(entry):
                attack = MEASURED_BY.get(measure, measure)
                yield Cell(
                    entry=entry,
                    measure=measure,
                    state=standing.states[attack],
                    run=standing.run["id"] if standing.run else "",
                    why=standing.why.get(attack, ""),
                )

    @property
    def counts(self) -> dict[str, int]:
        """How many cells are in each state."""
        found = Counter(cell.state for cell in self.cells)
        return {state: found[state] for state in STATES}

    @property
    def under_way(self) -> set[int]:
        """The numbers of the suite's runs and evaluations that are open."""
        open_runs = {
            s.run["n"] for s in self.standings
            if s.run and s.run["state"] not in ("done", "failed", "stopped")
        }  # fmt: skip
        return open_runs | {n for s in self.standings for n in s.jobs}

    def tasks(self, home: Home) -> list[Task]:
        """Return exactly what closes the holes, in the suite's order."""
        return holes.work(home, self.standings)

    def entry(self, standing: Standing) -> Entry:
        """Return whose standing it is."""
        return self.entries[next(i for i, s in enumerate(self.standings) if s is standing)]


def measures(entry: Entry) -> tuple[str, ...]:
    """Return what is measured of a run: the columns that it shall fill."""
    known = _ATTACKS[entry.config.eval.attack]
    return tuple(m for m, attack in MEASURED_BY.items() if attack in known) or (TRAINING,)


def wants(suite: Suite, there: Sequence[Entry]) -> list[Want]:
    """Return what the suite asks of each run; the final weights too where the paper prints them."""
    return [
        Want(
            configs=entry.configs,
            attacks=_ATTACKS[entry.config.eval.attack],
            checkpoints=checkpoints(suite, entry),
            before=entry.before,
        )
        for entry in there
    ]


def look(db: sqlite3.Connection | None, suite: Suite, changes: Changes, where: str = "") -> Agenda:
    """Return a suite's agenda; `where` keeps some of its runs, by filter as people write it."""
    there = entries(suite, changes)
    made = Agenda(
        suite=suite, entries=tuple(there), standings=tuple(holes.look(db, wants(suite, there)))
    )
    if not where:
        return made
    kept = sieve.keep(where, [_facts(*pair) for pair in zip(there, made.standings, strict=True)])
    return replace(
        made,
        entries=tuple(e for e, keep in zip(there, kept, strict=True) if keep),
        standings=tuple(s for s, keep in zip(made.standings, kept, strict=True) if keep),
    )


def _facts(entry: Entry, standing: Standing) -> dict[str, object]:
    """Return what filters ask about: the keys of a run, and the worst state of its numbers."""
    config, rpat = entry.config, entry.config.wrapper("rpat")
    worst = max(standing.states.values(), key=STATES.index)
    return {
        "id": standing.run["id"] if standing.run else "",
        "name": entry.label,
        "state": worst,
        "method": label(config),
        "dataset": config.data.name,
        "source": config.data.source,
        "norm": config.threat.norm,
        "model": config.model.name,
        "seed": config.seed,
        "lam": rpat.lam if rpat is not None else None,
        "rpat": int(rpat is not None),
        "epochs": config.schedule.epochs,
        "archived": 0,
        "kind": "train",
    }
