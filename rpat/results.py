"""The end of a run: its kept weights against the final attacks, as evaluation records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from rpat import checkpoint, evaluate, journal
from rpat.config import RunConfig
from rpat.data.dataset import DataSet, Images, balanced
from rpat.errors import RunError
from rpat.journal import Journal
from rpat.models import build as build_model
from rpat.rundir import RunDir

KEY = (
    "checkpoint", "network", "weights", "attack", "norm", "epsilon", "steps", "step_size",
    "restarts", "split", "n", "indices", "seed",
)  # fmt: skip
"""What makes two evaluations the same one."""


def final_evaluations(
    run: RunDir,
    config: RunConfig,
    data: DataSet,
    log: Journal,
    device: torch.device,
    *,
    selected: str,
    step: int,
    check: Callable[[], None],
) -> None:
    """Evaluate best and final weights as `eval.attack` asks, one journal record each.

    `selected` is the split that chose the best epoch, `step` the run's last step. Evaluations
    that an earlier attempt has journaled are not made again. `check` is called before each one
    and raises when the run must not go on.
    """
    done = {_key(record) for record in _journaled(run)}
    measured: dict[tuple[Any, ...], dict[str, float]] = {}  # best and final may be one network
    for record, weights, images in _planned(run, config, data, selected, step):
        if _key(record) in done:
            continue
        check()
        same = tuple(record[name] for name in KEY if name != "checkpoint")
        if same not in measured:
            measured[same] = measure(config, data, images, weights, record, device)
        record |= measured[same]
        log.write("eval", **record)


def _planned(
    run: RunDir, config: RunConfig, data: DataSet, selected: str, step: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any], Images]]:
    """Yield each evaluation that `eval.attack` asks for: its record, the weights, the images."""
    attacks = {"none": (), "pgd": ("pgd",), "aa": ("pgd", "aa")}[config.eval.attack]
    for kind, weights in _kept(run) if attacks else ():
        digest = checkpoint.digest(weights["weights"])
        for attack in attacks:
            images = _images(data, config, attack)
            record = {
                "checkpoint": kind,
                "epoch": weights["epoch"],
                "network": weights["network"],
                "weights": digest,
                "selected_on": selected if kind == "best" else "",
                "split": "test",
                "n": len(images),
                "of": len(data.test),
                "indices": evaluate.index_digest(images.index),
                "seed": config.seed,
                "step": step,
                "dtype": "float32",
                **settings(config, attack, data.num_classes),
            }
            yield record, weights, images


def settings(config: RunConfig, attack: str, num_classes: int) -> dict[str, Any]:
    """Return the attack's settings as they are recorded."""
    common = {"attack": attack, "norm": config.threat.norm, "epsilon": config.threat.epsilon}
    if attack == "aa":
        standard = num_classes > 9
        note = "" if standard else f"{num_classes - 1} target classes: not standard"
        if num_classes < 4:  # the loss of APGD-T compares four logits
            note = f"no apgd-t, {note}"
        return {**common, "steps": 0, "step_size": 0.0, "restarts": 1, "note": note}
    steps, size = config.eval.steps, config.eval.step_size
    return {**common, "steps": steps, "step_size": size, "restarts": 1, "note": ""}


def measure(
    config: RunConfig,
    data: DataSet,
    images: Images,
    weights: dict[str, Any],
    record: dict[str, Any],
    device: torch.device,
) -> dict[str, float]:
    """Return clean and robust accuracy in percent of stored weights."""
    model = build_model(config.model, data.num_classes, data.image_size).to(device)
    model.load_state_dict(weights["weights"])
    batch, seed = config.eval.batch_size, config.seed
    if record["attack"] == "aa":
        clean, robust = evaluate.judge_with_autoattack(
            model, images, config.threat,
            num_classes=data.num_classes, batch_size=batch, seed=seed,
        )  # fmt: skip
        return {"clean": evaluate.percent(clean), "robust": evaluate.percent(robust)}
    judged = evaluate.judge(
        model, images, config.threat, evaluate.attack_of(config.eval, config.eval.steps),
        batch_size=batch, seed=seed, position=weights["epoch"],
    )  # fmt: skip
    return {"clean": evaluate.percent(judged.clean), "robust": evaluate.percent(judged.robust)}


def _kept(run: RunDir) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in ("best", "final"):
        files = sorted(run.checkpoints.glob(f"{kind}-*.pt"))
        if not files:
            raise RunError(
                f"no {kind} weights in {run.checkpoints}; requeue the run from its start"
            )
        for file in files:
            content = checkpoint.load(file)
            assert content is not None
            yield kind, content


def _images(data: DataSet, config: RunConfig, attack: str) -> Images:
    """All test images, or AutoAttack's class-balanced subset of them."""
    if attack == "aa" and 0 < config.eval.aa_n < len(data.test):
        return data.test.take(balanced(data.test, config.eval.aa_n, f"aa_n/{data.name}"))
    return data.test


def _journaled(run: RunDir) -> list[dict[str, Any]]:
    """Return the evaluations that count: not of weights that a later attempt trained again."""
    found: list[dict[str, Any]] = []
    for attempt in run.attempts():
        for record, _ in journal.read(attempt.journal):
            if record["kind"] == "begin" and record["from_step"] is not None:
                found = [old for old in found if old["step"] <= record["from_step"]]
            elif record["kind"] == "eval":
                found.append(record)
    return found


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in KEY)
