"""Reading for screens: one thread with one read-only connection, so that no key ever waits."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rpat.errors import StoreError
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import window

T = TypeVar("T")


class Reader:
    """Answers questions in its own thread, one after the other."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.answered = 0
        """Questions answered so far."""
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self.store = window.Reader(home)
        """The connection; only the thread may use it."""
        self._current = False

    async def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return the answer to a question; raises `StoreError` where there is no database."""
        return await self._run(lambda: self._ask(question))

    async def pulse(self) -> int:
        """Return a number that changes whenever something that screens show has changed."""
        return await self._run(self._pulse)

    def close(self) -> None:
        """Let the thread end; a question under way is not waited for."""
        self.thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, work)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        self._bring_up_to_date()
        self.answered += 1
        with self.store.reading() as db:
            return question(db)

    def _pulse(self) -> int:
        self._bring_up_to_date()
        return self.store.pulse()

    def _bring_up_to_date(self) -> None:
        """Migrate an older database once; a home without one has nothing to read."""
        if self._current:
            return
        if not self.home.exists():
            raise StoreError("no runs yet: n composes the first one")
        try:
            with database.opened(self.home):
                pass
        except StoreError:
            if not self.home.database.exists():
                raise
        self._current = True
