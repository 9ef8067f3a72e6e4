"""Several processes compute what one does; they stop, die and go on together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ranked import chosen

from rpat import checkpoint, ranks
from rpat.__main__ import pick_device
from rpat.divided import Alone, Ranks
from rpat.errors import PARTED, SAVED, SUPERSEDED, ConfigError
from rpat.ranks import Place
from rpat.recipes import recipe
from rpat.rundir import Attempt, RunDir, write_json

ROOT = Path(__file__).parents[2]


def environment(**more: str) -> dict[str, str]:
    """Return what a trainer of its own needs to see."""
    kept = {k: v for k, v in os.environ.items() if k not in (*ranks.TORCHRUN, "RPAT_ATTEMPT")}
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "core")])}
    return kept | paths | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"} | more


# ------------------------------------------------------------- what is computed


def learn(out: Path, size: int, which: str, *more: str) -> dict[str, dict[str, object]]:
    """Train the cases alone and in `size` processes, all at a time; returns what each saw."""
    script = [sys.executable, str(ROOT / "tests" / "core" / "ranked.py"), str(out), which, *more]
    with socket.create_server(("127.0.0.1", 0)) as door:
        place = {
            "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(door.getsockname()[1]),
        }  # fmt: skip
        running = [subprocess.Popen(script, env=environment())]
        for rank in range(size):
            env = environment(**place, RANK=str(rank))
            fds = [door.fileno()] if rank == 0 else []
            if rank == 0:
                env[ranks.DOOR] = str(door.fileno())
            running.append(subprocess.Popen(script, env=env, pass_fds=fds))
    assert [child.wait() for child in running] == [0] * (size + 1)
    names = ["alone", *(f"rank-{rank}" for rank in range(size))]
    return {
        name: torch.load(out / f"{name}.pt", map_location="cpu", weights_only=False)
        for name in names
    }  # fmt: skip


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Return what one process and two saw of the cases of every day."""
    return learn(tmp_path_factory.mktemp("learned"), 2, "quick")


def assert_equal(name, found, same):
    """Compare one case: float64 to 1e-10, bfloat16 as it rounds; ranks bit for bit."""
    alone, *several = (part[name] for part in found.values())
    coarse = "mode=fast" in name
    for other in several[1:]:
        assert same(several[0], other)
    tolerance = {"rtol": 0.2, "atol": 0.05} if coarse else {"rtol": 1e-10, "atol": 1e-10}
    for one, two in zip(alone["steps"], several[0]["steps"], strict=True):
        torch.testing.assert_close(two, one, **tolerance)
    if not coarse:
        torch.testing.assert_close(several[0]["method"], alone["method"], **tolerance)
        assert several[0]["metrics"] == [pytest.approx(m, rel=1e-9) for m in alone["metrics"]]


@pytest.mark.parametrize("name", [case[0] for case in chosen("quick")])
def test_two_processes_compute_what_one_does(name, learned, same):
    assert_equal(name, learned, same)


def test_a_request_to_stop_is_obeyed_by_all_at_one_step_and_they_go_on_exactly(learned, same):
    several = [learned[f"rank-{rank}"]["interrupted"] for rank in range(2)]
    assert [found["told"] for found in several] == ["pause", "stop"]  # the others only leave
    for found in several:
        assert found["from"] == 4
        whole, again = found["ends"]
        assert same(again, whole)
        assert same(whole, several[0]["ends"][0])
        assert found["best"][0] == found["best"][1] == several[0]["best"][0]


@pytest.mark.slow
def test_two_processes_compute_what_one_does_for_every_method_and_wrapper(tmp_path, same):
    found = learn(tmp_path, 2, "all")
    for case in chosen("all"):
        assert_equal(case[0], found, same)


@pytest.mark.slow
def test_a_process_without_an_image_of_the_last_batch_computes_along(tmp_path, same):
    found = learn(tmp_path, 4, "quick")  # the last batch has 3 images
    for case in chosen("quick"):
        assert_equal(case[0], found, same)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs here")
def test_two_cards_compute_what_one_does(tmp_path, same):
    found = learn(tmp_path, 2, "quick", "cuda")
    for case in chosen("quick"):
        assert_equal(case[0], found, same)


@pytest.mark.parametrize("count", [0, 1, 3, 8, 9])
def test_every_row_belongs_to_one_rank(count):
    rows = []
    for rank in range(4):
        one = Ranks.__new__(Ranks)
        one.rank, one.size = rank, 4
        rows += list(range(count))[one.part(count)]
    assert rows == list(range(count))


def test_one_process_is_left_as_it_was(small_network):
    net = small_network()
    before = list(net.modules())
    assert Alone().divide(net) is net
    assert list(net.modules()) == before
    assert not net._forward_hooks
    assert not net._forward_pre_hooks

    def ask():
        return "pause"

    assert Alone().agreed(ask) is ask


# ------------------------------------------------------------- a run of several processes


@pytest.fixture
def small_job(job):
    """Return a maker of runs of two epochs of 5 steps in two processes."""

    def make(name, **more):
        config = recipe("pgd-at", ("rpat",), dataset="digits").override({
            "data.train_n": 40, "data.test_n": 10, "optim.batch_size": 8, "schedule.epochs": 2,
            "attack.steps": 1, "eval.steps": 1, "eval.selection_steps": 1, "log_every": 1,
            "device": "cpu", "gpus": 2, **more,
        })  # fmt: skip
        return job(name, config)

    return make


def begin(run, **more):
    """Start an attempt in the background, as an attendant does."""
    with (run.dir.path / "output.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "rpat", str(run.dir.path)], env=environment(**more), cwd=ROOT,
            stdout=output, stderr=subprocess.STDOUT, process_group=0,
        )  # fmt: skip


def trained_to(run, process, attempt, steps):
    """Wait until an attempt has journaled a step."""
    deadline = time.monotonic() + 200
    while True:
        try:
            done = [r["step"] for r in run.kinds(attempt, "log")]
        except IndexError:
            done = []
        if done and done[-1] >= steps:
            return
        assert process.poll() is None, (run.dir.path / "output.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ranks_of(parent):
    """Return the processes that a trainer of several has started, rank 0 first."""
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return sorted(int(word) for word in text.split())


def is_gone(pid):
    """Return whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_a_killed_process_ends_the_run_and_a_request_stops_every_process(small_job):
    run = small_job("run")
    process = begin(run)
    trained_to(run, process, 1, 1)
    children = ranks_of(process.pid)
    assert len(children) == 2
    os.kill(children[1], signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert all(is_gone(pid) for pid in children)
    *_, last = run.records(1)
    assert last["kind"] == "error"
    assert last["reason"] == "rank"
    assert last["message"] == "rank 1 of 2 was killed by SIGKILL"

    process = begin(run)
    trained_to(run, process, 2, 1)
    children = ranks_of(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == SAVED
    assert all(is_gone(pid) for pid in children)
    *_, last = run.records(2)
    assert (last["kind"], last["word"]) == ("stop", "SIGTERM")


@pytest.mark.slow
def test_a_run_of_two_processes_stops_dies_and_goes_on_exactly(small_job, same):
    whole, run = small_job("whole"), small_job("run")
    uninterrupted = begin(whole)

    process = begin(run)
    trained_to(run, process, 1, 1)
    Attempt(run.dir.path, 1).stop.write_text("pause")
    assert process.wait() == SAVED
    *_, last = run.records(1)
    assert (last["kind"], last["word"]) == ("stop", "pause")

    process = begin(run)
    trained_to(run, process, 2, last["step"] + 1)
    os.kill(ranks_of(process.pid)[1], signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    assert begin(run).wait() == 0
    assert uninterrupted.wait() == 0
    assert run.records(3)[0]["ranks"] == 2
    assert run.merged() == whole.merged()
    assert same(run.weights(), whole.weights())
    assert [record["checkpoint"] for record in run.kinds(3, "eval")] == ["best", "final"]
    weights = checkpoint.load(run.dir.final("online"))["weights"]
    assert "conv1.weight" in weights


@pytest.mark.slow
def test_torchrun_starts_the_processes_as_well_and_another_number_goes_on(small_job, tmp_path):
    run, alone = small_job("run"), small_job("alone", gpus=1)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "rpat", str(run.dir.path)],
        env=environment(), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert begin(alone).wait() == 0
    assert [a.number for a in run.dir.attempts()] == [1]
    first, second = run.merged(), alone.merged()
    assert first.keys() == second.keys()
    key = ("point", 1, 0, "step/loss")
    assert first[key] == pytest.approx(second[key], rel=1e-5)

    three = small_job("three", **{"gpus": 3, "schedule.epochs": 4})
    process = begin(three)
    trained_to(three, process, 1, 1)
    process.send_signal(signal.SIGUSR1)
    assert process.wait() == SAVED
    job = json.loads(three.dir.config.read_text())
    job["config"]["gpus"] = 1
    write_json(three.dir.config, job)
    assert begin(three).wait() == 0
    assert three.records(2)[0]["from_step"] > 0
    assert "ranks" not in three.records(2)[0]


# ------------------------------------------------------------- the parent


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Return a function that supervises processes which do as they are told."""

    def go(*acts: str, words: dict[int, dict[str, str]] | None = None) -> ranks.Outcome:
        run = RunDir(tmp_path)
        attempt = run.take_attempt()
        for rank, word in (words or {}).items():
            ranks.leave_word(attempt, rank, word)

        def start(run, attempt, size):
            lines = f"import os, signal, sys, time; rank0 = {os.getpid()}\n"
            return [subprocess.Popen([sys.executable, "-S", "-c", lines + act]) for act in acts]

        monkeypatch.setattr(ranks, "start", start)
        monkeypatch.setattr(ranks, "GRACE", 0.2)
        return ranks.supervise(run, attempt, len(acts))

    before = {number: signal.getsignal(number) for number in ranks.ASK}
    yield go
    for number, handler in before.items():
        signal.signal(number, handler)


FOR_EVER = "time.sleep(1000)"


@pytest.mark.parametrize("code", [0, 1, 2, SAVED, SUPERSEDED])
def test_what_rank_0_says_is_the_outcome_and_nobody_is_left(code, play):
    assert play(f"sys.exit({code})", FOR_EVER) == ranks.Outcome(code)


def test_ranks_that_end_well_before_rank_0_are_nobodys_concern(play):
    assert play("time.sleep(0.3)", "pass", f"sys.exit({SAVED})") == ranks.Outcome(0)


def test_a_rank_that_is_killed_ends_the_run_by_its_signal(play, capfd):
    outcome = play(FOR_EVER, FOR_EVER, "os.kill(os.getpid(), signal.SIGSEGV)")
    error = {"reason": "rank", "message": "rank 2 of 3 was killed by SIGSEGV"}
    assert outcome == ranks.Outcome(1, error, signal.SIGSEGV)
    assert "rank 2 of 3 was killed by SIGSEGV" in capfd.readouterr().err


def test_a_rank_whose_peers_have_gone_is_not_to_blame(play, capfd):
    outcome = play(f"sys.exit({PARTED})", f"sys.exit({PARTED})", "time.sleep(0.1); sys.exit(3)")
    assert outcome.error == {"reason": "rank", "message": "rank 2 of 3 left with code 3"}
    alone = play(f"sys.exit({PARTED})", f"sys.exit({PARTED})")
    assert alone.error == {"reason": "rank", "message": "the 2 ranks lost each other"}


def test_an_error_of_another_rank_is_the_runs_error(play, capfd):
    word = {"reason": "out of memory", "message": "no room", "traceback": "…"}
    outcome = play(f"sys.exit({PARTED})", "sys.exit(1)", words={1: word})
    assert outcome == ranks.Outcome(1, word | {"message": "rank 1 of 2: no room"})


def test_rank_0_has_the_first_word_about_an_error_that_all_share(play):
    assert play("time.sleep(0.1); sys.exit(1)", "sys.exit(1)") == ranks.Outcome(1)


def test_a_request_reaches_rank_0(play):
    waits = "signal.signal(signal.SIGUSR1, lambda *a: sys.exit(85)); "
    outcome = play(waits + "os.kill(rank0, signal.SIGUSR1); time.sleep(1000)", FOR_EVER)
    assert outcome == ranks.Outcome(SAVED)


# ------------------------------------------------------------- other nodes


SRUN = """#!/bin/sh
echo "$*" > {folder}/words
while [ "$1" != {python} ]; do shift; done
SLURM_PROCID=0 SLURM_LAUNCH_NODE_IPADDR=127.0.0.1 exec "$@"
"""
"""Starts the ranks of a second node on this machine."""


@pytest.mark.slow
def test_a_rank_of_another_node_is_started_by_a_step_and_its_death_is_the_reason(
    small_job, tmp_path, monkeypatch
):
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(SRUN.format(folder=tmp_path, python=sys.executable))
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    run = small_job("run", **{"schedule.epochs": 50})
    process = begin(run, **{ranks.NODES: "2"})
    trained_to(run, process, 1, 1)
    assert run.records(1)[0]["nodes"] == 2
    assert "--relative=1 --nodes=1 --ntasks=1" in (tmp_path / "words").read_text()
    afar, lead = ranks_of(process.pid)  # the step is started first
    (far,) = ranks_of(afar)
    os.kill(far, signal.SIGKILL)
    assert process.wait() == 1
    assert all(is_gone(pid) for pid in (lead, afar, far))
    assert run.records(1)[-1]["message"] == "rank 1 of 2 was killed by SIGKILL"


@pytest.fixture
def play_afar(tmp_path, monkeypatch):
    """Return a function that is the parent of the second of two nodes, with ranks as told."""

    def go(*acts: str) -> tuple[int, dict[str, str] | None]:
        def launch(run, everyone, rank, local, each):
            assert (rank, everyone["MASTER_ADDR"]) == (each + local, "10.0.0.1")
            lines = "import os, signal, sys, time\n"
            return subprocess.Popen([sys.executable, "-S", "-c", lines + acts[local]])

        for name, value in {
            "WORLD_SIZE": str(2 * len(acts)), ranks.AFAR: str(len(acts)), "SLURM_PROCID": "0",
            "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1", ranks.NODES: "2",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        for name in ("obey", "die_with_the_parent"):
            monkeypatch.setattr(ranks, name, lambda: None)
        monkeypatch.setattr(ranks, "launch", launch)
        monkeypatch.setattr(ranks, "GRACE", 0.2)
        run = RunDir(tmp_path)
        attempt = run.take_attempt()
        return ranks.attend_afar(run, attempt), ranks.said_afar(attempt)

    return go


def test_the_parent_on_another_node_waits_for_all_that_leave_well(play_afar):
    assert play_afar("pass", f"time.sleep(0.3); sys.exit({SAVED})") == (0, None)


def test_the_parent_on_another_node_says_which_rank_has_failed(play_afar):
    word = {"reason": "rank", "message": "rank 3 of 4 was killed by SIGKILL"}
    assert play_afar(FOR_EVER, "os.kill(os.getpid(), signal.SIGKILL)") == (1, word)
    assert play_afar(f"sys.exit({PARTED})", "pass") == (PARTED, None)


def test_without_srun_no_rank_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv(ranks.NODES, "2")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ranks, "launch", lambda *a: pytest.fail("a rank was started"))
    run = RunDir(tmp_path)
    error = {"reason": "nodes", "message": "srun is not on this node"}
    assert ranks.supervise(run, run.take_attempt(), 2) == ranks.Outcome(1, error)


# ------------------------------------------------------------- places


def test_a_place_is_what_torchrun_says():
    assert ranks.place({}) is None
    assert ranks.place({"RANK": "3", "WORLD_SIZE": "4"}) == Place(3, 4, 3)
    env = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    assert ranks.place(env) == Place(3, 4, 1)


def test_each_process_has_a_card_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto", Place(1, 2, 1)) == torch.device("cuda:1")
    assert pick_device("cuda") == torch.device("cuda:0")
    assert pick_device("cpu", Place(1, 2, 1)) == torch.device("cpu")
    with pytest.raises(ConfigError, match="gpus is 3, but there are 2 GPUs"):
        pick_device("cuda", Place(2, 3, 2))


def test_several_processes_cannot_share_one_named_card(short):
    with pytest.raises(ConfigError, match="gpus is 2; device cuda:1 is one card"):
        short(gpus=2, device="cuda:1")


def test_how_many_processes_compute_a_run_is_not_what_it_is(short):
    assert short(gpus=4).fingerprint() == short().fingerprint()
