"""This home and others in one database that is only read: `together/box+lab/` below this home.

It is a home like any other, so lists, tables, screens and exports need not know: its run
directories are links to this home's and to the mirrors', its database an index of them. A run of
another machine is called `box:r0012` there and has the number `k * STRIDE + 12`. No worker ever
looks at it, and what is removed from it is removed nowhere else.

A run that is in several homes (it was imported from a bundle) is shown once: as it is here, else
as in the first machine by name.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpat.errors import RpatError
from rpat.rundir import RunDir
from rpat_tui.home import Home
from rpat_tui.launch.locks import held
from rpat_tui.remote import believe
from rpat_tui.remote.mirror import MANY, MOST, Mirror, Say
from rpat_tui.remote.places import Place
from rpat_tui.store import belonging, carry, marks, measured
from rpat_tui.store import db as database
from rpat_tui.store.index import index
from rpat_tui.store.ingest import ingest
from rpat_tui.store.queue import name_of

STRIDE = MOST
"""Numbers of runs that each machine has."""

PATIENCE = 2.0
"""Seconds that another process is waited for."""

_BESIDE = {"launches": True, "submissions": True, "holds": False}
"""Tables that this home's journals do not tell of; whether their rows begin with a run."""

_BAD = (
    RpatError, OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError,
    OverflowError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.DataError,
)  # fmt: skip
"""What reading the files of a run can end with that another machine wrote."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a run of the view comes from: `own` is its number there, `place` is None for here."""

    place: Place | None
    own: int
    folder: Path
    uid: str
    mark: str

    @property
    def name(self) -> str:
        """The run's id in the view."""
        return f"{self.place.name}:{name_of(self.own)}" if self.place else name_of(self.own)


class View:
    """A home and the mirrors of others, joined."""

    def __init__(self, own: Home, places: Sequence[Place]) -> None:
        self.own = own
        self.places = sorted(places, key=lambda place: place.name)
        self.mirrors = [Mirror(own, place) for place in self.places]
        self.home = Home(own.path / "together" / "+".join(place.name for place in self.places))
        self.problems: list[str] = []
        """Why runs are left out, as of the last update."""

    def name_of(self, n: int) -> str:
        """Return the id of a run in the view."""
        k, own = divmod(n, STRIDE)
        return f"{self.places[k - 1].name}:{name_of(own)}" if k else name_of(n)

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Open the joined database; made where it is missing."""
        self.own.make()
        with database.explained(self.home):
            if not self.home.exists() or not self.home.database.exists():
                self._make()
            with database.opened(self.home, heal=False) as db:
                db.execute("pragma synchronous = off")  # a copy: it can be made again
                yield db

    def _make(self) -> None:
        """Begin with a copy of this home's database, which is quicker than reading it again."""
        self.home.make()
        with held(self.home.path / "make.lock") as free:
            if not free or self.home.database.exists():
                return
            for name in ("", "-wal", "-shm"):  # what is left of one that was removed
                self.home.database.with_name(f"{self.home.database.name}{name}").unlink(
                    missing_ok=True
                )
            self.home.generation.unlink(missing_ok=True)
            self.home.database.parent.mkdir(parents=True, exist_ok=True)
            with database.opened(self.own) as own:
                copy = self.home.database.with_suffix(".new")
                copy.unlink(missing_ok=True)
                with _closing(database.connect(copy)) as db:
                    own.backup(db)
                    marks.keep_marks(db)
                    with database.transaction(db):
                        belonging.set_fact(db, "home", belonging.uid_of(self.home))
                        known = marks.marks(db)
                        marks.keep_all(db, known)
                    for n in known:
                        self._link(name_of(n), self.own.runs / name_of(n))
                    db.execute("pragma wal_checkpoint(truncate)")
                copy.replace(self.home.database)

    # ----------------------------------------------------------------- bringing it up to date

    def update(
        self, db: sqlite3.Connection, own: sqlite3.Connection, say: Say | None = None
    ) -> int:
        """Bring the view to what this home and the mirrors hold; returns how many runs changed.

        Another process that is at it is waited for only a little; `say` is told what takes a
        while.
        """
        with self._alone() as free:
            if not free:
                self.problems = ["another window is reading runs just now: some may be missing"]
                return 0
            marks.keep_marks(db)
            db.execute("delete from joined where n not in (select n from runs)")
            wanted, there = self._wanted(own), marks.kept(db)
            for n, (uid, _) in there.items():
                if n not in wanted or wanted[n].uid != uid:
                    self._drop(db, n)
            self.problems = []
            changed = [n for n, s in wanted.items() if there.get(n) != (s.uid, s.mark)]
            if say is not None and len(changed) >= MANY:
                say(f"reading {len(changed):,} runs, once")
            for n in changed:
                self._take(db, own, n, wanted[n])
            if any(wanted[n].place is None for n in changed):
                self._copy_beside(db, own)
            measured.keep(db, until=time.monotonic() + 1.0)
            return len(changed)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Try for a while to be the only one who brings the view up to date."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with held(self.home.path / "join.lock") as free:
                if free or time.monotonic() > deadline:
                    yield free
                    return
            time.sleep(0.05)

    def _wanted(self, own: sqlite3.Connection) -> dict[int, Source]:
        """Return every run that shall be in the view; one that is in several homes once."""
        found: dict[int, Source] = {}
        uids = dict(own.execute("select n, uid from runs").fetchall())
        seen = set(uids.values())
        for n, mark in marks.marks(own).items():
            found[n] = Source(None, n, self.own.runs / name_of(n), uids[n], mark)
        for k, mirror in enumerate(self.mirrors, 1):
            for n, (uid, mark) in mirror.known().items():
                if uid not in seen:
                    seen.add(uid)
                    folder = mirror.folder(n).path
                    found[k * STRIDE + n] = Source(mirror.place, n, folder, uid, mark)
        return found

    def _drop(self, db: sqlite3.Connection, n: int) -> None:
        name = db.execute("select id from runs where n = ?", (n,)).fetchone()
        with database.transaction(db):
            marks.drop(db, n)
        if name is not None:
            with suppress(OSError):
                (self.home.runs / name[0]).unlink()

    def _take(
        self, db: sqlite3.Connection, own: sqlite3.Connection, n: int, source: Source
    ) -> None:
        """Bring one run up to date; one that cannot be believed or read is left out and named."""
        try:
            self._link(source.name, source.folder)
            run = RunDir(self.home.runs / source.name)
            said, config, meta = self._said(own, run, source)
            with database.transaction(db):
                if carry.by_uid(db, source.uid) is None:
                    index(db, self.home, n, "stopped", name=source.name)
                else:
                    carry.label(
                        db, n, name=meta["name"], note=meta["note"], tags=meta["tags"],
                        archived=meta["archived"],
                    )  # fmt: skip
                    carry.mark(db, n, imported=meta["imported"], config=config)
                marks.stand(db, n, said)
            ingest(db, n, run)
            with database.transaction(db):
                marks.keep(db, [(n, source.uid, source.mark)])
        except _BAD as error:
            self.problems.append(f"{source.name} is left out: {error}")
            self._drop(db, n)

    def _said(
        self, own: sqlite3.Connection, run: RunDir, source: Source
    ) -> tuple[Json, Json, Json]:
        """Return how a run stands, its config, and what people wrote."""
        config, meta = believe.config(run, source.uid), believe.meta(run)
        if source.place is None:
            return marks.standing(own, source.own), config, meta
        said = believe.standing(run)
        if said["slot"]:
            said["slot"] = f"{source.place.name}:{said['slot']}"
        return said, config, meta

    def _link(self, name: str, folder: Path) -> None:
        with suppress(FileExistsError):
            (self.home.runs / name).symlink_to(folder)

    def _copy_beside(self, db: sqlite3.Connection, own: sqlite3.Connection) -> None:
        here = {n for (n,) in db.execute("select n from runs")}
        with database.transaction(db):
            for table, has_run in _BESIDE.items():
                rows = own.execute(f"select * from {table}").fetchall()
                rows = [row for row in rows if row[0] in here or not has_run]
                if rows == db.execute(f"select * from {table}").fetchall():
                    continue
                db.execute(f"delete from {table}")
                marked = ", ".join("?" * len(rows[0])) if rows else ""
                db.executemany(f"insert or ignore into {table} values ({marked})", rows)


@contextmanager
def _closing(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield db
    finally:
        db.close()


def forget(own: Home, name: str) -> bool:
    """Remove what is kept here of a machine; returns whether there was anything."""
    mirror = own.path / "remotes" / name
    views = [
        folder for folder in (own.path / "together").glob("*") if name in folder.name.split("+")
    ]
    there = mirror.exists() or bool(views)
    for folder in (mirror, *views):
        shutil.rmtree(folder, ignore_errors=True)
    return there
