"""The keys in the documents are those of the program."""

from __future__ import annotations

import os
from pathlib import Path

from rpat_tui.screens import keymap
from rpat_tui.screens.keys import sign

PAGE = Path(__file__).parents[2] / "docs" / "tui.md"
TITLES = {
    "everywhere": "everywhere", "runs": "Runs", "list": "the list", "chart": "a chart",
    "queue": "Queue", "compare": "Compare", "groups": "the groups of Compare", "table": "Table",
    "cells": "the cells of Table", "logs": "Logs", "text": "the text of a log",
    "detail": "Detail", "facts": "the facts of Detail", "about": "the pages about a run",
    "compose": "Compose",
}  # fmt: skip


def code(keys: tuple[str, ...]) -> str:
    return " ".join(f"`` {sign(k)} ``" if sign(k) == "`" else f"`{sign(k)}`" for k in keys)


def keys() -> str:
    """Return the keys of every screen and pane as Markdown, then what emacs changes."""
    parts = []
    for place in keymap.PLACES:
        rows = [
            f"| {code(b.keys)} | {f'`{b.name}`' if b.name else '–'} | {b.what} |"
            for b in keymap.bound(place)
        ]
        head = [f"| {TITLES[place]} | `keys.{place}` | |", "| :-- | :-- | :-- |"]
        parts.append("\n".join([*head, *rows]))
    changed = keymap.MAPS["emacs"]
    rows = [
        f"| `{b.id}` | {code(tuple(changed[b.id].split(',')))} |"
        for place in keymap.PLACES
        for b in keymap.bound(place)
        if b.id in changed and b.name
    ]
    parts.append("\n".join(['| with `map = "emacs"` | |', "| :-- | :-- |", *rows]))
    return "\n\n".join(parts)


def test_the_keys_of_the_page_are_those_of_the_program() -> None:
    text = PAGE.read_text("utf-8")
    head, _, rest = text.partition("make test) -->\n")
    made = f"{head}make test) -->\n\n{keys()}\n\n<!-- end of keys -->{rest.partition('-->')[2]}"
    if os.environ.get("RPAT_UPDATE_DOCS"):
        PAGE.write_text(made, "utf-8")
    assert PAGE.read_text("utf-8") == made


def test_every_place_with_keys_has_a_title() -> None:
    assert set(TITLES) == set(keymap.PLACES)
