"""Choosing one word of a list: a menu in front of a screen, with a filter as one types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static


class Pick(ModalScreen[str | None]):
    """A menu; enter takes the highlighted word, escape none."""

    DEFAULT_CSS = """
    Pick { align: center middle; background: $background 60%; }
    Pick > .box { width: 40; max-width: 95%; height: auto; max-height: 90%; border: round $primary;
                  padding: 0 1; background: $surface; }
    Pick OptionList { height: auto; max-height: 16; border: none; padding: 0; }
    Pick Input { height: 1; border: none; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "cancel"),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
    ]

    def __init__(self, title: str, words: Sequence[str]) -> None:
        super().__init__()
        self.heading, self.words = title, tuple(words)

    def compose(self) -> ComposeResult:
        """Show the title, the filter and the words."""
        with Vertical(classes="box"):
            yield Static(self.heading, markup=False)
            yield Input(placeholder="type to narrow", compact=True)
            yield OptionList(*self.words, markup=False)

    def on_mount(self) -> None:
        """Let typing narrow the list."""
        self.query_one(Input).focus()
        self.query_one(OptionList).highlighted = 0

    def on_input_changed(self, event: Input.Changed) -> None:
        """Keep the words that contain what was typed."""
        found = [word for word in self.words if event.value.lower() in word.lower()]
        menu = self.query_one(OptionList)
        menu.clear_options()
        menu.add_options(found)
        menu.highlighted = 0 if found else None

    def action_move(self, by: int) -> None:
        """Move the highlight while the filter has the focus."""
        menu = self.query_one(OptionList)
        menu.action_cursor_down() if by > 0 else menu.action_cursor_up()

    def on_input_submitted(self) -> None:
        """Take the highlighted word."""
        menu = self.query_one(OptionList)
        if menu.highlighted is not None:
            self.dismiss(str(menu.get_option_at_index(menu.highlighted).prompt))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take a word that was clicked."""
        self.dismiss(str(event.option.prompt))

    def action_leave(self) -> None:
        """Take none."""
        self.dismiss(None)
