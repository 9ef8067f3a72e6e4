"""Where a run comes from: what was frozen when it was queued."""

from __future__ import annotations

from typing import Any

from rpat.rundir import RunDir, read_json
from rpat_tui.home import Home


def provenance_of(home: Home, name: str) -> dict[str, Any]:
    """Return where a run comes from; empty where that was not kept."""
    try:
        return read_json(RunDir(home.runs / name).provenance)
    except (OSError, ValueError):
        return {}
