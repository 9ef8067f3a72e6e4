"""Runs on a real Slurm: every end with its true reason, no row lost or doubled."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress

import pytest

from rpat.identity import is_alive
from rpat.rundir import Attempt
from rpat_tui.launch import control, frozen, worker
from rpat_tui.launch.locks import holder
from rpat_tui.launch.slurm import side
from rpat_tui.launch.slurm.commands import Commands
from rpat_tui.store import queries, submissions
from tests.console import real
from tests.console.conftest import STANDIN, Rpat, until
from tests.console.test_slurm import Manager
from tests.slurm.conftest import LIMIT, Lab

pytestmark = pytest.mark.slurm


def test_every_end_has_its_true_state_and_reason(lab: Lab) -> None:
    good = lab.give()
    crashed = lab.give("crash=2")
    diverged = lab.give("nan=2")
    refused = lab.give(partition="nope")
    never = lab.give(python="/nonexistent/python")
    killed = lab.give("tear=2")
    hungry = lab.give("eat=2", mem="400M")
    lab.finish(good, crashed, diverged, refused, never, killed, hungry)
    assert lab.is_whole(good, 4)
    assert lab.state(crashed) == ("failed", "RuntimeError: the stand-in crashed as told")
    assert lab.state(diverged) == ("failed", "nan: train/loss is nan")
    assert lab.state(refused) == (
        "failed",
        "Slurm refused the job: Batch job submission failed: Invalid partition name specified",
    )
    state, reason = lab.state(never)
    assert state == "failed"
    assert "ended before it could start the run" in reason
    assert "/nonexistent/python" in reason
    assert lab.causes(never).count("launch") == 3
    assert lab.state(killed)[0] == "failed"
    assert "killed by SIGKILL" in lab.state(killed)[1]
    assert lab.state(hungry) == (
        "failed", f"Slurm job {lab.job(hungry)} ran out of memory; --mem asks for more",
    )  # fmt: skip
    assert lab.causes(hungry)[-1] == "host memory"


def test_people_stop_pause_kill_and_cancel(lab: Lab) -> None:
    slow = "pace=0.05"
    stopped, paused, killed, cancelled = (lab.give(slow, epochs=30) for _ in range(4))
    for n in (stopped, paused, killed, cancelled):
        lab.trains(n)
        lab.reaches(n, "running")
    waiting = lab.give(slow, epochs=30)
    until(lambda: "waits: Resources" in lab.state(waiting)[1], LIMIT)
    assert "was queued: it is stopped" in control.stop(lab.home, lab.db, waiting)
    control.stop(lab.home, lab.db, stopped)
    control.stop(lab.home, lab.db, paused, "pause")
    control.stop(lab.home, lab.db, killed, "kill")
    lab.cluster.ask("scancel", lab.job(cancelled))
    assert lab.reaches(stopped, "stopped") == "on request"
    assert lab.reaches(paused, "paused") == "on request"
    assert lab.reaches(killed, "stopped") in ("killed on request", "on request")
    assert lab.reaches(cancelled, "stopped") == "cancelled outside rpat (scancel)"
    assert not lab.run(waiting).attempts()
    control.resume(lab.db, paused)
    for n in (stopped, killed, cancelled, waiting):
        control.requeue(lab.home, lab.db, n)
    everything = (stopped, paused, killed, cancelled, waiting)
    lab.finish(*everything)
    assert all(lab.is_whole(n, 30) for n in everything)
    assert [len(lab.run(n).attempts()) for n in everything] == [2, 2, 2, 2, 1]
    for n in everything:
        assert [s.number for s in submissions.of_run(lab.db, n)] == [1, 2]


def test_the_time_limit_and_preemption_lead_to_another_turn_and_an_exact_resume(lab: Lab) -> None:
    limited = lab.give("pace=0.05", epochs=140, time="1", signal="50", sbatch="--nodelist=n2")
    low = lab.give("pace=0.05", epochs=30, partition="low", sbatch="--nodelist=n1")
    cut = lab.give("pace=0.05", epochs=40, sbatch="--nodelist=n2")
    for n in (low, cut):
        lab.trains(n)
        lab.reaches(n, "running")
    lab.cluster.occupy("n1")
    attempt = queries.attempts(lab.db, cut)[0]  # it hears no warning, as on a busy node
    for who in (attempt["attendant"], attempt["trainer"]):
        os.kill(who["pid"], signal.SIGSTOP)
    lab.cluster.ask("scontrol", "update", f"JobId={lab.job(cut)}", "EndTime=now+2")
    lab.finish(low, limited, cut)
    assert lab.is_whole(low, 30)
    assert lab.is_whole(limited, 140)
    assert lab.is_whole(cut, 40)
    assert [s.said for s in submissions.of_run(lab.db, cut)] == ["TIMEOUT", "COMPLETED"]
    for n, cause in ((low, "preempted"), (limited, "time limit"), (cut, "time limit")):
        assert cause in lab.causes(n)
        assert len(lab.run(n).attempts()) >= 2
    assert [s.number for s in submissions.of_run(lab.db, limited)] == [1], "the same job goes on"
    first = json.loads(lab.run(limited).attempts()[1].attendant.read_text().splitlines()[0])
    assert first["slurm"]["token"] == f"{lab.job(limited)}.1"


def test_turns_that_end_while_no_manager_looks_are_told_afterwards(lab: Lab) -> None:
    low = lab.give("pace=0.05", epochs=40, partition="low", sbatch="--nodelist=n1")
    back = lab.give("pace=0.05", epochs=40, sbatch="--nodelist=n2")
    for n in (low, back):
        lab.trains(n)
        lab.reaches(n, "running")
    lab.leave()
    lab.cluster.occupy("n1")
    lab.cluster.ask("scontrol", "requeue", lab.job(back))
    for n in (low, back):
        until(lambda n=n: len(lab.run(n).attempts()) == 2, LIMIT)
        lab.trains(n)
    assert [lab.state(n)[0] for n in (low, back)] == ["running", "running"], "nobody has looked"
    lab.finish(low, back)
    for n, cause in ((low, "preempted"), (back, "requeued")):
        assert lab.is_whole(n, 40)
        moves = queries.transitions(lab.db, n)
        assert [m["new"] for m in moves][-5:] == [
            "running", "queued", "starting", "running", "done",
        ]  # fmt: skip
        assert lab.causes(n)[-4] == cause
        assert [s.number for s in submissions.of_run(lab.db, n)] == [1]


@pytest.mark.parametrize("looks", [True, False], ids=["watched", "unwatched"])
def test_two_attempts_at_once_write_one_history(lab: Lab, looks: bool) -> None:
    """A node stops answering while the run trains on: Slurm starts it elsewhere meanwhile."""
    n = lab.give("pace=0.1", epochs=40)
    lab.trains(n)
    lab.reaches(n, "running")
    node, old = nodes(lab, n)[0], queries.attempts(lab.db, n)[0]["trainer"]
    if not looks:
        lab.leave()
    lab.cluster.kill(f"slurmd-{node}")
    lab.cluster.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    if looks:
        assert "its node failed (down" in lab.reaches(n, "queued")
        assert is_alive(old), "the first process does not know yet"

    def is_elsewhere() -> bool:
        lab.cluster.hurry()
        return len(lab.run(n).attempts()) == 2

    until(is_elsewhere, LIMIT)
    lab.finish(n)
    assert lab.is_whole(n, 40)
    assert "node failed" in lab.causes(n)
    assert "its node failed (down" in "".join(m["reason"] for m in queries.transitions(lab.db, n))
    first, second = queries.attempts(lab.db, n)
    assert first["exit_code"] == 86, "the first process saw that it is superseded"
    assert second["ending"] == "end"
    assert set(nodes(lab, n)) == {"n1", "n2"}
    lab.cluster.launch("slurmd", "-N", node)
    with suppress(AssertionError):  # it may be back by itself
        lab.cluster.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")
    until(lambda: "down" not in lab.cluster.ask("sinfo", "-h", "-n", node, "-o", "%T"), LIMIT)


def nodes(lab: Lab, n: int) -> list[str]:
    """The nodes of a run's attempts."""
    files = [attempt.attendant.read_text() for attempt in lab.run(n).attempts()]
    return [json.loads(text.splitlines()[0])["slurm"]["node"] for text in files]


def test_a_controller_that_is_away_changes_nothing(lab: Lab) -> None:
    ends, goes_on = lab.give("pace=0.05", epochs=16), lab.give("pace=0.1", epochs=30)
    for n in (ends, goes_on):
        lab.trains(n)
        lab.reaches(n, "running")
    lab.cluster.kill("slurmctld", signal.SIGTERM)
    until(lambda: side.silence(lab.db), LIMIT)
    late = lab.give()
    assert lab.reaches(ends, "done") == "", "its journal says so"
    assert lab.state(goes_on) == ("running", "")
    assert lab.state(late)[0] == "queued"
    lab.cluster.launch("slurmctld")
    until(lambda: not side.silence(lab.db), LIMIT)
    lab.finish(late, goes_on)
    assert lab.is_whole(ends, 16)
    assert lab.is_whole(goes_on, 30)
    assert lab.is_whole(late, 4)
    assert len(submissions.of_run(lab.db, late)) == 1
    assert not {"lost", "failed"} & {m["new"] for m in queries.transitions(lab.db, goes_on)}


def test_a_worker_that_is_killed_costs_nothing_and_the_next_one_goes_on(lab: Lab) -> None:
    numbers = [lab.give("pace=0.02", epochs=12) for _ in range(6)]
    lab.trains(numbers[0], 1)
    for _ in range(3):
        found = holder(lab.home.worker_lock)
        if found:
            os.kill(found["pid"], signal.SIGKILL)
        until(lambda: holder(lab.home.worker_lock) is None, LIMIT)
        worker.ensure(lab.home)
    lab.finish(*numbers)
    assert all(lab.is_whole(n, 12) for n in numbers)
    assert [len(lab.run(n).attempts()) for n in numbers] == [1] * 6
    found_jobs = lab.cluster.ask("squeue", "-h", "-t", "all", "-o", "%j").splitlines()
    assert sum(name.startswith("rpat-") for name in found_jobs) >= 6


def test_a_cluster_that_is_gone_leaves_no_false_end(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = lab.give("pace=0.1", epochs=100)
    lab.trains(n)
    lab.reaches(n, "running")
    os.kill((holder(lab.home.worker_lock) or {})["pid"], signal.SIGKILL)
    attempt = queries.attempts(lab.db, n)[0]
    for daemon in ("slurmctld", "slurmd-n1", "slurmd-n2"):  # a power failure
        lab.cluster.kill(daemon)
    for who in (attempt["attendant"], attempt["trainer"]):
        os.kill(who["pid"], signal.SIGKILL)
    manager = Manager(lab.home, lab.db, Commands())
    manager.look(2)
    assert lab.state(n) == ("running", ""), "nobody says that it is not"
    assert side.silence(lab.db)
    lab.cluster.stop()
    lab.cluster.start()  # another one, that knows nothing of the old one's jobs
    manager.look()
    assert lab.state(n) == ("running", "")
    monkeypatch.setattr(side, "MISSING", 0.0)
    monkeypatch.setattr("rpat_tui.launch.slurm.look.LAG", 0.0)
    manager.look(2)
    assert lab.state(n)[0] == "lost"
    control.stop(lab.home, lab.db, n, "kill")
    manager.look()
    assert lab.state(n) == ("stopped", "given up on request")
    control.requeue(lab.home, lab.db, n)
    manager.look(2)
    until(lambda: len(lab.run(n).attempts()) == 2, LIMIT)
    lab.trains(n)
    control.stop(lab.home, lab.db, n, "kill")
    lab.reaches(n, "stopped")


def test_a_real_training_gives_the_same_numbers_here_and_preempted_on_the_cluster(
    trained: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, the digests of the weights included."""
    lab, home, db = trained, trained.home, trained.db
    monkeypatch.setenv("RPAT_SLURM_PARTITION", "low")
    (here,) = real.enqueue(home, db, [3], epochs=2)
    monkeypatch.setenv("RPAT_LAUNCHER", "slurm")
    (there,) = real.enqueue(home, db, [3], epochs=2)
    worker.ensure(home)
    first = Attempt(lab.run(there).path, 1)
    until(lambda: first.journal.exists() and '"kind":"log"' in first.journal.read_text(), LIMIT)
    assert lab.job(there)
    trainer = json.loads(first.journal.read_text().splitlines()[0])["pid"]
    os.kill(trainer, signal.SIGSTOP)  # a fast machine would be done before it is preempted
    for node in ("n1", "n2"):  # a run on the CPU asks for no GPU: only whole nodes are in its way
        lab.cluster.ask("sbatch", "--partition=high", f"--nodelist={node}", "--exclusive",
                        "--output=/dev/null", "--time=5", "--wrap=sleep 1")  # fmt: skip
    until(first.stop.exists, LIMIT)
    os.kill(trainer, signal.SIGCONT)
    lab.finish(here, there)
    states = db.execute("select state, reason from runs").fetchall()
    assert states == [("done", ""), ("done", "")]
    assert len(lab.run(there).attempts()) == 2
    assert lab.causes(there).count("preempted") >= 1
    assert not submissions.of_run(db, here)
    assert real.numbers(db, there) == real.numbers(db, here)


def test_the_doctor_looks_at_the_cluster(
    lab: Lab, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {row["check"]: row for row in rpat("doctor", "--json").json}
    assert found["slurm"]["ok"] is True
    assert found["slurm"]["found"].startswith("rpat-test, Slurm ")
    assert found["partitions"]["found"] == "main, low, high"
    assert found["accounting"]["found"].startswith("none: Slurm forgets a job 300 sec")
    lab.cluster.kill("slurmctld", signal.SIGTERM)
    monkeypatch.setenv("RPAT_LAUNCHER", "slurm")
    found = {row["check"]: row for row in rpat("doctor", "--json").json}
    assert found["slurm"]["ok"] is False
    assert "Unable to contact slurm controller" in found["slurm"]["found"]
    lab.cluster.launch("slurmctld")


def test_a_suite_keeps_as_many_jobs_in_flight_as_it_may_and_fills_its_holes(
    lab: Lab, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "provenance", lambda *_: {"snapshot_path": str(STANDIN)})
    words = (
        "suite", "run", "table1", "--dataset", "digits", "--model", "resnet8", "--epochs", "2",
        "--seeds", "0,1", "--where", "method=pgd-at", "--eval", "pgd", "--launcher", "slurm",
        "--in-flight", "2", "--device", "cpu", "--detach",
    )  # fmt: skip
    assert rpat(*words, "--limit", "3").code == 0
    assert rpat(*words).code == 0
    numbers = [n for (n,) in lab.db.execute("select n from runs")]
    assert len(numbers) == 4, "two seeds, with and without RPAT; none of them twice"
    most = 0

    def over() -> bool:
        nonlocal most
        worker.ensure(lab.home)
        there = lab.cluster.ask("squeue", "-h", "-t", "PD,R,CG", "-o", "%j").split()
        most = max(most, len(there))
        return not queries.unfinished(lab.db, numbers)

    until(over, LIMIT)
    assert most == 2
    assert {lab.state(n) for n in numbers} == {("done", "")}
    assert [len(submissions.of_run(lab.db, n)) for n in numbers] == [1, 1, 1, 1]


def test_accounting_remembers_what_the_queue_has_forgotten(counted: Lab, rpat: Rpat) -> None:
    n = counted.give("pace=0.05", epochs=400)
    counted.trains(n)
    counted.reaches(n, "running")
    found = {row["check"]: row for row in rpat("doctor", "--json").json}
    assert found["accounting"]["found"] == "sacct answers"
    counted.leave()
    counted.cluster.ask("scancel", counted.job(n))
    until(lambda: not counted.cluster.ask("squeue", "-h", "-t", "all", "-o", "%A"), LIMIT)
    assert counted.reaches(n, "stopped") == "cancelled outside rpat (scancel)"
