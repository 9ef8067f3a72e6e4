"""The training loop; there is one, and it names no method.

`Training` owns the order of events: in a step craft, loss, backward, update; in an epoch steps,
evaluation, selection, journal, checkpoint. What is learned is `rpat.methods` and
`rpat.wrappers`; what is written where is `rpat.journal` and `rpat.rundir`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rpat import checkpoint, evaluate, modes
from rpat.config import RunConfig
from rpat.data.dataset import DataSet, Images
from rpat.data.loader import Batch, Loader
from rpat.divided import Alone
from rpat.errors import Interrupted, RunError, Superseded
from rpat.journal import Journal
from rpat.methods.base import Run, Terms, total
from rpat.models import build as build_model
from rpat.passes import carried_out
from rpat.randomness import seed_of
from rpat.rundir import Attempt, RunDir, find_weights
from rpat.schedules import learning_rate
from rpat.step import Step
from rpat.wrappers import build as build_method


class Sums:
    """Running sums of an epoch's metrics, kept on the device: reading them synchronises."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.totals: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: dict[str, Tensor], rows: int) -> None:
        """Add batch means, each weighted by the batch's rows."""
        for name, value in values.items():
            value = value.detach().double() * rows
            self.totals[name] = self.totals[name] + value if name in self.totals else value
        self.count += rows

    def means(self) -> dict[str, float]:
        """Return each metric's mean over the images seen."""
        return {name: value.item() / self.count for name, value in self.totals.items()}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold to go on in mid-epoch."""
        return {"totals": dict(self.totals), "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.totals = {k: v.to(self.device) for k, v in state["totals"].items()}
        self.count = state["count"]


class Training:
    """One run from its config to its final weights."""

    def __init__(
        self,
        run: RunDir,
        attempt: Attempt,
        config: RunConfig,
        data: DataSet,
        journal: Journal,
        asked_to_stop: Callable[[], str | None],
        device: torch.device,
        ranks: Alone | None = None,
    ) -> None:
        """Prepare a run; `ranks` are the processes that compute it together."""
        self.ranks = ranks or Alone()
        self.run, self.attempt, self.config = run, attempt, config
        self.data, self.journal = data, journal
        self.asked_to_stop = self.ranks.agreed(asked_to_stop)
        self.device = device
        torch.manual_seed(seed_of(config.seed, "init") % 2**63)
        model = build_model(config.model, data.num_classes, data.image_size).to(device)
        self.model = self.ranks.divide(model)
        self.method = build_method(config)
        rows = config.optim.batch_size * self.method.views if config.compiled else 0
        self.passes = modes.make(config.mode, self.model, device, rows)
        self.loader = Loader(
            data.train, config.optim.batch_size, config.data, config.seed, device,
            views=self.method.views, epochs=config.schedule.epochs, num_classes=data.num_classes,
        )  # fmt: skip
        self.facts = Run(
            model=self.model,
            num_classes=data.num_classes,
            n_train=data.n_train_full,
            epochs=config.schedule.epochs,
            steps_per_epoch=len(self.loader),
            clean_batches=lambda epoch: (batch.x for batch in self.loader.epoch(epoch)),
            teacher=self.teacher,
        )
        self.method.setup(self.facts)
        self.method.to(device)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=config.optim.lr,
            momentum=config.optim.momentum,
            weight_decay=config.optim.weight_decay,
        )
        self.total = config.schedule.epochs * len(self.loader)
        self.t = 0  # optimiser steps done
        self.sums = Sums(device)
        self.seconds = 0.0  # spent on training in the current epoch
        self.best: dict[str, dict[str, Any]] = {}  # network -> epoch and metrics

    # ----------------------------------------------------------------- the algorithm

    def fit(self) -> None:
        """Train until the last epoch; raises `Interrupted` when asked to stop."""
        while self.t < self.total:
            epoch, start = divmod(self.t, len(self.loader))
            self.train_epoch(epoch, start)
            self.method.epoch_end(self.facts, epoch)
            self.finish_epoch(epoch + 1)

    def train_epoch(self, epoch: int, start: int) -> None:
        """Run an epoch's steps from batch `start` on, adding to its sums."""
        clock = time.monotonic()
        for i, batch in enumerate(self.loader.epoch(epoch, start), start):
            if word := self.asked_to_stop():
                self.seconds += time.monotonic() - clock
                self.save()
                raise Interrupted(word)
            self.set_learning_rate(epoch, (i + 1) / len(self.loader))
            step = Step(
                self.model, batch.x, batch.y, batch.index, epoch, self.t, self.total,
                self.config.seed, batch.target,
            )  # fmt: skip
            with carried_out(self.passes):
                terms = self.train_step(step)
            self.t += 1
            self.record(step, terms, batch)
        self._synchronize()
        self.seconds += time.monotonic() - clock

    def train_step(self, step: Step) -> Terms:
        """Craft, differentiate, update: the algorithm box."""
        method, optimizer = self.method, self.optimizer
        self.model.train()
        step.x_adv = method.craft(step)
        optimizer.zero_grad(set_to_none=True)
        terms = method.backward(step, method.loss)
        optimizer.step()
        method.after_step(step)
        return terms

    def set_learning_rate(self, epoch: int, fraction: float) -> None:
        """Set the rate of the coming step."""
        lr = learning_rate(self.config.optim.lr, self.config.schedule, epoch, fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    # ----------------------------------------------------------------- what is measured

    def record(self, step: Step, terms: Terms, batch: Batch) -> None:
        """Add a step to the epoch's sums; journal its loss now and then."""
        loss = total(terms).detach()
        values = {"train/loss": loss} | {f"train/{k}": v for k, v in terms.items()}
        for name, metric in (("clean", "train/clean_acc"), ("adv", "train/adv_acc")):
            if (logits := step.seen(name)) is not None:
                values[metric] = (logits.argmax(1) == batch.y).double().mean() * 100
        self.sums.add(values, len(batch.y))
        if self.t % self.config.log_every == 0:
            value = loss.item()
            self.journal.write("log", epoch=step.epoch, step=self.t, values={"step/loss": value})
            self._must_be_finite("step/loss", value)

    def finish_epoch(self, done: int) -> None:
        """Evaluate, select, journal and save after `done` completed epochs."""
        self._synchronize()
        values: dict[str, float | None] = dict(self.sums.means())
        values["lr"] = self.optimizer.param_groups[0]["lr"]
        values["time/epoch_s"] = self.seconds
        values["time/images_per_s"] = self.sums.count / max(self.seconds, 1e-9)
        loss = self.sums.means()["train/loss"]
        networks = self.method.models(self.model)
        clock = time.monotonic()
        for name, network in networks.items():
            values |= self.test(name, network, done)
        values["time/eval_s"] = time.monotonic() - clock
        self.check_place()
        self.ranks.compare(self.model)
        self.journal.write("epoch", epoch=done, step=self.t, values=values)
        self._must_be_finite("train/loss", loss)
        better = [name for name in networks if self._is_better(name, values, done)]
        self._keep(networks, better, values, done)
        self.sums, self.seconds = Sums(self.device), 0.0
        self.save()
        self._publish(better)

    def test(self, name: str, network: nn.Module, done: int) -> dict[str, float | None]:
        """Return a network's metrics on every held-out split."""
        prefix = "" if name == "online" else f"{name}/"
        attack = evaluate.attack_of(self.config.eval, self.config.eval.selection_steps)
        out: dict[str, float | None] = {}
        for split, images in self.splits().items():
            with carried_out(self.passes.judging(network)):
                judged = evaluate.judge(
                    network, images, self.config.threat, attack,
                    batch_size=self.config.eval.batch_size, seed=self.config.seed, position=done,
                )  # fmt: skip
            out |= {prefix + key: value for key, value in judged.metrics(split).items()}
        return out

    def splits(self) -> dict[str, Images]:
        """Return the held-out images by name of their split."""
        held_out = {"test": self.data.test}
        return held_out if self.data.val is None else {"val": self.data.val, **held_out}

    # ----------------------------------------------------------------- what is kept

    @property
    def selection_split(self) -> str:
        """The split whose PGD accuracy selects the best epoch."""
        return "test" if self.data.val is None else "val"

    def _is_better(self, name: str, values: dict[str, float | None], done: int) -> bool:
        prefix = "" if name == "online" else f"{name}/"
        accuracy = values[f"{prefix}{self.selection_split}/pgd_acc"]
        assert accuracy is not None
        if name in self.best and accuracy <= self.best[name]["accuracy"]:
            return False  # the first of equal maxima stays
        self.best[name] = {"epoch": done, "accuracy": accuracy}
        return True

    def _keep(
        self, networks: dict[str, nn.Module], better: list[str], values: Any, done: int
    ) -> None:
        """Write weights whose epoch is now known; a new best waits for `_publish`."""
        if not self.ranks.leads:
            return
        every = self.config.keep_every
        for name, network in networks.items():
            content = {
                "config": self.config.to_dict(),
                "network": name,
                "epoch": done,
                "metrics": values,
                "weights": network.state_dict(),
            }
            if name in better:
                checkpoint.save(self._candidate(name), content)
            if self.t == self.total:
                checkpoint.save(self.run.final(name), content)
            if every and done % every == 0:
                checkpoint.save(self.run.kept(name, done), content)

    def _candidate(self, name: str) -> Any:
        best = self.run.best(name)
        return best.with_name(f"next-{best.name}")

    def _publish(self, names: list[str]) -> None:
        """Rename new best weights into place, once the saved state speaks of them."""
        for name in names if self.ranks.leads else ():
            self._candidate(name).replace(self.run.best(name))

    def save(self) -> None:
        """Write the training state; raises `Superseded` when a later attempt owns the run."""
        if not self.ranks.leads:
            return
        self.check_place()
        content = {
            "config": self.config.to_dict(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "method": self.method.state_dict(),
            "t": self.t,
            "best": self.best,
            "sums": self.sums.state(),
            "seconds": self.seconds,
        }
        checkpoint.save(self.run.last, content)
        self.journal.write(
            "checkpoint", epoch=self.t // len(self.loader), step=self.t, file=self.run.last.name,
            sync=True,
        )  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved training state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.method.load_state_dict(state["method"])
        self.t, self.best, self.seconds = state["t"], state["best"], state["seconds"]
        self.sums.restore(state["sums"])
        for name, chosen in self.best.items():
            candidate = checkpoint.load(self._candidate(name))
            if candidate is not None and candidate["epoch"] == chosen["epoch"]:
                self._publish([name])

    # ----------------------------------------------------------------- helpers

    def teacher(self, word: str) -> nn.Module:
        """Return a frozen network with the weights that the config names; journal which."""
        home = self.run.home
        file = find_weights(home, word) if home and word else None
        content = checkpoint.load(file) if file else None
        if content is None:
            raise RunError(
                f"weights '{word}' are not in {home or self.run.path}; "
                "rpat run queues the runs that train them first",
                reason="weights",
            )
        network = build_model(self.config.model, self.data.num_classes, self.data.image_size)
        network.load_state_dict(content["weights"])
        digest = checkpoint.digest(content["weights"])
        self.journal.write("notice", what="weights", word=word, file=str(file), sha256=digest)
        return self.ranks.divide(network.requires_grad_(False).eval().to(self.device))

    def check_place(self) -> None:
        """Raise `Superseded` when a later attempt owns the run."""
        if self.ranks.leads and self.run.superseded(self.attempt):
            raise Superseded

    def _must_be_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise RunError(
                f"{name} is {value} after step {self.t}: lower optim.lr "
                f"(now {self.config.optim.lr:g}) or check the images",
                reason="nan",
            )

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
