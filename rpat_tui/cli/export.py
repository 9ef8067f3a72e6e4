"""Commands that take results away: export robustbench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rpat_tui.cli.output import HomeOption, print_json, reading, remark

exports = typer.Typer(
    help="Take results away in other tools' forms.", no_args_is_help=True, rich_markup_mode=None
)


@exports.callback()
def root() -> None:
    """Take results away in other tools' forms."""


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
