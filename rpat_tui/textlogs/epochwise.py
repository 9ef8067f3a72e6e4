"""Logs of sentences: what TRADES prints while it trains and while it is attacked.

Train Epoch: 1 [12800/50000 (26%)]  Loss: 2.101000
Training: Average loss: 1.7512, Accuracy: 18123/50000 (36%)
Test: Average loss: 1.7010, Accuracy: 4012/10000 (40%)

natural_err_total:  tensor(1508., device='cuda:0')
robust_err_total:  tensor(4321., device='cuda:0')
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rpat_tui.textlogs import Found, Result, autoattack

STEP = re.compile(r"^Train Epoch: (\d+) \[(\d+)/(\d+) \([\d.]+%\)\]\s*Loss: (\S+)")
SHARE = re.compile(r"^(Training|Test): Average loss: (\S+?), Accuracy: (\d+)/(\d+)")
WRONG = re.compile(r"^(natural|robust)_err_total:\s*(?:tensor\()?([\d.]+)")
IMAGES = 10_000
"""Test images of both CIFAR sets: what the counted errors are of, where no line says it."""


def read(lines: Sequence[str]) -> Found:
    """Return what a log in this layout states."""
    found = Found(layout="epochwise")
    epoch, images = 0, IMAGES
    wrong: dict[str, float] = {}
    initial: float | None = None
    for line in map(str.strip, lines):
        if not line or set(line) == {"="}:
            continue
        found.read += 1
        if match := STEP.match(line):
            epoch = int(match[1])
            share = int(match[2]) / max(int(match[3]), 1)
            found.losses.append((epoch - 1, share, float(match[4])))
        elif match := SHARE.match(line):
            part = "train" if match[1] == "Training" else "test"
            right, of = int(match[3]), int(match[4])
            values = {f"{part}/clean_acc": 100 * right / max(of, 1)}
            found.epochs.setdefault(epoch, {}).update(
                values | {f"{part}/clean_loss": float(match[2])}
            )
            images = of if part == "test" else images
        elif match := WRONG.match(line):
            wrong[match[1]] = float(match[2])
            if match[1] == "robust":
                clean = 100 - 100 * wrong["natural"] / images if "natural" in wrong else None
                robust = 100 - 100 * wrong.pop("robust") / images
                found.results.append(Result(attack="pgd", steps=20, clean=clean, robust=robust))
        elif said := autoattack(line):
            if said[0] == "initial":
                initial = said[1]
            else:
                found.results.append(Result(attack="aa", clean=initial, robust=said[1]))
        elif not re.match(r"(err pgd|pgd (white|black)-box|Files already|using |setting )", line):
            found.read -= 1
            found.unread.append(line)
    found.epochs.pop(0, None)
    return found
