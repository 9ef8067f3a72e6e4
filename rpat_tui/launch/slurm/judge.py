"""The state of a run on a cluster, judged from its journal and from what Slurm says: pure.

The journal's end record beats everything. Slurm is the truth about the queue alone: that a job is
COMPLETED says nothing of the run, and that nobody answers says nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rpat_tui.launch.slurm import words
from rpat_tui.launch.slurm.turn import STALLED
from rpat_tui.launch.verdict import Evidence, Verdict, because, judge
from rpat_tui.store.submissions import SUBMITTING, Submission

LAUNCHES = 3
"""Jobs in a row that may end before their attendant has come to work."""

LAG = 5.0
"""Seconds that files may take to be seen after a job's end; a network file system takes more."""

FAR_LAG = 75.0

SETTLE = 60.0
"""Seconds that Slurm may take to say why a process was killed."""

PERSON = ("stop", "pause", "kill", "stuck")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvidence:
    """What is known of a run's newest job and of its newest attempt."""

    run: Evidence  # of the attempt that this job made; attempt 0 where there is none
    job: Submission
    end: Mapping[str, Any] = field(default_factory=dict)  # the attendant's last word on the job
    ended_for: float = 0.0  # seconds since that attempt's end
    over_for: float = 0.0  # seconds since the job's end was first seen
    lag: float = LAG
    launches: int = 1  # jobs in a row without an attempt, this one included
    stalled: bool = False  # the last turns all began at the same step
    later: bool = False  # Slurm counts a turn after this attempt's, which has not come to work
    printed: str = ""  # the last line of the job's own output
    problem: str = ""  # why Slurm does not answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, None where it is too early for one; `closes`: no job of the run is left."""

    verdict: Verdict | None
    closes: bool = False


UNDECIDED = Outcome(None)


def judge_job(e: JobEvidence) -> Outcome:
    """Return the state that the evidence supports."""
    a = e.run
    if a.attempt and a.ending == "end":
        return Outcome(Verdict("done"), closes=True)
    if not a.attempt:
        return _unstarted(e)
    ended = a.exit_code is not None or a.signal or a.ending in ("stop", "forced")
    if not ended:
        return _going(e)
    if a.asked in PERSON or (a.ending == "stop" and a.word in PERSON):
        return Outcome(judge(a), closes=True)
    if a.ending in ("stop", "forced"):
        return _interrupted(e)
    if a.signal and not (a.oom and a.oom[1]) and not a.error_reason:
        return _killed(e)
    return Outcome(judge(a), closes=True)


# ----------------------------------------------------------------- before its first word


def _unstarted(e: JobEvidence) -> Outcome:
    job, said = e.job, e.job.said
    if job.state == SUBMITTING:
        why = f"waits for Slurm, which does not answer: {e.problem}" if e.problem else ""
        return Outcome(Verdict("queued", why or "is being submitted"))
    if not said or words.is_waiting(said):
        return Outcome(Verdict("queued", words.waits(job.job, job.why)))
    if not words.is_over(said):
        where = f" on {job.node}" if job.node else ""
        return Outcome(Verdict("starting", f"Slurm job {job.job} starts{where}"))
    if e.over_for < e.lag:
        return UNDECIDED
    if job.asked:
        return _ended(because("stopped", "user stop", "on request"))
    if said == "CANCELLED":
        return _cancelled(e)
    if said == "OUT_OF_MEMORY":
        return _memory(e)
    if said in words.AGAIN:
        return _again(e, *words.AGAIN[said])
    if e.end.get("why") == "host memory":
        return _memory(e)
    what = f"Slurm job {job.job} ended before it could start the run ({_how(job)})"
    if said == words.GONE:
        what = f"Slurm forgot job {job.job} before it started"
    if e.launches < LAUNCHES:
        return _ended(because("queued", "launch", f"{what}; it is submitted again"))
    printed = f": {e.printed}" if e.printed else ""
    return _ended(because("failed", "launch", what + printed, last_line=e.printed))


# ----------------------------------------------------------------- at work, as far as it says


def _going(e: JobEvidence) -> Outcome:
    job, said = e.job, e.job.said
    if words.is_waiting(said):
        cause, sentence = left(e.end, e.run.ending, job.trouble)
        return Outcome(because("queued", cause, f"{sentence}; {words.waits(job.job, job.why)}"))
    if not words.is_over(said):
        return Outcome(judge(replace(e.run, trainer=True, attendant=True)))
    if e.over_for < e.lag:
        return UNDECIDED
    if said == words.GONE:
        if job.asked:
            return _ended(because("stopped", "user stop", "given up on request"))
        what = f"Slurm knows nothing of job {job.job} any more, and its journal has no end"
        return Outcome(because("lost", "lost", what))
    if said in words.AGAIN:
        return _again(e, *words.AGAIN[said])
    if said == "CANCELLED":
        return _cancelled(e)
    if said == "OUT_OF_MEMORY" or e.end.get("why") == "host memory":
        return _memory(e)
    if e.later:
        return _unlaunched(e)
    what = f"Slurm job {job.job} ended ({_how(job)}) without a last word of its attendant"
    return _ended(because("failed", "vanished", what, last_line=e.run.last_line))


# ----------------------------------------------------------------- told to leave by the cluster

_WHY = {
    "preempted": "was preempted",
    "time limit": "ran out of time",
    "requeued": "was put back into Slurm's queue",
    "node failed": "its node failed",
}
"""What an attendant learned of why it was told to leave; these words are causes too."""

_SAVED = {
    "time limit": "saved its work before its time was over",
    "node failed": "its node failed, and it saved its work",
}


def left(word: Mapping[str, Any], ending: str, trouble: str = "") -> tuple[str, str]:
    """Return the cause and the sentence for a turn that ended and leaves the run to a next one.

    `word` is what its attendant wrote last: the signals `heard`, and `why`. `ending` is the
    trainer's own (`stop`: saved, `forced`: killed). `trouble` is what is wrong with its node.
    """
    why = str(word.get("why", ""))
    cause = why if why in _WHY else "outside stop"
    if not word.get("heard") and ending not in ("stop", "forced") and why not in _WHY:
        if trouble:
            return "node failed", f"its node failed ({trouble})"
        return "requeued", "was taken off its node without a word"
    sentence = _WHY.get(cause, "")
    if ending == "stop":
        known = f"{sentence} and saved its work" if sentence else "saved its work when told to"
        return cause, _SAVED.get(cause, known)
    if ending == "forced":
        return cause, "did not save its work in time"
    return cause, sentence or "was told to end before it could save anything"


def _interrupted(e: JobEvidence) -> Outcome:
    """A signal made the trainer save its work, or it was killed since it did not in time."""
    job, said = e.job, e.job.said
    cause, sentence = left(e.end, e.run.ending)
    if words.is_waiting(said):
        return Outcome(because("queued", cause, f"{sentence}; {words.waits(job.job, job.why)}"))
    if "again" not in e.end and not words.is_over(said) and e.ended_for <= SETTLE:
        return UNDECIDED  # its attendant is about to say what follows
    if said in words.AGAIN:
        return _again(e, words.AGAIN[said][0], sentence)
    if said == "CANCELLED":
        return _cancelled(e)
    why_not = e.end.get("because", "")
    if why_not == "no progress":
        return _stalled()
    if why_not == "turns":
        return _ended(because("stopped", "turns", "was started again as often as was allowed"))
    invited = e.end.get("again") or cause == "preempted" or "SIGUSR1" in e.end.get("heard", ())
    if words.is_over(said) and said != words.GONE:
        invited = True  # nobody cancelled it, and it had not finished: whoever it was, it goes on
    if invited:
        if words.is_over(said):
            return _again(e, cause, sentence)
        return Outcome(because("queued", cause, f"{sentence}; Slurm starts job {job.job} again"))
    if words.is_over(said) or e.ended_for > SETTLE:
        return Outcome(judge(e.run), closes=True)
    return UNDECIDED


def _killed(e: JobEvidence) -> Outcome:
    """A signal ended the trainer at once: Slurm knows why, if it was Slurm."""
    said = e.job.said
    if words.is_waiting(said):
        return _going(e)
    if said in words.AGAIN:
        return _again(e, *words.AGAIN[said])
    if said == "CANCELLED":
        return _cancelled(e)
    if said == "OUT_OF_MEMORY" or (words.is_over(said) and e.end.get("why") == "host memory"):
        return _memory(e)
    if words.is_over(said) and e.later:
        return _unlaunched(e)
    if words.is_over(said) and e.end.get("heard"):
        return _again(e, "outside stop", "was told to end before it could save anything")
    if words.is_over(said) or e.ended_for > SETTLE:
        return Outcome(judge(e.run), closes=True)
    return UNDECIDED


# ----------------------------------------------------------------- ends


def _ended(verdict: Verdict) -> Outcome:
    return Outcome(verdict, closes=True)


def _again(e: JobEvidence, cause: str, sentence: str) -> Outcome:
    """The job is over and the run is not: another job goes on."""
    if e.stalled and cause == "time limit":  # who is preempted early three times has bad luck
        return _stalled()
    where = "goes on from its checkpoint" if e.run.attempt else "is submitted again"
    return _ended(because("queued", cause, f"{sentence}; {where}"))


def _unlaunched(e: JobEvidence) -> Outcome:
    """A next turn began and ended without its attendant, as on a node that has just come back."""
    return _again(e, "launch", f"Slurm did not start its next turn ({_how(e.job)})")


def _stalled() -> Outcome:
    what = f"{STALLED} turns in a row began at the same step: their time limit is too short"
    return _ended(because("failed", "no progress", what))


def _cancelled(e: JobEvidence) -> Outcome:
    if e.job.asked == "kill":
        return _ended(because("stopped", "killed on request", "killed on request"))
    if e.job.asked:
        return _ended(because("stopped", "user stop", "on request"))
    return _ended(because("stopped", "outside stop", "cancelled outside rpat (scancel)"))


def _memory(e: JobEvidence) -> Outcome:
    what = f"Slurm job {e.job.job} ran out of memory; --mem asks for more"
    return _ended(because("failed", "host memory", what, peak_mb=e.run.peak_mb))


def _how(job: Submission) -> str:
    return f"{job.said}, exit {job.exit}" if job.exit else job.said
