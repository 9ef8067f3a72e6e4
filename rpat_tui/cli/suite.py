"""Commands around suites: list, show, status, run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpat_tui.cli.output import (
    HomeOption,
    JsonOption,
    console,
    figure,
    has_home,
    plain_table,
    print_json,
    reading,
    remark,
    say,
)

if TYPE_CHECKING:
    from rpat_tui.agenda import Agenda
    from rpat_tui.holes import Task
    from rpat_tui.home import Home
    from rpat_tui.suites import Changes, Suite

suites_app = typer.Typer(
    help="Sets of runs: the paper's tables and figures, and your own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="Name of a suite, or a file of your own.")]
DatasetOption = Annotated[str, typer.Option("--dataset", help="Other images in every row.")]
ModelOption = Annotated[str, typer.Option("--model", help="Another network in every row.")]
NormOption = Annotated[str, typer.Option("--norm", help="Another norm in every row.")]
EpochsOption = Annotated[int, typer.Option("--epochs", help="Another length of every run.")]
SeedsOption = Annotated[str, typer.Option("--seeds", help="Seeds of every row: 0-2 or 0,1,2.")]
WhereOption = Annotated[
    str,
    typer.Option(
        "--where", help="Only these: dataset=cifar10 is:rpat state=missing (as in rpat list)."
    ),
]
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
    if suite.table:
        table = plain_table("row", "preset", "data", "norm", "network")
    for row in suite.rows:
        r = row.request
        if suite.table:
            table.add_row(row.label, r.preset, *r.datasets, *r.norms, *r.models)
        else:
            table.add_row(row.label, row.paper_label or row.label, row.case)
    console().print(table)


@suites_app.command()
def status(
    name: Name,
    where: WhereOption = "",
    dataset: DatasetOption = "",
    model: ModelOption = "",
    norm: NormOption = "",
    epochs: EpochsOption = 0,
    seeds: SeedsOption = "",
    changes: ChangesOption = None,
    data_dir: DataDirOption = None,
    evaluation: EvalOption = "",
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Say which numbers of a suite are proven, running, queued or missing.

    A cell is a row, a seed and a measure; time left is told from measured history.
    """
    from rpat_tui import agenda, holes, suites
    from rpat_tui.cli.agenda import as_json, print_status
    from rpat_tui.home import find_home

    suite = suites.load(name)
    asked = changed(dataset, model, norm, epochs, seeds, changes, data_dir, evaluation, home)
    if has_home(home):
        with reading(home) as (place, db):
            made = agenda.look(db, suite, asked, where)
            cost = holes.cost(db, made.tasks(place), _slots(db), made.under_way)
    else:
        made = agenda.look(None, suite, asked, where)
        cost = holes.cost(None, made.tasks(find_home(home)))
    if json:
        print_json(as_json(made, cost))
        return
    print_status(made, cost)


def _slots(db: Any) -> int:
    """Return how many runs this machine takes at a time: its cards, else its places on the CPU."""
    from rpat_tui.launch.box import rules, survey
    from rpat_tui.launch.cards import Driver

    driver = Driver()
    found = survey(db, driver.read(), rules())
    driver.close()
    return max(len(found["cards"]) or len(found["cpu"]), 1)


@suites_app.command("run")
def run_suite(
    name: Name,
    fill: Annotated[
        bool, typer.Option("--fill", help="Only close holes: no figure, nothing else is followed.")
    ] = False,
    where: WhereOption = "",
    limit: Annotated[
        int, typer.Option("--limit", help="Queue at most so many, in the suite's order.", min=0)
    ] = 0,
    dataset: DatasetOption = "",
    model: ModelOption = "",
    norm: NormOption = "",
    epochs: EpochsOption = 0,
    seeds: SeedsOption = "",
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
    """Queue exactly what closes a suite's holes, and draw its figure.

    What is done or under way is used as it is; weights that lack only AutoAttack are evaluated
    and not trained again. Run it again to fill holes or to draw again.

    Example: rpat suite run table1 --fill --where dataset=cifar10 --seeds 0-2 --dry-run
    """
    from rpat.errors import ConfigError
    from rpat_tui import agenda, holes, placement, suites
    from rpat_tui.cli.agenda import print_plan
    from rpat_tui.cli.live import follow
    from rpat_tui.drift import ENDINGS
    from rpat_tui.home import find_home

    for flag, given in (("--detach", detach), ("--fill", fill)):
        if save and given:
            raise ConfigError(f"--save waits for the result; leave {flag} out")
    suite = suites.load(name)
    if save and suite.figure:
        from rpat_tui.figures import check_target

        check_target(Path(save))
    elif save and Path(save).suffix.lower() not in ENDINGS:
        raise ConfigError(f"--save {save}: a table's file ends with one of {', '.join(ENDINGS)}")
    resources = placement.given(
        launcher, in_flight=str(in_flight or ""), partition=partition, account=account, qos=qos,
        time=time, gres=gres,
    )  # fmt: skip
    changes = [*(changes or ()), *([f"device={device}"] if device else ())]
    asked = changed(dataset, model, norm, epochs, seeds, changes, data_dir, evaluation, home)
    here = find_home(home)
    if dry_run:
        if has_home(home):
            with reading(home) as (_, db):
                made = agenda.look(db, suite, asked, where)
                tasks = _limited(made.tasks(here), limit)
                cost = holes.cost(db, tasks, _slots(db))
        else:
            made = agenda.look(None, suite, asked, where)
            tasks = _limited(made.tasks(here), limit)
            cost = holes.cost(None, tasks)
        print_plan(made, tasks, cost, fill, json)
        return
    made, chosen, jobs, fresh = _queue(here, suite, asked, where, limit, launcher, resources)
    numbers = fresh if fill else list(dict.fromkeys([*chosen.values(), *jobs]))
    if fill and not numbers:
        remark("no hole to close")
    if detach:
        say(" ".join(f"r{n:04d}" for n in numbers))
        return
    ended = follow(here, numbers, quiet=json) if numbers else 0
    if ended:
        raise typer.Exit(ended)
    if not fill and suite.figure:
        _draw(made, chosen, jobs, json, save, home)
    elif not fill:
        _print_table(name, asked, where, json, save, home)
    elif json:
        print_json({"suite": suite.name, "queued": [f"r{n:04d}" for n in numbers]})


def changed(
    dataset: str,
    model: str,
    norm: str,
    epochs: int,
    seeds: str,
    changes: list[str] | None,
    data_dir: str | None,
    evaluation: str,
    home: str | None,
) -> Changes:
    """Return what options change in every row of a suite; '' and None where they were not given."""
    from rpat_tui import compose, suites
    from rpat_tui.home import data_folder, find_home, settings

    measured = {"eval.attack": evaluation} if evaluation else {}
    return suites.Changes(
        datasets=compose.words(dataset),
        models=compose.words(model),
        norms=compose.words(norm),
        epochs=epochs,
        seeds=compose.read_seeds(seeds),
        fixed={**measured, **compose.assignments(changes)},
        data_dir=data_folder(find_home(home), data_dir),
        data_dir_given=data_dir is not None or settings()["data_dir"].origin != "default",
    )


def _limited(tasks: list[Task], limit: int) -> list[Task]:
    return tasks[:limit] if limit else tasks


def _queue(
    home: Home,
    suite: Suite,
    asked: Changes,
    where: str,
    limit: int,
    launcher: str | None,
    resources: Mapping[str, str],
) -> tuple[Agenda, dict[str, int], list[int], list[int]]:
    """Queue what closes the holes.

    Returns the run of each fingerprint, the evaluations and studies about them, and what is new.
    """
    from rpat_tui import agenda, holes
    from rpat_tui.launch import frozen, worker
    from rpat_tui.store import db as database
    from rpat_tui.store import index

    command = shlex.join(["rpat", *sys.argv[1:]])
    made = agenda.look(None, suite, asked, where)
    if not home.exists():  # whatever is wrong is refused before there is one
        _refuse_without_images(made, _limited(made.tasks(home), limit))
    with database.opened(home) as db:
        made = agenda.look(db, suite, asked, where)
        tasks = _limited(made.tasks(home), limit)
        _refuse_without_images(made, tasks)
        wish = index.Wish(
            tags=(suite.name,), sweep=suite.name, launcher=launcher, resources=resources
        )
        numbers = holes.queue(home, db, tasks, wish, command)
        of_task = {id(task.standing): numbers[i] for i, task in enumerate(tasks)}
        trained = {id(task.standing) for task in tasks if task.do != "evaluate"}
        chosen: dict[str, int] = {}
        jobs: list[int] = []
        for entry, standing in zip(made.entries, made.standings, strict=True):
            n = of_task.get(id(standing)) if id(standing) in trained else None
            if n is None and standing.run is not None:
                n = standing.run["n"]
            if n is not None:
                chosen[entry.config.fingerprint()] = n
            jobs += standing.jobs
        jobs += [of_task[id(t.standing)] for t in tasks if t.do == "evaluate"]
        fresh = sorted(set(of_task.values()))
        if suite.figure == "perception":
            runs = list(chosen.values())
            provenance = frozen.provenance(home, command)
            jobs += _queue_studies(home, db, suite, runs, wish, provenance)
        worker.ensure(home)
    return made, chosen, jobs, fresh


def _refuse_without_images(made: Agenda, tasks: list[Task]) -> None:
    """Refuse to train on images that are not here; the message names a way around."""
    from rpat.errors import ConfigError

    for task in tasks:
        entry = made.entry(task.standing)
        if task.do == "train" and entry.missing:
            there = {e.config.data.name for e in made.entries if not e.missing}
            way = f"; --where dataset={min(there)} leaves it out" if there else ""
            raise ConfigError(entry.missing + way)


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
    made: Agenda,
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

    suite = made.suite
    rows = {id(entry.row) for entry in made.entries}
    labels = {
        name_of(chosen[entry.config.fingerprint()]): (entry.row, entry.config)
        for entry in made.entries
        if entry.config.fingerprint() in chosen
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


def _print_table(
    name: str, asked: Changes, where: str, json: bool, save: str | None, home: str | None
) -> None:
    """Print a suite that is a table, and write it where that was asked for."""
    from rpat_tui import exports, paper_table
    from rpat_tui.drift import ENDINGS

    ask = paper_table.Ask(
        suite=name,
        where=where,
        dataset=",".join(asked.datasets),
        model=",".join(asked.models),
        norm=",".join(asked.norms),
        epochs=asked.epochs,
        set=tuple(f"{key}={value}" for key, value in asked.fixed.items()),
    )
    with reading(home) as (_, db):
        made = paper_table.build(db, ask, asked.data_dir)
    exports.get("json" if json else "rich").write(made, sys.stdout)
    if save:
        with Path(save).open("w", encoding="utf-8") as out:
            exports.get(ENDINGS[Path(save).suffix.lower()]).write(made, out)
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
