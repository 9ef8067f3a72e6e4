"""Commands that take results away: export csv, json, parquet, tensorboard, robustbench."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Annotated, Any

import typer

from rpat_tui.cli.elsewhere import looking
from rpat_tui.cli.output import HomeOption, JsonOption, print_json, reading, remark, say

exports = typer.Typer(
    help="Take results away in other tools' forms.", no_args_is_help=True, rich_markup_mode=None
)


@exports.callback()
def root() -> None:
    """Take results away in other tools' forms."""


Runs = Annotated[
    list[str] | None,
    typer.Argument(help="Ids (r0001) or names; none: all that rpat list shows.", metavar="RUN..."),
]
Where = Annotated[str, typer.Option("--where", help="Only runs that match, as in rpat list.")]
Folder = Annotated[Path, typer.Option("--out", "-o", help="Folder to make.", metavar="FOLDER")]
File = Annotated[Path, typer.Option("--out", "-o", help="File to make.", metavar="FILE")]
Force = Annotated[bool, typer.Option("--force", help="In the place of an older export.")]


@exports.command()
def csv(
    out: Folder,
    runs: Runs = None,
    where: Where = "",
    force: Force = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Write runs, metrics, evaluations, results, findings and states as CSV files.

    The columns are those of the views of rpat sql; runs.csv has each whole config.
    """
    _take("csv", runs, where, out, force, json, home)


@exports.command("json")
def as_json(
    out: File,
    runs: Runs = None,
    where: Where = "",
    force: Force = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Write runs with everything that is known of them as one JSON file."""
    _take("json", runs, where, out, force, json, home)


@exports.command()
def parquet(
    out: Folder,
    runs: Runs = None,
    where: Where = "",
    force: Force = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Write the same tables as csv does as Parquet files; needs rpat[parquet]."""
    _take("parquet", runs, where, out, force, json, home)


@exports.command()
def tensorboard(
    out: Folder,
    runs: Runs = None,
    where: Where = "",
    force: Force = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Write event files for TensorBoard, a folder a run; needs rpat[tensorboard]."""
    _take("tensorboard", runs, where, out, force, json, home)


def _take(
    form: str,
    words: list[str] | None,
    where: str,
    out: Path,
    force: bool,
    as_json: bool,
    home: str | None,
) -> None:
    from rpat_tui import exchange

    exchange.check(form, out, force)
    with looking(home, None, words or ()) as (place, db):
        ids = chosen(db, words or [], where)
        done: dict[str, Any] = exchange.write(form, exchange.Take(place, db, ids), out, force)
    if as_json:
        print_json(done)
        return
    counts = ", ".join(f"{count} {name}" for name, count in done.items() if name != "out")
    say(f"wrote {out}: {counts}")


def chosen(db: sqlite3.Connection, words: list[str], where: str) -> list[str]:
    """Return the ids of the runs that are named, or of all; of these, those that match.

    Raises `ConfigError` where there is none.
    """
    from rpat.errors import ConfigError
    from rpat_tui.store import queries

    numbers = queries.find(db, words) if words else None
    ids = [row["id"] for row in queries.runs(db, where, numbers=numbers)]
    if not ids:
        what = f"no run matches --where '{where}'" if where else "there is no run to take"
        raise ConfigError(f"{what}; rpat list shows what there is")
    return ids


@exports.command()
def robustbench(
    run: Annotated[str, typer.Argument(help="Id (r0001) or name.")],
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="best or final.")] = "best",
    out: Annotated[
        str | None, typer.Option("--out", help="Write the entry into this file.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Print a run as an entry of RobustBench's model_info.

    What only its authors can know stays null; what the leaderboard would object to is said.
    """
    from rpat.errors import ConfigError
    from rpat.recipes import reported_network
    from rpat.rundir import write_json
    from rpat_tui.robustbench import entry
    from rpat_tui.store import queries

    if checkpoint not in ("best", "final"):
        raise ConfigError(f"--checkpoint {checkpoint} does not exist; choose best or final")
    with reading(home) as (_, db):
        row = queries.runs(db, numbers=queries.find(db, [run]))[0]
        if row["kind"] != "train":
            raise ConfigError(f"{row['id']} is a job of kind {row['kind']}; name a training run")
        network = reported_network(queries.config_of(db, row["n"])["wrappers"])
        values, remarks = entry(row, queries.evaluations(db, row["n"]), checkpoint, network)
    for text in remarks:
        remark(f"! {text}")
    if out is None:
        print_json(values)
        return
    try:
        write_json(Path(out), values)
    except OSError as error:
        raise ConfigError(
            f"--out {out}: {error.strerror}; name a file that can be written"
        ) from None


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(exports, name="export")
