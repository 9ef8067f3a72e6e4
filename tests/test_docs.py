"""The documents agree with the program. RPAT_UPDATE_DOCS=1 writes the generated ones again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from rpat_tui.cli import app
from rpat_tui.launch.causes import CAUSES
from rpat_tui.store.queue import MOVES

ROOT = Path(__file__).parents[1]
COMMANDS = ROOT / "docs" / "commands.md"


def help_of_every_command() -> str:
    """Return the help of every command as a Markdown page."""
    group = typer.main.get_command(app)
    parts = [
        "# Commands\n\nGenerated from the program's own help by the tests "
        "(`RPAT_UPDATE_DOCS=1 make test`).\n"
    ]
    for path, command in _commands(group):
        context = command.make_context(
            f"rpat {path}",
            [],
            resilient_parsing=True,
            terminal_width=88,
            max_content_width=88,
            help_option_names=["-h", "--help"],
        )
        parts.append(f"## rpat {path}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command with its words; those of a group come after it."""
    for name, command in group.commands.items():
        yield " ".join((*path, name)), command
        if hasattr(command, "commands"):
            yield from _commands(command, *path, name)


def test_the_command_reference_is_the_programs_help() -> None:
    made = help_of_every_command()
    if os.environ.get("RPAT_UPDATE_DOCS"):
        COMMANDS.write_text(made, "utf-8")
    assert COMMANDS.read_text("utf-8") == made


def test_the_readme_names_every_command_and_no_other() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    section = text[text.index("## Commands") : text.index("## How it works")]
    named = set(re.findall(r"`rpat ([a-z-]+)`", section))
    assert named == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_every_state_and_cause_is_explained() -> None:
    text = (ROOT / "docs" / "states.md").read_text("utf-8")
    for state in MOVES:
        assert f"| `{state}` |" in text
    for cause in CAUSES.values():
        assert f"| `{cause.word}` | {cause.means} | {cause.remedy} |" in text


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_and_option_that_a_page_shows_exists() -> None:
    known = set(re.findall(r"--[a-z-]+", help_of_every_command()))
    names = {path for path, _ in _commands(typer.main.get_command(app))}
    shown = 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line in re.findall(r"^(?:\$ )?(rpat .+)$", page.read_text("utf-8"), flags=re.MULTILINE):
            words = line.partition("#")[0].split()
            if page == COMMANDS or not words[1].replace("-", "").isalpha():
                continue
            shown += 1
            assert " ".join(words[1:3]) in names or words[1] in names, line
            for option in re.findall(r"--[a-z-]+", " ".join(words)):
                assert option in known, line
    assert shown > 30
