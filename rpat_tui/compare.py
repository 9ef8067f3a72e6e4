"""Statistics: runs become rows with means and spreads over seeds, beside the paper's numbers.

Only runs of one group (equal configs but for the seed) on the same data at the same checkpoint
are ever averaged. Nothing here formats or reads; see `rpat_tui.exports` and the store.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from rpat import published as paper_tables
from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat.published import Published
from rpat_tui.store.rows import Measurement
from rpat_tui.table import CHECKPOINTS, TOLERANCE, Cell, Row, Table, printed
from rpat_tui.variants import but_for_rpat, reading_order, variants

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
    known: Sequence[Published] = published or ()
    if paper and published is None:
        known = paper_tables.rows()
    answers = _by_identity(known) if paper else {}
    names = variants(pool[0] for pool in pools.values())
    rows = [
        _pool(pool, robust, names[group, data], answers) for (group, data, _), pool in pools.items()
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
    best = [(i, row) for i, row in enumerate(table.rows) if row.checkpoint == "best"]
    blocks: dict[tuple[str, ...], list[tuple[int, Row]]] = defaultdict(list)
    pairs: dict[object, tuple[list[tuple[int, Row]], list[Row]]] = defaultdict(lambda: ([], []))
    for i, row in best:
        blocks[row.dataset, row.source, row.norm, row.model].append((i, row))
        bases, improved = pairs[but_for_rpat(row)]
        if row.rpat:
            improved.append(row)
        else:
            bases.append((i, row))
    for measure in EMPHASISED:
        for rivals in blocks.values():
            values = [(cell.mean, i) for i, row in rivals if (cell := row.cell(measure))]
            top = max(values, default=(0.0, 0))[0]
            for mean, i in values:
                if mean == top and len(values) > 1:
                    marked[i, measure].add("bold")
        for bases, improved in pairs.values():
            with_rpat = [cell.mean for row in improved if (cell := row.cell(measure))]
            for i, row in bases if with_rpat else ():
                if (cell := row.cell(measure)) and max(with_rpat) <= cell.mean:
                    marked[i, measure].add("underline")
    return dict(marked)


# --------------------------------------------------------------------------- pooling


def _pool(
    pool: Sequence[Measurement],
    robust: str,
    variant: str,
    answers: Mapping[object, Published],
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
        diff=None if paper is None else _differences(paper, first.checkpoint, robust, cells),
        config=first.config,
    )


def _columns(kept: Sequence[Measurement], robust: str) -> dict[str, list[float | None]]:
    """Return each measure's values, one a run; Mean and NRR from its unrounded accuracies."""
    clean = [_finite(m.clean) for m in kept]
    pgd20 = [_finite(m.pgd20) for m in kept]
    aa = [_finite(m.aa) for m in kept]
    both = [
        _NEITHER if c is None or r is None else mean_nrr(c, r)
        for c, r in zip(clean, aa if robust == "aa" else pgd20, strict=True)
    ]
    return {
        "clean": clean, "pgd20": pgd20, "aa": aa,
        "mean": [mean for mean, _ in both], "nrr": [nrr for _, nrr in both],
    }  # fmt: skip


_NEITHER = (None, None)


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


def _by_identity(known: Iterable[Published]) -> dict[object, Published]:
    """Return the printed rows by what a row of ours must equal; the first of equals."""
    found: dict[object, Published] = {}
    for p in known:
        found.setdefault(_identity(p), p)
    return found


def _paper(ours: Measurement, answers: Mapping[object, Published]) -> Published | None:
    """Return the printed row for this checkpoint, where there is one."""
    found = answers.get(_question(ours)) if answers else None
    return found if found is not None and _values(found, ours.checkpoint) else None


def _differences(
    paper: Published, checkpoint: str, robust: str, cells: Mapping[str, Cell | None]
) -> dict[str, float]:
    """Return how far our means lie from the printed numbers, where both are known."""
    return {
        measure: found.mean - value
        for measure, value in printed(paper, checkpoint, robust).items()
        if (found := cells[measure]) is not None and value is not None
    }


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


def _question(row: Row | Measurement) -> object:
    """Return what a printed row must equal; only the real images answer to the paper."""
    if row.source not in ("official", "image-folder"):
        return None
    return (row.dataset, row.norm, row.model, row.method, row.rpat, _cutmix(row.config))


def _values(p: Published, checkpoint: str) -> list[float]:
    return [value for value in p.measures(checkpoint).values() if value is not None]


def _cutmix(config: Mapping[str, object]) -> bool:
    return "cutmix" in str(config.get("data.augment", "")) or bool(config.get("data.cutmix"))
