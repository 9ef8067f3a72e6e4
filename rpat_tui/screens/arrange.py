"""Which columns the list shows, and in which order: the menu behind `o`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rpat_tui.widgets.columns import COLUMNS, DEFAULT, FIXED

HINT = "space in/out   J K move   = as they were   enter take   esc cancel"


class Arrange(ModalScreen[tuple[str, ...] | None]):
    """All columns, those that are shown first; enter returns their names in order."""

    DEFAULT_CSS = """
    Arrange { align: center middle; background: $background 60%; }
    Arrange > .box { width: 70; max-width: 95%; height: auto; max-height: 90%;
                     border: round $primary; padding: 0 1; background: $surface; }
    Arrange OptionList { height: auto; max-height: 27; border: none; padding: 0;
                         background: transparent; }
    Arrange OptionList:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "take(False)", "cancel"),
        Binding("enter", "take(True)", "take", priority=True),
        Binding("space,x", "include", "in/out"),
        Binding("J", "shift(1)", "later"),
        Binding("K", "shift(-1)", "earlier"),
        Binding("j", "move(1)", "down"),
        Binding("k", "move(-1)", "up"),
        Binding("equals_sign", "reset", "as they were"),
    ]

    def __init__(self, shown: Sequence[str]) -> None:
        super().__init__()
        self.shown, self.order = _both(shown)

    def compose(self) -> ComposeResult:
        """Show the columns and the keys."""
        with Vertical(classes="box"):
            yield Static("columns", markup=False)
            yield OptionList(markup=False)
            yield Static(HINT, markup=False)

    def on_mount(self) -> None:
        """Begin at the first column."""
        self._list(0)

    @property
    def menu(self) -> OptionList:
        """The list of columns."""
        return self.query_one(OptionList)

    @property
    def at(self) -> int:
        """The place of the column under the cursor."""
        return self.menu.highlighted or 0

    def _list(self, at: int) -> None:
        self.menu.clear_options()
        for name in self.order:
            mark = "x" if name in self.shown else " "
            title = COLUMNS[name].title
            fixed = "   always shown" if name in FIXED else ""
            self.menu.add_option(Option(f"[{mark}] {name:<11} {title}{fixed}"))
        self.menu.highlighted = at

    def action_include(self) -> None:
        """Show the column, or leave it out; its place is kept."""
        name = self.order[self.at]
        if name in FIXED:
            self.app.notify(f"{name} is always shown", severity="warning")
            return
        if name in self.shown:
            self.shown.remove(name)
        else:
            self.shown.append(name)
        self._list(self.at)

    def action_shift(self, by: int) -> None:
        """Move the column in the order."""
        at, to = self.at, self.at + by
        if 0 <= to < len(self.order):
            self.order[at], self.order[to] = self.order[to], self.order[at]
            self._list(to)

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.menu.action_cursor_down() if by > 0 else self.menu.action_cursor_up()

    def action_reset(self) -> None:
        """Go back to the columns of a new home."""
        self.shown, self.order = _both(DEFAULT)
        self._list(0)

    def action_take(self, yes: bool) -> None:
        """Leave with the columns, or without."""
        self.dismiss(tuple(n for n in self.order if n in self.shown) if yes else None)


def _both(shown: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns that are shown, and all of them in order."""
    return list(shown), [*shown, *(name for name in COLUMNS if name not in shown)]
