"""Rows of tables, pooled once and kept: a table of 10,000 runs is read, not pooled again.

What is kept follows from each run's numbers (`store.measured`). Three lists say what is not up
to date: runs (`stale`), groups (`stale_pools`), and rows that look alike and are not told apart
yet (`unnamed`). `keep` works them off; until then `rows` works those out for itself, by the very
functions that `compare.summarise` is made of, and the outcome is the same.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rpat_tui import compare
from rpat_tui.compare import Seeds
from rpat_tui.store import measured, pooled, queries, stamps
from rpat_tui.store.db import hurried, snapshot, transaction
from rpat_tui.store.flat import lines_of
from rpat_tui.store.pooled import Look, Member, Pooled
from rpat_tui.store.rows import Measurement
from rpat_tui.table import CHECKPOINTS, Cell, Row, printed
from rpat_tui.variants import Key, digest, pair, place_of, places, variants

if TYPE_CHECKING:
    from rpat.published import Published

_cell: Callable[[tuple[Any, ...]], Cell] = partial(tuple.__new__, Cell)
"""A cell of three values, in half the time: there are thousands."""

MOST = 1000
"""Groups out of date from which on everything is worked out: that is no slower then."""


# ----------------------------------------------------------------- reading


@dataclass(slots=True)
class _Set:
    """Rows that look alike while they are read; `old` are kept ones that are out of date."""

    rows: list[tuple[int, int, str, str, Row, str]] = field(default_factory=list)
    """Place, place of the checkpoint, group, images, the row, digest of its config."""
    fresh: list[tuple[Row, str]] = field(default_factory=list)
    old: dict[tuple[str, Key], tuple[int, str, str, int]] = field(default_factory=dict)
    """By checkpoint and key: `rpat`, digest, variant, place."""
    named: bool = True


def rows(
    db: sqlite3.Connection,
    *,
    dataset: str = "",
    norm: str = "",
    model: str = "",
    method: str = "",
    checkpoint: str,
    select: str = "",
    robust: str = "aa",
    paper: bool = False,
    seeds: bool = False,
    stamp: bool = True,
) -> tuple[list[Row], Seeds] | None:
    """Return the rows of a table of everything that is asked for, in reading order.

    None where the outcome is not kept, or too little of it is up to date. Unless they were worked
    out just now, rows have their stamps and no config. `seeds` asks for the values behind the
    rows, `stamp` for stamps also where a rule `lex` chose, whose rows are not kept.
    """
    named = {"dataset": dataset, "norm": norm, "model": model, "method": method}
    filters = {column: value for column, value in named.items() if value}
    kinds = (checkpoint,) if checkpoint else CHECKPOINTS
    asked = {kind: measured.kept_as(kind, select) for kind in kinds}
    if not all(measured.keeps(db, name) for name in asked.values()):
        asked["best"] = ""
    if select.startswith("lex") and asked == {"best": ""}:
        return _of_lex(db, filters, select, robust, paper=paper, seeds=seeds, stamp=stamp)
    with snapshot(db):
        if not all(asked.values()) or not pooled.may_be_read(db):
            return None
        out = pooled.out_of_date(db)
        if len(out) > MOST:
            return None
        reading = _Reading(robust, compare.answers_of(compare.printed_rows()) if paper else {})
        for kind in kinds:
            chosen = measured.chosen(select) if kind == "best" else ""
            found = pooled.read(db, asked[kind], robust, filters, seeds=seeds)
            reading.take(found, kind, chosen, frozenset(out))
        if out:
            fresh = queries.measurements(
                db, dataset=dataset, norm=norm, model=model, method=method,
                checkpoint=checkpoint, select=select, groups=out,
            )  # fmt: skip
            if _mixed(fresh):
                return None
            reading.work_out(db, fresh)
        for _, look in pooled.unnamed(db, list(asked.values())):
            if look in reading.sets:
                reading.sets[look].named = False
        for look, some in reading.sets.items():
            _tell_apart(db, look, some, kinds)
    made = [
        entry[4]
        for look in sorted(reading.sets, key=place_of)
        for entry in sorted(reading.sets[look].rows, key=_ORDER)
    ]
    return made, reading.seeds


_ORDER = itemgetter(0, 1, 2, 3)


def everything(
    db: sqlite3.Connection,
    *,
    checkpoint: str,
    select: str = "",
    robust: str = "aa",
    paper: bool = False,
    seeds: bool = False,
    stamp: bool = True,
    **filters: str,
) -> tuple[list[Row], Seeds]:
    """Return what `rows` does; where too little is kept, every run is pooled again."""
    which: dict[str, Any] = {"checkpoint": checkpoint, "select": select, **filters}
    kept = rows(db, robust=robust, paper=paper, seeds=seeds, stamp=stamp, **which)
    if kept is not None:
        return kept
    found = queries.measurements(db, **which)
    made = compare.summarise(found, robust=robust, checkpoint=checkpoint, paper=paper)
    return list(made.rows), compare.seeds_of(found) if seeds else {}


def configured(db: sqlite3.Connection, rows: Sequence[Row]) -> list[Row]:
    """Return rows with their configs, which kept ones are read without."""
    found = pooled.configs(db, list({row.group for row in rows if not row.config}))
    return [row if row.config else row._replace(config=found[row.group]) for row in rows]


def _of_lex(
    db: sqlite3.Connection,
    filters: dict[str, Any],
    select: str,
    robust: str,
    *,
    paper: bool,
    seeds: bool,
    stamp: bool,
) -> tuple[list[Row], Seeds] | None:
    """Pool runs at the epochs that `lex` chooses, under the names of the rows of `pgd`.

    A tolerance may be anything, so its rows are not kept. But it chooses among the same runs as
    `pgd`: their rows are told apart by the same texts and stand in the same places, unless
    something of theirs is out of date.
    """
    asked = "pgd" + "@val" * select.endswith("@val")
    with snapshot(db):
        if not pooled.may_be_read(db):
            return None
        names = {known[:2]: known[2:] for known in pooled.names(db, asked, filters)}
        out = set(pooled.out_of_date(db))
        if not out.isdisjoint(group for group, _ in names):
            return None
        found = queries.measurements(db, checkpoint="best", select=select, configs=paper, **filters)
        late = {look for _, look in pooled.unnamed(db, [asked])}
    pools = {key[:2]: pool for key, pool in compare.pooled(found).items()}
    if pools.keys() != names.keys():
        return None
    answers = compare.answers_of(compare.printed_rows()) if paper else {}
    sets: dict[Look, list[tuple[int, str, str, Row]]] = {}
    for key, pool in pools.items():
        *look, place, variant, half, runs, sources = names[key]
        row = compare.row_of(pool, robust, variant, answers, half)
        if stamp and "\n".join(row.runs) == runs:
            row = row._replace(stamp=_stamp(row, sources.split("\n")))
        sets.setdefault(tuple(look), []).append((place, *key, row))
    if not late.isdisjoint(sets):
        return None
    made = [
        entry[3]
        for look in sorted(sets, key=place_of)
        for entry in sorted(sets[look], key=itemgetter(0, 1, 2))
    ]
    if not seeds:
        return made, {}
    return made, {(*key, "best"): compare.values_of(pool) for key, pool in pools.items()}


class _Reading:
    """Kept rows, and those that are worked out, as they come."""

    def __init__(self, robust: str, answers: Mapping[object, Published]) -> None:
        self.robust, self.answers = robust, answers
        self.sets: dict[Look, _Set] = {}
        self.seeds: dict[tuple[str, str, str], Any] = {}

    def take(self, found: Iterable[Any], kind: str, chosen: str, out: frozenset[str]) -> None:
        """Make rows of what is kept, but for the groups that are out of date."""
        rank = CHECKPOINTS.index(kind)
        remarks: dict[str, tuple[str, ...]] = {"": ()}
        printed_for: dict[object, tuple[Any, dict[str, float | None]]] = {}
        values: dict[tuple[str, str, str], str] = {}
        robust, sets, answers = self.robust, self.sets, self.answers
        for (
            group, data, dataset, source, norm, model, method, rpat, cutmix, half, config, n, runs,
            clean, clean_std, clean_n, pgd20, pgd20_std, pgd20_n, aa, aa_std, aa_n,
            mean, mean_std, mean_n, nrr, nrr_std, nrr_n, marks, stamp, variant, place, seeds,
        ) in found:  # fmt: skip
            look = (dataset, source, norm, model, method)
            some = sets.get(look)
            if some is None:
                some = sets[look] = _Set()
            if group in out:
                some.old[kind, (group, data)] = (rpat, config, variant, place)
                continue
            told = remarks.get(marks)
            if told is None:
                told = tuple(marks.replace(measured.CHOSEN, chosen).split("\n"))
                remarks[marks] = told
            cells = (
                None if clean is None else _cell((clean, clean_std, clean_n)),
                None if pgd20 is None else _cell((pgd20, pgd20_std, pgd20_n)),
                None if aa is None else _cell((aa, aa_std, aa_n)),
                None if mean is None else _cell((mean, mean_std, mean_n)),
                None if nrr is None else _cell((nrr, nrr_std, nrr_n)),
            )
            paper = diff = None
            if answers and source in compare.REAL:
                asks = (dataset, norm, model, method, rpat == 1, cutmix == 1)
                if asks not in printed_for:
                    answer = compare.answer(asks, kind, answers)
                    numbers = printed(answer, kind, robust) if answer else {}
                    printed_for[asks] = (answer, numbers)
                paper, numbers = printed_for[asks]
                if paper is not None:
                    diff = compare.differences(numbers, dict(zip(_CELLS, cells, strict=True)))
            row = Row(
                dataset, source, norm, model, method, rpat == 1, kind, robust, n, *cells, variant,
                group, data, told, tuple(runs.split("\n")), paper, diff, stamp=stamp, pair=half,
            )  # fmt: skip
            some.rows.append((place, rank, group, data, row, config))
            if seeds:
                values[group, data, kind] = seeds
        texts = ",".join(values.values())
        self.seeds |= zip(values, json.loads(f"[{texts}]"), strict=True)

    def work_out(self, db: sqlite3.Connection, found: Sequence[Measurement]) -> None:
        """Pool what is out of date."""
        pools = compare.pooled(found)
        made = [compare.row_of(pool, self.robust, "", self.answers) for pool in pools.values()]
        for row, pool in zip(stamped(db, made), pools.values(), strict=True):
            look = (row.dataset, row.source, row.norm, row.model, row.method)
            self.sets.setdefault(look, _Set()).fresh.append((row, digest(lines_of(row.config))))
            self.seeds[row.group, row.data, row.checkpoint] = compare.values_of(pool)


_CELLS = ("clean", "pgd20", "aa", "mean", "nrr")


def _tell_apart(db: sqlite3.Connection, look: Look, some: _Set, kinds: Sequence[str]) -> None:
    """Give rows that were worked out their texts and places, and the kept ones others if needed."""
    same = some.named
    if some.fresh or some.old:
        before = {(k, *key, old[0], old[1]) for (k, key), old in some.old.items()}
        after = {(r.checkpoint, r.group, r.data, int(r.rpat), d) for r, d in some.fresh}
        same = same and before == after
    if same and len(kinds) > 1:
        best, final = (
            {(r.group, r.data) for r in _members(some) if r.checkpoint == kind} for kind in kinds
        )
        same = best == final
    if same:
        for row, config in some.fresh:
            _, _, variant, place = some.old[row.checkpoint, (row.group, row.data)]
            some.rows.append(_entry(row._replace(variant=variant), place, config))
        return
    members = configured(db, _members(some))
    names = variants(members)
    ranks = places(((r.group, r.data), r.rpat, names[r.group, r.data]) for r in members)
    some.rows = [
        _entry(row._replace(variant=names[key]), ranks[key], "")
        for row in members
        for key in [(row.group, row.data)]
    ]


def _members(some: _Set) -> list[Row]:
    return [entry[4] for entry in some.rows] + [row for row, _ in some.fresh]


def _entry(row: Row, place: int, config: str) -> tuple[int, int, str, str, Row, str]:
    return (place, CHECKPOINTS.index(row.checkpoint), row.group, row.data, row, config)


# ----------------------------------------------------------------- keeping


def keep(db: sqlite3.Connection, *, until: float = float("inf")) -> bool:
    """Bring what tables report up to date: runs, rows, texts; False where something is left.

    `until` is a moment of the monotonic clock. Nobody waits for this: where the database is busy
    or the disk full, the lists stay as they are.
    """
    if not measured.keep(db, until=until):
        return False
    try:
        with hurried(db):
            while groups := pooled.stale(db):
                if time.monotonic() > until:
                    return False
                with transaction(db):
                    _pool(db, groups)
            known: dict[object, tuple[dict[Key, str], dict[Key, int]]] = {}
            for asked, look in pooled.unnamed(db):
                if time.monotonic() > until:
                    return False
                with transaction(db):
                    _name(db, asked, look, known)
    except sqlite3.OperationalError:
        return False
    return True


def _pool(db: sqlite3.Connection, groups: Sequence[str]) -> None:
    """Keep the rows of groups; the caller holds a transaction."""
    made: list[Pooled] = []
    all_of_them: list[Measurement] = []
    for asked, found in measured.by_every_rule(db, groups):
        all_of_them += found
        pools = compare.pooled(found)
        rows = [compare.row_of(pool, "aa") for pool in pools.values()]
        for pool, row, sources in zip(pools.values(), rows, _sources(db, rows), strict=True):
            made.append(_kept(asked, pool, row, compare.row_of(pool, "pgd20"), sources))
    mixed = _mixed(all_of_them)
    pooled.renew(db, groups, [row for row in made if row.group_key not in mixed], mixed)


def _mixed(found: Iterable[Measurement]) -> set[str]:
    """Return the groups whose runs belong into different places of a table.

    Equal configs do not; but the database is a file that anybody may have written to.
    """
    known: dict[str, tuple[object, ...]] = {}
    return {
        m.group
        for m in found
        for place in [(m.dataset, m.source, m.norm, m.model, m.method, m.rpat)]
        if known.setdefault(m.group, place) != place
    }


def _kept(
    asked: str, pool: Sequence[Measurement], aa: Row, pgd20: Row, sources: Sequence[str]
) -> Pooled:
    """Return a row on both bases as it is kept."""
    return Pooled._make([
        asked, aa.group, aa.data, aa.dataset, aa.source, aa.norm, aa.model, aa.method,
        int(aa.rpat), int(compare.cutmix(aa.config)), pair(aa.config), digest(lines_of(aa.config)),
        aa.n, "\n".join(aa.runs), "\n".join(sources),
        *_parts(aa.clean), *_parts(aa.pgd20), *_parts(aa.aa),
        *_parts(aa.mean), *_parts(aa.nrr), *_parts(pgd20.mean), *_parts(pgd20.nrr),
        "\n".join(aa.marks), "\n".join(pgd20.marks), _stamp(aa, sources), _stamp(pgd20, sources),
        json.dumps(compare.values_of(pool)), "", 0,
    ])  # fmt: skip


def _parts(cell: Cell | None) -> tuple[float | None, float | None, int | None]:
    return (None, None, None) if cell is None else cell


def _name(
    db: sqlite3.Connection,
    asked: str,
    look: Look,
    known: dict[object, tuple[dict[Key, str], dict[Key, int]]],
) -> None:
    """Tell rows that look alike apart; `known` are texts of those that stood together before."""
    members = pooled.alike(db, asked, look)
    together = (look, frozenset(member[:4] for member in members))
    if together not in known:
        known[together] = _names(db, look, members)
    names, ranks = known[together]
    told = [
        (names[key], ranks[key], *key)
        for m in members
        for key in [(m.group_key, m.data_key)]
        if (m.variant, m.place) != (names[key], ranks[key])
    ]
    pooled.name(db, asked, look, told)


def _names(
    db: sqlite3.Connection, look: Look, members: Sequence[Member]
) -> tuple[dict[Key, str], dict[Key, int]]:
    configs = pooled.configs(db, list({m.group_key for m in members}))
    dataset, source, norm, model, method = look
    told = [
        Measurement(
            "", 0, m.group_key, dataset, norm, model, method, m.rpat == 1, "best", source,
            m.data_key, config=configs[m.group_key],
        )
        for m in members
    ]  # fmt: skip
    names = variants(told)
    return names, places(((m.group, m.data), m.rpat, names[m.group, m.data]) for m in told)


# ----------------------------------------------------------------- where it comes from


def stamped(db: sqlite3.Connection | None, rows: Sequence[Row]) -> list[Row]:
    """Give each row a digest of its runs' uids, their measured weights, and the values."""
    told = zip(rows, _sources(db, rows), strict=True)
    return [row._replace(stamp=_stamp(row, sources)) for row, sources in told]


def _sources(db: sqlite3.Connection | None, rows: Sequence[Row]) -> list[list[str]]:
    """Return for each row what each of its runs was measured on."""
    ids = list(dict.fromkeys([run for row in rows for run in row.runs]))
    kinds = list(dict.fromkeys([row.checkpoint for row in rows]))
    known = stamps.sources(db, ids, kinds) if db is not None and ids else {}
    return [[known.get((run, row.checkpoint), run) for run in row.runs] for row in rows]


def _stamp(row: Row, sources: Sequence[str]) -> str:
    cells = zip(_CELLS, row.cells, strict=True)
    return stamps.of(sources, [(measure, *cell) for measure, cell in cells if cell])
