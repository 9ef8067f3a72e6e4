"""What is left of a window that has failed: a file that says why, for a report."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path


def write_report(error: BaseException | None) -> Path | None:
    """Write where and why the window failed; None where no folder takes the file."""
    from importlib.metadata import version

    import platformdirs

    lines = [
        f"rpat {version('rpat')}, Python {platform.python_version()}, textual "
        f"{version('textual')}, {platform.system()}",
        f"TERM {os.environ.get('TERM', '–')}, {' '.join(sys.argv[1:2])}\n",
    ]
    if error is not None:
        lines += traceback.format_exception(error)
    name = time.strftime("tui-failed-%Y%m%d-%H%M%S.txt")
    for folder in (Path(platformdirs.user_state_dir("rpat")), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.write_text("\n".join(lines), "utf-8")
        except OSError:
            continue
        return path
    return None


def last_line(error: BaseException | None, report: Path | None) -> str:
    """Return the line that the terminal shows in the end."""
    what = f"{type(error).__name__}: {error}" if error is not None else "an unknown error"
    where = f"please report {report}" if report else "no folder took a report"
    return f"rpat: the window has failed ({' '.join(what.split())[:200]}); runs go on; {where}"
