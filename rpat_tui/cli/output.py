"""What commands share: opening a home to read, printing for people and for programs."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpat_tui.glyphs import COLOURS as COLOURS
from rpat_tui.glyphs import CONTROL, SHORT, UNICODE, Glyphs, glyphs_for, printable
from rpat_tui.glyphs import duration as duration
from rpat_tui.glyphs import figure as figure
from rpat_tui.indented import indented

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from rpat_tui.home import Home

HomeOption = Annotated[
    str | None,
    typer.Option("--home", help="Folder of runs and database; else RPAT_HOME.", metavar="PATH"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")]

READ_LIMIT = 0.2
"""Seconds that a reading command spends on journals when no worker lives."""


def console(stderr: bool = False) -> Console:
    """Return a console: as wide as the terminal, or wide and plain when piped."""
    from rpat_tui.exports._console import Console

    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(file=stream, highlight=False, markup=False)
    width = int(os.environ["COLUMNS"]) if os.environ.get("COLUMNS", "").isdigit() else 200
    return Console(
        file=stream, width=width, highlight=False, markup=False, no_color=True, soft_wrap=True
    )


def plain_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table without lines, its numbers to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table


MANY = 200
"""Rows from which on a table is printed a block at a time: Rich needs a millisecond for each."""


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: tuple[str, ...] = (),
    styles: Sequence[str] = (),
) -> None:
    """Print rows without lines between them; `styles` are those of the second cell of each row."""
    from rich.text import Text

    out = console()
    if len(rows) <= MANY:
        table = plain_table(*columns, right=right)
        for row, style in zip(rows, styles, strict=True):
            table.add_row(*(Text(cell, style=style * (i == 1)) for i, cell in enumerate(row)))
        out.print(table)
        return
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]

    def padded(row: Sequence[str]) -> list[str]:
        blanks = [" " * (width - cell_len(c)) for width, c in zip(widths, row, strict=True)]
        return [
            f"{blank}{cell}  " if name in right else f"{cell}{blank}  "
            for name, cell, blank in zip(columns, row, blanks, strict=True)
        ]

    out.print(Text("".join(padded(columns)), "dim"), no_wrap=True, overflow="ellipsis")
    for start in range(0, len(rows), MANY):
        block = Text(no_wrap=True, overflow="ellipsis")
        for row, style in zip(rows[start : start + MANY], styles[start:], strict=False):
            first, second, *rest = (*padded(row), "")  # a table may have one column
            block.append(first)
            block.append(second, style)
            block.append("".join(rest).rstrip() + "\n")
        out.print(block, end="")


def print_json(value: Any) -> None:
    """Print a value as JSON; JSON itself escapes only some of what a terminal obeys."""
    text = indented(value, ascii_only=False)
    if not text.isascii():
        text = re.sub(CONTROL, lambda found: f"\\u{ord(found[0]):04x}", text)
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")


def say(text: str) -> None:
    """Print a line of text; what a terminal would obey in it is left out."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def remark(text: str) -> None:
    """Print a line for people on standard error."""
    sys.stderr.write(printable(text) + "\n")


def glyph(state: str) -> str:
    """Return a state's sign, in ASCII where the output cannot show more."""
    return signs().states[state]


def signs() -> Glyphs:
    """Return the signs that the output can show."""
    stream = sys.__stdout__ or sys.stdout  # a live view puts a stand-in in the place of stdout
    return glyphs_for(stream.encoding)


def shows_glyphs() -> bool:
    """Return whether the output can show more than ASCII."""
    return signs() is UNICODE


def clock(t: float | None) -> str:
    """Format UTC seconds as local date and time."""
    return "–" if t is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(t))


def place(run: Any, room: bool) -> str:
    """Return a run's data set and, where it is not l_inf, its norm."""
    data = str(run["dataset"]) if room else SHORT.get(run["dataset"], run["dataset"])
    return data if run["norm"] == "linf" else f"{data} {run['norm']}"


def title(run: Any) -> str:
    """Return what a run is in a few words: method, RPAT and its weight."""
    if not run["rpat"]:
        return str(run["method"])
    return f"{run['method']}+rpat λ{run['lam']:g}"


def has_home(option: str | None) -> bool:
    """Return whether a home has been made where the option or the settings point to."""
    from rpat_tui.home import find_home

    path = find_home(option).path
    try:
        return path.exists() and not (path.is_dir() and not any(path.iterdir()))
    except PermissionError:
        return True  # opening it says why


@contextmanager
def reading(option: str | None) -> Iterator[tuple[Home, sqlite3.Connection]]:
    """Open the home's database for a command that reads; creates nothing.

    When no worker lives, the journals are read first, so that states are true. Raises
    `ConfigError` where there is no home yet.
    """
    from rpat.errors import ConfigError, StoreError
    from rpat_tui.home import find_home
    from rpat_tui.store import db as database

    home = find_home(option)
    try:
        missing = not home.exists()
        if not missing:
            os.listdir(home.runs)  # noqa: PTH208  only to see whether it may be read
    except OSError as error:
        raise StoreError(
            f"home {home.path} cannot be read ({error.strerror}); check its permissions or name "
            "another folder with --home"
        ) from error
    if missing:
        if home.path.exists() and not home.path.is_dir():
            raise StoreError(f"home {home.path} is a file; name a folder with --home or RPAT_HOME")
        raise ConfigError(
            f"home {home.path} has no runs yet; start one with rpat run, or rpat demo to try it"
        )
    if not os.access(home.path, os.W_OK):
        with database.opened_readonly(home) as db:
            remark(f"home {home.path} is read-only: shown as last seen by its worker")
            yield home, db
        return
    with database.opened(home) as db:
        refreshed(home, db)
        yield home, db


def refreshed(home: Home, db: sqlite3.Connection) -> None:
    """Read the journals unless a worker does so each second."""
    from rpat_tui.launch.locks import holder
    from rpat_tui.launch.reconcile import reconcile

    if holder(home.worker_lock) is None and not reconcile(home, db, seconds=READ_LIMIT):
        remark("some journals are not read yet: numbers may be a little old")
