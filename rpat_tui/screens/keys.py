"""Every key of a screen, searchable: the help behind `?`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Static


class Keys(ModalScreen[None]):
    """The keys of the screen below: its own, those of its panes, those of everywhere."""

    DEFAULT_CSS = """
    Keys { align: center middle; background: $background 60%; }
    Keys > .box { width: 78; max-width: 98%; height: 90%; border: round $primary; padding: 0 1;
                  background: $surface; }
    Keys VerticalScroll { scrollbar-size-vertical: 1; scrollbar-color: $border-blurred;
                          scrollbar-background: $surface; }
    Keys Input { height: 1; border: none; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark", "dismiss", "close"),
        Binding("down", "scroll(1)", show=False),
        Binding("up", "scroll(-1)", show=False),
    ]

    def __init__(self, below: Screen[Any]) -> None:
        super().__init__()
        self.groups = groups(below)

    def compose(self) -> ComposeResult:
        """Show a filter and the keys."""
        with Vertical(classes="box"):
            yield Input(placeholder="type to find a key", compact=True)
            with VerticalScroll(can_focus=False):
                yield Static(self._table(""))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show the keys that match."""
        self.query_one(Static).update(self._table(event.value.lower()))

    def action_scroll(self, by: int) -> None:
        """Scroll while the filter has the focus."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def _table(self, text: str) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(justify="right", style="bold")
        table.add_column()
        for title, rows in self.groups:
            found = [r for r in rows if text in r[0].lower() or text in r[1].lower()]
            if found:
                if table.row_count:
                    table.add_row("", "")
                table.add_row("", title, style="dim")
            for key, what in found:
                table.add_row(key, what)
        return table


def groups(screen: Screen[Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the keys of a screen by where they work; each key with what it does."""
    places: list[tuple[str, Any]] = [("this screen", screen)]
    kinds: set[type] = set()
    for widget in screen.query("*"):
        if isinstance(widget, Input):  # its keys are those of any line of text
            continue
        if widget.can_focus and type(widget).BINDINGS and type(widget) not in kinds:
            kinds.add(type(widget))
            places.append((_name(type(widget)), widget))
    places.append(("everywhere", screen.app))
    keymap = screen.app._keymap
    return [(title, rows) for title, owner in places if (rows := key_rows(type(owner), keymap))]


TITLES = {
    "list": "the list", "chart": "the chart", "text": "the text", "cells": "the cells",
    "groups": "the groups", "about": "the details", "facts": "the facts", "plane": "the plane",
}  # fmt: skip


def _name(kind: Any) -> str:
    return TITLES.get(getattr(kind, "CONTEXT", ""), str(kind.__name__))


def key_rows(kind: Any, keymap: Mapping[str, str] = {}) -> list[tuple[str, str]]:
    """Return the keys that a screen, a pane or the app has now, each with what it does.

    `keymap` are the keys in force that differ from those of the code, by the names of actions.
    """
    rows = []
    for binding in kind.BINDINGS:
        if isinstance(binding, Binding) and binding.description:
            keys = keymap.get(binding.id or "") or binding.key
            shown = " ".join(sign(key) for key in str(keys).split(","))
            rows.append((shown, str(binding.tooltip or binding.description)))
    return rows


def sign(name: str) -> str:
    """Return a key as people write it: `/` for slash, `alt+<` for alt+less_than_sign."""
    *before, last = name.strip().split("+")
    return "+".join([*before, _sign(last)])


def _sign(name: str) -> str:
    signs = {
        "slash": "/", "question_mark": "?", "colon": ":", "grave_accent": "`",
        "left_square_bracket": "[", "right_square_bracket": "]", "plus": "+", "minus": "-",
        "equals_sign": "=", "less_than_sign": "<", "greater_than_sign": ">", "full_stop": ".",
        "comma": ",", "asterisk": "*", "apostrophe": "'",
    }  # fmt: skip
    return signs.get(name, name)
