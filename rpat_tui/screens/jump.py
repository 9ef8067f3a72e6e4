"""Going to a pane by its letter: a sign with it lies on each, and the next key takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import ascii_lowercase
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.geometry import Offset
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static


class Jump(ModalScreen[str | None]):
    """Signs on the panes of the screen below; a letter takes one, any other key none.

    Signs of panes that are not in sight lie below that of the first one.
    """

    AUTO_FOCUS: ClassVar[str] = ""
    DEFAULT_CSS = """
    Jump { background: $background 60%; }
    Jump > .sign { position: absolute; width: auto; height: 1; padding: 0 1; background: $primary;
                   color: $background; text-style: bold; }
    """

    def __init__(self, panes: Mapping[str, Widget]) -> None:
        super().__init__()
        self.panes = dict(panes)
        self.letters = letters(panes)

    def compose(self) -> ComposeResult:
        """Lay a sign on each pane."""
        places = _places(self.panes)
        for letter, name in self.letters.items():
            sign = Static(f"{letter}  {name}", classes="sign", markup=False)
            sign.styles.offset = places[name]
            yield sign

    def on_key(self, event: events.Key) -> None:
        """Take the pane of a letter."""
        event.stop()
        self.dismiss(self.letters.get(event.key))


def letters(names: Iterable[str]) -> dict[str, str]:
    """Return a letter for each name: its first one that no name before it has."""
    found: dict[str, str] = {}
    for name in names:
        letter = next(c for c in name.lower() + ascii_lowercase if c.isalpha() and c not in found)
        found[letter] = name
    return found


def _places(panes: Mapping[str, Widget]) -> dict[str, Offset]:
    """Return where signs lie: at the beginnings of panes that are in sight, or below the first."""
    seen = {name: pane.region.offset for name, pane in panes.items() if pane.region.area}
    first = min(seen.values(), key=lambda offset: (offset.y, offset.x), default=Offset(0, 1))
    hidden = [name for name in panes if name not in seen]
    return seen | {name: first + Offset(0, i) for i, name in enumerate(hidden, 1)}
