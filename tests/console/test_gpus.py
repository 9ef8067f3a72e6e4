"""Runs on several cards: which they get, what is refused, and a real one of two processes."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from rpat.errors import ConfigError
from rpat.recipes import recipe
from rpat_tui import placement
from rpat_tui.home import Home
from rpat_tui.launch import box, local
from rpat_tui.launch.box import in_the_way, survey
from rpat_tui.launch.cards import Card
from rpat_tui.launch.devices import Busy, Rules, Slot, Waiting, cards_of, plan
from rpat_tui.launch.slurm.script import options, script, wanted_gres
from rpat_tui.launch.verdict import Evidence, judge
from rpat_tui.store import index, queries
from rpat_tui.store.memory import Needs
from tests.console.conftest import Enqueue, Rpat, refused

FOUR = [Card(index=i, uuid=f"GPU-{i}", memory_mb=100_000, used_mb=0) for i in range(4)]


def wants(run: int, gpus: int = 1, device: str = "auto") -> Waiting:
    return Waiting(run=run, device=device, need_mb=1_000, gpus=gpus)


def placed(
    busy: list[str], waiting: list[Waiting], rules: Rules | None = None, **more: Any
) -> dict[int, str]:
    """Return the slots that waiting runs get while others have theirs."""
    running = [Busy(slot=slot, need_mb=1_000) for slot in busy]
    starts = plan(more.pop("cards", FOUR), running, waiting, rules or Rules(), **more)
    return {start.run: start.slot.name for start in starts}


# ----------------------------------------------------------------- places


def test_a_slot_names_every_card_of_its_run() -> None:
    assert cards_of("cuda:0+2+10") == ["cuda:0", "cuda:2", "cuda:10"]
    assert cards_of("cuda:3#1") == ["cuda:3"]
    assert cards_of("cpu:0") == []


def test_a_run_gets_whole_cards_and_sees_these_alone() -> None:
    (start,) = plan(FOUR, [Busy(slot="cuda:1")], [wants(1, 2)], Rules())
    assert start.slot == Slot("cuda:0+2", "cuda:0+2", "GPU-0,GPU-2")
    assert start.slot.environment("auto") == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "GPU-0,GPU-2",
    }  # fmt: skip
    bare = Slot("cuda:0+2", "cuda:0+2").environment("cuda")
    assert bare["CUDA_VISIBLE_DEVICES"] == "0,2"


def test_nobody_shares_a_card_with_a_run_on_several() -> None:
    shared = Rules(runs_per_gpu=2)
    assert placed(["cuda:0+1"], [wants(1), wants(2), wants(3)], shared) == {
        1: "cuda:2", 2: "cuda:3", 3: "cuda:2#1",
    }  # fmt: skip
    assert placed(["cuda:0", "cuda:1#1"], [wants(1, 2), wants(2, 2)], shared) == {1: "cuda:2+3"}


def test_the_cards_that_a_run_waits_for_are_not_given_to_later_ones() -> None:
    queue = [wants(1, 3), wants(2), wants(3)]
    assert placed(["cuda:0", "cuda:1"], queue) == {}
    assert placed(["cuda:0"], queue) == {1: "cuda:1+2+3"}
    first_two = [wants(1, 2), wants(2)]
    assert placed(["cuda:0", "cuda:1", "cuda:2"], first_two) == {}, "the last one is kept"


def test_a_run_that_can_never_start_here_holds_up_nobody() -> None:
    assert placed([], [wants(1, 5), wants(2)]) == {2: "cuda:0"}
    assert placed([], [wants(1, 4), wants(2)], holds=["cuda:0"]) == {2: "cuda:1"}
    assert placed([], [wants(1, 2, "cpu"), wants(2, 4)]) == {1: "cpu:0", 2: "cuda:0+1+2+3"}
    assert placed([], [wants(1, 2)], cards=[]) == {1: "cpu:0"}


def test_the_queue_knows_how_many_cards_its_runs_want(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    enqueue(2)
    several = recipe("pgd-at", dataset="digits").override({"gpus": 2, "seed": 7})
    (n,) = index.enqueue(home, db, [several], index.Wish(), {})
    assert [(h.name, h.gpus) for h in Needs().heads(db, 1)] == [("r0001", 1), (f"r{n:04d}", 2)]
    rules = Rules()
    assert in_the_way(db, n, "auto", FOUR, rules, 2) == []
    assert in_the_way(db, n, "auto", FOUR[:1], rules, 2) == [
        "it wants 2 cards; this machine has 1"
    ]  # fmt: skip
    db.execute("update runs set state = 'running', slot = 'cuda:0+2' where n = ?", (n,))
    cards = survey(db, FOUR, rules)["cards"]
    assert [[run["id"] for run in card["runs"]] for card in cards] == [["r0003"], [], ["r0003"], []]
    db.execute("update runs set state = 'queued', slot = '' where n = ?", (n,))
    db.execute("update runs set state = 'running', slot = 'cuda:0' where n = 1")
    assert in_the_way(db, n, "auto", FOUR[:2], rules, 2) == [
        "it wants 2 cards to itself", "cuda:0 is taken (cuda:0)",
    ]  # fmt: skip


# ----------------------------------------------------------------- refused


def test_what_this_machine_cannot_do_is_refused(
    rpat: Rpat, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ("run", "--method", "pgd-at", "--dataset", "digits", "--gpus", "3")
    monkeypatch.setattr(box, "read_cards", lambda visible: FOUR[:2])
    refused(rpat(*run), "--gpus 3", "2 GPUs", "--gpus 2", "--device cpu")
    refused(rpat(*run, "--device", "cuda:1"), "gpus is 3", "cuda:1 is one card")
    monkeypatch.setattr(box, "read_cards", lambda visible: [])
    refused(rpat(*run, "--device", "cuda"), "no GPUs")
    refused(rpat(*run, "--sbatch", "--nodes=2", "--launcher", "slurm"), "--nodes", "use --nodes")
    refused(rpat(*run, "--nodes", "2"), "--nodes is for clusters", "--launcher slurm")
    assert not nowhere.exists()


def test_a_dry_run_shows_how_many_cards_a_run_wants(rpat: Rpat, nowhere: Path) -> None:
    said = rpat(
        "run", "--method", "mart", "--dataset", "digits", "--gpus", "2", "--dry-run", "--json"
    )
    assert said.json[0]["config"]["gpus"] == 2


# ----------------------------------------------------------------- a cluster


@pytest.mark.parametrize(
    ("gres", "device", "gpus", "expected"),
    [
        ("", "auto", True, "gpu:4"),
        ("", "auto", False, ""),
        ("", "cuda", False, "gpu:4"),
        ("gpu", "auto", True, "gpu:4"),
        ("gpu:1", "auto", True, "gpu:4"),
        ("gpu:a100", "auto", True, "gpu:a100:4"),
        ("gpu:a100:4", "auto", True, "gpu:a100:4"),
        ("gpu:1", "cpu", True, ""),
        ("none", "auto", True, ""),
    ],
)
def test_a_job_asks_for_as_many_gpus(gres: str, device: str, gpus: bool, expected: str) -> None:
    assert wanted_gres(gres, device, gpus=gpus, cards=4) == expected


def test_a_job_of_several_processes_is_one_task_with_a_processor_for_each() -> None:
    found = options(Path("/r"), "name", {"cpus": "2"}, "auto", gpus=True, cards=4)
    assert {"--nodes=1", "--ntasks=1", "--gres=gpu:4", "--cpus-per-task=4"} <= set(found)


def test_a_job_on_several_nodes_is_one_task_on_each_with_its_share_of_the_gpus() -> None:
    asked = {"cpus": "1", "nodes": "2", "gres": "gpu:a100"}
    found = options(Path("/r"), "name", asked, "auto", gpus=True, cards=4)
    assert {"--nodes=2", "--ntasks-per-node=1", "--gres=gpu:a100:2", "--cpus-per-task=2"} <= {
        *found
    }
    assert not any(word.startswith("--ntasks=") for word in found)
    assert " RPAT_NODES=2\n" in script(Path("/r"), 1, asked, 60)
    assert " RPAT_NODES=1\n" in script(Path("/r"), 1, {}, 60)


@pytest.mark.parametrize(
    ("asked", "cards", "said"),
    [
        ({"nodes": "3"}, 4, "--nodes 3 and --gpus 4.*multiple of 3"),
        ({"nodes": "2"}, 1, "--nodes 2 and --gpus 1.*multiple of 2"),
        ({"nodes": "2", "gres": "gpu:4"}, 4, "--gres gpu:4 and --gpus 4"),
    ],
)
def test_nodes_that_cannot_share_the_gpus_are_refused(
    asked: dict[str, str], cards: int, said: str, home: Home, db: sqlite3.Connection
) -> None:
    config = recipe("pgd-at", dataset="digits").override({"gpus": cards})
    with pytest.raises(ConfigError, match=said):
        index.enqueue(home, db, [config], index.Wish(launcher="slurm", resources=asked), {})
    assert not list(home.runs.iterdir())


def test_two_numbers_of_gpus_are_refused(home: Home, db: sqlite3.Connection) -> None:
    config = recipe("pgd-at", dataset="digits").override({"gpus": 2})
    wish = index.Wish(launcher="slurm", resources={"gres": "gpu:a100:3"})
    with pytest.raises(ConfigError, match="--gres gpu:a100:3 and --gpus 2"):
        index.enqueue(home, db, [config], wish, {})
    assert not list(home.runs.iterdir())
    assert placement.times("gpu:h200", 8) == "gpu:h200:8"


# ----------------------------------------------------------------- what becomes of it


def test_a_run_is_none_of_the_ranks_that_have_started_us(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
    for name in names:
        monkeypatch.setenv(name, "1")
    assert not {*names} & local._own().keys()
    assert local._own().keys() < os.environ.keys()


@pytest.mark.parametrize(
    ("more", "cause", "reason"),
    [
        ({"signal": "SIGKILL"}, "signal", "rank 1 of 2 was killed by SIGKILL (kill -9, or the"),
        (
            {"signal": "SIGKILL", "oom": ("memory.events", 1)}, "host memory",
            "rank 1 of 2 was killed by the kernel: out of memory (oom_kill rose by 1",
        ),
        ({"exit_code": 1}, "exit", "rank 1 of 2 was killed by SIGKILL"),
    ],
)  # fmt: skip
def test_the_verdict_says_which_process_took_the_others_along(
    more: dict[str, Any], cause: str, reason: str
) -> None:
    message = "rank 1 of 2 was killed by SIGKILL"
    verdict = judge(Evidence(attempt=1, error_reason="rank", error_message=message, **more))
    assert (verdict.state, verdict.cause) == ("failed", cause)
    assert verdict.reason.startswith(reason)


# ----------------------------------------------------------------- a real one


def test_a_run_of_two_processes_journals_the_numbers_of_one(
    home: Home, rpat: Rpat, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    changes = {
        "data.train_n": 44, "data.test_n": 20, "eval.steps": 1, "eval.selection_steps": 1,
        "log_every": 1,
    }  # fmt: skip
    more = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    words = [
        "run", "--method", "mart", "--rpat", "--dataset", "digits", "--device", "cpu", "--epochs",
        "1", "--steps", "1", "--lr", "0.001", "--batch-size", "16", "--set", "threat.epsilon=0.01",
    ]  # fmt: skip
    for count in ("1", "2"):
        assert rpat(*words, *more, "--gpus", count, "--json").code == 0
    one, two = (
        {(p["name"], p["step"]): p["value"] for p in queries.metrics(db, n)} for n in (1, 2)
    )
    assert one.keys() == two.keys()
    for name, step in one:
        if not name.startswith("time/"):
            least = 5.1 if name.endswith("_acc") else 1e-4  # of 20 images one may be another
            near = pytest.approx(one[name, step], rel=5e-3, abs=least)
            assert two[name, step] == near, (name, step)
    first, second = (queries.evaluations(db, n) for n in (1, 2))
    keys = ("checkpoint", "network", "epoch", "n")
    assert [[e[key] for key in keys] for e in first] == [[e[key] for key in keys] for e in second]
    assert queries.config_of(db, 2)["gpus"] == 2
    row = db.execute("select count(distinct fingerprint), count(*) from runs").fetchone()
    assert row == (1, 2), "how many processes computed it is not what it is"
