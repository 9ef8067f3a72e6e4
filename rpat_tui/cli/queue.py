"""Commands that act on the queue: run, stop, kill, requeue, wait."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any

import typer

from rpat_tui.cli.elsewhere import acted
from rpat_tui.cli.output import HomeOption, JsonOption, print_json, reading, remark, say

Runs = Annotated[list[str], typer.Argument(help="Ids (r0001) or names.", metavar="RUN...")]
What, Data, Attack, Training, Where, Cluster = (
    "What", "Data", "Threat and attack", "Training", "Where and when", "Cluster",
)  # fmt: skip


def option(*names: str, panel: str, help: str, **more: Any) -> Any:
    """Declare an option in a panel of the help."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


LauncherOption = Annotated[
    str | None, option("--launcher", panel=Cluster, help="Where it executes: local or slurm.")
]
PartitionOption = Annotated[str, option("--partition", panel=Cluster, help="Slurm's partition.")]
AccountOption = Annotated[str, option("--account", panel=Cluster, help="Whose budget.")]
QosOption = Annotated[str, option("--qos", panel=Cluster, help="Quality of service.")]
TimeOption = Annotated[
    str, option("--time", panel=Cluster, help="Limit of a turn, as 4:00:00; it goes on after.")
]
GresOption = Annotated[
    str, option("--gres", panel=Cluster, help="As gpu:1 or gpu:a100:1, or none.")
]
NodesOption = Annotated[
    int | None, option("--nodes", panel=Cluster, help="Nodes that share the --gpus.", min=1)
]
CpusOption = Annotated[str, option("--cpus", panel=Cluster, help="Processors.")]
MemOption = Annotated[str, option("--mem", panel=Cluster, help="Memory, as 32G.")]
SbatchOption = Annotated[
    str, option("--sbatch", panel=Cluster, help="More options, as '--exclude=n7 --nice'.")
]


def run(
    method: Annotated[str, option("--method", panel=What, help="Method, or a comma list.")] = "",
    rpat: Annotated[bool, option("--rpat", panel=What, help="Add RPAT's term.")] = False,
    lam: Annotated[str, option("--lam", panel=What, help="Weight of RPAT's term; a list.")] = "",
    alpha: Annotated[
        str, option("--alpha", panel=What, help="Weight of the adversarial end, beta- or beta+.")
    ] = "",
    rpat_form: Annotated[
        str, option("--rpat-form", panel=What, help="interp (released) or eq3 (printed).")
    ] = "",
    stack: Annotated[
        list[str] | None, option("--with", panel=What, help="Stack a wrapper; repeat.")
    ] = None,
    cutmix: Annotated[bool, option("--cutmix", panel=What, help="Mix images (CutMix).")] = False,
    preset: Annotated[str, option("--preset", panel=What, help="Start from a preset.")] = "",
    model: Annotated[str, option("--model", panel=What, help="Network, or a list.")] = "",
    dataset: Annotated[str, option("--dataset", panel=Data, help="Data set, or a list.")] = "",
    data_dir: Annotated[
        str | None, option("--data-dir", panel=Data, help="Folder of the data set.")
    ] = None,
    val_split: Annotated[
        int | None, option("--val-split", panel=Data, help="Hold out N images and select on them.")
    ] = None,
    norm: Annotated[str, option("--norm", panel=Attack, help="linf or l2, or both.")] = "",
    epsilon: Annotated[
        str, option("--epsilon", panel=Attack, help="Radius, as 8/255; a list.")
    ] = "",
    steps: Annotated[int | None, option("--steps", panel=Attack, help="PGD steps.")] = None,
    step_size: Annotated[
        str | None, option("--step-size", panel=Attack, help="PGD step, as 2/255.")
    ] = None,
    epochs: Annotated[int | None, option("--epochs", panel=Training, help="Epochs.", min=1)] = None,
    batch_size: Annotated[
        int | None, option("--batch-size", panel=Training, help="Images a step.")
    ] = None,
    lr: Annotated[float | None, option("--lr", panel=Training, help="Initial rate.")] = None,
    seed: Annotated[int | None, option("--seed", panel=Training, help="One seed.")] = None,
    seeds: Annotated[str, option("--seeds", panel=Training, help="Several: 0-2 or 0,1,2.")] = "",
    mode: Annotated[
        str | None,
        option(
            "--mode",
            panel=Training,
            help="Numeric mode: exact; reference: every pass of the release; fast: bfloat16.",
        ),
    ] = None,
    compiled: Annotated[
        bool, option("--compiled", panel=Training, help="Compile the passes of exact or fast.")
    ] = False,
    evaluation: Annotated[
        str | None, option("--eval", panel=Training, help="At the end: none, pgd or aa.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        option("--set", panel=Training, help="Any value: attack.steps=7; repeat."),
    ] = None,
    device: Annotated[
        str | None, option("--device", panel=Where, help="auto, cpu or cuda:N.")
    ] = None,
    gpus: Annotated[
        int | None, option("--gpus", panel=Where, help="Cards that share each run.", min=1)
    ] = None,
    name: Annotated[str, option("--name", panel=Where, help="A label for the run.")] = "",
    tag: Annotated[list[str] | None, option("--tag", panel=Where, help="A tag; repeat.")] = None,
    note: Annotated[str, option("--note", panel=Where, help="A note.")] = "",
    priority: Annotated[int, option("--priority", panel=Where, help="Higher starts earlier.")] = 50,
    after: Annotated[
        list[str] | None,
        option("--after", panel=Where, help="Start once this run is done; repeat."),
    ] = None,
    retries: Annotated[
        int | None,
        option("--retries", panel=Where, help="Times to try again after a failure.", min=0),
    ] = None,
    launcher: LauncherOption = None,
    partition: PartitionOption = "",
    account: AccountOption = "",
    qos: QosOption = "",
    time: TimeOption = "",
    gres: GresOption = "",
    nodes: NodesOption = None,
    cpus: CpusOption = "",
    mem: MemOption = "",
    sbatch: SbatchOption = "",
    detach: Annotated[bool, option("--detach", panel=Where, help="Return at once.")] = False,
    reuse: Annotated[
        bool, option("--reuse", panel=Where, help="Take runs of the same config that are there.")
    ] = False,
    dry_run: Annotated[
        bool, option("--dry-run", panel=Where, help="Print the exact config, start nothing.")
    ] = False,
    save_preset: Annotated[
        str,
        option("--save-preset", panel=Where, help="Keep these options as a preset, start nothing."),
    ] = "",
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Queue runs and show them live.

    One run a combination: comma lists make a grid.

    Example: rpat run --method pgd-at,mart --rpat --seeds 0-2 --dataset cifar10
    """
    from rpat_tui import compose, placement
    from rpat_tui.home import find_home, settings

    place = find_home(home)
    given: dict[str, Any] = {
        "method": method,
        "rpat": rpat,
        "lam": lam,
        "alpha": alpha,
        "rpat_form": rpat_form,
        "stack": stack or (),
        "cutmix": cutmix,
        "preset": preset,
        "model": model,
        "dataset": dataset,
        "data_dir": data_dir,
        "val_split": val_split,
        "norm": norm,
        "epsilon": epsilon,
        "steps": steps,
        "step_size": step_size,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "seeds": seeds,
        "mode": mode,
        "evaluation": evaluation,
        "changes": changes or (),
        "device": device,
        "gpus": gpus,
        "compiled": compiled,
    }
    own, asked = _own(preset), given
    if own is not None:
        from rpat_tui.draft import under

        asked = under(own, given)
        name, note = name or own.text("name"), note or own.text("note")
        tag = tag or list(compose.words(own.text("tags")))
        priority = priority if priority != 50 else int(own.text("priority") or 50)
        retries = int(own.text("retries")) if retries is None and own.text("retries") else retries
    request = compose.request(place, **asked)
    configs = compose.compose(request)
    if save_preset:
        from rpat_tui.draft import keep, of_options

        words = {"name": name, "note": note, "tags": ", ".join(tag or ())}
        words |= {"priority": str(priority)} if priority != 50 else {}
        words |= {"retries": str(retries)} if retries is not None else {}
        again = keep(save_preset, of_options(given, **words))
        say(f"{save_preset} is {'replaced' if again else 'kept'}: rpat run --preset {save_preset}")
        return
    if dry_run:
        from rpat_tui.cli.plan import show_plan

        show_plan(configs, json)
        return
    from rpat_tui.store.index import Wish

    if (most := max(config.gpus for config in configs)) > 1:
        from rpat_tui.launch.box import require_cards

        require_cards(most, configs[0].device, launcher)
    wish = Wish(
        name=name, tags=tuple(tag or ()), note=note, priority=priority,
        retries=settings()["retries"].value if retries is None else retries, launcher=launcher,
        resources=placement.given(
            launcher, partition=partition, account=account, qos=qos, time=time, gres=gres,
            cpus=cpus, mem=mem, sbatch=sbatch, nodes=str(nodes or ""),
        ),
    )  # fmt: skip
    _start(place, configs, wish, after or [], detach, json, reuse)


def _own(name: str) -> Any:
    """Return the draft behind an own preset; None for any other name."""
    from rpat.recipes import presets

    if not name or name in presets():
        return None
    from rpat.errors import ConfigError
    from rpat.knobs import unknown
    from rpat_tui import presets as kept
    from rpat_tui.draft import own_presets

    if name not in kept.own():  # says so where the file cannot be read
        raise ConfigError(f"--preset {unknown(name, [*kept.own(), *presets()])}")
    return own_presets()[name]


def _start(
    home: Any,
    configs: list[Any],
    wish: Any,
    after: list[str],
    detach: bool,
    json: bool,
    reuse: bool = False,
) -> None:
    from rpat_tui.launch import enqueue
    from rpat_tui.store import db as database
    from rpat_tui.store import queries

    command = shlex.join(["rpat", *sys.argv[1:]])
    with database.opened(home) as db:
        queued = enqueue.start(home, db, configs, wish, command, after=after, reuse=reuse)
        for text in queued.remarks:
            remark(text)
        numbers = queued.numbers
        if json:
            print_json([queries.public(row) for row in queries.runs(db, numbers=numbers)])
        if detach:
            if not json:
                say(" ".join(f"r{n:04d}" for n in numbers))
            return
    from rpat_tui.cli.live import follow

    raise typer.Exit(follow(home, numbers, quiet=json))


def stop(runs: Runs, home: HomeOption = None) -> None:
    """Save the work of runs, then end them."""
    _ask(runs, home, "stop")


def kill(runs: Runs, home: HomeOption = None) -> None:
    """End runs at once.

    What came after the last checkpoint is lost.
    """
    _ask(runs, home, "kill")


def _ask(runs: list[str], home: str | None, word: str) -> None:
    from rpat_tui.launch import control, worker
    from rpat_tui.store import queries

    if not (runs := acted(home, runs, word)):
        return
    with reading(home) as (place, db):
        numbers = queries.find(db, runs)
        for n in numbers:
            say(control.stop(place, db, n, word))
        worker.ensure_for(place, db, numbers)


def requeue(
    runs: Runs,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Move the checkpoints aside first.")
    ] = False,
    code: Annotated[
        str, typer.Option("--code", help="frozen, or now: go on with the code of today.")
    ] = "frozen",
    launcher: LauncherOption = None,
    partition: PartitionOption = "",
    account: AccountOption = "",
    qos: QosOption = "",
    time: TimeOption = "",
    gres: GresOption = "",
    nodes: NodesOption = None,
    cpus: CpusOption = "",
    mem: MemOption = "",
    sbatch: SbatchOption = "",
    home: HomeOption = None,
) -> None:
    """Go on with failed or stopped runs.

    They are queued again and continue from their last checkpoint.
    """
    from rpat.errors import ConfigError
    from rpat_tui import placement
    from rpat_tui.launch import anew, control, worker
    from rpat_tui.store import queries

    if code not in ("frozen", "now"):
        raise ConfigError(f"--code {code} does not exist; choose frozen or now")
    resources = {
        "partition": partition, "account": account, "qos": qos, "time": time, "gres": gres,
        "cpus": cpus, "mem": mem, "sbatch": sbatch, "nodes": str(nodes or ""),
    }  # fmt: skip
    resources = {name: value for name, value in resources.items() if value}
    placement.check(resources)
    if launcher == "slurm":
        placement.require_slurm()
    if code == "frozen" and not resources and launcher is None:
        if not (runs := acted(home, runs, "restart" if from_start else "requeue")):
            return
    elif far := [word for word in runs if ":" in word]:
        raise ConfigError(f"{far[0]}: another code or place is chosen on the run's own machine")
    with reading(home) as (place, db):
        for n in queries.find(db, runs):
            if code == "now":
                say(anew.to_present_code(place, db, n))
            say(
                control.requeue(
                    place, db, n, from_start=from_start, launcher=launcher, resources=resources
                )
            )
        worker.ensure(place)


def wait(
    runs: Runs,
    until: Annotated[
        str, typer.Option("--until", help="Or until each answers to a filter, as 'epoch>=10'.")
    ] = "",
    home: HomeOption = None,
) -> None:
    """Wait until runs have ended.

    The exit status is 0 when all are done, or all answer to the filter; else 1.
    """
    from rpat_tui.cli.live import follow, until_all
    from rpat_tui.store import queries
    from rpat_tui.store.filters import compile_filter

    compile_filter(until)  # refused before the waiting
    with reading(home) as (place, db):
        numbers = queries.find(db, runs)
    if until:
        raise typer.Exit(until_all(place, numbers, until))
    raise typer.Exit(follow(place, numbers, quiet=True))


def watch(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs; all unfinished ones if left out.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Show runs live until they have ended.

    Ctrl-C leaves them alone.
    """
    from rpat_tui.cli.live import follow
    from rpat_tui.store import queries

    with reading(home) as (place, db):
        numbers = queries.find(db, runs) if runs else queries.unfinished(db)
    if not numbers:
        remark("no run is queued or running; start one with rpat run")
        return
    raise typer.Exit(follow(place, numbers))


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (run, stop, kill, requeue, wait, watch):
        app.command()(command)
