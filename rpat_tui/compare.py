"""Statistics: runs become rows with means and spreads over seeds, beside the paper's numbers.

Only runs of one group (equal configs but for the seed) on the same data at the same checkpoint
are ever averaged. Nothing here formats or reads; see `rpat_tui.exports` and the store.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from rpat import published as paper_tables
from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat.published import Published
from rpat_tui.store.rows import Measurement
from rpat_tui.table import CHECKPOINTS, MEASURES, TOLERANCE, Cell, Row, Table
from rpat_tui.variants import but_for_rpat, reading_order, tell_apart

BASES = ("aa", "pgd20")
EMPHASISED = ("clean", "aa", "mean", "nrr")

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
    pools: dict[tuple[str, str, str], list[Measurement]] = defaultdict(list)
    for item in measurements:
        if checkpoint in ("", item.checkpoint):
            pools[item.group, item.data, item.checkpoint].append(item)
    rows = tell_apart([_pool(pool, robust) for pool in pools.values()])
    if paper:
        known = paper_tables.rows() if published is None else published
        rows = [_beside_paper(row, known) for row in rows]
        if holes:
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
    best = [(i, row) for i, row in enumerate(table.rows) if row.checkpoint == "best"]
    for measure in EMPHASISED:
        blocks: dict[tuple[str, ...], list[tuple[int, float]]] = defaultdict(list)
        partners: dict[object, list[float]] = defaultdict(list)
        for i, row in best:
            if cell := row.cell(measure):
                blocks[row.dataset, row.source, row.norm, row.model].append((i, cell.mean))
                if row.rpat:
                    partners[but_for_rpat(row)].append(cell.mean)
        for rivals in blocks.values():
            top = max(mean for _, mean in rivals)
            for i, mean in rivals:
                if mean == top and len(rivals) > 1:
                    marked[i, measure].add("bold")
        for i, row in best:
            cell, improved = row.cell(measure), partners.get(but_for_rpat(row))
            if cell and improved and not row.rpat and max(improved) <= cell.mean:
                marked[i, measure].add("underline")
    return dict(marked)


# --------------------------------------------------------------------------- pooling


def _pool(pool: Sequence[Measurement], robust: str) -> Row:
    """Average one group's runs; a seed that ran twice counts once, by its newest run."""
    by_seed = _by_seed(pool)
    kept = [runs[-1] for runs in by_seed.values()]
    cells = {name: cell([_value(m, name, robust) for m in kept]) for name in MEASURES}
    marks = dict.fromkeys(mark for m in kept for mark in m.marks)
    marks |= dict.fromkeys(_repeats(by_seed) + _gaps(cells, len(kept)))
    first = kept[0]
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
        group=first.group,
        data=first.data,
        marks=tuple(marks),
        runs=tuple(m.run for m in kept),
        config=first.config,
    )


def seeds(pool: Iterable[Measurement], measure: str, robust: str = "aa") -> dict[int, float]:
    """Return what each seed of one group's runs reached: the values behind a cell."""
    newest = {seed: runs[-1] for seed, runs in _by_seed(pool).items()}
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
        clean, other = _finite(item.clean), _finite(getattr(item, robust))
        if clean is None or other is None:
            return None
        return mean_nrr(clean, other)[measure == "nrr"]
    return _finite(getattr(item, measure))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def cell(values: Iterable[float | None]) -> Cell | None:
    """Return the mean and the sample deviation of what is known of some values."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = min(max(math.fsum(known) / len(known), min(known)), max(known))  # rounding stays inside
    if len(known) == 1:
        return Cell(mean, None, 1)
    squares = math.fsum((value - mean) ** 2 for value in known)
    return Cell(mean, math.sqrt(squares / (len(known) - 1)), len(known))


def _repeats(by_seed: Mapping[int, Sequence[Measurement]]) -> list[str]:
    return [
        f"seed {seed} ran {len(runs)} times: {runs[-1].run} counts"
        for seed, runs in by_seed.items()
        if len(runs) > 1
    ]


def _gaps(cells: Mapping[str, Cell | None], n: int) -> list[str]:
    short: dict[int, list[str]] = defaultdict(list)
    for measure, cell in cells.items():
        if cell and cell.n < n:
            short[cell.n].append(_TITLES[measure])
    return [f"{', '.join(names)} from {k} of {n} seeds" for k, names in short.items()]


# --------------------------------------------------------------------------- the paper


def _beside_paper(row: Row, known: Sequence[Published]) -> Row:
    """Attach the printed row, where there is one for this checkpoint, and the differences."""
    found = next((p for p in known if _identity(p) == _question(row)), None)
    if found is None or not _values(found, row.checkpoint):
        return row
    beside = replace(row, paper=found)
    diff = {}
    for measure, value in beside.printed().items():
        cell = row.cell(measure)
        if cell is not None and value is not None:
            diff[measure] = cell.mean - value
    return replace(beside, diff=diff)


def _holes(
    rows: Sequence[Row], known: Sequence[Published], robust: str, checkpoint: str
) -> list[Row]:
    answered = {_question(row) for row in rows}
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


def _question(row: Row) -> object:
    """Return what a printed row must equal; only the real images answer to the paper."""
    if row.source not in ("official", "image-folder"):
        return None
    return (row.dataset, row.norm, row.model, row.method, row.rpat, _cutmix(row.config))


def _values(p: Published, checkpoint: str) -> list[float]:
    return [value for value in p.measures(checkpoint).values() if value is not None]


def _cutmix(config: Mapping[str, object]) -> bool:
    return "cutmix" in str(config.get("data.augment", "")) or bool(config.get("data.cutmix"))
