"""Commands that compare: table."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rpat_tui.cli.output import HomeOption, JsonOption, has_home, reading


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


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(table)
