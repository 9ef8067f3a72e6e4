"""A home full of finished runs, made the way a real one comes about: journals, then ingest."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

from rpat.config import NORMS
from rpat.recipes import RADIUS, recipe
from rpat.rundir import RunDir
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import index, ingest
from rpat_tui.store.queue import name_of

DATASETS = ("cifar10", "cifar100", "tiny-imagenet")
MODELS = ("resnet18", "preactresnet18", "wrn-34-10", "resnet26-bottleneck")
METHODS = ("pgd-at", "trades", "mart")
METRICS = (
    "train/loss", "train/ce", "train/adv_acc", "test/clean_acc", "test/pgd_acc", "test/logit_mse",
    "test/logit_mse_success", "test/logit_mse_failure", "lr", "time/epoch_s",
)  # fmt: skip


class Built(NamedTuple):
    """What building the store took."""

    points: int
    ingest_s: float
    bytes: int


def environment(home: Path) -> dict[str, str]:
    """Return an environment for commands of a home, with modules compiled as once installed."""
    made = {**os.environ, "RPAT_HOME": str(home)}
    if made.pop("PYTHONDONTWRITEBYTECODE", None):
        made["PYTHONPYCACHEPREFIX"] = str(home / "compiled")
    return made


def build(folder: Path, runs: int, epochs: int) -> Built:
    """Fill a new home with runs of 200 epochs and ten metrics and index them."""
    home = Home(folder).make()
    configs = []
    axes = itertools.product(
        (1.0, 0.5, 2.0), DATASETS, MODELS, NORMS, METHODS, ((), ("rpat",)), range(3)
    )
    for lam, dataset, model, norm, method, stack, seed in itertools.islice(axes, runs):
        base = recipe(method, stack, dataset=dataset, model=model, norm=norm, epochs=epochs)
        change = {"rpat.lam": lam} if stack else {"optim.weight_decay": 5e-4 * lam}
        configs.append(base.override({"seed": seed, **change}))
    with database.opened(home) as db:
        numbers = index.enqueue(home, db, configs, index.Wish(), {})
        for n in numbers:
            _journal(RunDir(home.runs / name_of(n)), n, configs[n - 1].threat.norm, epochs)
        clock = time.perf_counter()
        for n in numbers:
            ingest.ingest(db, n, RunDir(home.runs / name_of(n)))
        seconds = time.perf_counter() - clock
        db.execute("update runs set state = 'done', started = created, ended = created + 3600")
        points = db.execute("select count(*) from points").fetchone()[0]
        db.execute("pragma wal_checkpoint(truncate)")
    return Built(points, seconds, home.database.stat().st_size)


def _journal(run: RunDir, n: int, norm: str, epochs: int) -> None:
    attempt = run.take_attempt()
    me = {"host": "bench", "boot": "bench", "pid": 1, "started": "1"}
    lines = [
        {"kind": "begin", "v": 1, "attempt": 1, "from_step": 0, **me, "device_name": "bench"},
        {"kind": "notice", "what": "data", "fingerprint": "f" * 64},
    ]
    for epoch in range(1, epochs + 1):
        values = {name: 50 + 40 * math.sin(n + epoch / 20 + i) for i, name in enumerate(METRICS)}
        lines.append({"kind": "epoch", "epoch": epoch, "step": epoch * 391, "values": values})
    for kind in ("best", "final"):
        for attack, steps in (("pgd", 20), ("aa", 0)):
            lines.append(_evaluation(n, norm, kind, attack, steps, epochs))
    lines.append({"kind": "end", "epoch": epochs, "step": epochs * 391})
    text = "".join(
        json.dumps({"seq": i, "t": 1.7e9 + i, **x}) + "\n" for i, x in enumerate(lines, 1)
    )
    attempt.journal.write_text(text, "utf-8")


def _evaluation(
    n: int, norm: str, kind: str, attack: str, steps: int, epochs: int
) -> dict[str, object]:
    robust = 45 + 5 * math.sin(n) - (4 if attack == "aa" else 0)
    fixed = {
        "network": "online", "weights": "0" * 64, "split": "test", "n": 10_000, "of": 10_000,
        "indices": "0" * 64, "seed": 0, "dtype": "float32", "step_size": 2 / 255, "restarts": 1,
        "note": "",
    }  # fmt: skip
    return {
        "kind": "eval",
        "checkpoint": kind,
        "epoch": epochs,
        "selected_on": "test" if kind == "best" else "",
        "step": epochs * 391,
        "attack": attack,
        "norm": norm,
        "epsilon": RADIUS[norm],
        "steps": steps,
        "clean": 80 + 2 * math.cos(n),
        "robust": robust,
        **fixed,
    }
