"""Runs of several processes inside a Slurm allocation: by rpat itself, and by torchrun."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rpat.recipes import recipe
from rpat.rundir import RunDir, new_uid, write_json
from rpat_tui.home import Home
from rpat_tui.launch import control, worker
from rpat_tui.launch.locks import holder
from rpat_tui.store import index, queries, submissions
from tests.console import real
from tests.console.conftest import until
from tests.slurm.conftest import LIMIT, Cluster, Lab

pytestmark = pytest.mark.slurm


def config(gpus: int, epochs: int = 2) -> Any:
    """A short training whose numbers do not depend on roundings much."""
    return recipe("mart", ("rpat",), dataset="digits").override({
        "data.train_n": 64, "data.test_n": 20, "optim.batch_size": 16, "optim.lr": 0.001,
        "threat.epsilon": 0.01, "attack.steps": 1, "eval.steps": 1, "eval.selection_steps": 1,
        "schedule.epochs": epochs, "log_every": 1, "device": "cpu", "gpus": gpus,
    })  # fmt: skip


def enqueue(lab: Lab, made: Any, **resources: str) -> int:
    wish = index.Wish(launcher="slurm", resources={"cpus": "1", **resources})
    (n,) = index.enqueue(lab.home, lab.db, [made], wish, {"snapshot_path": str(real.ROOT)})
    worker.ensure(lab.home)
    return n


@pytest.fixture
def lab(
    home: Home, db: sqlite3.Connection, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    """A home at work on the cluster, whose runs the core of this checkout executes."""
    monkeypatch.setenv("RPAT_SLURM_POLL_EVERY", "0.5")
    monkeypatch.setenv("PYTHONPATH", str(real.ROOT))
    yield Lab(home, db, cluster)
    if found := holder(home.worker_lock):
        with suppress(ProcessLookupError):
            os.kill(found["pid"], signal.SIGKILL)
        until(lambda: holder(home.worker_lock) is None)


def points(records: list[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """Return what a journal says of steps and epochs, but for times."""
    return {
        (name, record["step"]): value
        for record in records
        if record["kind"] in ("log", "epoch")
        for name, value in record["values"].items()
        if not name.startswith("time/")
    }


def journal(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for a in run.attempts() for line in a.journal.read_text().splitlines()]


def assert_near(found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():  # of 20 images one may fall on the other side
        least = 5.1 if key[0].endswith("_acc") else 1e-4
        assert found[key] == pytest.approx(value, rel=5e-3, abs=least), key


def test_two_processes_in_an_allocation_compute_what_one_does(lab: Lab, tmp_path: Path) -> None:
    two, one = enqueue(lab, config(2)), enqueue(lab, config(1))

    folder = RunDir(tmp_path / "by-hand")
    folder.path.mkdir()
    made = config(1)
    write_json(folder.config, {
        "schema": 1, "uid": new_uid(), "kind": "train", "fingerprint": made.fingerprint(),
        "config": made.to_dict(),
    })  # fmt: skip
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        "-m", "rpat", str(folder.path),
    ]  # fmt: skip
    lab.cluster.ask(
        "sbatch", "--wait", "--ntasks=1", "--cpus-per-task=2", "--time=5",
        f"--output={tmp_path}/torchrun.out", f"--chdir={real.ROOT}", f"--wrap={' '.join(words)}",
    )  # fmt: skip

    lab.finish(two, one)
    assert [lab.state(n) for n in (two, one)] == [("done", ""), ("done", "")]
    assert lab.job(two)
    begins = [r for r in journal(lab.run(two)) if r["kind"] == "begin"]
    assert [record["ranks"] for record in begins] == [2]
    expected = points(journal(lab.run(one)))
    assert_near(points(journal(lab.run(two))), expected)
    assert_near(points(journal(folder)), expected)
    assert [r["ranks"] for r in journal(folder) if r["kind"] == "begin"] == [2]
    both = [queries.evaluations(lab.db, n) for n in (two, one)]
    first, second = ([(e["checkpoint"], e["network"], e["n"]) for e in found] for found in both)
    assert first == second


def test_a_request_ends_every_process_of_a_job_and_the_next_one_goes_on(lab: Lab) -> None:
    n = enqueue(lab, config(2, epochs=20))
    started = lab.run(n)
    until(lambda: '"kind":"log"' in _text(started, 0), LIMIT)
    control.stop(lab.home, lab.db, n, "pause")
    assert lab.reaches(n, "paused") == "on request"
    until(lambda: not _mine(started), LIMIT)
    control.resume(lab.db, n)
    worker.ensure(lab.home)
    until(lambda: '"kind":"log"' in _text(started, 1), LIMIT)
    begin = json.loads(_text(started, 1).splitlines()[0])
    assert begin["from_step"] > 0
    assert len(_mine(started)) >= 4, "attendant, parent and two ranks"
    lab.cluster.ask("scancel", "--signal=KILL", "--full", lab.job(n))
    until(lambda: not _mine(started), LIMIT)
    assert len(submissions.of_run(lab.db, n)) == 2


def test_two_nodes_compute_what_one_process_does(lab: Lab) -> None:
    two, one = enqueue(lab, config(2), nodes="2"), enqueue(lab, config(1))
    lab.finish(two, one)
    assert [lab.state(n) for n in (two, one)] == [("done", ""), ("done", "")]
    begins = [r for r in journal(lab.run(two)) if r["kind"] == "begin"]
    assert [(record["ranks"], record["nodes"]) for record in begins] == [(2, 2)]
    assert_near(points(journal(lab.run(two))), points(journal(lab.run(one))))
    until(lambda: not _mine(lab.run(two)), LIMIT)


def test_a_run_on_two_nodes_stops_as_one_and_goes_on_exactly(lab: Lab) -> None:
    n = enqueue(lab, config(2, epochs=12), nodes="2")
    whole = enqueue(lab, config(2, epochs=12), nodes="2")
    run = lab.run(n)
    until(lambda: '"kind":"log"' in _text(run, 0), LIMIT)
    assert sorted(_ranks(run)) == [("n1", "0"), ("n2", "1")]
    control.stop(lab.home, lab.db, n, "pause")
    assert lab.reaches(n, "paused") == "on request"
    until(lambda: not _mine(run), LIMIT)
    stop = json.loads(_text(run, 0).splitlines()[-1])
    assert (stop["kind"], stop["step"] > 0) == ("stop", True)
    control.resume(lab.db, n)
    worker.ensure(lab.home)
    until(lambda: '"kind":"log"' in _text(run, 1), LIMIT)
    lab.cluster.ask("scancel", "--batch", "--signal=USR1", lab.job(n))  # as before a time limit
    until(lambda: lab.cluster.hurry() or _text(run, 2) != "", LIMIT)
    lab.finish(n, whole)
    assert lab.state(n) == ("done", "")
    again = json.loads(_text(run, 1).splitlines()[-1])
    assert (again["kind"], again["step"] > stop["step"]) == ("stop", True)
    starts = [json.loads(_text(run, turn).splitlines()[0])["from_step"] for turn in (1, 2)]
    assert starts == [stop["step"], again["step"]]
    assert points(journal(run)) == points(journal(lab.run(whole)))
    until(lambda: not _mine(run), LIMIT)


def test_a_killed_rank_of_another_node_ends_the_run_with_its_reason(lab: Lab) -> None:
    n = enqueue(lab, config(2, epochs=50), nodes="2")
    run = lab.run(n)
    until(lambda: '"kind":"log"' in _text(run, 0), LIMIT)
    os.kill(_ranks(run)["n2", "1"], signal.SIGKILL)
    assert lab.reaches(n, "failed") == "rank 1 of 2 was killed by SIGKILL"
    until(lambda: not _mine(run), LIMIT)


def test_a_cancelled_job_leaves_no_process_on_either_node(lab: Lab) -> None:
    n = enqueue(lab, config(2, epochs=50), nodes="2")
    run = lab.run(n)
    until(lambda: '"kind":"epoch"' in _text(run, 0), LIMIT)
    lab.cluster.ask("scancel", lab.job(n))
    assert "scancel" in lab.reaches(n, "stopped", "failed", "lost")
    until(lambda: not _mine(run), LIMIT)
    assert lab.state(n)[0] == "stopped"
    assert run.last.exists(), "that of its last epoch"


def _ranks(run: RunDir) -> dict[tuple[str, str], int]:
    """Return the processes that compute a run by their node and rank."""
    found = {}
    for pid in _mine(run):
        pairs = (Path("/proc") / str(pid) / "environ").read_text().split("\0")
        env = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        if "RANK" in env:
            found[env["SLURMD_NODENAME"], env["RANK"]] = pid
    return found


def _text(run: RunDir, attempt: int) -> str:
    try:
        return run.attempts()[attempt].journal.read_text()
    except (IndexError, OSError):
        return ""


def _mine(run: RunDir) -> list[int]:
    """Return the living processes whose command line names a run's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if str(run.path).encode() in command and state != "Z":
                found.append(int(entry.name))
    return found
