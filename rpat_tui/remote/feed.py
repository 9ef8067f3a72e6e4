"""The far side: answers over standard input and output what another machine asks of this home.

It owns nothing and remembers nothing between two links: what the other side lacks follows from
what it says it has. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rpat
from rpat.errors import ConfigError, RpatError, StoreError
from rpat.rundir import Attempt, RunDir, read_json
from rpat_tui.home import Home, find_home
from rpat_tui.launch.locks import holder
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.remote import acting, wire
from rpat_tui.remote.wire import Json
from rpat_tui.store import db as database
from rpat_tui.store import marks

LOOK = 1.0
"""Seconds between two looks at what is new, at least."""
DEAR = 20
"""Looking takes at most one part in so many of the time."""


class Feed:
    """One conversation about one home."""

    def __init__(self, home: Home, db: sqlite3.Connection, *, writes: bool, out: int) -> None:
        self.home, self.db, self.writes, self.out = home, db, writes, out
        self.told: dict[int, str] = {}
        """Marks as the other side knows them."""
        self.following = False
        self._version = -1
        self._spoke = time.monotonic()

    # ----------------------------------------------------------------- talking

    def say(self, message: Json) -> None:
        """Send a message."""
        _write(self.out, wire.encoded(message))
        self._spoke = time.monotonic()

    def serve(self, source: int) -> None:
        """Answer until the other side hangs up."""
        buffer = b""
        looked, pause = time.monotonic(), LOOK
        while True:
            due = looked + pause if self.following else self._spoke + wire.BEAT
            ready, _, _ = select.select([source], [], [], max(due - time.monotonic(), 0))
            if ready:
                data = os.read(source, 1 << 16)
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self.answer(line)
            if self.following and time.monotonic() >= looked + pause:
                clock = time.thread_time()
                with suppress(RpatError, sqlite3.Error):  # busy, or full: it is looked at again
                    self.tell_changes()
                looked = time.monotonic()
                pause = max(LOOK, DEAR * (time.thread_time() - clock))
            if time.monotonic() >= self._spoke + wire.BEAT:
                self.say({"beat": time.time()})

    def answer(self, line: bytes) -> None:
        """Answer one request; what is wrong with it is said and ends nothing."""
        number: Any = None
        try:
            asked = json.loads(line)
            number = asked.get("id")
            do = {"look": self.look, "marks": self.marks, "runs": self.runs,
                  "follow": self.follow, "act": self.act}.get(asked.get("do"))  # fmt: skip
            if do is None:
                raise ConfigError(f"'{asked.get('do')}' is not understood; update rpat there")
            self.say({**do(asked), "to": number})
        except (RpatError, sqlite3.Error) as error:
            self.say({"to": number, "error": str(error)})
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self.say({"to": number, "error": f"the request is damaged ({error})"})

    # ----------------------------------------------------------------- what is asked

    def look(self, asked: Json) -> Json:
        """Say which groups of runs there are, unless the other side has all of them."""
        self._refresh()
        self.told = marks.marks(self.db)
        groups = marks.groups(self.told)
        if marks.whole(groups) == asked["whole"]:
            return {}
        return {"groups": groups}

    def marks(self, asked: Json) -> Json:
        """Return the marks of some groups, as of the last look."""
        return {"marks": marks.within(self.told, map(int, asked["of"]))}

    def follow(self, _: Json) -> Json:
        """Tell from now on by itself what changes."""
        self.following = True
        return {}

    def act(self, asked: Json) -> Json:
        """Act on runs."""
        if not self.writes:
            raise StoreError(f"home {self.home.path} is read-only there")
        said, refused = acting.act(
            self.home, self.db, str(asked["act"]), [str(word) for word in asked["runs"]],
            dict(asked.get("values", {})),
        )  # fmt: skip
        return {"said": said, "refused": refused}

    def runs(self, asked: Json) -> Json:
        """Send what the other side lacks of some runs."""
        for word, has in asked["of"].items():
            self._send_run(int(word), has)
        return {}

    def tell_changes(self) -> None:
        """Tell which runs have changed or gone since it was last told."""
        self._refresh()
        version = self.db.execute("pragma data_version").fetchone()[0]
        own = self.db.total_changes  # what this connection wrote does not count in the other
        if (seen := hash((version, own))) == self._version:
            return
        self._version = seen
        found = marks.marks(self.db)
        changed = {n: mark for n, mark in found.items() if self.told.get(n) != mark}
        gone = sorted(self.told.keys() - found.keys())
        if changed or gone:
            self.say({"changed": changed, "gone": gone})
        self.told = found

    def _refresh(self) -> None:
        """Read the journals unless a worker does, as a reading command does."""
        if self.writes and holder(self.home.worker_lock) is None:
            reconcile(self.home, self.db, seconds=0.2)

    # ----------------------------------------------------------------- a run

    def _send_run(self, n: int, has: Json) -> None:
        with database.snapshot(self.db):
            row = self.db.execute("select uid, id from runs where n = ?", (n,)).fetchone()
            if row is None:
                return  # it has gone since; the next look tells
            uid, name = row
            mark = marks.marks_of(self.db, n)
            standing = json.dumps(marks.standing(self.db, n))
        run = RunDir(self.home.runs / name)
        known = has.get("files", {})
        tails: dict[str, str] = {}
        for attempt in run.attempts():
            for file in wire.FILES:
                key = f"{attempt.number}/{file}"
                self._send_file(n, key, getattr(attempt, file), known.get(key, (0, 0)))
            tail = _end_of(attempt)
            if tail and wire.crc(tail) != has.get("tails", {}).get(str(attempt.number)):
                tails[str(attempt.number)] = wire.text_of(tail)
        docs = {}
        for doc, data in _documents(run, standing):
            if wire.crc(data) != has.get("docs", {}).get(doc):
                docs[doc] = wire.text_of(data)
        self.say({"run": n, "uid": uid, "mark": mark, "docs": docs, "tails": tails,
                  "attempts": [attempt.number for attempt in run.attempts()]})  # fmt: skip

    def _send_file(self, n: int, key: str, path: Path, has: Any) -> None:
        size, crc = has
        try:
            there = path.stat().st_size
            if size > there or (size and wire.before(path, size) != crc):
                size = 0  # another file than the one that was read before
            with path.open("rb") as stream:
                stream.seek(size)
                data = stream.read()
        except FileNotFoundError:
            return
        data = data[: data.rfind(b"\n") + 1]
        if not data and size == has[0]:
            return
        start = size
        while True:
            part = data[start - size : start - size + wire.PART]
            self.say({"part": n, "file": key, "from": start, "text": wire.text_of(part)})
            start += len(part)
            if start - size >= len(data):
                return


def _documents(run: RunDir, standing: str) -> Iterator[tuple[str, bytes]]:
    for name, path in (("config", run.config), ("provenance", run.provenance), ("meta", run.meta)):
        with suppress(OSError):
            yield name, path.read_bytes()
    yield "standing", standing.encode()


def _end_of(attempt: Attempt) -> bytes:
    """Return the end of what a trainer printed, with a word about what is left out."""
    try:
        with attempt.output.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - wire.LAST))
            data = stream.read()
    except OSError:
        return b""
    if size <= wire.LAST:
        return data
    return f"... {size - wire.LAST:,} bytes before this are there\n".encode() + data


# ----------------------------------------------------------------- the process


def main(option: str | None) -> int:
    """Speak over standard input and output; what is printed by accident goes to standard error."""
    out = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    home = find_home(option)
    try:
        with _opened(home) as (db, writes):
            _introduce(out, home=read_json(home.identity)["uid"], path=str(home.path))
            Feed(home, db, writes=writes, out=out).serve(sys.stdin.fileno())
    except RpatError as error:
        with suppress(OSError):
            _introduce(out, home="", error=str(error))
        return 2
    except BrokenPipeError:
        return 0
    return 0


def _introduce(out: int, **more: Any) -> None:
    hello = {
        "speaks": list(wire.SPEAKS), "version": rpat.__version__, "host": socket.gethostname(),
        "t": time.time(), **more,
    }  # fmt: skip
    _write(out, b"\n" + wire.MARKER.encode() + wire.encoded(hello))  # whatever was printed before


@contextmanager
def _opened(home: Home) -> Iterator[tuple[sqlite3.Connection, bool]]:
    if not home.exists():
        raise StoreError(
            f"home {home.path} has no runs yet; name another one as HOST:HOME, or start a run there"
        )
    if os.access(home.path, os.W_OK):
        with database.opened(home) as db:
            yield db, True
    else:
        with database.opened_readonly(home) as db:
            yield db, False


def _write(out: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(out, rest) :]
