"""One turn of a job on a compute node, as its attendant sees it: who signalled, and what now.

Standard library only: this is what runs inside the job.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rpat import journal
from rpat.journal import Journal
from rpat.rundir import Attempt, RunDir
from rpat_tui.launch.slurm import parse

SAVED = 85
STALLED = 3
"""Turns that begin at the same step, after which there is no further one."""

SHORT = 5.0
"""Seconds for a question whose answer is good to have, while a trainer waits to be started."""

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
        self._output = run.printed(self.job)
        self._begun = _size(self._output)

    def is_wanted(self) -> bool:
        """Return whether this job may start: not taken back, and no newer one was submitted."""
        return self.run.is_wanted(self.submission)

    def facts(self, attempt: Attempt) -> dict[str, Any]:
        """Return what the attempt's first record says of the job.

        `printed` is how many bytes the job's earlier turns have printed; `left` is how the node of
        its last turn is, where that turn has left no word.
        """
        keys = {
            "node": "SLURMD_NODENAME", "cluster": "SLURM_CLUSTER_NAME", "gpus": "SLURM_JOB_GPUS",
            "partition": "SLURM_JOB_PARTITION",
        }  # fmt: skip
        known = {key: self.env[name] for key, name in keys.items() if self.env.get(name)}
        return {
            "job": self.job, "restart": self.restart, "submission": self.submission,
            "token": f"{self.job}.{self.restart}", "printed": self._begun, **known,
            **self._left(attempt),
        }  # fmt: skip

    def _left(self, attempt: Attempt) -> dict[str, str]:
        """Return the state of the node that this job was on before, if it vanished from there."""
        earlier = [a for a in self.run.attempts() if a.number < attempt.number][-1:]
        for last in earlier if self.restart else ():
            records = _records(last.attendant)
            about = records[0].get("slurm", {}) if records else {}
            spoke = any(record["kind"] in ("signal", "end") for record in records)
            if about.get("job") == self.job and about.get("node") and not spoke:
                said = self._ask(["sinfo", "-h", "-N", "-n", about["node"], "-o", "%T|%E"], SHORT)
                return {"left": parse.node(said)} if said else {}
        return {}

    def hear(self, heard: list[str], log: Journal | None = None) -> None:
        """Write each signal down, then ask Slurm why: it forgets soon, and may kill before the end.

        `log` is the attendant's journal.
        """
        if not set(heard) - self._asked:
            return
        self._asked |= set(heard)
        with suppress(OSError):  # a full disk: the trainer's end is still waited for
            if log is not None:
                log.write("signal", heard=[*heard])
        known = self._why(heard)
        if known and self.why in ("", "signal"):
            self.why = known
        with suppress(OSError):
            if log is not None and self.why:
                log.write("signal", heard=[*heard], why=self.why)

    def verdict(self, attempt: Attempt, heard: list[str], code: int) -> dict[str, Any]:
        """Return why the job was signalled, and whether it should get another turn."""
        self.hear(heard)
        why = self.why
        if heard and why in ("", "signal"):
            why = self._printed() or why
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
        """Return a cause of `_DUE` in `parse`, `signal`, or '' where Slurm does not say."""
        known = self._ask(["scontrol", "show", "job", "-o", self.job])
        job = parse.fields(known or "")
        if job.get("PreemptTime", "None") not in ("None", "N/A", "Unknown", ""):
            return "preempted"
        if printed := self._printed():
            return printed
        if known is None:
            return ""
        try:
            end = time.mktime(time.strptime(job.get("EndTime", ""), "%Y-%m-%dT%H:%M:%S"))
        except ValueError:
            return "signal"
        warning = float(self.env.get("RPAT_WARNING") or 120)
        near = end - time.time() < warning + SLACK
        return "time limit" if near and "SIGUSR1" in heard else "signal"

    def _printed(self) -> str:
        """Return why Slurm ends this turn, as it has printed it into the job's output."""
        try:
            with self._output.open("rb") as stream:
                stream.seek(self._begun)
                return parse.due_to(stream.read().decode("utf-8", "replace"))
        except OSError:
            return ""

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

    def _ask(self, words: list[str], limit: float = 20.0) -> str | None:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
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


def _records(path: Path) -> list[journal.Record]:
    try:
        return [record for record, _ in journal.read(path, 0)]
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _content(attempt: Attempt) -> str:
    try:
        return attempt.stop.read_text("utf-8").strip()
    except OSError:
        return ""
