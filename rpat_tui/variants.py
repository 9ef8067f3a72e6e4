"""Rows that look alike: texts that tell them apart, and the order in which rows are read."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from rpat.config import DATASETS, METHODS, MODELS, NORMS
from rpat_tui.store.flat import lines_of, said
from rpat_tui.store.rows import Measurement
from rpat_tui.table import CHECKPOINTS, Row

Key = tuple[str, str]
"""A group and its images."""


def tell_apart(rows: Sequence[Row]) -> list[Row]:
    """Give rows that would look alike a text naming the keys in which they differ."""
    named = variants(rows)
    return [row._replace(variant=named[row.group, row.data]) for row in rows]


def variants(rows: Iterable[Row | Measurement]) -> dict[Key, str]:
    """Return a text for each group on its images that names the keys in which look-alikes differ.

    A base and its RPAT counterpart are told apart too where more than RPAT differs. The
    checkpoint does not count: best and final of one group carry the same text.
    """
    alike: dict[tuple[object, ...], dict[Key, Row | Measurement]] = defaultdict(dict)
    for row in rows:
        alike[looks(row)[:-1]].setdefault((row.group, row.data), row)
    named: dict[Key, str] = {}
    for members in alike.values():
        named |= zip(members, _variants(list(members.values())), strict=True)
    return named


def looks(row: Row | Measurement) -> tuple[object, ...]:
    """Return what a reader sees of a row beside its numbers and its checkpoint."""
    return (row.dataset, row.source, row.norm, row.model, row.method, row.rpat)


def _variants(rows: Sequence[Row | Measurement]) -> list[str]:
    """Return each row's text; '' where nothing but RPAT and the numbers differ."""
    if len(rows) == 1:
        return [""]
    lines = [lines_of(row.config) for row in rows]
    halves = [[i for i, row in enumerate(rows) if row.rpat is half] for half in (False, True)]
    halves = [members for members in halves if members]
    spreads = [_spread([lines[i] for i in members]) for members in halves]
    same = set.intersection(*[everywhere for _, everywhere in spreads])
    shared = {key for anywhere, _ in spreads for key in _keys(anywhere - same) if not _is_rpat(key)}
    keys = [sorted(shared | _keys(anywhere - everywhere)) for anywhere, everywhere in spreads]
    names = _short(sorted(set().union(*keys)))
    texts: list[list[str]] = [[] for _ in rows]
    for told, members in zip(keys, halves, strict=True):
        for i in members:
            own = [line.partition(" ") for line in lines[i] if line not in same]
            values = {key: value for key, _, value in own}
            texts[i] += [f"{names[key]} {_said(values.get(key))}" for key in told]
    if len({row.data for row in rows}) > 1:
        for row, text in zip(rows, texts, strict=True):
            text.append(f"data {row.data[:6] or 'unknown'}")
    for members in halves:
        if len({", ".join(texts[i]) for i in members}) < len(members):
            for i in members:
                texts[i].append(f"group {rows[i].group[:6]}")
    return [", ".join(text) for text in texts]


def _spread(configs: Sequence[Sequence[str]]) -> tuple[set[str], set[str]]:
    """Return the lines that any of some configs has, and those that all have."""
    if len({len(lines) for lines in configs}) == 1:
        columns = [set(column) for column in zip(*configs, strict=True)]
        if all(len(_keys(column)) == 1 for column in columns):  # they have the same keys
            return set().union(*columns), set().union(*[c for c in columns if len(c) == 1])
    sets = [set(lines) for lines in configs]
    return set.union(*sets), set.intersection(*sets)


@lru_cache(maxsize=4096)
def _said(value: str | None) -> str:
    """Return a value as people read it; an absent key has the value that older runs had."""
    return "default" if value is None else said(value)


def _keys(lines: Iterable[str]) -> set[str]:
    return {line.partition(" ")[0] for line in lines}


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Leave the section out where the bare key names only one of the keys."""
    bare = [key.rpartition(".")[2] for key in keys]
    return {k: b if bare.count(b) == 1 else k for k, b in zip(keys, bare, strict=True)}


def _is_rpat(key: str) -> bool:
    return key == "wrappers" or key.startswith("rpat.")


def reading_order(row: Row) -> tuple[object, ...]:
    """Return the key that sorts rows as people read them."""
    return (
        *_place(row.dataset, row.norm, row.model, row.source, row.method),
        row.rpat,
        _natural(row.variant),
        _kind(row.checkpoint),
        row.group,
        row.data,
    )


def place_of(look: tuple[str, str, str, str, str]) -> tuple[object, ...]:
    """Return the key that sorts data set, source, norm, network and method as people read them."""
    dataset, source, norm, model, method = look
    return _place(dataset, norm, model, source, method)


@lru_cache(maxsize=4096)
def _place(dataset: str, norm: str, model: str, source: str, method: str) -> tuple[object, ...]:
    return (
        _rank(dataset, DATASETS),
        _rank(norm, NORMS),
        _rank(model, MODELS),
        _rank(source, ("official", "embedded", "image-folder")),
        _rank(method, METHODS),
    )


@lru_cache(maxsize=16)
def _kind(checkpoint: str) -> tuple[int, str]:
    return _rank(checkpoint, CHECKPOINTS)


def _rank(name: str, known: Iterable[str]) -> tuple[int, str]:
    listed = list(known)
    return (listed.index(name) if name in listed else len(listed), name)


@lru_cache(maxsize=4096)
def _natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """Sort `epochs 2` before `epochs 110`."""
    parts = text.replace(",", " ").split()
    return tuple([(0, float(p), "") if p.isdecimal() else (1, 0.0, p) for p in parts])


def but_for_rpat(row: Row) -> object:
    """Return what a row and its RPAT counterpart have in common."""
    return (*row[:5], row.data, row.pair or pair(row.config))


def pair(config: Mapping[str, object]) -> str:
    """Return the digest of what a config and that of its RPAT counterpart have in common."""
    kept = [line for line in lines_of(config) if line[:5] != "rpat." and line[:9] != "wrappers "]
    return digest(kept)


def digest(lines: Iterable[str]) -> str:
    """Return a digest of the lines of a config."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def places(rows: Iterable[tuple[Key, bool, str]]) -> dict[Key, int]:
    """Return the places of rows that look alike, given with `rpat` and variant, as they are read.

    Those that only their checkpoint, group or images set apart share one.
    """
    orders = {key: (rpat, _natural(variant)) for key, rpat, variant in rows}
    ranks = {order: i for i, order in enumerate(sorted(set(orders.values())))}
    return {key: ranks[order] for key, order in orders.items()}
