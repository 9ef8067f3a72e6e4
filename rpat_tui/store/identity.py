"""What a config is beside its seed: dotted keys and their values, read when somebody looks.

Tables compare thousands of configs, so a config can also be had as lines of text, one a key: what
differs between two of them is then a difference of two sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache

from rpat.config import incidental
from rpat.knobs import show


class Identity(Mapping[str, object]):
    """The config behind a group, from a run's JSON; parsed once, when it is first needed."""

    __slots__ = ("_lines", "_text", "_values")

    def __init__(self, text: str) -> None:
        self._text = text
        self._values: dict[str, object] | None = None
        self._lines: frozenset[str] | None = None

    @property
    def lines(self) -> frozenset[str]:
        """Each key with its value as people read it."""
        if self._lines is None:
            self._lines = _said(self._parsed())
        return self._lines

    def __getitem__(self, key: str) -> object:
        return self._parsed()[key]

    def get(self, key: str, default: object = None) -> object:
        """Return a key's value, or the default where the config lacks it."""
        return self._parsed().get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed())

    def __len__(self) -> int:
        return len(self._parsed())

    def _parsed(self) -> dict[str, object]:
        if self._values is None:
            self._values = flat(self._text)
        return self._values


def flat(text: str) -> dict[str, object]:
    """Return a config's JSON with dotted keys, without the seed and what is no part of it."""
    values: dict[str, object] = {}
    for key, value in json.loads(text).items():
        if isinstance(value, dict):
            values |= {f"{key}.{inner}": v for inner, v in value.items()}
        elif key not in ("seed", "schema"):
            values[key] = value
    for key in _left_out():
        values.pop(key, None)
    return values


def said_lines(config: Mapping[str, object]) -> frozenset[str]:
    """Return `key value` for each key of a config, the value as people read it."""
    return config.lines if isinstance(config, Identity) else _said(config)


def _said(values: Mapping[str, object]) -> frozenset[str]:
    return frozenset([
        f"{key} {show(tuple(value) if isinstance(value, list) else value) or 'none'}"
        for key, value in values.items()
    ])  # fmt: skip


_left_out = cache(incidental)
