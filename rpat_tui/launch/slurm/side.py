"""The cluster as a launcher: what the worker asks of it, and what it answers.

Slurm's commands are called in a thread, one errand at a time: without a controller each takes
seconds to give up, and nothing else may wait for that. The thread knows no database; the worker
writes what it brings back. Requests of people are files and rows; the next errand carries them out.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rpat.rundir import RunDir, replace
from rpat_tui.home import Home, settings
from rpat_tui.launch.slurm import script, turns, words
from rpat_tui.launch.slurm.commands import Commands, Reply, Silent
from rpat_tui.launch.slurm.parse import Job
from rpat_tui.store import submissions
from rpat_tui.store.belonging import fact, set_fact
from rpat_tui.store.db import transaction
from rpat_tui.store.queue import ALL, holds, move, name_of
from rpat_tui.store.submissions import OVER, SUBMITTING, Submission

MISSING = 60.0
"""Seconds for which the cluster must know nothing of a job before that counts."""

UNSENT = 15.0
"""Seconds after which a submission without a job that the cluster does not know is made again.

Should it become a job later, that does not start: a newer one exists.
"""

AFTER = 60.0
"""Seconds beyond its own limit that an attendant has to answer a request to stop."""

BATCH = 50
"""Jobs that are submitted in one errand."""

PAUSE = 30.0
"""Seconds until a submission that was refused for now is tried again."""

SILENT = "slurm_silent"
"""The fact that says since when, and why, Slurm gives no answer."""


@dataclass(frozen=True, slots=True)
class Paper:
    """A submission ready to be sent."""

    made: Submission
    folder: Path
    device: str
    asked: dict[str, str]
    cards: int = 1

    def options(self, *, gpus: bool) -> list[str]:
        """Return the words after `sbatch`."""
        return script.options(
            self.folder, self.made.name, self.asked, self.device, gpus=gpus, cards=self.cards
        )

    @property
    def environment(self) -> list[str]:
        """Names of variables that the job gets beside the usual ones."""
        return [name for name in self.asked.get("pass_env", "").split(",") if name]


@dataclass(slots=True)
class Errand:
    """What is asked of the cluster in one go, and what came of it."""

    papers: list[Paper] = field(default_factory=list)
    cancel: dict[str, str] = field(default_factory=dict)  # numbers by name
    known: list[Submission] = field(default_factory=list)
    nodes: dict[int, str] = field(default_factory=dict)  # of the newest attempts, by run
    replies: dict[str, Reply] = field(default_factory=dict)  # by name; none: it was not sent
    jobs: dict[str, Job] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    asked: float = 0.0  # when the cluster was asked for its jobs
    problem: str = ""  # why nothing is known


class Slurm:
    """The cluster that the commands on this machine talk to."""

    def __init__(
        self,
        home: Home,
        say: Callable[[str], None] = lambda text: None,
        commands: Commands | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.home, self.say, self.clock = home, say, clock
        self.commands = commands or Commands()
        known = settings()
        self.every = float(known["launcher.slurm.poll_every"].value)
        self.limit = int(known["launcher.slurm.in_flight"].value)
        self.grace = float(known["stop_grace"].value)
        self._thread: threading.Thread | None = None
        self._errand: Errand | None = None
        self._sent: set[str] = set()
        self._due = float("-inf")
        self._wait_until = float("-inf")
        self._gpus: bool | None = None

    # ------------------------------------------------------------- requests

    def stop(self, db: sqlite3.Connection, n: int, word: str) -> str:
        """Ask for the work to be saved; a job that waits is taken back."""
        return self._ask(db, n, word)

    def kill(self, db: sqlite3.Connection, n: int, word: str = "kill") -> str:
        """Let the attendant end the trainer at once, and Slurm the job."""
        return self._ask(db, n, word)

    def _ask(self, db: sqlite3.Connection, n: int, word: str) -> str:
        made = submissions.current(db, n)
        if made is None:
            return ""
        run = RunDir(self.home.runs / name_of(n))
        attempts = [a for a in run.attempts() if a.number > made.after]
        if attempts:
            replace(attempts[-1].stop, lambda stream: stream.write(word.encode()))
        submissions.withdraw(self.home, db, made, word)
        state = db.execute("select state from runs where n = ?", (n,)).fetchone()[0]
        if state == "queued":  # whoever starts it now sees that nobody wants it
            submissions.close(db, n)
        return ""

    # ------------------------------------------------------------- what the worker does

    def submit(self, db: sqlite3.Connection) -> None:
        """Send the next errand, when there is one and none is under way; returns at once."""
        if self._thread is not None:
            return
        now, followed = self.clock(), submissions.followed(db)
        ready = submissions.submittable(db, BATCH) if now >= self._wait_until else []
        if ready and ALL in holds(db):
            ready = []
        unwanted = {s.name: s.job for s in followed if s.job and self._is_unwanted(s)}
        fresh = unwanted.keys() - self._sent
        due = now >= self._due and bool(followed or ready)
        papers = [] if silence(db) else self._write(db, ready)
        if not (papers or fresh or due):
            return
        cancel = {name: job for name, job in unwanted.items() if due or name in fresh}
        self._sent |= unwanted.keys()
        self._errand = Errand(papers=papers, cancel=cancel, known=followed, nodes=turns.nodes(db))
        self._thread = threading.Thread(target=self._go, args=(self._errand,), daemon=True)
        self._thread.start()

    def poll(self, db: sqlite3.Connection) -> bool:
        """Take in what an errand brought back."""
        if self._thread is None or self._thread.is_alive():
            return False
        errand, self._thread, self._errand = self._errand, None, None
        assert errand is not None
        self._due = self.clock() + self.every
        with transaction(db):
            for paper in errand.papers:
                self._submitted(db, paper.made, errand.replies.get(paper.made.name))
            self._note_silence(db, errand.problem)
            if not errand.problem:
                self._learn(db, errand)
        return True

    def close(self) -> None:
        """Let go; an errand under way ends by itself, and is looked up by the next worker."""
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    # ------------------------------------------------------------- papers

    def _write(self, db: sqlite3.Connection, ready: Sequence[dict[str, Any]]) -> list[Paper]:
        """Write down what will be submitted, before it is; as many as may be in flight."""
        if not ready:
            return []
        papers = []
        counts = submissions.in_flight(db)
        for run in ready:
            asked = json.loads(run["resources"])
            if not (self.home.runs / run["id"]).is_dir():
                continue  # reindex forgets it
            if self.limit and counts[""] >= self.limit:
                break
            own = int(asked.get("in_flight") or 0)
            if own and counts.get(run["sweep"], 0) >= own:
                continue
            with transaction(db):
                made = submissions.begin(self.home, db, run["n"], run["uid"], run["attempt"])
            counts[""] += 1
            counts[run["sweep"]] = counts.get(run["sweep"], 0) + 1
            folder = self.home.runs / run["id"]
            papers.append(Paper(made, folder, run["device"], asked, run["gpus"]))
        return papers

    def _submitted(self, db: sqlite3.Connection, made: Submission, reply: Reply | None) -> None:
        if reply is not None and reply.job:
            submissions.submitted(self.home, db, made, reply.job)
            self.say(f"{name_of(made.run)} is Slurm job {reply.job}")
            return
        if reply is None:  # nobody answered, so it was not sent: it never was
            submissions.forget(self.home, db, made)
            return
        if reply.is_unsure:
            # It may have become a job all the same: then it is found by its name and cancelled,
            # and should it start before that, its attendant sees that nobody wants it.
            submissions.withdraw(self.home, db, made, made.asked or "refused")
            submissions.close(db, made.run)
        else:
            submissions.forget(self.home, db, made)
        row = db.execute("select state from runs where n = ?", (made.run,)).fetchone()
        state = row[0] if row else ""  # it was deleted meanwhile
        if reply.is_temporary:
            self._wait_until = self.clock() + PAUSE
            if state == "queued":
                move(db, made.run, "queued", f"waits for Slurm: {reply.problem}")
        elif state == "queued":
            reason = f"Slurm refused the job: {reply.problem}"
            move(db, made.run, "starting", "", {"by": "the worker"})
            move(db, made.run, "failed", reason, {"cause": "refused", "by": "Slurm"})
            self.say(f"{name_of(made.run)}: {reason}")

    # ------------------------------------------------------------- what is not wanted any more

    def _unwanted(self, followed: Sequence[Submission]) -> list[str]:
        return [s.job for s in followed if s.job and self._is_unwanted(s)]

    def _is_unwanted(self, s: Submission) -> bool:
        """Return whether Slurm must be told to end a job: its attendant was not there to do it."""
        now = time.time()
        if s.asked in ("kill", "stuck") or (s.asked and s.closed):
            return True
        overdue = self.grace + AFTER
        if s.asked:
            return now - (s.asked_at or now) > overdue
        if s.closed is None:
            return False
        return words.is_waiting(s.said) or not s.said or now - s.closed > overdue

    # ------------------------------------------------------------- in the thread

    def _go(self, errand: Errand) -> None:
        """Look first: where nobody answers, nothing is sent."""
        try:
            if self._gpus is None:
                self._gpus = self.commands.has_gpus()
            self._look(errand)
            if jobs := self._still(errand):
                self.commands.cancel(jobs)
            for paper in errand.papers:
                errand.replies[paper.made.name] = self.commands.submit(
                    paper.options(gpus=self._gpus),
                    script.script(paper.folder, paper.made.number, paper.asked, self.grace),
                    paper.environment,
                )
            if jobs or errand.papers:
                self._look(errand)
            self._ask_accounting(errand)
        except Silent as why:
            errand.problem = str(why)

    def _still(self, errand: Errand) -> list[str]:
        """Return the jobs to cancel that are still there under their names.

        A controller that lost its state gives the same numbers to other jobs.
        """
        there = {name: job for name, job in errand.jobs.items() if not words.is_over(job.state)}
        return [n for name, n in errand.cancel.items() if name in there and there[name].id == n]

    def _look(self, errand: Errand) -> None:
        asked = time.time()
        errand.jobs, errand.asked = self.commands.queue(), asked

    def _ask_accounting(self, errand: Errand) -> None:
        left = [s for s in errand.known if s.name not in errand.jobs]
        found = self.commands.history([s.job for s in left if s.job])
        found |= self.commands.history([], [s.name for s in left if not s.job])
        errand.jobs |= {s.name: found[s.name] for s in left if s.name in found}
        for s in errand.known:
            job = errand.jobs.get(s.name)
            if job is None or not words.is_waiting(job.state):
                continue
            was_there = s.said and not words.is_waiting(s.said) and not words.is_over(s.said)
            turned = (job.restarts or 0) > (s.restarts or 0)
            node = errand.nodes.get(s.run) or s.node
            if (was_there or turned) and node:
                errand.troubles[s.name] = self.commands.node(node)

    # ------------------------------------------------------------- what was learned

    def _note_silence(self, db: sqlite3.Connection, problem: str) -> None:
        known = fact(db, SILENT) or ""
        if bool(known) == bool(problem):
            return
        text = json.dumps({"since": time.time(), "why": problem}) if problem else ""
        set_fact(db, SILENT, text)
        self.say(f"Slurm does not answer: {problem}" if problem else "Slurm answers")

    def _learn(self, db: sqlite3.Connection, errand: Errand) -> None:
        now = errand.asked
        for s in submissions.followed(db):
            if s.name in errand.jobs:
                self._take_in(db, s, errand.jobs[s.name], errand.troubles.get(s.name), now)
            elif s.name in {known.name for known in errand.known}:
                self._miss(db, s, now)

    def _take_in(
        self, db: sqlite3.Connection, s: Submission, job: Job, trouble: str | None, now: float
    ) -> None:
        changes: dict[str, Any] = {"seen": now, "missing": None, "why": job.why}
        if s.state == SUBMITTING:
            submissions.submitted(self.home, db, s, job.id)
        if job.state != s.said:
            changes |= {"said": job.state, "since": now}
        if job.node:
            changes["node"] = job.node
        if job.exit:
            changes["exit"] = job.exit
        if job.restarts is not None:
            changes["restarts"] = job.restarts
        if trouble is not None:
            changes["trouble"] = trouble if words.is_trouble(trouble) else ""
        if words.is_over(job.state) and s.closed is not None:
            changes["state"] = OVER
        submissions.update(db, s, **changes)

    def _miss(self, db: sqlite3.Connection, s: Submission, now: float) -> None:
        """The cluster answers, and knows nothing of a job: what it said before is no newer now."""
        if s.state == SUBMITTING:  # its worker died before it was sent
            if now - s.t > UNSENT:
                submissions.withdraw(self.home, db, s, "refused")
                submissions.update(db, s, closed=now, state=OVER)
            return
        missing = s.missing or now
        changes: dict[str, Any] = {"missing": missing}
        if now - missing >= MISSING or s.said in words.OVER:
            if s.closed is not None:
                changes["state"] = OVER
            elif s.said not in words.OVER:
                changes |= {"said": words.GONE, "since": now}
            changes["seen"] = now
        submissions.update(db, s, **changes)


def silence(db: sqlite3.Connection) -> dict[str, Any]:
    """Return since when (`since`) and why (`why`) Slurm gives no answer; empty where it does."""
    known = fact(db, SILENT)
    found: dict[str, Any] = json.loads(known) if known else {}
    return found
