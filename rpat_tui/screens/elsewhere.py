"""Where a key works that has no use on the present screen."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from textual.screen import Screen

from rpat_tui.screens.keys import key_rows, sign
from rpat_tui.screens.modes import PLACES

PANES = {
    "the list of runs (1)": ("rpat_tui.widgets.runtable", "RunTable"),
    "a chart": ("rpat_tui.widgets.chart", "ChartWidget"),
    "the cells of the table (4)": ("rpat_tui.widgets.papertable", "PaperTable"),
    "a run that was opened": ("rpat_tui.screens.detail", "Detail"),
    "the groups of the comparison (3)": ("rpat_tui.screens.compare", "Groups"),
}
TITLES = {"runs": "the runs (1)", "queue": "the queue (2)", "compare": "the comparison (3)",
          "table": "the table (4)", "logs": "the log (5)"}  # fmt: skip
MOST = 3
"""Places that are named."""


def where(key: str, screen: Screen[Any], keymap: Mapping[str, str]) -> str:
    """Return one line about where a key works; '' for a key that works nowhere.

    `keymap` are the keys in force that differ from those of the code.
    """
    name = sign(key)
    places = {TITLES[mode]: place for mode, place in PLACES.items()} | PANES
    found = []
    for title, (module, kind) in places.items():
        owner = getattr(import_module(module), kind)
        if isinstance(screen, owner):
            continue
        for keys, what in key_rows(owner, keymap):
            if name in keys.split(" "):
                found.append(f"{what}, in {title}")
    return f"{name} does nothing here: {'; '.join(found[:MOST])}" if found else ""
