"""Pages to keep and to send: rpat report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rpat_tui.cli.elsewhere import RemoteOption, asked_for, looking
from rpat_tui.cli.output import HomeOption, JsonOption, has_home, print_json, say

if TYPE_CHECKING:
    from rpat_tui.paper_table import Ask


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Ids (r0001) or names; none: all in the list.", metavar="RUN..."),
    ] = None,
    where: Annotated[
        str, typer.Option("--where", help="Only runs that match, as in rpat list.")
    ] = "",
    suite: Annotated[
        str,
        typer.Option(
            "--suite",
            help="A suite (table1, your.toml): its table with holes and printed numbers, and its "
            "runs; --where then narrows it.",
        ),
    ] = "",
    dataset: Annotated[str, typer.Option("--dataset", help="Of a suite: other images.")] = "",
    model: Annotated[str, typer.Option("--model", help="Of a suite: another network.")] = "",
    norm: Annotated[str, typer.Option("--norm", help="Of a suite: another norm.")] = "",
    epochs: Annotated[int, typer.Option("--epochs", help="Of a suite: another length.")] = 0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Of a suite: any value in every row; repeat.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.", metavar="FILE")] = Path(
        "report.html"
    ),
    title: Annotated[str, typer.Option("--title", help="Title of the page.")] = "",
    remote: RemoteOption = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Write one HTML page about runs.

    Tables, curves, the clean-robust plane, configs, linter, evaluations, provenance and history in
    one file that needs no network. A file that is there is replaced.

    Example: rpat report --suite table1 -o table1.html
    """
    from rpat.errors import ConfigError
    from rpat_tui import report as reports
    from rpat_tui.cli.export import chosen
    from rpat_tui.paper_table import Ask
    from rpat_tui.store import queries

    reports.check(out)
    ask = Ask(
        suite=suite, where=where if suite else "", dataset=dataset, model=model, norm=norm,
        epochs=epochs, set=tuple(changes or ()), paper=bool(suite),
    )  # fmt: skip
    if suite:
        if runs:
            raise ConfigError("--suite chooses the runs; leave them out, or narrow it with --where")
        numbers, size = _of_suite(ask, out, title, home, remote)
    else:
        ask.check()
        if named := next((n for n in ("dataset", "model", "norm") if getattr(ask, n)), ""):
            raise ConfigError(f"--{named} changes a suite; name one with --suite, or use --where")
        with looking(home, remote, runs or ()) as (place, db):
            numbers = queries.find(db, chosen(db, runs or [], where))
            kinds = {row["id"]: row["kind"] for row in queries.runs(db, numbers=numbers)}
            for name, kind in kinds.items():
                if kind != "train":
                    raise ConfigError(
                        f"{name} is a job of kind {kind}; name the run that it is about"
                    )
            _refuse_too_many(numbers)
            size = reports.write(place, db, numbers, out, title=title)
    if json:
        print_json({"out": str(out), "runs": len(numbers), "bytes": size})
        return
    say(f"wrote {out}: {len(numbers)} runs, {size / 1000:.0f} kB")


def _of_suite(
    ask: Ask, out: Path, title: str, home: str | None, remote: Sequence[str] | None
) -> tuple[list[int], int]:
    """Write the report of a suite: its table, and every run that has a part in it.

    Returns the numbers of its runs and the size of the page.
    """
    from rpat_tui import agenda, paper_table, suites
    from rpat_tui import report as reports
    from rpat_tui.cli.suite import changed
    from rpat_tui.home import data_folder, find_home
    from rpat_tui.store import queries

    suite = suites.load(ask.suite)
    asked = changed(ask.dataset, ask.model, ask.norm, ask.epochs, "", list(ask.set), None, "", home)
    folder = data_folder(find_home(home), None)
    if not (has_home(home) or asked_for(home, remote)):
        made = paper_table.build(None, ask, folder)
        return [], reports.write_without_runs(out, made, title=title)
    with looking(home, remote) as (place, db):
        made = paper_table.build(db, ask, folder)
        ids = list(dict.fromkeys(run for row in made.rows for run in row.runs))
        numbers = set(queries.find(db, ids)) if ids else set()
        standings = agenda.look(db, suite, asked, ask.where).standings
        numbers |= {standing.run["n"] for standing in standings if standing.run is not None}
        _refuse_too_many(sorted(numbers))
        return sorted(numbers), reports.write(
            place, db, sorted(numbers), out, title=title, suite=made
        )


def _refuse_too_many(numbers: Sequence[int]) -> None:
    from rpat.errors import ConfigError
    from rpat_tui.report.gather import MOST

    if len(numbers) > MOST:
        raise ConfigError(
            f"{len(numbers)} runs are too many for a page, which shows {MOST}; choose with --where"
        )


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(report)
