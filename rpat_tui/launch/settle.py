"""One run's journals and processes into its true state: ingest, gather evidence, judge, move.

It may be called anywhere and at any time: a record is counted once, a state follows from evidence.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

from rpat.identity import Identity, boot_id, is_alive
from rpat.rundir import RunDir
from rpat_tui.home import Home
from rpat_tui.launch.again import retry
from rpat_tui.launch.attend import FULL
from rpat_tui.launch.slurm.judge import Outcome
from rpat_tui.launch.slurm.look import look
from rpat_tui.launch.slurm.turns import untold
from rpat_tui.launch.stuck import Watch
from rpat_tui.launch.verdict import Evidence, Verdict, judge
from rpat_tui.store import queries, submissions
from rpat_tui.store.db import transaction
from rpat_tui.store.ingest import ingest
from rpat_tui.store.queue import FINAL, MOVES, move
from rpat_tui.store.submissions import Submission

LEAVE = 30.0
"""Seconds that a trainer may take from its last word to its end before that word counts."""


def settle(
    home: Home, db: sqlite3.Connection, run: dict[str, Any], watch: Watch | None = None
) -> None:
    """Read one run's journals and move it to the state that the evidence supports."""
    folder = RunDir(home.runs / run["id"])
    # Who lives is asked before the journals are read: a process that ends in between has
    # written its last record by then, and is judged at the next call.
    before = _attempts(db, run["n"])
    newest = folder.attempts()[-1].number if folder.attempts() else 0
    job = submissions.current(db, run["n"]) if run["launcher"] else None
    if newest <= (job.after if job is not None else run["after_attempt"] or 0):
        newest = 0  # queued again: the new attendant has not claimed its attempt yet
    alive = _living(before, newest, run)
    ingest(db, run["n"], folder)
    attempts = _attempts(db, run["n"])
    attempt = attempts.get(newest, {})
    if newest and (attempt.get("trainer"), attempt.get("attendant")) != (
        before.get(newest, {}).get("trainer"), before.get(newest, {}).get("attendant"),
    ):  # fmt: skip
        alive = _living(attempts, newest, run)
        ingest(db, run["n"], folder)
        attempt = _attempts(db, run["n"])[newest]
    if job is not None and newest and not _catch_up(db, folder, job, newest):
        return
    silence = watch.silence(folder, newest) if watch is not None and newest else None
    evidence = _evidence(folder, run, newest, attempt, alive, db, silence)
    outcome = Outcome(judge(evidence)) if job is None else look(home, db, job, evidence)
    if (verdict := outcome.verdict) is None:
        return
    ended = attempt.get("ended") if verdict.state in FINAL else None
    if job is not None and newest and verdict.cause:
        verdict = Verdict(verdict.state, verdict.reason, {**verdict.evidence, "attempt": newest})
    with transaction(db):
        _move(db, run["n"], verdict, ended, attempt.get("began"))
        if outcome.closes:
            submissions.close(db, run["n"])
    if verdict.state == "failed":
        retry(db, run["n"], attempt)
    if verdict.state in FINAL or _epoch(db, run["n"]) > run["epoch"]:
        from rpat_tui.store import findings  # a command that finds nothing new needs no rules

        findings.judge(db, queries.subject_of(db, run["n"]))


def _move(
    db: sqlite3.Connection, n: int, verdict: Verdict, ended: float | None, began: float | None
) -> None:
    """Move a run; one that a cluster started while nobody looked was `starting` in between."""
    state = db.execute("select state from runs where n = ?", (n,)).fetchone()[0]
    if verdict.state not in (state, *MOVES[state]) and "starting" in MOVES[state]:
        move(db, n, "starting", t=began)
    move(db, n, verdict.state, verdict.reason, verdict.evidence, t=ended)


def _catch_up(db: sqlite3.Connection, folder: RunDir, job: Submission, newest: int) -> bool:
    """Tell how the turns of a job ended that were over before anybody looked.

    Returns whether the newest one can be judged.
    """
    past = untold(db, folder, job, newest)
    if past is None:
        return False
    with transaction(db):
        for turn in past:
            _move(db, job.run, turn.verdict, turn.ended, turn.began)
    return True


def _epoch(db: sqlite3.Connection, n: int) -> int:
    return int(db.execute("select epoch from runs where n = ?", (n,)).fetchone()[0])


def _attempts(db: sqlite3.Connection, n: int) -> dict[int, dict[str, Any]]:
    return {row["number"]: row for row in queries.attempts(db, n)}


def _living(
    attempts: dict[int, dict[str, Any]], newest: int, run: dict[str, Any]
) -> dict[str, bool | None]:
    attempt = attempts.get(newest, {})
    launch: Identity | None = None
    if run["pid"]:
        launch = {key: run[key] for key in ("host", "boot", "pid", "started")}  # type: ignore[assignment]
    return {
        "trainer": _alive(attempt.get("trainer")),
        "attendant": _alive(attempt.get("attendant")),
        "launcher": _alive(launch),
    }


def _alive(identity: Identity | None) -> bool | None:
    return is_alive(identity) if identity else False


def _evidence(
    folder: RunDir,
    run: dict[str, Any],
    newest: int,
    attempt: dict[str, Any],
    alive: dict[str, bool | None],
    db: sqlite3.Connection,
    silence: dict[str, Any] | None = None,
) -> Evidence:
    waited = time.time() - (run["since"] or 0)
    if not newest or not attempt:
        return Evidence(
            launched=run["pid"] is not None,
            launcher=alive["launcher"],
            waited=waited,
            disk_full=shutil.disk_usage(folder.path.parent).free < FULL,
        )
    files = next(a for a in folder.attempts() if a.number == newest)
    asked = _content(files.stop)
    known = attempt["trainer"] or attempt["attendant"]
    said = queries.attendant_end(db, run["n"], newest)
    trainer, attendant = alive["trainer"], alive["attendant"]
    if not known:  # the attendant has claimed the attempt and not yet written its first record
        attendant = alive["launcher"] or waited < 1.0
    return Evidence(
        attempt=newest,
        ready=attempt["ready"] is not None,
        ending=attempt["ending"],
        word=attempt["word"],
        exit_code=attempt["exit_code"],
        signal=attempt["signal"],
        error_reason=attempt["error_reason"],
        error_message=attempt["error_message"],
        asked=asked,
        trainer=trainer,
        attendant=attendant,
        leaving=bool(attendant) and _is_leaving(attempt),
        rebooted=bool(known) and known["boot"] != boot_id(),
        last_line=last_line(files.output),
        disk_full=said.get("disk_full", False) or shutil.disk_usage(folder.path).free < FULL,
        began=bool(known),
        **_memory(said, attempt["signal"]),
        **(silence or {}),
        restarts=queries.moves_for(db, run["n"], "stuck") if asked == "stuck" else 0,
    )


def _is_leaving(attempt: dict[str, Any]) -> bool:
    """Return whether a trainer has said its last word so lately that it may still be ending."""
    ended = attempt["exit_code"] is not None or attempt["signal"]
    if attempt["ending"] not in ("end", "stop") or ended:
        return False
    return time.time() - float(attempt["ended"] or 0) < LEAVE


def _memory(said: dict[str, Any], signal: str) -> dict[str, Any]:
    """Return what the attendant saw of memory when the trainer was killed."""
    if signal != "SIGKILL":
        return {}
    found = said.get("oom_kill")
    return {
        "peak_mb": said.get("peak_mb", 0),
        "oom": (found["counter"], found["rose_by"]) if found else None,
    }


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


def last_line(path: Path, size: int = 4096) -> str:
    """Return the last non-empty line of a text file, or ''."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - size))
            lines = stream.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:300] if lines else ""
