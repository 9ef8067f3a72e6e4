"""The command line: `rpat COMMAND`. Commands parse, call one function and print."""

from __future__ import annotations

import os
import sys

import typer

from rpat.errors import RpatError
from rpat_tui.cli.lazy import LazyGroup
from rpat_tui.glyphs import printable

MODULES = (
    "tui", "queue", "steer", "runs", "plot", "explain", "origins", "keep", "disk", "machine",
    "remotes", "evaluate", "study", "suite", "compare", "fill", "export", "report", "sql",
    "reference", "work",
)  # fmt: skip
"""The files with commands, in the order of the overview."""

app = typer.Typer(
    name="rpat",
    cls=LazyGroup,
    help="Adversarial training: compose runs, launch them, watch them, get the tables.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from rpat import __version__

        sys.stdout.write(f"rpat {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Adversarial training: compose runs, launch them, watch them, get the tables."""


def main() -> None:
    """Run the command line; errors become one line, and exit status 2 or 1."""
    try:
        sys.exit(app(prog_name="rpat", standalone_mode=False) or 0)
    except typer.TyperException as error:  # an option or command that does not exist or fit
        context = getattr(error, "ctx", None)
        text = error.format_message().rstrip(".")
        if not text.startswith("Usage:"):  # the help, where a command needs another word
            path = context.command_path if context else "rpat"
            text = f"rpat: {' '.join(text.split())}; see {path} --help"
        sys.stderr.write(f"{printable(text)}\n")
        sys.exit(2)
    except RpatError as error:
        sys.stderr.write(f"rpat: {printable(str(error))}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as left:  # typer's own, when the reader of our output has left
        if not isinstance(left.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
