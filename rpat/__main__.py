"""`python -m rpat RUN_DIR`: carry out the job in a directory. There are no other arguments.

A job trains a network, evaluates weights that exist, or studies them.

A training that wants several cards starts a process for each and waits for them (`rpat.ranks`).

Exit codes: 0 done, 1 failed (the journal says why), 2 wrong config, 85 saved and not finished,
86 superseded by a later attempt, 87 (one of several processes) left alone by the others.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpat import __version__, journal, ranks
from rpat.config import RunConfig
from rpat.errors import (
    PARTED,
    SAVED,
    SUPERSEDED,
    ConfigError,
    Interrupted,
    Parted,
    RpatError,
    RunError,
    Superseded,
)
from rpat.jobs import KINDS, EvalJob, StudyJob
from rpat.journal import Journal
from rpat.ranks import Place
from rpat.rundir import Attempt, RunDir, read_json

if TYPE_CHECKING:
    from rpat.divided import Alone


def main(arguments: list[str]) -> int:
    """Run the job in a run directory and return the exit code."""
    if len(arguments) != 1 or not RunDir(Path(arguments[0])).config.is_file():
        what = f"{len(arguments)} arguments" if len(arguments) != 1 else arguments[0]
        sys.stderr.write(f"python -m rpat takes a run directory with a config.json, not {what}\n")
        return 2
    # Threads that spin while they wait make two processes on one CPU several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    run = RunDir(Path(arguments[0]).resolve())
    place = ranks.place()
    if place is not None and ranks.is_supervised():
        ranks.die_with_the_parent()
    number = os.environ.get("RPAT_ATTEMPT")
    if ranks.is_afar():
        return ranks.attend_afar(run, Attempt(run.path, int(number or 0)))
    if place is not None and place.rank:
        return follow(run, Attempt(run.path, int(number or 0)), place)
    attempt = Attempt(run.path, int(number)) if number else run.take_attempt()
    if place is None and (size := ranks.wanted(run)) > 1:
        outcome = ranks.supervise(run, attempt, size)
        if outcome.error:
            fail(Journal(attempt.journal), attempt, outcome.error)
        return ranks.end_as(outcome)
    log = Journal(attempt.journal)
    try:
        return execute(run, attempt, log, place)
    except BaseException as error:
        traceback.print_exc()
        if isinstance(error, Parted) and ranks.is_supervised():
            return PARTED  # the parent knows who has gone, and why
        fail(log, attempt, describe(error))
        return 2 if isinstance(error, ConfigError) else 1


def follow(run: RunDir, attempt: Attempt, place: Place) -> int:
    """Be one of several processes but not the first: compute as that one does, write nothing."""
    ranks.obey()
    try:
        return execute(run, attempt, ranks.Silent(), place)
    except BaseException as error:
        traceback.print_exc()
        if isinstance(error, Parted):
            return PARTED
        ranks.leave_word(attempt, place.rank, describe(error))
        return 2 if isinstance(error, ConfigError) else 1


def fail(log: Journal, attempt: Attempt, error: Mapping[str, str]) -> None:
    """Journal why an attempt has failed."""
    if not log.seq:  # it failed before it knew where it would begin
        log.write(
            "begin", v=journal.VERSION, attempt=attempt.number, from_step=None, **ranks.trainer()
        )
    log.write("error", sync=True, **error)


def execute(run: RunDir, attempt: Attempt, log: Journal, place: Place | None = None) -> int:
    """Carry out the job and journal its end; returns the exit code, raises what went wrong."""
    leads = place is None or place.rank == 0
    guard = Guard(run, attempt, StopRequest(attempt) if leads else lambda: None, leads)
    kind, values = read_job(run)
    if kind != "train":
        if not leads:
            return 0  # the first process does it alone
        place = None
    config: Any = RunConfig.from_dict(values) if kind == "train" else KINDS[kind].from_dict(values)

    import torch

    from rpat import checkpoint

    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if leads:
        for folder in (run.checkpoints, run.results):
            checkpoint.sweep(folder)
    device = pick_device(config.device, place)
    team = meet(place, device)
    saved = checkpoint.load(run.last)
    guard.step = saved["t"] if saved else 0
    begin(log, attempt, guard.step, device, team.size)
    with team.rank_0_first():
        data = images(run, config, log)
    carry_out: Any = {"train": _train, "eval": _evaluate, "study": _study}[kind]
    try:
        epoch, step = carry_out(run, config, data, log, device, guard, saved, team)
        guard.place()
    except Interrupted as asked:
        team.leave()
        log.write("stop", word=asked.word, step=guard.step, sync=True)
        return SAVED
    except Superseded:
        return SUPERSEDED
    log.write("end", epoch=epoch, step=step, sync=True)
    return 0


def _train(
    run: RunDir, config: RunConfig, data: Any, log: Journal, device: Any, guard: Guard, saved: Any,
    team: Alone,
) -> tuple[int, int]:  # fmt: skip
    """Train, then evaluate the kept weights; returns epochs and steps done."""
    from rpat.assess import Assessment, of_training
    from rpat.subjects import of_run
    from rpat.train import Training

    data = data.to(device)
    training = Training(run, guard.attempt, config, data, log, guard.stop, device, team)
    log.write("notice", what="plan", steps=training.total, epochs=config.schedule.epochs)
    if saved:
        training.restore(saved)
    try:
        training.fit()
    finally:
        guard.step = training.t
    team.leave()
    if config.eval.attack != "none" and team.leads:
        uid = read_json(run.config).get("uid", run.path.name)
        job = of_training(config, uid, training.method.models(training.model))
        end = Assessment(run, job, data, log, device, guard, step=training.t, own=False)
        end.go(of_run(run, job, data))
    return config.schedule.epochs, training.t


def _evaluate(
    run: RunDir, job: EvalJob, data: Any, log: Journal, device: Any, guard: Guard, saved: Any,
    team: Alone,
) -> tuple[int, int]:  # fmt: skip
    """Attack weights that exist; returns no epochs, and the passes made."""
    from rpat.assess import Assessment, chosen_images

    subjects = _subjects(run, job, data, chosen_images(job, data).to(device), log)
    work = Assessment(
        run, job, data, log, device, guard, check_place=guard.place, saved=saved
    )  # fmt: skip
    try:
        work.go(subjects)
    finally:
        guard.step = work.kept
    return 0, work.base


def _study(
    run: RunDir, job: StudyJob, data: Any, log: Journal, device: Any, guard: Guard, saved: Any,
    team: Alone,
) -> tuple[int, int]:  # fmt: skip
    """Look closer at weights that exist; returns no epochs, and the batches done."""
    from rpat.assess import chosen_images, split_of
    from rpat.studies.job import study

    chosen = chosen_images(job, data).to(device)
    subjects = _subjects(run, job, data, chosen, log)
    of = len(split_of(job, data))
    return 0, study(run, job, chosen, subjects, log, device, guard, of=of)


def _subjects(run: RunDir, job: Any, data: Any, chosen: Any, log: Journal) -> list[Any]:
    """Return the networks that a job looks at."""
    from rpat.subjects import of_file, of_run

    if job.subject.run:
        return list(of_run(parent_of(run, job), job, data))
    subject, text = of_file(job, data, chosen)
    log.write("notice", what="weights", text=text, sha256=job.subject.sha256)
    return [subject]


def parent_of(run: RunDir, job: EvalJob | StudyJob) -> RunDir:
    """Return the directory of the run whose weights a job looks at."""
    parent = RunDir(run.path.parent / job.subject.folder)
    try:
        uid = read_json(parent.config).get("uid")
    except (OSError, ValueError):
        uid = None
    if uid != job.subject.run:
        raise RunError(f"{parent.path} is not the run that this job is about", reason="weights")
    return parent


def read_job(run: RunDir) -> tuple[str, dict[str, Any]]:
    """Return a job's kind and config; raises `ConfigError` for a file that is none."""
    try:
        job = read_json(run.config)
        values, kind = job["config"], job.get("kind", "train")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{run.config} is not a run's config ({error}); queue it again"
        ) from error
    if kind not in ("train", *KINDS):
        raise ConfigError(f"{run.config} is of kind {kind}, which this version does not know")
    return kind, values


def begin(log: Journal, attempt: Attempt, from_step: int, device: Any, size: int) -> None:
    """Journal who runs, from where and on what; `size` processes compute together."""
    import torch

    log.write(
        "begin",
        v=journal.VERSION,
        attempt=attempt.number,
        from_step=from_step,
        **ranks.trainer(),
        versions=versions(),
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        threads=torch.get_num_threads(),
        **({"ranks": size} if size > 1 else {}),
        **({"nodes": ranks.nodes()} if ranks.nodes() > 1 else {}),
        sync=True,
    )


def images(run: RunDir, config: Any, log: Journal) -> Any:
    """Return the job's data set, fetched and decoded where that is still to be done."""
    from rpat.data.dataset import load

    def fetching(text: str) -> None:
        log.write("notice", what="fetch", text=text)

    data = load(config.data, run.home / "cache" if run.home else None, fetching)
    log.write(
        "notice",
        what="data",
        source=data.source,
        fingerprint=data.fingerprint,
        classes=data.num_classes,
        train=len(data.train),
        test=len(data.test),
        val=len(data.val) if data.val else 0,
    )
    return data


class Guard:
    """Asks whether the work may go on: nobody wants it to stop, no later attempt owns it."""

    def __init__(
        self, run: RunDir, attempt: Attempt, stop: Callable[[], str | None], leads: bool = True
    ) -> None:
        """Ask `stop` for requests; a process that does not lead never asks for its place."""
        self.run, self.attempt, self.stop, self.leads = run, attempt, stop, leads
        self.step = 0
        """Up to where the work is saved."""

    def place(self) -> None:
        """Raise `Superseded` when a later attempt owns the run."""
        if self.leads and self.run.superseded(self.attempt):
            raise Superseded

    def __call__(self) -> None:
        """Raise `Superseded`, or `Interrupted` when asked to stop."""
        self.place()
        if word := self.stop():
            raise Interrupted(word)


class StopRequest:
    """Answers whether somebody asked the run to stop: a file first, signals as a hint.

    SIGTERM and SIGUSR1 ask for a checkpoint and an end; so does Ctrl-C when the core was started
    by hand.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._path = str(attempt.stop)
        self._signal = ""
        for number in ranks.ASK:
            signal.signal(number, self._heard)

    def _heard(self, number: int, frame: Any) -> None:
        self._signal = signal.Signals(number).name

    def __call__(self) -> str | None:
        """Return the word of the request, or None; one `stat` call."""
        if os.path.exists(self._path):  # noqa: PTH110  cheaper than building a Path each step
            return Path(self._path).read_text("utf-8").strip() or "stop"
        return self._signal or None


def pick_device(word: str, place: Place | None = None) -> Any:
    """Return the torch device of `auto`, `cpu` or `cuda:N`; each of several processes has a card.

    Raises `ConfigError` for a card that is not there.
    """
    import torch

    if word == "auto":
        word = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(word)
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise ConfigError(f"device is {word}, but this process sees no GPU; use --device cpu")
    count = torch.cuda.device_count()
    if place is not None and place.local >= count:
        raise ConfigError(f"gpus is {place.size}, but there are {count} GPUs; use --gpus {count}")
    if (device.index or 0) >= count:
        raise ConfigError(f"device is {word}, but there are {count} GPUs")
    return torch.device("cuda", device.index or 0 if place is None else place.local)


def meet(place: Place | None, device: Any) -> Alone:
    """Return the processes that compute together: this one alone, where nobody gave it a place."""
    from rpat.divided import Alone, Ranks

    return Alone() if place is None or place.size == 1 else Ranks(place, device)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    import numpy
    import torch
    import torchvision

    return {
        "rpat": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
        "cuda": torch.version.cuda or "",
    }


def describe(error: BaseException) -> dict[str, str]:
    """Return an error as a record: a stable reason, the message and the traceback."""
    text = str(error).strip().splitlines()
    message = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    if isinstance(error, RpatError):
        message = str(error)
    return {
        "reason": _reason(error),
        "message": message,
        "traceback": "".join(traceback.format_exception(error)),
    }


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
DRIVER = ("CUDA error", "CUDA driver", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS", "NCCL",
          "NVIDIA driver", "Found no NVIDIA")  # fmt: skip
"""Words in the messages of torch's errors that say whose fault it is."""


def _reason(error: BaseException) -> str:
    if isinstance(error, RunError):
        return error.reason
    if isinstance(error, ConfigError):
        return "config"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory"
    if isinstance(error, OSError) and error.errno in (28, 122):
        return "disk full"
    if isinstance(error, ImportError):
        return "import"
    text = str(error)
    if isinstance(error, RuntimeError) and any(word in text for word in OUT_OF_MEMORY):
        return "out of memory"
    if isinstance(error, RuntimeError) and any(word in text for word in DRIVER):
        return "driver"
    return "error"


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    if ranks.place() is not None:
        ranks.vanish(exit_code)
    sys.exit(exit_code)
