"""The keys in the documents are those of the program."""

from __future__ import annotations

import os
from pathlib import Path

from textual.binding import Binding

from rpat_tui.app import RpatApp
from rpat_tui.screens.compare import CompareScreen, Groups
from rpat_tui.screens.compose import Compose
from rpat_tui.screens.detail import Detail
from rpat_tui.screens.keys import key_rows
from rpat_tui.screens.logs import LogsScreen
from rpat_tui.screens.queue import QueueScreen
from rpat_tui.screens.runs import About, RunsScreen
from rpat_tui.screens.table import TableScreen
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.papertable import PaperTable
from rpat_tui.widgets.runtable import RunTable
from rpat_tui.widgets.tail import Tail

PAGE = Path(__file__).parents[2] / "docs" / "tui.md"
PLACES = (
    ("everywhere", RpatApp), ("Runs", RunsScreen), ("the list", RunTable),
    ("the pages about a run", About), ("a chart", ChartWidget), ("Compose", Compose),
    ("Queue", QueueScreen), ("Compare", CompareScreen), ("the groups", Groups),
    ("Table", TableScreen), ("the cells", PaperTable), ("Detail", Detail), ("Logs", LogsScreen),
    ("the text of a log", Tail),
)  # fmt: skip


def keys() -> str:
    """Return the keys of every screen and pane as Markdown."""
    parts = []
    for title, kind in PLACES:
        rows = [f"| {' '.join(f'`{k}`' for k in keys.split(' '))} | {what} |"
                for keys, what in key_rows(kind)]  # fmt: skip
        parts.append("\n".join([f"| {title} | |", "| :-- | :-- |", *rows]))
    return "\n\n".join(parts)


def test_the_keys_of_the_page_are_those_of_the_program() -> None:
    text = PAGE.read_text("utf-8")
    head, _, rest = text.partition("make test) -->\n")
    made = f"{head}make test) -->\n\n{keys()}\n\n<!-- end of keys -->{rest.partition('-->')[2]}"
    if os.environ.get("RPAT_UPDATE_DOCS"):
        PAGE.write_text(made, "utf-8")
    assert PAGE.read_text("utf-8") == made


def test_every_binding_of_a_place_is_described() -> None:
    for _, kind in PLACES:
        assert all(isinstance(b, Binding) and b.description for b in kind.BINDINGS), kind
