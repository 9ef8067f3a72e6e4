"""The values that travel between the store, the statistics, the exports and the screens."""

# No `from __future__ import annotations`: a NamedTuple compiles the text of each annotation.

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_EMPTY: Mapping[str, object] = MappingProxyType({})


class Measurement(NamedTuple):
    """One run's numbers at one checkpoint, in percent, with what makes the run what it is.

    `group` is the config's fingerprint without the seed, `data` the data set's ('' where it is
    not known), `config` the identity behind `group` with dotted keys. `rpat` says that the
    wrapper of that name is stacked; `method` never mentions it, and `rpat++` has it False.
    `marks` are short remarks a reader of the numbers must know, such as "selected on test".
    A tuple, since a table is made of thousands.
    """

    run: str
    seed: int
    group: str
    dataset: str
    norm: str
    model: str
    method: str
    rpat: bool
    checkpoint: str
    source: str = "official"
    data: str = ""
    clean: float | None = None
    pgd20: float | None = None
    aa: float | None = None
    config: Mapping[str, object] = _EMPTY
    marks: tuple[str, ...] = ()


class Stat(NamedTuple):
    """A number of a run, or the mean of `n` of them with its sample standard deviation."""

    value: float
    std: float | None = None
    n: int = 1


_NO_VALUES: Mapping[str, Stat] = MappingProxyType({})


class Line(NamedTuple):
    """One line of a list of runs: a run, or runs that differ only in the seed, folded.

    `key` names it: the run's number, or the smallest of the runs' numbers, negative. What runs of
    a group do not share is empty; its state is the one that wants most attention, its epoch the
    slowest run's. `open` says that the lines of its runs follow; those are `inside`.
    A tuple, since a list may have thousands; give its values by name.
    """

    key: int
    id: str
    state: str
    members: tuple[int, ...]
    kind: str = "train"
    reason: str = ""
    archived: int = 0
    name: str = ""
    note: str = ""
    sweep: str = ""
    tags: str = ""
    method: str = ""
    rpat: int = 0
    lam: float | None = None
    dataset: str = ""
    source: str = ""
    norm: str = "linf"
    model: str = ""
    seeds: tuple[int, ...] = ()
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    stage: str = ""
    slot: str = ""
    priority: int = 50
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    parent: str | None = None
    best_epoch: int | None = None
    group: tuple[str, str] = ("", "")
    open: bool = False
    inside: bool = False
    values: Mapping[str, Stat] = _NO_VALUES

    @property
    def folds(self) -> bool:
        """Whether this line stands for several runs."""
        return self.key < 0
