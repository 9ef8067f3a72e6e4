"""The screens behind the keys 1 to 5, made when they are first looked at."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from textual.screen import Screen

PLACES = {
    "runs": ("rpat_tui.screens.runs", "RunsScreen"),
    "queue": ("rpat_tui.screens.queue", "QueueScreen"),
    "compare": ("rpat_tui.screens.compare", "CompareScreen"),
    "table": ("rpat_tui.screens.table", "TableScreen"),
    "logs": ("rpat_tui.screens.logs", "LogsScreen"),
}
"""Mode -> where its screen is written."""


def _maker(module: str, name: str) -> Callable[[], Screen[None]]:
    def make() -> Screen[None]:
        screen: Screen[None] = getattr(import_module(module), name)()
        return screen

    return make


MODES = {mode: _maker(*place) for mode, place in PLACES.items()}
