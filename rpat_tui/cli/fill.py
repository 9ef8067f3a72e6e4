"""The command that queues what a table lacks: fill."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from rpat_tui.cli.output import HomeOption, JsonOption, has_home, print_json, reading, remark, say


def fill(
    dataset: Annotated[str, typer.Option("--dataset", help="Only rows of this data set.")] = "",
    norm: Annotated[str, typer.Option("--norm", help="Only this norm.")] = "",
    model: Annotated[str, typer.Option("--model", help="Only this network.")] = "",
    method: Annotated[str, typer.Option("--method", help="Only this method.")] = "",
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="best or final.")] = "best",
    seeds: Annotated[int, typer.Option("--seeds", help="Seeds that each row shall have.")] = 3,
    attack: Annotated[
        str, typer.Option("--attack", help="What every seed is measured with: aa, pgd or none.")
    ] = "aa",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what is missing, queue nothing.")
    ] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Queue what the table lacks.

    Missing seeds of its rows and missing evaluations; what is queued or under way counts as
    there. Runs that failed or were stopped go on instead of being made anew.

    Example: rpat fill --dataset cifar10 --dry-run
    """
    from rpat.config import DATASETS, MODELS, NORMS
    from rpat.errors import ConfigError
    from rpat.knobs import unknown
    from rpat_tui import gaps, pools
    from rpat_tui.glyphs import clock
    from rpat_tui.holes import named
    from rpat_tui.launch.box import rules
    from rpat_tui.launch.cards import Driver
    from rpat_tui.store.pending import pending
    from rpat_tui.store.queue import name_of
    from rpat_tui.table import Table

    for flag, value, known in (
        ("--dataset", dataset, ["", *DATASETS]),
        ("--norm", norm, ["", *NORMS]),
        ("--model", model, ["", *MODELS]),
        ("--checkpoint", checkpoint, ["best", "final"]),
    ):
        if value not in known:
            raise ConfigError(f"{flag} {unknown(value, filter(None, known))}")
    if not has_home(home):
        remark("no run is there yet: nothing can be missing")
        return
    with reading(home) as (place, db):
        which = {"dataset": dataset, "norm": norm, "model": model}
        rows, _ = pools.everything(
            db, dataset=dataset, norm=norm, model=model, method=method, checkpoint=checkpoint,
            stamp=False,
        )  # fmt: skip
        waiting = [p for p in pending(db, **which) if method in ("", p.subject.method)]
        made = Table(rows=tuple(rows), checkpoint=checkpoint)
        table, _ = gaps.with_open(db, made, waiting, checkpoint)
        slots = len(Driver().read()) or max(rules().cpu_slots, 1)
        plan = gaps.plan(place, db, table.rows, seeds=seeds, attack=attack, slots=slots)
        numbers: list[int] = []
        if plan.tasks and not dry_run:
            numbers = gaps.fill(place, db, plan, shlex.join(["rpat", *sys.argv[1:]]))
    if json:
        print_json([
            {
                "do": task.do, "run": named(task.standing) or None,
                "seed": task.standing.want.config.seed, "attacks": list(task.attacks),
                "seconds": None if span is None else sum(span) / 2,
                "config": task.standing.want.config.to_dict(),
            }
            for task, span in zip(plan.tasks, plan.cost.spans, strict=True)
        ])  # fmt: skip
        return
    for line in plan.lines():
        say(line)
    if not plan.tasks:
        say(f"nothing is missing: {len(table.rows)} rows with {seeds} seeds each")
        return
    ends = plan.cost.finish
    when = f", all done ~{clock(ends[1])}" if ends is not None else ""
    say(f"{plan.count()} {'would be' if dry_run else 'are'} queued: {plan.price()}{when}")
    if numbers:
        say(" ".join(map(name_of, numbers)))


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(fill)
