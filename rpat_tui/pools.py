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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import compress, repeat
from operator import add, itemgetter, not_
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rpat_tui import compare
from rpat_tui.compare import Seeds
from rpat_tui.store import measured, pooled, queries, stamps
from rpat_tui.store.db import hurried, snapshot, transaction
from rpat_tui.store.flat import lines_of
from rpat_tui.store.pooled import Look, Member, Pooled
from rpat_tui.store.rows import Measurement
from rpat_tui.table import CHECKPOINTS, MEASURES, Cell, Row, printed
from rpat_tui.variants import Key, digest, pair, place_of, places, variants

if TYPE_CHECKING:
    from rpat.published import Published

_cell: Callable[[tuple[Any, ...]], Cell] = partial(tuple.__new__, Cell)
_row: Callable[[tuple[Any, ...]], Row] = partial(tuple.__new__, Row)
"""Made of all their values, in a fraction of the time: there are thousands."""

MOST = 1000
"""Groups out of date from which on everything is worked out: that is no slower then."""


_AT_ONCE = 250
"""Rows that are read at once: columns are quicker to make than rows, while they are not long."""


# ----------------------------------------------------------------- reading


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
            reading.take(found, kind, chosen, frozenset(out), seeds=seeds)
        if out:
            fresh = queries.measurements(
                db, dataset=dataset, norm=norm, model=model, method=method,
                checkpoint=checkpoint, select=select, groups=out,
            )  # fmt: skip
            if _mixed(fresh):
                return None
            reading.work_out(db, fresh)
        late = {look for _, look in pooled.unnamed(db, list(asked.values()))}
        return reading.in_order(db, late), reading.seeds


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


class _Kept(NamedTuple):
    """Rows of one checkpoint as they are kept, in the order of their keys."""

    looks: list[Look]
    places: list[int]
    keys: list[Key]
    rows: list[Row]

    def only(self, chosen: Sequence[bool]) -> _Kept:
        """Return some of the rows."""
        return _Kept(
            list(compress(self.looks, chosen)),
            list(compress(self.places, chosen)),
            list(compress(self.keys, chosen)),
            list(compress(self.rows, chosen)),
        )


class _Set:
    """Rows that look alike of which some are not as they are kept."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, Row]] = []
        """Place and row."""
        self.fresh: list[tuple[Row, str]] = []
        """Rows that were worked out, each with the digest of its config."""
        self.old: dict[tuple[str, Key], tuple[int, str, str, int]] = {}
        """Kept rows out of date, by checkpoint and key: `rpat`, digest, variant, place."""


class _Reading:
    """Kept rows, a column at a time, and those that are worked out."""

    def __init__(self, robust: str, answers: Mapping[object, Published]) -> None:
        self.robust, self.answers = robust, answers
        self.kept: dict[str, _Kept] = {}
        self.sets: dict[Look, _Set] = {}
        """What has to be looked at row by row."""
        self.seeds: dict[tuple[str, str, str], Any] = {}

    def take(
        self, found: sqlite3.Cursor, kind: str, chosen: str, out: Collection[str], *, seeds: bool
    ) -> None:
        """Make rows of what is kept, but for the groups that are out of date."""
        self.kept[kind] = _Kept([], [], [], [])
        while rows := found.fetchmany(_AT_ONCE):
            if out:
                for row in map(pooled.Read._make, rows):
                    if row.group in out:
                        old = (row.rpat, row.config, row.variant, row.place)
                        self._set(row[2:7]).old[kind, (row.group, row.data)] = old
                rows = [row for row in rows if row[0] not in out]
            if rows:
                self._take(pooled.Read._make(zip(*rows, strict=True)), kind, chosen, seeds=seeds)

    def _take(self, of: pooled.Read, kind: str, chosen: str, *, seeds: bool) -> None:
        """Make rows of columns."""
        marks = {
            text: tuple(text.replace(measured.CHOSEN, chosen).split("\n")) if text else ()
            for text in set(of.marks)
        }
        cells = {
            "clean": _cells(of.clean, of.clean_std, of.clean_n),
            "pgd20": _cells(of.pgd20, of.pgd20_std, of.pgd20_n),
            "aa": _cells(of.aa, of.aa_std, of.aa_n),
            "mean": _cells(of.mean, of.mean_std, of.mean_n),
            "nrr": _cells(of.nrr, of.nrr_std, of.nrr_n),
        }
        columns: dict[str, Iterable[object]] = {
            "dataset": of.dataset, "source": of.source, "norm": of.norm, "model": of.model,
            "method": of.method, "rpat": [rpat == 1 for rpat in of.rpat],
            "checkpoint": repeat(kind), "robust": repeat(self.robust), "n": of.n, **cells,
            "variant": of.variant, "group": of.group, "data": of.data,
            "marks": map(marks.__getitem__, of.marks),
            "runs": [tuple(runs.split("\n")) for runs in of.runs],
            "stamp": of.stamp, "pair": of.pair,
        }  # fmt: skip
        if self.answers:
            columns["paper"], columns["diff"] = self._beside(of, kind, cells)
        usual = Row._field_defaults
        every = [columns[f] if f in columns else repeat(usual[f]) for f in Row._fields]
        kept = self.kept[kind]
        kept.looks.extend(zip(of.dataset, of.source, of.norm, of.model, of.method, strict=True))
        kept.places.extend(of.place)
        kept.keys.extend(zip(of.group, of.data, strict=True))
        kept.rows.extend(map(_row, zip(*every, strict=False)))
        if seeds:
            named = zip(of.group, of.data, repeat(kind), strict=False)
            values = json.loads(f"[{','.join(of.seeds)}]")
            self.seeds |= zip(named, values, strict=True)

    def _beside(
        self, of: pooled.Read, kind: str, cells: Mapping[str, Sequence[Cell | None]]
    ) -> tuple[list[Published | None], list[Mapping[str, float] | None]]:
        """Return the printed row of each of ours, and the differences from it."""
        known: dict[object, tuple[Published | None, dict[str, float | None]]] = {}
        papers: list[Published | None] = []
        diffs: list[Mapping[str, float] | None] = []
        asks = zip(of.dataset, of.norm, of.model, of.method, of.rpat, of.cutmix, strict=True)
        for source, ask, *own in zip(of.source, asks, *cells.values(), strict=True):
            if (source, ask) not in known:
                question = (*ask[:4], ask[4] == 1, ask[5] == 1)
                real = source in compare.REAL
                paper = compare.answer(question, kind, self.answers) if real else None
                values = {} if paper is None else printed(paper, kind, self.robust)
                known[source, ask] = paper, values
            paper, values = known[source, ask]
            papers.append(paper)
            there = dict(zip(cells, own, strict=True))
            diffs.append(None if paper is None else compare.differences(values, there))
        return papers, diffs

    def work_out(self, db: sqlite3.Connection, found: Sequence[Measurement]) -> None:
        """Pool what is out of date."""
        pools = compare.pooled(found)
        made = [compare.row_of(pool, self.robust, "", self.answers) for pool in pools.values()]
        for row, pool in zip(stamped(db, made), pools.values(), strict=True):
            self._set(row[:5]).fresh.append((row, digest(lines_of(row.config))))
            self.seeds[row.group, row.data, row.checkpoint] = compare.values_of(pool)

    def in_order(self, db: sqlite3.Connection, late: Collection[Look]) -> list[Row]:
        """Return all rows in reading order.

        Those that look like what is out of date, or are on the list `late`, or of which some have
        but one of two checkpoints, are told apart anew where that may change their texts.
        """
        kinds = list(self.kept)
        apart = self.sets.keys() | (set(late) if late else set()) | self._uneven()
        looks: list[Look] = []
        ranks: list[int] = []
        rows: list[Row] = []
        for kept in self.kept.values():
            some = kept
            if apart:
                theirs = [look in apart for look in kept.looks]
                for look, place, _, row in zip(*kept.only(theirs), strict=True):
                    self._set(look).rows.append((place, row))
                some = kept.only(list(map(not_, theirs)))
            looks += some.looks
            ranks += some.places
            rows += some.rows
        for look, of in self.sets.items():
            told = _tell_apart(db, of, kinds, named=look not in late)
            told.sort(key=lambda entry: (kinds.index(entry[1].checkpoint), *entry[1][15:17]))
            looks += [look] * len(told)
            ranks += [place for place, _ in told]
            rows += [row for _, row in told]
        span = max(ranks, default=0) + 1
        first = {look: i * span for i, look in enumerate(sorted(set(looks), key=place_of))}
        order = list(map(add, map(first.__getitem__, looks), ranks))
        return [rows[i] for i in sorted(range(len(rows)), key=order.__getitem__)]

    def _uneven(self) -> set[Look]:
        """Return the looks of rows of which some have but one of two checkpoints."""
        if len(self.kept) < 2:
            return set()
        best, final = self.kept.values()
        if best.keys == final.keys:
            return set()
        one, other = (set(zip(kept.looks, kept.keys, strict=True)) for kept in (best, final))
        return {look for look, _ in one ^ other}

    def _set(self, look: tuple[Any, ...]) -> _Set:
        return self.sets.setdefault(cast(Look, look), _Set())


def _cells(
    means: Sequence[Any], stds: Sequence[Any], counts: Sequence[Any]
) -> Sequence[Cell | None]:
    cells = map(_cell, zip(means, stds, counts, strict=True))
    if None not in means:
        return list(cells)
    return [None if cell[0] is None else cell for cell in cells]


def _tell_apart(
    db: sqlite3.Connection, some: _Set, kinds: Sequence[str], *, named: bool
) -> list[tuple[int, Row]]:
    """Return rows that look alike, with their places.

    Those that were worked out get texts that tell them apart, and the kept ones others if needed;
    `named` says that those which the kept ones have count.
    """
    same = named
    if some.fresh or some.old:
        before = {(k, *key, old[0], old[1]) for (k, key), old in some.old.items()}
        after = {(r.checkpoint, r.group, r.data, int(r.rpat), d) for r, d in some.fresh}
        same = same and before == after
    members = [row for _, row in some.rows] + [row for row, _ in some.fresh]
    if same and len(kinds) > 1:
        best, final = (
            {(r.group, r.data) for r in members if r.checkpoint == kind} for kind in kinds
        )
        same = best == final
    if same:
        told = [(row, some.old[row.checkpoint, (row.group, row.data)]) for row, _ in some.fresh]
        return some.rows + [
            (place, row._replace(variant=variant)) for row, (_, _, variant, place) in told
        ]
    members = configured(db, members)
    names = variants(members)
    ranks = places(((r.group, r.data), r.rpat, names[r.group, r.data]) for r in members)
    return [
        (ranks[key], row._replace(variant=names[key]))
        for row in members
        for key in [(row.group, row.data)]
    ]


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
    cells = zip(MEASURES, row.cells, strict=True)
    return stamps.of(sources, [(measure, *cell) for measure, cell in cells if cell])
