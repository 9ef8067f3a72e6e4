"""The Slurm launcher without Slurm: recorded outputs, the judgement, a cluster of words."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rpat.journal import VERSION, Journal
from rpat.rundir import RunDir
from rpat_tui import placement
from rpat_tui.home import Home
from rpat_tui.launch import anew, control
from rpat_tui.launch.automatic import queue_evaluations
from rpat_tui.launch.causes import CAUSES
from rpat_tui.launch.rebuild import rebuild
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.launch.slurm import judge as judging
from rpat_tui.launch.slurm import parse, script, side, turn, words
from rpat_tui.launch.slurm.commands import Commands, Reply, Silent, clean
from rpat_tui.launch.slurm.judge import JobEvidence, judge_job
from rpat_tui.launch.slurm.parse import Job
from rpat_tui.launch.slurm.side import Slurm
from rpat_tui.launch.verdict import Evidence
from rpat_tui.store import db as database
from rpat_tui.store import index, queries, queue, submissions
from rpat_tui.store.submissions import Submission
from tests.console.conftest import STANDIN, Rpat, refused

# ----------------------------------------------------------------- recorded outputs (22.05.8)

QUEUE = """\
2         |wrap                   |PENDING   |Resources  |          |0         |
4         |rpat-r0002-9e5853df-1  |RUNNING   |None       |n1        |0         |
3         |a|name                 |COMPLETED |None       |n1        |0         |
7         |rpat-r0005-1cbe7f7a-1  |PENDING   |BeginTime  |          |2         |
9_[1-4]   |array                  |PENDING   |Priority   |          |0         |
12        |wrap                   |RUNNING   |None       |n[1-2]    |0         |
slurm_load_jobs error: noise
"""

HISTORY = """\
7|rpat-r0005-1cbe7f7a-1|CANCELLED by 0|0:15|n2|2026-11-23T01:49:46|2026-11-23T01:49:52
8|rpat-r0006-1cbe7f7a-1|FAILED|85:0|n1|2026-11-23T01:49:46|2026-11-23T01:49:52
9|rpat-r0007-1cbe7f7a-1|PENDING|0:0|None assigned|Unknown|Unknown
"""

STEPD = {
    "time limit": "slurmstepd-n1: error: *** JOB 2 ON n1 CANCELLED AT 2026-11-23T05:07:34 DUE TO "
    "TIME LIMIT ***\n",
    "preempted": "slurmstepd-n1: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-23T04:41:30 DUE TO "
    "PREEMPTION ***\nTerminated\n",
    "requeued": "slurmstepd-n1: error: *** JOB 3 ON n1 CANCELLED AT 2026-11-23T04:44:02 DUE TO "
    "JOB REQUEUE ***\n",
    "node failed": "slurmstepd-n1: error: *** JOB 5 ON n1 CANCELLED AT 2026-11-23T04:44:23 DUE TO "
    "NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***\n",
    "host memory": "slurmstepd-n1: error: StepId=1.batch exceeded memory limit (80863232 > "
    "8388608), being killed\nslurmstepd-n1: error: *** JOB 1 ON n1 CANCELLED AT "
    "2026-11-23T05:07:07 ***\nslurmstepd-n1: error: Exceeded job memory limit\n",
    "": "slurmstepd-n1: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-23T05:07:07 ***\nbye\n",
}

JOB = (
    "JobId=1 JobName=j.sh UserId=root(0) JobState=RUNNING Reason=None Dependency=(null) Requeue=1 "
    "Restarts=0 EndTime={end} PreemptTime={preempted} Partition=low NodeList=n1 StdIn=/dev/null"
)


def test_the_queue_is_read_by_name_whatever_a_name_holds() -> None:
    found = parse.queue(QUEUE)
    assert set(found) == {
        "wrap", "rpat-r0002-9e5853df-1", "a|name", "rpat-r0005-1cbe7f7a-1",
    }  # fmt: skip
    assert found["rpat-r0002-9e5853df-1"] == Job(
        id="4", name="rpat-r0002-9e5853df-1", state="RUNNING", node="n1", restarts=0
    )
    assert found["rpat-r0005-1cbe7f7a-1"].restarts == 2
    assert found["wrap"].id == "12"
    assert parse.queue("") == {}


def test_accounting_is_read_by_the_first_word_of_a_state() -> None:
    found = parse.history(HISTORY)
    assert [(job.state, job.exit, job.node) for job in found.values()] == [
        ("CANCELLED", "0:15", "n2"), ("FAILED", "85:0", "n1"), ("PENDING", "0:0", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("cause", STEPD)
def test_why_a_job_ends_is_read_from_its_output(cause: str) -> None:
    assert parse.due_to("starting\n" + STEPD[cause]) == cause
    assert not cause or cause in CAUSES


@pytest.mark.parametrize(
    ("printed", "job"),
    [("12\n", "12"), ("12;cluster\n", "12"), ("sbatch: lua: hello\n12\n", "12"), ("", ""),
     ("Submitted batch job 12\n", "")],
)  # fmt: skip
def test_the_number_of_a_job_is_what_sbatch_prints_last(printed: str, job: str) -> None:
    assert parse.job_id(printed) == job


@pytest.mark.parametrize(
    ("stderr", "said", "temporary", "unsure"),
    [
        ("sbatch: error: invalid partition specified: nope\n"
         "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
         "Batch job submission failed: Invalid partition name specified", False, False),
        ("sbatch: unrecognized option '--bogus'\nTry \"sbatch --help\" for more information\n",
         "unrecognized option '--bogus'", False, False),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller "
         "(connect failure)\n",
         "Batch job submission failed: Unable to contact slurm controller (connect failure)",
         True, True),
        ("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job "
         "submit limit, user's size and/or time limits)\n",
         "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, "
         "user's size and/or time limits)", True, False),
        ("squeue: error: s_p_parse_file: cannot stat\nsqueue: fatal: Unable to process "
         "configuration file\n", "Unable to process configuration file", False, False),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_slurms_own_words(
    stderr: str, said: str, temporary: bool, unsure: bool
) -> None:
    assert parse.one_line(stderr) == said
    assert (parse.is_temporary(said), parse.is_unsure(said)) == (temporary, unsure)


# ----------------------------------------------------------------- what is asked for


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", None), ("90", 5400), ("1:30", 90), ("4:00:00", 14400), ("2-12", 216000),
     ("1-00:30", 88200), ("1-00:00:10", 86410)],
)  # fmt: skip
def test_time_limits_are_read_as_slurm_reads_them(text: str, seconds: int | None) -> None:
    assert placement.seconds(text) == seconds


def test_the_work_is_saved_before_half_of_a_short_limit_is_over() -> None:
    assert script.warning({}) == 120
    assert script.warning({"time": "4:00:00", "signal": "300"}) == 300
    assert script.warning({"time": "2", "signal": "120"}) == 60


def test_the_command_line_names_everything_and_doubles_per_cent_signs(tmp_path: Path) -> None:
    run = tmp_path / "100%" / "r0001"
    found = script.options(
        run, "rpat-r0001-x-1",
        {"time": "60", "partition": "low", "cpus": "4", "sbatch": "--nice --exclude='n 7'"},
        "auto", gpus=True,
    )  # fmt: skip
    assert {"--requeue", "--open-mode=append", "--job-name=rpat-r0001-x-1", "--gres=gpu:1",
            "--signal=B:USR1@120", "--time=60", "--partition=low", "--cpus-per-task=4",
            f"--chdir={run}"} <= set(found)  # fmt: skip
    assert found[-2:] == ["--nice", "--exclude=n 7"]
    assert f"--output={tmp_path}/100%%/r0001/submissions/slurm-%j.out" in found


@pytest.mark.parametrize(
    ("gres", "device", "gpus", "asked"),
    [("", "auto", True, "gpu:1"), ("", "auto", False, ""), ("", "cpu", True, ""),
     ("", "cuda", False, "gpu:1"), ("none", "auto", True, ""), ("gpu:a100:2", "auto", True,
     "gpu:a100:2")],
)  # fmt: skip
def test_a_gpu_is_asked_for_where_there_are_any(
    gres: str, device: str, gpus: bool, asked: str
) -> None:
    assert script.wanted_gres(gres, device, gpus=gpus) == asked


def test_the_script_becomes_the_attendant_so_that_nothing_is_orphaned(tmp_path: Path) -> None:
    asked = {"setup": "module load x", "python": "/opt/py thon"}
    lines = script.script(tmp_path / "a b", 3, asked, 600).splitlines()
    assert lines[0] == "#!/bin/bash"
    assert lines[1] == "trap '' USR1"
    assert lines[2] == f"cd '{tmp_path}/a b' || exit 78"
    assert lines[3] == "module load x"
    assert lines[-1] == f"exec '/opt/py thon' -m rpat_tui.launch.attend '{tmp_path}/a b' 3"


def test_jobs_get_no_secrets_and_nothing_of_an_outer_job() -> None:
    env = {
        "PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "SLURM_CONF": "/c", "SLURM_JOB_ID": "9",
        "SBATCH_ACCOUNT": "x", "API_TOKEN": "secret", "RPAT_DATA": "/d",
        "RPAT_NOTIFY_WEBHOOK": "https://", "RPAT_ATTEMPT": "3", "MODULEPATH": "/m",
    }  # fmt: skip
    kept = {"PATH", "HOME", "LC_ALL", "SLURM_CONF", "RPAT_DATA"}
    assert set(clean(env)) == kept
    assert set(clean(env, ["MODULEPATH"])) == {*kept, "MODULEPATH"}


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (("--launcher", "pbs"), ("--launcher pbs", "local or slurm")),
        (("--partition", "low"), ("--partition", "--launcher slurm")),
        (("--launcher", "slurm", "--time", "soon"), ("--time soon", "HH:MM:SS")),
        (("--launcher", "slurm", "--cpus", "many"), ("--cpus many", "whole number")),
        (("--launcher", "slurm", "--sbatch", "--array=1-3"), ("--array=1-3", "rpat itself")),
        (("--launcher", "slurm", "--partition", "a b"), ("--partition 'a b'", "one word")),
    ],
)
def test_a_wish_that_cannot_be_meant_is_refused(
    rpat: Rpat, nowhere: Path, words: tuple[str, ...], fragments: tuple[str, ...]
) -> None:
    refused(rpat("run", "--method", "pgd-at", "--dataset", "digits", *words), *fragments)
    assert not nowhere.exists()


def test_a_machine_without_slurm_sends_nothing_to_it(
    rpat: Rpat, nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ("run", "--method", "pgd-at", "--dataset", "digits")
    refused(rpat(*words, "--launcher", "slurm"), "no sbatch on this machine", "--launcher local")
    monkeypatch.setenv("RPAT_LAUNCHER", "slurm")
    refused(rpat(*words), "no sbatch on this machine")
    assert not nowhere.exists()


def test_settings_of_a_cluster_stand_in_a_table_of_their_own(
    rpat: Rpat, nowhere: Path, tmp_path: Path
) -> None:
    (tmp_path / "rpat.toml").write_text(
        '[launcher]\ndefault = "slurm"\n[launcher.slurm]\npartition = "low"\ncpus = 2\n'
    )
    found = {row["name"]: row["value"] for row in rpat("config", "--json").json}
    assert (found["launcher.default"], found["launcher.slurm.partition"]) == ("slurm", "low")
    assert placement.resolve(None, {"time": "60"}) == (
        "slurm",
        {"partition": "low", "time": "60", "cpus": "2", "signal": "120", "turns": "20"},
    )
    assert placement.resolve("local", {}) == ("", {})
    (tmp_path / "rpat.toml").write_text('[launcher.slurm]\npartitoin = "low"\n')
    refused(rpat("config"), "launcher.slurm.partitoin", "is not a setting")


# ----------------------------------------------------------------- the judgement

SAVED = {"attempt": 1, "ending": "stop", "exit_code": 85}
USR1 = {**SAVED, "word": "SIGUSR1", "asked": "SIGUSR1"}
TERM = {**SAVED, "word": "SIGTERM", "asked": "SIGTERM"}
GOES = {"attempt": 1, "ready": True}
LATER = {"over_for": 10.0, "ended_for": 100.0}
LIMIT = {"heard": ["SIGUSR1"], "why": "time limit", "again": True, "because": ""}
PREEMPTED = {"heard": ["SIGUSR1"], "why": "preempted", "again": True, "because": ""}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str, str, bool]] = {
    # what is told of it: attempt, job, more -> state, part of the reason, is the job over for us
    "a job without a number is being submitted": (
        {}, {"state": "submitting", "job": ""}, {}, "queued", "is being submitted", False),
    "a job that waits says for what": (
        {}, {"said": "PENDING", "why": "Priority"}, {}, "queued", "other jobs come first", False),
    "a hopeless reason asks for attention": (
        {}, {"said": "PENDING", "why": "JobHeldUser"}, {}, "queued", "needs your attention", False),
    "an unknown reason is shown as it is": (
        {}, {"said": "PENDING", "why": "Moon"}, {}, "queued", "waits: Moon", False),
    "a job that runs without its attendant starts": (
        {}, {"said": "RUNNING", "node": "n1"}, {}, "starting", "starts on n1", False),
    "an unknown word is no end": ({}, {"said": "STAGE_OUT"}, {}, "starting", "", False),
    "a launch failure is tried again": (
        {}, {"said": "FAILED", "exit": "1:0"}, LATER, "queued", "(FAILED, exit 1:0)", True),
    "the third launch failure counts": (
        {}, {"said": "FAILED"}, {**LATER, "launches": 3, "printed": "no python"},
        "failed", "no python", True),
    "a job that was forgotten before it began is made again": (
        {}, {"said": "GONE"}, LATER, "queued", "forgot job 12", True),
    "a job cancelled before it began is stopped": (
        {}, {"said": "CANCELLED"}, LATER, "stopped", "outside rpat", True),
    "a job that was taken back is stopped": (
        {}, {"said": "CANCELLED", "asked": "stop"}, LATER, "stopped", "on request", True),
    "a node that failed before the beginning costs nothing": (
        {}, {"said": "NODE_FAIL"}, LATER, "queued", "its node failed", True),

    "the journal's end beats every word of Slurm": (
        {"attempt": 1, "ending": "end"}, {"said": "NODE_FAIL"}, LATER, "done", "", True),
    "the journal's end beats a silent controller": (
        {"attempt": 1, "ending": "end"}, {"said": "RUNNING"}, {}, "done", "", True),
    "a run at work runs": (GOES, {"said": "RUNNING"}, {}, "running", "", False),
    "completing is no end": (GOES, {"said": "COMPLETING"}, {}, "running", "", False),
    "images are fetched first": ({"attempt": 1}, {"said": "RUNNING"}, {}, "starting", "", False),
    "a pause is under way": (
        {**GOES, "asked": "pause"}, {"said": "RUNNING"}, {}, "pausing", "", False),
    "a silent run on a cluster may be stuck": (
        {**GOES, "quiet": 700.0, "patience": 600.0}, {"said": "RUNNING"}, {},
        "running", "may be stuck", False),
    "a job taken off a node that failed says so": (
        GOES, {"said": "PENDING", "why": "BeginTime", "trouble": "down* (Not responding)"}, {},
        "queued", "its node failed (down* (Not responding))", False),
    "a job taken off a node that is well says that nobody knows why": (
        GOES, {"said": "PENDING", "why": "BeginTime"}, {}, "queued", "without a word", False),
    "an attendant that was killed had written down why": (
        GOES, {"said": "PENDING", "why": "BeginTime"}, {"end": {"heard": ["SIGTERM"],
        "why": "preempted"}}, "queued", "was preempted; Slurm job 12 waits", False),
    "a time-out without a word goes on from its checkpoint": (
        GOES, {"said": "TIMEOUT"}, LATER, "queued", "ran out of time; goes on", True),
    "a node that failed goes on elsewhere": (
        GOES, {"said": "NODE_FAIL"}, LATER, "queued", "its node failed; goes on", True),
    "a next turn that never began says nothing against the run": (
        GOES, {"said": "FAILED", "exit": "1:0"}, {**LATER, "later": True},
        "queued", "did not start its next turn (FAILED, exit 1:0); goes on", True),
    "nor does it when the turn before was killed": (
        {"attempt": 1, "signal": "SIGKILL"}, {"said": "FAILED"}, {**LATER, "later": True},
        "queued", "did not start its next turn", True),
    "an end without a word is a failure": (
        GOES, {"said": "FAILED", "exit": "1:0"}, LATER, "failed", "without a last word", True),
    "memory that ran out is not tried again unchanged": (
        GOES, {"said": "OUT_OF_MEMORY"}, LATER, "failed", "--mem", True),
    "scancel of a run at work is told from a request": (
        GOES, {"said": "CANCELLED"}, LATER, "stopped", "outside rpat", True),
    "a kill is what was asked for": (
        GOES, {"said": "CANCELLED", "asked": "kill"}, LATER, "stopped", "killed on request", True),
    "a job nobody knows, without an end, is lost": (
        GOES, {"said": "GONE"}, LATER, "lost", "knows nothing of job 12", False),
    "a lost job can be given up": (
        GOES, {"said": "GONE", "asked": "kill"}, LATER, "stopped", "given up", True),

    "a stop keeps its word": (
        {**SAVED, "word": "stop", "asked": "stop"}, {"said": "RUNNING"}, {},
        "stopped", "on request", True),
    "a pause keeps its word": (
        {**SAVED, "word": "pause", "asked": "pause"}, {"said": "FAILED"}, LATER,
        "paused", "on request", True),
    "the time limit leads to another turn": (
        USR1, {"said": "RUNNING"}, {"end": LIMIT}, "queued", "Slurm starts job 12 again", False),
    "another turn waits for its place": (
        USR1, {"said": "PENDING", "why": "BeginTime"}, {"end": LIMIT},
        "queued", "waits: BeginTime", False),
    "a requeue that Slurm refused becomes another job": (
        USR1, {"said": "FAILED"}, {"end": LIMIT, **LATER}, "queued", "goes on", True),
    "preemption is named": (
        USR1, {"said": "RUNNING"}, {"end": PREEMPTED}, "queued", "was preempted", False),
    "a turn that did not save in time says so": (
        {"attempt": 1, "ending": "forced", "word": "115", "asked": "SIGUSR1", "signal": "SIGKILL"},
        {"said": "RUNNING"}, {"end": LIMIT}, "queued", "did not save its work in time", False),
    "turns without progress end": (
        USR1, {"said": "FAILED"}, {"end": {**LIMIT, "again": False, "because": "no progress"}},
        "failed", "too short", True),
    "turns have a number": (
        USR1, {"said": "FAILED"}, {"end": {**LIMIT, "again": False, "because": "turns"}},
        "stopped", "as often as was allowed", True),
    "jobs without progress end as well": (
        GOES, {"said": "TIMEOUT"}, {**LATER, "stalled": True}, "failed", "too short", True),
    "a saved scancel is stopped": (
        TERM, {"said": "CANCELLED"}, LATER, "stopped", "outside rpat", True),
    "a saved preemption without a warning goes on": (
        TERM, {"said": "PREEMPTED"}, LATER, "queued", "goes on", True),
    "a saved signal that was no scancel goes on": (
        TERM, {"said": "FAILED"}, {"end": {"heard": ["SIGTERM"], "why": "signal"}, **LATER},
        "queued", "saved its work when told to", True),
    "a signal of a job that nobody knows any more is a stop": (
        TERM, {"said": "GONE"}, {"end": {"heard": ["SIGTERM"], "why": "signal"}, **LATER},
        "stopped", "SIGTERM from outside", True),
    "a signal before the handlers are there goes on": (
        {"attempt": 1, "signal": "SIGTERM"}, {"said": "FAILED"},
        {"end": {"heard": ["SIGTERM"]}, **LATER}, "queued", "told to end", True),
    "early preemption three times is bad luck": (
        GOES, {"said": "PREEMPTED"}, {**LATER, "stalled": True}, "queued", "goes on", True),

    "a crash is the run's own": (
        {"attempt": 1, "exit_code": 1, "error_reason": "error", "error_message": "x is 3"},
        {"said": "RUNNING"}, {}, "failed", "x is 3", True),
    "a kill by Slurm has Slurm's reason": (
        {"attempt": 1, "signal": "SIGKILL"}, {"said": "TIMEOUT"}, LATER,
        "queued", "ran out of time", True),
    "a kill by nobody that Slurm knows is a kill": (
        {"attempt": 1, "signal": "SIGKILL"}, {"said": "FAILED"}, LATER,
        "failed", "killed by SIGKILL", True),
    "a kill by the kernel is known by its counter": (
        {"attempt": 1, "signal": "SIGKILL", "oom": ("memory.events", 1)}, {"said": "RUNNING"}, {},
        "failed", "out of memory", True),
}  # fmt: skip


def evidence(attempt: dict[str, Any], job: dict[str, Any], more: dict[str, Any]) -> JobEvidence:
    known = {"state": "submitted", "job": "12"} | job
    made = Submission(run=1, number=1, name="rpat-r0001-x-1", after=0, t=0.0, **known)
    return JobEvidence(run=Evidence(**attempt), job=made, **more)


@pytest.mark.parametrize("case", CASES)
def test_every_word_of_slurm_leads_to_a_true_state(case: str) -> None:
    attempt, job, more, state, reason, closes = CASES[case]
    found = judge_job(evidence(attempt, job, more))
    assert found.verdict is not None
    assert (found.verdict.state, found.closes) == (state, closes)
    assert reason in found.verdict.reason
    assert not found.verdict.cause or found.verdict.cause in CAUSES


@pytest.mark.parametrize(
    ("attempt", "job", "more"),
    [
        (GOES, {"said": "FAILED"}, {"over_for": 0.0}),
        ({}, {"said": "FAILED"}, {"over_for": 0.0}),
        (TERM, {"said": "RUNNING"}, {"ended_for": 1.0}),
        ({"attempt": 1, "signal": "SIGKILL"}, {"said": "RUNNING"}, {"ended_for": 1.0}),
    ],
)
def test_what_may_still_be_on_its_way_is_waited_for(
    attempt: dict[str, Any], job: dict[str, Any], more: dict[str, Any]
) -> None:
    assert judge_job(evidence(attempt, job, more)) == judging.UNDECIDED


def test_a_sentence_about_waiting_is_the_same_for_the_same_reason() -> None:
    assert words.waits("12", "Resources") == words.waits("12", "Resources")
    assert words.waits("12", "(ReqNodeNotAvail, UnavailableNodes:n7)").startswith(
        "Slurm job 12 waits: ReqNodeNotAvail ("
    )
    assert words.waits("12", "") == "Slurm job 12 waits"


# ----------------------------------------------------------------- a turn, in the job


class Told(turn.Turn):
    """A turn to which Slurm says what a test wants."""

    told: str | None = ""

    def _ask(self, words: list[str], limit: float = 0) -> str | None:
        return self.told


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def verdict(
        heard: list[str], request: str, code: int = 85, *, answer: str | None, steps: int = 1,
        **env: str,
    ) -> dict[str, Any]:  # fmt: skip
        run = RunDir(tmp_path)
        for _ in range(steps):
            attempt = run.take_attempt()
            Journal(attempt.journal).write(
                "begin", v=VERSION, from_step=5 if steps > 1 else attempt.number
            )
        attempt.stop.write_text(request)
        here = Told(run, 1, {"SLURM_JOB_ID": "1", "RPAT_WARNING": "60", **env})
        here.told = answer
        return here.verdict(attempt, heard, code)

    return verdict


def answer(preempted: str = "None", end: str = "2036-11-23T01:24:41") -> str:
    return JOB.format(preempted=preempted, end=end)


def test_a_preempted_job_asks_for_another_turn(told: Callable[..., dict[str, Any]]) -> None:
    found = told(["SIGUSR1"], "SIGUSR1", answer=answer("2026-11-23T01:24:36"))
    assert (found["why"], found["again"]) == ("preempted", True)
    found = told(["SIGTERM"], "SIGTERM", answer=answer("2026-11-23T01:24:36"))
    assert (found["why"], found["again"]) == ("preempted", True)


def test_a_job_at_its_limit_asks_for_another_turn(told: Callable[..., dict[str, Any]]) -> None:
    found = told(["SIGUSR1"], "SIGUSR1", answer=answer(end="2026-11-23T01:24:41"))
    assert (found["why"], found["again"]) == ("time limit", True)
    found = told(["SIGUSR1"], "SIGUSR1", -9, answer=answer(end="2026-11-23T01:24:41"))
    assert found["again"], "a trainer that had to be killed goes on from its checkpoint"
    assert told(["SIGUSR1"], "SIGUSR1", answer=None)["again"], "Slurm was too busy to say why"


@pytest.mark.parametrize(
    ("heard", "request_", "code", "more", "because"),
    [
        (["SIGTERM"], "SIGTERM", 85, {}, "not asked for"),
        (["SIGUSR1", "SIGTERM"], "SIGUSR1", 85, {}, "not asked for"),
        (["SIGUSR1"], "stop", 85, {}, "not asked for"),
        (["SIGUSR1"], "SIGUSR1", 1, {}, "not asked for"),
        (["SIGUSR1"], "SIGUSR1", 0, {}, "not asked for"),
        (["SIGUSR1"], "SIGUSR1", 85, {"SLURM_RESTART_COUNT": "19"}, "turns"),
        (["SIGUSR1"], "SIGUSR1", 85, {"steps": 3}, "no progress"),
    ],
)
def test_no_turn_is_asked_for(
    told: Callable[..., dict[str, Any]], heard: list[str], request_: str, code: int,
    more: dict[str, Any], because: str,
) -> None:  # fmt: skip
    end = "2026-11-23T01:24:41" if because == "no progress" else "2036-11-23T01:24:41"
    found = told(heard, request_, code, answer=answer(end=end), **more)
    assert (found["again"], found["because"]) == (False, because)


def test_a_job_that_was_taken_back_or_replaced_is_not_wanted(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.submissions.mkdir()
    run.submission(1).write_text("{}")
    assert turn.Turn(run, 1, {}).is_wanted()
    run.submission(2).write_text("{}")
    assert not turn.Turn(run, 1, {}).is_wanted()
    run.withdrawn(2).write_text("stop")
    assert not turn.Turn(run, 2, {}).is_wanted()


# ----------------------------------------------------------------- the worker's side


class Cluster(Commands):
    """A cluster that remembers what it was told, and can be silent."""

    def __init__(self) -> None:
        super().__init__({})
        self.silent = ""
        self.lost_answer = False
        self.refusal = ""
        self.jobs: dict[str, Job] = {}
        self.cancelled: list[str] = []

    def has_gpus(self) -> bool:
        return False

    def queue(self) -> dict[str, Job]:
        if self.silent:
            raise Silent(self.silent)
        return dict(self.jobs)

    def history(self, ids: Sequence[str], names: Sequence[str] = ()) -> dict[str, Job]:
        return {}

    def cancel(self, ids: Sequence[str]) -> None:
        self.cancelled += ids
        for name, job in self.jobs.items():
            if job.id in ids:
                self.jobs[name] = replace(job, state="CANCELLED")

    def submit(self, words: Sequence[str], script: str, more: Sequence[str] = ()) -> Reply:
        if self.refusal:
            return Reply(problem=self.refusal)
        name = next(word for word in words if word.startswith("--job-name=")).partition("=")[2]
        number = str(len(self.jobs) + 1)
        self.jobs[name] = Job(id=number, name=name, state="PENDING", why="Priority")
        return Reply(problem="sbatch gave no answer") if self.lost_answer else Reply(job=number)

    def tell(self, number: str, state: str, **more: str) -> None:
        name = next(name for name, job in self.jobs.items() if job.id == number)
        self.jobs[name] = replace(self.jobs[name], state=state, **more)


class Manager:
    """What a worker does with a cluster, one look at a time, on a clock of its own."""

    def __init__(self, home: Home, db: sqlite3.Connection, cluster: Commands) -> None:
        self.home, self.db = home, db
        self.now = 0.0
        self.slurm = Slurm(home, commands=cluster, clock=lambda: self.now)

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 60
            self.slurm.submit(self.db)
            if self.slurm._thread is not None:
                self.slurm._thread.join()
            self.slurm.poll(self.db)
            reconcile(self.home, self.db)

    def states(self) -> list[str]:
        return [state for (state,) in self.db.execute("select state from runs order by n")]

    def reason(self, n: int) -> str:
        return str(self.db.execute("select reason from runs where n = ?", (n,)).fetchone()[0])


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def manager(home: Home, db: sqlite3.Connection, cluster: Cluster) -> Manager:
    return Manager(home, db, cluster)


Give = Callable[..., list[int]]


@pytest.fixture
def give(home: Home, db: sqlite3.Connection) -> Give:
    """Queue runs for the cluster."""
    from rpat.recipes import recipe

    def make(count: int = 1, *, sweep: str = "", **resources: str) -> list[int]:
        base = recipe("pgd-at", (), dataset="digits", epochs=2)
        configs = [base.override({"seed": n}) for n in range(count)]
        wish = index.Wish(launcher="slurm", resources=resources, sweep=sweep)
        return index.enqueue(home, db, configs, wish, {"snapshot_path": str(STANDIN)})

    return make


def test_each_run_becomes_one_job_and_waits_with_its_reason(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    give(3)
    manager.look(4)
    assert len(cluster.jobs) == 3
    assert manager.states() == ["queued"] * 3
    assert manager.reason(1) == "Slurm job 1 waits: Priority (other jobs come first)"
    assert queue.busy_slots(manager.db) == set()
    assert not queue.any_ready(manager.db), "this machine has no part in them"


def test_no_more_jobs_are_in_flight_than_allowed(
    manager: Manager, cluster: Cluster, give: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpat_tui.launch.slurm.look.LAG", 0.0)
    manager.slurm.limit = 5
    give(4, sweep="table1", in_flight="2")
    give(4)
    manager.look(3)
    assert sorted(name.split("-")[1] for name in cluster.jobs) == [
        "r0001", "r0002", "r0005", "r0006", "r0007",
    ]  # fmt: skip
    cluster.tell("1", "CANCELLED")
    manager.look(4)
    assert manager.states()[0] == "stopped"
    assert len(cluster.jobs) == 6


def test_a_controller_that_is_silent_changes_no_state_and_gets_no_jobs(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    give()
    manager.look(2)
    cluster.silent = "Unable to contact slurm controller (connect failure)"
    give()
    manager.look(5)
    assert manager.states() == ["queued", "queued"]
    assert len(cluster.jobs) == 1
    assert side.silence(manager.db)["why"] == cluster.silent
    assert not RunDir(manager.home.runs / "r0002").submission(1).exists()
    cluster.silent = ""
    manager.look(2)
    assert side.silence(manager.db) == {}
    assert len(cluster.jobs) == 2


def test_a_refusal_fails_the_run_in_slurms_words_and_a_limit_only_delays_it(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    cluster.refusal = "Batch job submission failed: Job violates accounting/QOS policy"
    (n,) = give()
    manager.look(3)
    assert manager.states() == ["queued"]
    assert manager.reason(n) == f"waits for Slurm: {cluster.refusal}"
    cluster.refusal = "Batch job submission failed: Invalid partition name specified"
    manager.look(2)
    assert manager.states() == ["failed"]
    assert manager.reason(n) == f"Slurm refused the job: {cluster.refusal}"
    assert queries.transitions(manager.db, n)[-1]["evidence"]["cause"] == "refused"
    assert not queue.work_left(manager.db)


def test_a_run_whose_folder_is_gone_keeps_nobody_from_the_cluster(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    give(2)
    (manager.home.runs / "r0001").rename(manager.home.path / "away")
    manager.slurm.submit(manager.db)
    assert manager.slurm._thread is not None
    manager.slurm._thread.join()
    assert [name.split("-")[1] for name in cluster.jobs] == ["r0002"]
    cluster.refusal = "Batch job submission failed: Invalid partition name specified"
    (manager.home.path / "away").rename(manager.home.runs / "r0001")
    manager.slurm.poll(manager.db)
    manager.slurm.submit(manager.db)
    manager.slurm._thread.join()
    manager.db.execute("delete from runs where n = 1")
    assert manager.slurm.poll(manager.db)


def test_an_answer_that_is_lost_makes_no_second_job_that_could_run(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    (n,) = give()
    cluster.lost_answer = True
    manager.look()
    cluster.lost_answer = False
    manager.look(4)
    assert len(cluster.jobs) == 2
    assert cluster.cancelled[:1] == ["1"]
    run = RunDir(manager.home.runs / "r0001")
    assert [run.is_wanted(1), run.is_wanted(2)] == [False, True]
    assert [s.state for s in submissions.of_run(manager.db, n)] == ["over", "submitted"]


@pytest.mark.parametrize("sent", [True, False])
def test_a_worker_that_dies_around_sbatch_submits_nothing_twice(
    home: Home, db: sqlite3.Connection, cluster: Cluster, give: Give, sent: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (n,) = give()
    first = Manager(home, db, cluster)
    if not sent:
        monkeypatch.setattr(cluster, "submit", lambda *_: None)
    first.now += 60
    first.slurm.submit(db)
    assert first.slurm._thread is not None
    first.slurm._thread.join()  # and what it brought back is never read
    monkeypatch.undo()
    assert submissions.newest(db, n) is not None
    monkeypatch.setattr(side, "UNSENT", -1.0)
    Manager(home, db, cluster).look(4)
    assert len(cluster.jobs) == 1
    (made,) = [s for s in submissions.of_run(db, n) if s.closed is None]
    assert (made.number, made.job, made.state) == (1 if sent else 2, "1", "submitted")


def test_a_queue_on_hold_sends_nothing(manager: Manager, cluster: Cluster, give: Give) -> None:
    give()
    queue.hold(manager.db, queue.ALL, "maintenance")
    manager.look(2)
    assert cluster.jobs == {}
    queue.release(manager.db, queue.ALL)
    manager.look()
    assert len(cluster.jobs) == 1


def test_what_follows_a_run_goes_where_the_run_went(
    home: Home, db: sqlite3.Connection, give: Give
) -> None:
    (n,) = give(partition="low")
    (again,) = anew.rerun(home, db, [n], seeds=[5])
    assert queue.place_of(db, again) == queue.place_of(db, n)
    assert queue.place_of(db, n)[1]["partition"] == "low"
    with database.transaction(db):
        db.execute("update runs set state = 'done', wants = 'aa' where n = ?", (n,))
    (job,) = queue_evaluations(home, db)
    assert queue.place_of(db, job) == queue.place_of(db, n)


def test_a_run_can_be_queued_again_with_other_wishes_or_elsewhere(
    manager: Manager, cluster: Cluster, give: Give, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpat_tui.launch.worker.ensure", lambda home: None)
    (n,) = give(partition="nope", mem="8G")
    cluster.refusal = "Batch job submission failed: Invalid partition name specified"
    manager.look()
    assert manager.states() == ["failed"]
    refused(rpat("requeue", "r0001", "--launcher", "local", "--time", "60"), "--launcher slurm")
    assert manager.states() == ["failed"]
    assert rpat("requeue", "r0001", "--partition", "low", "--time", "60").code == 0
    launcher, asked = queue.place_of(manager.db, n)
    assert (launcher, asked["partition"], asked["mem"], asked["time"]) == (
        "slurm", "low", "8G", "60",
    )  # fmt: skip
    assert json.loads(RunDir(manager.home.runs / "r0001").meta.read_text())["resources"] == asked
    control.stop(manager.home, manager.db, n)
    assert rpat("requeue", "r0001", "--launcher", "local").code == 0
    assert queue.place_of(manager.db, n) == ("", {})
    assert queue.any_ready(manager.db)


def test_people_are_told_what_the_cluster_says(
    manager: Manager, cluster: Cluster, give: Give, rpat: Rpat
) -> None:
    give(sweep="table1", in_flight="1")
    give(sweep="table1", in_flight="1")
    manager.look(2)
    first, second = rpat("explain", "r0001", "r0002", "--json").json
    assert first["waits"][0].startswith("Slurm job 1: PENDING (Priority), ")
    assert second["waits"][0] == "1 jobs of table1 are with Slurm: --in-flight allows no more"
    begin(manager, 1)
    cluster.tell("1", "RUNNING", why="", node="n7")
    manager.look()
    assert "Slurm job 1: RUNNING on n7" in rpat("explain", "r0001").out
    assert rpat("show", "r0001", "--json").json["cluster"]["node"] == "n7"
    cluster.silent = "Unable to contact slurm controller"
    manager.look()
    assert f"Slurm has not answered for 0 min: {cluster.silent}" in rpat("explain", "r0002").out


def test_a_job_that_waits_is_taken_back_and_never_starts(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    (n,) = give()
    manager.look(2)
    assert "it is stopped" in control.stop(manager.home, manager.db, n)
    assert not RunDir(manager.home.runs / "r0001").is_wanted(1)
    assert queue.work_left(manager.db), "somebody must tell Slurm"
    manager.look(3)
    assert cluster.cancelled == ["1"]
    assert not queue.work_left(manager.db)
    control.requeue(manager.home, manager.db, n)
    manager.look()
    assert len(cluster.jobs) == 2


def begin(manager: Manager, n: int, restart: int = 0, **ends: Any) -> None:
    """Let an attendant of a run come to work, and with `ends` leave.

    `word`: why the trainer stopped. `signals`: what the attendant wrote down when it heard them.
    `left`: how it found the node of the turn before.
    """
    run = RunDir(manager.home.runs / f"r{n:04d}")
    attempt = run.take_attempt()
    log = Journal(attempt.attendant)
    who = {"host": "n1", "boot": "b", "pid": 1, "started": "1"}
    printed = run.printed("1").stat().st_size if run.printed("1").exists() else 0
    about = {"job": "1", "restart": restart, "node": f"n{restart}", "printed": printed}
    if left := ends.pop("left", ""):
        about["left"] = left
    log.write("begin", v=VERSION, attempt=attempt.number, **who, slurm=about)
    log.write("started", **who)
    trainer = Journal(attempt.journal)
    trainer.write(
        "begin", v=VERSION, attempt=attempt.number, from_step=0, **who, versions={}, device="cpu"
    )
    trainer.write("notice", what="data", source="embedded", fingerprint="f" * 64)
    for told in ends.pop("signals", ()):
        log.write("signal", **told)
    if ends:
        if word := ends.pop("word", ""):
            attempt.stop.write_text(word)
            trainer.write("stop", word=word, step=5)
        log.write("end", **ends)


def causes(manager: Manager, n: int) -> list[tuple[str, str]]:
    """A run's states after it was given to the cluster, each with its cause."""
    moves = queries.transitions(manager.db, n)
    return [(m["new"], m["evidence"].get("cause", "")) for m in moves if m["old"]]


def test_turns_that_nobody_saw_end_are_told_from_their_own_files(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    """Between two looks a job can be preempted, start again, and be put back, several times."""
    (n,) = give()
    manager.look(2)
    preempted = {"heard": ["SIGUSR1"], "why": "preempted", "again": True, "because": ""}
    begin(manager, n, word="SIGUSR1", exit_code=85, signal="", slurm=preempted)
    begin(manager, n, 1, signals=[{"heard": ["SIGTERM"]}, {"heard": ["SIGTERM"],
                                                           "why": "requeued"}])  # fmt: skip
    begin(manager, n, 2)
    RunDir(manager.home.runs / "r0001").printed("1").write_text(STEPD["time limit"])
    begin(manager, n, 3)
    begin(manager, n, 4, left="down* (Not responding)")
    cluster.tell("1", "RUNNING", why="", node="n4", restarts=4)
    manager.look(2)
    assert manager.states() == ["running"]
    assert causes(manager, n)[-6:] == [
        ("queued", "preempted"), ("queued", "requeued"), ("queued", "time limit"),
        ("queued", "node failed"), ("starting", ""), ("running", ""),
    ]  # fmt: skip
    reasons = [m["reason"] for m in queries.transitions(manager.db, n)]
    assert "was preempted and saved its work; Slurm started job 1 again" in reasons
    assert "its node failed (down* (Not responding)); Slurm started job 1 again" in reasons
    before = len(reasons)
    manager.look(3)
    assert len(queries.transitions(manager.db, n)) == before, "each is told once"


def test_a_turn_that_ended_while_its_run_was_known_to_be_at_work_is_told_before_the_next_starts(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    (n,) = give()
    manager.look(2)
    begin(manager, n)
    cluster.tell("1", "RUNNING", why="", node="n0", restarts=0)
    manager.look(2)
    assert manager.states() == ["running"]
    attempt = RunDir(manager.home.runs / "r0001").attempts()[0]
    Journal(attempt.attendant).write("signal", heard=["SIGTERM"], why="preempted")
    run = RunDir(manager.home.runs / "r0001")
    second = run.take_attempt()
    manager.look()
    assert manager.states() == ["starting"]
    Journal(second.attendant).write(
        "begin", v=VERSION, attempt=2, host="n1", boot="b", pid=2, started="2",
        slurm={"job": "1", "restart": 1},
    )  # fmt: skip
    cluster.tell("1", "RUNNING", why="", node="n0", restarts=1)
    manager.look()
    assert manager.states() == ["starting"]
    assert causes(manager, n)[-2:] == [("queued", "preempted"), ("starting", "")]


def test_a_cause_that_files_tell_later_replaces_the_one_that_was_not_known(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    (n,) = give()
    manager.look(2)
    begin(manager, n)
    cluster.tell("1", "PENDING", why="BeginTime", restarts=1)
    manager.look()
    assert causes(manager, n)[-1] == ("queued", "requeued")
    attempt = RunDir(manager.home.runs / "r0001").attempts()[0]
    Journal(attempt.attendant).write("signal", heard=["SIGUSR1"], why="time limit")
    begin(manager, n, 1)
    cluster.tell("1", "RUNNING", why="", node="n0", restarts=1)
    manager.look()
    assert ("queued", "time limit") in causes(manager, n)


def test_what_slurm_said_before_an_attempt_began_is_no_news_about_it(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    """The clocks of two machines differ; a job counts its turns."""
    (n,) = give()
    cluster.lost_answer = False
    manager.look()
    cluster.tell("1", "PENDING", restarts=0)
    manager.look()
    begin(manager, n)
    events = "update events set t = t - 3600 where kind = 'begin' and file = 'attendant'"
    manager.look()
    manager.db.execute(events)  # a node whose clock is an hour late
    manager.look()
    assert manager.states() == ["running"], "it has started since Slurm was asked"
    cluster.tell("1", "PENDING", why="BeginTime", restarts=1)
    manager.look()
    assert manager.states() == ["queued"], "and this is about the next turn"


def test_a_cluster_that_knows_nothing_of_a_job_repeats_nothing_that_it_said_before(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    """It waited when Slurm was asked last; then it started, and the cluster was made anew."""
    (n,) = give()
    manager.look(2)
    begin(manager, n)
    cluster.jobs.clear()
    manager.look(2)
    assert manager.states() == ["running"]


def test_a_run_on_another_host_is_running_and_not_lost(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    (n,) = give()
    manager.look(2)
    begin(manager, n)
    cluster.tell("1", "RUNNING", node="n1", why="")
    manager.look(2)
    assert manager.states() == ["running"]
    cluster.silent = "timed out"
    manager.look(3)
    assert manager.states() == ["running"]
    cluster.silent = ""
    cluster.tell("1", "NODE_FAIL")
    manager.look()
    assert manager.states() == ["running"], "files may still be on their way"
    row = submissions.current(manager.db, n)
    assert row is not None
    submissions.update(manager.db, row, since=row.since - 60 if row.since else 0)
    manager.look()
    assert manager.states() == ["queued"]
    assert manager.reason(n) == "its node failed; goes on from its checkpoint"
    manager.look()
    assert len(cluster.jobs) == 2


def test_a_manager_that_was_away_while_its_job_began_and_ended_catches_up(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    (n,) = give()
    manager.look(2)
    begin(manager, n, exit_code=1, signal="")
    cluster.jobs.clear()
    manager.look()
    assert manager.states() == ["failed"]
    assert [m["new"] for m in queries.transitions(manager.db, n)][-2:] == ["starting", "failed"]


def test_a_job_that_slurm_has_forgotten_is_lost_only_after_a_while(
    manager: Manager, cluster: Cluster, give: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    (n,) = give()
    manager.look(2)
    begin(manager, n)
    cluster.tell("1", "RUNNING", why="")
    manager.look(2)
    cluster.jobs.clear()
    manager.look(2)
    assert manager.states() == ["running"]
    monkeypatch.setattr(side, "MISSING", 0.0)
    monkeypatch.setattr("rpat_tui.launch.slurm.look.LAG", 0.0)
    manager.look(2)
    assert manager.states() == ["lost"]
    control.stop(manager.home, manager.db, n, "kill")
    manager.look()
    assert (manager.states(), manager.reason(n)) == (["stopped"], "given up on request")


def test_a_stop_is_a_file_first_and_a_kill_is_also_slurms(
    manager: Manager, cluster: Cluster, give: Give
) -> None:
    one, two = give(2)
    manager.look(2)
    for n in (one, two):
        begin(manager, n)
        cluster.tell(str(n), "RUNNING", why="")
    manager.look()
    control.stop(manager.home, manager.db, one)
    control.stop(manager.home, manager.db, two, "kill")
    manager.look(2)
    files = [RunDir(manager.home.runs / f"r{n:04d}").attempts()[0].stop for n in (one, two)]
    assert [file.read_text() for file in files] == ["stop", "kill"]
    assert set(cluster.cancelled) == {"2"}, "who saves his work is not disturbed"
    manager.slurm.grace = -side.AFTER - 1
    manager.look()
    assert "1" in cluster.cancelled, "unless it takes too long"


def test_the_database_can_be_lost_while_jobs_are_in_flight(
    home: Home, manager: Manager, cluster: Cluster, give: Give
) -> None:
    give(3)
    manager.look(2)
    begin(manager, 2)
    cluster.tell("2", "RUNNING", why="")
    manager.look()
    control.stop(home, manager.db, 3)
    manager.db.close()
    for file in home.path.glob("rpat.db*"):
        file.unlink()
    assert rebuild(home) == (3, [])
    with database.opened(home) as db:
        after = Manager(home, db, cluster)
        after.look(3)
        assert after.states() == ["queued", "running", "stopped"]
        assert len(cluster.jobs) == 3
        assert rebuild(home) == (3, [])
        after.look(2)
        assert after.states() == ["queued", "running", "stopped"]
        assert len(cluster.jobs) == 3


def test_a_run_that_travelled_is_not_bound_to_the_cluster_it_came_from(
    home: Home, db: sqlite3.Connection, give: Give
) -> None:
    (n,) = give()
    assert queue.launcher_of(db, n) == "slurm"
    meta = RunDir(home.runs / "r0001").meta
    values = json.loads(meta.read_text())
    assert values["resources"]["cpus"] == "4"
    assert index._place({**index.META, **values, "bundle": {}})["launcher"] == ""
