"""A real terminal for tests: a program behind a pty, its bytes counted and its screen read."""

from __future__ import annotations

import os
import re
import signal
import struct
import sys
import time
from collections.abc import Sequence
from types import TracebackType

import pytest

try:
    import fcntl
    import pty
    import termios

    from tests.tui.pseudo import is_ready
except ImportError:  # no POSIX system
    pty = None  # type: ignore[assignment]

UNKNOWN = re.compile(
    rb"\x1b\[\?[\d;]*\$p|\x1b\[[<>=][\d;]*u|\x1b\[>[\d;]*[a-zA-Z]|\x1bP[^\x1b]*\x1b\\"
)
"""Sequences that pyte would print as text."""


def needs_a_pty() -> None:
    """Skip the test where the system lends no pseudo-terminal."""
    if pty is None:
        pytest.skip("this system has no pseudo-terminals")
    try:
        ends = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal is to be had: {error.strerror}")
    for end in ends:
        os.close(end)


class Terminal:
    """Runs a Python program in a terminal of some size."""

    def __init__(
        self, words: Sequence[str], columns: int = 120, rows: int = 35, **environment: str
    ) -> None:
        import pyte

        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._words = [sys.executable, *words]
        self._environment = {
            **os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8",
            "PYTHONUTF8": "1", "TEXTUAL_ANIMATIONS": "none", "PYTHONWARNINGS": "ignore",
            **environment,
        }  # fmt: skip
        self._environment.pop("NO_COLOR", None)
        self.size = (columns, rows)
        self.code: int | None = None

    def __enter__(self) -> Terminal:
        # a fork in a process with threads is safe only when exec follows at once
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *self.size[::-1], 0, 0))
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", _ADOPT, os.ttyname(slave), *self._words],
            self._environment,
        )
        os.close(slave)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)

    def send(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode())

    def read(self, quiet: float = 0.4, limit: float = 20.0) -> bytes:
        """Return what arrives until nothing came for `quiet` seconds; the screen takes it."""
        out, deadline = b"", time.monotonic() + limit
        while time.monotonic() < deadline:
            if not is_ready(self.master, quiet):
                break
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the program has left
                break
            if not data:
                break
            out += data
        self._stream.feed(UNKNOWN.sub(b"", out))
        return out

    def until(self, text: str, limit: float = 60.0) -> bytes:
        """Read until a text is on the screen."""
        out, deadline = b"", time.monotonic() + limit
        while text not in self.text():
            assert time.monotonic() < deadline, f"{text!r} is not on the screen:\n{self.text()}"
            out += self.read(0.1, 1.0)
        return out

    def text(self) -> str:
        """Return the screen."""
        return "\n".join(self.screen.display)

    def wait(self, limit: float = 20.0) -> int:
        """Return the exit status of the program, which must leave by itself."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            self.read(0.05, 0.2)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                return self.code
        raise AssertionError("the program did not leave")


_ADOPT = """
import fcntl, os, sys, termios
os.setsid()
end = os.open(sys.argv[1], os.O_RDWR)
fcntl.ioctl(end, termios.TIOCSCTTY, 0)
for stream in (0, 1, 2):
    os.dup2(end, stream)
os.closerange(3, 64)
os.execv(sys.argv[2], sys.argv[2:])
"""
