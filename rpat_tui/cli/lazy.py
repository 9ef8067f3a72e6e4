"""A group of commands that imports the file of a command when that command is asked for.

Importing and converting all of them costs more than most commands take. What the overview shows
of them is in `registry`, which the tests write and compare with the commands themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from rpat_tui.cli.registry import COMMANDS

Command = Any
"""What typer makes of a function: its own classes, which it does not publish."""


class LazyGroup(TyperGroup):
    """The commands of the registry, each imported on first use."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the overview from the registry, without importing anything."""
        limit = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, TyperCommand(name, help=text).get_short_help_str(limit))
                    for name, (_, text) in COMMANDS.items()
                ]
            )


class _Commands(MutableMapping[str, Command]):
    """Name -> command, in the order of the registry."""

    def __init__(self) -> None:
        self._made: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._made:
            module, _ = COMMANDS[name]
            self._made |= commands_of(module, name)
        return self._made[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def commands_of(module: str, only: str = "") -> dict[str, Command]:
    """Return the commands that a file of this folder registers, or one of them."""
    part = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    part.callback()(_nothing)  # a group, however few commands there are
    import_module(f"rpat_tui.cli.{module}").register(part)
    if only:
        part.registered_commands = [
            info
            for info in part.registered_commands
            if only == (info.name or getattr(info.callback, "__name__", "").replace("_", "-"))
        ]
    for info in part.registered_commands:
        assert info.callback is not None
        # Typer evaluates the text of each annotation four times, unless it is none any more.
        info.callback.__annotations__ = inspect.get_annotations(info.callback, eval_str=True)
    return dict(typer.main.get_group(part).commands)


def _nothing() -> None:
    """The callback of a file's commands: they have nothing in common."""
