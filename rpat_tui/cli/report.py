"""Pages to keep and to send: rpat report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rpat_tui.cli.elsewhere import RemoteOption, looking
from rpat_tui.cli.output import HomeOption, JsonOption, print_json, say


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Ids (r0001) or names; none: all in the list.", metavar="RUN..."),
    ] = None,
    where: Annotated[
        str, typer.Option("--where", help="Only runs that match, as in rpat list.")
    ] = "",
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
    """
    from rpat.errors import ConfigError
    from rpat_tui import report as reports
    from rpat_tui.cli.export import chosen
    from rpat_tui.report.gather import MOST
    from rpat_tui.store import queries

    reports.check(out)
    with looking(home, remote, runs or ()) as (place, db):
        numbers = queries.find(db, chosen(db, runs or [], where))
        kinds = {row["id"]: row["kind"] for row in queries.runs(db, numbers=numbers)}
        for name, kind in kinds.items():
            if kind != "train":
                raise ConfigError(f"{name} is a job of kind {kind}; name the run that it is about")
        if len(numbers) > MOST:
            raise ConfigError(
                f"{len(numbers)} runs are too many for a page, which shows {MOST}; choose with "
                "--where"
            )
        size = reports.write(place, db, numbers, out, title=title)
    if json:
        print_json({"out": str(out), "runs": len(numbers), "bytes": size})
        return
    say(f"wrote {out}: {len(numbers)} runs, {size / 1000:.0f} kB")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(report)
