"""A config flattened to dotted keys, without the seed: what makes experiments differ.

Tables compare thousands of configs, so one is kept as lines of text, `key value` with the value
as JSON: what differs between two configs is then a difference of two sets, and a value is read
when somebody looks at it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from rpat.knobs import show


class FlatConfig(Mapping[str, object]):
    """The lines of a config as a mapping of dotted keys; parsed once, when it is first needed.

    It is made of the lines, or of the config's JSON, which is flattened when it is needed too.
    """

    __slots__ = ("_json", "_known", "_lines", "_values")

    def __init__(self, text: str = "", *, json: str = "") -> None:
        self._known, self._json = text, json
        self._lines: tuple[str, ...] | None = None
        self._values: dict[str, object] | None = None

    @property
    def _text(self) -> str:
        if self._json:
            self._known, self._json = flatten(self._json), ""
        return self._known

    @property
    def lines(self) -> tuple[str, ...]:
        """Each key with its value, by key."""
        if self._lines is None:
            self._lines = tuple(self._text.splitlines())
        return self._lines

    def __getitem__(self, key: str) -> object:
        if self._values is not None:
            return self._values[key]
        _, found, after = f"\n{self._text}".partition(f"\n{key} ")
        if not found:
            raise KeyError(key)
        return json.loads(after.partition("\n")[0])

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed())

    def __len__(self) -> int:
        return len(self._parsed())

    def _parsed(self) -> dict[str, object]:
        if self._values is None:
            pairs = (line.partition(" ") for line in self._text.splitlines())
            self._values = {key: json.loads(value) for key, _, value in pairs}
        return self._values


def flatten(config: str) -> str:
    """Return the lines of a config's JSON, without the seed and what is incidental."""
    values: dict[str, Any] = {}
    for key, value in json.loads(config).items():
        if isinstance(value, dict):
            values |= {f"{key}.{inner}": v for inner, v in value.items()}
        elif key not in ("seed", "schema"):
            values[key] = value
    return "\n".join(_line(key, values[key]) for key in sorted(values.keys() - _left_out()))


def lines_of(config: Mapping[str, object]) -> tuple[str, ...]:
    """Return `key value` for each key of a config, by key, the value as JSON."""
    if isinstance(config, FlatConfig):
        return config.lines
    return tuple(_line(key, config[key]) for key in sorted(config))


def said(value: str) -> str:
    """Return the value of a line as people read it."""
    found = json.loads(value)
    return show(tuple(found) if isinstance(found, list) else found) or "none"


def _line(key: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # equal values have equal lines
    return f"{key} {json.dumps(value)}"


@cache
def _left_out() -> frozenset[str]:
    from rpat.config import incidental

    return incidental()
