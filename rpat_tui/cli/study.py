"""Commands that look closer at weights that exist: study perception, study smoothness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rpat_tui.cli.evaluate import (
    ATTACK,
    HOW,
    WHERE,
    Again,
    BatchSize,
    Changes,
    Checkpoint,
    Count,
    DataDir,
    Dataset,
    Detach,
    Device,
    DryRun,
    Epsilon,
    Indices,
    Key,
    Model,
    Name,
    Network,
    Norm,
    Normalize,
    Note,
    Seed,
    Split,
    Steps,
    Subjects,
    Tag,
    ask_of,
    carry_out,
    jobs_about,
    print_jobs,
    read_indices,
)
from rpat_tui.cli.output import HomeOption, JsonOption, console, print_json, reading, remark, say
from rpat_tui.cli.queue import option

studies = typer.Typer(
    help="Look closer at weights: what they perceive, how smooth they are.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Save = Annotated[
    str | None,
    option(
        "--save", panel=WHERE,
        help="Write numbers or figure: FILE.json, .csv, .md, .npz, .png, .svg or .pdf.",
    ),
]  # fmt: skip


@studies.command()
def perception(
    what: Subjects,
    checkpoint: Checkpoint = "final",
    network: Network = "",
    model: Model = "auto",
    key: Key = "",
    normalize: Normalize = "",
    dataset: Dataset = "",
    data_dir: DataDir = None,
    split: Split = "",
    n: Count = 0,
    indices: Indices = None,
    norm: Norm = "",
    epsilon: Epsilon = "",
    steps: Steps = None,
    average: Annotated[
        str | None,
        option("--average", panel=HOW, help="sample, or batch as the authors' release has it."),
    ] = None,
    seed: Seed = None,
    batch_size: BatchSize = None,
    changes: Changes = None,
    save: Save = None,
    device: Device = None,
    name: Name = "",
    tag: Tag = None,
    note: Note = "",
    again: Again = False,
    detach: Detach = False,
    dry_run: DryRun = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Compare the logit MSE of success and failure cases, as figure 2 of the paper does.

    Under random noise and under PGD-20; success is of the perturbed image.

    Example: rpat study perception r0001 r0002 --save fig2.pdf
    """
    ask = ask_of(
        checkpoint, network, dataset, norm, epsilon, normalize, data_dir, home, changes,
        _settings(split, n, indices, steps, seed, batch_size, device),
    )  # fmt: skip
    own = {"study": "perception"} | ({"average": average} if average else {})
    _study(what, model, key, ask, own, (name, tag, note), save, again, detach, dry_run, json, home)


@studies.command()
def smoothness(
    what: Subjects,
    checkpoint: Checkpoint = "best",
    network: Network = "",
    model: Model = "auto",
    key: Key = "",
    normalize: Normalize = "",
    dataset: Dataset = "",
    data_dir: DataDir = None,
    split: Split = "",
    n: Count = 0,
    indices: Indices = None,
    norm: Norm = "",
    epsilon: Epsilon = "",
    steps: Steps = None,
    alphas: Annotated[
        int | None, option("--alphas", panel=ATTACK, help="Points from x to the perturbed image.")
    ] = None,
    jacobian_n: Annotated[
        int | None, option("--jacobian-n", panel=HOW, help="Images whose Jacobian is measured.")
    ] = None,
    iterations: Annotated[
        int | None, option("--iterations", panel=HOW, help="Power iterations; 0: no Jacobian.")
    ] = None,
    seed: Seed = None,
    batch_size: BatchSize = None,
    changes: Changes = None,
    save: Save = None,
    device: Device = None,
    name: Name = "",
    tag: Tag = None,
    note: Note = "",
    again: Again = False,
    detach: Detach = False,
    dry_run: DryRun = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Measure how smoothly the logits change from x to its adversarial image.

    Their deviation from the straight line, the second difference, the change of the Jacobian.

    Example: rpat study smoothness r0001 r0002 --n 1000
    """
    ask = ask_of(
        checkpoint, network, dataset, norm, epsilon, normalize, data_dir, home, changes,
        _settings(split, n, indices, steps, seed, batch_size, device),
    )  # fmt: skip
    given = {"alphas": alphas, "jacobian_n": jacobian_n, "iterations": iterations}
    own = {"study": "smoothness"} | {k: v for k, v in given.items() if v is not None}
    _study(what, model, key, ask, own, (name, tag, note), save, again, detach, dry_run, json, home)


def _settings(
    split: str,
    n: int,
    indices: str | None,
    steps: int | None,
    seed: int | None,
    batch_size: int | None,
    device: str | None,
) -> dict[str, Any]:
    return {
        "images.split": split or None,
        "images.n": n or None,
        "images.indices": read_indices(indices),
        "attack.steps": steps,
        "seed": seed,
        "batch_size": batch_size,
        "device": device,
    }


def _study(
    what: list[str],
    model: str,
    key: str,
    ask: Any,
    own: dict[str, Any],
    wish: tuple[str, list[str] | None, str],
    save: str | None,
    again: bool,
    detach: bool,
    dry_run: bool,
    json: bool,
    home: str | None,
) -> None:
    from rpat.errors import ConfigError
    from rpat.jobs import StudyJob

    if save and detach:
        raise ConfigError("--save waits for the result; leave --detach out")
    if save and not save.endswith(".npz"):
        from rpat_tui.figures import check_target

        check_target(Path(save))
    jobs = jobs_about(StudyJob, what, model, key, ask, own, home)
    if dry_run:
        print_jobs(jobs, json)
        return
    numbers, status = carry_out(jobs, wish, again, detach, json, home)
    if detach:
        return
    show_studies(numbers, json, save if not status else None, home)
    raise typer.Exit(status)


def show_studies(numbers: list[int], json: bool, save: str | None, home: str | None) -> None:
    """Print what studies found, as numbers and a figure; write it where that was asked for."""
    from rpat_tui import figures
    from rpat_tui.store import queries
    from rpat_tui.store.queue import name_of

    with reading(home) as (place, db):
        ids = [name_of(n) for n in numbers]
        records = [r for r in queries.studies(db, numbers) if r["job"] in ids]
    records.sort(key=lambda record: ids.index(record["job"]))
    for record in records:
        record["title"] = record["method"] + (" + RPAT" if record["rpat"] else "")
    if json:
        print_json(records)
    elif records:
        say("")
        out = console()
        out.print(figures.terminal(records, out.width))
    if save and save.endswith(".npz"):
        _copy(place, records, Path(save))
    elif save and records:
        figures.write(records, Path(save))
        remark(f"saved {save}")


def _copy(place: Any, records: list[dict[str, Any]], target: Path) -> None:
    import shutil

    from rpat.errors import ConfigError

    for record in records:
        name = target
        if len(records) > 1:
            name = target.with_name(f"{target.stem}-{record['job']}-{record['file']}")
        source = place.runs / record["job"] / "results" / record["file"]
        try:
            shutil.copyfile(source, name)
        except OSError as error:
            raise ConfigError(f"--save {name}: {error.strerror}; it is kept as {source}") from None
        remark(f"saved {name}")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(studies, name="study")
