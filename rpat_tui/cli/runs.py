"""Commands that look at runs: list, show, logs, metrics."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpat_tui.cli.elsewhere import RemoteOption, asked_for, looking
from rpat_tui.cli.output import (
    COLOURS,
    HomeOption,
    JsonOption,
    clock,
    console,
    duration,
    figure,
    glyph,
    has_home,
    place,
    plain_table,
    print_json,
    print_table,
    remark,
    say,
    title,
)
from rpat_tui.glyphs import printable

if TYPE_CHECKING:
    import sqlite3

    from rpat.rundir import RunDir
    from rpat_tui.home import Home
    from rpat_tui.launch.card import Card

Run = Annotated[str, typer.Argument(help="Id (r0001) or name.")]


def list_runs(
    where: Annotated[
        str,
        typer.Option(
            "--where",
            help="Filter, as 'method:mart pgd>50 not is:archived', or @NAME, a saved one.",
        ),
    ] = "",
    kind: Annotated[str, typer.Option("--kind", help="train, eval or study.")] = "train",
    remote: RemoteOption = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List runs: states and newest numbers."""
    from rpat.errors import ConfigError
    from rpat_tui.store import queries
    from rpat_tui.store.filters import compile_filter

    if kind not in ("train", "eval", "study"):
        raise ConfigError(f"--kind {kind} does not exist; choose train, eval or study")
    if where.startswith("@"):
        from rpat_tui.remembered import saved

        where = saved(where, home)
    compile_filter(where)  # refused here too when there is nothing to filter yet
    rows, outcomes = [], {}
    if has_home(home) or asked_for(home, remote):
        with looking(home, remote) as (_, db):
            rows = queries.runs(db, where, kind=kind)
            if kind != "train":
                outcomes = queries.outcomes(db, [row["n"] for row in rows])
    if json:
        print_json([queries.public(row) for row in rows])
        return
    if not rows:
        remark("no run matches" if where else "no runs yet; start one with rpat run or rpat demo")
        return
    if kind == "train":
        _print_list(rows)
        return
    _print_jobs(rows, outcomes)


def _print_jobs(rows: list[dict[str, Any]], outcomes: dict[int, str]) -> None:
    """Print evaluations and studies: of what, how far, what came out so far."""
    from rich.text import Text

    out = console()
    table = plain_table(
        "id", "state", "of", "what", "data", "progress", "robust", right=("progress",)
    )
    for row in rows:
        share = 100 * row["step"] / row["steps"] if row["steps"] else 0.0
        table.add_row(
            row["id"],
            Text(f"{glyph(row['state'])} {row['state']}", style=COLOURS[row["state"]]),
            row["parent"] or "file",
            title(row),
            place(row, out.width >= 120),
            "" if row["state"] == "done" else f"{share:.0f} %",
            Text(outcomes.get(row["n"], "") if row["state"] == "done" else row["stage"]),
        )
    out.print(table)
    for row in rows:
        if row["reason"]:
            out.print(Text(f"{row['id']} {row['state']}: {row['reason']}", style="dim"))


def _print_list(rows: list[dict[str, Any]]) -> None:
    out = console()
    wide = out.width >= 120
    columns = ["id", "state", "method", "data", *(["model"] if wide else []), "s", "epoch"]
    columns += ["clean", "PGD", *(["best", "started", "took"] if wide else [])]
    cells = []
    for row in rows:
        best = figure(row["best_pgd"]) + (f" @{row['best_epoch']}" if row["best_epoch"] else "")
        ended = row["ended"] or time.time()
        took = duration(ended - row["started"]) if row["started"] else "–"
        cells.append(
            [
                row["id"],
                f"{glyph(row['state'])} {row['state']}",
                _titled(row),
                place(row, wide),
                *([row["model"]] if wide else []),
                str(row["seed"]),
                f"{row['epoch']}/{row['epochs']}",
                figure(row["clean"]),
                figure(row["pgd"]),
                *([best, clock(row["started"]), took] if wide else []),
            ]
        )
    print_table(
        columns,
        cells,
        right=("s", "epoch", "clean", "PGD", "best", "took"),
        styles=[COLOURS[row["state"]] for row in rows],
    )
    from rich.text import Text

    for row in rows:
        if row["imported"].startswith("bundle "):
            out.print(Text(f"{row['id']} imported: {row['imported']}", style="dim"))
        if row["reason"]:
            out.print(Text(f"{row['id']} {row['state']}: {row['reason']}", style="dim"))


def _titled(row: dict[str, Any]) -> str:
    name = f" “{' '.join(row['name'].split())}”" if row["name"] else ""
    return f"{title(row)}{name}{' (imported)' if row['imported'].startswith('log:') else ''}"


def show(
    run: Run,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Only where it comes from: versions, host, code.")
    ] = False,
    diff_code: Annotated[
        bool, typer.Option("--diff-code", help="Only the uncommitted changes of its code.")
    ] = False,
    remote: RemoteOption = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show one run.

    Its state and why, results, config, attempts, and the code it came from.
    """
    from rpat.rundir import RunDir
    from rpat_tui.cli.origins import print_patch, print_provenance
    from rpat_tui.keeping import prune
    from rpat_tui.keeping.labels import written
    from rpat_tui.launch.origin import provenance_of
    from rpat_tui.launch.slurm import report
    from rpat_tui.store import queries

    with looking(home, remote, [run]) as (where, db):
        n = queries.find(db, [run])[0]
        row = queries.runs(db, numbers=[n])[0]
        folder = RunDir(where.runs / row["id"])
        facts: dict[str, Any] = {
            "results": queries.evaluations(db, n),
            "metrics": queries.summaries(db, n),
            "attempts": queries.attempts(db, n),
            "history": queries.transitions(db, n),
            "findings": queries.findings(db, queries.subject_of(db, n)),
            "weights": [
                event["text"]
                for event in queries.events(db, n, ["notice"])
                if event.get("what") == "weights" and "text" in event
            ],
            "studies": queries.studies(db, [n]),
            "jobs": [queries.public(r) for r in queries.runs(db, numbers=queries.jobs_of(db, [n]))],
            "config": queries.config_of(db, n),
            "card": _card(where, db, row),
            "cluster": report.job(db, n),
        }
        facts["pruned"] = prune.pruned(where, n)
        facts["left_out"] = written(where, n).get("bundle", {}).get("left_out", [])
        ran = []
        if provenance:
            from rpat_tui.launch.differences import attempts, between_attempts

            ran = attempts(db, n)
    facts["provenance"] = provenance_of(where, row["id"])
    if diff_code:
        print_patch(row["id"], facts["provenance"])
        return
    if provenance and not json:
        print_provenance(facts["provenance"], ran, row["data_key"])
        return
    if provenance:
        more = {"data": row["data_key"], "attempts": ran, "differs": between_attempts(ran)}
        print_json({"id": row["id"], **facts["provenance"], **more})
        return
    if json:
        for moved in facts["history"]:
            moved["t"] = queries.iso(moved["t"])
        order = (
            "config", "results", "studies", "metrics", "provenance", "findings", "jobs",
            "attempts", "history", "card", "pruned", "cluster",
        )  # fmt: skip
        facts["card"] = facts["card"] and facts["card"].public()
        print_json({**queries.public(row), **{key: facts[key] for key in order}})
        return
    _print_run(row, facts, folder.path)


def _card(home: Home, db: sqlite3.Connection, row: dict[str, Any]) -> Card | None:
    """Return why a run has ended badly; None where it has not."""
    from rpat_tui.store.queue import ENDED_BADLY

    if row["state"] not in ENDED_BADLY:
        return None
    from rpat_tui.launch import inquest
    from rpat_tui.launch.card import card

    return card(inquest.facts(home, db, row))


def _print_run(row: dict[str, Any], facts: dict[str, Any], folder: Path) -> None:
    from rich.text import Text

    from rpat.config import RunConfig
    from rpat_tui.cli.results import evaluation_table, finding_lines
    from rpat_tui.wording import describe, describe_values

    out = console()
    about = {"eval": "evaluation of ", "study": "study of "}.get(row["kind"], "")
    about += f"{row['parent']}, " if row["parent"] else ""
    head = (
        f"{about}{title(row)} on {row['dataset']} {row['norm']}, {row['model']}, seed {row['seed']}"
    )
    out.print(Text.assemble((row["id"], "bold"), "  ", head))
    state = (f"{glyph(row['state'])} {row['state']}", COLOURS[row["state"]])
    reason = f": {row['reason']}" if row["reason"] else ""
    epochs = f"  epoch {row['epoch']}/{row['epochs']}" if row["epochs"] else ""
    if row["kind"] != "train" and row["state"] != "done":
        epochs = f"  {row['stage']}"
    out.print(Text.assemble(state, f"{reason}{epochs}"))
    if facts["card"]:
        from rpat_tui.cli.explain import panel

        out.print(panel(row, facts["card"]))
    tags = " ".join(f"#{tag}" for tag in row["tags"])
    if words := "  ".join(filter(None, [row["name"], tags, row["note"]])):
        say(words)
    times = ((key, clock(row[key])) for key in ("created", "started", "ended"))
    say("  ".join(f"{key} {t}" for key, t in times))
    if row["archived"]:
        say(f"archived; rpat unarchive {row['id']} brings it back into lists and tables")
    if row["imported"].startswith("bundle "):
        less = [name for name in facts["left_out"] if not (folder / name).exists()]
        say(f"imported: {row['imported']}" + (f", without {', '.join(less)}" if less else ""))
    if facts["pruned"]:
        say(f"pruned: {', '.join(facts['pruned'])}")
    for text in facts["weights"]:
        say(text)
    if facts["results"]:
        say("")
        out.print(evaluation_table(facts["results"]))
    for job in facts["jobs"]:
        if job["state"] != "done":
            say(f"{job['id']} ({job['kind']}) is {job['state']} {job['stage']}".rstrip())
    if facts["findings"]:
        say("")
    for text in finding_lines(facts["findings"]):
        out.print(text)
    say("")
    config = facts["config"]
    trained = row["kind"] == "train"
    for line in describe(RunConfig.from_dict(config)) if trained else describe_values(config):
        say(line)
    say("")
    for attempt in facts["attempts"]:
        host = (attempt["trainer"] or attempt["attendant"] or {}).get("host", "–")
        ending = attempt["ending"] or attempt["signal"] or attempt["exit_code"]
        say(
            f"attempt {attempt['number']} on {host} ({attempt['device'] or '–'}) from step "
            f"{attempt['from_step']}, began {clock(attempt['began'])}, ended "
            f"{clock(attempt['ended'])}{f' ({ending})' if ending not in ('', None) else ''}"
        )
    if row["imported"].startswith("log:"):
        say(f"imported from {row['imported'].partition(':')[2]}")
        say(f"folder {folder}")
        return
    git = facts["provenance"].get("git") or {}
    code = f"git {git['commit'][:10]}{'+changes' if git.get('diff') else ''}" if git else ""
    if facts["cluster"]:
        at = f" on {facts['cluster']['node']}" if facts["cluster"]["node"] else ""
        say(f"Slurm job {facts['cluster']['job'] or '–'}{at} ({facts['cluster']['name']})")
    say(f"code rpat {facts['provenance'].get('rpat', '?')} {code}")
    say(f"folder {folder}")


def logs(
    run: Run,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing.")] = False,
    remote: RemoteOption = None,
    home: HomeOption = None,
) -> None:
    """Print what a run reported and printed."""
    from rpat.rundir import RunDir
    from rpat_tui.store import queries

    position: dict[Path, int] = {}
    while True:
        with looking(home, remote, [run]) as (where, db):
            n = queries.find(db, [run])[0]
            folder = RunDir(where.runs / queries.runs(db, numbers=[n])[0]["id"])
            goes_on = bool(queries.unfinished(db, [n]))
        _print_log(folder, position)
        if not follow or not goes_on:
            return
        time.sleep(0.5)


def _print_log(folder: RunDir, position: dict[Path, int]) -> None:
    from rpat import journal
    from rpat_tui.sentences import sentence

    for attempt in folder.attempts():
        if attempt.path not in position:
            position[attempt.path] = 0
            say(f"── attempt {attempt.number}")
        for record, end in journal.read(attempt.journal, position.get(attempt.journal, 0)):
            position[attempt.journal] = end
            try:
                line = sentence(record)
            except (KeyError, TypeError, ValueError, AttributeError):
                line = f"a record of kind {record['kind']} that is not understood"
            if line:
                say(f"{time.strftime('%H:%M:%S', time.localtime(record['t']))}  {line}")
        try:
            with attempt.output.open("rb") as stream:
                stream.seek(position.get(attempt.output, 0))
                sys.stdout.write(printable(stream.read().decode("utf-8", "replace")))
                position[attempt.output] = stream.tell()
        except FileNotFoundError:
            continue


def metrics(
    run: Run,
    name: Annotated[list[str] | None, typer.Option("--name", help="Only this metric.")] = None,
    json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV: name,epoch,step,value.")] = False,
    machine: Annotated[
        bool, typer.Option("--machine", help="What it uses: card, memory, processor.")
    ] = False,
    remote: RemoteOption = None,
    home: HomeOption = None,
) -> None:
    """Print a run's metrics.

    Newest and extreme values; with --json or --csv every point.
    """
    from rpat_tui.store import queries

    with looking(home, remote, [run]) as (_, db):
        n = queries.find(db, [run])[0]
        if machine:
            _print_samples(queries.latest_samples(db, [n])[n], name or [], json, csv)
            return
        points = queries.metrics(db, n, name or ()) if json or csv else []
        summary = queries.summaries(db, n)
    if json:
        print_json(points)
    elif csv:
        import csv as csv_format

        writer = csv_format.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["name", "epoch", "step", "value"])
        writer.writerows([[p["name"], p["epoch"], p["step"], p["value"]] for p in points])
    else:
        table = plain_table(
            "metric", "last", "highest", "@", "lowest", "@", "points",
            right=("last", "highest", "@", "lowest", "points"),
        )  # fmt: skip
        for s in summary:
            if name and s["name"] not in name:
                continue
            table.add_row(
                s["name"], _number(s["value"]), _number(s["max_value"]), str(s["max_epoch"] or "–"),
                _number(s["min_value"]), str(s["min_epoch"] or "–"), str(s["points"]),
            )  # fmt: skip
        console().print(table)


def _print_samples(
    samples: dict[str, dict[str, Any]], names: list[str], json: bool, csv: bool
) -> None:
    """Print the newest and the highest sample of each name."""
    from rpat_tui.store.queries import iso

    rows = [
        {"name": name, "device": s["device"], "t": iso(s["t"]), "value": s["value"],
         "peak": s["peak"]}
        for name, s in samples.items()
        if not names or name in names
    ]  # fmt: skip
    if json:
        print_json(rows)
        return
    if csv:
        import csv as csv_format

        writer = csv_format.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["name", "device", "t", "value", "peak"])
        writer.writerows([list(row.values()) for row in rows])
        return
    if not rows:
        remark("no samples yet; the worker takes them while a run trains (rpat config)")
        return
    table = plain_table("sample", "on", "newest", "highest", "at", right=("newest", "highest"))
    for row in rows:
        table.add_row(
            row["name"], row["device"], _number(row["value"]), _number(row["peak"]),
            clock(samples[row["name"]]["t"]),
        )  # fmt: skip
    console().print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("list")(list_runs)
    for command in (show, logs, metrics):
        app.command()(command)
