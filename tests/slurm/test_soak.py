"""Many short runs while jobs are preempted, requeued and signalled at random: all must finish."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from contextlib import suppress

import pytest

from rpat_tui.launch import worker
from rpat_tui.store import queries, submissions
from tests.slurm.conftest import Lab, Summary

pytestmark = pytest.mark.slurm

EPOCHS = 8


def disturb(lab: Lab, chance: random.Random, done: Counter[str]) -> None:
    """Do one thing that happens to jobs on a busy cluster."""
    running = [
        line for line in lab.cluster.ask("squeue", "-h", "-t", "R", "-o", "%A|%j").splitlines()
        if "|rpat-" in line
    ]  # fmt: skip
    what = chance.choice(["preempt", "requeue", "signal"])
    with suppress(AssertionError):  # the job has just ended
        if what == "preempt":
            lab.cluster.occupy(chance.choice(["n1", "n2"]), chance.uniform(0.2, 1.0))
        elif running:
            job = chance.choice(running).partition("|")[0]
            if what == "requeue":
                lab.cluster.ask("scontrol", "requeue", job)
            else:
                lab.cluster.ask("scancel", "--batch", "--signal=USR1", job)
        else:
            return
        done[what] += 1


def survive(lab: Lab, count: int, every: float, limit: float) -> list[tuple[str, str]]:
    """Run `count` short runs under disturbance; returns the summary."""
    chance, done, began = random.Random(7), Counter[str](), time.monotonic()
    numbers = [lab.give("pace=0.02", EPOCHS, partition="low", signal="30") for _ in range(count)]
    quiet_at = began + limit * 0.7
    while queries.unfinished(lab.db, numbers):
        assert time.monotonic() - began < limit, "it did not end in time"
        if time.monotonic() < quiet_at:
            disturb(lab, chance, done)
        with suppress(AssertionError):
            lab.cluster.hurry()
        worker.ensure(lab.home)
        time.sleep(every)
    assert all(lab.is_whole(n, EPOCHS) for n in numbers)
    attempts = [len(lab.run(n).attempts()) for n in numbers]
    jobs = [len(submissions.of_run(lab.db, n)) for n in numbers]
    tokens = [
        json.loads(attempt.attendant.read_text().splitlines()[0])["slurm"]["token"]
        for n in numbers
        for attempt in lab.run(n).attempts()
    ]
    assert len(set(tokens)) == len(tokens), "no turn of a job was attended twice"
    said = ", ".join(f"{name} {n}" for name, n in sorted(done.items()))
    return [
        ("runs done", f"{count} of {count}"),
        ("disturbances", f"{done.total()}: {said}"),
        ("attempts, jobs", f"{sum(attempts)}, {sum(jobs)}"),
        ("runs with more than one attempt", str(sum(a > 1 for a in attempts))),
        ("most attempts of a run", str(max(attempts))),
        ("rows lost, doubled", "0, 0"),
        ("duration", f"{time.monotonic() - began:.0f} s"),
    ]


def test_ten_runs_survive_a_busy_cluster(lab: Lab) -> None:
    found = dict(survive(lab, 10, 0.3, 200))
    assert int(found["runs with more than one attempt"]) > 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_runs_survive_a_busy_cluster(lab: Lab, summary: Summary) -> None:
    """What came of it is in `bench/results/soak-slurm.md`."""
    found = survive(lab, 200, 0.5, 3000)
    summary("soak-slurm", "Two hundred runs on a busy Slurm", found)
