"""Which epoch is "best": rules over the numbers of every epoch, applied after training.

The core keeps the weights of the epoch with the highest PGD accuracy on its selection split; a
table may ask for another rule at any time, since each epoch's numbers are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rpat.errors import ConfigError
from rpat.knobs import unknown

Epoch = Mapping[str, float]
"""`clean` and `pgd` in percent on the selection split, and `epoch`."""


class Rule(NamedTuple):
    """A rule: the split it looks at, what it maximises, and a tolerance in points."""

    name: str
    split: str
    score: Callable[[Epoch], float]
    tolerance: float = 0.0


def _pgd(e: Epoch) -> float:
    return e["pgd"]


def _mean(e: Epoch) -> float:
    return (e["clean"] + e["pgd"]) / 2


def _nrr(e: Epoch) -> float:
    total = e["clean"] + e["pgd"]
    return 2 * e["clean"] * e["pgd"] / total if total else 0.0


SCORES: dict[str, Callable[[Epoch], float]] = {
    "pgd": _pgd, "mean": _mean, "nrr": _nrr, "lex": _pgd, "last": lambda e: e["epoch"],
}  # fmt: skip
"""`lex`: among the epochs within a tolerance of the highest PGD accuracy, the highest clean."""

HELP = "pgd, mean, nrr, lex:POINTS or last; with @val on held-out images"


def rule(text: str) -> Rule:
    """Read a rule: `nrr`, `pgd@val`, `lex:0.5@test`.

    Raises `ConfigError` for a rule that does not exist.
    """
    words, _, split = text.partition("@")
    name, _, points = words.partition(":")
    if name not in SCORES:
        raise ConfigError(f"--select {unknown(name, SCORES)}")
    if split not in ("", "test", "val"):
        raise ConfigError(f"--select {text}: {unknown(split, ('test', 'val'))}")
    if bool(points) != (name == "lex"):
        raise ConfigError(f"--select {text}: write {HELP}")
    try:
        tolerance = float(points or 0)
    except ValueError:
        tolerance = -1.0
    if not 0 <= tolerance < float("inf"):
        raise ConfigError(f"--select {text}: '{points}' is no number of points")
    return Rule(text, split or "test", SCORES[name], tolerance)


def choose(epochs: Sequence[Epoch], by: Rule) -> int | None:
    """Return the epoch that a rule calls best; the first of equals, None where there is none."""
    if not epochs:
        return None
    top = max(by.score(e) for e in epochs)
    near = [e for e in epochs if by.score(e) >= top - by.tolerance]
    if by.name.startswith("lex"):
        highest = max(e["clean"] for e in near)
        near = [e for e in near if e["clean"] == highest]
    return int(near[0]["epoch"])


def front(epochs: Sequence[Epoch]) -> list[tuple[float, int]]:
    """Return what `lex` chooses as its tolerance grows: down to which PGD accuracy, which epoch.

    With a tolerance that ends between two of them, the upper one's epoch is chosen.
    """
    order = sorted(range(len(epochs)), key=lambda i: (-epochs[i]["pgd"], i))
    found: list[tuple[float, int]] = []
    best: int | None = None
    for i in order:
        clean = epochs[i]["clean"]
        if best is None or (clean, -i) > (epochs[best]["clean"], -best):
            best = i
            pgd, epoch = epochs[i]["pgd"], int(epochs[i]["epoch"])
            if found and found[-1][0] == pgd:
                found.pop()
            found.append((pgd, epoch))
    return found
