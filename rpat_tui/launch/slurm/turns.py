"""The turns of one job: what is left of each, also when nobody looked before the next one began.

A job that is preempted, requeued, out of time or taken off its node keeps its number and starts
again, within a second if there is room. So what happened is read from the attempts' own files and
never from when somebody looked.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from rpat.rundir import RunDir
from rpat_tui.launch.slurm import parse, words
from rpat_tui.launch.slurm.judge import PERSON, left
from rpat_tui.launch.verdict import Verdict, because
from rpat_tui.store import queries
from rpat_tui.store.submissions import Submission


@dataclass(frozen=True, slots=True)
class Past:
    """A turn that was followed by another one; times are UTC seconds of its own host."""

    attempt: int
    verdict: Verdict
    began: float | None
    ended: float | None


def last_word(db: sqlite3.Connection, folder: RunDir, n: int, attempt: int) -> dict[str, Any]:
    """Return what is known of why a turn ended: `heard`, `why`, and more where it could say it.

    An attendant that was killed before its last word has written down the signals; where it could
    not do that either, Slurm has printed its reason into the job's output.
    """
    found: dict[str, Any] = {}
    for record in queries.attendant(db, n, attempt, ("signal", "end")):
        found |= record.get("slurm", {}) if record["kind"] == "end" else record
    found.pop("kind", None)
    if found.get("why", "") not in ("", "signal") or found.get("again"):
        return found  # whoever asks for another turn himself is requeued, and that is not why
    if why := _printed(db, folder, n, attempt):
        found["why"] = why
    return found


def _printed(db: sqlite3.Connection, folder: RunDir, n: int, attempt: int) -> str:
    about = queries.claim(db, n, attempt)
    following = queries.claim(db, n, attempt + 1)
    if "printed" not in about:
        return ""
    end = following.get("printed") if following.get("job") == about["job"] else None
    return printed_reason(folder, about["job"], about["printed"], end)


def printed_reason(folder: RunDir, job: str, start: int = 0, end: int | None = None) -> str:
    """Return why Slurm ended a job, as it says in the job's output from byte `start`; or ''."""
    try:
        with folder.printed(job).open("rb") as stream:
            stream.seek(start)
            text = stream.read(-1 if end is None else max(0, end - start))
    except OSError:
        return ""
    return parse.due_to(text.decode("utf-8", "replace"))


def untold(
    db: sqlite3.Connection, folder: RunDir, job: Submission, newest: int
) -> list[Past] | None:
    """Return the turns of a job before its newest one whose ends no move of the run tells.

    None where the newest attendant is about to write how it found the place of the last one.
    """
    if newest <= job.after + 1:
        return []
    told = {
        attempt: cause
        for attempt, cause in db.execute(
            "select json_extract(evidence, '$.attempt'), json_extract(evidence, '$.cause') "
            "from transitions where run = ? and new = 'queued' order by id", (job.run,)
        )
        if attempt is not None
    }  # fmt: skip
    found = []
    for a in queries.attempts(db, job.run):
        number = a["number"]
        if not job.after < number < newest or a["ending"] == "end" or a["word"] in PERSON:
            continue
        word = last_word(db, folder, job.run, number)
        following = queries.claim(db, job.run, number + 1)
        if not word and not following and not words.is_over(job.said):
            return None
        trouble = following.get("left", "")
        cause, sentence = left(word, a["ending"], trouble if words.is_trouble(trouble) else "")
        if number in told and (cause == told[number] or cause == "requeued"):
            continue
        reason = f"{sentence}; Slurm started job {job.job} again"
        verdict = because("queued", cause, reason, attempt=number)
        found.append(Past(number, verdict, a["began"], a["ended"]))
    return found


def nodes(db: sqlite3.Connection) -> dict[int, str]:
    """Return the node of the newest attempt of each run whose job may still exist."""
    rows = db.execute(
        "select e.run, e.body from events e join submissions s on s.run = e.run "
        "where s.closed is null and e.file = 'attendant' and e.kind = 'begin' order by e.attempt"
    )
    return {run: json.loads(body).get("slurm", {}).get("node", "") for run, body in rows}
