"""What a place where runs execute must be able to do; nothing above it knows which one it is.

A launcher starts runs and passes requests on. What became of a run is never its word alone: the
journal in the run directory is the truth, and `reconcile` judges.
"""

from __future__ import annotations

import sqlite3
from typing import Protocol

LOCAL, SLURM = "", "slurm"
"""Where a run executes, as its row says."""


class Launcher(Protocol):
    """One place where runs execute."""

    def submit(self, db: sqlite3.Connection) -> None:
        """Start queued runs, as far as there is room; returns at once."""

    def poll(self, db: sqlite3.Connection) -> bool:
        """Take in what became of what was started; returns whether its runs need a look now."""

    def stop(self, db: sqlite3.Connection, n: int, word: str) -> str:
        """Ask a run to save its work and end; `word` is `stop` or `pause`.

        Returns '' or, where nothing was asked, why not.
        """

    def kill(self, db: sqlite3.Connection, n: int, word: str = "kill") -> str:
        """End a run at once; returns as `stop` does."""

    def close(self) -> None:
        """Let go of what is held; runs go on."""
