"""To be written."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from rpat_tui.screens.base import Page


class TableScreen(Page):
    """To be written."""

    def __init__(self, like: int | None = None) -> None:
        super().__init__()
        self.like = like

    def body(self) -> ComposeResult:
        """Nothing yet."""
        yield Static("nothing here yet")
