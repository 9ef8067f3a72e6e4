"""Slurm's commands, called with a cleaned environment and a limit on time."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rpat_tui.launch.slurm import parse
from rpat_tui.launch.slurm.parse import Job

LIMIT = 30.0
"""Seconds that a command may take; without a controller Slurm's own give up after 9."""

KEPT = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "PYTHONPATH",
    "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "SLURM_CONF", "SLURM_CLUSTERS",
)  # fmt: skip
"""Variables that jobs get, beside LC_… and RPAT_… (without where news are sent to)."""


class Silent(Exception):
    """Slurm gave no answer: nothing is known, and nothing has changed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a submission: a job's number, or why there is none."""

    job: str = ""
    problem: str = ""

    @property
    def is_temporary(self) -> bool:
        """Whether it may be asked for again later."""
        return parse.is_temporary(self.problem)

    @property
    def is_unsure(self) -> bool:
        """Whether there may be a job all the same."""
        return parse.is_unsure(self.problem)


def clean(env: Mapping[str, str], more: Sequence[str] = ()) -> dict[str, str]:
    """Return the part of an environment that jobs get: no secrets, no outer job's variables."""
    return {
        name: value
        for name, value in env.items()
        if name in KEPT or name in more or re.match(r"LC_|RPAT_(?!NOTIFY|SLURM|ATTEMPT)", name)
    }


class Commands:
    """The cluster that the commands on this machine talk to."""

    def __init__(self, env: Mapping[str, str] | None = None, limit: float = LIMIT) -> None:
        self.env = dict(os.environ if env is None else env)
        self.limit = limit
        self.accounting: bool | None = None
        """Whether `sacct` answers; None until it was asked."""

    def queue(self) -> dict[str, Job]:
        """Return this user's jobs that the controller knows, by name; raises `Silent`."""
        words = ["squeue", "--me", "-h", "-t", "all", "-O", parse.QUEUE_FORMAT]
        return parse.queue(self._ask(words))

    def history(self, ids: Sequence[str], names: Sequence[str] = ()) -> dict[str, Job]:
        """Return what accounting keeps of jobs, by name; nothing where there is none."""
        if self.accounting is False or not (ids or names):
            return {}
        words = ["sacct", "-X", "-n", "-P", "-o", parse.HISTORY_FORMAT]
        words += ["-j", ",".join(ids)] if ids else ["--name", ",".join(names), "-S", "now-14days"]
        try:
            found = parse.history(self._ask(words))
        except Silent as why:
            if "disabled" not in str(why) and "not here" not in str(why):
                raise
            self.accounting = False
            return {}
        self.accounting = True
        return found

    def submit(self, words: Sequence[str], script: str, more: Sequence[str] = ()) -> Reply:
        """Submit a script; it may have become a job also where the reply names none."""
        try:
            done = subprocess.run(
                ["sbatch", *words], input=script, capture_output=True, text=True,
                timeout=self.limit, env=clean(self.env, more), cwd="/", check=False,
            )  # fmt: skip
        except FileNotFoundError:
            return Reply(problem="sbatch is not on this machine")
        except (OSError, subprocess.TimeoutExpired) as error:
            return Reply(problem=f"sbatch gave no answer ({error})")
        if done.returncode == 0 and (job := parse.job_id(done.stdout)):
            return Reply(job=job)
        return Reply(problem=parse.one_line(done.stderr) or f"exit {done.returncode} of sbatch")

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel jobs; those that have ended are left alone. Raises `Silent`."""
        self._ask(["scancel", *ids])

    def node(self, name: str) -> str:
        """Return the state of a node and why, as `down* (Not responding)`; '' if nobody says."""
        try:
            text = self._ask(["sinfo", "-h", "-N", "-n", name, "-o", "%T|%E"])
        except Silent:
            return ""
        return parse.node(text)

    def has_gpus(self) -> bool:
        """Return whether any node has GPUs that can be asked for; raises `Silent`."""
        return "gpu" in self._ask(["sinfo", "-h", "-o", "%G"])

    def settings(self) -> dict[str, str]:
        """Return the controller's settings; raises `Silent`."""
        text = self._ask(["scontrol", "show", "config"])
        pairs = (line.partition("=") for line in text.splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs if value}

    def partitions(self) -> list[dict[str, str]]:
        """Return the partitions with their limits; raises `Silent`."""
        text = self._ask(["scontrol", "show", "partition", "-o"])
        return [parse.fields(line) for line in text.splitlines() if line.strip()]

    def _ask(self, words: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=self.limit, env=self.env,
                stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise Silent(f"{words[0]} is not here: this machine is not part of a cluster") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Silent(f"{words[0]} gave no answer ({error})") from error
        if done.returncode:
            raise Silent(parse.one_line(done.stderr) or f"{words[0]} ended with {done.returncode}")
        return done.stdout
