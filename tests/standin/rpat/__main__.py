"""The stand-in trainer: a plausible journal, checkpoints, stop requests, and misbehaviour.

Its orders are words in the run's note, such as `pace=0.01 crash=3`:

    pace=S      seconds a step (default 0.005)
    per_epoch=N steps an epoch (default 5)
    crash=E     raise in epoch E, in the first attempt only
    nan=E       journal a non-finite loss in epoch E, then fail with reason nan
    oom=E       fail with an out-of-memory error in epoch E
    exit=C      leave with exit code C at once, without a word
    hang=1      stop journaling and ignore stop requests
    tear=E      die in the middle of a line in epoch E, first attempt only

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
from rpat.journal import VERSION, Journal
from rpat.rundir import Attempt, RunDir, read_json, write_json

SAVED, SUPERSEDED = 85, 86


def value(seed: int, step: int) -> float:
    """A number that looks like a metric and depends on the position alone."""
    return round(50 + 40 * math.sin(seed + step / 7), 6)


class Core:
    """One attempt of the stand-in."""

    def __init__(self, folder: Path) -> None:
        self.run = RunDir(folder)
        self.attempt = Attempt(folder, int(os.environ["RPAT_ATTEMPT"]))
        self.config = RunConfig.from_dict(read_json(self.run.config)["config"])
        words = [w.partition("=") for w in read_json(self.run.meta)["note"].split() if "=" in w]
        self.orders = {key: float(number) for key, _, number in words}
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
        self.log.write(
            "begin", v=VERSION, attempt=self.attempt.number, from_step=start, **process_identity(),
            versions={"torch": "none"}, device="cpu", device_name="stand-in", threads=1,
        )  # fmt: skip
        self.log.write(
            "notice", what="data", source="embedded", fingerprint="f" * 64, classes=10,
            train=100, test=20, val=0,
        )  # fmt: skip
        per_epoch = int(self.orders.get("per_epoch", 5))
        total = self.config.schedule.epochs * per_epoch
        self.log.write("notice", what="plan", steps=total, epochs=self.config.schedule.epochs)
        for step in range(start + 1, total + 1):
            if word := self.asked():
                self.save(step - 1)
                self.log.write("stop", word=word, step=step - 1, sync=True)
                return SAVED
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

    def asked(self) -> str:
        if "hang" in self.orders:
            time.sleep(3600)
        if self.attempt.stop.exists():
            return self.attempt.stop.read_text().strip() or "stop"
        return self.heard

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
        if self.orders.get("tear") == epoch and first:
            with self.attempt.journal.open("ab") as stream:
                stream.write(b'{"seq":999,"t":1.0,"kind":"epo')
            os.kill(os.getpid(), signal.SIGKILL)

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


if __name__ == "__main__":
    core = Core(Path(sys.argv[1]))
    try:
        code = core.main()
    except Exception as error:
        core.log.write(
            "error", reason="error", message=f"{type(error).__name__}: {error}", traceback="",
            sync=True,
        )  # fmt: skip
        raise
    sys.exit(code)
