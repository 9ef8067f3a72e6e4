"""Questions in front of a screen: yes or no, or a line of text."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

CSS = """
Ask, Line { align: center middle; background: $background 60%; }
.box { width: 64; max-width: 95%; height: auto; border: round $primary; padding: 0 1;
       background: $surface; }
"""


class Ask(ModalScreen[bool]):
    """A question that `y` answers with yes, everything else with no."""

    DEFAULT_CSS = CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        """Show the question and the two keys."""
        with Vertical(classes="box"):
            yield Static(self.question, markup=False)
            yield Static("y yes   n no", classes="keys", markup=False)

    def action_answer(self, yes: bool) -> None:
        """Leave with the answer."""
        self.dismiss(yes)


class Line(ModalScreen[str | None]):
    """A line of text; escape leaves without one."""

    DEFAULT_CSS = CSS
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "cancel")]

    def __init__(self, title: str, value: str = "", hint: str = "") -> None:
        super().__init__()
        self.heading, self.value, self.hint = title, value, hint

    def compose(self) -> ComposeResult:
        """Show the title, the field and a hint."""
        with Vertical(classes="box"):
            yield Static(self.heading, markup=False)
            yield Input(self.value, compact=True)
            yield Static(self.hint or "enter accepts, esc cancels", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Leave with the text."""
        self.dismiss(event.value)

    def action_cancel(self) -> None:
        """Leave without a text."""
        self.dismiss(None)
