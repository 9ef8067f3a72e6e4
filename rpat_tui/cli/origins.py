"""Commands about where runs come from: rerun, diff, import-log; and the provenance of one."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rpat_tui.cli.elsewhere import looking
from rpat_tui.cli.output import (
    HomeOption,
    JsonOption,
    clock,
    print_json,
    reading,
    remark,
    say,
)
from rpat_tui.glyphs import printable


def rerun(
    runs: Annotated[list[str], typer.Argument(help="Ids (r0001) or names.", metavar="RUN...")],
    seed: Annotated[int | None, typer.Option("--seed", help="Another seed.")] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Several: 0-2 or 0,1,2.")] = "",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Any value: attack.steps=7; repeat.")
    ] = None,
    code: Annotated[
        str, typer.Option("--code", help="now, or frozen: the code that the run was queued with.")
    ] = "now",
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Queue new runs of the same configs.

    Each notes which run it repeats; the old ones stay as they are.
    """
    from rpat.errors import ConfigError
    from rpat_tui import compose
    from rpat_tui.launch import anew, worker
    from rpat_tui.store import queries

    if seed is not None and seeds:
        raise ConfigError("--seed and --seeds are both given; keep one of them")
    if code not in ("now", "frozen"):
        raise ConfigError(f"--code {code} does not exist; choose now or frozen")
    wanted = [seed] if seed is not None else [int(word) for word in compose.read_seeds(seeds)]
    with reading(home) as (place, db):
        numbers = anew.rerun(
            place, db, queries.find(db, runs), seeds=wanted,
            changes=compose.assignments(changes), code=code,
            command=shlex.join(["rpat", *sys.argv[1:]]),
        )  # fmt: skip
        worker.ensure(place)
        if json:
            print_json([queries.public(row) for row in queries.runs(db, numbers=numbers)])
            return
    say(" ".join(f"r{n:04d}" for n in numbers))


def diff(
    a: Annotated[str, typer.Argument(help="Id (r0001) or name.")],
    b: Annotated[str, typer.Argument(help="Id (r0001) or name.")],
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Say how two runs differ.

    In config, code, environment and images.
    """
    from rpat_tui.launch.differences import differences
    from rpat_tui.store import queries

    with looking(home, None, [a, b]) as (place, db):
        first, second = (queries.find(db, [word])[0] for word in (a, b))
        found = differences(place, db, first, second)
    if json:
        print_json(found)
        return
    _print_differences(found)


def _print_differences(found: dict[str, Any]) -> None:
    from rpat_tui.launch.differences import word

    for section in ("config", "environment"):
        if pairs := found[section]:
            say(f"{section}")
            width = max(map(len, pairs))
            for key, (old, new) in pairs.items():
                say(f"  {key:<{width}}  {word(old)} → {word(new)}")
        else:
            say(f"{section}: the same")
    say(
        "images: the same"
        if found["data"] is None
        else f"images: {' → '.join(key[:10] or 'unknown' for key in found['data'])}"
    )
    code = found["code"]
    if code is None:
        say("code: the same")
        return
    say(f"code: {' → '.join(digest[:10] or 'unknown' for digest in code['snapshots'])}")
    if any(code["commits"]):
        say(f"  commits {' → '.join(commit[:10] or '–' for commit in code['commits'])}")
    for digest in code["missing"]:
        say(f"  the snapshot {digest[:10]} is not kept: its files cannot be compared")
    for name, change in code["files"].items():
        say(f"  {change:<8} {name}")
    if code["diff"]:
        say(code["diff"])


# ----------------------------------------------------------------- rpat show --provenance


def print_provenance(origin: dict[str, Any], ran: list[dict[str, Any]], data: str) -> None:
    """Print where a run comes from, and what its attempts ran with."""
    from rpat.rundir import newest_code
    from rpat_tui.launch.differences import between_attempts, flat, word

    if not origin:
        say("where this run comes from was not kept")
        return
    code = newest_code(origin)
    git = code.get("git") or {}
    if git:
        dirty = "with uncommitted changes" if git.get("diff") else "without uncommitted changes"
        commit = f"{git['commit']}, {dirty}"
    else:
        commit = "not from a git checkout"
    again = origin.get("rerun_of")
    imported = origin.get("imported")
    lines = {
        "queued": clock(origin.get("queued")),
        "command": origin.get("command"),
        "user": origin.get("user"),
        "host": origin.get("host"),
        "platform": origin.get("platform"),
        "folder": origin.get("cwd"),
        "rerun of": again and again["id"],
        "imported": imported and f"{imported['file']} ({imported['format']})",
        "sha256": imported and imported["sha256"],
        "rpat": code.get("rpat"),
        "python": code.get("python"),
        **(code.get("packages") or {}),
        "commit": None if imported else commit,
        "snapshot": code.get("snapshot"),
        "kept in": code.get("snapshot_path"),
        "images": data or None,
    }
    for key, value in lines.items():
        if value not in (None, ""):
            say(f"{key:<13} {value}")
    for entry in (origin.get("history") or [])[1:]:
        say(f"moved to code {entry['snapshot'][:10]} at {clock(entry['t'])}")
    for attempt in ran:
        versions = "  ".join(f"{k} {word(v)}" for k, v in flat(attempt["versions"]).items() if v)
        say(f"attempt {attempt['number']}     {attempt['host']}, {attempt['device']}  {versions}")
    for text in between_attempts(ran):
        say(f"differs: {text}")


def print_patch(name: str, origin: dict[str, Any]) -> None:
    """Print the uncommitted changes of a run's code."""
    from rpat_tui.launch.differences import patch_of

    patch = patch_of(origin)
    if patch is None:
        remark(f"{name}: its code was no git checkout, or its changes were not kept")
    elif not patch:
        remark(f"{name}: its code had no uncommitted changes")
    else:
        sys.stdout.write(printable(patch) if sys.stdout.isatty() else patch)


# ----------------------------------------------------------------- import of text logs


def import_log(
    file: Annotated[Path, typer.Argument(help="Text log of another code base.", metavar="FILE")],
    source: Annotated[
        str, typer.Option("--from", help="rpat, rebat, consistency-at, trades or auto.")
    ] = "auto",
    dataset: Annotated[str, typer.Option("--dataset", help="Data set, if not in the log.")] = "",
    method: Annotated[str, typer.Option("--method", help="Method, if not in the log.")] = "",
    rpat: Annotated[bool, typer.Option("--rpat", help="It was trained with RPAT's term.")] = False,
    stack: Annotated[
        list[str] | None, typer.Option("--with", help="What was stacked on it; repeat.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Network.")] = "",
    norm: Annotated[str, typer.Option("--norm", help="linf or l2.")] = "",
    seed: Annotated[int | None, typer.Option("--seed", help="Seed.")] = None,
    weights: Annotated[
        str,
        typer.Option("--evaluated", help="Which weights a final result is of: best or final."),
    ] = "best",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Any value: attack.steps=7; repeat.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="A label for the run.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag; repeat.")] = None,
    note: Annotated[str, typer.Option("--note", help="A note.")] = "",
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Take over a run from the text log of a public code base.

    RPAT (both parts), ReBAT and Rice et al., Consistency-AT, TRADES. It stands in tables, marked
    "imported"; options win over what the log states.
    """
    from rpat_tui import compose
    from rpat_tui.home import find_home
    from rpat_tui.launch import imported
    from rpat_tui.store import db as database
    from rpat_tui.store import queries

    ask = imported.Ask(
        source=source, dataset=dataset, method=method, rpat=rpat, wrappers=tuple(stack or ()),
        model=model, norm=norm, seed=seed, weights=weights,
        changes=compose.assignments(changes), name=name, tags=tuple(tag or ()), note=note,
        command=shlex.join(["rpat", *sys.argv[1:]]),
    )  # fmt: skip
    plan = imported.plan(file, ask)  # refused here before a home is made
    with database.opened(find_home(home)) as db:
        n = imported.adopt(find_home(home), db, plan, ask)
        row = queries.runs(db, numbers=[n])[0]
    if json:
        print_json([queries.public(row)])
    else:
        say(f"{row['id']} {plan.summary()}")
    for text in plan.remarks():
        remark(text)


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(rerun)
    app.command()(diff)
    app.command("import-log")(import_log)
