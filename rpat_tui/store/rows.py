"""The values that travel between the store, the statistics, the exports and the screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One run's numbers at one checkpoint, in percent, with what makes the run what it is.

    `group` is the config's fingerprint without the seed, `data` the data set's ('' where it is
    not known), `config` the identity behind `group` with dotted keys. `rpat` says that the
    wrapper of that name is stacked; `method` never mentions it, and `rpat++` has it False.
    `marks` are short remarks a reader of the numbers must know, such as "selected on test".
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
    config: Mapping[str, object] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
