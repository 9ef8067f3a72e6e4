"""Logs of bracketed words: Consistency-AT and the benchmark part of RPAT, which is built on it.

    [time] Namespace(dataset='cifar10', mode='adv_train', …)
    Epoch 1 (logs/0501_1200_…)
    [time] [Epoch   1;  50] [Time 0.300] [Data 0.010] [LR 0.10000]
    [LossC 2.1] [LossRA 0.1]
    [time] [DONE] [Time …] [Data …] [LossC …] [LossRA …]
    [time]  * [Acc@1 81.520] [AdvAcc@1 50.210]

Evaluations print the same lines without a time, and AutoAttack's own report.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rpat_tui.textlogs import Found, Result, autoattack, namespace

STAMP = re.compile(r"^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?)\] ?(.*)$")
HEAD = re.compile(r"^Epoch (\d+) \(.*\)$")
STEP = re.compile(r"^\[Epoch +(\d+); +(\d+)\]")
LOSS = re.compile(r"\[Loss(\w+) (\S+?)\]")
TERMS = {"C": "train/ce", "RA": "train/rpat_gap", "Adv": "train/kl", "Con": "train/consistency"}


def read(lines: Sequence[str]) -> Found:
    """Return what a log in this layout states."""
    found = Found(layout="bracketed")
    reader = _Reader(found)
    for line in lines:
        if line.strip():
            reader.take(line.rstrip())
    reader.finish()
    return found


class _Reader:
    def __init__(self, found: Found) -> None:
        self.found, self.epoch = found, 0
        self.within = ""  # what an entry of several lines is about
        self.time: float | None = None
        self.last_step = 0
        self.accuracies: tuple[float, float] | None = None  # printed outside of any epoch
        self.initial: float | None = None
        self.weights = ""

    def take(self, line: str) -> None:
        """Read one line."""
        if match := HEAD.match(line):
            self.epoch, self.within = int(match[1]), ""
            self.found.read += 1
            return
        match = STAMP.match(line)
        if match:
            self.time, self.within = _seconds(match[1]), ""
            if self.time is not None:
                self.found.times.setdefault(0, self.time)
        known = self._entry(match[2].strip() if match else line.strip(), bool(match))
        if known:
            self.found.read += 1
        elif self.within != "model":
            self.found.unread.append(line)

    def _entry(self, text: str, stamped: bool) -> bool:
        if "Namespace(" in text:
            self.found.settings |= _settings(namespace(text))
            return True
        if stamped and re.match(r"^\w+\($", text):  # the network, as torch prints it
            self.within = "model"
            return True
        if match := STEP.match(text):
            self.within, self.last_step = "step", int(match[2])
            self._rate(text)
            self._losses(text)
            return True
        if text.startswith("[DONE]"):
            self._mean_losses(text)
            return True
        if self.within == "step" and text.startswith("[Loss"):
            self._losses(text)
            return True
        return self._accuracy(text)

    def _accuracy(self, text: str) -> bool:
        if match := re.search(r"\[Acc@1 ([\d.]+)\] \[AdvAcc@1 ([\d.]+)\]", text):
            clean, robust = float(match[1]), float(match[2])
            if self.epoch and not self.weights:
                self.found.put(self.epoch, test__clean_acc=clean, test__pgd_acc=robust)
                self._note_time()
            else:
                self.accuracies = (clean, robust)
            return True
        if re.search(r"\[Error@1 [\d.]+\]|\[Adv_Test +[\d.]+\]|^\* \[MSE Score", text):
            return True
        if match := re.search(r"=> Loading checkpoint from '(.*)'", text):
            self.weights = match[1]
            return True
        if said := autoattack(text):
            self._attacked(*said)
            return True
        if match := re.search(r"load_path='([^']+)'", text):
            self.weights = match[1]
        return bool(
            re.search(r"^(using|setting|apgd|fab|square)|robust accuracy after|max Linf", text)
        )

    def _rate(self, text: str) -> None:
        if match := re.search(r"\[LR ([\d.eE+-]+)\]", text):
            self.found.put(self.epoch, lr=float(match[1]))

    def _losses(self, text: str) -> None:
        parts = {name: float(value) for name, value in LOSS.findall(text)}
        if parts and self.epoch and "RA" not in parts:
            self.found.losses.append((self.epoch - 1, float(self.last_step), sum(parts.values())))

    def _mean_losses(self, text: str) -> None:
        parts = {name: float(value) for name, value in LOSS.findall(text)}
        terms = {TERMS.get(name, f"train/{name.lower()}"): v for name, v in parts.items()}
        self.found.epochs.setdefault(self.epoch, {}).update(terms)
        if "RA" not in parts:  # the weight of that term is not in the printed number
            self.found.put(self.epoch, train__loss=sum(parts.values()))
        self._note_time()

    def _note_time(self) -> None:
        if self.time is not None:
            self.found.times[self.epoch] = self.time

    def _attacked(self, what: str, percent: float) -> None:
        if what == "initial":
            self.initial = percent
            return
        which = "best" if "best" in self.weights else "final" if "last" in self.weights else ""
        self.found.results.append(
            Result(attack="aa", clean=self.initial, robust=percent, checkpoint=which)
        )

    def finish(self) -> None:
        """Keep accuracies that belong to no epoch: an evaluation of its own, with PGD-10."""
        self.found.epochs.pop(0, None)
        if self.accuracies is not None:
            which = "best" if "best" in self.weights else "final" if "last" in self.weights else ""
            clean, robust = self.accuracies
            self.found.results.append(
                Result(attack="pgd", steps=10, clean=clean, robust=robust, checkpoint=which)
            )


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Return what the printed options say, under the names of this program."""
    names = {
        "seed": "seed", "epochs": "schedule.epochs", "lr_init": "optim.lr",
        "weight_decay": "optim.weight_decay", "batch_size": "optim.batch_size",
        "epsilon": "threat.epsilon", "alpha": "attack.step_size", "n_iters": "attack.steps",
    }  # fmt: skip
    found = {ours: given[theirs] for theirs, ours in names.items() if given.get(theirs) is not None}
    mode = str(given.get("mode", ""))
    consistent = bool(given.get("consistency")) or "consistency" in mode
    if "adv" in mode:
        method = "trades" if "trades" in mode else "mart" if "mart" in mode else "pgd-at"
        found["method"] = "consistency-at" if consistent and method == "pgd-at" else method
        if found["method"] in ("trades", "mart") and given.get("beta") is not None:
            found[f"{found['method']}.beta"] = given["beta"]
    if given.get("RA") or mode.endswith("_ra"):
        found["rpat"] = True
        if given.get("lam") is not None and not consistent:
            found["rpat.lam"] = given["lam"]
    if given.get("distance"):
        found["norm"] = {"linf": "linf", "l2": "l2"}.get(str(given["distance"]).lower(), "")
    for theirs, ours in (("dataset", "dataset"), ("model", "model")):
        if given.get(theirs):
            found[ours] = _names(str(given[theirs]))
    return {key: value for key, value in found.items() if value != ""}


def _names(word: str) -> str:
    known = {
        "tinyimagenet": "tiny-imagenet", "tiny_imagenet": "tiny-imagenet", "tiny": "tiny-imagenet",
        "pre_resnet18": "preactresnet18", "preactresnet18": "preactresnet18",
        "wide_resnet": "wrn-34-10", "wrn3410": "wrn-34-10", "wrn34-10": "wrn-34-10",
    }  # fmt: skip
    return known.get(word.lower(), word.lower())
