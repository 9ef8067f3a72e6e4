"""Logs of numbers in columns: Rice et al., ReBAT, and the second part of RPAT, built on them.

    [2024/05/01 12:00:00] - Namespace(model='PreActResNet18', …)
    [2024/05/01 12:02:00] - Epoch   Train Time   Test Time   LR   Train Loss   Train Acc   …
    [2024/05/01 12:04:00] - [] 0   120.1   10.2   0.1000   2.1 0.25 2.3 0.20   1.6 0.41 2.0 0.29
    [2024/05/01 12:04:20] - [wa_] 0 …
    [2024/05/02 12:00:00] - [best wa]   0.8123   0.5210   0.4870

Epochs count from 0, accuracies are shares of 1. The columns are training loss and accuracy on
clean and on adversarial images, then the same of the test images.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rpat_tui.textlogs import Found, Result, namespace

STAMP = re.compile(r"^\[(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)\](?: -)? ?(.*)$")
ROW = re.compile(r"^(?:\[(\w*)\]\s*)?(\d+)((?:\s+-?[\d.]+(?:e[+-]?\d+)?|\s+nan){11})\s*$")
FINAL = re.compile(r"^\[(last|best)(?: (\w+))?\]((?:\s+[\d.]+){3})\s*$")
VALIDATION = re.compile(r"^validation((?:\s+[\d.]+){4})\s*$")


def read(lines: Sequence[str]) -> Found:
    """Return what a log in this layout states."""
    found = Found(layout="tabular")
    given: dict[str, Any] = {}
    newest, before = 0, ("", 0)
    for line in lines:
        if not line.strip():
            continue
        stamp = STAMP.match(line.rstrip())
        text = stamp[2].strip() if stamp else line.strip()
        if stamp:
            found.times.setdefault(0, _seconds(stamp[1]))
        if "Namespace(" in text or text.startswith("{'"):
            given |= namespace(text)
        elif row := ROW.match(text):
            network, newest = (row[1] or "").strip("_"), int(row[2]) + 1
            if (network, newest) != before:  # the same again is of the training images
                _row(found, row, given)
            if stamp:
                found.times[newest] = _seconds(stamp[1])
            before = (network, newest)
        elif final := FINAL.match(text):
            _final(found, final, given)
        elif (held_out := VALIDATION.match(text)) and newest:
            _, clean, _, robust = map(float, held_out[1].split())
            found.put(newest, val__clean_acc=100 * clean, val__pgd_acc=100 * robust)
        elif not re.match(r"Epoch\s|Mode\s|Resuming|Evaluating|Now |update best", text):
            found.unread.append(line.rstrip())
            continue
        found.read += 1
    found.settings = _settings(given)
    return found


def _row(found: Found, row: re.Match[str], given: dict[str, Any]) -> None:
    """Note an epoch's numbers of one network."""
    prefix, epoch = (row[1] or "").strip("_"), int(row[2]) + 1
    names = (
        "time/epoch_s", "time/eval_s", "lr", "train/clean_loss", "train/clean_acc", "train/loss",
        "train/adv_acc", "test/clean_loss", "test/clean_acc", "test/adv_loss", "test/pgd_acc",
    )  # fmt: skip
    values = dict(zip(names, map(float, row[3].split()), strict=True))
    values = {k: 100 * v if k.endswith("_acc") else v for k, v in values.items()}
    if given.get("val"):  # then the last columns are of held-out training images
        values = {k.replace("test/", "val/"): v for k, v in values.items()}
    if prefix:
        values = {f"{prefix}/{k}": v for k, v in values.items() if k.startswith(("test/", "val/"))}
    found.epochs.setdefault(epoch, {}).update(values)


def _seconds(when: str) -> float:
    return datetime.strptime(when, "%Y/%m/%d %H:%M:%S").timestamp()


def _final(found: Found, final: re.Match[str], given: dict[str, Any]) -> None:
    clean, pgd, aa = map(float, final[3].split())
    if max(clean, pgd, aa) <= 1:
        clean, pgd, aa = 100 * clean, 100 * pgd, 100 * aa
    checkpoint = "final" if final[1] == "last" else "best"
    network = "online" if given.get("eval_online") else final[2] or ""
    about: dict[str, Any] = {"clean": clean, "checkpoint": checkpoint, "network": network}
    found.results.append(Result(attack="pgd", steps=20, robust=pgd, **about))
    found.results.append(Result(attack="aa", robust=aa, **about))


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Return what the printed options say, under the names of this program."""
    names = {
        "seed": "seed", "epochs": "schedule.epochs", "lr_max": "optim.lr",
        "batch_size": "optim.batch_size", "attack_iters": "attack.steps",
        "lr_factor": "schedule.decay",
    }  # fmt: skip
    found = {ours: given[theirs] for theirs, ours in names.items() if given.get(theirs) is not None}
    if given.get("epsilon") is not None:
        found["threat.epsilon"] = given["epsilon"] / 255
    if given.get("pgd_alpha") is not None:
        found["attack.step_size"] = given["pgd_alpha"] / 255
    if given.get("num_classes"):
        found["dataset"] = {10: "cifar10", 100: "cifar100"}.get(given["num_classes"], "")
    if given.get("norm"):
        found["norm"] = {"l_inf": "linf", "l_2": "l2"}.get(given["norm"], "")
    model = str(given.get("model", "")).lower()
    found["model"] = {"preactresnet18": "preactresnet18", "wideresnet": "wrn-34-10"}.get(model, "")
    if given.get("cutmix"):
        found["cutmix"] = True
    return {key: value for key, value in found.items() if value != ""}
