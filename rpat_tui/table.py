"""What a table is made of: cells, rows and the question it answers. Values only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rpat.published import Published
    from rpat_tui.statistics import Test

MEASURES = ("clean", "pgd20", "aa", "mean", "nrr")
CHECKPOINTS = ("best", "final")
TOLERANCE = 0.5
"""Percent points within which a number counts as the paper's."""
SPREADS = ("dataset", "norm", "model", "rpat", "checkpoint")
"""What may go from the rows of a table into blocks of columns."""


_NOTHING: Mapping[str, object] = MappingProxyType({})
_NOT_OPEN: Mapping[str, str] = MappingProxyType({})


class Cell(NamedTuple):
    """A mean over `n` seeds and its sample standard deviation; one seed has no spread."""

    mean: float
    std: float | None = None
    n: int = 1


class Row(NamedTuple):
    """One experiment at one checkpoint, pooled over its seeds.

    `n` counts seeds; a cell that fewer of them fill has its own `n`. `variant` tells rows apart
    that would look alike. `pair` is the digest of what the config has in common with that of the
    RPAT counterpart ('': it follows from `config`); a row of thousands has it and no config.
    A row with `n` 0 is printed in the paper and has no run here.
    A tuple, since a table may have thousands; give its values by name.
    """

    dataset: str
    source: str
    norm: str
    model: str
    method: str
    rpat: bool
    checkpoint: str
    robust: str
    n: int
    clean: Cell | None = None
    pgd20: Cell | None = None
    aa: Cell | None = None
    mean: Cell | None = None
    nrr: Cell | None = None
    variant: str = ""
    group: str = ""
    data: str = ""
    marks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    paper: Published | None = None
    diff: Mapping[str, float] | None = None
    config: Mapping[str, object] = _NOTHING
    label: str = ""  # a suite's own name for it
    open: Mapping[str, str] = _NOT_OPEN
    stamp: str = ""
    pair: str = ""

    @property
    def place(self) -> tuple[str, ...]:
        """Data set, source, norm and network: what rows that compete with each other share."""
        return self[:4]

    @property
    def cells(self) -> tuple[Cell | None, ...]:
        """The cells of `MEASURES`, in their order."""
        return self[9:14]

    def cell(self, measure: str) -> Cell | None:
        """Return the cell of one of `MEASURES`."""
        found: Cell | None = getattr(self, measure)
        return found

    def printed(self) -> dict[str, float | None]:
        """Return the paper's numbers that this row may be compared with.

        The paper's Mean and NRR rest on AutoAttack, so another basis has none.
        """
        if self.paper is None:
            return dict.fromkeys(MEASURES)
        return printed(self.paper, self.checkpoint, self.robust)


def printed(paper: Published, checkpoint: str, robust: str) -> dict[str, float | None]:
    """Return the numbers of a printed row that one on a robust basis may be compared with."""
    values = paper.measures(checkpoint)
    return values if robust == "aa" else values | {"mean": None, "nrr": None}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows in reading order, the robust basis of Mean and NRR, and what was asked for.

    `columns` names what is spread over blocks of columns (`SPREADS`; nothing: a row a line);
    `tests` are by (group data checkpoint, measure); `asked` is the command that makes it again.
    """

    rows: tuple[Row, ...] = ()
    robust: str = "aa"
    checkpoint: str = ""
    paper: bool = False
    title: str = ""
    suite: str = ""
    venues: bool = False
    tolerance: float = TOLERANCE
    columns: tuple[str, ...] = ()
    tests: Mapping[tuple[str, str], Test] = field(default_factory=dict)
    asked: str = ""

    @cached_property
    def stamp(self) -> str:
        """A digest of everything that the table was made from; '' where rows have none."""
        stamps = [row.stamp for row in self.rows]
        if not self.asked or not any(stamps):
            return ""
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest()

    def tests_of(self, row: Row) -> dict[str, Test]:
        """Return the tests of a row with RPAT against the one without, by measure."""
        if not row.rpat or not self.tests:
            return {}
        name = f"{row.group} {row.data} {row.checkpoint}"
        return {m: test for m in MEASURES if (test := self.tests.get((name, m))) is not None}
