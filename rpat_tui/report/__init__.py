"""One HTML file that says all about some runs: no network, no library, to keep and to send."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from rpat.errors import ConfigError
from rpat.rundir import replace
from rpat_tui.home import Home


def check(path: Path) -> None:
    """Raise `ConfigError` where no report can be written."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"-o {path}: a report is a page; name a file that ends in .html")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"-o {path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise ConfigError(f"-o {path} is a folder; name a file")


def write(
    home: Home,
    db: sqlite3.Connection,
    numbers: Sequence[int],
    path: Path,
    *,
    title: str = "",
    now: float | None = None,
) -> int:
    """Write the report of training runs; returns its size in bytes.

    The same data give the same bytes, but for the line with the date.
    """
    from rpat_tui.report.gather import gather
    from rpat_tui.report.page import page

    check(path)
    made = page(gather(home, db, numbers, title), time.time() if now is None else now)
    data = made.encode("utf-8", "replace")
    try:
        replace(path, lambda stream: stream.write(data))
    except OSError as error:
        raise ConfigError(
            f"-o {path}: {error.strerror}; name a file that can be written"
        ) from error
    return len(data)
