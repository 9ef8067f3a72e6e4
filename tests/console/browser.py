"""A headless Chromium that a test talks to through a pipe: nothing but the standard library.

It is asked in the DevTools protocol (`--remote-debugging-pipe`: JSON ended by a zero byte on the
descriptors 3 and 4), so there is no port, no driver and no package.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
_MOVE = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]]
for place, end in zip((3, 4), ends):
    os.dup2(end, place)
    os.close(end)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE = 120.0
"""Seconds for an answer: a browser starts slowly on a busy machine."""


def found() -> str | None:
    """Return where a Chromium is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page; what it complained of and what it asked the network for."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._count, self._rest = read, write, 0, b""
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.loaded = False

    def open(self, page: Path, width: int = 1280, height: int = 900) -> None:
        """Open a file and wait until it is there."""
        if self._session is None:
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            made = self.ask("Target.attachToTarget", targetId=target, flatten=True)
            self._session = made["sessionId"]
            for part in ("Runtime", "Log", "Network", "Page"):
                self.ask(f"{part}.enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=1, mobile=False)  # fmt: skip
        self.loaded = False
        self.ask("Page.navigate", url=page.absolute().as_uri())
        deadline = time.monotonic() + PATIENCE
        while not self.loaded:
            assert time.monotonic() < deadline, "the page was not loaded in time"
            self._take(self._message(deadline))

    def value(self, script: str) -> Any:
        """Return what an expression is on the page."""
        done = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def dark(self, on: bool) -> None:
        """Let the page believe that its reader likes it dark."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def point(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path) -> None:
        """Write the whole page as a PNG."""
        made = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(made["data"]))

    def ask(self, method: str, **params: Any) -> Any:
        """Send a command and return its result; what comes before it is noted."""
        self._count += 1
        sent: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            sent["sessionId"] = self._session
        os.write(self._write, json.dumps(sent).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self._message(deadline)
            if message.get("id") == sent["id"]:
                assert "error" not in message, message
                return message["result"]
            self._take(message)

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            left = deadline - time.monotonic()
            assert left > 0, "the browser does not answer"
            if select.select([self._read], [], [], left)[0]:
                block = os.read(self._read, 1 << 20)
                assert block, "the browser has left"
                self._rest += block
        one, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message

    def _take(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser of its own and end it again."""
    where = found()
    assert where is not None
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        started = subprocess.Popen(
            [sys.executable, "-c", _MOVE, str(to_read), str(from_write), where, *FLAGS,
             f"--user-data-dir={profile}"],
            pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(to_read)
        os.close(from_write)
        try:
            yield Browser(from_read, to_write)
        finally:
            os.close(to_write)
            os.close(from_read)
            started.terminate()
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()
