"""What the driver says, which run starts where, and what is sampled: on simulated machines."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rpat.errors import ConfigError
from rpat.identity import process_identity
from rpat.journal import Journal, read
from rpat.rundir import RunDir
from rpat_tui import configure, gauges
from rpat_tui.cli import checks, main
from rpat_tui.home import Home, settings
from rpat_tui.launch import box as boxes
from rpat_tui.launch import cards, devices, processes, worker
from rpat_tui.launch.box import Box, in_the_way, rules, survey, use_of
from rpat_tui.launch.cards import Card, Driver, Process, visible_only
from rpat_tui.launch.devices import AUTO, Busy, Rules, Slot, Waiting, plan
from rpat_tui.launch.monitor import Monitor
from rpat_tui.launch.rebuild import rebuild
from rpat_tui.store import queries, queue
from rpat_tui.store.db import transaction
from rpat_tui.store.ingest import ingest
from rpat_tui.store.memory import Needs
from tests.console.conftest import Enqueue, until

GB = 1 << 30


# ----------------------------------------------------------------- what the driver says


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__({1: "Uninitialized", 15: "GPU is lost", 999: "Unknown Error"}[value])
        self.value = value


class Nvml:
    """The functions of pynvml that are used; `broken` maps (function, card) to an error code."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0
    nvmlMemory_v2 = 2

    def __init__(self, count: int = 2) -> None:
        self.count = count
        self.opened = self.closed = 0
        self.broken: dict[tuple[str, int], int] = {}
        self.stale = False
        self.processes: dict[int, list[tuple[int, int | None]]] = {}

    def nvmlInit(self) -> None:
        if ("init", 0) in self.broken:
            raise NVMLError(self.broken["init", 0])
        self.opened += 1
        self.stale = False

    def nvmlShutdown(self) -> None:
        self.closed += 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.1"

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return self._answer("handle", index, index)

    def nvmlDeviceGetUUID(self, card: int) -> str:
        return self._answer("uuid", card, f"GPU-{card:04x}-aaaa")

    def nvmlDeviceGetName(self, card: int) -> str:
        return self._answer("name", card, "NVIDIA H200")

    def nvmlDeviceGetMigMode(self, card: int) -> list[int]:
        return self._answer("mig", card, [0, 0])

    def nvmlDeviceGetMemoryInfo(self, card: int, version: int | None = None) -> Any:
        if version:
            self._answer("memory v2", card, None)
        return self._answer(
            "memory", card, SimpleNamespace(total=141 * GB, used=2 * GB, free=138 * GB)
        )

    def nvmlDeviceGetUtilizationRates(self, card: int) -> Any:
        return self._answer("utilisation", card, SimpleNamespace(gpu=94))

    def nvmlDeviceGetTemperature(self, card: int, sensor: int) -> int:
        return self._answer("temperature", card, 68)

    def nvmlDeviceGetPowerUsage(self, card: int) -> int:
        return self._answer("power", card, 312_400)

    def nvmlDeviceGetComputeRunningProcesses(self, card: int) -> list[Any]:
        found = [
            SimpleNamespace(pid=pid, usedGpuMemory=used)
            for pid, used in self.processes.get(card, [])
        ]
        return self._answer("processes", card, found)

    def nvmlDeviceGetGraphicsRunningProcesses(self, card: int) -> list[Any]:
        return self._answer("graphics", card, [])

    def _answer(self, what: str, card: int, value: Any) -> Any:
        if self.stale:
            raise NVMLError(1)
        if (what, card) in self.broken:
            raise NVMLError(self.broken[what, card])
        return value


def test_a_card_is_read_whole() -> None:
    nvml = Nvml(1)
    nvml.processes[0] = [(12, 3 * GB), (11, None), (12, GB)]
    driver = Driver(nvml)
    assert driver.read() == [
        Card(
            index=0, uuid="GPU-0000-aaaa", name="NVIDIA H200", memory_mb=140 * 1024,
            used_mb=2048, utilisation=94, temperature=68, power_w=312,
            processes=(Process(11, None), Process(12, 3072)),
        )
    ]  # fmt: skip
    assert driver.version == "570.1"


@pytest.mark.parametrize(
    ("what", "unknown"),
    [
        ("uuid", "uuid"), ("name", "name"), ("utilisation", "utilisation"),
        ("temperature", "temperature"), ("power", "power_w"), ("memory", "memory_mb"),
        ("mig", ""), ("memory v2", ""), ("graphics", ""),
    ],
)  # fmt: skip
def test_what_a_card_does_not_tell_is_unknown_and_the_rest_is_told(what: str, unknown: str) -> None:
    nvml = Nvml()
    nvml.broken[what, 0] = 999
    first, second = Driver(nvml).read()
    assert first.temperature == (None if what == "temperature" else 68)
    assert not first.problem
    if unknown:
        assert getattr(first, unknown) is None
    assert second == Driver(Nvml()).read()[1]


@pytest.mark.parametrize("what", ["handle", "memory", "processes", "power"])
def test_a_card_that_is_lost_in_the_middle_says_so(what: str) -> None:
    nvml = Nvml()
    nvml.broken[what, 0] = 15
    first, second = Driver(nvml).read()
    assert (first.index, first.problem) == (0, "GPU is lost")
    assert not second.problem
    assert not plan([first], [], [Waiting(run=1, device="auto")], Rules())


def test_a_driver_that_was_restarted_is_opened_again() -> None:
    nvml = Nvml()
    driver = Driver(nvml)
    before = driver.read()
    nvml.stale = True
    assert driver.read() == before
    assert (nvml.opened, nvml.closed) == (2, 1)
    driver.read()
    assert nvml.opened == 2, "it stays open between readings"


def test_a_machine_without_a_driver_has_no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    nvml.broken["init", 0] = 999
    driver = Driver(nvml)
    assert driver.read() == []
    assert driver.problem == "Unknown Error"
    del nvml.broken["init", 0]
    assert driver.read() == [], "not asked again at once"
    monkeypatch.setattr(cards, "PATIENCE", 0.0)
    assert len(driver.read()) == 2


def test_a_machine_that_cannot_load_the_library_has_no_cards() -> None:
    if os.path.exists("/proc/driver/nvidia"):  # noqa: PTH110
        pytest.skip("this machine has a driver")
    assert cards.read_cards() == []


@pytest.mark.parametrize(
    ("visible", "kept"),
    [
        (None, [0, 1, 2]), ("", []), ("-1", []), ("1", [1]), ("2,0", [0, 2]), ("0,9,1", [0]),
        ("GPU-0002", [2]), ("GPU-0001-aaaa,0", [0, 1]), ("GPU-zz,0", []), ("MIG-12", [1]),
    ],
)  # fmt: skip
def test_the_environment_leaves_some_cards(visible: str | None, kept: list[int]) -> None:
    nvml = Nvml(3)
    read_all = Driver(nvml).read()
    read_all[1] = Card(index=1, uuid="GPU-0001-aaaa", name="NVIDIA A100 (MIG)")
    assert [card.index for card in visible_only(read_all, visible)] == kept


def test_a_card_that_is_cut_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml(1)
    monkeypatch.setattr(nvml, "nvmlDeviceGetMigMode", lambda card: [1, 1])
    assert Driver(nvml).read()[0].name == "NVIDIA H200 (MIG)"


# ----------------------------------------------------------------- whose processes


@pytest.fixture
def relations(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Which process comes from which: stands for /proc; a process that is not in it is gone."""
    parents: dict[int, int] = {}

    def root_of(pid: int, roots: Any) -> int | None:
        while pid not in roots and pid in parents:
            pid = parents[pid]
        return pid if pid in roots else None

    monkeypatch.setattr(processes, "root_of", root_of)
    monkeypatch.setattr(processes, "exists", lambda pid: pid in parents)
    return parents


def card(index: int = 0, used: int | None = 0, *found: tuple[int, int | None], **more: Any) -> Card:
    return Card(
        index=index, uuid=f"GPU-{index}", name="NVIDIA H200", memory_mb=80_000, used_mb=used,
        processes=tuple(Process(*p) for p in found), **more,
    )  # fmt: skip


def test_memory_belongs_to_the_run_whose_processes_have_it(relations: dict[int, int]) -> None:
    relations.update({11: 10, 21: 20, 99: 1})
    use = use_of(card(0, 9_000, (10, 100), (11, 3_000), (21, 4_000), (99, 600)), [1, 2],
                 {10: 1, 20: 2})  # fmt: skip
    assert use.runs == {1: 3_100, 2: 4_000}
    assert (use.others, use.others_mb) == ((Process(99, 600),), 600)


def test_a_process_that_cannot_be_seen_is_ours_where_a_run_has_a_place(
    relations: dict[int, int],
) -> None:
    seen = card(0, 5_000, (77, 4_900))
    assert use_of(seen, [1], {10: 1}) == boxes.Use({1: 5_000})
    assert use_of(seen, [], {}).others_mb == 4_900


def test_a_run_that_has_ended_may_take_a_moment_to_leave_its_card(
    relations: dict[int, int],
) -> None:
    relations[11] = 10
    assert use_of(card(0, 3_000, (11, 3_000)), [], {}, {10}) == boxes.Use()
    assert use_of(card(0, 3_000, (12, 3_000)), [], {}, {10}).others_mb == 3_000


def test_memory_that_nobody_owns_up_to_belongs_to_somebody() -> None:
    assert use_of(card(0, 22_000), [], {}).others_mb == 22_000
    assert use_of(card(0, 600), [], {}).others_mb == 0
    assert use_of(card(0, 22_000), [3], {}).others_mb == 0


def test_a_process_of_unknown_memory_has_what_is_left(relations: dict[int, int]) -> None:
    relations[5] = 1
    assert use_of(card(0, 9_000, (5, None)), [], {}).others_mb == 9_000


def test_processes_come_from_their_session_and_their_parents() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"],
        start_new_session=True,
    )
    try:
        until(lambda: len(processes.tree([child.pid])) == 2)
        sleeper = next(p for p in processes.tree([child.pid]) if p.pid != child.pid)
        assert processes.root_of(sleeper.pid, {child.pid}) == child.pid
        assert processes.root_of(sleeper.pid, {os.getpid()}) == os.getpid()
        assert processes.root_of(1, {child.pid}) is None
        assert sleeper.rss_mb > 0
    finally:
        os.killpg(child.pid, 9)
        child.wait()


def test_work_is_counted_in_seconds_also_of_children_that_have_ended() -> None:
    before = processes.stat(os.getpid())
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    after = processes.stat(os.getpid())
    assert before is not None
    assert after is not None
    assert after.seconds - before.seconds >= 0.05


# ----------------------------------------------------------------- the plan


def names(starts: list[devices.Start]) -> dict[int, str]:
    return {start.run: start.slot.name for start in starts}


def queued(*runs: tuple[int, str, int | None]) -> list[Waiting]:
    return [Waiting(run=n, device=device, need_mb=need) for n, device, need in runs]


def test_runs_spread_over_cards_before_they_share_one() -> None:
    three = queued((1, "auto", None), (2, "auto", None), (3, "cuda:1", None))
    assert names(plan([card(0), card(1)], [], three, Rules())) == {1: "cuda:0", 2: "cuda:1"}
    assert names(plan([card(0), card(1)], [], three, Rules(runs_per_gpu=2))) == {
        1: "cuda:0", 2: "cuda:1", 3: "cuda:1#1",
    }  # fmt: skip


def test_a_machine_with_cards_leaves_the_cpu_to_runs_that_want_it() -> None:
    runs = queued((1, "auto", None), (2, "cpu", None))
    assert names(plan([], [], runs, Rules(cpu_slots=2))) == {1: "cpu:0", 2: "cpu:1"}
    assert names(plan([card()], [Busy(slot="cuda:0")], runs, Rules(cpu_slots=2))) == {2: "cpu:0"}
    assert names(plan([], [], runs, Rules(), gpus=True)) == {2: "cpu:0"}, "cards that are away"


def test_the_second_run_starts_when_the_first_is_measured_and_both_fit() -> None:
    auto, one = Rules(runs_per_gpu=AUTO, reserve_mb=1_000), [card(0, 30_000)]
    run = queued((2, "auto", 40_000))
    assert not plan(one, [Busy(slot="cuda:0")], run, auto)
    assert not plan(one, [Busy(slot="cuda:0", need_mb=39_001, used_mb=30_000)], run, auto)
    assert not plan(one, [Busy(slot="cuda:0", need_mb=39_000, used_mb=29_999)], run, auto)
    assert not plan(one, [Busy(slot="cuda:0", need_mb=39_000, used_mb=30_000)],
                    queued((2, "auto", None)), auto)  # fmt: skip
    measured = [Busy(slot="cuda:0", need_mb=39_000, used_mb=30_000)]
    assert names(plan(one, measured, run, auto)) == {2: "cuda:0#1"}


def test_nobody_overtakes_a_run_that_waits_for_memory() -> None:
    auto = Rules(runs_per_gpu=AUTO, reserve_mb=0)
    busy = [Busy(slot="cuda:0", need_mb=50_000, used_mb=50_000)]
    runs = queued((1, "auto", 40_000), (2, "auto", 1_000), (3, "cpu", None))
    assert names(plan([card(0, 50_000)], busy, runs, auto)) == {3: "cpu:0"}
    busy.append(Busy(slot="cuda:1", need_mb=10_000, used_mb=10_000))
    both = plan([card(0, 50_000), card(1, 10_000)], busy, runs, auto)
    assert names(both) == {1: "cuda:1#1", 2: "cuda:0#1", 3: "cpu:0"}


def test_a_run_that_was_measured_on_a_larger_card_may_try_alone() -> None:
    auto = Rules(runs_per_gpu=AUTO)
    huge = queued((1, "auto", 100_000))
    assert names(plan([card()], [], huge, auto)) == {1: "cuda:0"}
    assert not plan([card()], [Busy(slot="cuda:0", need_mb=10)], huge, auto)


def test_cards_of_others_and_places_on_hold_are_left_alone() -> None:
    run = queued((1, "auto", None))
    others = {"cuda:0": 22_000}
    assert not plan([card()], [], run, Rules(), others=others)
    assert not plan([card()], [], run, Rules(), others={"cuda:0": 501})
    assert plan([card()], [], run, Rules(), others={"cuda:0": 500})
    assert plan([card()], [], run, Rules(avoid_busy=False), others=others)
    assert not plan([card()], [], run, Rules(runs_per_gpu=2), holds={"cuda:0"})
    assert not plan([card()], [], run, Rules(), holds={queue.ALL})
    shared = plan([card()], [Busy(slot="cuda:0")], run, Rules(runs_per_gpu=3), holds={"cuda:0#1"})
    assert names(shared) == {1: "cuda:0#2"}
    assert not plan([], [], queued((1, "cpu", None)), Rules(), holds={"cpu:0"})


def test_a_trainer_sees_its_card_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = Slot("cuda:2#1", "cuda:2", "GPU-2")
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert slot.environment("auto") == {**order, "CUDA_VISIBLE_DEVICES": "GPU-2"}
    assert Slot("cuda:2", "cuda:2").environment("cuda") == {**order, "CUDA_VISIBLE_DEVICES": "2"}
    assert slot.environment("cuda:2") == order
    assert Slot("cpu:0").environment("auto") == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert slot.environment("cuda:2") == {**order, "CUDA_VISIBLE_DEVICES": "0,1,2"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-7")
    assert slot.environment("auto") == order


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("RUNS_PER_GPU", "auto", AUTO), ("RUNS_PER_GPU", "4", 4), ("RUNS_PER_GPU", "0", None),
        ("RUNS_PER_GPU", "many", None), ("AVOID_BUSY", "off", False), ("AVOID_BUSY", "True", True),
        ("AVOID_BUSY", "perhaps", None),
    ],
)  # fmt: skip
def test_the_settings_are_read(
    home: Home, monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: Any
) -> None:
    monkeypatch.setenv(f"RPAT_{name}", text)
    if value is None:
        with pytest.raises(ConfigError, match=r"write (a number from 1 on, or auto|on or off)"):
            settings()
    else:
        assert getattr(rules(), name.lower()) == value


# ----------------------------------------------------------------- what runs need


def put(db: sqlite3.Connection, n: int, **columns: object) -> None:
    sets = ", ".join(f"{name} = ?" for name in columns)
    db.execute(f"update runs set {sets} where n = ?", (*columns.values(), n))


def needed(db: sqlite3.Connection, needs: Needs | None = None) -> dict[int, int | None]:
    return {head.n: head.need_mb for head in (needs or Needs()).heads(db, 99)}


def test_a_run_needs_what_its_like_was_measured_to_take(
    db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    done, alike = enqueue(2)
    (other,) = enqueue(1, method="trades")
    assert needed(db) == {done: None, alike: None, other: None}
    put(db, done, state="done", memory_mb=7_000, step=9, epoch=1)
    assert needed(db) == {alike: 7_000, other: None}
    put(db, alike, memory_mb=8_000, step=9, epoch=1)  # from an earlier attempt
    assert needed(db) == {alike: 8_000, other: None}
    put(db, alike, memory_mb=6_000)
    assert needed(db) == {alike: 7_000, other: None}


def test_before_an_evaluation_was_seen_a_peak_is_scaled_by_the_batches(
    db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    first, _ = enqueue(2)
    put(db, first, state="running", slot="cuda:0", memory_mb=320, step=0)
    needs = Needs()
    assert [run.need_mb for run in needs.occupants(db)] == [None], "no step yet"
    put(db, first, step=5)
    assert [run.need_mb for run in needs.occupants(db)] == [320 * 500 // 32]
    assert list(needed(db, needs).values()) == [None], "its like waits for a whole epoch"
    put(db, first, epoch=1, memory_mb=2_000)
    assert [run.need_mb for run in needs.occupants(db)] == [2_000]
    assert list(needed(db, needs).values()) == [2_000]


def test_a_run_that_had_too_little_memory_shares_with_nobody(
    db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    put(db, n, memory_mb=2_000, step=5, epoch=1)
    db.execute("insert into attempts (run, number, error_reason) values (?, 1, 'out of memory')",
               (n,))  # fmt: skip
    assert needed(db) == {n: None}


# ----------------------------------------------------------------- a simulated machine

RESERVE, MEMORY = 1_000, 80_000
PEAKS = {"m0": 4_000, "m1": 9_000, "m2": 20_000, "m3": 35_000, "m4": 70_000}
"""What networks truly take at most; the manager is not told."""

DEVICES = ("auto",) * 6 + ("cuda", "cpu", "cuda:0", "cuda:3", "cuda:7")


@dataclass
class Machine:
    """Eight cards, the processes on them, and the worker that looks at them."""

    db: sqlite3.Connection
    rules: Rules
    rng: random.Random
    now: float = 0.0
    lost: set[int] = field(default_factory=set)
    foreign: dict[int, int] = field(default_factory=dict)  # card: MB
    share: dict[int, float] = field(default_factory=dict)  # run: of its peak
    started: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.me = process_identity()
        self.restart()
        columns = [row[1] for row in self.db.execute("pragma table_info(runs)")]
        self.columns = [c for c in columns if c not in ("n", "id", "uid", "model", "device",
                                                        "priority")]  # fmt: skip

    def restart(self) -> None:
        """A worker dies, another one comes."""
        self.box = Box(self.rules, self.read, clock=lambda: self.now)

    def open_runs(self) -> list[tuple[int, str, str]]:
        marks = ", ".join("?" for _ in queue.OPEN)
        return self.db.execute(
            f"select n, slot, model from runs where state in ({marks})", queue.OPEN
        ).fetchall()

    def truth(self, index: int) -> int:
        """The memory of our runs on a card."""
        return sum(
            round(self.share[n] * PEAKS[model])
            for n, slot, model in self.open_runs()
            if devices.card_of(slot) == f"cuda:{index}"
        )

    def read(self) -> list[Card]:
        out = []
        for index in range(8):
            if index in self.lost:
                if index % 2:  # one kind of lost card is not even listed
                    out.append(Card(index=index, problem="GPU is lost"))
                continue
            ours = [
                (10_000_000 + n, round(self.share[n] * PEAKS[model]))
                for n, slot, model in self.open_runs()
                if devices.card_of(slot) == f"cuda:{index}"
            ]
            theirs = [(1, self.foreign[index])] if index in self.foreign else []
            found = [*ours, *theirs]
            out.append(
                Card(
                    index=index, uuid=f"GPU-{index}", memory_mb=MEMORY,
                    used_mb=sum(mb for _, mb in found),
                    processes=tuple(Process(*p) for p in found),
                )
            )  # fmt: skip
        return out

    # ------------------------------------------------------------- events

    def enqueue(self) -> None:
        (n,) = self.db.execute("select max(n) + 1 from runs").fetchone()
        model, device = self.rng.choice(list(PEAKS)), self.rng.choice(DEVICES)
        kept = ", ".join(self.columns)
        self.db.execute(
            f"insert into runs (n, id, uid, model, device, priority, {kept}) "
            f"select ?, ?, ?, ?, ?, ?, {kept} from runs where n = 1",
            (n, queue.name_of(n), f"uid{n}", model, device, self.rng.choice((10, 50, 50, 90))),
        )
        put(self.db, n, state="queued")
        if self.rng.random() < 0.2:
            self.db.execute(
                "insert or ignore into dependencies (run, needs) values (?, ?)",
                (n, f"uid{self.rng.randint(max(2, n - 20), n)}"),
            )
            self.db.execute("delete from dependencies where run = ?1 and needs = 'uid' || ?1", (n,))

    def advance(self) -> None:
        """A run trains: it takes more memory, and the samples of that are read."""
        if found := self.open_runs():
            n, slot, model = self.rng.choice(found)
            put(self.db, n, state="running")
            if slot.startswith("cpu"):
                return
            first = self.share[n] < 0.3
            self.share[n] = 0.3 if first else 1.0
            self.db.execute(
                "update runs set memory_mb = max(coalesce(memory_mb, 0), ?), step = step + 5, "
                "epoch = epoch + ? where n = ?",
                (round(self.share[n] * PEAKS[model]), int(not first), n),
            )

    def end(self, state: str) -> None:
        if found := self.open_runs():
            n = self.rng.choice(found)[0]
            with transaction(self.db):
                queue.move(self.db, n, state, "told to")
            self.share.pop(n, None)

    def again(self) -> None:
        row = self.db.execute(
            "select n from runs where state = 'failed' and n > 1 order by random() limit 1"
        ).fetchone()
        if row:
            with transaction(self.db):
                queue.move(self.db, row[0], "queued", "again")

    def hold(self) -> None:
        place = self.rng.choice(["*", "cuda:0", "cuda:3", "cuda:5", "cuda:2#1", "cpu:0"])
        if place in queue.holds(self.db):
            queue.release(self.db, place)
        else:
            queue.hold(self.db, place)

    def release(self) -> None:
        for place in queue.holds(self.db):
            queue.release(self.db, place)

    def lose(self) -> None:
        index = self.rng.randrange(8)
        self.lost ^= {index}

    def visit(self) -> None:
        """Somebody else's process comes, small or large, or goes."""
        index = self.rng.randrange(8)
        if self.foreign.pop(index, None) is None:
            self.foreign[index] = self.rng.choice((200, 500, 8_000, 60_000))

    def reorder(self) -> None:
        found = queue.waiting(self.db)
        if found:
            run = self.rng.choice(found)
            if self.rng.random() < 0.5:
                queue.place_first(self.db, [run])
            else:
                put(self.db, run, held=self.rng.choice((0, 0, 1)))

    def event(self) -> None:
        self.rng.choices(
            (self.enqueue, self.advance, lambda: self.end("done"), lambda: self.end("failed"),
             self.again, self.hold, self.release, self.lose, self.visit, self.reorder,
             self.restart),
            (28, 30, 24, 4, 3, 1.5, 2, 1, 3, 2, 0.5),
        )[0]()  # fmt: skip

    # ------------------------------------------------------------- what must hold

    def look(self) -> None:
        """The worker looks; then everything that was promised is checked."""
        self.now += boxes.LATELY + 0.1
        ready = self.ready()
        before = {n for n, *_ in self.open_runs()}
        for start in self.box.take(self.db, self.me):
            self.share[start.n] = 0.1
            self.started.append((start.n, start.slot.name))
        running = {n: (slot, model) for n, slot, model in self.open_runs()}
        new = {n: running[n][0] for n in running.keys() - before}
        used = [slot for slot, _ in running.values()]
        assert len(used) == len(set(used)), "a slot was given twice"
        holds = queue.holds(self.db)
        assert not (new and "*" in holds)
        order = {n: number for number, (n, _, _) in enumerate(ready)}
        wishes = {n: device for n, device, _ in ready}
        for n, slot in new.items():
            assert n in order, "it was held back, or waited for another"
            assert slot not in holds
            on = devices.card_of(slot)
            assert on not in holds
            if not on:
                assert wishes[n] == "cpu"
                continue
            index = int(on.removeprefix("cuda:"))
            assert wishes[n] in ("auto", "cuda", on)
            assert index not in self.lost
            assert self.foreign.get(index, 0) <= 500
            for other in order.keys() - new.keys():
                assert order[other] > order[n] or wishes[other] not in ("auto", "cuda", on), (
                    "it overtook one that could have had its place"
                )
            together = [model for there, model in running.values() if devices.card_of(there) == on]
            if self.rules.runs_per_gpu == AUTO and len(together) > 1:
                total = sum(PEAKS[model] for model in together) + self.foreign.get(index, 0)
                assert total <= MEMORY - RESERVE, "the memory of a card was promised twice"
            assert len(together) <= (self.rules.runs_per_gpu or devices.CROWD)
        if "*" not in holds:
            self.nothing_is_left_idle({n: wishes[n] for n in order.keys() - new.keys()}, used)

    def ready(self) -> list[tuple[int, str, str]]:
        """The runs that could start, told another way than by the worker's query."""
        rows = self.db.execute(
            "select n, device, model, priority, rank from runs where state = 'queued' and not held"
        ).fetchall()
        waits = {
            n
            for n, state in self.db.execute(
                "select d.run, p.state from runs r join dependencies d on d.run = r.n "
                "left join runs p on p.uid = d.needs where r.state = 'queued'"
            )
            if state != "done"
        }
        rows = [row for row in rows if row[0] not in waits]
        rows.sort(key=lambda row: (-row[3], row[4] is None, row[4] or 0, row[0]))
        return [(n, device, model) for n, device, model, *_ in rows]

    def nothing_is_left_idle(self, left: dict[int, str], used: list[str]) -> None:
        holds = queue.holds(self.db)
        if "cpu" in left.values():
            names = {f"cpu:{i}" for i in range(self.rules.cpu_slots)}
            assert names <= {*used, *holds}, "a place on the CPU is idle"
        for index in range(8):
            on = f"cuda:{index}"
            if index in self.lost or self.foreign.get(index, 0) > 500 or on in holds:
                continue
            if not {"auto", "cuda", on} & set(left.values()):
                continue
            here = [slot for slot in used if devices.card_of(slot) == on]
            places = [on, *(f"{on}#{i}" for i in range(1, self.rules.runs_per_gpu))]
            if self.rules.runs_per_gpu == AUTO:
                assert here, "a card is idle"
            else:
                assert set(places) <= {*here, *holds}, "a place on a card is idle"


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are known by made-up processes."""
    monkeypatch.setattr(boxes, "living", lambda run: {10_000_000 + run.n: run.n})
    monkeypatch.setattr(processes, "root_of", lambda pid, roots: pid if pid in roots else None)
    monkeypatch.setattr(processes, "exists", lambda pid: True)
    monkeypatch.setattr(processes, "owner", lambda pid: "somebody")


@pytest.mark.parametrize(("runs", "events"), [(1, 3_000), (3, 2_000), (AUTO, 5_000)])
@pytest.mark.usefixtures("simulated")
def test_a_machine_of_eight_cards_never_breaks_its_promises(
    db: sqlite3.Connection, enqueue: Enqueue, runs: int, events: int
) -> None:
    enqueue(1)
    put(db, 1, state="stopped", note="the pattern of all others")
    db.execute("pragma synchronous = off")
    rules = Rules(runs_per_gpu=runs, reserve_mb=RESERVE, cpu_slots=2)
    machine = Machine(db, rules, random.Random(runs))
    for _ in range(events):
        machine.event()
        machine.look()
    states = dict(db.execute("select state, count(*) from runs group by state"))
    assert states["done"] > events / 10
    assert len(machine.started) > events / 8
    shared = [slot for _, slot in machine.started if "#" in slot]
    assert bool(shared) == (runs != 1)


# ----------------------------------------------------------------- a worker with cards


@pytest.fixture
def serving(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., worker.Worker]]:
    """A worker over two simulated cards, on which our processes take 3,000 MB each."""
    monkeypatch.setenv("RPAT_MONITOR_EVERY", "0.2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(db: sqlite3.Connection, said: list[str], **more: Any) -> worker.Worker:
        def read_cards() -> list[Card]:
            ours = [
                (row[0]["pid"], devices.card_of(row[1]))
                for row in (
                    (json.loads(trainer), slot)
                    for trainer, slot in other.execute(
                        "select a.trainer, r.slot from attempts a join runs r on r.n = a.run "
                        "and r.attempt = a.number where r.slot <> '' and a.trainer is not null"
                    )
                )
            ]
            return [
                card(
                    index, 3_000 * sum(on == f"cuda:{index}" for _, on in ours),
                    *((pid, 3_000) for pid, on in ours if on == f"cuda:{index}"),
                    utilisation=90, temperature=60 + index, power_w=300,
                )
                for index in range(2)
            ]  # fmt: skip

        other = db
        workers.append(worker.Worker(home, 1.0, Box(Rules(**more), read_cards), said.append))
        return workers[-1]

    workers: list[worker.Worker] = []
    yield make
    for child in (child for made in workers for child in made.sides[0].children):
        child.wait()


def test_a_worker_fills_cards_and_samples_what_its_runs_use(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, serving: Callable[..., worker.Worker]
) -> None:
    numbers = enqueue(4, note="pace=0.05", epochs=4)
    put(db, numbers[3], device="cpu")
    said: list[str] = []
    assert serving(db, said, runs_per_gpu=2).run()
    assert [state for (state,) in db.execute("select state from runs")] == ["done"] * 4
    assert said == [
        "r0001 starts on cuda:0", "r0002 starts on cuda:1", "r0003 starts on cuda:0#1",
        "r0004 starts on cpu:0",
    ]  # fmt: skip
    found = queries.latest_samples(db, numbers)
    assert {n: s["host/rss_mb"]["device"] for n, s in found.items()} == {
        1: "cuda:0", 2: "cuda:1", 3: "cuda:0", 4: "cpu",
    }  # fmt: skip
    assert (found[1]["gpu/process_mb"]["value"], found[3]["gpu/memory_mb"]["peak"]) == (3000, 6000)
    assert found[2]["gpu/temperature_c"]["value"] == 61
    assert found[1]["host/cpu_percent"]["peak"] >= 0
    assert found[1]["host/rss_mb"]["value"] > 5
    assert not [name for name in found[4] if name.startswith("gpu/")]
    memory = db.execute("select n, memory_mb from runs").fetchall()
    assert memory == [(1, 3000), (2, 3000), (3, 3000), (4, None)]
    assert not db.execute(
        "select 1 from events where file = 'monitor' and kind = 'sample'"
    ).fetchone()
    before = db.execute("select * from samples order by run, t, name").fetchall()
    assert rebuild(home)[0] == 4
    assert db.execute("select * from samples order by run, t, name").fetchall() == before
    assert db.execute("select n, memory_mb from runs").fetchall() == memory


def test_a_worker_gives_as_many_places_as_the_settings_say_now(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("RPAT_CPU_SLOTS", "RPAT_RUNS_PER_GPU"):
        monkeypatch.delenv(name, raising=False)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        made.leave()

    box = Box(rules(), list)
    made = worker.Worker(home, 60, box, say)
    assert box.rules.cpu_slots == 1
    configure.put("cpu_slots", "3")
    configure.put("runs_per_gpu", "auto")
    assert made.run()
    assert (box.rules.cpu_slots, box.rules.runs_per_gpu) == (3, 0)
    assert said == ["the settings have changed: places are given by them from now on"]
    (tmp_path / "config" / "rpat" / "config.toml").write_text("cpu_slots = 'many'\n")
    made.leaving = False
    monkeypatch.setattr(worker.time, "sleep", lambda _: None)
    assert made.run(), "a slip in a file ends no worker"
    assert box.rules.cpu_slots == 3
    assert "setting cpu_slots is 'many'" in said[-1]


def test_a_worker_says_which_card_it_leaves_alone(
    db: sqlite3.Connection, enqueue: Enqueue, serving: Callable[..., worker.Worker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    enqueue(2)
    said: list[str] = []
    made = serving(db, said)
    taken = card(0, 22_528, (1, 22_528))
    real = made.box.read
    made.box.read = lambda: [taken, real()[1]]
    monkeypatch.setattr(processes, "owner", lambda pid: "bob")
    assert made.run()
    assert said.count("cuda:0 is left alone: pid 1 (bob) uses 22.0 GB") == 1
    assert {slot for slot in said if "starts" in slot} == {
        "r0001 starts on cuda:1", "r0002 starts on cuda:1",
    }  # fmt: skip


def running(home: Home, db: sqlite3.Connection, n: int, slot: str) -> None:
    """Let this test's process stand for a run's trainer."""
    attempt = RunDir(home.runs / queue.name_of(n)).take_attempt()
    log = Journal(attempt.attendant)
    log.write("begin", v=1, attempt=attempt.number, **process_identity())
    log.write("started", **process_identity())
    log.close()
    ingest(db, n, RunDir(home.runs / queue.name_of(n)))
    put(db, n, state="running", slot=slot)


def test_a_new_monitor_continues_the_file_of_the_old_one(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    running(home, db, n, "cuda:0")
    now = [0.0]
    box = Box(Rules(), lambda: [card(0, 9_000, (os.getpid(), 8_000), utilisation=50)])
    for _ in range(2):
        monitor = Monitor(home, box, 5, clock=lambda: now[0])
        for seconds in (0, 4, 1):
            now[0] += seconds
            monitor.look(db)
        monitor.close()
    path = RunDir(home.runs / "r0001").attempts()[0].monitor
    records = [record for record, _ in read(path)]
    assert [(r["seq"], r["kind"]) for r in records] == [
        (1, "begin"), *((seq, "sample") for seq in range(2, 6)),
    ]  # fmt: skip
    assert records[1]["device"] == "cuda:0"
    assert records[1]["values"]["gpu/process_mb"] == 8_000
    assert "host/cpu_percent" not in records[1]["values"]
    assert {"host/cpu_percent", "host/load1", "host/free_mb"} <= records[2]["values"].keys()


def test_a_sample_is_read_once_however_often_it_is_read(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    folder = RunDir(home.runs / "r0001")
    log = Journal(folder.take_attempt().monitor)
    log.write("begin", v=1)
    for value in (5_000, 7_000, 6_000):
        log.write("sample", device="cuda:1", values={"gpu/process_mb": value, "gpu/power_w": None})
        time.sleep(0.002)
    log.write("sample", device="cuda:1")  # damaged
    assert [ingest(db, n, folder), ingest(db, n, folder)] == [5, 0]
    db.execute("delete from journals")
    ingest(db, n, folder)
    rows = queries.samples(db, n, "gpu/process_mb")
    assert [row["value"] for row in rows] == [5_000, 7_000, 6_000]
    assert [row["value"] for row in queries.samples(db, n, "gpu/process_mb", rows[0]["t"])] == [
        7_000, 6_000,
    ]  # fmt: skip
    assert len(queries.samples(db, n)) == 6
    assert db.execute("select memory_mb from runs").fetchone() == (7_000,)
    newest = queries.latest_samples(db, [n])[n]["gpu/process_mb"]
    assert (newest["value"], newest["peak"], newest["t"]) == (6_000, 7_000, rows[-1]["t"])


def test_the_monitor_is_off_when_it_is_told_so_and_a_full_disk_does_not_stop_it(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    (n,) = enqueue()
    running(home, db, n, "cpu:0")
    box = Box(Rules(), list)
    assert Monitor(home, box, 0).look(db) == 0

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "write", full)
    assert Monitor(home, box, 5).look(db) == 0
    monkeypatch.undo()
    put(db, n, state="done", slot="")
    assert Monitor(home, box, 5).look(db) == 0


def test_watching_eight_runs_costs_next_to_nothing(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, record_property: Any
) -> None:
    numbers = enqueue(8)
    for n in numbers:
        running(home, db, n, f"cuda:{n - 1}")
    seen = [card(i, 9_000, (os.getpid(), 8_000), utilisation=50) for i in range(8)]
    now = [0.0]
    monitor = Monitor(home, Box(Rules(), lambda: seen), 5, clock=lambda: now[0])
    monitor.look(db)
    began, rounds = time.process_time(), 40
    for _ in range(rounds):
        now[0] += 5
        assert monitor.look(db) == 8
        for n in numbers:
            ingest(db, n, RunDir(home.runs / queue.name_of(n)))
    share = (time.process_time() - began) / (rounds * monitor.every)
    record_property("percent_of_a_core", round(100 * share, 3))
    print(f"monitor: {100 * share:.2f} % of a core for 8 runs")  # noqa: T201
    assert share < 0.05, "ten times what is meant: the shared machine's clock proves little"


# ----------------------------------------------------------------- what people see


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a command in this process."""

    def run(*words: str, columns: int = 80) -> str:
        monkeypatch.setattr(sys, "argv", ["rpat", *words])
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
        return capsys.readouterr().out

    return run


BOX = [
    card(0, 61_000, (10_000_001, 7_300), (10_000_002, 7_100), utilisation=94, temperature=68,
         power_w=312),
    card(1, 22_528, (1, 22_528), utilisation=41, temperature=55, power_w=201),
    card(2, 0, utilisation=0, temperature=31, power_w=76),
    Card(index=3, name="NVIDIA A100-SXM4-80GB", problem="GPU is lost"),
    Card(index=4),
]  # fmt: skip


@pytest.fixture
def office(
    db: sqlite3.Connection, enqueue: Enqueue, simulated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box with two runs on one card, a visitor, a free card and two broken ones."""
    for n, slot in zip(enqueue(3), ("cuda:0", "cuda:0#1", "cpu:0"), strict=True):
        put(db, n, state="running", slot=slot)
    queue.hold(db, "cuda:2", "for Ann")
    monkeypatch.setenv("RPAT_CPU_SLOTS", "2")
    monkeypatch.setattr(Driver, "read", lambda self: BOX)
    monkeypatch.setattr("rpat_tui.cli.output.refreshed", lambda home, db: None)


@pytest.mark.usefixtures("office")
def test_gpus_shows_a_line_for_each_card(say: Any) -> None:
    assert say("gpus", columns=80).splitlines() == [
        "GPU  card     use                memory  temp  power  runs",
        "  0  H200     ████████▌  94%     60/78G   68C   312W  r0001 7.1G r0002 6.9G",
        "  1  H200     ▒▒▒▒░░░░░  41%     22/78G   55C   201W  other user 22G",
        "  2  H200     ░░░░░░░░░   0%      0/78G   31C    76W  held: for Ann",
        "  3  A100                  –          –     –      –  GPU is lost",
        "  4  unknown               –          –     –      –  free",
        "CPU  runs",
        "  0  r0003",
        "  1  free",
    ]
    assert "A100-SXM4-80GB" in say("gpus", columns=120)


@pytest.mark.usefixtures("office")
@pytest.mark.parametrize("width", [60, 80, 120])
def test_gpus_fits_the_terminal_also_without_unicode(db: sqlite3.Connection, width: int) -> None:
    found = survey(db, BOX, rules())
    found["cards"][0]["runs"] = [
        {"id": f"r{n:04d}", "slot": "", "memory_mb": 7_000} for n in range(1, 9)
    ]
    for glyphs in (True, False):
        lines = gauges.lines(found, width, glyphs=glyphs)
        if width >= 80:
            assert all(line.cell_len <= width for line in lines)
        assert glyphs or all(line.plain.isascii() for line in lines)
    lately = {"cuda:0": [0, 50, 100], "cuda:1": list(range(40)), "cuda:2": [0] * 12}
    wide = [line.plain for line in gauges.lines(found, 120, lately=lately)]
    assert "lately" in wide[0]
    assert "          ▁▅█ ████████▌  94%" in wide[1]
    assert "▃▃▃▃▃▃▃▃▃▃▄▄ ▒▒▒▒" in wide[2], "the newest, of all that a card can do"
    assert "▁▁▁▁▁▁▁▁▁▁▁▁ ░░░" in wide[3]
    assert all(len(line) <= 120 for line in wide)
    assert gauges.lines(found, 80, lately=lately) == gauges.lines(found, 80)
    in_ascii = gauges.lines(found, 120, glyphs=False, lately=lately)
    assert all(line.plain.isascii() for line in in_ascii)
    plain = [line.plain for line in gauges.lines(found, 80, glyphs=False)]
    assert (
        plain[1]
        == "  0  H200     ########-  94%     60/78G   68C   312W  r0001 r0002 r0003 r0004 +4"
    )
    assert plain[2].startswith("  1  H200     %%%%-----  41%")


@pytest.mark.usefixtures("office")
def test_gpus_as_json_has_stable_keys(say: Any) -> None:
    found = json.loads(say("gpus", "--json"))
    assert set(found) == {"driver", "hold", "cards", "cpu"}
    first, second = found["cards"][:2]
    assert set(first) == {
        "place", "index", "uuid", "name", "utilisation", "memory_mb", "used_mb", "temperature_c",
        "power_w", "problem", "runs", "others_mb", "others", "avoided", "hold",
    }  # fmt: skip
    assert first["runs"] == [
        {"id": "r0001", "slot": "cuda:0", "memory_mb": 7_300},
        {"id": "r0002", "slot": "cuda:0#1", "memory_mb": 7_100},
    ]
    assert (first["avoided"], second["avoided"]) == (False, True)
    assert second["others"] == [{"pid": 1, "user": "somebody", "memory_mb": 22_528}]
    assert found["cards"][2]["hold"] == "for Ann"
    assert found["cpu"][0] == {"slot": "cpu:0", "run": "r0003", "hold": None}


def test_what_is_in_the_way_of_a_run_is_said_for_each_card(
    db: sqlite3.Connection, enqueue: Enqueue, office: None
) -> None:
    (n,) = enqueue(1, method="trades")
    one, auto = Rules(), Rules(runs_per_gpu=AUTO)
    assert in_the_way(db, n, "auto", BOX, one) == []
    assert in_the_way(db, n, "cpu", BOX, one) == ["every place that fits is taken (cpu:0)"]
    assert in_the_way(db, n, "cuda:9", BOX, one) == ["this machine has no slot for device cuda:9"]
    assert in_the_way(db, n, "auto", [BOX[0], BOX[1], BOX[3]], one) == [
        "cuda:0 is taken (cuda:0, cuda:0#1)",
        "cuda:1 is left to others: pid 1 (somebody) uses 22.0 GB",
        "cuda:3: GPU is lost",
    ]
    assert in_the_way(db, n, "cuda:0", BOX, auto) == [
        "cuda:0 is shared with runs in cuda:0, cuda:0#1; it is not measured yet"
    ]
    assert in_the_way(db, n, "auto", [], Rules(cpu_slots=2)) == []


def test_gpus_works_without_a_home_and_without_cards(
    say: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("RPAT_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(Driver, "read", lambda self: [])
    assert say("gpus") == "CPU  runs\n  0  free\n"
    assert json.loads(say("gpus", "--json"))["cards"] == []


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("Tesla V100-SXM2-16GB", "V100"), ("NVIDIA RTX A6000", "RTX A6000"), (None, "unknown"),
        ("NVIDIA A100-SXM4-80GB (MIG)", "A100 (MIG)"),
    ],
)  # fmt: skip
def test_cards_have_short_names(name: str | None, short: str) -> None:
    assert gauges.card_name(name, short=True) == short


def test_metrics_of_the_machine_are_shown_with_their_peaks(
    say: Any, home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    for t, value in ((1.0, 300.0), (2.0, 350.0), (3.0, 320.5)):
        db.execute("insert into samples values (?, 'cuda:0', 'gpu/power_w', ?, ?)", (n, t, value))
    shown = say("metrics", "r1", "--machine").splitlines()
    assert shown[1].split()[:4] == ["gpu/power_w", "cuda:0", "320.5", "350"]
    assert json.loads(say("metrics", "r1", "--machine", "--json")) == [
        {"name": "gpu/power_w", "device": "cuda:0", "t": "1970-01-01T00:00:03Z", "value": 320.5,
         "peak": 350.0}
    ]  # fmt: skip
    assert json.loads(say("metrics", "r1", "--json")) == []


def test_doctor_says_whether_the_driver_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml(2)
    nvml.broken["memory", 1] = 15
    monkeypatch.setattr(checks, "Driver", lambda: Driver(nvml))
    first, good, bad = checks._gpus()
    assert (first.ok, first.found) == (True, "driver 570.1 answers, 2 cards")
    assert (good.name, good.ok, good.found) == ("cuda:0", True, "NVIDIA H200, 140 GB")
    assert (bad.ok, bad.found) == (False, "NVIDIA H200: GPU is lost")
    nvml.broken["init", 0] = 999
    (none,) = checks._gpus()
    assert none.ok is None
    assert "Unknown Error" in none.found
