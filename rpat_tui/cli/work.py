"""Commands around the work: worker, doctor, reindex, demo."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from rpat_tui.cli.output import HomeOption, JsonOption, console, print_json, remark, say


def worker(
    idle: Annotated[
        float | None, typer.Option("--idle", help="Leave after so many idle seconds.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Start queued runs, in this terminal.

    Commands start one by themselves; this one stays until Ctrl-C, which leaves runs alone.
    """
    from rpat.errors import ConfigError
    from rpat_tui.home import find_home
    from rpat_tui.launch import locks
    from rpat_tui.launch.worker import serve

    place = find_home(home).make()
    remark(f"worker for {place.path}; Ctrl-C leaves, runs go on")
    if not serve(place, float("inf") if idle is None else idle, say):
        other = locks.holder(place.worker_lock) or {}
        raise ConfigError(f"home {place.path} has a worker already (pid {other.get('pid', '?')})")


def reindex(home: HomeOption = None) -> None:
    """Build the database again.

    From the run directories; queue order and history are kept where they can be read.
    """
    from rpat_tui.home import find_home
    from rpat_tui.launch.rebuild import rebuild

    count, problems = rebuild(find_home(home))
    for problem in problems:
        remark(f"left out {problem}")
    say(f"{count} runs indexed")
    if problems:
        raise typer.Exit(1)


def doctor(json: JsonOption = False, home: HomeOption = None) -> None:
    """Check what runs need.

    Python, packages, GPU, home, database, disk, data sets.
    """
    from rpat_tui.cli.checks import checks

    found = checks(home)
    if json:
        print_json([{"check": c.name, "ok": c.ok, "found": c.found, "do": c.do} for c in found])
    else:
        from rich.text import Text

        out = console()
        for c in found:
            sign, colour = {True: ("ok", "green"), False: ("no", "red"), None: ("–", "dim")}[c.ok]
            out.print(Text.assemble((f"{sign:>2}", colour), f"  {c.name:<13} {c.found}"))
            if c.do:
                out.print(Text(f"{'':17} {c.do}", style="yellow"))
    if any(c.ok is False for c in found):
        raise typer.Exit(1)


def demo(home: HomeOption = None) -> None:
    """Train two short runs, then their table.

    PGD-AT with and without RPAT on embedded digits.
    """
    from rpat.recipes import recipe
    from rpat_tui import exports
    from rpat_tui.cli.live import follow
    from rpat_tui.compare import summarise
    from rpat_tui.home import find_home
    from rpat_tui.launch import frozen
    from rpat_tui.launch import worker as workers
    from rpat_tui.store import db as database
    from rpat_tui.store import index, queries

    place = find_home(home)
    configs = [recipe("pgd-at", stack, dataset="digits") for stack in ((), ("rpat",))]
    with database.opened(place) as db:
        wish = index.Wish(tags=("demo",), note="rpat demo")
        numbers = index.enqueue(place, db, configs, wish, frozen.provenance(place, "rpat demo"))
        workers.ensure(place)
    status = follow(place, numbers)
    if status:
        raise typer.Exit(status)
    ids = {f"r{n:04d}" for n in numbers}
    with database.opened(place) as db:
        mine: list[Any] = [
            m for m in queries.measurements(db, dataset="digits", checkpoint="best") if m.run in ids
        ]
    say("")
    exports.get("rich").write(summarise(mine, robust="pgd20", checkpoint="best"), sys.stdout)
    say("\nAn example on 1,437 small images, not a result. The same for real:")
    say("  rpat run --method pgd-at --dataset cifar10 --eval aa")
    say("  rpat run --method pgd-at --rpat --dataset cifar10 --eval aa")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (worker, reindex, doctor, demo):
        app.command()(command)
