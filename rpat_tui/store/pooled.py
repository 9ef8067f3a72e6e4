"""The rows of tables as they are kept: read and written here, made in `rpat_tui.pools`."""

# No `from __future__ import annotations`: a NamedTuple compiles the text of each annotation.

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rpat_tui.store.flat import FlatConfig

Number = float | None
Look = tuple[str, str, str, str, str]
"""Data set, source, norm, network and method: rows that share them look alike."""

AT_ONCE = 50
"""Groups that are pooled in one transaction."""


class Pooled(NamedTuple):
    """A kept row: one group on its images at a checkpoint or by a rule, for both robust bases.

    `pair` is the digest of what it has in common with its RPAT counterpart, `config` that of its
    whole config; `runs`, what each was measured on (`sources`) and the marks are lines; `seeds` is
    JSON, `[seed, clean, pgd20, aa]` each.
    The fields are the columns.
    """

    asked: str
    group_key: str
    data_key: str
    dataset: str
    source: str
    norm: str
    model: str
    method: str
    rpat: int
    cutmix: int
    pair: str
    config: str
    n: int
    runs: str
    sources: str
    clean: Number
    clean_std: Number
    clean_n: int | None
    pgd20: Number
    pgd20_std: Number
    pgd20_n: int | None
    aa: Number
    aa_std: Number
    aa_n: int | None
    mean_aa: Number
    mean_aa_std: Number
    mean_aa_n: int | None
    nrr_aa: Number
    nrr_aa_std: Number
    nrr_aa_n: int | None
    mean_pgd20: Number
    mean_pgd20_std: Number
    mean_pgd20_n: int | None
    nrr_pgd20: Number
    nrr_pgd20_std: Number
    nrr_pgd20_n: int | None
    marks_aa: str
    marks_pgd20: str
    stamp_aa: str
    stamp_pgd20: str
    seeds: str
    variant: str = ""
    place: int = 0


class Read(NamedTuple):
    """What `read` yields, on one robust basis; also, of many rows, a column in each place."""

    group: Any
    data: Any
    dataset: Any
    source: Any
    norm: Any
    model: Any
    method: Any
    rpat: Any
    cutmix: Any
    pair: Any
    config: Any
    n: Any
    runs: Any
    clean: Any
    clean_std: Any
    clean_n: Any
    pgd20: Any
    pgd20_std: Any
    pgd20_n: Any
    aa: Any
    aa_std: Any
    aa_n: Any
    mean: Any
    mean_std: Any
    mean_n: Any
    nrr: Any
    nrr_std: Any
    nrr_n: Any
    marks: Any
    stamp: Any
    variant: Any
    place: Any
    seeds: Any


class Member(NamedTuple):
    """One of the rows that look alike, with what tells them apart."""

    group_key: str
    data_key: str
    rpat: int
    config: str
    variant: str
    place: int


def may_be_read(db: sqlite3.Connection) -> bool:
    """Return whether kept rows count at all.

    The database of a read-only home may be older; and where runs of one config belong into
    different places of a table, its rows have to be seen together.
    """
    if not db.execute("select 1 from sqlite_master where name = 'pooled'").fetchone():
        return False
    return db.execute("select 1 from stale_pools where mixed limit 1").fetchone() is None


def out_of_date(db: sqlite3.Connection) -> list[str]:
    """Return the groups whose kept rows do not count."""
    rows = db.execute(
        "select group_key from stale_pools "
        "union select group_key from runs where n in (select run from stale)"
    )
    return [group for (group,) in rows]


def read(
    db: sqlite3.Connection, asked: str, robust: str, filters: Mapping[str, str], *, seeds: bool
) -> sqlite3.Cursor:
    """Ask for kept rows on a basis, each the values of a `Read`, by group and images.

    `filters` are columns, `seeds` asks for the values behind.
    """
    columns = (
        "group_key, data_key, dataset, source, norm, model, method, rpat, cutmix, pair, config, n, "
        "runs, clean, clean_std, clean_n, pgd20, pgd20_std, pgd20_n, aa, aa_std, aa_n, "
        f"mean_{robust}, mean_{robust}_std, mean_{robust}_n, "
        f"nrr_{robust}, nrr_{robust}_std, nrr_{robust}_n, marks_{robust}, stamp_{robust}, "
        f"variant, place, {'seeds' if seeds else repr('')}"
    )
    clause = "".join(f" and {column} = ?" for column in filters)
    return db.execute(
        f"select {columns} from pooled where asked = ?{clause} order by group_key, data_key",
        [asked, *filters.values()],
    )


def names(
    db: sqlite3.Connection, asked: str, filters: Mapping[str, str]
) -> Iterator[tuple[Any, ...]]:
    """Yield group, images, the five of `Look`, place, variant, `pair`, runs and their sources."""
    clause = "".join(f" and {column} = ?" for column in filters)
    return db.execute(
        "select group_key, data_key, dataset, source, norm, model, method, place, variant, pair, "
        f"runs, sources from pooled where asked = ?{clause}",
        [asked, *filters.values()],
    )


def configs(db: sqlite3.Connection, groups: Sequence[str]) -> dict[str, FlatConfig]:
    """Return the configs of groups whose rows are kept."""
    marks = ", ".join("?" for _ in groups)
    rows = db.execute(
        f"select group_key, lines from flat_configs where group_key in ({marks})", list(groups)
    )
    found = {group: FlatConfig(lines) for group, lines in rows}
    for group in groups:
        if group not in found:  # dropped with another run's config; kept again with the next run
            (config,) = db.execute(
                "select config from runs where group_key = ? and kind = 'train' order by n limit 1",
                (group,),
            ).fetchone()
            found[group] = FlatConfig(json=config)
    return found


# ----------------------------------------------------------------- writing


def is_current(db: sqlite3.Connection) -> bool:
    """Return whether everything that tables report is kept."""
    (left,) = db.execute(
        "select exists (select 1 from stale) or exists (select 1 from unnamed) "
        "or exists (select 1 from stale_pools where mixed = 0)"
    ).fetchone()
    return not left


def stale(db: sqlite3.Connection) -> list[str]:
    """Return the next groups that have to be pooled anew."""
    rows = db.execute("select group_key from stale_pools where mixed = 0 limit ?", (AT_ONCE,))
    return [group for (group,) in rows]


def renew(
    db: sqlite3.Connection, groups: Sequence[str], rows: Sequence[Pooled], mixed: Iterable[str]
) -> None:
    """Put rows into the place of those of some groups, which are up to date then.

    Rows that look alike are put on the list `unnamed` where others stand among them now; `mixed`
    are groups whose rows cannot be kept.
    """
    marks = ", ".join("?" for _ in groups)
    before: dict[tuple[str, ...], set[tuple[object, ...]]] = {}
    named: dict[tuple[str, str, str], tuple[str, int]] = {}
    for asked, group, data, *rest, variant, place in db.execute(
        "select asked, group_key, data_key, dataset, source, norm, model, method, rpat, config, "
        f"variant, place from pooled where group_key in ({marks})",
        list(groups),
    ):
        before.setdefault((asked, *rest[:5]), set()).add((group, data, *rest[5:]))
        named[asked, group, data] = (variant, place)
    after: dict[tuple[str, ...], set[tuple[object, ...]]] = {}
    for r in rows:
        look = (r.asked, r.dataset, r.source, r.norm, r.model, r.method)
        after.setdefault(look, set()).add((r.group_key, r.data_key, r.rpat, r.config))
    db.executemany(
        "insert or ignore into unnamed values (?, ?, ?, ?, ?, ?)",
        [look for look in before.keys() | after.keys() if before.get(look) != after.get(look)],
    )
    db.execute(f"delete from pooled where group_key in ({marks})", list(groups))
    holders = ", ".join("?" for _ in Pooled._fields)
    db.executemany(
        f"insert into pooled ({', '.join(Pooled._fields)}) values ({holders})",
        [
            row if known is None else row._replace(variant=known[0], place=known[1])
            for row in rows
            for known in [named.get((row.asked, row.group_key, row.data_key))]
        ],
    )
    db.execute(f"delete from stale_pools where group_key in ({marks})", list(groups))
    db.executemany("insert into stale_pools values (?, 1)", [(group,) for group in mixed])


def unnamed(db: sqlite3.Connection, asked: Sequence[str] = ()) -> list[tuple[str, Look]]:
    """Return what was asked and looks alike where texts that tell rows apart do not count."""
    clause = f"where asked in ({', '.join('?' for _ in asked)})" if asked else ""
    return [(name, tuple(look)) for name, *look in db.execute(
        f"select asked, dataset, source, norm, model, method from unnamed {clause}", list(asked)
    )]  # fmt: skip


def alike(db: sqlite3.Connection, asked: str, look: Look) -> list[Member]:
    """Return the rows that look alike."""
    rows = db.execute(
        "select group_key, data_key, rpat, config, variant, place from pooled where asked = ? "
        "and dataset = ? and source = ? and norm = ? and model = ? and method = ?",
        [asked, *look],
    )
    return [Member._make(row) for row in rows]


def name(
    db: sqlite3.Connection,
    asked: str,
    look: Look,
    told: Iterable[tuple[str, int, str, str]],
) -> None:
    """Write texts that tell rows apart: variant, place, group and images; the others stay."""
    db.executemany(
        "update pooled set variant = ?, place = ? "
        f"where asked = '{asked}' and group_key = ? and data_key = ?",
        told,
    )
    db.execute(
        "delete from unnamed where asked = ? and dataset = ? and source = ? and norm = ? "
        "and model = ? and method = ?",
        [asked, *look],
    )
