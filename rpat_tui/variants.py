"""Rows that look alike: texts that tell them apart, and the order in which rows are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from rpat.config import DATASETS, METHODS, MODELS, NORMS
from rpat.knobs import show
from rpat_tui.table import CHECKPOINTS, Row


def tell_apart(rows: Sequence[Row]) -> list[Row]:
    """Give rows that would look alike a text naming the keys in which they differ.

    A base and its RPAT counterpart are told apart too where more than RPAT differs. The
    checkpoint does not count: best and final of one group carry the same text.
    """
    alike: dict[tuple[object, ...], dict[tuple[str, str], Row]] = defaultdict(dict)
    for row in rows:
        alike[looks(row)[:-1]].setdefault((row.group, row.data), row)
    named: dict[tuple[str, str], str] = {}
    for members in alike.values():
        named |= dict(zip(members, _variants(list(members.values())), strict=True))
    return [replace(row, variant=named[row.group, row.data]) for row in rows]


def looks(row: Row) -> tuple[object, ...]:
    """Return what a reader sees of a row beside its numbers and its checkpoint."""
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
    first, *others = ({**row.config} for row in rows)
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


def reading_order(row: Row) -> tuple[object, ...]:
    """Return the key that sorts rows as people read them."""
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


def but_for_rpat(row: Row) -> object:
    """Return what a row and its RPAT counterpart have in common."""
    config = {key: _said(row.config, key) for key in row.config if not _is_rpat(key)}
    return (*looks(row)[:-1], row.data, tuple(sorted(config.items())))
