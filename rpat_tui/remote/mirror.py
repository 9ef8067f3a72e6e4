"""The near side: what is known of another machine's home, kept in files here.

    remotes/box/mirror.db              which runs, the mark that each was brought to, who was asked
    remotes/box/runs/r0012/            its config, journals, what people wrote, how it stands there
    remotes/box/lock                   held by the process that brings it up to date

Nothing in it is executed. A run's mark is written after its files, so that whatever is cut short
is only sent again; what was there already goes on where it ended.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rpat.errors import StoreError
from rpat.rundir import Attempt, RunDir, read_json, write_json
from rpat_tui.home import Home
from rpat_tui.launch.locks import held
from rpat_tui.remote import wire
from rpat_tui.remote.link import Link, LinkError
from rpat_tui.remote.places import Place
from rpat_tui.store import belonging, marks
from rpat_tui.store import db as database
from rpat_tui.store.queue import name_of

AT_ONCE = 100
"""Runs that are asked for in one request."""
MANY = 300
"""Runs of which it is said that they take a while."""
MOST = 10_000_000
"""Runs have smaller numbers."""
FRESH = 15.0
"""Seconds for which what another process keeps up to date is not asked for again."""

Json = dict[str, Any]
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Mirror:
    """The files about one other home, below this one."""

    home: Home
    place: Place

    @property
    def path(self) -> Path:
        """The folder of it."""
        return self.home.path / "remotes" / self.place.name

    def folder(self, n: int) -> RunDir:
        """Return a run's files."""
        return RunDir(self.path / "runs" / name_of(n))

    @property
    def lock(self) -> Path:
        """Held while it is brought up to date."""
        return self.path / "lock"

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Open what is known of it; made where it is missing."""
        with database.explained(self.home):
            (self.path / "runs").mkdir(parents=True, exist_ok=True)
            path = self.path / "mirror.db"
            db = database.connect(path)
            try:
                db.execute("pragma synchronous = off")  # what a crash takes is sent again
                marks.keep_marks(db)
                db.execute("create table if not exists facts (key text primary key, value text)")
                yield db
            finally:
                db.close()

    def remember(self) -> None:
        """Write down how to get there, so that its name means it from now on."""
        path, values = self.path / "place.json", asdict(self.place)
        if not path.exists() or read_json(path) != values:
            write_json(path, values)

    def known(self) -> dict[int, tuple[str, str]]:
        """Return the uid and mark of every run that has been taken over."""
        with self.opened() as db:
            return marks.kept(db)

    def seen_at(self) -> float | None:
        """Return when the far side was heard of last."""
        try:
            return (self.path / "seen").stat().st_mtime
        except OSError:
            return None

    def state(self) -> tuple[int, ...]:
        """Return numbers that are others whenever something was taken over."""
        found = []
        for name in ("mirror.db", "mirror.db-wal"):
            with suppress(OSError):
                stat = (self.path / name).stat()
                found += [stat.st_size, stat.st_mtime_ns]
        return tuple(found)

    def facts(self) -> dict[str, str]:
        """Return who was asked last: home, host, version, path."""
        with self.opened() as db:
            return dict(db.execute("select key, value from facts").fetchall())


class Taking:
    """Brings a mirror up to date over a link; the holder of its lock."""

    def __init__(
        self, mirror: Mirror, db: sqlite3.Connection, link: Link, say: Say | None = None
    ) -> None:
        self.mirror, self.db, self.link, self.say = mirror, db, link, say
        self.taken = 0
        """Runs that have been brought up to date."""
        self._check()

    def _check(self) -> None:
        hello, name = self.link.hello, self.mirror.place.name
        own = belonging.uid_of(self.mirror.home)
        if hello["home"] == own:
            raise LinkError(f"{name} is this home itself; leave it out")
        before = belonging.fact(self.db, "home")
        if before and before != hello["home"]:  # the name means another home now
            shutil.rmtree(self.mirror.path / "runs")
            (self.mirror.path / "runs").mkdir()
            self.db.execute("delete from joined")
        with database.transaction(self.db):
            for key in ("home", "host", "version", "path"):
                belonging.set_fact(self.db, key, str(hello.get(key, ""))[:500])
            belonging.set_fact(self.db, "skew", f"{_skew(hello):.0f}")

    def all(self) -> int:
        """Take whatever differs; returns how many runs were brought up to date."""
        before = self.taken
        have = {n: mark for n, (_, mark) in marks.kept(self.db).items()}
        groups = marks.groups(have)
        found = self.link.ask("look", whole=marks.whole(groups)).get("groups")
        if found is not None:
            theirs = {_number(word): str(digest) for word, digest in _mapping(found).items()}
            differing = sorted(g for g in {*groups, *theirs} if groups.get(g) != theirs.get(g))
            said = self.link.ask("marks", of=[g for g in differing if g in theirs])["marks"]
            new = {_number(word): str(mark) for word, mark in _mapping(said).items()}
            old = marks.within(have, differing)
            self.forget([n for n in old if n not in new])
            self.take({n: mark for n, mark in new.items() if old.get(n) != mark})
        self.seen()
        return self.taken - before

    def news(self, message: Json) -> None:
        """Take what the far side has told by itself."""
        if "gone" in message:
            self.forget([_number(n) for n in message["gone"]])
        if "changed" in message:
            new = _mapping(message["changed"])
            self.take({_number(word): str(mark) for word, mark in new.items()})
        self.seen()

    def seen(self) -> None:
        """Note that the far side was heard of now."""
        (self.mirror.path / "seen").touch()

    # ----------------------------------------------------------------- runs

    def forget(self, numbers: Sequence[int]) -> None:
        """Drop runs that are no longer there."""
        for n in numbers:
            self.db.execute("delete from joined where n = ?", (n,))
            shutil.rmtree(self.mirror.folder(n).path, ignore_errors=True)

    def take(self, new: Mapping[int, str]) -> None:
        """Ask for what is missing of runs, whose marks there are given."""
        for n in new:
            row = self.db.execute("select mark from joined where n = ?", (n,)).fetchone()
            if row is not None and not marks.same_run(row[0], new[n]):
                self.forget([n])  # another run has that number now
        numbers = list(new)
        if self.say is not None and len(numbers) >= MANY:
            self.say(f"{self.mirror.place.name}: taking over {len(numbers):,} runs")
        for start in range(0, len(numbers), AT_ONCE):
            some = numbers[start : start + AT_ONCE]
            wanted = {str(n): _has(self.mirror.folder(n)) for n in some}
            for message in self.link.stream("runs", of=wanted):
                if "part" in message:
                    self._part(message)
                elif "run" in message:
                    self._run(message)

    def _part(self, message: Json) -> None:
        folder = self.mirror.folder(_number(message["part"]))
        try:
            number, _, file = str(message["file"]).partition("/")
            attempt = Attempt(folder.path, _number(number))
            if file not in wire.FILES:
                raise ValueError(file)
            start, data = int(message["from"]), wire.bytes_of(message["text"])
        except (KeyError, ValueError, TypeError) as error:
            raise LinkError(
                f"{self.mirror.place.name}: it sends what is no journal: {error!r}"
            ) from None
        path: Path = getattr(attempt, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            if not 0 <= start <= stream.tell():
                raise LinkError(f"{self.mirror.place.name}: it sends a journal with a hole")
            if start < stream.tell():
                stream.truncate(start)
            stream.write(data)

    def _run(self, message: Json) -> None:
        """Take the small files of a run, then note that it is up to date."""
        n, name = _number(message["run"]), self.mirror.place.name
        uid, mark = message.get("uid"), message.get("mark")
        docs, tails = _mapping(message.get("docs")), _mapping(message.get("tails"))
        if not (isinstance(uid, str) and isinstance(mark, str)):
            raise LinkError(f"{name}: it sends what is no run")
        folder = self.mirror.folder(n)
        folder.path.mkdir(parents=True, exist_ok=True)
        for doc, text in docs.items():
            if doc in wire.DOCS:
                _put(folder.path / f"{doc}.json", text)
        there = message.get("attempts", [])
        for attempt in folder.attempts():
            if isinstance(there, list) and attempt.number not in there:
                shutil.rmtree(attempt.path)  # the home there was restored from a backup
        for number, text in tails.items():
            attempt = Attempt(folder.path, _number(number))
            attempt.path.mkdir(parents=True, exist_ok=True)
            _put(attempt.output, text)
        marks.keep(self.db, [(n, uid, mark)])
        self.taken += 1


def _has(run: RunDir) -> Json:
    """Return what is here of a run, as the far side compares it."""
    files, tails = {}, {}
    for attempt in run.attempts():
        for file in wire.FILES:
            path: Path = getattr(attempt, file)
            if path.exists():
                size = path.stat().st_size
                files[f"{attempt.number}/{file}"] = [size, wire.before(path, size)]
        if attempt.output.exists():
            tails[str(attempt.number)] = wire.crc(attempt.output.read_bytes())
    docs = {}
    for doc in wire.DOCS:
        path = run.path / f"{doc}.json"
        if path.exists():
            docs[doc] = wire.crc(path.read_bytes())
    return {"docs": docs, "files": files, "tails": tails}


def _put(path: Path, text: Any) -> None:
    """Replace a small file; it need not survive a crash, but must never be half there."""
    try:
        data = wire.bytes_of(text)
    except ValueError as error:
        raise LinkError(f"it sends a damaged {path.name}: {error}") from None
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(data)
    beside.replace(path)


def _number(word: Any) -> int:
    try:
        n = int(word)
    except (TypeError, ValueError):
        n = -1
    if not 0 <= n < MOST:
        raise LinkError(f"a number in what it sends is {word!r}")
    return n


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise LinkError(f"{type(value).__name__} in what it sends where names are expected")
    return value


def _skew(hello: Json) -> float:
    t = hello.get("t")
    return time.time() - t if isinstance(t, int | float) else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How asking a machine went: `problem` is '' where it went well, `seen` when it last did."""

    place: Place
    problem: str = ""
    seen: float | None = None
    taken: int = 0
    received: int = 0
    sent: int = 0


def bring_up(mirror: Mirror, wait: float, say: Say | None = None) -> Contact:
    """Ask a machine once for all that is new there; never raises for the link.

    `say` is told what takes a while.
    """
    problem, taken, received, sent = "", 0, 0, 0
    with mirror.opened() as db, held(mirror.lock) as free:
        if free:
            try:
                with Link(mirror.place, wait) as link:
                    mirror.remember()
                    try:
                        taking = Taking(mirror, db, link, say)
                        taken = taking.all()
                    finally:
                        received, sent = link.received, link.sent
            except LinkError as error:
                problem = str(error)
            except (OSError, sqlite3.Error) as error:
                raise StoreError(f"{mirror.path}: {error}") from error
        seen = mirror.seen_at()
        if not free and (seen is None or time.time() - seen > FRESH):
            problem = f"{mirror.place.name}: another process is asking it just now"
    return Contact(
        place=mirror.place, problem=problem, seen=seen, taken=taken, received=received, sent=sent
    )


def remembered(home: Home) -> dict[str, Place]:
    """Return the machines that have been shown before, by name."""
    found = {}
    for path in (home.path / "remotes").glob("*/place.json"):
        with suppress(OSError, ValueError, TypeError):
            place = Place(**read_json(path))
            found[place.name] = place
    return found
