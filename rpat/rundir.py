"""Every file name inside a run directory, and the claims on it that must be atomic.

    config.json  provenance.json       frozen when the run is queued
    meta.json                          what people wrote: name, tags, note, …
    attempts/0001/journal.jsonl        written by the trainer: the truth about the run
    attempts/0001/attendant.jsonl      written by the trainer's parent process
    attempts/0001/monitor.jsonl        written by the worker
    attempts/0001/output.log           standard output and error
    attempts/0001/rank-1.json          why that rank of several failed; written by it
    attempts/0001/node-1.json          why the ranks of that other node failed; by their parent
    attempts/0001/stop                 a request: `stop`, `pause` or `kill`
    submissions/1.json                 a job that a cluster was asked to run; written by the worker
    submissions/1.withdrawn            nobody wants that job any more
    checkpoints/                       last.pt, best-<network>.pt, final-<network>.pt
    results/                           what evaluations and studies decided, image by image

Standard library only.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a run: a numbered folder with files of its own."""

    run: Path
    number: int

    @property
    def path(self) -> Path:
        """The attempt's folder."""
        return self.run / "attempts" / f"{self.number:04d}"

    @property
    def journal(self) -> Path:
        """Records of the trainer."""
        return self.path / "journal.jsonl"

    @property
    def attendant(self) -> Path:
        """Records of the trainer's parent process."""
        return self.path / "attendant.jsonl"

    @property
    def monitor(self) -> Path:
        """Samples of the device, written by the worker."""
        return self.path / "monitor.jsonl"

    @property
    def output(self) -> Path:
        """Standard output and error of the trainer."""
        return self.path / "output.log"

    def node(self, number: int) -> Path:
        """Why the ranks of another node of several failed."""
        return self.path / f"node-{number}.json"

    def rank(self, number: int) -> Path:
        """Why one of several processes, which writes no journal, has failed."""
        return self.path / f"rank-{number}.json"

    @property
    def stop(self) -> Path:
        """The stop request."""
        return self.path / "stop"


@dataclass(frozen=True, slots=True)
class RunDir:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The frozen job: schema, uid, kind and the resolved config."""
        return self.path / "config.json"

    @property
    def provenance(self) -> Path:
        """Versions, host, command and code at the time of queueing."""
        return self.path / "provenance.json"

    @property
    def meta(self) -> Path:
        """What people wrote about the run."""
        return self.path / "meta.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of all weights."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The training state to go on from."""
        return self.checkpoints / "last.pt"

    def best(self, network: str) -> Path:
        """Weights of the epoch selected for a network."""
        return self.checkpoints / f"best-{network}.pt"

    def final(self, network: str) -> Path:
        """Weights after the last epoch."""
        return self.checkpoints / f"final-{network}.pt"

    def kept(self, network: str, epoch: int) -> Path:
        """Weights of an epoch kept by `keep_every`."""
        return self.checkpoints / f"epoch-{epoch:04d}-{network}.pt"

    @property
    def submissions(self) -> Path:
        """Folder of what was asked of a cluster, and of what its jobs printed."""
        return self.path / "submissions"

    def submission(self, number: int) -> Path:
        """What a cluster was asked for, the first time as 1."""
        return self.submissions / f"{number}.json"

    def printed(self, job: str) -> Path:
        """What a job of a cluster, and the cluster about it, printed outside of its attempts."""
        return self.submissions / f"slurm-{job}.out"

    def withdrawn(self, number: int) -> Path:
        """Present when nobody wants that job to run any more."""
        return self.submissions / f"{number}.withdrawn"

    def is_wanted(self, number: int) -> bool:
        """Return whether a submitted job may start: it is the newest and was not taken back."""
        return not self.withdrawn(number).exists() and not self.submission(number + 1).exists()

    @property
    def results(self) -> Path:
        """Folder of per-image results."""
        return self.path / "results"

    def result(self, checkpoint: str, network: str, name: str) -> Path:
        """Per-image results of an attack or a study on one network."""
        word, _, epoch = checkpoint.partition(":")
        kind = f"{word}-{int(epoch):04d}" if epoch else word
        return self.results / f"{kind}-{network}-{name}.npz"

    @property
    def home(self) -> Path | None:
        """The home folder the run belongs to, or None for a folder of its own."""
        return self.path.parent.parent if self.path.parent.name == "runs" else None

    def attempts(self) -> list[Attempt]:
        """Return the attempts made so far, oldest first."""
        try:
            names = [entry.name for entry in (self.path / "attempts").iterdir()]
        except FileNotFoundError:
            return []
        return [
            Attempt(self.path, n) for n in sorted(int(name) for name in names if name.isdigit())
        ]

    def take_attempt(self) -> Attempt:
        """Claim the next free attempt number; `mkdir` decides between rivals."""
        (self.path / "attempts").mkdir(exist_ok=True)
        number = max((a.number for a in self.attempts()), default=0) + 1
        while True:
            attempt = Attempt(self.path, number)
            try:
                attempt.path.mkdir()
                return attempt
            except FileExistsError:
                number += 1

    def superseded(self, attempt: Attempt) -> bool:
        """Return whether a later attempt has been claimed: this one must leave."""
        return any(other.number > attempt.number for other in self.attempts())


def find_weights(home: Path, word: str) -> Path | None:
    """Return the file of the weights that a config names, or None where it is not there (yet).

    `word` is the SHA-256 of a file in `<home>/weights`, or `run:FINGERPRINT:best|final`: the
    weights of a finished run of that config.
    """
    if not word.startswith("run:"):
        file = home / "weights" / f"{word}.pt"
        return file if file.is_file() else None
    _, fingerprint, kind = word.split(":")
    for folder in sorted((home / "runs").glob("r*")):
        run = RunDir(folder)
        file = run.best("online") if kind == "best" else run.final("online")
        try:
            known = read_json(run.config).get("fingerprint")
            if known == fingerprint and file.is_file() and run.final("online").is_file():
                return file
        except (OSError, ValueError):
            continue
    return None


def newest_code(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a run's provenance that says which code it executes now.

    The first facts are never changed; a run that was moved to other code has a `history`.
    """
    history = provenance.get("history") or [provenance]
    newest: Mapping[str, Any] = history[-1]
    return newest


def replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its target, flush it to the disk and rename it over the target."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Replace a JSON file atomically."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace(path, lambda stream: stream.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file."""
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return values


def new_uid() -> str:
    """Return a 128-bit identity as 32 hex digits that sort by time of creation."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"
