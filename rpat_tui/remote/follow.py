"""Other machines for as long as a window is open: a thread each keeps a link, one joins what came.

A link that drops is opened again, after one second at first and a minute at last; what was missed
then follows from what both sides have. Acts go through the open link, or are refused in one line.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from rpat.errors import RpatError
from rpat_tui.launch.locks import held
from rpat_tui.remote.link import Link, LinkError
from rpat_tui.remote.mirror import FRESH, Mirror, Taking
from rpat_tui.remote.view import View
from rpat_tui.store import db as database

FIRST, LAST = 1.0, 60.0
"""Seconds before a link is opened again: after the first failure, and at most."""
LOOK = 0.2
"""Seconds after which a follower looks whether it shall act."""
JOIN = 1.0
"""Seconds between two looks at what has come, at least."""
DEAR = 20
"""Joining takes at most one part in so many of the time."""
SILENT = 20.0
"""Seconds without a word after which a link is given up: the far side says something every five."""

Said = tuple[list[str], list[str]]


@dataclass(frozen=True, slots=True)
class Standing:
    """How it is with a machine: `live`, `asking` or `away`; since when, and why."""

    name: str
    word: str
    since: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Wish:
    act: str
    runs: Sequence[str]
    values: Mapping[str, Any]
    answer: Future[Said]


class Follower(threading.Thread):
    """Keeps one mirror up to date."""

    def __init__(self, mirror: Mirror, wait: float, first: float = FIRST) -> None:
        super().__init__(name=f"follow-{mirror.place.name}", daemon=True)
        self.mirror, self.wait, self.first = mirror, wait, first
        self.standing = Standing(mirror.place.name, "asking", time.time())
        self.link: Link | None = None
        self._leave = threading.Event()
        self._wishes: SimpleQueue[_Wish] = SimpleQueue()

    def run(self) -> None:
        """Follow until told to leave."""
        pause = self.first
        while not self._leave.is_set():
            began = time.monotonic()
            try:
                self._follow()
            except RpatError as error:
                self._stand("away", str(error))
            except (OSError, sqlite3.Error) as error:
                self._stand("away", f"{self.mirror.path}: {error}")
            self.link = None
            if time.monotonic() - began > LAST:  # it went well for a while
                pause = self.first
            self._wait_and_refuse(pause)
            pause = min(pause * 2, LAST)

    def act(self, act: str, runs: Sequence[str], values: Mapping[str, Any]) -> Said:
        """Act on runs there; called from another thread. Raises `LinkError`."""
        if self.standing.word != "live":
            why = self.standing.why or f"{self.mirror.place.name} has not answered yet"
            raise LinkError(f"nothing was done: {why}")
        if self.link is None:  # another process follows: a link for this alone
            with Link(self.mirror.place, self.wait) as link:
                return link.act(act, runs, values)
        wish = _Wish(act, runs, values, Future())
        self._wishes.put(wish)
        try:
            return wish.answer.result(self.wait + 5)
        except TimeoutError:
            raise LinkError(f"{self.mirror.place.name} does not answer; look what it did") from None

    def close(self) -> None:
        """Let the thread end, and hang up."""
        self._leave.set()

    # ----------------------------------------------------------------- the thread's own

    def _follow(self) -> None:
        with self.mirror.opened() as db, held(self.mirror.lock) as free:
            if not free:
                self._watch_the_other()
                return
            with Link(self.mirror.place, self.wait) as link:
                self.mirror.remember()
                taking = Taking(self.mirror, db, link)
                taking.all()
                link.ask("follow")
                self.link = link
                self._stand("live")
                self._keep_up(taking, link)

    def _keep_up(self, taking: Taking, link: Link) -> None:
        heard = time.monotonic()
        while not self._leave.is_set():
            self._act_on_wishes(link)
            message = link.news(LOOK)
            if message is not None:
                heard = time.monotonic()
                taking.news(message)
            elif time.monotonic() - heard > SILENT:
                raise LinkError(f"{self.mirror.place.name}: the link is silent")

    def _act_on_wishes(self, link: Link) -> None:
        with suppress(Empty):
            while True:
                wish = self._wishes.get_nowait()
                try:
                    wish.answer.set_result(link.act(wish.act, wish.runs, wish.values))
                except LinkError as error:
                    wish.answer.set_exception(error)
                    if "the link is broken" in str(error) or link.has_ended:
                        raise

    def _watch_the_other(self) -> None:
        """Another process keeps the mirror up to date: say how that goes until it leaves."""
        while not self._leave.is_set():
            with held(self.mirror.lock) as free:
                if free:
                    return
            seen = self.mirror.seen_at()
            fresh = seen is not None and time.time() - seen < FRESH
            self._stand("live" if fresh else "asking")
            self._wait_and_refuse(JOIN)

    def _wait_and_refuse(self, seconds: float) -> None:
        self._leave.wait(seconds)
        with suppress(Empty):
            while True:
                wish = self._wishes.get_nowait()
                why = self.standing.why or "the link has dropped"
                wish.answer.set_exception(LinkError(f"nothing was done: {why}"))

    def _stand(self, word: str, why: str = "") -> None:
        before = self.standing
        since = before.since if before.word == word else time.time()
        self.standing = Standing(before.name, word, since, why)


class Elsewhere:
    """The other machines of a window."""

    def __init__(
        self, view: View, wait: float, changed: Callable[[], object] = lambda: None,
        first: float = FIRST,
    ) -> None:  # fmt: skip
        self.view = view
        self.followers = {
            mirror.place.name: Follower(mirror, wait, first) for mirror in view.mirrors
        }
        self.problem = ""
        """Why what has come cannot be shown."""
        self._changed = changed
        self._leave = threading.Event()
        self._joiner = threading.Thread(target=self._join, name="join", daemon=True)

    def start(self) -> None:
        """Begin to ask and to join."""
        for follower in self.followers.values():
            follower.start()
        self._joiner.start()

    def close(self) -> None:
        """Hang up; nobody is waited for."""
        self._leave.set()
        for follower in self.followers.values():
            follower.close()

    def standings(self) -> list[Standing]:
        """Return how it is with each machine, by name."""
        return [follower.standing for follower in self.followers.values()]

    def act(
        self, act: str, ids: Sequence[str], values: Mapping[str, Any] | None = None
    ) -> tuple[list[str], list[str]]:
        """Act on runs by their ids here; returns what was said, and what was refused."""
        said: list[str] = []
        refused: list[str] = []
        names = dict.fromkeys(word.partition(":")[0] for word in ids)
        for name in names:
            own = [word.partition(":")[2] for word in ids if word.startswith(f"{name}:")]
            try:
                done, not_done = self.followers[name].act(act, own, values or {})
            except RpatError as error:
                refused.append(str(error))
                continue
            said += [f"{name}: {line}" for line in done]
            refused += [f"{name}: {line}" for line in not_done]
        return said, refused

    def _join(self) -> None:
        """Bring the view up to date whenever this home or a mirror has changed."""
        while not self._leave.is_set():
            try:
                with database.opened(self.view.own) as own, self.view.opened() as db:
                    self._join_with(own, db)
            except (RpatError, sqlite3.Error, OSError) as error:
                self.problem = str(error)
            self._leave.wait(JOIN)

    def _join_with(self, own: sqlite3.Connection, db: sqlite3.Connection) -> None:
        seen: tuple[Any, ...] = ()
        while not self._leave.is_set():
            pause, now = JOIN, self._state(own)
            if now != seen:
                clock = time.thread_time()
                if self.view.update(db, own):
                    self._changed()
                self.problem = next(iter(self.view.problems), "")
                seen = now
                pause = max(JOIN, DEAR * (time.thread_time() - clock))
            self._leave.wait(pause)

    def _state(self, own: sqlite3.Connection) -> tuple[Any, ...]:
        version = own.execute("pragma data_version").fetchone()[0]
        return (version, *(mirror.state() for mirror in self.view.mirrors))
