"""Commands about other machines: remotes, and feed, which they call."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rpat_tui.cli.output import (
    HomeOption,
    JsonOption,
    clock,
    plain_table,
    print_json,
    remark,
    say,
)


def remotes(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names, or HOST[:HOME]; none: all that are known.", metavar="[HOST]..."
        ),
    ] = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask each of them now.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Remove what is kept here of them; they lose nothing.")
    ] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List the other machines whose runs can be shown here.

    Those of the settings, and those that were shown before with --remote.
    """
    from rpat.errors import ConfigError
    from rpat_tui.cli.elsewhere import known_machines, told
    from rpat_tui.home import find_home, settings
    from rpat_tui.remote.mirror import Mirror, bring_up
    from rpat_tui.remote.places import of
    from rpat_tui.remote.view import forget as remove

    own, known = find_home(home), known_machines(home)
    chosen = [of(word, known) for word in names or known]
    if forget:
        if not names:
            raise ConfigError("--forget: name the machines to forget (rpat remotes lists them)")
        for place in chosen:
            there = remove(own, place.name)
            say(f"{place.name} is {'forgotten' if there else 'not known here'}")
        return
    rows: list[dict[str, Any]] = []
    for place in chosen:
        mirror = Mirror(own, place)
        problem = ""
        if ask:
            own.make()
            contact = bring_up(mirror, settings()["remote_wait"].value)
            problem = next(told(contact), "")
        facts = mirror.facts() if mirror.path.exists() else {}
        rows.append({
            "name": place.name, "host": place.host, "home": place.home or facts.get("path", ""),
            "runs": len(mirror.known()) if facts else 0,
            "seen": mirror.seen_at(),
            "version": facts.get("version", ""), "problem": problem,
        })  # fmt: skip
    if json:
        print_json(rows)
        return
    if not rows:
        remark("no other machine is known; show one with rpat list --remote HOST")
        return
    _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.text import Text

    from rpat_tui.cli.output import console

    table = plain_table("name", "host", "home", "runs", "heard of", "rpat", right=("runs",))
    for row in rows:
        cells = (row["name"], row["host"], row["home"] or "–", str(row["runs"]))
        table.add_row(*map(Text, (*cells, clock(row["seen"]), row["version"] or "–")))
    console().print(table)
    for row in rows:
        if row["problem"]:
            remark(row["problem"])


def feed(home: HomeOption = None) -> None:
    """Speak with the rpat of another machine over standard input and output.

    rpat --remote calls it there through ssh; there is nothing in it for people.
    """
    from rpat_tui.remote.feed import main

    raise typer.Exit(main(home))


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(remotes)
    app.command()(feed)
