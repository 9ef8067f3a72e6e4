"""Commands around suites: list, show, status, run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpat_tui.cli.output import (
    COLOURS,
    HomeOption,
    JsonOption,
    console,
    figure,
    glyph,
    has_home,
    plain_table,
    print_json,
    reading,
    remark,
    say,
)

if TYPE_CHECKING:
    from rpat.config import RunConfig
    from rpat_tui.suites import Row, Suite

suites_app = typer.Typer(
    help="Sets of runs: the paper's figures, and your own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="Name of a suite, or a file of your own.")]
DatasetOption = Annotated[str, typer.Option("--dataset", help="Other images in every row.")]
ModelOption = Annotated[str, typer.Option("--model", help="Another network in every row.")]
NormOption = Annotated[str, typer.Option("--norm", help="Another norm in every row.")]
EpochsOption = Annotated[int, typer.Option("--epochs", help="Another length of every run.")]
SeedsOption = Annotated[str, typer.Option("--seeds", help="Seeds of every row: 0-2 or 0,1,2.")]
ChangesOption = Annotated[
    list[str] | None, typer.Option("--set", help="Any value in every row: data.test_n=500; repeat.")
]
DataDirOption = Annotated[str | None, typer.Option("--data-dir", help="Folder of the data set.")]
EvalOption = Annotated[str, typer.Option("--eval", help="At the end of each run: none, pgd or aa.")]


@suites_app.command("list")
def list_suites(json: JsonOption = False) -> None:
    """List the suites."""
    from rpat_tui import suites

    known = [suites.load(name) for name in suites.names()]
    if json:
        print_json([{"name": s.name, "title": s.title, "rows": len(s.rows)} for s in known])
        return
    table = plain_table("name", "rows", "title", right=("rows",))
    for s in known:
        table.add_row(s.name, str(len(s.rows)), s.title)
    console().print(table)


@suites_app.command()
def show(name: Name, json: JsonOption = False) -> None:
    """Show what a suite consists of."""
    from rpat_tui import suites

    suite = suites.load(name)
    if json:
        rows = [
            {"label": r.label, "paper_label": r.paper_label, "case": r.case} for r in suite.rows
        ]
        print_json({"name": suite.name, "title": suite.title, "note": suite.note, "rows": rows})
        return
    say(suite.title)
    if suite.note:
        say(suite.note)
    table = plain_table("row", "in the paper's figure", "case")
    for row in suite.rows:
        table.add_row(row.label, row.paper_label or row.label, row.case)
    console().print(table)


@suites_app.command()
def status(
    name: Name,
    dataset: DatasetOption = "",
    model: ModelOption = "",
    norm: NormOption = "",
    epochs: EpochsOption = 0,
    seeds: SeedsOption = "0",
    changes: ChangesOption = None,
    data_dir: DataDirOption = None,
    evaluation: EvalOption = "",
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Say which runs of a suite are done, running, queued or missing."""
    from rpat_tui.store import queries

    suite, rows, _ = _rows(
        name, dataset, model, norm, epochs, seeds, changes, data_dir, evaluation, home
    )  # fmt: skip
    found: dict[str, Any] = {}
    if has_home(home):
        with reading(home) as (_, db):
            found = queries.by_fingerprint(db, [c.fingerprint() for _, cs in rows for c in cs])
    cells = [
        {"row": row.label, "seed": config.seed, **_cell(found.get(config.fingerprint()))}
        for row, configs in rows
        for config in configs
    ]
    if json:
        print_json({"suite": suite.name, "cells": cells})
        return
    from rich.text import Text

    say(suite.title)
    table = plain_table("row", "seed", "state", "run", "epoch", right=("seed", "epoch"))
    for cell in cells:
        sign = glyph(cell["state"]) if cell["state"] != "missing" else "–"
        colour = COLOURS.get(cell["state"], "dim")
        table.add_row(
            cell["row"], str(cell["seed"]), Text(f"{sign} {cell['state']}", style=colour),
            cell["run"] or "", cell["epoch"],
        )  # fmt: skip
    console().print(table)


def _cell(run: dict[str, Any] | None) -> dict[str, Any]:
    if run is None:
        return {"state": "missing", "run": None, "epoch": ""}
    return {
        "state": run["state"], "run": run["id"], "epoch": f"{run['epoch']}/{run['epochs']}",
    }  # fmt: skip


@suites_app.command("run")
def run_suite(
    name: Name,
    dataset: DatasetOption = "",
    model: ModelOption = "",
    norm: NormOption = "",
    epochs: EpochsOption = 0,
    seeds: SeedsOption = "0",
    changes: ChangesOption = None,
    data_dir: DataDirOption = None,
    evaluation: EvalOption = "",
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda:N.")] = "",
    save: Annotated[
        str | None, typer.Option("--save", help="Write the figure or its numbers into this file.")
    ] = None,
    launcher: Annotated[
        str | None, typer.Option("--launcher", help="Where its runs execute: local or slurm.")
    ] = None,
    in_flight: Annotated[
        int | None,
        typer.Option("--in-flight", help="Jobs of it at a time in the cluster's queue.", min=1),
    ] = None,
    partition: Annotated[str, typer.Option("--partition", help="Slurm's partition.")] = "",
    account: Annotated[str, typer.Option("--account", help="Whose budget at Slurm.")] = "",
    qos: Annotated[str, typer.Option("--qos", help="Slurm's quality of service.")] = "",
    time: Annotated[str, typer.Option("--time", help="Limit of a turn, as 4:00:00.")] = "",
    gres: Annotated[str, typer.Option("--gres", help="As gpu:1, or none.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Return at once.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be queued, start nothing.")
    ] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Queue the runs of a suite that are missing, and draw its figure.

    What is done or under way is used as it is: run it again to fill holes or to draw again.
    """
    from rpat.errors import ConfigError
    from rpat_tui import placement
    from rpat_tui.cli.live import follow
    from rpat_tui.home import find_home

    if save and detach:
        raise ConfigError("--save waits for the result; leave --detach out")
    if save:
        from rpat_tui.figures import check_target

        check_target(Path(save))
    resources = placement.given(
        launcher, in_flight=str(in_flight or ""), partition=partition, account=account, qos=qos,
        time=time, gres=gres,
    )  # fmt: skip
    changes = [*(changes or ()), *([f"device={device}"] if device else ())]
    suite, rows, before = _rows(
        name, dataset, model, norm, epochs, seeds, changes, data_dir, evaluation, home
    )  # fmt: skip
    if dry_run:
        _say_plan(suite, rows, json, home)
        return
    place = find_home(home)
    chosen, jobs = _queue(place, suite, rows, before, launcher, resources)
    numbers = [*chosen.values(), *jobs]
    if detach:
        say(" ".join(f"r{n:04d}" for n in numbers))
        return
    ended = follow(place, numbers, quiet=json)
    if ended:
        raise typer.Exit(ended)
    _draw(suite, rows, chosen, jobs, json, save, home)


def _rows(
    name: str,
    dataset: str,
    model: str,
    norm: str,
    epochs: int,
    seeds: str,
    changes: list[str] | None,
    data_dir: str | None,
    evaluation: str,
    home: str | None,
) -> tuple[Suite, list[tuple[Row, list[RunConfig]]], list[RunConfig]]:
    from rpat_tui import compose, suites
    from rpat_tui.home import data_folder, find_home, settings

    suite = suites.load(name)
    measured = evaluation or ("pgd" if suite.figure == "perception" else "aa")
    made = suites.Changes(
        datasets=compose.words(dataset),
        models=compose.words(model),
        norms=compose.words(norm),
        epochs=epochs,
        seeds=compose.read_seeds(seeds),
        fixed={"eval.attack": measured, **compose.assignments(changes)},
        data_dir=data_folder(find_home(home), data_dir),
        data_dir_given=data_dir is not None or settings()["data_dir"].origin != "default",
    )
    return suite, suites.configs(suite, made), suites.prerequisites(suite, made)


def _say_plan(
    suite: Suite, rows: list[tuple[Row, list[RunConfig]]], json: bool, home: str | None
) -> None:
    from rpat_tui.store import queries

    found: dict[str, Any] = {}
    if has_home(home):
        with reading(home) as (_, db):
            found = queries.by_fingerprint(db, [c.fingerprint() for _, cs in rows for c in cs])
    plan = [
        (row, config, _usable(found.get(config.fingerprint())))
        for row, configs in rows
        for config in configs
    ]
    if json:
        print_json([
            {
                "row": row.label, "run": known["id"] if known else None,
                "fingerprint": config.fingerprint(), "config": config.to_dict(),
            }
            for row, config, known in plan
        ])  # fmt: skip
        return
    say(suite.title)
    for row, config, known in plan:
        what = f"is {known['id']} ({known['state']})" if known else "would be queued"
        say(f"{row.label}, seed {config.seed}: {what}")
    say("nothing was started")


def _usable(run: dict[str, Any] | None) -> dict[str, Any] | None:
    return run if run is not None and run["state"] not in ("failed", "stopped") else None


def _queue(
    place: Any,
    suite: Suite,
    rows: list[tuple[Row, list[RunConfig]]],
    before: list[RunConfig],
    launcher: str | None = None,
    resources: Mapping[str, str] | None = None,
) -> tuple[dict[str, int], list[int]]:
    """Queue what is missing; returns the run of each fingerprint and the studies about them."""
    from rpat_tui.launch import frozen, worker
    from rpat_tui.store import db as database
    from rpat_tui.store import index, queries

    wanted = {config.fingerprint(): config for _, configs in rows for config in configs}
    with database.opened(place) as db:
        needed = {config.fingerprint(): config for config in (*before, *wanted.values())}
        found = queries.by_fingerprint(db, list(needed))
        there = {key: run["n"] for key, run in found.items() if _usable(run)}
        fresh = {key: config for key, config in needed.items() if key not in there}
        provenance = frozen.provenance(place, shlex.join(["rpat", *sys.argv[1:]]))
        wish = index.Wish(
            tags=(suite.name,), sweep=suite.name, launcher=launcher, resources=resources or {}
        )
        numbers = index.enqueue(place, db, list(fresh.values()), wish, provenance)
        runs = there | dict(zip(fresh, numbers, strict=True))
        jobs = []
        if suite.figure == "perception":
            jobs = _queue_studies(place, db, suite, [runs[key] for key in wanted], wish, provenance)
        worker.ensure(place)
    return {key: runs[key] for key in wanted}, jobs


def _queue_studies(
    place: Any, db: Any, suite: Suite, numbers: Sequence[int], wish: Any, provenance: Any
) -> list[int]:
    from rpat.config import RunConfig
    from rpat.jobs import StudyJob
    from rpat_tui import examine
    from rpat_tui.store import index, queries

    jobs, known = [], []
    for row in queries.runs(db, numbers=list(dict.fromkeys(numbers))):
        config = RunConfig.from_dict(queries.config_of(db, row["n"]))
        ask = examine.Ask(checkpoints=(suite.checkpoint,))
        job = examine.of_run(StudyJob, row["uid"], row["id"], config, ask, study=suite.figure)
        done = queries.same_job(db, job.fingerprint())
        if done is None:
            jobs.append(job)
        else:
            known.append(done)
    return known + index.enqueue(place, db, jobs, wish, provenance)


def _draw(
    suite: Suite,
    rows: list[tuple[Row, list[RunConfig]]],
    chosen: dict[str, int],
    jobs: list[int],
    json: bool,
    save: str | None,
    home: str | None,
) -> None:
    """Print the suite's figure and numbers, and write them where that was asked for."""
    from rpat_tui import figures
    from rpat_tui.store import queries
    from rpat_tui.store.queue import name_of

    labels = {
        name_of(chosen[config.fingerprint()]): (row, config)
        for row, configs in rows
        for config in configs
    }
    with reading(home) as (_, db):
        if suite.figure == "perception":
            ids = {name_of(n) for n in jobs}
            records = [r for r in queries.studies(db, jobs) if r["job"] in ids]
            for record in records:
                row, config = labels[record["subject"]]
                seeds = f", seed {config.seed}" if len(labels) > len(rows) else ""
                record |= {"title": row.label.partition(",")[0] + seeds, "case": row.case}
            records.sort(key=lambda record: list(labels).index(record["subject"]))
        else:
            measured = {m.run: m for m in queries.measurements(db, checkpoint=suite.checkpoint)}
            records = [
                {
                    "title": row.label, "paper_label": row.paper_label, "run": run,
                    "seed": config.seed, "clean": m.clean, "pgd20": m.pgd20, "aa": m.aa,
                }
                for run, (row, config) in labels.items()
                if (m := measured.get(run)) is not None
            ]  # fmt: skip
    if json:
        print_json({"suite": suite.name, "title": suite.title, "records": records})
    else:
        say(f"\n{suite.title}")
        if suite.note:
            say(suite.note)
        out = console()
        if suite.figure == "perception":
            out.print(figures.terminal(records, out.width))
        else:
            out.print(_accuracies(records))
    if save:
        if suite.figure == "perception":
            figures.write(records, Path(save))
        else:
            figures.write_accuracies(records, Path(save), suite.title)
        remark(f"saved {save}")


def _accuracies(records: Sequence[dict[str, Any]]) -> Any:
    from rpat_tui.compare import mean_nrr

    table = plain_table(
        "row", "in the paper", "seed", "run", "clean", "PGD-20", "AA", "Mean", "NRR",
        right=("seed", "clean", "PGD-20", "AA", "Mean", "NRR"),
    )  # fmt: skip
    for r in records:
        known = r["clean"] is not None and r["aa"] is not None
        mean, nrr = mean_nrr(r["clean"], r["aa"]) if known else (None, None)
        table.add_row(
            r["title"], r["paper_label"], str(r["seed"]), r["run"], figure(r["clean"], 2),
            figure(r["pgd20"], 2), figure(r["aa"], 2), figure(mean, 2), figure(nrr, 2),
        )  # fmt: skip
    return table


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(suites_app, name="suite")
