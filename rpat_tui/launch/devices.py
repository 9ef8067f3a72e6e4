"""Which run may start where: a decision made at each look, from what is known then. Pure.

A card has places: `cuda:0` is its first, `cuda:0#1` the next. How many depends on the settings:
a number, or as many as measured memory allows. The CPU has `cpu:0`, `cpu:1`, … A run on several
cards has each of them alone: its place is `cuda:0+1`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rpat_tui.launch.cards import Card
from rpat_tui.store.queue import ALL

AUTO = 0
"""Runs a card: as many as measured memory allows."""

CROWD = 8
"""Runs that share a card at most: they also share its time."""

FOREIGN_MB = 500
"""Memory of others' processes from which on a card counts as theirs."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one run."""

    name: str  # cpu:0, cuda:1, cuda:1#2, cuda:0+1
    card: str = ""  # cuda:1, or cuda:0+1; '' on the CPU
    uuid: str = ""  # of several cards: all of them, with commas

    def environment(self, device: str) -> dict[str, str]:
        """What a run's processes must see: only the slot's card, unless the run named one itself.

        Cards are numbered as in the driver's list (and in `nvidia-smi`), also for CUDA.
        """
        if not self.card:
            return {}
        order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        number = self.card.removeprefix("cuda:").replace("+", ",")
        if device in ("auto", "cuda"):
            if visible and "MIG-" in visible:  # a piece of a card was given to us: keep it
                return order
            return {**order, "CUDA_VISIBLE_DEVICES": self.uuid or number}
        if visible is None:
            return order
        every = ",".join(str(i) for i in range(int(number) + 1))  # so that cuda:N is this card
        return {**order, "CUDA_VISIBLE_DEVICES": every}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the settings ask for."""

    runs_per_gpu: int = 1  # AUTO: by memory
    reserve_mb: int = 1024
    avoid_busy: bool = True
    cpu_slots: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """A run that has a slot; unknown needs mean that it shares its card with nobody."""

    slot: str
    need_mb: int | None = None  # the most it is known to take
    used_mb: int | None = None  # what it takes now


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A queued run that could start."""

    run: int
    device: str
    need_mb: int | None = None
    gpus: int = 1


@dataclass(frozen=True, slots=True)
class Start:
    """A run and the slot it gets."""

    run: int
    slot: Slot


def card_of(slot: str) -> str:
    """Return the card of a slot, the first of several, or '' for one on the CPU."""
    return next(iter(cards_of(slot)), "")


def cards_of(slot: str) -> list[str]:
    """Return the cards of a slot: `cuda:0` and `cuda:1` of `cuda:0+1`, none on the CPU."""
    if not slot.startswith("cuda:"):
        return []
    numbers = slot.removeprefix("cuda:").partition("#")[0].split("+")
    return [f"cuda:{number}" for number in numbers]


def plan(
    cards: Sequence[Card],
    busy: Sequence[Busy],
    waiting: Sequence[Waiting],
    rules: Rules,
    *,
    others: Mapping[str, int] | None = None,
    holds: Collection[str] = (),
    gpus: bool | None = None,
) -> list[Start]:
    """Return which of the waiting runs, in the order of the queue, start now and where.

    `others` is the memory of other people's processes by card; `gpus` says whether this machine
    has cards at all, also while none can be seen. A run that waits for memory is not overtaken
    on the cards that it waits for.
    """
    if ALL in holds:
        return []
    box = _Box(cards, busy, rules, others or {}, holds)
    on_cpu = ("cpu",) if (bool(cards) if gpus is None else gpus) else ("cpu", "auto")
    starts, hopeless = [], set()
    for run in waiting:
        if (run.device, run.gpus) in hopeless:  # places only become fewer
            continue
        slot = box.cpu_slot() if run.device in on_cpu else box.slot(run)
        if slot is None:
            hopeless.add((run.device, run.gpus))
        else:
            box.fill(slot, run)
            starts.append(Start(run.run, slot))
    return starts


class _Box:
    """The machine while the plan is made: every start fills it a little more."""

    def __init__(
        self,
        cards: Sequence[Card],
        busy: Iterable[Busy],
        rules: Rules,
        others: Mapping[str, int],
        holds: Collection[str],
    ) -> None:
        self.rules, self.holds = rules, holds
        self.runs = {run.slot: run for run in busy}
        self.cards = [
            card
            for card in cards
            if not card.problem
            and card.place not in holds
            and not (rules.avoid_busy and others.get(card.place, 0) > FOREIGN_MB)
        ]
        self.rooms = {card.place: self._room(card) or 0 for card in cards}
        self.waited_for: set[str] = set()

    def fill(self, slot: Slot, run: Waiting) -> None:
        self.runs[slot.name] = Busy(slot=slot.name, need_mb=run.need_mb)

    def cpu_slot(self) -> Slot | None:
        names = (f"cpu:{i}" for i in range(self.rules.cpu_slots))
        free = (name for name in names if name not in self.runs and name not in self.holds)
        name = next(free, None)
        return Slot(name) if name else None

    def slot(self, run: Waiting) -> Slot | None:
        """Return a place for a run on as many cards as it wants."""
        return self.card_slot(run) if run.gpus == 1 else self.whole_cards(run)

    def whole_cards(self, run: Waiting) -> Slot | None:
        """Return several cards that nobody else is on; those it waits for are kept for it."""
        fitting = [
            card
            for card in self.cards
            if _may_use(run.device, card.place) and card.place not in self.waited_for
        ]
        emptiest = sorted(fitting, key=lambda card: (len(self._on(card)), card.index))[: run.gpus]
        if len(emptiest) < run.gpus:
            return None
        if any(self._on(card) for card in emptiest):
            self.waited_for |= {card.place for card in emptiest}
            return None
        chosen = sorted(emptiest, key=lambda card: card.index)
        name = "cuda:" + "+".join(str(card.index) for card in chosen)
        known = all(card.uuid for card in chosen)
        return Slot(name, name, ",".join(str(card.uuid) for card in chosen) if known else "")

    def card_slot(self, run: Waiting) -> Slot | None:
        """Return a place on the emptiest card that the run fits on."""
        rooms = (room for place, room in self.rooms.items() if _may_use(run.device, place))
        if run.need_mb is not None and run.need_mb > max(rooms, default=0):
            run = replace(run, need_mb=None)  # measured elsewhere: it may try, alone
        best: tuple[tuple[int, int, int], Slot] | None = None
        full: set[str] = set()
        for card in self.cards:
            if not _may_use(run.device, card.place) or card.place in self.waited_for:
                continue
            name = self._free_place(card)
            if name is None:
                continue
            mine = self._on(card)
            if not self._fits(card, mine, run):
                full.add(card.place)
                continue
            key = (len(mine), _taken(card, mine) - (card.memory_mb or 0), card.index)
            if best is None or key < best[0]:
                best = key, Slot(name, card.place, card.uuid or "")
        if best is None:
            self.waited_for |= full
            return None
        return best[1]

    def _on(self, card: Card) -> list[Busy]:
        return [run for name, run in self.runs.items() if card.place in cards_of(name)]

    def _free_place(self, card: Card) -> str | None:
        count, mine = self.rules.runs_per_gpu or CROWD, self._on(card)
        if len(mine) >= count or any(len(cards_of(run.slot)) > 1 for run in mine):
            return None
        names = [card.place, *(f"{card.place}#{i}" for i in range(1, count))]
        return next((n for n in names if n not in self.runs and n not in self.holds), None)

    def _room(self, card: Card) -> int | None:
        return None if card.memory_mb is None else card.memory_mb - self.rules.reserve_mb

    def _fits(self, card: Card, mine: Sequence[Busy], run: Waiting) -> bool:
        """Return whether a card has the memory, where memory decides."""
        if self.rules.runs_per_gpu != AUTO:
            return True
        room = self._room(card)
        if run.need_mb is None or room is None:
            return not mine
        if any(other.need_mb is None for other in mine):
            return False
        return _taken(card, mine) + run.need_mb <= room


def _taken(card: Card, mine: Sequence[Busy]) -> int:
    """Return the memory of a card that is in use, or that our runs on it may still take."""
    used = card.used_mb or 0
    rest = max(0, used - sum(run.used_mb or 0 for run in mine))
    return rest + sum(max(run.need_mb or 0, run.used_mb or 0) for run in mine)


def _may_use(device: str, card: str) -> bool:
    return device in ("auto", "cuda", card)
