"""One HTML file that says all about some runs: no network, no library, to keep and to send."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rpat.errors import ConfigError
from rpat.rundir import replace
from rpat_tui.home import Home
from rpat_tui.table import Table

if TYPE_CHECKING:
    from rpat_tui.report.gather import Report


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
    suite: Table | None = None,
    now: float | None = None,
) -> int:
    """Write the report of training runs; returns its size in bytes.

    `suite` is the table of the suite that they belong to: it stands for the results, with holes
    and printed numbers, and there may be no run yet. The same data give the same bytes, but for
    the line with the date.
    """
    from rpat_tui.report.gather import gather

    return _written(path, gather(home, db, numbers, title, suite), now)


def write_without_runs(
    path: Path, suite: Table, *, title: str = "", now: float | None = None
) -> int:
    """Write the report of a suite that has no run yet: all holes, beside the printed numbers."""
    from rpat_tui.report.gather import Report

    made = Report(
        title=title or suite.title, runs=[], groups=[], table=Table(), robust="aa", beside="aa",
        suite=suite,
    )  # fmt: skip
    return _written(path, made, now)


def _written(path: Path, report: Report, now: float | None) -> int:
    from rpat_tui.report.page import page

    check(path)
    data = page(report, time.time() if now is None else now).encode("utf-8", "replace")
    try:
        replace(path, lambda stream: stream.write(data))
    except OSError as error:
        raise ConfigError(
            f"-o {path}: {error.strerror}; name a file that can be written"
        ) from error
    return len(data)
