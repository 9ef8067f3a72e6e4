"""Readers of the text logs that public code bases of adversarial training print; pure.

Each file reads one layout: it takes lines and returns what it `Found`. Only facts are read: the
settings that a log states, each epoch's numbers, final results. Standard library only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A final result: clean and robust accuracy in percent; `checkpoint` '' where not stated."""

    attack: str  # aa, pgd
    clean: float | None
    robust: float
    checkpoint: str = ""
    network: str = ""  # '' is the one that stands for the run
    steps: int = 0
    n: int = 0  # images; 0: all


@dataclass(slots=True, kw_only=True)
class Found:
    """What a log states."""

    layout: str
    settings: dict[str, Any] = field(default_factory=dict)
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)
    """Metric values by the number of completed epochs."""
    times: dict[int, float] = field(default_factory=dict)
    """UTC seconds at which so many epochs were completed; 0 is the log's first line."""
    losses: list[tuple[int, float, float]] = field(default_factory=list)
    """Step losses: completed epochs, batch or share of the epoch under way, loss."""
    results: list[Result] = field(default_factory=list)
    read: int = 0
    unread: list[str] = field(default_factory=list)

    def put(self, epoch: int, **values: float) -> None:
        """Note an epoch's numbers; `__` in a name is `/`."""
        row = self.epochs.setdefault(epoch, {})
        row |= {name.replace("__", "/"): value for name, value in values.items()}

    @property
    def recognised(self) -> bool:
        """Whether this is such a log at all; results alone must not be an island in other text."""
        return bool(self.epochs) or (bool(self.results) and self.read >= len(self.unread))


Reader = Callable[[Sequence[str]], Found]


def _readers() -> dict[str, Reader]:
    from rpat_tui.textlogs import bracketed, epochwise, tabular

    return {
        "bracketed": bracketed.read, "tabular": tabular.read, "epochwise": epochwise.read,
    }  # fmt: skip


SOURCES = {
    "rpat": ("bracketed", "tabular"),
    "consistency-at": ("bracketed",),
    "rebat": ("tabular",),
    "trades": ("epochwise",),
    "auto": ("bracketed", "tabular", "epochwise"),
}
"""Code bases by name, each with the layouts of its logs."""

EXPECTED = {
    "bracketed": "'[2024-05-01 12:00:00]  * [Acc@1 81.5] [AdvAcc@1 50.2]' after 'Epoch 1 (…)'",
    "tabular": "'[2024/05/01 12:00:00] - [] 0  120.1  10.2  0.1000  2.1 0.25 2.3 0.20 1.6 …'",
    "epochwise": "'Train Epoch: 1 [0/50000 (0%)]  Loss: 2.3', 'Test: Average loss: …, Accuracy: …'",
}  # fmt: skip
"""A line of each layout, for people whose file is not recognised."""


def read(lines: Sequence[str], source: str = "auto") -> Found:
    """Return what the reader finds that understands most of the lines."""
    readers = _readers()
    tried = [readers[layout](lines) for layout in SOURCES[source]]
    return max(tried, key=lambda found: (found.recognised, found.read))


_ITEM = re.compile(r"(\w+)=('(?:[^'\\]|\\.)*'|\"[^\"]*\"|\[[^\]]*\]|[^,)]*)")


def namespace(text: str) -> dict[str, Any]:
    """Return the plain values of a printed `argparse.Namespace`; objects in it are left out."""
    found = {}
    for name, value in _ITEM.findall(text.partition("Namespace(")[2]):
        try:
            found[name] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            continue
    return found


def autoattack(line: str) -> tuple[str, float] | None:
    """Return what a line of AutoAttack's own report states: `initial` or `robust` accuracy."""
    match = re.search(r"\b(initial|robust) accuracy: ([\d.]+)%", line)
    return (match[1], float(match[2])) if match else None
