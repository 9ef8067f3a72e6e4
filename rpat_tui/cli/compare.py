"""Commands that compare: table, compare."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rpat_tui.cli.output import HomeOption, JsonOption, has_home, print_json, reading

if TYPE_CHECKING:
    from rpat_tui.contrast import Group


def table(
    dataset: Annotated[str, typer.Option("--dataset", help="Only this data set.")] = "",
    norm: Annotated[str, typer.Option("--norm", help="Only this norm.")] = "",
    model: Annotated[str, typer.Option("--model", help="Only this network.")] = "",
    method: Annotated[str, typer.Option("--method", help="Only this method.")] = "",
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", help="best or final; empty: both.")
    ] = "best",
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
    layout: Annotated[str, typer.Option("--format", help="rich, md, latex, csv or json.")] = "rich",
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Print the paper-style summary.

    Clean, PGD-20, AutoAttack, Mean and NRR: mean ± standard deviation over seeds.
    """
    from rpat.config import DATASETS, MODELS, NORMS
    from rpat.errors import ConfigError
    from rpat.knobs import unknown
    from rpat_tui import exports, selection
    from rpat_tui.compare import summarise
    from rpat_tui.store import queries

    layout = "json" if json else layout
    for flag, value, known in (
        ("--format", layout, exports.names()),
        ("--dataset", dataset, ["", *DATASETS]),
        ("--norm", norm, ["", *NORMS]),
        ("--model", model, ["", *MODELS]),
        ("--checkpoint", checkpoint, ["best", "final", ""]),
        ("--robust", robust, ["aa", "pgd20"]),
    ):
        if value not in known:
            raise ConfigError(f"{flag} {unknown(value, filter(None, known))}")
    if select and checkpoint == "final":
        raise ConfigError("--select chooses the best weights; leave --checkpoint final out")
    if select:
        selection.rule(select)  # refused here too when there is nothing to select from yet
    measured = []
    if has_home(home):
        with reading(home) as (_, db):
            measured = queries.measurements(
                db, dataset=dataset, norm=norm, model=model, method=method, checkpoint=checkpoint,
                select=select,
            )  # fmt: skip
    made = summarise(measured, robust=robust, checkpoint=checkpoint, paper=paper)
    exports.get(layout).write(made, sys.stdout)


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
    with reading(home) as (_, db):
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
