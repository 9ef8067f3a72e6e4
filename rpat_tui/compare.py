"""Statistics: runs become rows with means and spreads over seeds, beside the paper's numbers.

Only runs of one group (equal configs but for the seed) on the same data at the same checkpoint
are ever averaged. Nothing here formats or reads; see `rpat_tui.exports` and the store.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rpat import published as paper_tables
from rpat.config import DATASETS, METHODS, MODELS, NORMS
from rpat.errors import ConfigError
from rpat.knobs import show, unknown
from rpat.published import Published
from rpat_tui.store.rows import Measurement

MEASURES = ("clean", "pgd20", "aa", "mean", "nrr")
BASES = ("aa", "pgd20")
CHECKPOINTS = ("best", "final")
EMPHASISED = ("clean", "aa", "mean", "nrr")
TOLERANCE = 0.5
"""Percent points within which a number counts as the paper's."""

_TITLES = {"clean": "clean", "pgd20": "PGD-20", "aa": "AA", "mean": "Mean", "nrr": "NRR"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A mean over `n` seeds and its sample standard deviation; one seed has no spread."""

    mean: float
    std: float | None = None
    n: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One experiment at one checkpoint, pooled over its seeds.

    `n` counts seeds; a cell that fewer of them fill has its own `n`. `variant` tells rows apart
    that would look alike. A row with `n` 0 is printed in the paper and has no run here.
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
    config: Mapping[str, object] = field(default_factory=dict)

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
        values = self.paper.measures(self.checkpoint)
        return values if self.robust == "aa" else values | {"mean": None, "nrr": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows in reading order, the robust basis of Mean and NRR, and what was asked for."""

    rows: tuple[Row, ...] = ()
    robust: str = "aa"
    checkpoint: str = ""
    paper: bool = False
    title: str = ""


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
    rows = _tell_apart([_pool(pool, robust) for pool in pools.values()])
    if paper:
        known = paper_tables.rows() if published is None else published
        rows = [_beside_paper(row, known) for row in rows]
        if holes:
            rows += _holes(rows, known, robust, checkpoint or "best")
    rows.sort(key=_order)
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
                    partners[_but_for_rpat(row)].append(cell.mean)
        for rivals in blocks.values():
            top = max(mean for _, mean in rivals)
            for i, mean in rivals:
                if mean == top and len(rivals) > 1:
                    marked[i, measure].add("bold")
        for i, row in best:
            cell, improved = row.cell(measure), partners.get(_but_for_rpat(row))
            if cell and improved and not row.rpat and max(improved) <= cell.mean:
                marked[i, measure].add("underline")
    return dict(marked)


# --------------------------------------------------------------------------- pooling


def _pool(pool: Sequence[Measurement], robust: str) -> Row:
    """Average one group's runs; a seed that ran twice counts once, by its newest run."""
    by_seed: dict[int, list[Measurement]] = defaultdict(list)
    for item in sorted(pool, key=lambda m: (m.seed, len(m.run), m.run)):
        by_seed[item.seed].append(item)
    kept = [runs[-1] for runs in by_seed.values()]
    cells = {name: _cell([_value(m, name, robust) for m in kept]) for name in MEASURES}
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


def _cell(values: Iterable[float | None]) -> Cell | None:
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


# --------------------------------------------------------------------------- variants, order


def _tell_apart(rows: Sequence[Row]) -> list[Row]:
    """Give rows that would look alike a text naming the keys in which they differ.

    A base and its RPAT counterpart are told apart too where more than RPAT differs. The
    checkpoint does not count: best and final of one group carry the same text.
    """
    alike: dict[tuple[object, ...], dict[tuple[str, str], Row]] = defaultdict(dict)
    for row in rows:
        alike[_looks(row)[:-1]].setdefault((row.group, row.data), row)
    named: dict[tuple[str, str], str] = {}
    for members in alike.values():
        named |= dict(zip(members, _variants(list(members.values())), strict=True))
    return [replace(row, variant=named[row.group, row.data]) for row in rows]


def _looks(row: Row) -> tuple[object, ...]:
    return (row.dataset, row.source, row.norm, row.model, row.method, row.rpat)


def _variants(rows: Sequence[Row]) -> list[str]:
    """Return each row's text; '' where nothing but RPAT and the numbers differ."""
    halves = {half: [row for row in rows if row.rpat is half] for half in (False, True)}
    shared = {key for key in _differing(rows) if not _is_rpat(key)}
    keys = {half: sorted(shared | _differing(members)) for half, members in halves.items()}
    names = _short(sorted({*keys[False], *keys[True]}))
    texts = {
        (row.group, row.data): [f"{names[key]} {_said(row.config, key)}" for key in keys[row.rpat]]
        for row in rows
    }
    if len({row.data for row in rows}) > 1:
        for row in rows:
            texts[row.group, row.data].append(f"data {row.data[:6] or 'unknown'}")
    for members in halves.values():
        said = [", ".join(texts[row.group, row.data]) for row in members]
        if len(set(said)) < len(said):
            for row in members:
                texts[row.group, row.data].append(f"group {row.group[:6]}")
    return [", ".join(texts[row.group, row.data]) for row in rows]


def _differing(rows: Sequence[Row]) -> set[str]:
    if len(rows) < 2:
        return set()
    first, *others = (row.config for row in rows)
    keys = {key for config in (first, *others) for key in config}
    return {key for key in keys if any(c.get(key) != first.get(key) for c in others)}


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Leave the section out where the bare key names only one of the keys."""
    bare = [key.rpartition(".")[2] for key in keys]
    return {k: b if bare.count(b) == 1 else k for k, b in zip(keys, bare, strict=True)}


def _is_rpat(key: str) -> bool:
    return key == "wrappers" or key.startswith("rpat.")


def _said(config: Mapping[str, object], key: str) -> str:
    """Return a value as people read it; an absent key has the value that older runs had."""
    value = config.get(key, "default")
    return show(tuple(value) if isinstance(value, list) else value) or "none"


def _order(row: Row) -> tuple[object, ...]:
    return (
        _rank(row.dataset, DATASETS),
        _rank(row.norm, NORMS),
        _rank(row.model, MODELS),
        _rank(row.source, ("official", "embedded", "image-folder")),
        _rank(row.method, METHODS),
        row.rpat,
        _natural(row.variant),
        _rank(row.checkpoint, CHECKPOINTS),
        row.group,
        row.data,
    )


def _rank(name: str, known: Iterable[str]) -> tuple[int, str]:
    listed = list(known)
    return (listed.index(name) if name in listed else len(listed), name)


def _natural(text: str) -> list[tuple[int, float, str]]:
    """Sort `epochs 2` before `epochs 110`."""
    parts = text.replace(",", " ").split()
    return [(0, float(p), "") if p.isdecimal() else (1, 0.0, p) for p in parts]


def _but_for_rpat(row: Row) -> object:
    config = {key: _said(row.config, key) for key in row.config if not _is_rpat(key)}
    return (*_looks(row)[:-1], row.data, tuple(sorted(config.items())))


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
