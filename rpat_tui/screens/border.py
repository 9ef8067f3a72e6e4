"""The border between two panes of a screen: `<` and `>` move it, `=` puts it back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textual.binding import Binding
from textual.screen import Screen

STEP = 4
LEAST = 20
"""Columns that a pane keeps."""

BORDER_KEYS = (
    Binding("less_than_sign", "border(-1)", "border to the left", show=False),
    Binding("greater_than_sign", "border(1)", "border to the right", show=False),
    Binding("equals_sign", "sizes", "sizes as they were", show=False),
)


@dataclass(frozen=True, slots=True)
class Border:
    """One pane whose width is set; the other one takes what is left."""

    pane: str
    """Its selector."""
    left: bool = False
    """Whether it is the left one of the two."""
    size: Callable[[Screen[Any], int | None], None] | None = None
    """Sets the width where it is no width of the pane itself; None is the one of the CSS."""

    def width(self, screen: Screen[Any]) -> int:
        """Return how wide the pane is, with its own border; 0 where it is out of sight."""
        return screen.query_one(self.pane).outer_size.width

    def fit(self, screen: Screen[Any], width: int | None) -> None:
        """Give the pane a width that leaves room for the other one, or that of the CSS."""
        if width is not None:
            width = max(min(width, screen.app.size.width - LEAST), LEAST)
        if self.size is not None:
            self.size(screen, width)
            return
        screen.query_one(self.pane).styles.width = width
