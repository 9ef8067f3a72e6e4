"""A process that trains every method and stack, alone or as one of several; run by the tests.

`python ranked.py OUT quick|all [cuda]` writes `OUT/alone.pt`, or `OUT/rank-N.pt` where torchrun's
variables say that it is one of several: what each step of each case computed, in float64.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from conftest import Small, short
from test_stacks import LATE, cases, title

from rpat import checkpoint, evaluate, models, modes, ranks
from rpat.__main__ import meet, pick_device
from rpat.data import loader
from rpat.data.dataset import DataSet, Images
from rpat.ema import frozen_copy
from rpat.errors import Interrupted
from rpat.journal import Journal
from rpat.rundir import Attempt, RunDir
from rpat.train import Training

DEVICE = "cuda" if "cuda" in sys.argv else "cpu"
N, BATCH, EPOCHS = 11, 8, 3
"""Images and batches: the last one of an epoch has 3 images, which no two ranks share evenly."""

SURE = ("mma",)
"""Methods whose margins are those of images that the network is sure of."""

MORE = [
    ("trades", ("rpat",), "linf", {"mode": "reference"}),
    ("rebat", (), "linf", {"mode": "reference", "data.cutmix": True}),
    ("rebat", (), "linf", {"data.cutmix": True, "attack.double_forward": True}),
    ("consistency-at", ("rpat",), "linf", {"mode": "reference"}),
    ("trades", ("rpat", "awp"), "l2", {"mode": "reference", "attack.reduction": "mean"}),
    ("mma", ("rpat",), "linf", {"mma.search_mode": "eval", "attack.bn": "train"}),
    ("pgd-at", ("rpat",), "linf", {"rpat.form": "eq3", "rpat.alpha": 0.3}),
    ("mart", ("rpat",), "linf", {"rpat.criterion": "js"}),
    ("pgd-at", ("rpat",), "linf", {"mode": "fast"}),
    ("rebat", (), "linf", {"mode": "fast"}),
]  # fmt: skip
"""What the registries' cases, all in mode `exact`, leave out."""

COMPILED = [
    ("trades", ("rpat",), "linf", {"compiled": True}),
    ("rebat", (), "linf", {"compiled": True}),
]
"""Looked at when all cases are: compiling takes longer than the rest."""


QUICK = [
    ("pgd-at", ("rpat",)), ("trades", ("rpat",)), ("mart", ("rpat",)),
    ("consistency-at", ("rpat",)), ("mma", ()), ("gairat", ()), ("mail-trades", ()), ("sovr", ()),
    ("te", ("rpat",)),
    ("kd+swa", ()), ("rebat", ()), ("rpat++", ()), ("adr", ()), ("trades", ("wa", "awp", "rpat")),
    ("trades", ("cure", "rpat", "awp", "wa")),
]  # fmt: skip
"""The cases of every day, in l_inf, beside `MORE`."""


def chosen(which: str):
    """Return the cases of a word as (title, method, stack, norm, changes)."""
    found = [
        case for case in cases()
        if which == "all" or (case[2] == "linf" and case[:2] in QUICK and not {*case[3]} & {*MIXED})
    ]  # fmt: skip
    more = [*MORE, *(COMPILED if which == "all" else ())]
    return [("/".join(map(title, case)), *case) for case in (*found, *more)]


MIXED = ("data.cutmix", "data.augment")
"""Values that are looked at in `MORE`, or when all cases are."""


def training(folder: Path, config, team, ask=lambda: None) -> Training:
    """Return a training on random images; rank 0 asks whether to stop."""
    device = getattr(team, "device", torch.device(DEVICE))
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (N, 3, 32, 32), generator=draw, dtype=torch.uint8)
    some = Images(images, torch.arange(N) % 10, torch.arange(N)).to(device)
    classes = tuple(str(c) for c in range(10))
    data = DataSet("digits", "embedded", classes, some, some, None, "", N)
    run = RunDir(folder)
    run.path.mkdir(exist_ok=True)
    attempt = run.take_attempt() if team.leads else Attempt(run.path, 0)
    log = Journal(attempt.journal) if team.leads else ranks.Silent()
    return Training(run, attempt, config, data, log, ask, device, team)


def teacher(self, word):
    """Stands in for weights of another run: the network's own, changed."""
    net = frozen_copy(self.model)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.5)
    return net


def learn(name, stack, norm, changes, team):
    """Train a case; returns what each step computed, and what was left at the end."""
    sure = 100 if name in SURE else 1

    def network(classes, stride):
        net = Small(classes)
        net.linear.weight.data.mul_(sure)
        return net

    models.BUILDERS["resnet8"] = network
    dtype = torch.float32 if changes.get("mode") == "fast" else torch.float64
    torch.set_default_dtype(dtype)
    loader.pixels = evaluate.pixels = lambda images: images.to(dtype) / 255
    options = {"schedule.epochs": EPOCHS, "optim.batch_size": BATCH, "eval.batch_size": 7}
    if name not in ("clean", "random"):
        options["attack.steps"] = 2
    config = short(name, stack, norm=norm, **options)
    for part in (config.method.NAME, *(w.NAME for w in config.wrappers)):
        changes = LATE.get(part, {}) | changes
    with TemporaryDirectory() as folder:
        run = training(Path(folder), config.override(changes), team)
        seen = []
        train_step = run.train_step

        def watched(step):
            terms = train_step(step)
            seen.append({
                "terms": {n: term.detach().clone() for n, term in terms.items()},
                "gradients": {n: p.grad.clone() for n, p in run.model.named_parameters()},
                "state": {n: b.clone() for n, b in run.model.state_dict().items()},
            })  # fmt: skip
            return terms

        run.train_step = watched
        metrics = []
        for epoch in range(EPOCHS):
            run.train_epoch(epoch, 0)
            run.method.epoch_end(run.facts, epoch)
            metrics.append(run.sums.means())
            team.compare(run.model)
        for network_name, net in run.method.models(run.model).items():
            metrics.append(run.test(network_name, net, EPOCHS))
        return {"steps": seen, "metrics": metrics, "method": dict(run.method.state_dict())}


def interrupt(out: Path, team):
    """Train a run through, and an equal one that is stopped before its fourth step and goes on.

    Returns both states at the end, and what every rank has been told.
    """
    models.BUILDERS["resnet8"] = lambda classes, stride: Small(classes)
    torch.set_default_dtype(torch.float32)
    loader.pixels = evaluate.pixels = lambda images: images.float() / 255
    config = short("te", ("rpat", "wa"), **{"optim.batch_size": 4, "eval.attack": "none"})
    whole = training(out / "whole", config, team)
    whole.fit()
    begun = training(out / "parts", config, team, lambda: "pause" if begun.t == 4 else None)
    told = ""
    try:
        begun.fit()
    except Interrupted as asked:
        told = asked.word
    dist.barrier()  # rank 0 has saved
    again = training(out / "parts", config, team)
    again.restore(checkpoint.load(again.run.last))
    began = again.t
    again.fit()
    ends = [
        {**run.model.state_dict(), **run.method.state_dict(), **run.sums.state()}
        for run in (whole, again)
    ]
    return {"ends": ends, "told": told, "from": began, "best": (whole.best, again.best)}


def main(out: Path, which: str) -> None:
    """Train every case and write what was seen."""
    modes.processor_flags = lambda: {"avx512_bf16"}
    Training.teacher = teacher
    torch.set_num_threads(1)
    place = ranks.place()
    team = meet(place, pick_device(DEVICE, place))
    found = {case[0]: learn(*case[1:], team) for case in chosen(which)}
    if place is not None:
        found["interrupted"] = interrupt(out, team)
    torch.save(found, out / ("alone.pt" if place is None else f"rank-{place.rank}.pt"))
    team.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
