"""One turn of a job on a compute node, as its attendant sees it: who signalled, and what now.

Standard library only: this is what runs inside the job.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from rpat import journal
from rpat.rundir import Attempt, RunDir

SAVED = 85
STALLED = 3
"""Turns that begin at the same step, after which there is no further one."""

SLACK = 120.0
"""Seconds that Slurm's warning may come before it is due, and some for the call itself."""


class Turn:
    """What the attendant knows of the job around it."""

    def __init__(self, run: RunDir, submission: int, env: Mapping[str, str] = os.environ) -> None:
        self.run, self.submission, self.env = run, submission, env
        self.job = env.get("SLURM_JOB_ID", "")
        self.restart = int(env.get("SLURM_RESTART_COUNT") or 0)
        self.why = ""
        self._asked: set[str] = set()

    def is_wanted(self) -> bool:
        """Return whether this job may start: not taken back, and no newer one was submitted."""
        return self.run.is_wanted(self.submission)

    def facts(self) -> dict[str, Any]:
        """Return what the attempt's first record says of the job."""
        keys = {
            "node": "SLURMD_NODENAME", "cluster": "SLURM_CLUSTER_NAME", "gpus": "SLURM_JOB_GPUS",
            "partition": "SLURM_JOB_PARTITION",
        }  # fmt: skip
        known = {key: self.env[name] for key, name in keys.items() if self.env.get(name)}
        return {
            "job": self.job, "restart": self.restart, "submission": self.submission,
            "token": f"{self.job}.{self.restart}", **known,
        }  # fmt: skip

    def hear(self, heard: list[str]) -> None:
        """Ask Slurm why, once for each signal and soon after it: later it has forgotten."""
        if set(heard) - self._asked:
            self._asked |= set(heard)
            known = self._why(heard)
            if known and self.why in ("", "signal"):
                self.why = known

    def verdict(self, attempt: Attempt, heard: list[str], code: int) -> dict[str, Any]:
        """Return why the job was signalled, and whether it should get another turn."""
        self.hear(heard)
        why = self.why
        asked = _content(attempt)
        by_signal = asked.startswith("SIG")
        ended = code == SAVED or code < 0  # saved, or killed because it did not in time
        invited = "SIGUSR1" in heard and ("SIGTERM" not in heard or why == "preempted")
        invited |= why == "preempted"
        because = ""
        if not (by_signal and ended and invited):
            because = "not asked for"
        elif not self.is_wanted() or self.run.superseded(attempt):
            because = "nobody wants it any more"
        elif self.restart + 1 >= int(self.env.get("RPAT_TURNS") or 20):
            because = "turns"
        elif why == "time limit" and stalled(self.run):
            because = "no progress"
        return {"heard": heard, "why": why, "again": not because, "because": because}

    def _why(self, heard: list[str]) -> str:
        """Return `preempted`, `time limit`, `signal`, or '' where Slurm does not say."""
        known = self._ask(["scontrol", "show", "job", "-o", self.job])
        if known is None:
            return ""
        from rpat_tui.launch.slurm.parse import fields

        job = fields(known)
        if job.get("PreemptTime", "None") not in ("None", "N/A", "Unknown", ""):
            return "preempted"
        try:
            end = time.mktime(time.strptime(job.get("EndTime", ""), "%Y-%m-%dT%H:%M:%S"))
        except ValueError:
            return "signal"
        warning = float(self.env.get("RPAT_WARNING") or 120)
        near = end - time.time() < warning + SLACK
        return "time limit" if near and "SIGUSR1" in heard else "signal"

    def requeue(self) -> str:
        """Ask Slurm to start this job again; returns '' or why it will not."""
        try:
            done = subprocess.run(
                ["scontrol", "requeue", self.job], capture_output=True, text=True, timeout=60,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return done.stderr.strip() or f"exit {done.returncode}" if done.returncode else ""

    def _ask(self, words: list[str]) -> str | None:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return None if done.returncode else done.stdout


def stalled(run: RunDir) -> bool:
    """Return whether the last turns all began at the same step."""
    attempts = run.attempts()[-STALLED:]
    return len(attempts) == STALLED and len({_from_step(a) for a in attempts}) == 1


def _from_step(attempt: Attempt) -> int | None:
    try:
        for record, _ in journal.read(attempt.journal, 0):
            step = record.get("from_step")
            return int(step) if step is not None else None
    except OSError:
        pass
    return None


def _content(attempt: Attempt) -> str:
    try:
        return attempt.stop.read_text("utf-8").strip()
    except OSError:
        return ""
