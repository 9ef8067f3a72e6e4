"""Formats of a table, one file each: the folder is the registry.

A format is a module with `write(table, out)`. Add the file and it is offered and tested. One that
also has `read(text)`, which finds its tables in a file again, can be verified (`rpat_tui.drift`).
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, TextIO, cast

from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui.table import Table
from rpat_tui.uncollected import uncollected


class Format(Protocol):
    """What every module of this folder offers."""

    def write(self, table: Table, out: TextIO, **options: bool) -> None:
        """Write a table to an open text file; few formats have options."""


def names() -> list[str]:
    """Return the names of the formats, importing none of them."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_"))


def get(name: str) -> Format:
    """Import one format; an unknown name is refused with the nearest known one."""
    if name not in names():
        raise ConfigError(f"--format {unknown(name, names())}")
    return cast(Format, importlib.import_module(f"{__name__}.{name}"))


def write(name: str, table: Table, out: TextIO, **options: bool) -> None:
    """Write a table in a format, however large it is; raises `ConfigError` for an unknown name."""
    form = get(name)
    with uncollected():
        form.write(table, out, **options)
