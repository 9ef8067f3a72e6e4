"""Commands about the disk and other homes: du, prune, bundle, import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpat_tui.cli.output import HomeOption, JsonOption, print_json, reading, remark, say

if TYPE_CHECKING:
    import sqlite3

SomeRuns = Annotated[
    list[str] | None, typer.Argument(help="Ids or names; all runs if left out.", metavar="[RUN...]")
]


def du(runs: SomeRuns = None, json: JsonOption = False, home: HomeOption = None) -> None:
    """Show what uses the disk, the largest runs first."""
    from rpat_tui.cli.output import console, plain_table
    from rpat_tui.keeping import usage
    from rpat_tui.store import carry, queries

    with reading(home) as (place, db):
        numbers = queries.find(db, runs) if runs else carry.numbers(db)
        found = usage.of_runs(place, db, numbers)
        whole = usage.of_home(place)
    if json:
        print_json({"runs": [usage.plain(use) for use in found], "home": whole})
        return
    if found:
        columns = (*usage.PARTS, "snapshot", "total")
        table = plain_table("id", "state", "what", *columns, right=columns)
        for use in found:
            what = use.method if use.kind == "train" else f"{use.kind} of {use.method}"
            sizes = [*(use.parts[part] for part in usage.PARTS), use.snapshot, use.total]
            table.add_row(use.id, use.state, what, *map(usage.human, sizes))
        console().print(table)
    total = usage.human(sum(use.total for use in found))
    say(f"{len(found)} run(s) {total}, shares of code included")
    if not runs:
        say("home " + ", ".join(f"{key} {usage.human(size)}" for key, size in whole.items()))


def prune(
    runs: SomeRuns = None,
    where: Annotated[str, typer.Option("--where", help="Only runs that a filter finds.")] = "",
    keep: Annotated[
        str, typer.Option("--keep", help="Of best, final and last, what stays; a list.")
    ] = "best,final",
    epochs: Annotated[
        bool, typer.Option("--epochs", help="Weights of single epochs (keep_every) go too.")
    ] = False,
    cache: Annotated[
        float | None,
        typer.Option(
            "--cache", help="Decoded images that nobody has read for so many days.", min=0
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would go; the default.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it.")] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Free disk by rule; without --yes it only lists.

    Training states of runs that are done, code that no run refers to, and what is asked for. What
    an evaluation, a student or an open job needs always stays.
    """
    from rpat.errors import ConfigError
    from rpat_tui.compose import words
    from rpat_tui.keeping import prune as pruning

    if dry_run and yes:
        raise ConfigError("--dry-run and --yes are both given; keep one of them")
    if runs and where:
        raise ConfigError("runs and --where are both given; keep one of them")
    rule = pruning.Rule(words(keep), epochs)
    rule.check()
    with reading(home) as (place, db):
        numbers = _numbers(db, runs, where)
        items = [item for n in numbers for item in pruning.of_run(place, db, n, rule)]
        if not runs and not where:
            items += pruning.snapshots(place, db)
        if cache is not None:
            items += pruning.cache(place, db, cache)
        goes = [item for item in items if not item.kept]
        freed = pruning.carry_out(place, db, goes, rule, cache) if yes else 0
    _print_pruned(items, yes, freed, json)


def _numbers(db: sqlite3.Connection, runs: list[str] | None, where: str) -> list[int]:
    from rpat_tui.store import carry, queries

    if runs:
        return queries.find(db, runs)
    if where:
        return [row["n"] for row in queries.runs(db, where, kind="", archived=True)]
    return carry.numbers(db)


def _print_pruned(items: list[Any], yes: bool, freed: int, json: bool) -> None:
    from rpat_tui.keeping.usage import human

    goes = [item for item in items if not item.kept]
    if json:
        print_json({
            "removed": yes,
            "bytes": freed if yes else sum(item.size for item in goes),
            "items": [
                {"path": item.path.as_posix(), "bytes": item.size, "why": item.why,
                 "kept": item.kept}
                for item in items
            ],
        })  # fmt: skip
        return
    for item in items:
        word = "stays" if item.kept else "removed" if yes else "would go"
        say(f"{word:<8}  {human(item.size):>7}  {item.path.as_posix()}  ({item.why})")
    if yes:
        say(f"{human(freed)} freed")
    elif goes:
        say(f"{human(sum(item.size for item in goes))} would be freed; --yes removes it")
    else:
        remark("nothing to remove by this rule")


def bundle(
    runs: Annotated[list[str], typer.Argument(help="Ids or names.", metavar="RUN...")],
    out: Annotated[str, typer.Option("--out", help="FILE.tar.gz or FILE.tar.", metavar="FILE")],
    weights: Annotated[
        str, typer.Option("--weights", help="best, final, all (with training states) or none.")
    ] = "best,final",
    evaluations: Annotated[
        bool,
        typer.Option("--evaluations/--no-evaluations", help="Take the jobs about the runs along."),
    ] = True,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Pack runs into one file for another home.

    Journals, results, weights, and who they are; rpat import takes it.
    """
    from rpat_tui.compose import words
    from rpat_tui.keeping import bundle as bundling
    from rpat_tui.keeping.usage import human
    from rpat_tui.store import queries

    target = Path(out).expanduser()
    with reading(home) as (place, db):
        numbers = bundling.family(db, queries.find(db, runs), evaluations)
        manifest = bundling.write(place, db, numbers, target, words(weights))
    if json:
        print_json(manifest)
        return
    for entry in manifest["runs"]:
        more = f"; {entry['remark']}" if entry["remark"] else ""
        say(f"{entry['id']}  {entry['text']}, {entry['intent']['state']}{more}")
    for entry in manifest["prerequisites"]:
        remark(f"{entry['id']} ({entry['method']} on {entry['dataset']}) stays behind")
    say(f"{target}: {len(manifest['runs'])} run(s), {human(target.stat().st_size)}")


def take(
    files: Annotated[list[str], typer.Argument(help="Bundles of runs.", metavar="FILE...")],
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Take runs from bundles of other homes.

    What is here already is recognised, and only brought up to date.
    """
    from dataclasses import asdict

    from rpat.errors import ConfigError
    from rpat_tui.home import find_home
    from rpat_tui.keeping import merge
    from rpat_tui.store import db as database

    paths = [Path(file).expanduser() for file in files]
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path} is no file; rpat bundle writes one")
    place = find_home(home)
    with database.opened(place) as db:
        taken = merge.take(place, db, paths)
    if json:
        print_json([asdict(one) for one in taken])
    else:
        for one in taken:
            say(f"{one.id} (there {one.was})  {one.did}: {one.text}")
    if any(one.did == merge.SKIPPED for one in taken):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (du, prune, bundle):
        app.command()(command)
    app.command("import")(take)
