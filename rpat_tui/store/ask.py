"""Questions that people write in SQL: answered by a connection that can only read."""

from __future__ import annotations

import difflib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from rpat.errors import ConfigError, StoreError
from rpat_tui.home import Home
from rpat_tui.store.views import VIEWS

Value = str | int | float | bytes | None

_READS = {
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
}  # fmt: skip
_LOOKS = ("table_info", "table_xinfo", "table_list", "index_list", "index_info", "compile_options")
"""Pragmas that only tell."""
_VIRTUAL = ("json_each('[]')", "json_tree('[]')", "pragma_table_info('')", "pragma_table_list")
_LOOK_EVERY = 4096
"""Steps of SQLite's machine between two looks at the clock: well under a millisecond."""
_LONGEST = 1 << 28
"""Bytes of a value that a query may make."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The names of an answer's columns, and its rows, read as they are asked for."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Value, ...]]


@contextmanager
def asking(home: Home, seconds: float = 0.0) -> Iterator[Callable[[str], Answer]]:
    """Open the home's database to read, and yield what answers a query.

    `seconds` limits how long all of it may take; 0 does not. Raises `ConfigError` for a query
    that cannot be understood or would write, `StoreError` for one that takes too long, and
    `KeyboardInterrupt` for one that a person stopped.
    """
    place = f"{home.database.as_uri()}?mode=ro"
    with closing(sqlite3.connect(place, uri=True, isolation_level=None)) as db:
        db.execute("pragma query_only = on")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        for table in _VIRTUAL:  # SQLite declares them at their first use, which looks like writing
            db.execute(f"select 1 from {table}").fetchall()
        refused: list[str] = []
        db.set_authorizer(_guard(refused))
        end = time.monotonic() + seconds if seconds else None
        db.set_progress_handler(lambda: end is not None and time.monotonic() > end, _LOOK_EVERY)

        def stopped() -> Exception | KeyboardInterrupt:
            if end is not None and time.monotonic() > end:
                return StoreError(
                    f"the query took longer than {seconds:g} s (--timeout); ask for less, or for "
                    "a single run"
                )
            return KeyboardInterrupt()  # arrived while SQLite was at work

        def rows(cursor: sqlite3.Cursor) -> Iterator[tuple[Value, ...]]:
            try:
                while (row := cursor.fetchone()) is not None:  # `yield from` would close it
                    yield row
            except sqlite3.Error as error:
                raise _explained(db, "", error, refused, stopped) from error

        def answer(query: str) -> Answer:
            try:
                cursor = db.execute(query)
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                raise _explained(db, query, error, refused, stopped) from error
            if cursor.description is None:
                raise ConfigError("the query is empty; try: rpat sql 'select * from v1_runs'")
            return Answer(tuple(str(c[0]) for c in cursor.description), rows(cursor))

        yield answer


def _guard(refused: list[str]) -> Callable[..., int]:
    """Return an authorizer that lets only reading pass and notes what else was asked."""
    names = {
        code: name.removeprefix("SQLITE_").replace("_", " ").lower()
        for name, code in vars(sqlite3).items()
        if name.startswith("SQLITE_") and isinstance(code, int)
        and name.split("_")[1] in _VERBS
    }  # fmt: skip

    def allowed(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        looks = action == sqlite3.SQLITE_PRAGMA and first in _LOOKS
        if action in _READS or looks:
            return sqlite3.SQLITE_OK
        refused.append(names.get(action, "that"))
        return sqlite3.SQLITE_DENY

    return allowed


_VERBS = {
    "CREATE", "DELETE", "DROP", "INSERT", "PRAGMA", "TRANSACTION", "UPDATE", "ATTACH", "DETACH",
    "ALTER", "REINDEX", "ANALYZE", "SAVEPOINT",
}  # fmt: skip


def _explained(
    db: sqlite3.Connection,
    query: str,
    error: Exception,
    refused: list[str],
    stopped: Callable[[], BaseException],
) -> BaseException:
    """Return what to say about an error of SQLite: the name, the value, the remedy."""
    text = str(error)
    if text == "interrupted":
        return stopped()
    if refused or "readonly" in text:
        what = f"'{refused[0]}' is refused" if refused else "that is refused"
        return ConfigError(f"rpat sql only reads: {what}; use rpat's commands to change runs")
    if "one statement at a time" in text:
        return ConfigError("the query holds several statements; ask one at a time")
    if found := re.match(r"no such table: (?:\w+\.)?(.+)", text):
        return ConfigError(_no_table(db, found[1]))
    if found := re.match(r"no such column: (?:.+\.)?(.+)", text):
        return ConfigError(_no_column(db, query, found[1]))
    if "bindings" in text:
        return ConfigError("the query has a placeholder (? or :name); write the value itself")
    return ConfigError(f"the query cannot be understood: {text}; `rpat sql` lists the views")


def _no_table(db: sqlite3.Connection, name: str) -> str:
    there = [row[0] for row in db.execute("select name from sqlite_master where name like 'v1%'")]
    if not there:
        return (
            f"there is no '{name}': the database was made by an older release; open its home once "
            "where it can be written (rpat list)"
        )
    guess = _near(name, VIEWS) or _near(f"v1_{name}", VIEWS)
    hint = f"did you mean '{guess}'?" if guess else f"the views are {', '.join(VIEWS)}"
    return f"there is no view '{name}'; {hint}"


def _no_column(db: sqlite3.Connection, query: str, name: str) -> str:
    words = set(re.findall(r"\w+", query.lower()))
    asked = [view for view in VIEWS if view in words]
    if not asked:
        return f"there is no column '{name}'; `rpat sql` lists views and columns"
    known = dict.fromkeys(column for view in asked for column in VIEWS[view].columns)
    guess = _near(name, known)
    if guess:
        return f"{' and '.join(asked)} have no column '{name}'; did you mean '{guess}'?".replace(
            " have ", " has " if len(asked) == 1 else " have "
        )
    other = [view for view in VIEWS if name in VIEWS[view].columns]
    where = f"; {', '.join(other)} has it" if other else f"; choose of {', '.join(known)}"
    return f"there is no column '{name}' in {', '.join(asked)}{where}"


def _near(word: str, known: object) -> str:
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.7)  # type: ignore[call-overload]
    return str(found[0]) if found else ""
