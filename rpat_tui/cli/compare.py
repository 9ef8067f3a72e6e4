"""Commands that compare: table, compare."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rpat_tui.cli.elsewhere import RemoteOption, asked_for, looking
from rpat_tui.cli.output import (
    HomeOption,
    JsonOption,
    has_home,
    print_json,
    remark,
    say,
)
from rpat_tui.uncollected import uncollected

if TYPE_CHECKING:
    from rpat_tui.contrast import Group
    from rpat_tui.paper_table import Ask


def table(
    dataset: Annotated[str, typer.Option("--dataset", help="Only this data set.")] = "",
    norm: Annotated[str, typer.Option("--norm", help="Only this norm.")] = "",
    model: Annotated[str, typer.Option("--model", help="Only this network.")] = "",
    method: Annotated[str, typer.Option("--method", help="Only this method.")] = "",
    suite: Annotated[
        str,
        typer.Option(
            "--suite",
            help="The rows of a suite, filled or not (table1, your.toml); --dataset, --norm and "
            "--model then change them.",
        ),
    ] = "",
    where: Annotated[
        str, typer.Option("--where", help="Of a suite, only these: dataset=cifar10 is:rpat.")
    ] = "",
    epochs: Annotated[int, typer.Option("--epochs", help="Of a suite: another length.")] = 0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Of a suite: any value in every row; repeat.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", help="best or final; empty: both. Else best, or the suite's."),
    ] = None,
    select: Annotated[
        str,
        typer.Option(
            "--select", help="Another rule for best: pgd, mean, nrr, lex:POINTS or last; @val."
        ),
    ] = "",
    robust: Annotated[
        str, typer.Option("--robust", help="Basis of Mean and NRR: aa or pgd20.")
    ] = "aa",
    paper: Annotated[
        bool, typer.Option("--paper", help="Put the published row and the difference beside ours.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Points within which a number is the paper's.")
    ] = 0.5,
    test: Annotated[
        bool,
        typer.Option(
            "--test", help="Test rows with RPAT against those without: t, paired or Welch's, Holm."
        ),
    ] = False,
    arrangement: Annotated[
        str, typer.Option("--layout", help="long, or paper: data sets beside each other.")
    ] = "long",
    columns: Annotated[
        str,
        typer.Option(
            "--columns",
            help="Into blocks of columns: dataset, norm, model, rpat, checkpoint; a list.",
        ),
    ] = "",
    layout: Annotated[
        str, typer.Option("--format", help="rich, md, latex, csv, json or html.")
    ] = "rich",
    standalone: Annotated[
        bool, typer.Option("--standalone", help="With latex: a whole document that compiles.")
    ] = False,
    verify: Annotated[
        str | None,
        typer.Option(
            "--verify",
            metavar="FILE",
            help="Make the tables of a file again and fail where a number is another now.",
        ),
    ] = None,
    remote: RemoteOption = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Print the paper-style summary.

    Clean, PGD-20, AutoAttack, Mean and NRR: mean ± standard deviation over seeds.

    Example: rpat table --suite table1 --paper --layout paper --format latex > table1.tex
    """
    from rpat.errors import ConfigError
    from rpat.knobs import unknown
    from rpat_tui import exports, paper_table

    if verify is not None:
        raise typer.Exit(_verify(verify, home, remote))
    layout = "json" if json else layout
    if layout not in exports.names():
        raise ConfigError(f"--format {unknown(layout, exports.names())}")
    if standalone and layout != "latex":
        raise ConfigError("--standalone is for --format latex; the other formats need no document")
    ask = paper_table.Ask(
        dataset=dataset, norm=norm, model=model, method=method, suite=suite, where=where,
        epochs=epochs, set=tuple(changes or ()), checkpoint=checkpoint, select=select,
        robust=robust, paper=paper, tolerance=tolerance, test=test, layout=arrangement,
        columns=columns, remote=tuple(remote or ()),
    )  # fmt: skip
    _print_table(ask, layout, home, **({"standalone": True} if standalone else {}))


@uncollected()
def _print_table(ask: Ask, layout: str, home: str | None, **options: bool) -> None:
    """Make a table and write it; its thousands of objects are gone before collections go on."""
    from rpat_tui import exports, paper_table
    from rpat_tui.home import data_folder, find_home

    folder = data_folder(find_home(home), None)
    stamp = bool(ask.suite) or layout != "rich"
    if has_home(home) or asked_for(home, ask.remote):
        with looking(home, ask.remote) as (_, db):
            made = paper_table.build(db, ask, folder, stamp=stamp)
    else:
        made = paper_table.build(None, ask, folder, stamp=stamp)
    exports.write(layout, made, sys.stdout, **options)


def _verify(file: str, home: str | None, remote: Sequence[str] | None) -> int:
    """Compare the tables of a file with what the same commands make now; returns the status."""
    from rpat_tui import drift
    from rpat_tui.home import data_folder, find_home

    folder = data_folder(find_home(home), None)
    remote = remote or drift.machines(Path(file))
    if has_home(home) or asked_for(home, remote):
        with looking(home, remote) as (_, db):
            found = drift.verify(Path(file), db, folder)
    else:
        found = drift.verify(Path(file), None, folder)
    for one in found:
        for cell in one.drifted:
            say(f"{file}: {cell.name}: {cell.then or 'nothing'} there, {cell.now or 'nothing'} now")
        if one.drifted:
            say(f"{file}: {len(one.drifted)} of {one.cells} cells of `{one.asked}` have drifted")
            continue
        say(f"{file}: {one.cells} cells of `{one.asked}` are as they were")
        if one.other:
            remark(
                f"{file}: the provenance is another now: other runs, weights or hidden digits "
                "behind the same numbers"
            )
    return int(any(one.drifted for one in found))


def compare(
    runs: Annotated[list[str], typer.Argument(help="Ids (r0001) or names, one a group.")],
    rule: Annotated[
        str,
        typer.Option("--rule", help="best, final, pgd, mean, nrr, lex:POINTS or last; with @val."),
    ] = "best",
    metric: Annotated[
        str, typer.Option("--metric", help="Also the newest value of this metric.")
    ] = "",
    robust: Annotated[
        str, typer.Option("--robust", help="Basis of Mean and NRR: aa or pgd20; empty: by itself.")
    ] = "",
    only: Annotated[
        bool, typer.Option("--only", help="Only these runs, not their other seeds.")
    ] = False,
    remote: RemoteOption = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Compare runs with their seeds: config, results, tests.

    The first group is what the others are tested against: a paired t test where the seeds match,
    else Welch's; p-values by Holm's correction; fewer than 3 seeds give no test.
    """
    from rpat.errors import ConfigError
    from rpat.knobs import unknown
    from rpat_tui import sheet
    from rpat_tui.contrast import contrast, groups_of
    from rpat_tui.store import kin, queries

    if robust not in ("", "aa", "pgd20"):
        raise ConfigError(f"--robust {unknown(robust, ['aa', 'pgd20'])}")
    with looking(home, remote, runs) as (_, db):
        numbers = queries.find(db, runs)
        numbers = numbers if only else kin.seeds_of(db, numbers)
        groups = groups_of(db, numbers)
        if not groups:
            raise ConfigError("compare: these are no training runs")
        made = contrast(db, groups, rule=rule, robust=robust, metric=_stored(db, groups, metric))
    if json:
        print_json(sheet.as_json(made))
    else:
        sys.stdout.write(sheet.terminal(made))


def _stored(db: sqlite3.Connection, groups: Sequence[Group], word: str) -> str:
    """Return the full name of a metric that one of the groups has."""
    from rpat.errors import ConfigError
    from rpat.knobs import unknown
    from rpat_tui.charts.curves import SHORT, named
    from rpat_tui.store import queries

    if not word:
        return ""
    latest = queries.latest(db, [n for group in groups for n in group.numbers])
    known = {name for values in latest.values() for name in values}
    if named(word) not in known:
        raise ConfigError(f"--metric {unknown(word, sorted({*SHORT, *known}))}")
    return named(word)


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(table)
    app.command()(compare)
