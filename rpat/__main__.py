"""`python -m rpat RUN_DIR`: train the run in a directory. There are no other arguments.

Exit codes: 0 done, 1 failed (the journal says why), 2 wrong config, 85 saved and not finished,
86 superseded by a later attempt.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from rpat import __version__, journal
from rpat.config import RunConfig
from rpat.errors import ConfigError, RpatError, RunError
from rpat.identity import process_identity
from rpat.journal import Journal
from rpat.rundir import Attempt, RunDir, read_json


def main(arguments: list[str]) -> int:
    """Run the job in a run directory and return the exit code."""
    if len(arguments) != 1 or not RunDir(Path(arguments[0])).config.is_file():
        what = f"{len(arguments)} arguments" if len(arguments) != 1 else arguments[0]
        sys.stderr.write(f"python -m rpat takes a run directory with a config.json, not {what}\n")
        return 2
    # Threads that spin while they wait make two processes on one CPU several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    run = RunDir(Path(arguments[0]).resolve())
    number = os.environ.get("RPAT_ATTEMPT")
    attempt = Attempt(run.path, int(number)) if number else run.take_attempt()
    log = Journal(attempt.journal)
    try:
        return execute(run, attempt, log)
    except BaseException as error:
        traceback.print_exc()
        if not log.seq:  # it failed before it knew where it would begin
            log.write(
                "begin", v=journal.VERSION, attempt=attempt.number, from_step=None,
                **process_identity(),
            )  # fmt: skip
        log.write("error", sync=True, **describe(error))
        return 2 if isinstance(error, ConfigError) else 1


def execute(run: RunDir, attempt: Attempt, log: Journal) -> int:
    """Train, evaluate and journal the end; raises what went wrong."""
    stop = StopRequest(attempt)
    config = read_config(run)

    import torch

    from rpat import checkpoint, results, train

    checkpoint.sweep(run.checkpoints)
    saved = checkpoint.load(run.last)
    device = pick_device(config.device)
    begin(log, attempt, saved["t"] if saved else 0, device)
    data = images(run, config, log).to(device)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    training = train.Training(run, attempt, config, data, log, stop, device)
    log.write("notice", what="plan", steps=training.total, epochs=config.schedule.epochs)
    if saved:
        training.restore(saved)
    try:
        training.fit()
        results.final_evaluations(
            run, config, data, log, device,
            selected=training.selection_split, step=training.t, check=training.check,
        )  # fmt: skip
        training.check_place()
    except train.Interrupted as asked:
        log.write("stop", word=asked.word, step=training.t, sync=True)
        return train.SAVED
    except train.Superseded:
        return train.SUPERSEDED
    log.write("end", epoch=config.schedule.epochs, step=training.t, sync=True)
    return 0


def read_config(run: RunDir) -> RunConfig:
    """Return the run's config; raises `ConfigError` for a file that is none."""
    try:
        values = read_json(run.config)["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{run.config} is not a run's config ({error}); queue it again"
        ) from error
    return RunConfig.from_dict(values)


def begin(log: Journal, attempt: Attempt, from_step: int, device: Any) -> None:
    """Journal who runs, from where and on what."""
    import torch

    log.write(
        "begin",
        v=journal.VERSION,
        attempt=attempt.number,
        from_step=from_step,
        **process_identity(),
        versions=versions(),
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        threads=torch.get_num_threads(),
        sync=True,
    )


def images(run: RunDir, config: RunConfig, log: Journal) -> Any:
    """Return the run's data set, fetched and decoded where that is still to be done."""
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


class StopRequest:
    """Answers whether somebody asked the run to stop: a file first, signals as a hint.

    SIGTERM and SIGUSR1 ask for a checkpoint and an end; so does Ctrl-C when the core was started
    by hand.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._path = str(attempt.stop)
        self._signal = ""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._heard)

    def _heard(self, number: int, frame: Any) -> None:
        self._signal = signal.Signals(number).name

    def __call__(self) -> str | None:
        """Return the word of the request, or None; one `stat` call."""
        if os.path.exists(self._path):  # noqa: PTH110  cheaper than building a Path each step
            return Path(self._path).read_text("utf-8").strip() or "stop"
        return self._signal or None


def pick_device(word: str) -> Any:
    """Return the torch device of `auto`, `cpu` or `cuda:N`."""
    import torch

    if word == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device(word)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is {word}, but this process sees no GPU; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device is {word}, but there are {torch.cuda.device_count()} GPUs")
    return device


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
    return "error"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
