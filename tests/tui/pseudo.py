"""A real terminal for tests: a program on a pty, its bytes counted, its screen read by pyte."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path
from types import TracebackType

import pyte
import pytest

UNKNOWN = re.compile(rb"\x1b\[\?[\d;]*\$p|\x1b\[[<>=][\d;]*[a-z]|\x1b\]22;[^\x07]*\x07")
"""What pyte would show as text."""


def is_ready(fd: int, wait: float) -> bool:
    """Wait for something to read; `select` would refuse descriptors over 1,023."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(1000 * wait))


class Screen(pyte.Screen):
    """Erases in the present background, also where nothing was written yet."""

    def erase_in_display(self, how: int = 0, *args: int, **kwargs: bool) -> None:
        """Erase some or all lines."""
        super().erase_in_display(how, *args, **kwargs)
        if how == 2:
            for y in range(self.lines):
                self.buffer[y].update(dict.fromkeys(range(self.columns), self.cursor.attrs))


class Terminal:
    """A program that believes to be used by somebody."""

    def __init__(
        self,
        script: str,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        folder: Path | None = None,
        **env: str,
    ) -> None:
        """Start a module in a terminal of this size, in a folder; by default the repository's."""
        import pty

        try:
            self.pid, self.fd = pty.fork()
        except OSError as error:
            pytest.skip(f"no pty here: {error}")
        if not self.pid:
            os.chdir(folder or Path(__file__).parents[2])
            words = [sys.executable, "-m", script, *arguments]
            settings = {
                "TERM": "xterm-256color", "COLORTERM": "truecolor", "TEXTUAL_ANIMATIONS": "none",
                "PYTHONWARNINGS": "ignore", "LC_ALL": "C.UTF-8", **env,
            }  # fmt: skip
            os.execve(sys.executable, words, {**os.environ, **settings})
        self.size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, self.size)
        self.screen = Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)

    def send(self, keys: str) -> None:
        """Press keys."""
        os.write(self.fd, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size."""
        self.screen.resize(rows, columns)
        self.size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, self.size)

    def drip(self, most: int, wait: float) -> None:
        """Take few bytes, after a while: a slow link."""
        time.sleep(wait)
        if is_ready(self.fd, 0):
            data = os.read(self.fd, most)
            self.raw += data
            self.stream.feed(UNKNOWN.sub(b"", data))

    def drip_until_at_rest(self, most: int, wait: float, limit: float) -> None:
        """Take few bytes until the program computes less than a tenth of the time, for a second."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            since, before = time.monotonic(), self._computed()
            while time.monotonic() < since + 1:
                self.drip(most, wait)
            if self._computed() - before < 0.1 * (time.monotonic() - since):
                return

    def _computed(self) -> float:
        """Return the processor's seconds that the program has used."""
        times = Path(f"/proc/{self.pid}/stat").read_text("utf-8").rpartition(")")[2].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def listen(self, quiet: float = 0.3, most: float = 10.0) -> int:
        """Take what comes until it has been quiet for a while; return how many bytes came."""
        count, end, last = 0, time.monotonic() + most, time.monotonic()
        while time.monotonic() < min(end, last + quiet):
            if self._take(0.02):
                count, last = count + self._came, time.monotonic()
        return count

    def until(self, text: str, most: float = 30.0) -> int:
        """Take what comes until a text is on the screen; return how many bytes came."""
        count, end = 0, time.monotonic() + most
        while text not in "\n".join(self.screen.display):
            assert time.monotonic() < end, "\n".join(self.screen.display)
            if self._take(0.05):
                count += self._came
        return count

    def _take(self, wait: float) -> bool:
        if not is_ready(self.fd, wait):
            return False
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError:  # the program has ended
            time.sleep(wait)
            return False
        self.raw += data
        self._came = len(data)
        self.stream.feed(UNKNOWN.sub(b"", data))
        return True
