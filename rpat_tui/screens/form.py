"""The parts of a form: a line with a field, a line of switches, and what lies around them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Size
from textual.message import Message
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, TextArea

from rpat_tui.compose import words
from rpat_tui.draft import Field, decimal

LABEL = 11
"""Columns before the fields."""


class Words(Suggester):
    """Completes the last word of a comma list."""

    def __init__(self, known: Iterable[str]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.known = tuple(known)

    async def get_suggestion(self, value: str) -> str | None:
        """Return the first word that goes on like the last one."""
        head, comma, last = value.rpartition(",")
        begun = last.lstrip()
        for word in self.known if begun else ():
            if word.startswith(begun):
                return head + comma + last[: len(last) - len(begun)] + word
        return None


class Line(Widget):
    """A field with its title before it, and what is wrong with it below."""

    DEFAULT_CSS = """
    Line { height: 1; width: 1fr; }
    Line > Input { width: 1fr; margin: 0 12 0 11; }
    Line > TextArea { width: 1fr; height: 3; margin: 0 12 0 11; padding: 0; }
    Line.-high { height: 3; }
    """

    def __init__(self, field: Field, more: str) -> None:
        self.names = tuple(field.choices())
        super().__init__(id=f"line-{field.name}")
        self.field, self.more = field, more
        self.problem = self.note = self.default = ""
        known = Words(self.names) if self.names else None
        self.box: Input | TextArea = (
            TextArea(compact=True, highlight_cursor_line=False, soft_wrap=False, id=field.name)
            if field.name == "set"
            else Input(compact=True, id=field.name, suggester=known, select_on_focus=False)
        )
        """The field itself."""

    def compose(self) -> ComposeResult:
        """Show one field."""
        self.set_class(isinstance(self.box, TextArea), "-high")
        yield self.box

    @property
    def text(self) -> str:
        """What is written in it."""
        box = self.box
        return box.value if isinstance(box, Input) else box.text

    @text.setter
    def text(self, text: str) -> None:
        box = self.box
        if isinstance(box, Input):
            box.value = text
        else:
            box.load_text(text)

    def tell(self, problem: str, default: str) -> None:
        """Show what is wrong, the recipe's value in its place, and decimals of fractions."""
        shown = f"{default} {decimal(default)}".strip()
        if self.default != shown:
            self.default = shown
            if isinstance(self.box, Input):
                self.box.placeholder = shown
        note = decimal(self.text) if not problem else ""
        if (problem, note) != (self.problem, self.note):
            self.problem, self.note = problem, note
            self._fit()
            self.refresh()

    def _wrapped(self) -> list[str]:
        width = max(self.size.width - LABEL - 1, 16)
        return textwrap.wrap(self.problem, width, max_lines=2, placeholder=" …")

    def _fit(self) -> None:
        height = (3 if self.field.name == "set" else 1) + len(self._wrapped())
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height

    def on_resize(self) -> None:
        """Make room for what is wrong."""
        if self.problem:
            self._fit()

    def render(self) -> Text:
        """Draw what lies around the field."""
        style = "bold red" if self.problem else ""
        text = Text(no_wrap=True)  # a hue of the whole text would be CSS's, not the theme's
        text.append(f"{self.field.title:<{LABEL - 1}.{LABEL - 1}}", style=style)
        if self.note:
            text.append(" " * (self.size.width - LABEL + 1 - len(self.note)))
            text.append(self.note, style="dim")
        elif self.names:
            text.append(" " * (self.size.width - LABEL - 10) + self.more, style="dim")
        text.append("\n" * (3 if self.field.name == "set" else 1))
        for line in self._wrapped():
            text.append(" " * LABEL + line + "\n", style="red")
        return text


class Switches(Widget, can_focus=True):
    """Words that are on or off; left and right move, space switches."""

    DEFAULT_CSS = """
    Switches { height: auto; width: 1fr; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "move(-1)", show=False),
        Binding("right,l", "move(1)", show=False),
        Binding("space,x,enter", "switch", "switch", show=False),
    ]

    @dataclass
    class Changed(Message):
        """A word was switched."""

        switches: Switches

    @dataclass
    class Moved(Message):
        """Another word is under the cursor."""

        switches: Switches

    def __init__(self, title: str, names: Sequence[str], id: str) -> None:
        super().__init__(id=id)
        self.title, self.names = title, tuple(names)
        self.on: frozenset[str] = frozenset()
        self.given: frozenset[str] = frozenset()
        self.at = 0

    @property
    def name_at(self) -> str:
        """The word under the cursor."""
        return self.names[self.at]

    def put(self, on: Iterable[str]) -> None:
        """Switch these on, all others off."""
        self.on = frozenset(on) & set(self.names)
        self.refresh()

    def tell(self, given: frozenset[str]) -> None:
        """Show which ones the recipe brings by itself."""
        if self.given != given & set(self.names):
            self.given = given & set(self.names)
            self.refresh()

    def _places(self, width: int) -> list[tuple[int, int]]:
        """Return column and line of each word."""
        x, y, out = LABEL, 0, []
        for name in self.names:
            if x > LABEL and x + len(name) + 4 > width:
                x, y = LABEL, y + 1
            out.append((x, y))
            x += len(name) + 6
        return out

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many lines the words take."""
        return self._places(width)[-1][1] + 1

    def render(self) -> Text:
        """Draw title and words."""
        text = Text(f"{self.title:<{LABEL}.{LABEL}}", no_wrap=True)
        column, row = LABEL, 0
        for n, (name, (x, y)) in enumerate(
            zip(self.names, self._places(self.size.width), strict=True)
        ):
            if y > row:
                text.append("\n" + " " * LABEL)
                column, row = LABEL, y
            text.append(" " * (x - column))
            mark = "x" if name in self.on else "=" if name in self.given else " "
            style = "bold" if mark != " " else "dim"
            if n == self.at and self.has_focus:
                style = "reverse"
            text.append(f"[{mark}] {name}", style=style)
            column = x + len(name) + 4
        return text

    def on_focus(self) -> None:
        """Show the cursor."""
        self.refresh()
        self.post_message(self.Moved(self))

    def on_blur(self) -> None:
        """Hide the cursor."""
        self.refresh()

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.at = max(min(self.at + by, len(self.names) - 1), 0)
        self.refresh()
        self.post_message(self.Moved(self))

    def action_switch(self) -> None:
        """Switch the word under the cursor."""
        self.on = self.on ^ {self.name_at}
        self.refresh()
        self.post_message(self.Changed(self))

    def on_click(self, event: events.Click) -> None:
        """Switch the word under the mouse."""
        for n, (x, y) in enumerate(self._places(self.size.width)):
            if event.y == y and x <= event.x < x + len(self.names[n]) + 4:
                self.at = n
                self.action_switch()


class Form(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The lines of a form; up and down go from one to the next."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]


def with_word(text: str, word: str, *, is_list: bool) -> str:
    """Return a field's text with a chosen word: in the place of all, or after the last comma."""
    if is_list and text.rstrip().endswith(","):
        return ",".join([*words(text), word])
    return word
