"""What NVIDIA's driver says about the cards of this machine; what it does not tell is None.

Nobody here raises: a machine without a driver has no cards, a card that fails is reported with
what is known of it, and a driver that was restarted is asked again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

STALE = (1, 9, 18)
"""NVML's codes for a session that has to be opened again: uninitialised, no driver, replaced."""

GONE = (15, 16)
"""NVML's codes for a card that cannot be used: it fell off the bus, or wants a reset."""

MB = 1 << 20
PATIENCE = 30.0
"""Seconds until a machine without a working driver is asked again."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process on a card."""

    pid: int
    used_mb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card at one moment; `problem` says why nothing should be started on it."""

    index: int
    uuid: str | None = None
    name: str | None = None
    memory_mb: int | None = None
    used_mb: int | None = None
    utilisation: int | None = None
    temperature: int | None = None
    power_w: int | None = None
    processes: tuple[Process, ...] | None = None
    problem: str = ""

    @property
    def place(self) -> str:
        """What runs, holds and samples call this card."""
        return f"cuda:{self.index}"


Reader = Callable[[], list[Card]]
"""Whoever can tell the cards: a driver, or a simulated machine in tests."""


class Driver:
    """NVML, held open from one reading to the next."""

    def __init__(self, nvml: Any = None, visible: str | None = None) -> None:
        self.nvml = nvml
        self.visible = visible
        self.version = ""
        self.problem = ""
        """Why there is no card to be seen; '' where the driver answers."""
        self._is_open = False
        self._failed_at = -PATIENCE

    def read(self) -> list[Card]:
        """Return the cards that `visible` (a CUDA_VISIBLE_DEVICES) leaves, by index."""
        for last in (False, True):
            if not self._open():
                return []
            try:
                cards = self._cards(last)
            except self.nvml.NVMLError as error:
                self.problem = str(error)
                self.close()
            else:
                return visible_only(cards, self.visible)
        self._failed_at = time.monotonic()
        return []

    def close(self) -> None:
        """Leave NVML; the next reading opens it again."""
        if self._is_open:
            self._is_open = False
            with suppress(self.nvml.NVMLError):
                self.nvml.nvmlShutdown()

    def _open(self) -> bool:
        if self._is_open:
            return True
        if time.monotonic() - self._failed_at < PATIENCE:
            return False
        if self.nvml is None:
            try:
                import pynvml
            except ImportError:
                self.problem = "nvidia-ml-py is not installed"
                return False
            self.nvml = pynvml
        try:
            self.nvml.nvmlInit()
            self.version = str(self.nvml.nvmlSystemGetDriverVersion())
        except (self.nvml.NVMLError, OSError) as error:
            self.problem, self._failed_at = str(error), time.monotonic()
            return False
        self._is_open, self.problem = True, ""
        return True

    def _cards(self, last: bool) -> list[Card]:
        count = self.nvml.nvmlDeviceGetCount()
        return [_Questions(self.nvml, last).card(index) for index in range(count)]


class _Questions:
    """Questions about one card, each of which may go unanswered."""

    def __init__(self, nvml: Any, last: bool) -> None:
        self.nvml, self.last = nvml, last
        self.problem = ""

    def card(self, index: int) -> Card:
        ask, nvml = self.ask, self.nvml
        handle = ask(nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            return Card(index=index, problem=self.problem or "the driver does not show it")
        used, total = self.memory(handle)
        rates = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = ask(nvml.nvmlDeviceGetPowerUsage, handle)
        return Card(
            index=index,
            uuid=ask(nvml.nvmlDeviceGetUUID, handle),
            name=self.name(handle),
            memory_mb=total,
            used_mb=used,
            utilisation=None if rates is None else int(rates.gpu),
            temperature=ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power_w=None if power is None else round(power / 1000),
            processes=self.processes(handle),
            problem=self.problem,
        )

    def ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """Return the driver's answer or None; a session that is over is for the caller."""
        try:
            return question(*arguments)
        except self.nvml.NVMLError as error:
            code = getattr(error, "value", None)
            if code in STALE and not self.last:
                raise
            if code in GONE or code in STALE:
                self.problem = str(error)
            return None

    def name(self, handle: Any) -> str | None:
        """Return what the card is; one that is cut in pieces (MIG) says so."""
        name = self.ask(self.nvml.nvmlDeviceGetName, handle)
        mig = self.ask(self.nvml.nvmlDeviceGetMigMode, handle)
        return f"{name or 'GPU'} (MIG)" if mig and mig[0] else name

    def memory(self, handle: Any) -> tuple[int | None, int | None]:
        """Return used and usable memory; what the driver keeps for itself is in neither."""
        ask, nvml = self.ask, self.nvml
        found = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2))
        found = found or ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        if found is None:
            return None, None
        return int(found.used) // MB, (int(found.used) + int(found.free)) // MB

    def processes(self, handle: Any) -> tuple[Process, ...] | None:
        """Return who uses the card, each process once, with the larger of its numbers."""
        lists = [
            self.ask(self.nvml.nvmlDeviceGetComputeRunningProcesses, handle),
            self.ask(self.nvml.nvmlDeviceGetGraphicsRunningProcesses, handle),
        ]
        if lists == [None, None]:
            return None
        found: dict[int, int | None] = {}
        for entry in (entry for part in lists if part for entry in part):
            known = [v for v in (found.get(entry.pid), entry.usedGpuMemory) if v is not None]
            found[entry.pid] = max(known) if known else None
        return tuple(
            Process(pid, None if used is None else int(used) // MB)
            for pid, used in sorted(found.items())
        )


def read_cards(visible: str | None = None) -> list[Card]:
    """Return the cards of this machine, once; `visible` leaves some, as CUDA understands it."""
    driver = Driver(visible=visible)
    try:
        return driver.read()
    finally:
        driver.close()


def visible_devices() -> str | None:
    """Return which cards the environment of this process leaves; None: all."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def visible_only(cards: Sequence[Card], visible: str | None) -> list[Card]:
    """Return the cards that a CUDA_VISIBLE_DEVICES leaves: numbers, UUIDs or their beginnings.

    As in CUDA, what comes behind a word that names no card does not count. A piece of a card
    (MIG) leaves the cards that are cut.
    """
    if visible is None:
        return list(cards)
    kept: set[int] = set()
    for word in (word.strip() for word in visible.split(",")):
        found = {card.index for card in cards if _is_named(card, word)}
        if not found:
            break
        kept |= found
    return [card for card in cards if card.index in kept]


def _is_named(card: Card, word: str) -> bool:
    if word.isdigit():
        return card.index == int(word)
    if word.startswith("MIG-"):
        return (card.name or "").endswith("(MIG)")
    return word.startswith("GPU-") and (card.uuid or "").startswith(word)
