"""`python -m rpat_tui.launch.attend RUN_DIR`: the parent of one trainer.

It claims the next attempt, starts `python -m rpat RUN_DIR`, waits, and writes how it ended, so
the reason is known even when everybody else has died. It runs in a process session of its own.
Standard library only. Exit code: the trainer's, or 1 when a signal ended it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from rpat.identity import process_identity
from rpat.journal import VERSION, Journal
from rpat.rundir import Attempt, RunDir, read_json

RETRIES, PAUSE = 60, 1.0
"""How long the end record waits for a full disk to get some room."""


def main(folder: str) -> int:
    """Attend one attempt of the run in a directory."""
    run = RunDir(Path(folder).resolve())
    attempt = run.take_attempt()
    log = Journal(attempt.attendant)
    log.write("begin", v=VERSION, attempt=attempt.number, **process_identity())
    _answer_signals(attempt)
    with attempt.output.open("ab", buffering=0) as output:
        trainer = subprocess.Popen(
            [sys.executable, "-m", "rpat", str(run.path)],
            env=_environment(run, attempt),
            cwd=run.path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    log.write("started", **process_identity(trainer.pid))
    code = _wait(trainer)
    name = signal.Signals(-code).name if code < 0 else ""
    _write_end(log, exit_code=None if name else code, signal=name)
    return 1 if name else code


def _environment(run: RunDir, attempt: Attempt) -> dict[str, str]:
    """The trainer's environment: its attempt, and the code that was frozen for it."""
    env = {**os.environ, "RPAT_ATTEMPT": str(attempt.number), "PYTHONUNBUFFERED": "1"}
    try:
        snapshot = read_json(run.provenance).get("snapshot_path", "")
    except (OSError, ValueError):
        snapshot = ""
    if snapshot and Path(snapshot).is_dir():
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [snapshot, env.get("PYTHONPATH")]))
    return env


def _answer_signals(attempt: Attempt) -> None:
    """Turn SIGTERM and SIGUSR1 into a stop request; a closed terminal means nothing."""

    def request(number: int, frame: FrameType | None) -> None:
        if not attempt.stop.exists():
            attempt.stop.write_text(signal.Signals(number).name, "utf-8")

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, request)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _wait(trainer: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return trainer.wait()
        except InterruptedError:
            continue


def _write_end(log: Journal, **values: object) -> None:
    for _ in range(RETRIES):
        try:
            log.write("end", sync=True, **values)
            return
        except OSError:
            time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
