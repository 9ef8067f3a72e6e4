"""The stand-in core: a plausible journal, checkpoints, stop requests, and misbehaviour.

Its orders are words in the run's note, such as `pace=0.01 crash=3`:

    pace=S      seconds a step (default 0.005)
    per_epoch=N steps an epoch (default 5)
    crash=E     raise in epoch E, in the first attempt only
    nan=E       journal a non-finite loss in epoch E, then fail with reason nan
    oom=E       fail with an out-of-memory error in epoch E
    eat=E       fill a gigabyte of memory in epoch E
    exit=C      leave with exit code C at once, without a word
    hang=1      stop journaling and ignore stop requests
    tear=E      die in the middle of a line in epoch E, first attempt only

An evaluation or a study takes its orders from its own note, and from words of its run's note that
begin with `eval.`, such as `eval.aa=5`:

    pace=S      seconds a batch (default 0.005)
    batches=N   batches a trial (default 4)
    crash=N     raise before batch N, in the first attempt only
    aa=P        AutoAttack leaves P points more than PGD-20 (default -2)
    weights=D   the digit that the weights' digest consists of (default 0, as of a run)

Each value is a function of (seed, epoch, step), so that two executions agree. After a record is
written, its step is appended to `acks` in the attempt's folder: an acknowledged row.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rpat.config import RunConfig
from rpat.identity import process_identity
from rpat.jobs import KINDS
from rpat.journal import VERSION, Journal
from rpat.rundir import Attempt, RunDir, read_json, write_json

SAVED, SUPERSEDED = 85, 86


def value(seed: int, step: int) -> float:
    """A number that looks like a metric and depends on the position alone."""
    return round(50 + 40 * math.sin(seed + step / 7), 6)


def orders(run: RunDir) -> dict[str, float]:
    """The orders in a run's note."""
    words = [w.partition("=") for w in read_json(run.meta)["note"].split() if "=" in w]
    return {key: float(number) for key, _, number in words}


class Core:
    """One attempt of the stand-in."""

    def __init__(self, folder: Path) -> None:
        self.run = RunDir(folder)
        self.attempt = Attempt(folder, int(os.environ["RPAT_ATTEMPT"]))
        self.orders = orders(self.run)
        self.state = self.run.checkpoints / "last.json"
        self.log = Journal(self.attempt.journal)
        self.heard = ""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self.hear)

    def hear(self, number: int, frame: Any) -> None:
        self.heard = signal.Signals(number).name

    def main(self) -> int:
        if "exit" in self.orders:
            return int(self.orders["exit"])
        start = json.loads(self.state.read_text())["step"] if self.state.exists() else 0
        self.begin(start)
        return self.work(start)

    def begin(self, start: int) -> None:
        self.log.write(
            "begin", v=VERSION, attempt=self.attempt.number, from_step=start, **process_identity(),
            versions={"torch": "none"}, device="cpu", device_name="stand-in", threads=1,
        )  # fmt: skip
        self.log.write(
            "notice", what="data", source="embedded", fingerprint="f" * 64, classes=10,
            train=100, test=20, val=0,
        )  # fmt: skip

    def work(self, start: int) -> int:
        raise AssertionError("a kind of job says what its work is")

    def asked(self) -> str:
        if "hang" in self.orders:
            time.sleep(3600)
        if self.attempt.stop.exists():
            return self.attempt.stop.read_text().strip() or "stop"
        return self.heard

    def stop(self, word: str, step: int) -> int:
        self.save(step)
        self.log.write("stop", word=word, step=step, sync=True)
        return SAVED

    def fail(self, reason: str, message: str) -> None:
        self.log.write("error", reason=reason, message=message, traceback="", sync=True)
        sys.exit(1)

    def write(self, kind: str, step: int, **values: Any) -> None:
        self.log.write(kind, step=step, **values)
        with (self.attempt.path / "acks").open("a") as stream:
            stream.write(f"{kind} {step}\n")

    def save(self, step: int) -> None:
        if not self.run.superseded(self.attempt):
            write_json(self.state, {"step": step})


class Training(Core):
    """A training run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.config = RunConfig.from_dict(read_json(self.run.config)["config"])

    def work(self, start: int) -> int:
        per_epoch = int(self.orders.get("per_epoch", 5))
        total = self.config.schedule.epochs * per_epoch
        self.log.write("notice", what="plan", steps=total, epochs=self.config.schedule.epochs)
        for step in range(start + 1, total + 1):
            if word := self.asked():
                return self.stop(word, step - 1)
            time.sleep(self.orders.get("pace", 0.005))
            self.write(
                "log", step, epoch=(step - 1) // per_epoch,
                values={"step/loss": value(self.config.seed, step)},
            )  # fmt: skip
            if step % per_epoch == 0 and not self.finish_epoch(step // per_epoch, step):
                return SUPERSEDED
        for kind in ("best", "final"):
            self.evaluate(kind, total)
        self.log.write("end", epoch=self.config.schedule.epochs, step=total, sync=True)
        return 0

    def finish_epoch(self, epoch: int, step: int) -> bool:
        if self.run.superseded(self.attempt):
            return False
        self.misbehave(epoch, step)
        seed = self.config.seed
        names = ("train/loss", "test/clean_acc", "test/pgd_acc", "test/logit_mse", "lr")
        values = {name: value(seed + i, step) for i, name in enumerate(names)}
        values |= {"time/epoch_s": 0.1, "time/eval_s": 0.1, "time/images_per_s": 1000.0}
        self.write("epoch", step, epoch=epoch, values=values)
        self.save(step)
        return True

    def misbehave(self, epoch: int, step: int) -> None:
        first = self.attempt.number == 1
        if self.orders.get("crash") == epoch and first:
            raise RuntimeError("the stand-in crashed as told")
        if self.orders.get("nan") == epoch:
            self.write("log", step, epoch=epoch, values={"train/loss": float("nan")})
            self.fail("nan", "train/loss is nan")
        if self.orders.get("oom") == epoch:
            self.fail("out of memory", "OutOfMemoryError: CUDA out of memory")
        if self.orders.get("eat") == epoch:
            self.eaten = b"x" * (1 << 30)
            time.sleep(3600)
        if self.orders.get("tear") == epoch and first:
            with self.attempt.journal.open("ab") as stream:
                stream.write(b'{"seq":999,"t":1.0,"kind":"epo')
            os.kill(os.getpid(), signal.SIGKILL)

    def evaluate(self, kind: str, step: int) -> None:
        number = value(self.config.seed, 1)
        self.log.write(
            "eval", checkpoint=kind, epoch=1, network="online", weights="0" * 64,
            selected_on="test" if kind == "best" else "", split="test", n=20, of=20,
            indices="0" * 64, seed=self.config.seed, step=step, dtype="float32", attack="pgd",
            norm=self.config.threat.norm, epsilon=self.config.threat.epsilon, steps=20,
            step_size=self.config.eval.step_size, restarts=1, note="", clean=number,
            robust=number / 2,
        )  # fmt: skip


class Examination(Core):
    """An evaluation or a study: networks, each against every attack, batch by batch."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        values = read_json(self.run.config)
        self.job = KINDS[values["kind"]].from_dict(values["config"])
        if self.job.subject.run:
            told = orders(RunDir(folder.parent / self.job.subject.folder))
            found = {k.partition(".")[2]: v for k, v in told.items() if k.startswith("eval.")}
            self.orders = found | self.orders

    def work(self, start: int) -> int:
        job, batches = self.job, int(self.orders.get("batches", 4))
        subjects = [
            (word, network)
            for word in (job.subject.checkpoints if job.subject.run else ("file",))
            for network in job.subject.networks
        ]
        names = job.attacks if job.KIND == "eval" else (job.study,)
        trials = [(*subject, name) for subject in subjects for name in names]
        total = len(trials) * batches
        for step in range(start + 1, total + 1):
            word, network, name = trials[(step - 1) // batches]
            if asked := self.asked():
                return self.stop(asked, step - 1)
            if self.run.superseded(self.attempt):
                return SUPERSEDED
            if self.orders.get("crash") == step and self.attempt.number == 1:
                raise RuntimeError("the stand-in crashed as told")
            time.sleep(self.orders.get("pace", 0.005))
            prefix = "" if network == "online" else f"{network}/"
            self.write(
                "log", step, epoch=0, steps=total, stage=f"{word} {name}: part",
                values={
                    f"{prefix}{word}/{name}/bound": round(90 - step / 8, 6),
                    "time/passes_per_s": 100.0,
                },
            )  # fmt: skip
            if step % batches == 0:
                self.finish(word, network, name, step)
            self.save(step)
        self.log.write("end", epoch=0, step=total, sync=True)
        return 0

    def finish(self, word: str, network: str, name: str, step: int) -> None:
        """Journal what a trial found, and keep the decision on every image."""
        job, n = self.job, self.job.images.n or len(self.job.images.indices) or 20
        file = self.run.result(word, network, name)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(f"{word} {network} {name} images={getattr(job, 'keep', False)}".encode())
        every = {
            "checkpoint": word, "network": network, "epoch": 1,
            "weights": str(int(self.orders.get("weights", 0))) * 64,
            "selected_on": "test" if word == "best" else "", "split": job.images.split, "n": n,
            "of": 20, "indices": f"{n:064d}" if n < 20 else "0" * 64, "norm": job.threat.norm,
            "epsilon": job.threat.epsilon, "seed": job.seed, "tf32": job.numerics.tf32,
            "normalize": job.model.normalize, "batch_size": job.batch_size, "file": file.name,
        }  # fmt: skip
        clean = value(job.seed, 1)
        if job.KIND == "study":
            self.log.write("study", study=job.study, step=step, sync=True, **every,
                           steps=job.attack.steps, average=job.average,
                           result=looked(job, clean))  # fmt: skip
            return
        pgd, pgd20 = name == "pgd", clean / 2
        left = {"pgd": pgd20, "fgsm": clean * 0.6}.get(name, pgd20 + self.orders.get("aa", -2))
        self.log.write(
            "eval", step=step, sync=True, **every, attack=name,
            steps=job.attack.steps if pgd else 0, step_size=job.attack.step_size if pgd else 0.0,
            start=job.attack.start if pgd else "package", restarts=job.restarts if pgd else 1,
            dtype=job.numerics.dtype, bn=job.numerics.bn, differs=job.differs, note="",
            clean=clean, robust=left, seconds=0.1,
            evidence={
                "gradient_norm": 0.1, "zero_gradients": 0.0, "losses": [1.0, 1.5],
                "predicted_classes": 10, "bound": {"apgd-ce": left + 0.5, "square": left + 0.5},
                "warnings": [],
            },
        )  # fmt: skip


def looked(job: Any, clean: float) -> dict[str, Any]:
    """What a study finds of a network."""
    if job.study == "smoothness":
        alphas = [i / (job.alphas - 1) for i in range(job.alphas)]
        means = {
            "n": 20, "deviation": [a * (1 - a) for a in alphas], "deviation_mid": 0.25,
            "second_max": 0.1, "second_mean": 0.05, "n_jacobian": 0, "jacobian_change": None,
            "jacobian_clean": None, "jacobian_adv": None, "jacobian_relative": None,
            "jacobian_last": None,
        }  # fmt: skip
        found = {"alphas": alphas, "clean_acc": clean, "robust_acc": clean / 2}
        return found | dict.fromkeys(("all", "success", "failure"), means)
    means = {
        f"{name}{case}": size
        for name in ("mse", "clean_mid", "mid_pert")
        for case, size in (("", 1.5), ("_success", 2.0), ("_failure", 1.0))
    }
    means |= {"ratio": 0.5, "clean_acc": clean, "perturbed_acc": clean / 2}
    means |= {"n_success": 10, "n_failure": 10}
    return {"noise": means, "pgd": means, "release": {"noise": means, "pgd": means}}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    kind = read_json(RunDir(folder).config)["kind"]
    core = (Training if kind == "train" else Examination)(folder)
    try:
        code = core.main()
    except Exception as error:
        core.log.write(
            "error", reason="error", message=f"{type(error).__name__}: {error}", traceback="",
            sync=True,
        )  # fmt: skip
        raise
    sys.exit(code)
