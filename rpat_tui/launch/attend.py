"""`python -m rpat_tui.launch.attend RUN_DIR`: the parent of one trainer.

It claims the next attempt, starts `python -m rpat RUN_DIR`, waits, and writes how it ended, so
the reason is known even when everybody else has died. It runs in a process session of its own.
Standard library only. Exit code: the trainer's, or 1 when a signal ended it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

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
    snapshot = _snapshot(run)
    if snapshot is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(snapshot), env.get("PYTHONPATH")]))
    return env


def _snapshot(run: RunDir) -> Path | None:
    """The folder of the code that was frozen: in the home, wherever that has moved to.

    An imported run names a folder of another machine, which means nothing here.
    """
    known = _read(run.provenance)
    digest, home = str(known.get("snapshot", "")), run.home
    if home is not None and re.fullmatch("[0-9a-f]{64}", digest):
        here = home / "snapshots" / digest
        if here.is_dir():
            return here
    stored = str(known.get("snapshot_path", ""))
    if not stored or _read(run.meta).get("imported"):
        return None
    return Path(stored) if Path(stored).is_dir() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


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
