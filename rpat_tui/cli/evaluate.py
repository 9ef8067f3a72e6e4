"""Commands that look at weights that exist: eval, study."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpat_tui.cli.output import HomeOption, JsonOption, print_json, remark, say
from rpat_tui.cli.queue import option

if TYPE_CHECKING:
    from rpat.jobs import EvalJob, StudyJob

WHAT, IMAGES, ATTACK, HOW, WHERE = "What", "Images", "Attack", "Numerics", "Where and when"

Subjects = Annotated[
    list[str], typer.Argument(help="Runs (r0001 or name) or checkpoint files.", metavar="WHAT...")
]
Checkpoint = Annotated[
    str, option("--checkpoint", panel=WHAT, help="Of a run: best, final, epoch:N; a list.")
]
Network = Annotated[
    str, option("--network", panel=WHAT, help="Of a run: online, wa or swa; else the reported one.")
]
Model = Annotated[
    str, option("--model", panel=WHAT, help="Of a file: its network; auto recognises it.")
]
Key = Annotated[str, option("--key", panel=WHAT, help="Of a file: which of its networks, as ema.")]
Normalize = Annotated[
    str,
    option(
        "--normalize", panel=WHAT,
        help="Statistics of the input: none, a data set's name, or auto (a file's default).",
    ),
]  # fmt: skip
Dataset = Annotated[str, option("--dataset", panel=IMAGES, help="Data set of a file's network.")]
DataDir = Annotated[str | None, option("--data-dir", panel=IMAGES, help="Folder of the data set.")]
Split = Annotated[str, option("--split", panel=IMAGES, help="test, val or train.")]
Count = Annotated[
    int, option("--n", panel=IMAGES, help="Class-balanced subset of N images; 0: all.")
]
Indices = Annotated[
    str | None,
    option("--indices", panel=IMAGES, help="File with the positions of exactly these images."),
]
Norm = Annotated[str, option("--norm", panel=ATTACK, help="linf or l2.")]
Epsilon = Annotated[
    str, option("--epsilon", panel=ATTACK, help="Radius, as 8/255; PGD's step follows it.")
]
Steps = Annotated[int | None, option("--steps", panel=ATTACK, help="PGD steps.")]
Seed = Annotated[int | None, option("--seed", panel=HOW, help="Seed of the attacks.")]
BatchSize = Annotated[int | None, option("--batch-size", panel=HOW, help="Images a forward pass.")]
Changes = Annotated[
    list[str] | None, option("--set", panel=HOW, help="Any value: attack.start=zero; repeat.")
]
Device = Annotated[str | None, option("--device", panel=WHERE, help="auto, cpu or cuda:N.")]
Name = Annotated[str, option("--name", panel=WHERE, help="A label for the job.")]
Tag = Annotated[list[str] | None, option("--tag", panel=WHERE, help="A tag; repeat.")]
Note = Annotated[str, option("--note", panel=WHERE, help="A note.")]
Again = Annotated[
    bool, option("--again", panel=WHERE, help="Measure again what has been measured.")
]
Detach = Annotated[bool, option("--detach", panel=WHERE, help="Return at once.")]
DryRun = Annotated[
    bool, option("--dry-run", panel=WHERE, help="Print the exact settings, start nothing.")
]


def evaluate(
    what: Subjects,
    attack: Annotated[
        str,
        option("--attack", panel=ATTACK, help="fgsm, pgd, aa or one of its parts; a list."),
    ] = "pgd",
    checkpoint: Checkpoint = "",
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
    step_size: Annotated[
        str | None, option("--step-size", panel=ATTACK, help="PGD step, as 2/255.")
    ] = None,
    restarts: Annotated[
        int | None, option("--restarts", panel=ATTACK, help="PGD restarts; the worst counts.")
    ] = None,
    start: Annotated[
        str | None, option("--start", panel=ATTACK, help="PGD start: uniform, zero, box, …")
    ] = None,
    seed: Seed = None,
    batch_size: BatchSize = None,
    dtype: Annotated[
        str | None, option("--dtype", panel=HOW, help="float32, or bfloat16 for emulation.")
    ] = None,
    bn: Annotated[
        str | None, option("--bn", panel=HOW, help="eval, or train for emulation.")
    ] = None,
    tf32: Annotated[bool, option("--tf32", panel=HOW, help="Allow TF32.")] = False,
    save: Annotated[
        str | None,
        option("--save", panel=WHERE, help="Write decisions and adversarial images: FILE.npz."),
    ] = None,
    changes: Changes = None,
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
    """Attack weights that exist: a run's, or any checkpoint file's.

    A job of the queue: live, resumable, kept with the run.

    Example: rpat eval r0001 --attack aa --n 1000
    """
    from rpat.errors import ConfigError
    from rpat.jobs import EvalJob
    from rpat_tui.compose import words

    if save and detach:
        raise ConfigError("--save waits for the result; leave --detach out")
    if save and (len(what) > 1 or not save.endswith(".npz")):
        raise ConfigError(f"--save {save}: one subject and a file that ends with .npz")
    ask = ask_of(
        checkpoint, network, dataset, norm, epsilon, normalize, data_dir, home, changes,
        {
            "images.split": split or None, "images.n": n or None,
            "images.indices": read_indices(indices),
            "attack.steps": steps, "attack.step_size": step_size, "attack.start": start,
            "restarts": restarts, "seed": seed, "batch_size": batch_size, "device": device,
            "numerics.dtype": dtype, "numerics.bn": bn, "numerics.tf32": tf32 or None,
        },
    )  # fmt: skip
    own = {"attacks": words(attack), "keep": save is not None}
    jobs = jobs_about(EvalJob, what, model, key, ask, own, home)
    if dry_run:
        print_jobs(jobs, json)
        return
    numbers, status = carry_out(jobs, (name, tag, note), again, detach, json, home)
    if save and not status:
        _copy_results(numbers[0], Path(save), home)
    if not detach:
        _print_evaluations(numbers, json, home)
    raise typer.Exit(status)


def ask_of(
    checkpoint: str,
    network: str,
    dataset: str,
    norm: str,
    epsilon: str,
    normalize: str,
    data_dir: str | None,
    home: str | None,
    changes: list[str] | None,
    fixed: dict[str, Any],
) -> Any:
    """Return what options ask of a job; `fixed` holds dotted keys, None where not given."""
    from rpat_tui import compose, examine
    from rpat_tui.home import data_folder, find_home, settings

    return examine.Ask(
        checkpoints=compose.words(checkpoint),
        networks=compose.words(network),
        dataset=dataset,
        norm=norm,
        epsilon=epsilon,
        normalize=normalize,
        data_dir=data_folder(find_home(home), data_dir),
        data_dir_given=data_dir is not None or settings()["data_dir"].origin != "default",
        data_dir_asked=data_dir is not None,
        fixed={k: v for k, v in fixed.items() if v is not None} | compose.assignments(changes),
    )


def read_indices(indices: str | None) -> tuple[int, ...] | None:
    """Return the numbers in a text file: one a line, or separated by commas or spaces."""
    from rpat.errors import ConfigError

    if indices is None:
        return None
    try:
        text = Path(indices).read_text("utf-8")
        found = tuple(int(word) for word in text.replace(",", " ").split())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--indices {indices}: {error}; write whole numbers") from None
    if not found:
        raise ConfigError(f"--indices {indices}: the file names no image")
    return found


def jobs_about(
    kind: type[Any],
    what: list[str],
    model: str,
    key: str,
    ask: Any,
    own: dict[str, Any],
    home: str | None,
) -> list[Any]:
    """Return one job a subject; refuses before anything is made."""
    from rpat.config import RunConfig
    from rpat.errors import ConfigError
    from rpat_tui import examine
    from rpat_tui.cli.output import has_home, reading
    from rpat_tui.launch.inspect import inspect
    from rpat_tui.store import queries

    jobs = []
    for word in what:
        path = Path(word).expanduser()
        if "/" in word or path.is_file() or (path.suffix and not _is_name(word, home)):
            found = inspect(path, model, key)
            jobs.append(examine.of_file(kind, path, found, ask, **own))
            remark(f"{path}: {found['text']}")
            continue
        if model != "auto" or key:
            raise ConfigError("--model and --key are for checkpoint files; a run knows its network")
        if not has_home(home):
            raise ConfigError(f"'{word}' is neither a run nor a checkpoint file")
        with reading(home) as (_, db):
            row = queries.runs(db, numbers=queries.find(db, [word]))[0]
            if row["kind"] != "train":
                raise ConfigError(f"{row['id']} is itself a job of kind {row['kind']}; name a run")
            config = RunConfig.from_dict(queries.config_of(db, row["n"]))
        job = examine.of_run(kind, row["uid"], row["id"], config, ask, **own)
        if row["state"] in ("failed", "stopped", "paused") and "final" in job.subject.checkpoints:
            raise ConfigError(
                f"{row['id']} is {row['state']} and has no final weights; "
                f"--checkpoint best looks at its best, rpat requeue {row['id']} goes on"
            )
        jobs.append(job)
    return list({job.fingerprint(): job for job in jobs}.values())


def _is_name(word: str, home: str | None) -> bool:
    """Return whether a word that looks like a file's name is a run's."""
    from rpat.errors import ConfigError
    from rpat_tui.cli.output import has_home, reading
    from rpat_tui.store import queries

    if not has_home(home):
        return False
    with reading(home) as (_, db):
        try:
            return bool(queries.find(db, [word]))
        except ConfigError:
            return False


def print_jobs(jobs: list[Any], json: bool) -> None:
    """Print the exact settings of jobs; nothing is made."""
    from rpat_tui.wording import describe_values

    if json:
        print_json([job.to_dict() for job in jobs])
        return
    for job in jobs:
        for line in describe_values(job.to_dict()):
            say(line)


def carry_out(
    jobs: list[EvalJob | StudyJob],
    wish: tuple[str, list[str] | None, str],
    again: bool,
    detach: bool,
    json: bool,
    home: str | None,
) -> tuple[list[int], int]:
    """Queue jobs and follow them; returns their numbers and the exit status."""
    from rpat.jobs import EvalJob
    from rpat_tui.cli.live import follow
    from rpat_tui.home import find_home
    from rpat_tui.launch import frozen, worker
    from rpat_tui.store import db as database
    from rpat_tui.store import index, queries
    from rpat_tui.store.queue import name_of

    place = find_home(home)
    numbers: list[int] = []
    with database.opened(place) as db:
        fresh = []
        for job in jobs:
            keeps = isinstance(job, EvalJob) and job.keep
            known = None if again else queries.same_job(db, job.fingerprint(), keeps=keeps)
            if known is None:
                fresh.append(job)
            else:
                numbers.append(known)
                done = queries.runs(db, numbers=[known])[0]["state"] == "done"
                verb = "has measured" if done else "is to measure"
                remark(f"{name_of(known)} {verb} this; --again measures it anew")
        if fresh:
            provenance = frozen.provenance(place, shlex.join(["rpat", *sys.argv[1:]]))
            name, tags, note = wish
            labels = index.Wish(name=name, tags=tuple(tags or ()), note=note)
            numbers += index.enqueue(place, db, fresh, labels, provenance)
            worker.ensure(place)
    if detach:
        if json:
            with database.opened(place) as db:
                print_json([queries.public(row) for row in queries.runs(db, numbers=numbers)])
        else:
            say(" ".join(name_of(n) for n in numbers))
        return numbers, 0
    return numbers, follow(place, numbers, quiet=json)


def _copy_results(n: int, target: Path, home: str | None) -> None:
    """Put the per-image results where they were asked for; several become several files."""
    import shutil

    from rpat.errors import ConfigError
    from rpat_tui.cli.output import reading
    from rpat_tui.store import queries
    from rpat_tui.store.queue import name_of

    with reading(home) as (place, db):
        rows = [row for row in queries.evaluations(db, n) if row["job"] == name_of(n)]
    files = dict.fromkeys(row["file"] for row in rows)
    folder = place.runs / name_of(n) / "results"
    for file in files:
        name = target if len(files) == 1 else target.with_name(f"{target.stem}-{file}")
        try:
            shutil.copyfile(folder / file, name)
        except OSError as error:
            raise ConfigError(f"--save {name}: {error.strerror}; it is kept in {folder}") from None
        remark(f"saved {name}")


def _print_evaluations(numbers: list[int], json: bool, home: str | None) -> None:
    from rpat_tui.cli.output import console, reading
    from rpat_tui.cli.results import evaluation_table, finding_lines
    from rpat_tui.store import queries
    from rpat_tui.store.queue import name_of

    with reading(home) as (_, db):
        rows = []
        for n in numbers:
            mine = [e for e in queries.evaluations(db, n) if e["job"] == name_of(n)]
            shown = {name_of(n), *(e["job"] for e in mine)}
            findings = queries.findings(db, queries.subject_of(db, n))
            run = queries.runs(db, numbers=[n])[0]
            rows.append((run, mine, [f for f in findings if shown & set(f["evidence"]["jobs"])]))
    if json:
        print_json(
            [{**queries.public(run), "results": found, "findings": f} for run, found, f in rows]
        )
        return
    for run, found, findings in rows:
        say(f"\n{run['id']}  {run['method']}{' + RPAT' if run['rpat'] else ''}, {run['dataset']}")
        console().print(evaluation_table(found))
        for line in finding_lines(findings):
            console().print(line)


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("eval")(evaluate)
