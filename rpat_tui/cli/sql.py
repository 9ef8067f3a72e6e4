"""Questions in SQL: rpat sql."""

from __future__ import annotations

import csv
import json as json_format
import math
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any

import typer

from rpat_tui.cli.output import HomeOption, JsonOption, print_json, reading, remark, say

FORMATS = ("table", "csv", "json", "md")
PAGE = 500
"""Rows that are shown to people unless they ask for more."""
WIDEST = 60
"""Characters of a cell that people are shown."""


def sql(
    query: Annotated[
        str, typer.Argument(help="A select; - reads it from standard input; none lists the views.")
    ] = "",
    layout: Annotated[str, typer.Option("--format", help="table, csv, json or md.")] = "table",
    limit: Annotated[
        int | None,
        typer.Option("--limit", help=f"Rows at most; 0: all. Else {PAGE} in table and md."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds that the query may take; 0: any.")
    ] = 0.0,
    database: Annotated[
        bool, typer.Option("--database", help="Only print where the database file is.")
    ] = False,
    datasette: Annotated[
        bool, typer.Option("--datasette", help="Only print metadata for Datasette.")
    ] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Ask the database in SQL; it only reads.

    Views with a version in their name keep their columns; without a query they are listed.

    Example: rpat sql "select run, method, best_pgd from v1_runs order by best_pgd desc"
    """
    from rpat.errors import ConfigError
    from rpat.knobs import unknown
    from rpat_tui.store.ask import asking

    layout = "json" if json else layout
    if layout not in FORMATS:
        raise ConfigError(f"--format {unknown(layout, FORMATS)}")
    for option, value in (("--limit", limit), ("--timeout", timeout)):
        if value is not None and value < 0:
            raise ConfigError(f"{option} is {value:g}; it must be 0 or more")
    if not (query or database or datasette):
        _print_views(layout == "json")
        return
    with reading(home) as (place, db):  # reads the journals; the question gets its own connection
        if database:
            say(str(place.database))
            return
        if datasette:
            from rpat_tui.store.datasette import metadata

            print_json(metadata(db, place.database.stem))
            return
    text = sys.stdin.read() if query == "-" else query
    with asking(place, timeout) as ask:
        answer = ask(text)
        most = limit if limit is not None else PAGE * (layout in ("table", "md"))
        rows = iter(answer.rows)
        shown = islice(rows, most) if most else rows
        _WRITERS[layout](answer.columns, shown)
        if most and next(rows, None) is not None:
            remark(f"{most} rows are shown and there are more; --limit 0 shows all")


def _print_views(as_json: bool) -> None:
    from rpat_tui.store.views import VIEWS

    if as_json:
        print_json(
            {name: {"rows": v.rows, "columns": dict(v.columns)} for name, v in VIEWS.items()}
        )
        return
    for name, view in VIEWS.items():
        say(f"{name}: {view.rows}")
        width = max(map(len, view.columns))
        for column, meaning in view.columns.items():
            say(f"  {column:<{width}}  {meaning}")
        say("")


def _as_table(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    from rpat_tui.cli.output import print_table

    found = list(rows)
    heads = [_cell(name) for name in columns]
    heads = [f"{h}:{i}" if heads.index(h) != i else h for i, h in enumerate(heads)]
    numbers = tuple(h for i, h in enumerate(heads) if all(_is_number(row[i]) for row in found))
    cells = [[_cell(value) for value in row] for row in found]
    print_table(heads, cells, right=numbers, styles=[""] * len(cells))


def _as_md(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    found = list(rows)
    numbers = [all(_is_number(row[i]) for row in found) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    say(line([_cell(name).replace("|", "\\|") for name in columns]))
    say(line(["--:" if right else ":--" for right in numbers]))
    for row in found:
        say(line([_cell(value).replace("|", "\\|") for value in row]))


def _as_csv(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([v.hex() if isinstance(v, bytes) else v for v in row] for row in rows)


def _as_json(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    """Print a list of objects, one a line, as they are found."""
    from rpat.errors import ConfigError

    twice = next((c for i, c in enumerate(columns) if c in columns[:i]), None)
    if twice is not None:
        raise ConfigError(f"two columns are called '{twice}'; name one of them with: as OTHER")
    before = "[\n  "
    for row in rows:
        values = dict(zip(columns, map(_plain, row), strict=True))
        sys.stdout.write(before + json_format.dumps(values, ensure_ascii=False))
        before = ",\n  "
    sys.stdout.write("[]\n" if before.startswith("[") else "\n]\n")


_WRITERS = {"table": _as_table, "csv": _as_csv, "json": _as_json, "md": _as_md}


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def _cell(value: Any) -> str:
    """Return a value on one line that no terminal takes for a command, and not too long."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = value.hex() if isinstance(value, bytes) else str(value)
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(sql)
