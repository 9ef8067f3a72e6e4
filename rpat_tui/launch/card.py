"""The card of a run that has ended badly: why, the proof, what is lost, what to do. Pure.

`Facts` come from queries and files (`inquest`); `card` turns them into words for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rpat_tui.launch.causes import CAUSES


@dataclass(frozen=True, slots=True)
class Place:
    """How far something is: completed epochs and steps."""

    epoch: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a run that has ended badly."""

    id: str
    state: str
    reason: str
    kind: str = "train"
    cause: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    host: str = ""
    attempt: int = 0
    log_lines: int = 0
    last_row: Place | None = None
    checkpoint: Place | None = None
    damaged: int = 0  # lines of the journals that could not be read
    config: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Remedy:
    """A command to copy, and what it does."""

    command: str
    does: str


@dataclass(frozen=True, slots=True)
class Card:
    """The four lines under the head of a failed run."""

    why: str
    means: str
    proof: tuple[str, ...]
    lost: str
    do: tuple[Remedy, ...]

    def public(self) -> dict[str, Any]:
        """Return the card as plain values with stable keys."""
        return {
            "why": self.why, "means": self.means, "proof": list(self.proof), "lost": self.lost,
            "do": [{"command": r.command, "does": r.does} for r in self.do],
        }  # fmt: skip


def card(facts: Facts) -> Card:
    """Return the card that explains a run's end."""
    known = CAUSES.get(facts.cause)
    return Card(
        why=facts.reason or "no reason was noted",
        means=f"{known.means} {known.remedy}" if known else "",
        proof=tuple(_proof(facts)),
        lost=_lost(facts),
        do=tuple(_do(facts)),
    )


def _proof(facts: Facts) -> list[str]:
    e = facts.evidence
    said = []
    if facts.log_lines:
        said.append(f"log line {facts.log_lines:,}")
    if e.get("exit_code") is not None:
        said.append(f"exit {e['exit_code']}")
    if e.get("signal"):
        said.append(str(e["signal"]))
    if oom := e.get("oom_kill"):
        rose = f"rose by {oom['rose_by']} in {oom['counter']}" if oom["rose_by"] else "did not rise"
        said.append(f"oom_kill {rose}")
    if e.get("peak_mb"):
        said.append(f"held {e['peak_mb'] / 1024:.1f} GiB of memory at most")
    if facts.host:
        said.append(f"attempt {facts.attempt} on {facts.host}")
    if e.get("last_line"):
        said.append(f"last words: {e['last_line']}")
    return said + [f"found: {text}" for text in facts.findings]


def _lost(facts: Facts) -> str:
    rows = f"{facts.damaged} damaged rows" if facts.damaged else "0 rows"
    if facts.last_row is None:
        return f"{rows}; it had written none"
    parts = [rows, f"last row {_at(facts.last_row)}"]
    if facts.kind != "train":
        return "; ".join(parts)
    if facts.checkpoint is None:
        return "; ".join([*parts, "no checkpoint: it starts again from the beginning"])
    again = facts.last_row.step - facts.checkpoint.step
    text = f"checkpoint {_at(facts.checkpoint)}"
    if again > 0:
        text += f": {again:,} {'step is' if again == 1 else 'steps are'} computed again"
    return "; ".join([*parts, text])


def _at(place: Place) -> str:
    return f"epoch {place.epoch} (step {place.step:,})"


def _do(facts: Facts) -> list[Remedy]:
    run = facts.id
    if facts.state == "lost":
        there = f" on {facts.host}" if facts.host else " on the host where it ran"
        return [Remedy(f"rpat explain {run}", f"typed{there}: its processes can be asked there")]
    saved = facts.checkpoint
    goes_on = f"goes on from epoch {saved.epoch}" if saved else "starts again"
    found = [*_special(facts), Remedy(f"rpat requeue {run}", goes_on)]
    if saved:
        found.append(Remedy(f"rpat requeue {run} --from-start", "starts again, checkpoints aside"))
    return [*found, Remedy(f"rpat logs {run}", "everything it said")]


def _special(facts: Facts) -> list[Remedy]:
    """Return what helps against the cause itself."""
    run, config = facts.id, facts.config
    trained = facts.kind == "train"
    if facts.cause == "gpu memory" and trained:
        half = max(config.get("optim", {}).get("batch_size", 128) // 2, 2)
        does = "a new run with smaller batches: another experiment"
        return [Remedy(f"rpat rerun {run} --set optim.batch_size={half}", does)]
    if facts.cause == "nan" and trained:
        lr = config.get("optim", {}).get("lr", 0.1) / 2
        does = "a new run with half the learning rate: another experiment"
        return [Remedy(f"rpat rerun {run} --set optim.lr={lr:g}", does)]
    if facts.cause == "config" and trained:
        return [Remedy(f"rpat rerun {run} --set key=value", "a new run with the value changed")]
    if facts.cause in ("import", "error") and trained:
        does = "goes on with the code of today, once that is repaired"
        return [Remedy(f"rpat requeue {run} --code now", does)]
    if facts.cause in ("disk full", "data", "start", "driver"):
        return [Remedy("rpat doctor", "looks at disk, data sets and devices")]
    if facts.cause == "checkpoint":
        return [Remedy(f"rpat requeue {run} --from-start", "starts again, checkpoints aside")]
    return []
