"""The list of runs, read a window at a time: which lines there are in order, and a few whole.

A line is a run, or a group of runs that differ only in the seed, folded into one. Its key is the
run's number; a group's is the smallest number among its runs, negative. The order of all lines is
one narrow query; only the lines that are looked at are read whole. A reader belongs to one thread.
"""

from __future__ import annotations

import math
import sqlite3
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import spans
from rpat_tui.store.filters import compile_filter
from rpat_tui.store.rows import Line, Stat

LIFE = (
    "running", "starting", "pausing", "lost", "failed", "paused", "queued", "stopped", "done",
)  # fmt: skip
"""States, those that want attention first; a group is in the first of its runs' states."""

_PACE = "(coalesce(s.epoch_s, 0) + coalesce(s.eval_s, 0))"
_DONE = "(case when r.steps > 0 then r.step * 1.0 / r.steps * r.epochs else r.epoch end)"
METRICS = {
    "clean": "s.clean",
    "pgd": "s.pgd",
    "best_pgd": "s.best_pgd",
    "nrr": "case when s.clean + s.pgd = 0 then 0.0 "
    "else 2.0 * s.clean * s.pgd / (s.clean + s.pgd) end",
    "mean": "(s.clean + s.pgd) / 2.0",
    "logit_mse": "s.logit_mse",
    "loss": "s.loss",
    "left": f"case when r.state <> 'running' then null when r.kind <> 'train' "
    f"then (r.steps - r.step) / nullif(s.passes_s, 0) when {_PACE} > 0 "
    f"then max(r.epochs - max({_DONE}, r.epoch), 0) * {_PACE} end",
}
"""Numbers of a run from the last values of its metrics; `left` is in seconds."""

_STATE = "case r.state " + " ".join(f"when '{s}' then {i}" for i, s in enumerate(LIFE)) + " end"
_SORTS = {
    "id": ("r.n", "edge"),
    "state": (_STATE, "min({})"),
    "method": ("r.method || case when r.rpat then '+rpat' else '' end", "min({})"),
    "lam": ("r.lam", "min({})"),
    "dataset": ("r.dataset", "min({})"),
    "source": ("r.source", "min({})"),
    "norm": ("r.norm", "min({})"),
    "model": ("r.model", "min({})"),
    "seed": ("r.seed", "min({})"),
    "epoch": ("nullif(r.epoch, 0)", "nullif(min(coalesce({}, 0)), 0)"),
    "priority": ("r.priority", "max({})"),
    "created": ("r.created", "edge"),
    "started": ("r.started", "edge"),
    "ended": ("r.ended", "edge"),
    "name": ("nullif(lower(r.name), '')", "min({})"),
    "sweep": ("nullif(lower(r.sweep), '')", "min({})"),
    "note": ("nullif(lower(r.note), '')", "min({})"),
    "tags": ("(select min(lower(tag)) from tags t where t.run = r.n)", "min({})"),
    **{name: (sql, "max({})" if name == "left" else "avg({})") for name, sql in METRICS.items()},
}
"""What each column sorts by, and how a group sums it up; `edge` is the end that comes first."""

SORTS = tuple(_SORTS)

_FROM = """
from runs r left join standings s on s.run = r.n
left join (select run, clean as value from standings) c on c.run = r.n
left join (select run, pgd as value, best_pgd as max_value, best_epoch as max_epoch
    from standings) p on p.run = r.n
"""
_WHOLE = (
    "select r.n, r.id, r.kind, r.state, r.reason, r.archived, r.name, r.note, r.sweep, r.method, "
    "r.rpat, r.lam, r.dataset, r.source, r.norm, r.model, r.seed, r.epoch, r.epochs, r.step, "
    "r.steps, r.stage, r.slot, r.priority, r.created, r.started, r.ended, r.group_key, r.data_key, "
    "(select u.id from runs u where u.uid = r.parent) as parent, "
    "(select group_concat(tag, ' ') from (select tag from tags t where t.run = r.n order by tag)) "
    "as tags, s.best_epoch, "
    + ", ".join(f"{sql} as {name}" for name, sql in METRICS.items())
    + f" {_FROM} where r.n in "
)
_CACHE_KB = 32_768
_CALM = 20
"""The order of a list that changes all the time is read for at most 1/20 of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which runs, in which order; `unfolded` are the groups whose runs follow their own line."""

    where: str = ""
    sort: str = "id"
    descending: bool = True
    group_seeds: bool = False
    archived: bool = False
    kind: str = "train"
    unfolded: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.sort not in _SORTS:
            raise ConfigError(f"sort: {unknown(self.sort, _SORTS)}")


@dataclass(frozen=True, slots=True)
class Totals:
    """Runs that match, and runs of this kind that there are."""

    shown: int
    all: int


def order(db: sqlite3.Connection, query: Query) -> list[int]:
    """Return the keys of all lines, in order: what is missing comes last, then by number."""
    expression, way = _SORTS[query.sort]
    direction = "desc" if query.descending else "asc"
    condition, values = _condition(query)
    if not query.group_seeds:
        rows = db.execute(
            f"select n from (select r.n, {expression} as k {_FROM} where {condition}) "
            f"order by k is null, k {direction}, n",
            values,
        )
        return [n for (n,) in rows]
    if way == "edge":
        way = "max({})" if query.descending else "min({})"
    matched = f"select r.n, r.group_key g, r.data_key d, {expression} k {_FROM} where {condition}"
    groups = (
        f"select g, d, min(n) first, count(*) size, {way.format('k')} k from matched group by g, d"
    )
    lines = "select case when size > 1 then -first else first end line, k, first, 0 deep, k own, "
    lines += "first n from groups"
    if query.unfolded:
        lines += (
            " union all select m.n, o.k, o.first, 1, m.k, m.n from groups o "
            "join matched m on m.g = o.g and m.d = o.d where o.size > 1 and (o.g, o.d) in (values "
            + ", ".join("(?, ?)" for _ in query.unfolded)
            + ")"
        )
        values = [*values, *(part for group in sorted(query.unfolded) for part in group)]
    rows = db.execute(
        f"with matched as ({matched}), groups as ({groups}) select line from ({lines}) "
        f"order by k is null, k {direction}, first, deep, own is null, own {direction}, n",
        values,
    )
    return [line for (line,) in rows]


def count(db: sqlite3.Connection, query: Query) -> int:
    """Return how many lines there are."""
    return len(order(db, query))


def window(db: sqlite3.Connection, query: Query, offset: int, limit: int) -> list[Line]:
    """Return some lines whole."""
    return lines(db, query, order(db, query)[offset : offset + limit])


def position(db: sqlite3.Connection, query: Query, key: int) -> int | None:
    """Return where a line stands now: a run's own, else that of the group which folds it."""
    return _find(db, query, order(db, query), key)


def totals(db: sqlite3.Connection, query: Query) -> Totals:
    """Return how many runs match, and how many there are."""
    condition, values = _condition(query)
    shown = db.execute(f"select count(*) {_FROM} where {condition}", values).fetchone()[0]
    every = "" if query.archived else "and archived = 0"
    found = db.execute(f"select count(*) from runs where kind = ? {every}", [query.kind])
    return Totals(shown, found.fetchone()[0])


def numbers(db: sqlite3.Connection, query: Query) -> list[int]:
    """Return the numbers of the runs that match, in the order of the list without groups."""
    flat = Query(
        where=query.where, sort=query.sort, descending=query.descending,
        archived=query.archived, kind=query.kind,
    )  # fmt: skip
    return order(db, flat)


def lines(db: sqlite3.Connection, query: Query, keys: Sequence[int]) -> list[Line]:
    """Return the lines of keys whole, without those that have gone."""
    runs = [key for key in keys if key > 0]
    folded = [-key for key in keys if key < 0]
    members = _members(db, query, folded)
    whole = {row["n"]: row for row in _whole(db, [*runs, *(n for ns in members for n in ns)])}
    inside = _inside(db, query, [whole[n] for n in runs if n in whole])
    made = {n: _run(whole[n], inside=n in inside) for n in runs if n in whole}
    for first, ns in zip(folded, members, strict=True):
        if rows := [whole[n] for n in ns if n in whole]:
            made[-first] = _group(rows, query)
    return [made[key] for key in keys if key in made]


def _condition(query: Query) -> tuple[str, list[Any]]:
    clause, values = compile_filter(query.where)
    archived = query.archived or "archived" in query.where
    return f"r.kind = ? and ({clause})" + ("" if archived else " and r.archived = 0"), [
        query.kind,
        *values,
    ]


def _find(db: sqlite3.Connection, query: Query, keys: Sequence[int], key: int) -> int | None:
    candidates = [key, abs(key)]
    if query.group_seeds and key not in keys:
        members = _members(db, query, [abs(key)])[0]
        if key < 0 or key in members:
            candidates = [-n for n in members[:1]] + members[:1]
    return next((keys.index(wanted) for wanted in candidates if wanted in keys), None)


def _inside(db: sqlite3.Connection, query: Query, rows: list[dict[str, Any]]) -> set[int]:
    """Return which runs stand below the line of their group: not those that are alone in it."""
    opened = {(row["group_key"], row["data_key"]): row["n"] for row in rows}
    some = [n for group, n in opened.items() if query.group_seeds and group in query.unfolded]
    return {n for ns in _members(db, query, some) if len(ns) > 1 for n in ns}


def _members(db: sqlite3.Connection, query: Query, firsts: Sequence[int]) -> list[list[int]]:
    """Return the matching runs of each group that is named by one of its runs."""
    if not firsts:
        return []
    condition, values = _condition(query)
    found: dict[int, list[int]] = {first: [] for first in firsts}
    for first, n in db.execute(
        f"select f.n, r.n {_FROM.replace('from runs r', 'from runs f cross join runs r', 1)} "
        f"where f.n in ({', '.join('?' for _ in firsts)}) and r.group_key = f.group_key "
        f"and r.data_key = f.data_key and {condition} order by r.n",
        [*firsts, *values],
    ):
        found[first].append(n)
    return [found[first] for first in firsts]


def _whole(db: sqlite3.Connection, ns: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Return runs with everything that a line shows; a statement takes 500 of them."""
    for start in range(0, len(ns), 500):
        some = list(ns[start : start + 500])
        cursor = db.execute(f"{_WHOLE} ({', '.join('?' for _ in some)})", some)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))


def _run(row: dict[str, Any], *, inside: bool = False) -> Line:
    return Line(
        key=row["n"],
        members=(row["n"],),
        group=(row["group_key"], row["data_key"]),
        inside=inside,
        seeds=(row["seed"],),
        tags=row["tags"] or "",
        values={name: Stat(row[name]) for name in METRICS if row[name] is not None},
        **{name: row[name] for name in _COPIED},
    )


_COPIED = (
    "id", "kind", "state", "reason", "archived", "name", "note", "sweep", "method", "rpat", "lam",
    "dataset", "source", "norm", "model", "epoch", "epochs", "step", "steps", "stage", "slot",
    "priority", "created", "started", "ended", "parent", "best_epoch",
)  # fmt: skip


def _group(rows: list[dict[str, Any]], query: Query) -> Line:
    """Fold runs into one line, or leave the only one as it is."""
    if len(rows) == 1:
        return _run(rows[0])
    slowest = min(rows, key=lambda row: (row["epoch"], row["n"]))
    shared = {name: _shared([row[name] for row in rows]) for name in ("name", "note", "sweep")}
    group = (rows[0]["group_key"], rows[0]["data_key"])
    values = {}
    for name in METRICS:
        if found := [row[name] for row in rows if row[name] is not None]:
            values[name] = Stat(max(found)) if name == "left" else summary(found)
    return Line(
        key=-rows[0]["n"],
        members=tuple(row["n"] for row in rows),
        group=group,
        open=group in query.unfolded,
        seeds=tuple(sorted(row["seed"] for row in rows)),
        tags=_shared([row["tags"] or "" for row in rows]),
        values=values,
        **{name: rows[0][name] for name in _COPIED}
        | shared
        | {
            "state": min((row["state"] for row in rows), key=LIFE.index),
            "reason": "",
            "epoch": slowest["epoch"],
            "best_epoch": None,
        },
    )


def _shared(texts: list[str]) -> str:
    """Return what all texts are, or '' where they differ."""
    return texts[0] if len(set(texts)) == 1 else ""


def summary(values: Sequence[float]) -> Stat:
    """Return the mean and the sample standard deviation; one value has no spread."""
    if not all(map(math.isfinite, values)):
        return Stat(sum(values), None, len(values))
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Stat(math.fsum(values) / len(values), spread, len(values))


# ----------------------------------------------------------------- watching


class Reader:
    """A connection that only reads, kept by the thread that opens it with its first question."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.reads = 0
        """How many statements were sent, but for the question whether anything changed."""
        self._db: sqlite3.Connection | None = None
        self._path: Path | None = None
        self._file: tuple[int, int] | None = None
        self._seen: tuple[int, int] = (-1, -1)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Return the connection; one of a database that was replaced is opened again.

        Raises `StoreError` where the database cannot be read.
        """
        with database.explained(self.home):
            path = self._path = self._path or self.home.database
            found = path.stat()
            file = (found.st_dev, found.st_ino)
            if self._db is None or file != self._file:
                self.close()
                self._db = sqlite3.connect(
                    database.readonly_address(path), uri=True, isolation_level=None, timeout=1
                )
                self._db.execute(f"pragma cache_size = -{_CACHE_KB}")
                spans.read_older(self._db)
                self._file, self._seen = file, (-1, self._seen[1])
            yield self._db

    def pulse(self) -> int:
        """Return a number that is another one after each change of what lists show."""
        with self.reading() as db:
            version = db.execute("pragma data_version").fetchone()[0]
            if version != self._seen[0]:
                self._seen = (version, db.execute("select beats from pulse").fetchone()[0])
            return self._seen[1]

    def listing(self, query: Query) -> Listing:
        """Return a list that is read as it is looked at."""
        return Listing(self, query)

    def close(self) -> None:
        """Let go of the database; in the thread that has read."""
        if self._db is not None:
            self._db.close()
        self._db = None


class Listing:
    """The lines of a query, as of the last `refresh`: what a table draws its windows from."""

    def __init__(self, reader: Reader, query: Query) -> None:
        self.reader, self.query = reader, query
        self._keys: list[int] = []
        self._totals = Totals(0, 0)
        self._pulse: int | None = None
        """As of the lines."""
        self._ordered: int | None = None
        """As of the order."""
        self._cost = 0.0
        self._next = 0.0

    def refresh(self) -> bool:
        """See what is new; False where everything that was read still holds."""
        pulse = self.reader.pulse()
        due = pulse != self._ordered and time.monotonic() >= self._next
        if self._pulse == pulse and not due:
            return False
        if due or self._ordered is None:
            self._order(pulse)
        self._pulse = pulse
        return True

    def _order(self, pulse: int) -> None:
        clock = time.perf_counter()
        with self.reader.reading() as db:
            self.reader.reads += 1
            self._keys = order(db, self.query)
            self._totals = totals(db, self.query)
        self._ordered = pulse
        self._next = time.monotonic() + _CALM * (time.perf_counter() - clock)

    def _known(self) -> None:
        if self._ordered is None:
            self.refresh()

    def count(self) -> int:
        """Return how many lines there are."""
        self._known()
        return len(self._keys)

    def window(self, offset: int, limit: int) -> list[Line]:
        """Return some lines whole."""
        self._known()
        with self.reader.reading() as db:
            self.reader.reads += 1
            keys = self._keys[offset : offset + limit]
            found = lines(db, self.query, keys)
            if len(found) < len(keys):  # some have gone since the order was read
                self._order(self.reader.pulse())
                self._pulse = None  # whoever has counted before shall count again
                found = lines(db, self.query, self._keys[offset : offset + limit])
            return found

    def position(self, key: int) -> int | None:
        """Return where a line stands: a run's own, else that of the group which folds it.

        A run that an old order does not know is looked for in a fresh one: it may be new.
        """
        self._known()
        found = self._place(key)
        if found is None and self._ordered != (pulse := self.reader.pulse()):
            self._order(pulse)
            self._pulse = None  # whoever has counted before shall count again
            found = self._place(key)
        return found

    def _place(self, key: int) -> int | None:
        try:
            return self._keys.index(key)
        except ValueError:
            pass
        with self.reader.reading() as db:
            self.reader.reads += 1
            return _find(db, self.query, self._keys, key)

    def runs(self) -> list[int]:
        """Return the numbers of all runs in the list, also of those in folded groups."""
        self._known()
        if not self.query.group_seeds:
            return list(self._keys)
        with self.reader.reading() as db:
            self.reader.reads += 1
            return numbers(db, self.query)

    def totals(self) -> tuple[int, int]:
        """Return how many runs match, and how many there are."""
        self._known()
        return self._totals.shown, self._totals.all

    def close(self) -> None:
        """Let go of the database; in the thread that has read."""
        self.reader.close()
