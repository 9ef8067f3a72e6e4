"""What can be asked of runs on another machine, by the words that travel: one table, both sides.

What is done there is what a command or a screen does here: the same functions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rpat.errors import ConfigError, RpatError
from rpat.knobs import unknown
from rpat_tui.acts import ACTS
from rpat_tui.home import Home
from rpat_tui.keeping import labels
from rpat_tui.launch import control, worker
from rpat_tui.store import queries, queue
from rpat_tui.store.db import transaction

Values = Mapping[str, Any]
Do = Callable[[Home, sqlite3.Connection, int, Values], str]


def _words(values: Values, key: str) -> list[str]:
    found = values.get(key, [])
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise ConfigError(f"{key} is {found!r}; a list of words is expected")
    return found


def _text(values: Values) -> str:
    text = values.get("text")
    if not isinstance(text, str):
        raise ConfigError(f"text is {text!r}; a text is expected")
    return text


def _tag(home: Home, db: sqlite3.Connection, n: int, values: Values) -> str:
    tags = labels.tag(home, db, n, _words(values, "add"), _words(values, "remove"))
    return f"{queue.name_of(n)}  {' '.join(f'#{word}' for word in sorted(tags)) or 'no tags'}"


def _note(home: Home, db: sqlite3.Connection, n: int, values: Values) -> str:
    labels.write(home, db, n, note=_text(values))
    return f"{queue.name_of(n)}: noted"


def _name(home: Home, db: sqlite3.Connection, n: int, values: Values) -> str:
    labels.name(home, db, n, _text(values))
    return f"{queue.name_of(n)}: named"


def _priority(home: Home, db: sqlite3.Connection, n: int, values: Values) -> str:
    value = values.get("priority")
    if type(value) is not int:
        raise ConfigError(f"priority is {value!r}; a number is expected")
    with transaction(db):
        if n not in queue.waiting(db):
            raise ConfigError(f"{queue.name_of(n)} is not in the queue")
        queue.set_priority(db, n, value)
    return f"{queue.name_of(n)}: priority {value}"


def _act(name: str) -> Do:
    act = ACTS[name]

    def do(home: Home, db: sqlite3.Connection, n: int, _: Values) -> str:
        if reason := act.refuse(queries.runs(db, numbers=[n])[0]):
            raise ConfigError(reason)
        return act.do(home, db, n)

    return do


DOES: dict[str, Do] = {
    **{name: _act(name) for name in ACTS},
    "stop": lambda home, db, n, _: control.stop(home, db, n, "stop"),
    "kill": lambda home, db, n, _: control.stop(home, db, n, "kill"),
    "save and wait": lambda home, db, n, _: control.stop(home, db, n, "pause"),
    "resume": lambda home, db, n, _: control.resume(db, n),
    "tag": _tag,
    "note": _note,
    "name": _name,
    "priority": _priority,
}
"""Acts by name; `pause` resumes what is paused, as its key does, `save and wait` only pauses."""


def act(
    home: Home, db: sqlite3.Connection, name: str, runs: Sequence[str], values: Values
) -> tuple[list[str], list[str]]:
    """Act on runs; returns what was said of each, and what was refused.

    Raises `ConfigError` for an act that does not exist.
    """
    if name not in DOES:
        raise ConfigError(f"act {unknown(name, DOES)}")
    said: list[str] = []
    refused: list[str] = []
    for word in runs:
        try:
            said.append(DOES[name](home, db, queries.find(db, [word])[0], values))
        except RpatError as error:
            refused.append(str(error))
    if said and queue.work_left(db):
        worker.ensure(home)
    return said, refused
