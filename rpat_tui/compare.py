"""Statistics: runs become rows with means and spreads over seeds, beside the paper's numbers.

Only runs of one group (equal configs but for the seed) on the same data at the same checkpoint
are ever averaged. Nothing here formats or reads; see `rpat_tui.exports` and the store.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from types import MappingProxyType
from typing import TYPE_CHECKING

from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui.store.rows import Measurement
from rpat_tui.table import CHECKPOINTS, TOLERANCE, Cell, Row, Table, printed
from rpat_tui.variants import but_for_rpat, reading_order, variants

if TYPE_CHECKING:
    from rpat.published import Published

BASES = ("aa", "pgd20")
REAL = ("official", "image-folder")
"""Sources of images that answer to the paper."""
EMPHASISED = ("clean", "aa", "mean", "nrr")

_NONE: Mapping[object, Published] = MappingProxyType({})
Reached = tuple[int, float | None, float | None, float | None]
"""Seed, clean, PGD-20 and AutoAttack of a run."""
Values = Sequence[Reached]
"""What each run reached that counts in a row, by seed."""
Seeds = Mapping[tuple[str, str, str], Values]
"""The values behind a table's rows, by group, images and checkpoint."""

_TITLES = {"clean": "clean", "pgd20": "PGD-20", "aa": "AA", "mean": "Mean", "nrr": "NRR"}


def mean_nrr(clean: float, robust: float) -> tuple[float, float]:
    """Return the arithmetic and the harmonic mean of clean and robust accuracy.

    The second is the natural-robust ratio 2cr / (c + r); it is 0 when both are 0.
    """
    total = clean + robust
    return total / 2, 2 * clean * robust / total if total else 0.0


def verdict(diff: float, tolerance: float = TOLERANCE) -> str:
    """Say whether a difference from the paper is `ok` or `off`; the limit itself is ok."""
    return "ok" if abs(diff) <= tolerance + 1e-9 else "off"


def summarise(
    measurements: Iterable[Measurement],
    *,
    robust: str = "aa",
    checkpoint: str = "",
    paper: bool = False,
    holes: bool = False,
    published: Sequence[Published] | None = None,
    title: str = "",
) -> Table:
    """Pool measurements into the rows of a paper-style table.

    `robust` is the accuracy that Mean and NRR rest on; `checkpoint` keeps one kind, '' both.
    `paper` puts the published row beside each of ours, and `holes` also adds the rows of
    `published` (all four tables unless given) that no run here answers to.
    """
    if robust not in BASES:
        raise ConfigError(f"--robust {unknown(robust, BASES)}")
    if checkpoint not in ("", *CHECKPOINTS):
        raise ConfigError(f"--checkpoint {unknown(checkpoint, CHECKPOINTS)}")
    kept = (m for m in measurements if checkpoint in ("", m.checkpoint))
    pools = pooled(kept)
    known: Sequence[Published] = published or ()
    if paper and published is None:
        known = printed_rows()
    answers = answers_of(known) if paper else {}
    names = variants(pool[0] for pool in pools.values())
    rows = [
        row_of(pool, robust, names[group, data], answers)
        for (group, data, _), pool in pools.items()
    ]
    if paper and holes:
        rows += _holes(rows, known, robust, checkpoint or "best")
    rows.sort(key=reading_order)
    return Table(rows=tuple(rows), robust=robust, checkpoint=checkpoint, paper=paper, title=title)


def emphasis(table: Table) -> dict[tuple[int, str], set[str]]:
    """Return what the paper would print `bold` or `underline`, by row index and measure.

    Bold is the best of a data set, network and norm over both halves, where two or more compete.
    Underlined is a base value that none of its RPAT counterparts (same everything but RPAT)
    improved. PGD-20 and the final checkpoint take part in neither.
    """
    marked: dict[tuple[int, str], set[str]] = defaultdict(set)
    blocks: dict[object, list[int]] = defaultdict(list)
    halves: dict[object, tuple[list[int], list[int]]] = {}
    best = [(i, row) for i, row in enumerate(table.rows) if row.checkpoint == "best"]
    for at, (_, row) in enumerate(best):
        blocks[row.place].append(at)
        same = but_for_rpat(row)
        if same not in halves:
            halves[same] = [], []
        halves[same][row.rpat].append(at)
    pairs = [(bases, improved) for bases, improved in halves.values() if bases and improved]
    of_rows = [
        [-math.inf if cell is None else cell[0] for cell in (row.clean, row.aa, row.mean, row.nrr)]
        for _, row in best
    ]
    for measure, means in zip(EMPHASISED, zip(*of_rows, strict=True), strict=False):
        for rivals in blocks.values():
            of_rivals = [means[at] for at in rivals]
            if len(of_rivals) - of_rivals.count(-math.inf) > 1:
                for at in compress(rivals, map(max(of_rivals).__eq__, of_rivals)):
                    marked[best[at][0], measure].add("bold")
        for bases, improved in pairs:
            with_rpat = max([means[at] for at in improved])
            for at in bases:
                if -math.inf < with_rpat <= means[at]:
                    marked[best[at][0], measure].add("underline")
    return dict(marked)


# --------------------------------------------------------------------------- pooling


def pooled(
    measurements: Iterable[Measurement],
) -> dict[tuple[str, str, str], list[Measurement]]:
    """Return the measurements of each row: by group, images and checkpoint."""
    pools: dict[tuple[str, str, str], list[Measurement]] = defaultdict(list)
    for item in measurements:
        pools[item.group, item.data, item.checkpoint].append(item)
    return pools


def row_of(
    pool: Sequence[Measurement],
    robust: str,
    variant: str = "",
    answers: Mapping[object, Published] = _NONE,
    pair: str = "",
) -> Row:
    """Average one group's runs; a seed that ran twice counts once, by its newest run."""
    newest = {m.seed: m for m in pool}
    again: list[str] = []
    if len(newest) < len(pool):
        by_seed = _by_seed(pool)
        newest = {seed: runs[-1] for seed, runs in by_seed.items()}
        again = _repeats(by_seed)
    kept = [newest[seed] for seed in sorted(newest)]
    cells = {name: cell(values) for name, values in _columns(kept, robust).items()}
    marks = dict.fromkeys([mark for m in kept for mark in m.marks])
    if short := again + _gaps(cells, len(kept)):
        marks |= dict.fromkeys(short)
    first = kept[0]
    paper = _paper(first, answers)
    values = {} if paper is None else printed(paper, first.checkpoint, robust)
    return Row(
        dataset=first.dataset,
        source=first.source,
        norm=first.norm,
        model=first.model,
        method=first.method,
        rpat=first.rpat,
        checkpoint=first.checkpoint,
        robust=robust,
        n=len(kept),
        clean=cells["clean"],
        pgd20=cells["pgd20"],
        aa=cells["aa"],
        mean=cells["mean"],
        nrr=cells["nrr"],
        variant=variant,
        group=first.group,
        data=first.data,
        marks=tuple(marks),
        runs=tuple([m.run for m in kept]),
        paper=paper,
        diff=None if paper is None else differences(values, cells),
        config=first.config,
        pair=pair,
    )


def _columns(kept: Sequence[Measurement], robust: str) -> dict[str, list[float | None]]:
    """Return each measure's values, one a run; Mean and NRR from its unrounded accuracies."""
    clean = [finite(m.clean) for m in kept]
    pgd20 = [finite(m.pgd20) for m in kept]
    aa = [finite(m.aa) for m in kept]
    both = [
        _NEITHER if c is None or r is None else mean_nrr(c, r)
        for c, r in zip(clean, aa if robust == "aa" else pgd20, strict=True)
    ]
    return {
        "clean": clean, "pgd20": pgd20, "aa": aa,
        "mean": [mean for mean, _ in both], "nrr": [nrr for _, nrr in both],
    }  # fmt: skip


_NEITHER = (None, None)


def by_measure(values: Values, robust: str) -> dict[str, dict[int, float]]:
    """Return what each seed of one row reached, by measure; Mean and NRR from both accuracies."""
    clean = {value[0]: value[1] for value in values if value[1] is not None}
    pgd20 = {value[0]: value[2] for value in values if value[2] is not None}
    aa = {value[0]: value[3] for value in values if value[3] is not None}
    other = aa if robust == "aa" else pgd20
    both = {seed: mean_nrr(c, other[seed]) for seed, c in clean.items() if seed in other}
    return {
        "clean": clean, "pgd20": pgd20, "aa": aa,
        "mean": {seed: pair[0] for seed, pair in both.items()},
        "nrr": {seed: pair[1] for seed, pair in both.items()},
    }  # fmt: skip


def by_newest(pool: Iterable[Measurement]) -> dict[int, Measurement]:
    """Return the run that counts for each seed of one group: its newest."""
    return {seed: runs[-1] for seed, runs in _by_seed(pool).items()}


def values_of(pool: Iterable[Measurement]) -> Values:
    """Return the values behind one row."""
    return [
        (seed, finite(m.clean), finite(m.pgd20), finite(m.aa))
        for seed, m in by_newest(pool).items()
    ]


def seeds_of(measurements: Iterable[Measurement]) -> Seeds:
    """Return the values behind the rows that measurements are pooled into."""
    return {key: values_of(pool) for key, pool in pooled(measurements).items()}


def seeds(pool: Iterable[Measurement], measure: str, robust: str = "aa") -> dict[int, float]:
    """Return what each seed of one group's runs reached: the values behind a cell."""
    newest = by_newest(pool)
    found = {seed: _value(item, measure, robust) for seed, item in newest.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _by_seed(pool: Iterable[Measurement]) -> dict[int, list[Measurement]]:
    """Return the runs of each seed, the newest last."""
    found: dict[int, list[Measurement]] = defaultdict(list)
    for item in sorted(pool, key=lambda m: (m.seed, len(m.run), m.run)):
        found[item.seed].append(item)
    return found


def _value(item: Measurement, measure: str, robust: str) -> float | None:
    """Return a seed's value; Mean and NRR come from its unrounded accuracies."""
    if measure in ("mean", "nrr"):
        clean, other = finite(item.clean), finite(getattr(item, robust))
        if clean is None or other is None:
            return None
        return mean_nrr(clean, other)[measure == "nrr"]
    return finite(getattr(item, measure))


def finite(value: float | None) -> float | None:
    """Return a number, and None for what is none."""
    return value if value is not None and math.isfinite(value) else None


def cell(values: Iterable[float | None]) -> Cell | None:
    """Return the mean and the sample deviation of what is known of some values."""
    known = sorted([value for value in values if value is not None])
    n = len(known)
    if n < 2:
        return Cell(known[0], None, 1) if known else None
    mean = math.fsum(known) / n
    if not known[0] <= mean <= known[-1]:
        mean = known[0] if mean < known[0] else known[-1]  # rounding stays inside
    squares = math.fsum([(value - mean) ** 2 for value in known])
    return Cell(mean, math.sqrt(squares / (n - 1)), n)


def _repeats(by_seed: Mapping[int, Sequence[Measurement]]) -> list[str]:
    return [
        f"seed {seed} ran {len(runs)} times: {runs[-1].run} counts"
        for seed, runs in by_seed.items()
        if len(runs) > 1
    ]


def _gaps(cells: Mapping[str, Cell | None], n: int) -> list[str]:
    if all(cell is None or cell.n == n for cell in cells.values()):
        return []
    short: dict[int, list[str]] = {}
    for measure, cell in cells.items():
        if cell and cell.n < n:
            short.setdefault(cell.n, []).append(_TITLES[measure])
    return [f"{', '.join(names)} from {k} of {n} seeds" for k, names in short.items()]


# --------------------------------------------------------------------------- the paper


def printed_rows() -> Sequence[Published]:
    """Return the rows of the paper's four tables."""
    from rpat import published  # most tables are without them

    return published.rows()


def answers_of(known: Iterable[Published]) -> dict[object, Published]:
    """Return the printed rows by what a row of ours must equal; the first of equals."""
    found: dict[object, Published] = {}
    for p in known:
        found.setdefault(_identity(p), p)
    return found


def _paper(ours: Measurement, answers: Mapping[object, Published]) -> Published | None:
    """Return the printed row for this checkpoint, where there is one."""
    return answer(question(ours), ours.checkpoint, answers) if answers else None


def answer(
    question: object, checkpoint: str, answers: Mapping[object, Published]
) -> Published | None:
    """Return the printed row that answers a `question`, where it prints that checkpoint."""
    found = answers.get(question)
    return found if found is not None and _values(found, checkpoint) else None


def differences(
    values: Mapping[str, float | None], cells: Mapping[str, Cell | None]
) -> dict[str, float]:
    """Return how far our means lie from printed numbers, where both are known."""
    return {
        measure: found.mean - value
        for measure, value in values.items()
        if value is not None and (found := cells[measure]) is not None
    }


def _holes(
    rows: Sequence[Row], known: Sequence[Published], robust: str, checkpoint: str
) -> list[Row]:
    answered = {question(row) for row in rows}
    return [
        Row(
            dataset=p.dataset,
            source="official",
            norm=p.norm,
            model=p.model,
            method=p.method,
            rpat=p.rpat,
            checkpoint=checkpoint,
            robust=robust,
            n=0,
            variant="cutmix" if p.cutmix else "",
            paper=p,
            diff={},
        )
        for p in known
        if _identity(p) not in answered and _values(p, checkpoint)
    ]


def _identity(p: Published) -> tuple[str, str, str, str, bool, bool]:
    return (p.dataset, p.norm, p.model, p.method, p.rpat, p.cutmix)


def question(row: Row | Measurement) -> object:
    """Return what a printed row must equal; only the real images answer to the paper."""
    if row.source not in REAL:
        return None
    return (row.dataset, row.norm, row.model, row.method, row.rpat, cutmix(row.config))


def _values(p: Published, checkpoint: str) -> list[float]:
    return [value for value in p.measures(checkpoint).values() if value is not None]


def cutmix(config: Mapping[str, object]) -> bool:
    """Return whether a config mixes images by CutMix."""
    return "cutmix" in str(config.get("data.augment", "")) or bool(config.get("data.cutmix"))
