"""A line to another machine: ssh as a child process, messages both ways, deadlines everywhere.

Whatever is wrong with it is a `LinkError`: one line that says what and, where there is one, the
remedy. A link belongs to one thread.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rpat.errors import RpatError
from rpat_tui.glyphs import printable
from rpat_tui.remote.places import Place
from rpat_tui.remote.wire import LONGEST, MARKER, SPEAKS, Json, encoded

PRELUDE = 1 << 20
"""Bytes that a login shell may print before the far side begins."""


class LinkError(RpatError):
    """The other machine cannot be asked, or its answer cannot be believed."""


class Link:
    """An open line; `hello` is how the far side introduced itself."""

    def __init__(self, place: Place, wait: float) -> None:
        self.place, self.wait = place, wait
        self.received = self.sent = 0
        """Bytes so far, as ssh is given them: it compresses."""
        self._buffer = bytearray()
        self._number = 0
        self._stashed: list[Json] = []
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the link
        try:
            self._child = subprocess.Popen(
                place.command(wait), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self._errors, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise LinkError(f"{place.name}: {place.ssh} cannot be run ({error.strerror})") from None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._in, self._out = self._child.stdin, self._child.stdout
        os.set_blocking(self._out.fileno(), False)
        os.set_blocking(self._in.fileno(), False)
        try:
            self.hello = self._introduced()
        except BaseException:
            self.close()
            raise

    # ----------------------------------------------------------------- opening and closing

    def _introduced(self) -> Json:
        deadline, passed = time.monotonic() + self.wait + 2, 0
        while True:
            line = self._line(deadline)
            if line is None:
                raise LinkError(f"{self.place.name} does not answer ({self.wait:g} s)")
            if line.startswith(MARKER.encode()):
                break
            passed += len(line)
            if passed > PRELUDE:
                raise self._broken("it prints without end before rpat begins")
        hello = self._parsed(line[len(MARKER) :])
        if isinstance(problem := hello.get("error"), str):
            raise LinkError(f"{self.place.name}: {_plain(problem)}")
        speaks, uid = hello.get("speaks"), hello.get("home")
        if not (isinstance(speaks, list) and len(speaks) == 2 and isinstance(uid, str)):
            raise self._broken("its first line is not understood")
        if not all(isinstance(number, int) for number in speaks):
            raise self._broken("its first line is not understood")
        if speaks[0] > SPEAKS[1] or speaks[1] < SPEAKS[0]:
            where = "there" if speaks[1] < SPEAKS[0] else "here"
            raise LinkError(
                f"{self.place.name} has rpat {_plain(str(hello.get('version')))}, which speaks "
                f"another protocol ({speaks[0]}-{speaks[1]}, not {SPEAKS[0]}-{SPEAKS[1]}); "
                f"update rpat {where}: pip install -U rpat"
            )
        return hello

    def close(self) -> None:
        """Hang up."""
        for end in (self._in, self._out):
            with suppress(OSError):
                end.close()
        self._child.terminate()
        try:
            self._child.wait(2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._errors.close()

    @property
    def has_ended(self) -> bool:
        """Whether the process of ssh has ended."""
        return self._child.poll() is not None

    @property
    def pid(self) -> int:
        """The process of ssh."""
        return self._child.pid

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ----------------------------------------------------------------- talking

    def ask(self, do: str, **values: Any) -> Json:
        """Send a request and return the one answer to it."""
        return list(self.stream(do, **values))[-1]

    def act(
        self, name: str, runs: Sequence[str], values: Mapping[str, Any]
    ) -> tuple[list[str], list[str]]:
        """Act on runs there; returns what was said of each, and what was refused."""
        answer = self.ask("act", act=name, runs=list(runs), values=dict(values))
        said, refused = answer.get("said"), answer.get("refused")
        if not (isinstance(said, list) and isinstance(refused, list)):
            raise self._broken("its answer is not understood")
        return [str(line) for line in said], [str(line) for line in refused]

    def stream(self, do: str, **values: Any) -> Iterator[Json]:
        """Send a request; yield what comes of it, the answer last."""
        self._number += 1
        number = self._number
        self._send(encoded({"id": number, "do": do, **values}))
        while True:
            message = self._next(time.monotonic() + self.wait)
            if message is None:
                raise self._broken(f"silent for {self.wait:g} s")
            if "changed" in message or "gone" in message:
                self._stashed.append(message)
            elif message.get("to") == number:
                if isinstance(problem := message.get("error"), str):
                    raise LinkError(f"{self.place.name}: {_plain(problem)}")
                yield message
                return
            elif "part" in message or "run" in message:
                yield message

    def news(self, seconds: float) -> Json | None:
        """Return the next message that nobody asked for, None after so many seconds without."""
        if self._stashed:
            return self._stashed.pop(0)
        return self._next(time.monotonic() + seconds)

    def _send(self, data: bytes) -> None:
        deadline, rest = time.monotonic() + self.wait, memoryview(data)
        while rest:
            if not _is_ready(self._in.fileno(), select.POLLOUT, deadline):
                raise self._broken(f"takes nothing for {self.wait:g} s")
            try:
                written = os.write(self._in.fileno(), rest)
            except BlockingIOError:
                continue
            except OSError:
                raise self._broken() from None
            self.sent += written
            rest = rest[written:]

    def _next(self, deadline: float) -> Json | None:
        line = self._line(deadline)
        return None if line is None else self._parsed(line)

    def _line(self, deadline: float) -> bytes | None:
        """Return the next whole line without its end, None where none came in time."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > LONGEST:
                raise self._broken("a line is longer than any should be")
            if not _is_ready(self._out.fileno(), select.POLLIN, deadline):
                return None
            try:
                data = os.read(self._out.fileno(), 1 << 16)
            except BlockingIOError:
                continue
            if not data:
                raise self._broken()
            self.received += len(data)
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _parsed(self, line: bytes) -> Json:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise self._broken(
                f"something else speaks there: {_plain(line.decode('utf-8', 'replace'))}"
            )
        return message

    def _broken(self, what: str = "") -> LinkError:
        """Return what is wrong with the link, from how its process ended where it has."""
        if what and self._child.poll() is None:
            return LinkError(f"{self.place.name}: the link is broken: {what}")
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(1)
        code, said = self._child.poll(), self._last_words()
        if code == 127 or (code == 126 and "rpat" in said):
            return LinkError(
                f"{self.place.name}: there is no '{self.place.rpat}' for a shell that ssh starts; "
                f'say where it is: rpat = "/path/to/rpat" in [remote.{self.place.name}]'
            )
        if code == 2 and "feed" in said and "command" in said.lower():
            return LinkError(
                f"{self.place.name}: its rpat is older than this; update it there: "
                "pip install -U rpat"
            )
        why = said or what or ("killed" if code is not None and code < 0 else "it has ended")
        verb = "cannot be reached" if code == 255 else "has hung up"
        return LinkError(f"{self.place.name} {verb} ({why})")

    def _last_words(self) -> str:
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 4096))
        text = self._errors.read().decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return _plain(lines[-1]).removeprefix("rpat: ") if lines else ""


def _plain(text: str, most: int = 200) -> str:
    """Return far text as one short line that a terminal only shows."""
    return " ".join(printable(text).split())[:most]


def _is_ready(fd: int, event: int, deadline: float) -> bool:
    """Wait for a pipe; unlike `select`, `poll` takes every descriptor."""
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(1000 * max(deadline - time.monotonic(), 0)))
