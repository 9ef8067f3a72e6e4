"""The command line imports only what is asked for, and its overview tells the truth.

RPAT_UPDATE_DOCS=1 writes the registry again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

import rpat_tui.cli
from rpat_tui.cli import MODULES, app, lazy, registry

FOLDER = Path(rpat_tui.cli.__file__).parent


def every_command() -> dict[str, tuple[str, str]]:
    """Return what the registry must say: file and help of each command, groups last."""
    found = [
        (name, module, command)
        for module in MODULES
        for name, command in lazy.commands_of(module).items()
    ]
    found.sort(key=lambda item: isinstance(item[2], TyperGroup))
    return {
        name: (module, " ".join((command.help or "").partition("\n\n")[0].split()))
        for name, module, command in found
    }


def test_the_registry_says_what_the_commands_say() -> None:
    made = every_command()
    if os.environ.get("RPAT_UPDATE_DOCS"):
        write(made)
    assert made == registry.COMMANDS, "RPAT_UPDATE_DOCS=1 writes it again"
    assert list(made) == list(registry.COMMANDS)


def write(commands: dict[str, tuple[str, str]]) -> None:
    """Write the registry with what the commands say."""
    file = FOLDER / "registry.py"
    head = re.split(r"^COMMANDS", file.read_text("utf-8"), flags=re.MULTILINE)[0]
    lines = [f"    {name!r}: {entry!r},\n" for name, entry in commands.items()]
    file.write_text(
        head + "COMMANDS: dict[str, tuple[str, str]] = {\n" + "".join(lines) + "}\n", "utf-8"
    )
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(file)], check=True)
    registry.COMMANDS.clear()
    registry.COMMANDS.update(commands)


def test_every_file_with_commands_is_known() -> None:
    files = {file.stem for file in FOLDER.glob("*.py") if "\ndef register(" in file.read_text()}
    assert files == set(MODULES)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_overview_is_the_one_that_all_commands_together_would_give(width: int) -> None:
    group = typer.main.get_command(app)
    context = group.make_context("rpat", [], resilient_parsing=True, terminal_width=width,
                                 max_content_width=width)  # fmt: skip
    overview = group.get_help(context)
    whole = TyperGroup(
        name="rpat", params=group.params, help=group.help, rich_markup_mode=None,
        commands=dict(group.commands),  # type: ignore[attr-defined]
    )  # fmt: skip
    context.command = whole
    assert whole.get_help(context) == overview


def imported(*words: str) -> set[str]:
    """The files of commands that a command imports."""
    code = (
        "import sys; from rpat_tui.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    found = {name.rpartition(".")[2] for name in done.stderr.split() if "rpat_tui.cli." in name}
    return found & set(MODULES)


def test_a_command_imports_its_own_file_and_the_overview_none() -> None:
    assert imported("--help") == set()
    assert imported("methods", "--help") == {"reference"}
    assert imported("suite", "show", "--help") <= {"suite", "runs"}
