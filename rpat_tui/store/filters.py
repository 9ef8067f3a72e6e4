"""The filter language of lists: what people write, compiled to SQL with bound values.

mart digits              words: each must occur in id, name, method, data set, tags or note
method:mart  tag:table2  contains; `tag:` is exact
state=running  seed!=0   compare; numbers also with < <= > >=
pgd>52 and seed in 0-2   `and` is implied; `or`, `not`, parentheses
has:note  is:archived    presence; is:archived, is:rpat, is:open, is:imported
age<3d                   since it was queued: s, m, h, d, w
host:box  host=""        where other machines' runs are shown: which machine, or this one
"""

from __future__ import annotations

import re
import time
from typing import Any

from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui.store.queue import OPEN

_TEXT = {
    "id": "r.id", "name": "r.name", "note": "r.note", "state": "r.state", "reason": "r.reason",
    "method": "r.method", "dataset": "r.dataset", "source": "r.source", "norm": "r.norm",
    "model": "r.model", "sweep": "r.sweep", "kind": "r.kind",
    "host": "substr(r.id, 1, instr(r.id, ':') - 1)",
}  # fmt: skip
_NUMBER = {
    "seed": "r.seed", "lam": "r.lam", "epoch": "r.epoch", "epochs": "r.epochs",
    "priority": "r.priority", "clean": "c.value", "pgd": "p.value", "best_pgd": "p.max_value",
    "best_epoch": "p.max_epoch",
}  # fmt: skip
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_TOKEN = re.compile(r"""\s*(\(|\)|"[^"]*"|[^\s()"]+(?:"[^"]*")?)""")
_TERM = re.compile(r"^([a-z_]+)(<=|>=|!=|=|<|>|:)(.+)$")

Compiled = tuple[str, list[Any]]


def compile_filter(text: str) -> Compiled:
    """Return an SQL condition over the list query and its values.

    Raises `ConfigError` naming what cannot be understood.
    """
    tokens = _TOKEN.findall(text)
    if not tokens:
        return "1", []
    parser = _Parser(tokens)
    compiled = parser.either()
    if parser.tokens:
        raise ConfigError(f"--where: '{parser.tokens[0]}' is not expected there")
    return compiled


class _Parser:
    """Recursive descent: either > both > negated > term."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def either(self) -> Compiled:
        return self._joined("or", self.both)

    def both(self) -> Compiled:
        parts = [self.negated()]
        while self.tokens and self.tokens[0] not in ("or", ")"):
            if self.tokens[0] == "and":
                self.tokens.pop(0)
            parts.append(self.negated())
        return _join(parts, "and")

    def negated(self) -> Compiled:
        if not self.tokens:
            raise ConfigError("--where ends where a condition is expected")
        token = self.tokens.pop(0)
        if token == "not":
            sql, values = self.negated()
            return f"not coalesce(({sql}), 0)", values
        if token == "(":
            inner = self.either()
            if not self.tokens or self.tokens.pop(0) != ")":
                raise ConfigError("--where has a '(' without its ')'")
            return inner
        if len(self.tokens) > 1 and self.tokens[0] == "in":
            self.tokens.pop(0)
            return _between(token, self.tokens.pop(0))
        return _term(token)

    def _joined(self, word: str, part: Any) -> Compiled:
        parts = [part()]
        while self.tokens and self.tokens[0] == word:
            self.tokens.pop(0)
            parts.append(part())
        return _join(parts, word)


def _join(parts: list[Compiled], word: str) -> Compiled:
    sql = f" {word} ".join(f"({part})" for part, _ in parts)
    return sql, [value for _, values in parts for value in values]


def _term(token: str) -> Compiled:
    match = _TERM.match(token)
    if match is None:
        return _anywhere(token.strip('"'))
    key, sign, value = match[1], match[2], match[3].strip('"')
    if sign == ":" and key in ("is", "has"):
        return _presence(key, value)
    if key == "tag":
        found = "exists (select 1 from tags t where t.run = r.n and t.tag = ?)"
        return (f"not {found}" if sign == "!=" else found), [value]
    if key == "age":
        return _age(sign, value)
    if key in _TEXT and sign in (":", "=", "!="):
        if sign == ":":
            return f"{_TEXT[key]} like ?", [f"%{value}%"]
        return f"{_TEXT[key]} {sign} ?", [value]
    if key in _NUMBER and sign != ":":
        return f"{_NUMBER[key]} {sign} ?", [_number(key, value)]
    known = [*_TEXT, *_NUMBER, "tag", "age", "is", "has"]
    problem = unknown(key, known) if key not in known else f"'{sign}' does not fit '{key}'"
    raise ConfigError(f"--where {token}: {problem}")


def _anywhere(word: str) -> Compiled:
    columns = ("r.id", "r.name", "r.method", "r.dataset", "r.model", "r.note")
    tags = "exists (select 1 from tags t where t.run = r.n and t.tag like ?)"
    sql = " or ".join([*(f"{column} like ?" for column in columns), tags])
    return sql, [f"%{word}%"] * (len(columns) + 1)


def _presence(key: str, value: str) -> Compiled:
    flags = {
        ("is", "archived"): "r.archived",
        ("is", "rpat"): "r.rpat",
        ("is", "imported"): "r.imported <> ''",
        ("is", "open"): f"r.state in ({', '.join(repr(state) for state in OPEN)})",
        ("has", "note"): "r.note <> ''",
        ("has", "name"): "r.name <> ''",
        ("has", "tags"): "exists (select 1 from tags t where t.run = r.n)",
    }
    if (key, value) not in flags:
        known = [word for kind, word in flags if kind == key]
        raise ConfigError(f"--where {key}:{value}: {unknown(value, known)}")
    return flags[key, value], []


def _between(key: str, value: str) -> Compiled:
    if key not in _NUMBER:
        raise ConfigError(f"--where {key} in {value}: {unknown(key, _NUMBER)}")
    parts: list[Compiled] = []
    for part in value.split(","):
        first, _, last = part.partition("-")
        low = _number(key, first)
        parts.append((f"{_NUMBER[key]} between ? and ?", [low, _number(key, last or first)]))
    return _join(parts, "or")


def _age(sign: str, value: str) -> Compiled:
    if value[-1] not in _UNITS or sign not in ("<", "<=", ">", ">="):
        raise ConfigError(f"--where age{sign}{value}: write for example age<3d")
    return f"{time.time()} - r.created {sign} ?", [_number("age", value[:-1]) * _UNITS[value[-1]]]


def seconds(option: str, text: str) -> float:
    """Return a span as people write it: 30d, 12h. Raises `ConfigError` naming the option."""
    try:
        return float(text[:-1]) * _UNITS[text[-1]]
    except (ValueError, KeyError, IndexError):
        raise ConfigError(f"{option} '{text}': write for example 30d, 12h or 2w") from None


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--where {key}: '{text}' is not a number") from None
