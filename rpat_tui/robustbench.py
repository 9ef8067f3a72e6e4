"""A run as an entry of RobustBench's `model_info`: the JSON that its leaderboard is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rpat.errors import ConfigError
from rpat.knobs import show

ARCHITECTURES = {
    "resnet18": "ResNet-18", "preactresnet18": "PreActResNet-18", "wrn-34-10": "WideResNet-34-10",
    "wrn-28-10": "WideResNet-28-10", "resnet26-bottleneck": "ResNet-26 (bottleneck)",
    "resnet8": "ResNet-8",
}  # fmt: skip
THREATS = {"linf": "Linf", "l2": "L2"}
USUAL = {("linf", "8/255"), ("l2", "0.5")}
"""Radii of the leaderboards for CIFAR-10 and CIFAR-100."""

BY_HAND = ("link", "name", "authors", "venue", "reported")
"""Fields that only the authors can fill."""

Entry = dict[str, Any]


def entry(
    run: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]], checkpoint: str, network: str
) -> tuple[Entry, list[str]]:
    """Return a run's entry and remarks on what the leaderboard would object to.

    Raises `ConfigError` where standard AutoAttack on all test images is missing.
    """
    found = [
        e
        for e in evaluations
        if (e["attack"], e["checkpoint"], e["network"]) == ("aa", checkpoint, network)
        and (e["split"], e["differs"], e["dtype"], e["bn"]) == ("test", "", "float32", "eval")
    ]
    if not found:
        raise ConfigError(
            f"{run['id']} has no AutoAttack on its {checkpoint} weights: "
            f"rpat eval {run['id']} --attack aa --checkpoint {checkpoint}"
        )
    best = max(reversed(found), key=lambda e: e["n"])  # the newest of equals
    radius = show(best["epsilon"])
    values: Entry = {
        "link": None,
        "name": None,
        "authors": None,
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": run["dataset"],
        "venue": None,
        "architecture": ARCHITECTURES.get(run["model"], run["model"]),
        "eps": radius,
        "clean_acc": f"{best['clean']:.2f}",
        "reported": None,
        "autoattack_acc": f"{best['robust']:.2f}",
    }
    remarks = [f"fill in by hand: {', '.join(BY_HAND)}"]
    if best["n"] < best["of_n"]:
        remarks.append(f"measured on {best['n']} of {best['of_n']} images; an entry needs them all")
    if best["note"]:
        remarks.append(f"AutoAttack with {best['note']}")
    if run["source"] != "official":
        remarks.append(f"images come from: {run['source']}; an entry needs the official files")
    if run["dataset"] not in ("cifar10", "cifar100"):
        remarks.append(f"RobustBench has no leaderboard for {run['dataset']}")
    elif (best["norm"], radius) not in USUAL:
        remarks.append(f"{THREATS[best['norm']]} {radius} is not a radius of a leaderboard")
    if best["selected_on"] == "test":
        remarks.append("the weights were selected on the test set")
    return values, remarks
