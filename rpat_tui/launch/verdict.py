"""The state of a run, judged from evidence alone: pure, so that every case can be tested.

The journal's end record beats everything; then what the attendant saw; then whether the
processes live. A place that cannot be asked makes a run `lost`, never `failed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rpat_tui.launch.causes import memory_sentence, recognise, signal_sentence

SAVED, SUPERSEDED = 85, 86
RESTARTS = 3
"""Times that a run which is stuck is started again, where the settings ask for that."""

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
    leaving: bool = False  # has said its last word, but its process has not ended yet
    rebooted: bool = False
    launched: bool = False  # its worker has started an attendant
    launcher: bool | None = False  # that process lives
    waited: float = 0.0  # seconds in the present state
    last_line: str = ""  # of the output
    disk_full: bool = False  # now, or when its trainer ended
    began: bool = True  # its attendant has said who it is
    oom: tuple[str, int] | None = None  # the kernel's counter that rose, and by how much
    peak_mb: int = 0  # the most memory that the trainer held
    quiet: float = 0.0  # seconds, on a clock that never jumps, since its journal last grew
    patience: float = 0.0  # seconds after which such a silence is worth a word; 0: not observed
    usual: float | None = None  # seconds between two rows
    restarts: int = 0  # times that it was started again for being stuck


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state with its reason; the evidence travels into the transition's row.

    The evidence names the `cause`, a word of `causes`, where something needs explaining.
    """

    state: str
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def cause(self) -> str:
        """The stable word for why; '' where there is nothing to explain."""
        return str(self.evidence.get("cause", ""))


def because(state: str, cause: str, reason: str, **evidence: Any) -> Verdict:
    """Return a verdict whose evidence names the cause."""
    return Verdict(state, reason, {"cause": cause, **evidence})


def judge(e: Evidence) -> Verdict:
    """Return the state that the evidence supports."""
    if not e.attempt:
        return _not_begun(e)
    if e.leaving:
        return _alive(e)  # its place, and the memory of its card, are not free yet
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
            return because("lost", "lost", "its host cannot be asked from here")
    return _failed(e)


def _not_begun(e: Evidence) -> Verdict:
    if e.launcher or e.waited < PATIENCE:
        return Verdict("starting")
    if e.launcher is None:
        return because("lost", "lost", "its host cannot be asked from here")
    if e.launched:
        full = " (the disk is full)" if e.disk_full else ""
        what = f"its processes could not be started{full}; see worker.log"
        return because("failed", "disk full" if e.disk_full else "start", what)
    return because("queued", "start", "its worker died before the run could start")


def _alive(e: Evidence) -> Verdict:
    if e.asked == "pause":
        return Verdict("pausing")
    if not e.ready:
        return Verdict("starting")
    if e.patience and e.quiet > e.patience:
        return because("running", "stuck", _silence(e), patience=e.patience, usual=e.usual)
    return Verdict("running")


def _silence(e: Evidence) -> str:
    usual = "" if e.usual is None else f" (one comes every {_span(e.usual)})"
    return f"may be stuck: no row for more than {_span(e.patience)}{usual}"


def _stopped(e: Evidence) -> Verdict:
    if e.word == "pause":
        return because("paused", "user stop", "on request")
    if e.word in ("stop", "kill"):
        return because("stopped", "user stop", "on request")
    if e.word == "stuck":
        return _stuck(e)
    return because("stopped", "outside stop", f"{e.word} from outside rpat", signal=e.word)


def _stuck(e: Evidence) -> Verdict:
    if e.restarts >= RESTARTS:
        what = f"stuck again after {e.restarts} new starts; rpat logs shows where"
        return because("failed", "stuck", what)
    return because("queued", "stuck", "was stuck and is started again", restart=e.restarts + 1)


def _forced(e: Evidence) -> Verdict:
    state = "paused" if e.asked == "pause" else "stopped"
    why = f"did not answer the request for {e.word} s and was killed; its last checkpoint counts"
    return because(state, "user stop", why, signal=e.signal, waited=e.word)


def _failed(e: Evidence) -> Verdict:
    proof: dict[str, Any] = {
        "exit_code": e.exit_code, "signal": e.signal, "last_line": e.last_line,
    }  # fmt: skip
    if e.peak_mb:
        proof["peak_mb"] = e.peak_mb
    if e.oom is not None:
        proof["oom_kill"] = {"counter": e.oom[0], "rose_by": e.oom[1]}
    if e.asked == "kill":
        return because("stopped", "killed on request", "killed on request", **proof)
    if e.asked == "stuck":
        verdict = _stuck(e)
        return Verdict(verdict.state, verdict.reason, {**verdict.evidence, **proof})
    cause, reason = _why(e)
    return because("failed", cause, reason, **proof)


def _why(e: Evidence) -> tuple[str, str]:
    """Return the cause of an end that nobody asked for, and its sentence."""
    if e.error_reason == "rank":
        return _one_of_several(e)
    if e.error_reason:
        cause = recognise(e.error_reason, e.error_message) or "error"
        sentence = memory_sentence(e.error_message) if cause == "gpu memory" else ""
        return cause, sentence or _said(e.error_reason, e.error_message)
    if e.disk_full:
        return "disk full", "disk full: the run's last words could not be written"
    if e.signal == "SIGKILL":
        return _killed(e)
    if e.signal:
        return "signal", f"killed by {signal_sentence(e.signal)}"
    if e.exit_code == SUPERSEDED:
        return "superseded", "left its place to a later attempt"
    if e.exit_code is not None:
        said = f": {e.last_line}" if e.last_line else ""
        cause = recognise("", e.last_line) if e.exit_code else ""
        return cause or "exit", f"ended with exit code {e.exit_code}{said}"
    if not e.began:
        return "start", "its processes could not be started; see worker.log"
    if e.rebooted:
        return "reboot", "the machine was restarted"
    return "vanished", "trainer and attendant vanished without a word (kill -9?)"


def _one_of_several(e: Evidence) -> tuple[str, str]:
    """Tell what ended the process that took the others of its run along."""
    if not e.signal:
        return "exit", e.error_message
    who, _, how = e.error_message.partition(" was ")
    if e.signal != "SIGKILL" or not how:
        return "signal", e.error_message
    cause, said = _killed(e)
    return cause, f"{who} was {said}"


def _killed(e: Evidence) -> tuple[str, str]:
    """Tell the kernel's kill from a person's, where the kernel's counters say."""
    held = f"; the run had held {e.peak_mb / 1024:.1f} GiB" if e.peak_mb else ""
    if e.oom is None:
        return "signal", "killed by SIGKILL (kill -9, or the kernel when memory ran out)"
    counter, rise = e.oom
    if not rise:
        return "signal", f"killed by SIGKILL, not for want of memory: kill -9 from outside{held}"
    where = f"oom_kill rose by {rise} in {counter}"
    if counter.startswith("/proc/"):  # the whole machine's: it may have been another process
        return (
            "host memory",
            f"killed by SIGKILL, probably the kernel: out of memory ({where}{held})",
        )
    return "host memory", f"killed by the kernel: out of memory ({where}{held})"


def _said(reason: str, message: str) -> str:
    return message if reason in ("error", "config") else f"{reason}: {message}"


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
