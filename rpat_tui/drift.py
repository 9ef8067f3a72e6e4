"""Whether the tables of a file still say what the store says: made again, cell by cell."""

from __future__ import annotations

import importlib
import io
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpat.errors import ConfigError
from rpat_tui import exports, paper_table
from rpat_tui.exports._origin import Exported
from rpat_tui.glyphs import UNICODE

ENDINGS = {
    ".md": "md", ".tex": "latex", ".latex": "latex", ".csv": "csv", ".json": "json",
    ".html": "html", ".htm": "html",
}  # fmt: skip
"""Ending of a file's name -> the format that it is in."""

_EMPTY = {"", "\N{EN DASH}", UNICODE.states["running"], UNICODE.states["queued"]}
"""A hole is a hole, whoever is about to close it."""


@dataclass(frozen=True, slots=True)
class Drifted:
    """A cell that is not what it was; nothing where one of the two has no such cell."""

    name: str
    then: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One table of a file: how many cells it has, and which are others now.

    `other` says that it is made from something else though no cell shows it.
    """

    asked: str
    cells: int
    drifted: tuple[Drifted, ...]
    other: bool


def verify(
    file: Path, db: sqlite3.Connection | None, data_dir: Path | None = None
) -> list[Verified]:
    """Make every table of a file again and compare.

    Raises `ConfigError` where the file cannot be read or holds no table that says how it was made.
    """
    form, found = _tables(file)
    return [_compared(then, form, db, data_dir) for then in found]


def machines(file: Path) -> list[str]:
    """Return the other machines whose runs were in the tables of a file."""
    _, found = _tables(file)
    return list(dict.fromkeys(m for one in found for m in paper_table.asked(one.asked).remote))


def _tables(file: Path) -> tuple[Any, list[Exported]]:
    """Return the format of a file and its tables."""
    name = ENDINGS.get(file.suffix.lower())
    if name is None:
        raise ConfigError(f"--verify {file}: its name ends with none of {', '.join(ENDINGS)}")
    try:
        text = file.expanduser().read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"--verify {file}: there is no such file; write one with "
            f"rpat table --format {name} > {file}"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"--verify {file}: {error.strerror}; name a file that can be read"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"--verify {file}: this is no text in UTF-8") from None
    form: Any = importlib.import_module(f"{exports.__name__}.{name}")
    found: list[Exported] = form.read(text)
    if not found:
        raise ConfigError(
            f"--verify {file}: no table of rpat in it that says how it was made; "
            f"write one with rpat table --format {name}"
        )
    return form, found


def _compared(
    then: Exported, form: Any, db: sqlite3.Connection | None, data_dir: Path | None
) -> Verified:
    out = io.StringIO()
    form.write(paper_table.build(db, paper_table.asked(then.asked), data_dir), out)
    (now,) = form.read(out.getvalue()) or [Exported(then.asked, "", {})]
    names = dict.fromkeys((*then.cells, *now.cells))
    drifted = [
        Drifted(name, then.cells.get(name, ""), now.cells.get(name, ""))
        for name in names
        if _value(then.cells.get(name)) != _value(now.cells.get(name))
    ]
    other = bool(then.stamp and now.stamp and then.stamp != now.stamp)
    return Verified(asked=then.asked, cells=len(then.cells), drifted=tuple(drifted), other=other)


def _value(text: str | None) -> str:
    return "" if text is None or text in _EMPTY else text
