"""The state of a run, judged from evidence alone: pure, so that every case can be tested.

The journal's end record beats everything; then what the attendant saw; then whether the
processes live. A place that cannot be asked makes a run `lost`, never `failed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SAVED, SUPERSEDED = 85, 86
PATIENCE = 3.0
"""Seconds a run has to show that it starts, before its worker or attendant counts as dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a run's newest attempt; `alive` is None where nobody can be asked."""

    attempt: int = 0
    ready: bool = False  # the images are there, training has begun
    ending: str = ""  # the last word: end, stop; forced where the attendant killed it
    word: str = ""  # why the trainer stopped: stop, pause, kill or a signal's name
    exit_code: int | None = None
    signal: str = ""
    error_reason: str = ""
    error_message: str = ""
    asked: str = ""  # content of the stop file
    trainer: bool | None = False
    attendant: bool | None = False
    rebooted: bool = False
    launched: bool = False  # its worker has started an attendant
    launcher: bool | None = False  # that process lives
    waited: float = 0.0  # seconds in the present state
    last_line: str = ""  # of the output
    disk_full: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state with its reason; the evidence travels into the transition's row."""

    state: str
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


def judge(e: Evidence) -> Verdict:
    """Return the state that the evidence supports."""
    if not e.attempt:
        return _not_begun(e)
    if e.ending == "end":
        return Verdict("done")
    if e.ending == "stop":
        return _stopped(e)
    if e.ending == "forced":
        return _forced(e)
    ended = e.exit_code is not None or bool(e.signal)
    if not ended:
        if e.trainer or e.attendant:
            return _alive(e)
        if e.trainer is None or e.attendant is None:
            return Verdict("lost", "its host cannot be asked from here")
    return _failed(e)


def _not_begun(e: Evidence) -> Verdict:
    if e.launcher or e.waited < PATIENCE:
        return Verdict("starting")
    if e.launcher is None:
        return Verdict("lost", "its host cannot be asked from here")
    if e.launched:
        full = " (the disk is full)" if e.disk_full else ""
        return Verdict("failed", f"its processes could not be started{full}; see worker.log")
    return Verdict("queued", "its worker died before the run could start")


def _alive(e: Evidence) -> Verdict:
    if e.asked == "pause":
        return Verdict("pausing")
    return Verdict("running") if e.ready else Verdict("starting")


def _stopped(e: Evidence) -> Verdict:
    if e.word == "pause":
        return Verdict("paused", "on request")
    if e.word in ("stop", "kill"):
        return Verdict("stopped", "on request")
    return Verdict("stopped", f"{e.word} from outside rpat", {"signal": e.word})


def _forced(e: Evidence) -> Verdict:
    state = "paused" if e.asked == "pause" else "stopped"
    why = f"did not answer the request for {e.word} s and was killed; its last checkpoint counts"
    return Verdict(state, why, {"signal": e.signal, "waited": e.word})


def _failed(e: Evidence) -> Verdict:
    proof: dict[str, Any] = {
        "exit_code": e.exit_code, "signal": e.signal, "last_line": e.last_line,
    }  # fmt: skip
    if e.asked == "kill":
        return Verdict("stopped", "killed on request", proof)
    if e.error_reason:
        return Verdict("failed", _because(e.error_reason, e.error_message), proof)
    if e.disk_full:
        return Verdict("failed", "disk full: the run's last words could not be written", proof)
    if e.signal == "SIGKILL":
        what = "killed by SIGKILL (kill -9, or the kernel when memory ran out)"
        return Verdict("failed", what, proof)
    if e.signal:
        return Verdict("failed", f"killed by {e.signal}", proof)
    if e.exit_code is not None:
        said = f": {e.last_line}" if e.last_line else ""
        return Verdict("failed", f"ended with exit code {e.exit_code}{said}", proof)
    if e.rebooted:
        return Verdict("failed", "the machine was restarted", proof)
    return Verdict("failed", "trainer and attendant vanished without a word (kill -9?)", proof)


def _because(reason: str, message: str) -> str:
    return message if reason in ("error", "config") else f"{reason}: {message}"
