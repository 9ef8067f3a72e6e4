"""Commands that steer the queue: pause, resume, queue show, first, last, before, priority, hold."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rpat_tui.cli.elsewhere import acted
from rpat_tui.cli.output import (
    HomeOption,
    JsonOption,
    console,
    duration,
    place,
    plain_table,
    print_json,
    reading,
    remark,
    say,
    title,
)
from rpat_tui.cli.queue import Runs

queue_app = typer.Typer(
    help="Show and steer the queue: order, priorities, holds.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Places = Annotated[
    list[str] | None,
    typer.Argument(help="Runs or places (cuda:0, cpu:0); none: everything.", metavar="WHAT..."),
]


def pause(runs: Runs, home: HomeOption = None) -> None:
    """Save the work of runs and free their places.

    rpat resume goes on exactly there.
    """
    from rpat_tui.launch import control, worker
    from rpat_tui.store import queries

    if not (runs := acted(home, runs, "save and wait")):
        return
    with reading(home) as (where, db):
        numbers = queries.find(db, runs)
        for n in numbers:
            say(control.stop(where, db, n, "pause"))
        worker.ensure_for(where, db, numbers)


def resume(runs: Runs, home: HomeOption = None) -> None:
    """Go on with paused runs."""
    from rpat_tui.launch import control, worker
    from rpat_tui.store import queries

    if not (runs := acted(home, runs, "resume")):
        return
    with reading(home) as (where, db):
        for n in queries.find(db, runs):
            say(control.resume(db, n))
        worker.ensure(where)


@queue_app.command("show")
def show_queue(json: JsonOption = False, home: HomeOption = None) -> None:
    """Show what runs, what comes next, and what holds it back."""
    from rpat_tui.estimate import forecast
    from rpat_tui.store import queries, queue

    with reading(home) as (_, db):
        order = queue.waiting(db)
        rows = {row["n"]: row for row in queries.runs(db, numbers=order)} if order else {}
        why = queries.obstacles(db)
        held = queue.holds(db)
        ahead = forecast(queries.workload(db))
    items = [
        {
            **queries.public(rows[n]), "priority": rows[n]["priority"],
            "why": why.get(n, ""), "starts_in": ahead.starts.get(n), "ends_in": ahead.ends.get(n),
        }
        for n in order
    ]  # fmt: skip
    if json:
        print_json({"holds": held, "runs": items, "done_in": ahead.total})
        return
    for spot, reason in held.items():
        what = "everything is on hold" if spot == queue.ALL else f"{spot} is on hold"
        say(what + (f": {reason}" if reason else "") + " (rpat queue release)")
    if not items:
        remark("nothing is queued")
        return
    table = plain_table(
        "#", "id", "prio", "what", "data", "seed", "starts in", "", right=("#", "prio", "seed")
    )
    for number, item in enumerate(items, 1):
        table.add_row(
            str(number), item["id"], str(item["priority"]), title(item), place(item, False),
            str(item["seed"]), _about(item["starts_in"]), item["why"],
        )  # fmt: skip
    console().print(table)
    if ahead.total is not None:
        say(f"all of it is done in about {_about(ahead.total)}")


def _about(seconds: Any) -> str:
    if seconds is None:
        return "–"
    low, high = seconds
    return duration(low) if high - low < 0.1 * high else f"{duration(low)} to {duration(high)}"


@queue_app.command()
def first(runs: Runs, home: HomeOption = None) -> None:
    """Put queued runs in front of all others, in this order."""
    _order(runs, home, "place_first", "first")


@queue_app.command()
def last(runs: Runs, home: HomeOption = None) -> None:
    """Put queued runs behind all others, in this order."""
    _order(runs, home, "place_last", "last")


@queue_app.command()
def up(runs: Runs, home: HomeOption = None) -> None:
    """Let queued runs start one place earlier."""
    _step(runs, home, -1)


@queue_app.command()
def down(runs: Runs, home: HomeOption = None) -> None:
    """Let queued runs start one place later."""
    _step(runs, home, 1)


def _step(runs: list[str], home: str | None, by: int) -> None:
    from rpat_tui.store import queries, queue
    from rpat_tui.store.db import transaction

    if not (runs := acted(home, runs, "earlier" if by < 0 else "later")):
        return
    with reading(home) as (_, db), transaction(db):
        numbers = queries.find(db, runs)
        _must_wait(db, numbers)
        for n in numbers if by < 0 else numbers[::-1]:
            queue.place_one(db, n, by)
    say(f"{' '.join(queue.name_of(n) for n in numbers)}: one {'earlier' if by < 0 else 'later'}")


def _order(runs: list[str], home: str | None, how: str, word: str) -> None:
    from rpat_tui.store import queries, queue
    from rpat_tui.store.db import transaction

    step = -1 if word == "first" else 1  # a machine puts them in front one by one
    runs = acted(home, runs[::step], word)[::step]
    if not runs:
        return
    with reading(home) as (_, db), transaction(db):
        numbers = queries.find(db, runs)
        _must_wait(db, numbers)
        getattr(queue, how)(db, numbers)
    say(f"{' '.join(queue.name_of(n) for n in numbers)}: {word} in the queue")


@queue_app.command()
def before(
    other: Annotated[str, typer.Argument(help="The queued run that shall come after them.")],
    runs: Runs,
    home: HomeOption = None,
) -> None:
    """Put queued runs directly before another one."""
    from rpat.errors import ConfigError
    from rpat_tui.store import queries, queue
    from rpat_tui.store.db import transaction

    with reading(home) as (_, db), transaction(db):
        target = queries.find(db, [other])[0]
        numbers = queries.find(db, runs)
        if target in numbers:
            raise ConfigError(f"{other} cannot come before itself")
        _must_wait(db, [target, *numbers])
        queue.place_before(db, numbers, target)
    say(f"{' '.join(queue.name_of(n) for n in numbers)}: before {queue.name_of(target)}")


@queue_app.command()
def priority(
    value: Annotated[int, typer.Argument(help="Higher starts earlier; 50 is usual.")],
    runs: Runs,
    home: HomeOption = None,
) -> None:
    """Give queued runs another priority."""
    from rpat_tui.store import queries, queue
    from rpat_tui.store.db import transaction

    if not (runs := acted(home, runs, "priority", {"priority": value})):
        return
    with reading(home) as (_, db), transaction(db):
        numbers = queries.find(db, runs)
        _must_wait(db, numbers)
        for n in numbers:
            queue.set_priority(db, n, value)
    say(f"{' '.join(queue.name_of(n) for n in numbers)}: priority {value}")


@queue_app.command()
def hold(
    what: Places = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for others to read.")] = "",
    home: HomeOption = None,
) -> None:
    """Start nothing more: everything, a place, or single runs. What runs goes on."""
    from rpat_tui.store import queries, queue
    from rpat_tui.store.db import transaction

    with reading(home) as (_, db), transaction(db):
        for word in what or [queue.ALL]:
            if _is_place(word):
                queue.hold(db, word, reason)
                say("everything is on hold" if word == queue.ALL else f"{word} is on hold")
            else:
                n = queries.find(db, [word])[0]
                _must_wait(db, [n])
                db.execute("update runs set held = 1 where n = ?", (n,))
                say(f"{queue.name_of(n)} is held back")


@queue_app.command()
def release(what: Places = None, home: HomeOption = None) -> None:
    """Take holds back."""
    from rpat_tui.launch import worker
    from rpat_tui.store import queries, queue
    from rpat_tui.store.db import transaction

    with reading(home) as (where, db):
        with transaction(db):
            for word in what or [queue.ALL]:
                if _is_place(word):
                    name = "everything" if word == queue.ALL else word
                    there = queue.release(db, word)
                    say(f"{name} is released" if there else f"{name} was not on hold")
                else:
                    n = queries.find(db, [word])[0]
                    db.execute("update runs set held = 0 where n = ?", (n,))
                    say(f"{queue.name_of(n)} is released")
        worker.ensure(where)


@queue_app.command()
def drain(
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when nothing runs any more.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Start nothing more and let what runs come to its end."""
    from rpat_tui.cli.live import follow
    from rpat_tui.store import queries, queue
    from rpat_tui.store.db import transaction

    with reading(home) as (where, db):
        with transaction(db):
            queue.hold(db, queue.ALL, "drain")
        numbers = [row["n"] for row in queries.open_runs(db)]
    say(f"everything is on hold; {len(numbers)} run(s) come to their end")
    if wait and numbers:
        raise typer.Exit(follow(where, numbers, quiet=True))


def _is_place(word: str) -> bool:
    return word == "*" or word.startswith(("cuda:", "cpu:"))


def _must_wait(db: Any, numbers: list[int]) -> None:
    from rpat.errors import ConfigError
    from rpat_tui.store import queries

    for row in queries.runs(db, numbers=numbers):
        if row["state"] != "queued":
            raise ConfigError(f"{row['id']} is {row['state']}; only queued runs have a place in it")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(pause)
    app.command()(resume)
    app.add_typer(queue_app, name="queue")
