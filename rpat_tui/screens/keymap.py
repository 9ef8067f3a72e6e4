"""Which key does what, everywhere: the built-in maps, what people's settings change, what clashes.

    [keys]
    map = "emacs"          # default or emacs
    [keys.runs]
    stop = "x"             # the screen of runs
    [keys.list]
    down = "j, down"       # the list on it; several keys: a list, or commas

Built-in maps are tested to be free of clashes; only settings that remap keys are judged at the
start, for which every screen must be imported.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from textual.binding import Binding
from textual.keys import _character_to_key

from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui.settings import config_files, read_toml, settings

EVERYWHERE = "everywhere"

PLACES = {
    EVERYWHERE: ("rpat_tui.app", "RpatApp"),
    "runs": ("rpat_tui.screens.runs", "RunsScreen"),
    "list": ("rpat_tui.widgets.runtable", "RunTable"),
    "about": ("rpat_tui.screens.runs", "About"),
    "chart": ("rpat_tui.widgets.chart", "ChartWidget"),
    "queue": ("rpat_tui.screens.queue", "QueueScreen"),
    "compare": ("rpat_tui.screens.compare", "CompareScreen"),
    "groups": ("rpat_tui.screens.compare", "Groups"),
    "table": ("rpat_tui.screens.table", "TableScreen"),
    "cells": ("rpat_tui.widgets.papertable", "PaperTable"),
    "logs": ("rpat_tui.screens.logs", "LogsScreen"),
    "text": ("rpat_tui.widgets.tail", "Tail"),
    "detail": ("rpat_tui.screens.detail", "Detail"),
    "facts": ("rpat_tui.screens.detail", "Scroll"),
    "compose": ("rpat_tui.screens.compose", "Compose"),
}
"""Where keys work, in the order of the documents, and where each is written."""

SCREENS: dict[str, tuple[str, ...]] = {
    "runs": ("list", "chart", "about"),
    "queue": (),
    "compare": ("groups", "chart"),
    "table": ("cells",),
    "logs": ("text",),
    "detail": ("chart", "facts"),
    "compose": (),
}
"""Screens with the panes on them that have keys of their own."""

SHADOWS = {
    ("chart.leave", "runs.clear"): "leaves inspect first; else it is passed on",
    ("chart.leave", "detail.back"): "leaves inspect first; else it is passed on",
    ("chart.leave", "compare.previous"): "leaves inspect first; else it is passed on",
    ("chart.metrics", "compare.metric"): "asks for the metric in both",
    ("chart.best", "compare.rule"): "the rule for best, on this screen everywhere",
}
"""Keys that a pane may share with its screen, each with the reason."""

_MOVES = {
    "down": "ctrl+n,down", "up": "ctrl+p,up", "first": "home",
    "last": "end", "page-down": "ctrl+v,pagedown",
    "page-up": "alt+v,pageup",
}  # fmt: skip
_LEFT, _RIGHT, _BACK, _SEARCH = "ctrl+b,left", "ctrl+f,right", "ctrl+g,escape", "ctrl+s,slash"

MAPS: dict[str, dict[str, str]] = {
    "default": {},
    "emacs": {
        "everywhere.command-palette": "alt+x,colon",
        "everywhere.keys": "question_mark,f1",
        **{f"list.{name}": keys for name, keys in _MOVES.items()},
        "list.columns-to-the-left": _LEFT, "list.columns-to-the-right": _RIGHT,
        **{f"text.{name}": _MOVES[name] for name in ("down", "up")},
        "text.page-down": "ctrl+v,pagedown", "text.page-up": "alt+v,pageup",
        "text.start": "home", "text.end": "end", "cells.first-row": "home", "cells.last-row": "end",
        **{f"cells.{name}": _MOVES[name] for name in ("down", "up", "page-down", "page-up")},
        "cells.left": _LEFT, "cells.right": _RIGHT,
        "groups.down": _MOVES["down"], "groups.up": _MOVES["up"],
        **{f"about.scroll-{name}": _MOVES[name] for name in ("down", "up")},
        **{f"facts.scroll-{name}": _MOVES[name] for name in ("down", "up")},
        "about.page-before": _LEFT, "about.next-page": _RIGHT,
        "queue.down": "ctrl+n", "queue.up": "ctrl+p",
        "chart.left": _LEFT, "chart.right": _RIGHT, "chart.leave": _BACK,
        "runs.filter": _SEARCH, "logs.search": _SEARCH, "runs.clear": _BACK, "logs.close": _BACK,
        "detail.back": _BACK, "compare.previous": _BACK, "table.previous": _BACK,
        **{f"{place}.copy": "alt+w,y" for place in ("runs", "detail", "logs", "compare", "table")},
    },
}  # fmt: skip
"""What a built-in map binds otherwise than the code does: name -> keys."""

NAMED = (
    "up", "down", "left", "right", "home", "end", "pageup", "pagedown", "insert", "delete",
    "enter", "escape", "tab", "space", "backspace", *(f"f{n}" for n in range(1, 13)),
)  # fmt: skip
_CHARACTERS = {_character_to_key(c) for c in string.printable if c.isprintable() and c != " "}
SENT = {
    "ctrl+i": "tab", "ctrl+m": "enter", "ctrl+j": "enter", "ctrl+h": "backspace",
}  # fmt: skip
"""What a terminal sends in the place of these."""
KEPT = {"ctrl+c": "for copying", "ctrl+q": "for leaving"}
_REMEDY = "write one character, or a name such as enter, pagedown or f5, with ctrl+ or alt+ before"


@dataclass(frozen=True, slots=True)
class Bound:
    """What can be done with keys in a place."""

    context: str
    name: str
    """'' where its keys are fixed."""
    keys: tuple[str, ...]
    what: str
    action: str

    @property
    def id(self) -> str:
        """Its full name, as in `[keys]`."""
        return f"{self.context}.{self.name}"


@dataclass(frozen=True, slots=True)
class Wish:
    """A key that somebody's settings ask for."""

    file: Path
    context: str
    name: str
    keys: tuple[str, ...]

    @property
    def id(self) -> str:
        """The full name of the action."""
        return f"{self.context}.{self.name}"


@cache
def kind_of(context: str) -> Any:
    """Return the class of a place."""
    module, name = PLACES[context]
    return getattr(import_module(module), name)


@cache
def bound(context: str) -> tuple[Bound, ...]:
    """Return everything that keys do in a place, with the keys that the code gives it."""
    made = []
    for binding in kind_of(context).BINDINGS:
        if isinstance(binding, Binding):
            keys = tuple(normal(key) for key in binding.key.split(","))
            name = (binding.id or "").partition(".")[2]
            what = binding.tooltip or binding.description
            made.append(Bound(context, name, keys, what, binding.action))
    return tuple(made)


def in_force() -> dict[str, str]:
    """Return the keys that differ from the code's, by name: the chosen map, then the settings.

    Raises `ConfigError` naming the file, the key and the remedy.
    """
    built_in = MAPS[settings()["keys.map"].value]
    asked = list(wishes())
    return {**built_in, **judged(asked, built_in)} if asked else built_in


def wishes() -> Iterator[Wish]:
    """Yield what the settings files remap, the stronger ones last."""
    for file in config_files():
        for context, table in read_toml(file).get("keys", {}).items():
            if not isinstance(table, dict):
                continue
            if context not in PLACES:
                raise ConfigError(f"{file}: keys.{context}: {unknown(context, PLACES)}")
            for name, said in table.items():
                yield Wish(file, context, name, _keys(f"{file}: keys.{context}.{name}", said))


def _keys(place: str, said: object) -> tuple[str, ...]:
    words = said if isinstance(said, list) else str(said).split(",") if said != "," else [","]
    keys = []
    for word in words:
        key = normal(str(word).strip() or str(word))
        if not is_key(key):
            raise ConfigError(f"{place} is '{word}', which is no key; {_REMEDY} it")
        if key in SENT:
            raise ConfigError(f"{place} is '{word}', for which terminals send {SENT[key]}")
        if key in KEPT:
            raise ConfigError(f"{place} is '{word}', which is kept {KEPT[key]}; take another")
        keys.append(key)
    if len(set(keys)) < len(keys):
        raise ConfigError(f"{place} names a key twice")
    return tuple(keys)


def normal(key: str) -> str:
    """Return a key's one spelling: `/` is slash, `Ctrl+S` is ctrl+s."""
    if len(key) == 1:
        return str(_character_to_key(key))
    *before, last = key.split("+") if not key.endswith("++") else [*key[:-2].split("+"), "+"]
    if len(last) == 1:
        last = str(_character_to_key(last.lower() if "ctrl" in key.lower() else last))
    else:
        last = last.lower()
    return "+".join([*sorted(word.lower() for word in before), last])


def is_key(key: str) -> bool:
    """Return whether a key exists; `key` is spelled as `normal` does."""
    *before, last = key.split("+")
    if not set(before) <= {"ctrl", "alt", "shift"} or len(set(before)) < len(before):
        return False
    if last in NAMED:
        return True
    if before == ["alt"] or before == ["ctrl"]:  # terminals tell of no other signs with them
        return len(last) == 1 and last.isascii() and last.isalnum()
    return not before and (last in _CHARACTERS or (len(last) == 1 and last.isprintable()))


def judged(asked: Sequence[Wish], built_in: Mapping[str, str]) -> dict[str, str]:
    """Return what the wishes change, after every place where they might clash was looked at."""
    made: dict[str, str] = {}
    by: dict[str, Wish] = {}
    for wish in asked:
        known = [b.name for b in bound(wish.context) if b.name]
        if wish.name not in known:
            raise ConfigError(f"{wish.file}: keys.{wish.id}: {unknown(wish.name, known)}")
        made[wish.id] = ",".join(wish.keys)
        by[wish.id] = wish
    for one, other, key in clashes({**built_in, **made}):
        found = by.get(one.id) or by.get(other.id)
        if found is None:
            continue  # a built-in map's own affair; tests see to it
        taken = other if found.id == one.id else one
        name = f"keys.{taken.id}" if taken.name else f"'{taken.what or taken.action}'"
        raise ConfigError(
            f"{found.file}: keys.{found.id} is '{key}', which is also the key of {name}; "
            "give one of them another"
        )
    return made


def clashes(keymap: Mapping[str, str]) -> Iterator[tuple[Bound, Bound, str]]:
    """Yield two things that one key would do in one context: a pane, its screen, the app."""
    for screen, panes in SCREENS.items():
        for pane in panes or ("",):
            chain = [name for name in (pane, screen, EVERYWHERE) if name]
            yield from _clashes_in([b for name in chain for b in bound(name)], keymap)


def _clashes_in(
    what: Sequence[Bound], keymap: Mapping[str, str]
) -> Iterator[tuple[Bound, Bound, str]]:
    taken: dict[str, Bound] = {}
    for b in what:
        for key in keys_of(b, keymap):
            first = taken.setdefault(key, b)
            if first is b or (first.id, b.id) in SHADOWS or first.action == "stay":
                continue
            yield first, b, key


def keys_of(b: Bound, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys that something has in a map."""
    said = keymap.get(b.id) if b.name else None
    return tuple(said.split(",")) if said else b.keys
