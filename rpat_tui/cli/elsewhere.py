"""Runs of other machines in commands: `--remote` to look, ids like box:r0012 to act."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpat_tui.cli.output import HomeOption as HomeOption
from rpat_tui.cli.output import clock, duration, reading, remark, say

if TYPE_CHECKING:
    from rpat_tui.home import Home
    from rpat_tui.remote.mirror import Contact
    from rpat_tui.remote.places import Place

RemoteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--remote",
        help="Also the runs of another machine: HOST[:HOME] or a name of the settings; repeat.",
        metavar="HOST",
    ),
]


def asked_for(
    home: str | None, remote: Sequence[str] | None, runs: Sequence[str] = ()
) -> list[Place]:
    """Return the machines that a command is about, beside this one."""
    from rpat_tui.home import settings

    if not remote and not settings()["remotes"].value and not any(":" in word for word in runs):
        return []
    from rpat_tui.remote import places

    return places.chosen(remote, runs, known_machines(home))


@contextmanager
def looking(
    option: str | None, remote: Sequence[str] | None, runs: Sequence[str] = ()
) -> Iterator[tuple[Home, sqlite3.Connection]]:
    """Open what a reading command looks at: this home, or it and those of other machines.

    Each machine is asked once, for a bounded time; of one that does not answer its last known
    state is shown, and a line says how old that is.
    """
    places = asked_for(option, remote, runs)
    if not places:
        with reading(option) as opened:
            yield opened
        return
    from rpat_tui.cli.output import refreshed
    from rpat_tui.home import find_home
    from rpat_tui.remote.view import View
    from rpat_tui.store import db as database

    view = View(find_home(option).make(), places)
    for contact in _asked(view):
        for line in told(contact):
            remark(line)
    with database.opened(view.own) as own:
        refreshed(view.own, own)
        with view.opened() as db:
            view.update(db, own, remark)
            for problem in view.problems[:3]:
                remark(problem)
            if len(view.problems) > 3:
                remark(f"and {len(view.problems) - 3} more")
            yield view.home, db


def _asked(view: Any) -> list[Contact]:
    """Ask all machines at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    from rpat_tui.home import settings
    from rpat_tui.remote.mirror import bring_up

    wait = settings()["remote_wait"].value
    with ThreadPoolExecutor(len(view.mirrors)) as pool:
        return list(pool.map(lambda mirror: bring_up(mirror, wait, remark), view.mirrors))


def told(contact: Contact) -> Iterator[str]:
    """Say of a machine that could not be asked how old what is shown of it is."""
    import time

    if not contact.problem:
        return
    if contact.seen is None:
        yield f"{contact.problem}; nothing is known of it yet"
    else:
        age = duration(max(time.time() - contact.seen, 0))
        yield f"{contact.problem}; shown as of {clock(contact.seen)}, {age} ago"


# ----------------------------------------------------------------- acting


def acted(
    option: str | None, runs: Sequence[str], act: str, values: Mapping[str, Any] | None = None
) -> list[str]:
    """Act on the runs of other machines, named as in box:r0012; returns the other runs.

    Raises what is wrong with a link, in which case nothing was asked there; what was refused there
    ends the command.
    """
    far = [word for word in runs if ":" in word]
    if not far:
        return list(runs)
    from rpat.errors import ConfigError
    from rpat_tui.remote.places import machine_of

    known = known_machines(option)
    for word in far:
        name = machine_of(word)
        if name and name not in known:
            raise ConfigError(
                f"run '{word}': no machine is called {name}; give it that name in the settings, as "
                f"[remote.{name}] with host = ..."
            )
    far = [word for word in far if machine_of(word)]
    refused = False
    for name in dict.fromkeys(map(machine_of, far)):
        own = [word.partition(":")[2] for word in far if machine_of(word) == name]
        refused = _act(known[name], act, own, values or {}) or refused
    if refused:
        raise typer.Exit(2)
    return [word for word in runs if word not in far]


def known_machines(option: str | None) -> dict[str, Place]:
    """Return the machines that names stand for: those of the settings, and those shown before."""
    from rpat_tui.home import find_home
    from rpat_tui.remote.mirror import remembered
    from rpat_tui.remote.places import configured

    return {**remembered(find_home(option)), **configured()}


def _act(place: Place, act: str, runs: Sequence[str], values: Mapping[str, Any]) -> bool:
    """Act on runs of one machine; returns whether anything was refused."""
    from rpat_tui.home import settings
    from rpat_tui.remote.link import Link

    with Link(place, settings()["remote_wait"].value) as link:
        said, refused = link.act(act, runs, values)
    for line in said:
        say(f"{place.name}: {line}")
    for line in refused:
        remark(f"rpat: {place.name}: {line}")
    return bool(refused)
