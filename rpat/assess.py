"""Evaluations: each subject against each attack, as records in the journal.

The end of a training run (`of_training`) and a job of its own (`rpat eval`) are the same code: a
job says which weights, images, attacks and settings; each evaluation becomes one `eval` record
and one file with the decision on every image. A job of its own counts passes as its steps,
journals its progress, and keeps a state after each batch from which another attempt goes on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rpat import checkpoint, evaluate, journal
from rpat.attacks import autoattack
from rpat.attacks.ensembles import ensemble
from rpat.config import AttackConfig, RunConfig
from rpat.data.dataset import DataSet, Images, balanced
from rpat.data.loader import pixels
from rpat.errors import ConfigError
from rpat.jobs import EvalJob, Job, NumericsConfig, SubjectConfig
from rpat.journal import Journal, Record
from rpat.rundir import RunDir, replace
from rpat.step import mode
from rpat.subjects import Subject
from rpat.trial import State, Trial, evidence
from rpat.twin import Twin

KEY = (
    "checkpoint", "network", "weights", "attack", "norm", "epsilon", "steps", "step_size",
    "start", "restarts", "split", "n", "indices", "seed", "dtype", "bn", "tf32", "normalize",
    "batch_size", "folded",
)  # fmt: skip
"""What makes two evaluations the same one."""

PACE = 5.0
"""Seconds between two journaled looks at an evaluation under way."""


def of_training(config: RunConfig, uid: str, networks: Iterable[str]) -> EvalJob:
    """Return the evaluation at the end of a run: PGD on the best and final weights."""
    e = config.eval
    return EvalJob(
        subject=SubjectConfig(run=uid, networks=tuple(networks)),
        data=config.data,
        model=config.model,
        threat=config.threat,
        attack=AttackConfig(
            steps=e.steps, step_size=e.step_size, start=e.start, order=e.order,
            reduction=e.reduction, floor=e.floor,
        ),
        seed=config.seed,
        batch_size=e.batch_size,
        attacks=("pgd",),
        numerics=NumericsConfig(folded=config.mode != "reference"),
    )  # fmt: skip


def chosen_images(job: Job, data: DataSet) -> Images:
    """Return the images that a job looks at; `ConfigError` where the split cannot give them."""
    wanted, images = job.images, split_of(job, data)
    if wanted.n > len(images):
        raise ConfigError(f"images.n is {wanted.n}, of {len(images)} {wanted.split} images")
    if wanted.n:
        return images.take(balanced(images, wanted.n, f"aa_n/{data.name}"))
    if wanted.indices:
        rows = {int(index): row for row, index in enumerate(images.index)}
        for index in wanted.indices:
            if index not in rows:
                raise ConfigError(
                    f"images.indices names {index}, which is none of the {len(images)} "
                    f"{wanted.split} images"
                )
        return images.take(torch.tensor([rows[index] for index in wanted.indices]))
    return images


def split_of(job: Job, data: DataSet) -> Images:
    """Return the whole split that a job looks at."""
    images = {"test": data.test, "train": data.train, "val": data.val}[job.images.split]
    if images is None:
        raise ConfigError("images.split is val, but no images were held out (data.val_n is 0)")
    return images


class Assessment:
    """A job under way: what is done, what is being tried, what it has cost."""

    def __init__(
        self,
        run: RunDir,
        job: EvalJob,
        data: DataSet,
        log: Journal,
        device: torch.device,
        check: Callable[[], None],
        *,
        check_place: Callable[[], None] = lambda: None,
        step: int = 0,
        saved: dict[str, Any] | None = None,
        own: bool = True,
    ) -> None:
        """Prepare a job; `check` is called about once a second and raises to interrupt.

        `check_place` raises only when another attempt owns the run: it guards what is written.

        `own` says that the run directory is the job's; otherwise it is a training run's, whose
        last step is `step`. `saved` is the content of `last.pt`, where there is one.
        """
        self.run, self.job, self.data, self.log = run, job, data, log
        self.device, self.own = device, own
        self.check, self.check_place = check, check_place
        self.images = chosen_images(job, data).to(device)
        self.saved = saved or {}
        self.base = self.saved.get("base", step)
        """Steps before the present trial began."""
        self.kept = self.saved.get("t", step)
        """Steps whose work is saved."""
        self.done = {
            _key(record): record
            for record in journal.counted((attempt.journal for attempt in run.attempts()), "eval")
        }
        self.later = 0.0
        """Passes that the evaluations after the present one will cost."""
        self.written = self.kept  # a step is journaled once, also over attempts
        self.looked = 0.0

    def go(self, subjects: Iterable[Subject]) -> None:
        """Carry out every evaluation that no earlier attempt has journaled."""
        tasks = [(subject, attack) for subject in subjects for attack in self.job.attacks]
        open_tasks = [task for task in tasks if _key(self._settings(*task)) not in self.done]
        for number, (subject, attack) in enumerate(open_tasks):
            self.check()
            record = self._settings(subject, attack)
            self.later = sum(self._cost(later) for _, later in open_tasks[number + 1 :])
            known = next((r for r in self.done.values() if _alike(r, record)), None)
            if known is not None:  # best and final may be one network
                record |= {name: known[name] for name in RESULT}
            else:
                record |= self._measure(subject, attack, _key(record))
            self.log.write("eval", sync=self.own, step=self.base, **record)
            self.done[_key(record)] = record
            if self.own:
                self._save({"t": self.base, "base": self.base})
            self._sweep()
        self._sweep()

    # ----------------------------------------------------------------- one evaluation

    def _settings(self, subject: Subject, attack: str) -> Record:
        """Return an evaluation's settings as they are journaled."""
        job = self.job
        pgd, fgsm = attack == "pgd", attack == "fgsm"
        package = not (pgd or fgsm)
        return {
            "checkpoint": subject.checkpoint,
            "epoch": subject.epoch,
            "network": subject.network,
            "weights": subject.weights,
            "selected_on": subject.selected_on,
            "split": job.images.split,
            "n": len(self.images),
            "of": len(split_of(job, self.data)),
            "indices": evaluate.index_digest(self.images.index),
            "attack": attack,
            "norm": job.threat.norm,
            "epsilon": job.threat.epsilon,
            "steps": job.attack.steps if pgd else int(fgsm),
            "step_size": job.attack.step_size if pgd else job.threat.epsilon if fgsm else 0.0,
            "start": job.attack.start if pgd else "zero" if fgsm else "package",
            "restarts": job.restarts if pgd else 1,
            "seed": job.seed,
            "dtype": job.numerics.dtype,
            "bn": job.numerics.bn,
            "tf32": job.numerics.tf32,
            "normalize": subject.normalize,
            "batch_size": job.batch_size,
            "differs": job.differs,
            **({"folded": True} if job.numerics.folded else {}),
            "note": autoattack.remark(self.data.num_classes) if package else "",
        }

    def _measure(self, subject: Subject, attack: str, key: tuple[Any, ...]) -> Record:
        """Put one network on trial; returns the `RESULT` part of its record."""
        clock, numerics = time.monotonic(), self.job.numerics
        net = subject.make().to(self.device)
        if numerics.dtype == "bfloat16":
            net = Bfloat16(net)
        if numerics.folded:
            net = Twin(net)
        name = "-".join(map(str, key))
        state = State(**self.saved["state"]) if self.saved.get("trial") == name else None
        parts = ensemble(self.job, attack, subject.epoch, self.data.num_classes)
        file = self.run.result(subject.checkpoint, subject.network, attack)
        trial = Trial(
            net, self.images, parts, batch_size=self.job.batch_size, state=state,
            tick=lambda trial: self._look(trial, subject, attack),
            saved=lambda trial: self._keep_state(trial, name, subject, attack),
            broken=lambda trial, rows, x: self._keep_images(file.stem, trial, rows, x),
        )  # fmt: skip
        with evaluate.full_precision(numerics.tf32), mode(net, numerics.bn == "train"):
            state = trial.run()
        if self.own:
            self.base += max(int(trial.units), 1)
        self._write(file, state)
        return {
            "clean": evaluate.percent(state.clean),
            "robust": evaluate.percent(state.robust),
            "seconds": round(time.monotonic() - clock, 3),
            "evidence": evidence(state),
            "file": file.name,
        }

    def _cost(self, attack: str) -> float:
        parts = ensemble(self.job, attack, 0, self.data.num_classes)
        return len(self.images) * (3 + sum(part.cost for part in parts))

    # ----------------------------------------------------------------- while it goes on

    def _look(self, trial: Trial, subject: Subject, attack: str) -> None:
        """Answer to requests; journal now and then how far the trial is."""
        self.check()
        step = self.base + int(trial.units)
        if not self.own or time.monotonic() - self.looked < PACE or step <= self.written:
            return
        self.looked, self.written = time.monotonic(), step
        online = "" if subject.network == "online" else f"{subject.network}/"
        self.log.write(
            "log", epoch=0, step=step,
            steps=max(int(self.base + trial.total + self.later), step),
            stage=f"{subject.checkpoint} {attack}: {trial.stage}",
            values={
                f"{online}{subject.checkpoint}/{attack}/bound": trial.bound,
                "time/passes_per_s": trial.rate,
            },
        )  # fmt: skip

    def _keep_state(self, trial: Trial, name: str, subject: Subject, attack: str) -> None:
        if self.own and trial.state is not None:
            self._save({
                "t": self.base + int(trial.state.units), "base": self.base, "trial": name,
                "state": trial.state.plain(),
            })  # fmt: skip
        self._look(trial, subject, attack)

    def _save(self, content: dict[str, Any]) -> None:
        self.check_place()
        checkpoint.save(self.run.last, content)
        self.saved, self.kept = {}, content["t"]

    def _keep_images(self, stem: str, trial: Trial, rows: Tensor, x_adv: Tensor) -> None:
        """Put the images that a batch changed aside until the trial is over."""
        if not self.job.keep or trial.state is None:
            return
        self.check_place()
        folder = self.run.results / f".{stem}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{trial.state.part:02d}-{trial.state.batch:06d}.pt"
        checkpoint.save(file, {"rows": rows, "images": x_adv.cpu()})

    def _write(self, file: Any, state: State) -> None:
        """Write the decision on every image, and the adversarial images where they are kept."""
        columns: dict[str, Any] = {
            "index": self.images.index.cpu().numpy(),
            "label": self.images.labels.cpu().numpy(),
            "clean": state.answered.numpy(),
            "adversarial": state.predicted.numpy(),
        }
        if self.job.keep:
            x_adv = pixels(self.images.images).cpu()
            for part in sorted((file.parent / f".{file.stem}").glob("*.pt")):
                content = checkpoint.load(part)
                assert content is not None
                x_adv[content["rows"]] = content["images"]
            columns["images"] = x_adv.numpy()
        file.parent.mkdir(exist_ok=True)
        replace(file, lambda stream: np.savez(stream, **columns))

    def _sweep(self) -> None:
        """Remove the images put aside for trials whose records are written."""
        if self.own:
            for folder in self.run.results.glob(".*/"):
                shutil.rmtree(folder, ignore_errors=True)


RESULT = ("clean", "robust", "seconds", "evidence", "file")
"""What an evaluation finds, beside its settings."""


class Bfloat16(nn.Module):
    """A network that computes in bfloat16; images and logits stay float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to logits [B, C]."""
        logits: Tensor = self.net(x.to(torch.bfloat16)).float()
        return logits


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in KEY)


def _alike(known: Record, record: Record) -> bool:
    """Return whether two evaluations differ in nothing but the name of the weights."""
    if any(name not in known for name in RESULT):
        return False  # written by an earlier version
    return _key({**known, "checkpoint": ""}) == _key({**record, "checkpoint": ""})
