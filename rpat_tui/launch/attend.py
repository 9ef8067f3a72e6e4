"""`python -m rpat_tui.launch.attend RUN_DIR [SUBMISSION]`: the parent of one trainer.

It claims the next attempt, starts `python -m rpat RUN_DIR`, waits, and writes how it ended, so
the reason is known even when everybody else has died. It runs in a process session of its own.
Standard library only. Exit code: the trainer's, or 1 when a signal ended it.

On a cluster it is the job itself, and `SUBMISSION` says which: a job that nobody wants any more
leaves at once. Told that its time is over, it asks for another turn once the work is saved.
"""

from __future__ import annotations

import errno
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rpat.identity import process_identity
from rpat.journal import VERSION, Journal
from rpat.rundir import Attempt, RunDir, newest_code, read_json, replace
from rpat_tui.launch import oom

if TYPE_CHECKING:
    from rpat_tui.launch.slurm.turn import Turn

FULL = 1 << 20
"""Bytes free below which a disk is full."""

RETRIES, PAUSE = 60, 1.0
"""How long the end record waits for a full disk to get some room."""

LOOK = 1.0
"""Seconds between two looks for a request to stop."""

GRACE = 600.0
"""Seconds until a trainer that ignores the request is killed; setting `stop_grace`."""

AT_ONCE = ("kill", "stuck")
"""Requests that leave no time to save anything."""


def main(folder: str, submission: int = 0) -> int:
    """Attend one attempt of the run in a directory."""
    run = RunDir(Path(folder).resolve())
    turn = _turn(run, submission) if submission else None
    if turn is not None and not turn.is_wanted():
        return 0
    attempt = run.take_attempt()
    heard = _answer_signals(attempt)
    log = Journal(attempt.attendant)
    about: dict[str, Any] = {**process_identity()}
    if turn is not None:
        about["slurm"] = turn.facts(attempt)
    log.write("begin", v=VERSION, attempt=attempt.number, **about)
    before = oom.counters()
    with attempt.output.open("ab", buffering=0) as output:
        trainer = subprocess.Popen(
            [sys.executable, "-m", "rpat", str(run.path)],
            env=_environment(run, attempt),
            cwd=run.path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,  # whatever it starts can be ended with it
        )
    log.write("started", **process_identity(trainer.pid))
    forced = _wait(trainer, attempt, (lambda: turn.hear(heard, log)) if turn is not None else None)
    code = trainer.returncode
    name = signal.Signals(-code).name if code < 0 else ""
    more = _memory(name, before) | ({"forced": round(forced)} if forced else {})
    if _is_full(run.path):  # it may have room again when somebody asks why
        more["disk_full"] = True
    if turn is not None:
        more["slurm"] = asks = turn.verdict(attempt, heard, code)
    _write_end(log, exit_code=None if name else code, signal=name, **more)
    if turn is not None and asks["again"] and (problem := turn.requeue()):
        log.write("requeue", problem=problem)  # the worker submits it again
    return 1 if name else code


def _turn(run: RunDir, submission: int) -> Turn:
    from rpat_tui.launch.slurm.turn import Turn

    return Turn(run, submission)


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < FULL
    except OSError:
        return False


def _memory(signal_name: str, before: oom.Counters) -> dict[str, object]:
    """Return how much the trainer held and, after a SIGKILL, whether the kernel sent it."""
    facts: dict[str, object] = {"peak_mb": oom.peak_mb()}
    if signal_name == "SIGKILL" and (found := oom.risen(before, oom.counters())) is not None:
        facts["oom_kill"] = {"counter": found[0], "rose_by": found[1]}
    return facts


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
    known = newest_code(_read(run.provenance))
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


def _answer_signals(attempt: Attempt) -> list[str]:
    """Turn SIGTERM and SIGUSR1 into a stop request; a closed terminal means nothing.

    Returns the list of the signals that come, which grows.
    """
    heard: list[str] = []

    def request(number: int, frame: FrameType | None) -> None:
        if (name := signal.Signals(number).name) not in heard:
            heard.append(name)
        if not attempt.stop.exists():  # whole at once: the trainer takes an empty one for a stop
            replace(attempt.stop, lambda stream: stream.write(name.encode()))

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, request)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    return heard


def _wait(
    trainer: subprocess.Popen[bytes], attempt: Attempt, look: Callable[[], None] | None = None
) -> float:
    """Wait for the trainer's end; one that ignores a request to stop is killed after a while.

    `look` is called about each second. Returns the seconds after which it was killed, 0 where it
    ended by itself.
    """
    asked: float | None = None
    waited = 0.0
    while not _has_ended(trainer.pid):
        if look is not None:
            look()
        if asked is None and attempt.stop.exists():
            asked = time.monotonic()
        if asked is not None and _request(attempt) in AT_ONCE:
            break
        waited = 0.0 if asked is None else time.monotonic() - asked
        if waited > grace(_request(attempt)):
            break
        waited = 0.0
    # While it is not reaped nobody else can have its number: only its own group is meant.
    _end_group(trainer.pid)
    trainer.wait()
    return waited


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended, after at most `LOOK` seconds; it is not reaped."""
    try:
        fd = os.pidfd_open(pid)
    except (AttributeError, OSError):  # no such call here
        time.sleep(LOOK)
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    try:
        with suppress(InterruptedError):
            return bool(select.select([fd], [], [], LOOK)[0])
        return False
    finally:
        os.close(fd)


def _request(attempt: Attempt) -> str:
    try:
        return attempt.stop.read_text("utf-8").strip()
    except OSError:
        return ""


def grace(request: str = "") -> float:
    """Return the seconds that a trainer has to save its work once it was asked to stop.

    A cluster that has signalled kills the job soon after `RPAT_WARNING` seconds.
    """
    seconds = _number("RPAT_STOP_GRACE", GRACE)
    if request == "SIGUSR1":
        return min(seconds, max(_number("RPAT_WARNING", seconds + 5) - 5, 5.0))
    return seconds


def _number(name: str, default: float) -> float:
    try:
        return float(os.environ.get(name, ""))
    except ValueError:
        return default


def _end_group(leader: int) -> None:
    """Kill what is left of the trainer's process group: workers of its own that outlive it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _write_end(log: Journal, **values: object) -> None:
    for _ in range(RETRIES):
        try:
            log.write("end", sync=True, **values)
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                values["disk_full"] = True
            time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:3])))
