"""What is known of a run's job, gathered from its row, its journal and its folder."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rpat.rundir import RunDir
from rpat_tui.home import Home, file_system, is_network
from rpat_tui.launch.slurm import words
from rpat_tui.launch.slurm.judge import FAR_LAG, LAG, JobEvidence, Outcome, judge_job
from rpat_tui.launch.slurm.side import silence
from rpat_tui.launch.slurm.turn import STALLED
from rpat_tui.launch.slurm.turns import last_word, printed_reason
from rpat_tui.launch.verdict import Evidence
from rpat_tui.store import queries, submissions
from rpat_tui.store.queue import name_of
from rpat_tui.store.submissions import Submission


def look(home: Home, db: sqlite3.Connection, job: Submission, evidence: Evidence) -> Outcome:
    """Return what the evidence about a run with a job supports."""
    now, n = time.time(), job.run
    attempts = queries.attempts(db, n)
    newest = attempts[-1] if evidence.attempt and attempts else {}
    folder = RunDir(home.runs / name_of(n))
    said: dict[str, Any] = {}
    if words.is_waiting(job.said) and _has_started(db, job, evidence.attempt):
        job = replace(job, said="RUNNING")
    over = words.is_over(job.said)
    if evidence.attempt and (over or words.is_waiting(job.said) or newest.get("ended")):
        said = last_word(db, folder, n, evidence.attempt)
    elif over:
        said = {"why": printed_reason(folder, job.job)}
    starts = [a["from_step"] for a in attempts[-STALLED:] if a["number"]]
    found = JobEvidence(
        run=evidence,
        job=job,
        end=said,
        ended_for=now - (newest.get("ended") or now),
        over_for=(job.seen or 0) - (job.since or 0) if over else 0.0,
        lag=FAR_LAG if is_network(file_system(home.path)) else LAG,
        launches=_launches(db, job),
        later=(_turns_beyond(db, job, evidence.attempt) or 0) > 0,
        stalled=len(starts) == STALLED and len(set(starts)) == 1,
        printed=printed(folder, job.job) if over and not evidence.attempt else "",
        problem=str(silence(db).get("why", "")),
    )
    return judge_job(found)


def _has_started(db: sqlite3.Connection, job: Submission, attempt: int) -> bool:
    """Return whether a job that waits, for all that Slurm has said, is at work by now.

    Slurm counts the turns, and an attempt knows its own: clocks are compared only without that.
    """
    beyond = _turns_beyond(db, job, attempt)
    if beyond is not None:
        return beyond <= 0
    return (job.seen or 0) <= queries.claimed(db, job.run, attempt)


def _turns_beyond(db: sqlite3.Connection, job: Submission, attempt: int) -> int | None:
    """Return how many turns Slurm counts after an attempt's; None where either does not say."""
    turn = queries.claim(db, job.run, attempt).get("restart")
    return None if job.restarts is None or turn is None else job.restarts - int(turn)


def _launches(db: sqlite3.Connection, job: Submission) -> int:
    """Return how many jobs in a row have ended without an attempt, this one included."""
    return sum(
        s.after == job.after and (words.is_over(s.said) or s.number == job.number)
        for s in submissions.of_run(db, job.run)
    )


def printed(folder: RunDir, job: str) -> str:
    """Return the last line that a job printed outside of its attempts, or ''."""
    return _last_line(folder.printed(job))


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:300] if lines else ""
