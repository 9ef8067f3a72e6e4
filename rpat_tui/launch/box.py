"""This machine while it works: its cards, whose processes are on them, what may start now."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rpat.errors import ConfigError
from rpat.identity import Identity, is_alive
from rpat_tui.home import settings
from rpat_tui.launch import devices, processes
from rpat_tui.launch.cards import Card, Process, Reader, read_cards, visible_devices
from rpat_tui.launch.devices import Busy, Rules, Slot, Waiting, card_of, cards_of
from rpat_tui.placement import resolve
from rpat_tui.store import queue
from rpat_tui.store.db import transaction
from rpat_tui.store.memory import Needs, Occupant

FRESH = 1.0
"""Seconds for which a reading of the cards is good enough to start runs from."""

LATELY = 2.0
"""Seconds for which it is good enough to tell whether there may be a place at all."""

LEAVING = 30.0
"""Seconds that the processes of a run that has ended have to leave their card."""

HIDDEN_MB = 2048
"""Memory in use on a card that shows no process, from which on somebody must be there."""


@dataclass(frozen=True, slots=True)
class Use:
    """Who uses a card: our runs, with their memory where it is known, and others."""

    runs: dict[int, int | None] = field(default_factory=dict)
    others: tuple[Process, ...] = ()
    others_mb: int = 0


@dataclass(frozen=True, slots=True)
class Starting:
    """A run that was just taken for a slot."""

    n: int
    name: str
    slot: Slot


def rules() -> Rules:
    """Return what the settings ask for."""
    known = settings()
    runs = known["runs_per_gpu"].value
    return Rules(
        runs_per_gpu=devices.AUTO if runs == "auto" else runs,
        reserve_mb=known["gpu_reserve_mb"].value,
        avoid_busy=known["avoid_busy"].value == "on",
        cpu_slots=known["cpu_slots"].value,
    )


def living(run: Occupant) -> dict[int, int]:
    """Return the living processes that a run is known by, each with the run's number."""
    known: list[Any] = [run.trainer, run.attendant, run.launcher]
    return {who["pid"]: run.n for who in known if who and _lives(who)}


def _lives(who: Identity) -> bool:
    return is_alive(who) is True


def use_of(
    card: Card, here: Sequence[int], pids: Mapping[int, int], former: Collection[int] = ()
) -> Use:
    """Return who uses a card; `here` are the runs that have a slot on it, `pids` our processes.

    `former` are processes of runs that have just ended: on their way out, and nobody's.
    A process that this machine's /proc does not know (another container's, or ours under another
    number) is taken for ours where a run of ours has a place on the card.
    """
    runs: dict[int, int | None] = dict.fromkeys(here)
    others, unknown = [], []
    for process in card.processes or ():
        root = processes.root_of(process.pid, {*pids, *former})
        if root is not None and root in pids:
            n = pids[root]
            runs[n] = _sum(runs.get(n), process.used_mb)
        elif root is not None:
            continue
        elif here and not processes.exists(process.pid):
            unknown.append(process)
        else:
            others.append(process)
    listed = sum(p.used_mb or 0 for p in card.processes or ())
    hidden = max(0, (card.used_mb or 0) - listed)
    foreign = sum(p.used_mb or 0 for p in others)
    if any(p.used_mb is None for p in others):
        foreign += hidden
    if not card.processes and not here and hidden > HIDDEN_MB:
        foreign = hidden
    if len(here) == 1 and not others and runs[here[0]] is None and card.used_mb is not None:
        runs[here[0]] = card.used_mb  # nobody else can have taken it
    return Use(runs, tuple(others), foreign)


def _sum(a: int | None, b: int | None) -> int | None:
    return b if a is None else a + (b or 0)


class Box:
    """The machine of one worker."""

    def __init__(
        self, rules: Rules, read: Reader, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rules, self.read, self.clock = rules, read, clock
        self.needs = Needs()
        self.has_gpus = False
        """Whether a card was ever seen: one that is away does not send its runs to the CPU."""
        self._cards: list[Card] = []
        self._read_at = float("-inf")
        self._seen: dict[int, float] = {}
        self.avoided: dict[str, str] = {}
        """The cards that were left to others at the last look, and who these are."""

    def cards(self, age: float = FRESH) -> list[Card]:
        """Return the cards as they were at most `age` seconds ago."""
        if self.clock() - self._read_at > age:
            self._cards, self._read_at = self.read(), self.clock()
            self.has_gpus = self.has_gpus or bool(self._cards)
        return self._cards

    def uses(self, cards: Sequence[Card], occupants: Sequence[Occupant]) -> dict[str, Use]:
        """Return who uses each card."""
        pids: dict[int, int] = {}
        if any(card.processes for card in cards):
            for run in occupants:
                pids |= living(run)
        now = self.clock()
        self._seen |= dict.fromkeys(pids, now)
        self._seen = {pid: t for pid, t in self._seen.items() if now - t < LEAVING}
        found = {}
        for card in cards:
            here = [run.n for run in occupants if card.place in cards_of(run.slot)]
            found[card.place] = use_of(card, here, pids, self._seen)
        return found

    def take(self, db: sqlite3.Connection, worker: Identity) -> list[Starting]:
        """Take the queued runs that may start now; each is `starting` in its slot afterwards."""
        if queue.ALL in queue.holds(db) or not queue.any_ready(db):
            return []
        if not self._most(queue.busy_slots(db)):
            return []
        cards = self.cards()
        started = []
        with transaction(db):
            most = self._most(queue.busy_slots(db))
            heads = {head.n: head for head in self.needs.heads(db, most)}
            occupants = self.needs.occupants(db)
            uses = self.uses(cards, occupants)
            self.avoided = self._avoided(uses)
            memory = {n: mb for use in uses.values() for n, mb in use.runs.items()}
            planned = devices.plan(
                cards,
                [Busy(slot=o.slot, need_mb=o.need_mb, used_mb=memory.get(o.n)) for o in occupants],
                [
                    Waiting(run=h.n, device=h.device, need_mb=h.need_mb, gpus=h.gpus)
                    for h in heads.values()
                ],
                self.rules,
                others={place: use.others_mb for place, use in uses.items()},
                holds=queue.holds(db),
                gpus=self.has_gpus,
            )
            for start in planned:
                slot, head = start.slot, heads[start.run]
                if queue.take(db, slot.name, (head.device,), worker, card=slot.card, only=head.n):
                    started.append(Starting(head.n, head.name, slot))
        return started

    def _most(self, busy: Collection[str]) -> int:
        """Return how many runs of one device can start at most: the places that are not taken."""
        on_cpu = sum(not card_of(slot) for slot in busy)
        there = {card.place for card in self.cards(LATELY)}  # runs of a lost card take none of it
        taken = sum(card in there for slot in busy for card in cards_of(slot))
        return max(0, self.rules.cpu_slots - on_cpu, self._places_a_card() * len(there) - taken)

    def _places_a_card(self) -> int:
        return self.rules.runs_per_gpu or devices.CROWD

    def _avoided(self, uses: Mapping[str, Use]) -> dict[str, str]:
        return {
            place: who(use)
            for place, use in uses.items()
            if self.rules.avoid_busy and use.others_mb > devices.FOREIGN_MB
        }


def who(use: Use) -> str:
    """Return the largest user of a card that is not ours, for people to read."""
    if not use.others:
        return f"somebody whose processes cannot be seen uses {use.others_mb / 1024:.1f} GB"
    largest = max(use.others, key=lambda process: process.used_mb or 0)
    name = processes.owner(largest.pid)
    more = f" and {len(use.others) - 1} more" if len(use.others) > 1 else ""
    by = f" ({name})" if name else ""
    return f"pid {largest.pid}{by}{more} use{'' if more else 's'} {use.others_mb / 1024:.1f} GB"


def in_the_way(
    db: sqlite3.Connection, n: int, device: str, cards: Sequence[Card], rules: Rules, gpus: int = 1
) -> list[str]:
    """Return what keeps each place that fits a queued run from taking it; nothing if one is free.

    Holds are not looked at.
    """
    needs, busy = Needs(), queue.busy_slots(db)
    if device == "cpu" or (device == "auto" and not cards):
        names = [f"cpu:{i}" for i in range(rules.cpu_slots)]
        if not names:
            return ["this machine has no place on the CPU (cpu_slots)"]
        taken = all(name in busy for name in names)
        return [f"every place that fits is taken ({', '.join(names)})"] if taken else []
    fitting = [card for card in cards if device in ("auto", "cuda", card.place)]
    if not fitting:
        return [f"this machine has no slot for device {device}"]
    if len(fitting) < gpus:
        return [f"it wants {gpus} cards; this machine has {len(fitting)}"]
    need, occupants = needs.need(db, n), needs.occupants(db)
    uses = Box(rules, lambda: list(cards)).uses(fitting, occupants)
    others = {place: use.others_mb for place, use in uses.items()}
    memory = {n: mb for use in uses.values() for n, mb in use.runs.items()}
    running = [Busy(slot=o.slot, need_mb=o.need_mb, used_mb=memory.get(o.n)) for o in occupants]
    if devices.plan(
        fitting, running, [Waiting(run=n, device=device, need_mb=need, gpus=gpus)], rules,
        others=others,
    ):  # fmt: skip
        return []
    found = [f"it wants {gpus} cards to itself"] if gpus > 1 else []
    for card in fitting:
        here = [slot for slot in busy if card.place in cards_of(slot)]
        if card.problem:
            found.append(f"{card.place}: {card.problem}")
        elif rules.avoid_busy and uses[card.place].others_mb > devices.FOREIGN_MB:
            found.append(f"{card.place} is left to others: {who(uses[card.place])}")
        elif len(here) >= (rules.runs_per_gpu or devices.CROWD) or (here and gpus > 1):
            found.append(f"{card.place} is taken ({', '.join(sorted(here))})")
        elif gpus == 1:
            what = "it is not measured yet" if need is None else f"it needs {need / 1024:.1f} GB"
            found.append(f"{card.place} is shared with runs in {', '.join(sorted(here))}; {what}")
    return found


def require_cards(gpus: int, device: str, launcher: str | None) -> None:
    """Refuse runs that want more cards than this machine has; raises `ConfigError`.

    A machine without any takes processes on its CPU, unless the device says otherwise.
    """
    if device == "cpu" or resolve(launcher, {})[0]:
        return
    cards = len(read_cards(visible_devices()))
    if cards < gpus and (cards or device == "cuda"):
        raise ConfigError(
            f"--gpus {gpus}: this machine has {cards or 'no'} GPU{'s' * (cards != 1)}; "
            f"write --gpus {max(cards, 1)}, or --device cpu to try it with processes"
        )


def survey(db: sqlite3.Connection | None, cards: Sequence[Card], rules: Rules) -> dict[str, Any]:
    """Return who uses each place of this machine; without a home: what the cards say."""
    occupants = Needs().occupants(db) if db else []
    holds = queue.holds(db) if db else {}
    uses = Box(rules, lambda: list(cards)).uses(cards, occupants)
    slots = {run.slot: run for run in occupants}
    cpu = dict.fromkeys(f"cpu:{i}" for i in range(rules.cpu_slots))
    cpu |= dict.fromkeys(slot for slot in slots if not card_of(slot))
    return {
        "hold": holds.get(queue.ALL),
        "cards": [
            _card(card, uses[card.place], [r for r in occupants if card.place in cards_of(r.slot)])
            | {"avoided": rules.avoid_busy and uses[card.place].others_mb > devices.FOREIGN_MB}
            | {"hold": holds.get(card.place)}
            for card in cards
        ],
        "cpu": [
            {
                "slot": slot,
                "run": slots[slot].name if slot in slots else None,
                "hold": holds.get(slot),
            }
            for slot in cpu
        ],
    }


def _card(card: Card, use: Use, here: Sequence[Occupant]) -> dict[str, Any]:
    return {
        "place": card.place,
        "index": card.index,
        "uuid": card.uuid,
        "name": card.name,
        "utilisation": card.utilisation,
        "memory_mb": card.memory_mb,
        "used_mb": card.used_mb,
        "temperature_c": card.temperature,
        "power_w": card.power_w,
        "problem": card.problem,
        "runs": [
            {"id": run.name, "slot": run.slot, "memory_mb": use.runs.get(run.n)} for run in here
        ],
        "others_mb": use.others_mb,
        "others": [
            {"pid": p.pid, "user": processes.owner(p.pid), "memory_mb": p.used_mb}
            for p in use.others
        ],
    }
