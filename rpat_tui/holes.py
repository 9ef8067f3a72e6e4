"""Holes: numbers that are wanted and that no run has yet, and exactly the work that closes them.

Whoever wants numbers says so in `Want`s; `look` tells where each stands, `work` what is to be
done and no more, `cost` how long that takes by measured history, and `queue` queues it. Runs are
recognised by their fingerprints, so whatever trained them counts.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rpat.config import DATASETS, RunConfig
from rpat.jobs import EvalJob
from rpat.recipes import label, reported_network
from rpat.rundir import RunDir
from rpat_tui import examine
from rpat_tui.estimate import Load, Span, Workload, forecast, left
from rpat_tui.home import Home
from rpat_tui.launch import frozen, worker
from rpat_tui.store import index, pace, queries
from rpat_tui.store.db import transaction
from rpat_tui.store.pending import Pending, pending
from rpat_tui.store.queue import name_of
from rpat_tui.store.rows import Measurement

STATES = ("proven", "running", "queued", "missing")
"""Where a number stands: measured, being made, waiting for its turn, or nobody makes it."""

MEASURED_BY = {"clean": "pgd", "pgd20": "pgd", "aa": "aa"}
"""Which attack brings a measure."""

TRAINING = "training"
"""What stands for the number of a want that asks for no attack: that the run has ended."""

_ACTIVE = ("starting", "running", "pausing")
_GONE = ("failed", "stopped")
_SUBSET = re.compile(r"(AA|PGD) on (\d+) of (\d+) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One run that is wanted, and which attacks' numbers, at which of its weights.

    The first of `configs` is what would be trained; a run of any of the others answers as well
    (the same experiment on images from another source). `before` are its prerequisites.
    """

    configs: tuple[RunConfig, ...]
    attacks: tuple[str, ...] = ("pgd", "aa")
    checkpoints: tuple[str, ...] = ("best",)
    before: tuple[RunConfig, ...] = ()

    @property
    def config(self) -> RunConfig:
        """What would be trained."""
        return self.configs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the numbers of a want stand; `run` is what stands for it, with its state.

    `states` and `why` are by attack; `why` says of a hole what there is instead of a number.
    `again` is an open run of the same experiment beside one that is done: its weights may be gone.
    """

    want: Want
    run: Mapping[str, Any] | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    jobs: tuple[int, ...] = ()
    """The numbers of open evaluations of the run, and of the one that trains it again."""
    again: Mapping[str, Any] | None = None

    def state(self, measure: str) -> str:
        """Return where one measure stands."""
        return self.states.get(MEASURED_BY.get(measure, measure), "missing")

    @property
    def holes(self) -> tuple[str, ...]:
        """The attacks whose numbers nobody makes."""
        return tuple(attack for attack, state in self.states.items() if state == "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What closes the holes of one want: train, evaluate, or ask an open run for more."""

    do: str  # train, evaluate or ask
    standing: Standing
    attacks: tuple[str, ...]
    checkpoints: tuple[str, ...] = ()

    @property
    def asked(self) -> Mapping[str, Any] | None:
        """The open run that is asked for more."""
        run, again = self.standing.run, self.standing.again
        return again if run is not None and run["state"] == "done" else run


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of device time of some tasks, and when all would be through the queue.

    `spans` are by task, None where nothing alike was measured; `open` is what runs that are under
    way still need. `total` sums the known ones.
    """

    spans: tuple[Span | None, ...] = ()
    open: tuple[Span | None, ...] = ()
    finish: Span | None = None

    @property
    def total(self) -> Span:
        """Lower and upper end of what is known."""
        known = [span for span in (*self.spans, *self.open) if span is not None]
        return sum(low for low, _ in known), sum(high for _, high in known)

    @property
    def unknown(self) -> int:
        """How many of them nothing is known of."""
        return sum(span is None for span in (*self.spans, *self.open))


# ----------------------------------------------------------------- where everything stands


def look(db: sqlite3.Connection | None, wants: Sequence[Want]) -> list[Standing]:
    """Return where each want stands; without a database, nothing is there yet."""
    if db is None:
        return [_standing(want, None, {}, [], set()) for want in wants]
    keys = [[config.fingerprint() for config in want.configs] for want in wants]
    found = queries.by_fingerprint(db, list(dict.fromkeys(itertools.chain(*keys))))
    runs = [_stands(some, found) for some in keys]
    newer = queries.open_by_fingerprint(db, list(found))
    agains = [
        next((newer[key] for key in some if key in newer), None)
        if run is not None and run["state"] == "done"
        else None
        for some, run in zip(keys, runs, strict=True)
    ]
    numbers = list({run["n"] for run in (*runs, *agains) if run is not None})
    measured = {
        (m.run, m.checkpoint): m
        for m in (queries.measurements(db, numbers=numbers) if numbers else [])
    }
    waiting: dict[str, list[Pending]] = {}
    for item in pending(db):
        waiting.setdefault(item.subject.run, []).append(item)
    ends = pace.endings(db, numbers)
    due = {n for n, *_ in queries.due(db)}
    made = []
    imported = queries.imported_by_fingerprint(db, [k for some in keys for k in some])
    for want, some, run, again in zip(wants, keys, runs, agains, strict=True):
        coming: set[str] = set()
        if run is not None:
            over = run["state"] == "done"
            coming = ({"aa"} if run["n"] in due else set()) if over else ends.get(run["n"], set())
        about = waiting.get(run["id"], []) if run is not None else []
        standing = _standing(want, run, measured, about, coming)
        if again is not None and standing.holes:
            about = waiting.get(again["id"], [])
            other = _standing(want, again, {}, about, ends.get(again["n"], set()))
            standing = _with_again(standing, other)
        if run is None and (known := [imported[key] for key in some if key in imported]):
            why = dict.fromkeys(standing.states, f"{known[-1]} is imported: it proves no cell")
            standing = replace(standing, why=why)
        made.append(standing)
    return made


def _with_again(standing: Standing, other: Standing) -> Standing:
    """Let the holes of a run that is done be where an open run of the same experiment closes them.

    One whose weights are gone cannot be measured any more, and what trains it again will be.
    """
    assert other.run is not None
    closed = [attack for attack in standing.holes if other.states[attack] != "missing"]
    why = dict.fromkeys(closed, f"{other.run['id']} trains it again")
    return replace(
        standing,
        states={**standing.states, **{a: other.states[a] for a in closed}},
        why={**standing.why, **why},
        jobs=(*standing.jobs, *other.jobs, *([other.run["n"]] if closed else [])),
        again=other.run,
    )


def _stands(keys: Sequence[str], found: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the best of the runs of a want: done before open before failed."""
    there = [found[key] for key in keys if key in found]
    return max(there, key=lambda r: (r["state"] == "done", r["state"] not in _GONE), default=None)


def _standing(
    want: Want,
    run: Mapping[str, Any] | None,
    measured: Mapping[tuple[str, str], Measurement],
    waiting: Sequence[Pending],
    coming: Collection[str],
) -> Standing:
    states: dict[str, str] = {}
    why: dict[str, str] = {}
    for attack in want.attacks or (TRAINING,):
        states[attack], why[attack] = _place(want, attack, run, measured, waiting, coming)
    return Standing(
        want=want, run=run, states=states, why={k: v for k, v in why.items() if v},
        jobs=tuple(item.n for item in waiting if item.attacks),
    )  # fmt: skip


def _place(
    want: Want,
    attack: str,
    run: Mapping[str, Any] | None,
    measured: Mapping[tuple[str, str], Measurement],
    waiting: Sequence[Pending],
    coming: Collection[str],
) -> tuple[str, str]:
    """Return where an attack's numbers of a run stand, and why they are not there."""
    if run is None:
        return "missing", ""
    if attack == TRAINING and run["state"] == "done":
        return "proven", ""
    rows = [measured.get((run["id"], kind)) for kind in want.checkpoints]
    short = "" if attack == TRAINING else _short(want, attack, rows)
    if attack != TRAINING and not short:
        return "proven", ""
    states = [item.state for item in waiting if attack in _brings(item, coming)]
    if any(state in _ACTIVE for state in states):
        return "running", ""
    if "queued" in states:
        return "queued", ""
    if "paused" in states:
        return "queued", f"{run['id']} is paused"
    if attack in coming and run["state"] == "done":
        return "queued", ""
    if run["state"] == "lost":
        return "running", f"{run['id']} is lost"
    return "missing", f"{run['id']} {run['state']}" if run["state"] in _GONE else short


def _short(want: Want, attack: str, rows: Sequence[Measurement | None]) -> str:
    """Say what lacks a measure, or that it saw fewer images than asked for; '' where nothing."""
    name = {"aa": "AA", "pgd": "PGD"}.get(attack, attack)
    values = [row and getattr(row, "aa" if attack == "aa" else "pgd20") for row in rows]
    if any(value is None for value in values):
        return f"{name} not measured"
    if attack != "aa":
        return ""
    for mark in (mark for row in rows if row for mark in row.marks):
        found = _SUBSET.match(mark)
        if found and found[1] == name and int(found[2]) < _images(want.config):
            return mark
    return ""


def _images(config: RunConfig) -> int:
    """Return how many images AutoAttack shall see."""
    there = config.data.test_n or DATASETS[config.data.name].n_test
    return min(config.eval.aa_n or there, there)


def _brings(item: Pending, coming: Collection[str]) -> set[str]:
    """Return the attacks whose numbers an open run or evaluation will bring."""
    return set(item.attacks) if item.attacks else {TRAINING, *coming}


# ----------------------------------------------------------------- what is to be done


def work(home: Home, standings: Sequence[Standing]) -> list[Task]:
    """Return exactly what closes the holes, in the order of the wants.

    A run whose weights are gone is trained again, once; one that is under way is only asked for
    the attack that it does not bring by itself.
    """
    tasks = []
    for standing in standings:
        holes, run = standing.holes, standing.run
        if not holes:
            continue
        kinds = standing.want.checkpoints
        if run is None or run["state"] in _GONE:
            tasks.append(Task(do="train", standing=standing, attacks=standing.want.attacks))
        elif run["state"] != "done":
            tasks.append(Task(do="ask", standing=standing, attacks=holes))
        elif _has_weights(home, run, standing.want):
            tasks.append(Task(do="evaluate", standing=standing, attacks=holes, checkpoints=kinds))
        elif standing.again is not None:
            tasks.append(Task(do="ask", standing=standing, attacks=holes))
        else:
            tasks.append(Task(do="train", standing=standing, attacks=standing.want.attacks))
    return tasks


def _has_weights(home: Home, run: Mapping[str, Any], want: Want) -> bool:
    folder = RunDir(home.runs / run["id"])
    network = reported_network(w.NAME for w in want.config.wrappers)
    return all(
        (folder.best(network) if kind == "best" else folder.final(network)).exists()
        for kind in want.checkpoints
    )


def queue(
    home: Home, db: sqlite3.Connection, tasks: Sequence[Task], wish: index.Wish, command: str
) -> dict[int, int]:
    """Queue tasks; returns the number of the run or evaluation that each of them became, by place.

    Prerequisites that nobody has trained or will are queued first.
    """
    places: dict[str, list[int]] = {}
    for i, task in enumerate(tasks):
        if task.do == "train":
            places.setdefault(task.standing.want.config.fingerprint(), []).append(i)
    training = {key: tasks[some[0]].standing.want for key, some in places.items()}
    before = {c.fingerprint(): c for want in training.values() for c in want.before}
    there = queries.usable(db, list(before))
    fresh = {key: c for key, c in before.items() if key not in there or key in training}
    fresh |= {key: want.config for key, want in training.items() if key not in fresh}
    jobs = [(i, _job(db, task)) for i, task in enumerate(tasks) if task.do == "evaluate"]
    made: dict[int, int] = {}
    if fresh or jobs:
        provenance = frozen.provenance(home, command)
        everything: list[RunConfig | EvalJob] = [*fresh.values(), *(job for _, job in jobs)]
        numbers = index.enqueue(home, db, everything, wish, provenance)
        for key, n in zip(fresh, numbers, strict=False):
            made |= dict.fromkeys(places.get(key, ()), n)
        made |= dict(zip((i for i, _ in jobs), numbers[len(fresh) :], strict=True))
    made |= _ask(db, tasks)
    worker.ensure(home)
    return made


def _job(db: sqlite3.Connection, task: Task) -> EvalJob:
    run = task.standing.run
    assert run is not None
    config = RunConfig.from_dict(queries.config_of(db, run["n"]))
    some = task.standing.want.config.eval.aa_n
    whole = config.data.test_n or DATASETS[config.data.name].n_test
    ask = examine.Ask(checkpoints=task.checkpoints, fixed={"images.n": some if some < whole else 0})
    return examine.of_run(EvalJob, run["uid"], run["id"], config, ask, attacks=task.attacks)


def _ask(db: sqlite3.Connection, tasks: Sequence[Task]) -> dict[int, int]:
    """Let open runs be evaluated once they are done."""
    made = {}
    with transaction(db):
        for i, task in enumerate(tasks):
            run = task.asked
            if task.do == "ask" and run is not None:
                attack = "aa" if "aa" in task.attacks else task.attacks[0]
                db.execute("update runs set wants = ? where n = ?", (attack, run["n"]))
                made[i] = run["n"]
    return made


# ----------------------------------------------------------------- how long it takes


def cost(
    db: sqlite3.Connection | None,
    tasks: Sequence[Task],
    slots: int = 1,
    under_way: Collection[int] = (),
) -> Cost:
    """Return what tasks will take by the newest runs and evaluations of their kind.

    They are put behind everything that is open; of that, the numbers `under_way` count as well.
    """
    if db is None:
        return Cost(spans=tuple(None for _ in tasks))
    known: dict[object, Sequence[float]] = {}
    parts = [list(_loads(db, task, -1000 * i - 1, known)) for i, task in enumerate(tasks)]
    spans = tuple(_sum([left(load) for load in loads]) for loads in parts)
    there = queries.workload(db, slots)
    ahead = forecast(Workload(loads=[*there.loads, *itertools.chain(*parts)], slots=slots))
    going = tuple(left(load) for load in there.loads if load.n in under_way)
    return Cost(spans=spans, open=going, finish=ahead.total if tasks or going else None)


def _loads(
    db: sqlite3.Connection, task: Task, n: int, known: dict[object, Sequence[float]]
) -> Iterator[Load]:
    """Yield a training of so many epochs, or an attack on so many images, as loads."""
    config = task.standing.want.config
    place = (config.model.name, config.data.name)
    if task.do == "train":
        kind = (*place, label(config), int(config.wrapper("rpat") is not None))
        if kind not in known:
            known[kind] = queries.usual_paces(db, *kind)
        epochs = config.schedule.epochs
        yield Load(n=n, running=False, epochs_left=epochs, paces=known[kind])
    for attack in task.attacks:
        if attack not in ("aa", *(() if task.do == "train" else task.attacks)):
            continue  # PGD at the end of a training is short beside its epochs
        if (*place, attack) not in known:
            known[*place, attack] = pace.attack_paces(db, *place, attack)
        kinds = len(task.checkpoints) or 2  # an automatic one looks at best and final
        images = kinds * (_images(config) if attack == "aa" else DATASETS[place[1]].n_test)
        n -= 1
        yield Load(n=n, running=False, epochs_left=images, paces=known[*place, attack])


def _sum(spans: Sequence[Span | None]) -> Span | None:
    known = [span for span in spans if span is not None]
    if len(known) < len(spans):
        return None
    return sum(low for low, _ in known), sum(high for _, high in known)


def named(standing: Standing) -> str:
    """Return the run behind a standing, '' for none."""
    return name_of(standing.run["n"]) if standing.run else ""
