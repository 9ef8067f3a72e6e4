"""Commands that label, archive and delete runs: tag, note, name, archive, delete, trash."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpat_tui.cli.elsewhere import acted, looking
from rpat_tui.cli.output import HomeOption, JsonOption, print_json, reading, remark, say

if TYPE_CHECKING:
    from collections.abc import Callable

Run = Annotated[str, typer.Argument(help="Id (r0001) or name.")]
Runs = Annotated[list[str], typer.Argument(help="Ids (r0001) or names.", metavar="RUN...")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


def tag(
    context: typer.Context,
    words: Annotated[
        list[str], typer.Argument(help="Runs, then +TAG to add and -TAG to remove.", metavar="RUN…")
    ],
    home: HomeOption = None,
) -> None:
    """Add and remove tags of runs, or print them.

    Example: rpat tag r0001 r0002 +table1 -draft
    """
    from rpat.errors import ConfigError
    from rpat_tui.keeping import labels
    from rpat_tui.store import queries

    if "-h" in words:  # not an option here: -chosen is a tag to remove
        say(context.get_help())
        return
    add = [word[1:] for word in words if word.startswith("+")]
    remove = [word[1:] for word in words if word.startswith("-")]
    runs = [word for word in words if word[:1] not in ("+", "-")]
    if not runs:
        raise ConfigError("rpat tag names no run; write for example: rpat tag r0001 +table1")
    if not (runs := acted(home, runs, "tag", {"add": add, "remove": remove})):
        return
    with reading(home) as (place, db):
        for n in queries.find(db, runs):
            row = queries.runs(db, numbers=[n])[0]
            change = bool(add or remove)
            tags = labels.tag(place, db, n, add, remove) if change else row["tags"]
            say(f"{row['id']}  {' '.join(f'#{word}' for word in sorted(tags)) or 'no tags'}")


def note(
    run: Run,
    text: Annotated[str | None, typer.Argument(help="The note; '' removes it.")] = None,
    home: HomeOption = None,
) -> None:
    """Write a run's note, or print it."""
    _write_or_print("note", run, text, home)


def name(
    run: Run,
    text: Annotated[
        str | None, typer.Argument(help="The name; '' removes it.", metavar="[NAME]")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Give a run a name, or print it."""
    _write_or_print("name", run, text, home)


def _write_or_print(what: str, run: str, text: str | None, home: str | None) -> None:
    from rpat_tui.keeping import labels
    from rpat_tui.store import queries

    if text is not None and not acted(home, [run], what, {"text": text}):
        return
    with looking(home, None, [run]) as (place, db):
        n = queries.find(db, [run])[0]
        if text is None:
            say(queries.runs(db, numbers=[n])[0][what])
        elif what == "name":
            labels.name(place, db, n, text)
        else:
            labels.write(place, db, n, note=text)


def archive(runs: Runs, home: HomeOption = None) -> None:
    """Take runs out of lists and tables.

    Nothing is removed; rpat unarchive brings them back.
    """
    from rpat_tui.keeping import labels

    _each(runs, home, "archive", labels.archive)


def unarchive(runs: Runs, home: HomeOption = None) -> None:
    """Bring archived runs back into lists and tables."""
    from rpat_tui.keeping import labels

    _each(runs, home, "unarchive", labels.unarchive)


def _each(
    runs: list[str], home: str | None, name: str, act: Callable[[Any, Any, int], str]
) -> None:
    from rpat_tui.store import queries

    if not (runs := acted(home, runs, name)):
        return
    with reading(home) as (place, db):
        for n in queries.find(db, runs):
            say(act(place, db, n))


def delete(runs: Runs, yes: YesOption = False, home: HomeOption = None) -> None:
    """Move runs and the jobs about them to the trash.

    Says what goes, and asks; rpat undelete brings them back.
    """
    from rpat_tui.keeping import trash
    from rpat_tui.keeping.usage import human
    from rpat_tui.store import queries

    if far := [word for word in runs if ":" in word]:
        agree(f"delete {len(far)} run(s) on other machines?", far, yes)
        if not (runs := acted(home, runs, "delete")):
            return
    with reading(home) as (place, db):
        doomed = trash.plan(place, db, queries.find(db, runs))
        lines = [one.text for one in doomed]
        total = human(sum(one.size for one in doomed))
        agree(f"delete {len(doomed)} run(s), {total}?", lines, yes)
        for line in trash.delete(place, db, doomed):
            say(line)


def undelete(runs: Runs, home: HomeOption = None) -> None:
    """Bring runs back from the trash.

    The jobs that went with them come back too.
    """
    from rpat_tui.keeping import trash

    with reading(home) as (place, db):
        for word in runs:
            for line in trash.undelete(place, db, word):
                say(line)


def show_trash(
    empty: Annotated[bool, typer.Option("--empty", help="Remove for good what is there.")] = False,
    older: Annotated[
        str, typer.Option("--older", help="Only what was deleted so long ago: 30d, 12h, 2w.")
    ] = "",
    yes: YesOption = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List deleted runs, or remove them for good.

    Example: rpat trash --empty --older 30d
    """
    import time

    from rpat_tui.cli.output import clock, console, plain_table
    from rpat_tui.keeping import trash
    from rpat_tui.keeping.usage import human
    from rpat_tui.store.filters import seconds
    from rpat_tui.store.queries import iso

    limit = time.time() - seconds("--older", older) if older else float("inf")
    with reading(home) as (place, db):
        found = [entry for entry in trash.entries(place) if entry.t < limit]
        total = sum(entry.size for entry in found)
        if empty:
            lines = [f"{e.id}  {e.text}, {human(e.size)}" for e in found]
            if found:
                agree(f"remove {len(found)} run(s) for good, {human(total)}?", lines, yes)
            freed = trash.empty(place, db, found)
            if not json:
                say(f"{human(freed)} freed")
                return
    if json:
        print_json([
            {"id": e.id, "uid": e.uid, "entry": e.path.name, "deleted": iso(e.t), "size": e.size,
             "text": e.text}
            for e in found
        ])  # fmt: skip
    elif not found:
        remark("the trash is empty" if not older else f"nothing is {older} in the trash")
    else:
        table = plain_table("id", "deleted", "size", "what", right=("size",))
        for e in found:
            table.add_row(e.id, clock(e.t), human(e.size), e.text)
        console().print(table)
        say(f"{human(total)}; rpat undelete ID brings a run back, rpat trash --empty removes all")


def agree(question: str, lines: list[str], yes: bool) -> None:
    """Go on only when somebody has agreed: with --yes, or in a terminal when asked."""
    from rpat.errors import ConfigError

    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(f"{question.rstrip('?')}: say --yes, since nobody can be asked here")
    for line in lines:
        say(line)
    if not typer.confirm(question):
        raise ConfigError("nothing was changed")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})(
        tag
    )
    for command in (note, name, archive, unarchive, delete, undelete):
        app.command()(command)
    app.command("trash")(show_trash)
