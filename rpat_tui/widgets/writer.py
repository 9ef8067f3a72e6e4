"""Writing to the terminal in a thread of its own: a slow link holds up nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TextIO

PARTING = 1.0
"""Seconds that a terminal has to take what is still to be said when the window leaves."""


class Writer(threading.Thread):
    """Takes texts and writes them in order; knows whether everything has been taken."""

    def __init__(self, file: TextIO) -> None:
        """Write to the terminal that a file is open on."""
        super().__init__(daemon=True, name="terminal-writer")
        self._fd = file.fileno()
        self._encoding = file.encoding or "utf-8"
        self._texts: list[str] = []
        self._change = threading.Condition()
        self._writing = False
        self._stopping = False
        self._gone = False
        self._then: Callable[[], object] | None = None

    def write(self, text: str) -> None:
        """Take a text; it is written soon."""
        with self._change:
            if not self._gone:
                self._texts.append(text)
                self._change.notify()

    def flush(self) -> None:
        """Do nothing: what is taken is written as soon as the terminal takes it."""

    def isatty(self) -> bool:
        """Return that this leads to a terminal."""
        return True

    def fileno(self) -> int:
        """Return the number of the open file."""
        return self._fd

    def once_idle(self, then: Callable[[], object]) -> bool:
        """Return whether everything was written; if not, call `then` when it is, in the thread."""
        with self._change:
            if not self._texts and not self._writing:
                return True
            self._then = then
            return False

    def run(self) -> None:
        """Write what there is until told to stop."""
        while True:
            with self._change:
                while not self._texts and not self._stopping:
                    self._change.wait()
                if not self._texts:
                    return
                data = "".join(self._texts).encode(self._encoding, "replace")
                self._texts.clear()
                self._writing = True
            self._put(data)
            with self._change:
                self._writing = False
                then = None
                if not self._texts:
                    then, self._then = self._then, None
            if then is not None:
                then()

    def _put(self, data: bytes) -> None:
        try:
            while data and not self._gone:
                data = data[os.write(self._fd, data) :]
        except OSError:  # the terminal has gone; whoever looks after it will notice
            with self._change:
                self._gone = True
                self._texts.clear()

    def stop(self) -> None:
        """Let the last texts be written, for a while: a stalled terminal is not waited for."""
        with self._change:
            self._stopping = True
            self._change.notify()
        self.join(PARTING)
