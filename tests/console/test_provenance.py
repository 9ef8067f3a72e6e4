"""Where runs come from: frozen code and its changes, runs made again, differences, duplicates."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rpat as core
from rpat.recipes import recipe
from rpat.rundir import RunDir, newest_code, read_json
from rpat_tui.home import Home
from rpat_tui.launch import anew, attend, frozen, worker
from rpat_tui.launch.differences import between_attempts, differences
from rpat_tui.store import index, queries, queue
from rpat_tui.store.db import transaction
from tests.console.conftest import Enqueue, Rpat


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is ever started."""
    monkeypatch.setattr(worker, "ensure", lambda home: None)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with a small core, which counts as the installed one."""
    top = tmp_path / "checkout"
    folder = top / "rpat"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "step.py").write_text("one = 1\n")
    about = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], [*about, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(top), *words], check=True)
    monkeypatch.setattr(core, "__file__", str(folder / "__init__.py"))
    return folder


def queued(home: Home, db: sqlite3.Connection, **changes: Any) -> int:
    config = recipe("pgd-at", dataset="digits").override(changes)
    (n,) = index.enqueue(home, db, [config], index.Wish(), frozen.provenance(home, "rpat run x"))
    return n


def ended(db: sqlite3.Connection, n: int, state: str = "stopped") -> None:
    with transaction(db):
        if state == "done":
            queue.move(db, n, "starting")
        queue.move(db, n, state)


# ----------------------------------------------------------------- the code that is executed


def test_a_queued_run_executes_the_code_it_was_queued_with_whatever_becomes_of_the_checkout(
    home: Home, db: sqlite3.Connection, checkout: Path, rpat: Rpat
) -> None:
    """The small core writes down which code it is, and does nothing else."""
    (checkout / "__main__.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom rpat import step\n"
        "Path(sys.argv[1], 'executed').write_text(f'{step.one} of {step.__file__}')\n"
    )
    said = rpat("run", "--method", "pgd-at", "--dataset", "digits", "--detach")
    assert said.out == "r0001\n"
    (checkout / "step.py").write_text("one = 'changed'\n")
    (checkout / "__main__.py").unlink()
    folder = home.runs / "r0001"
    done = subprocess.run([sys.executable, "-m", "rpat_tui.launch.attend", str(folder)])
    assert done.returncode == 0, (folder / "attempts/0001/output.log").read_text()
    value, _, place = (folder / "executed").read_text().partition(" of ")
    assert value == "1"
    assert Path(place).is_relative_to(home.snapshots)
    shutil.rmtree(checkout)  # nor does it need a checkout at all
    (folder / "executed").unlink()
    subprocess.run([sys.executable, "-m", "rpat_tui.launch.attend", str(folder)], check=True)
    assert (folder / "executed").read_text().startswith("1 of ")


# ----------------------------------------------------------------- the changes themselves


def test_uncommitted_changes_are_kept_once(home: Home, checkout: Path) -> None:
    clean = frozen.code(home)
    assert (clean["git"]["diff"], clean["git"]["patch"]) == ("", "")
    (checkout / "step.py").write_text("one = 2\n")
    (checkout / "new.py").write_text("unknown = 'to git'\n")
    first, second = frozen.code(home), frozen.code(home)
    assert first == second
    assert first["snapshot"] != clean["snapshot"]
    folder = Path(first["snapshot_path"])
    assert "+one = 2" in (folder / first["git"]["patch"]).read_text()
    assert (folder / "rpat" / "new.py").read_text() == "unknown = 'to git'\n"
    assert sorted(f.name for f in folder.iterdir()) == ["diff.patch", "rpat", "snapshot.json"]


def test_equal_code_with_other_changes_keeps_both_patches(home: Home, checkout: Path) -> None:
    (checkout / "step.py").write_text("one = 2\n")
    first = frozen.code(home)
    about = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    top = checkout.parent
    subprocess.run(["git", "-C", str(top), *about, "commit", "-qam", "x"], check=True)
    (checkout / "step.py").write_text("one = 3\n")
    subprocess.run(["git", "-C", str(top), *about, "commit", "-qam", "y"], check=True)
    (checkout / "step.py").write_text("one = 2\n")
    second = frozen.code(home)
    assert first["snapshot"] == second["snapshot"]
    assert first["git"]["patch"] != second["git"]["patch"]
    folder = Path(second["snapshot_path"])
    assert "-one = 3" in (folder / second["git"]["patch"]).read_text()
    assert "-one = 1" in (folder / first["git"]["patch"]).read_text()


def test_show_prints_where_a_run_comes_from_and_its_changes(
    home: Home, db: sqlite3.Connection, checkout: Path, rpat: Rpat
) -> None:
    (checkout / "step.py").write_text("one = 2\n")
    queued(home, db)
    text = rpat("show", "r1", "--provenance").out
    for word in ("command       rpat run x", "with uncommitted changes", "snapshot", "torch"):
        assert word in text
    assert rpat("show", "r1", "--diff-code").out.endswith("-one = 1\n+one = 2\n")
    found = rpat("show", "r1", "--provenance", "--json").json
    assert found["id"] == "r0001"
    assert found["git"]["patch"] == "diff.patch"


@pytest.mark.parametrize(
    ("git", "said"),
    [(None, "was no git checkout"), ({"commit": "c", "diff": ""}, "no uncommitted changes")],
)
def test_a_run_without_changes_says_so(
    home: Home, db: sqlite3.Connection, rpat: Rpat, git: Any, said: str
) -> None:
    config = recipe("pgd-at", dataset="digits")
    index.enqueue(home, db, [config], index.Wish(), {"git": git})
    assert said in rpat("show", "r1", "--diff-code").err


def test_attempts_that_ran_with_other_versions_are_named() -> None:
    one = {"number": 1, "host": "a", "device": "H100", "threads": 4, "versions": {"torch": "2.11"}}
    two = {**one, "number": 2, "host": "b", "versions": {"torch": "2.12"}}
    assert between_attempts([one, two]) == [
        "attempt 2: torch 2.11 → 2.12", "attempt 2: host a → b",
    ]  # fmt: skip
    assert between_attempts([one, {**one, "number": 2}]) == []


# ----------------------------------------------------------------- made again


def test_rerun_makes_new_runs_of_the_same_config(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    enqueue(1, note="pace=0", tags=("t",))
    said = rpat("rerun", "r1", "--seeds", "1-2", "--set", "optim.lr=0.01")
    assert said.out == "r0002 r0003\n"
    rows = queries.runs(db)
    assert [(r["seed"], r["tags"], r["note"], r["state"]) for r in rows[1:]] == [
        (1, ["t"], "pace=0", "queued"), (2, ["t"], "pace=0", "queued"),
    ]  # fmt: skip
    assert queries.config_of(db, 2)["optim"]["lr"] == 0.01
    origin = anew.provenance_of(home, "r0002")
    assert origin["rerun_of"] == {"id": "r0001", "uid": rows[0]["uid"]}
    assert "rerun of      r0001" in rpat("show", "r2", "--provenance").out


def test_rerun_of_two_seeds_with_new_seeds_makes_each_run_once(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    enqueue(2)
    assert len(rpat("rerun", "r1", "r2", "--seeds", "5,6", "--json").json) == 2


def test_rerun_takes_the_code_of_today_or_the_frozen_one(
    home: Home, db: sqlite3.Connection, checkout: Path, rpat: Rpat
) -> None:
    queued(home, db)
    old = read_json(RunDir(home.runs / "r0001").provenance)
    (checkout / "step.py").write_text("one = 2\n")
    rpat("rerun", "r1")
    rpat("rerun", "r1", "--code", "frozen")
    now, kept = (anew.provenance_of(home, name) for name in ("r0002", "r0003"))
    assert now["snapshot"] != old["snapshot"]
    assert (kept["snapshot"], kept["git"]) == (old["snapshot"], old["git"])
    assert (now["code"], kept["code"]) == ("now", "frozen")
    shutil.rmtree(old["snapshot_path"])
    said = rpat("rerun", "r1", "--code", "frozen")
    assert said.code == 2
    assert "use --code now" in said.err
    assert len(queries.runs(db)) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--code", "old"), "--code old does not exist"),
        (("--seed", "1", "--seeds", "1-2"), "keep one of them"),
        (("--set", "optim.lrr=1"), "optim.lr"),
    ],
)
def test_a_wrong_rerun_makes_nothing(
    home: Home,
    db: sqlite3.Connection,
    enqueue: Enqueue,
    rpat: Rpat,
    words: tuple[str, ...],
    said: str,
) -> None:
    enqueue()
    answer = rpat("rerun", "r1", *words)
    assert answer.code == 2
    assert said in answer.err
    assert len(queries.runs(db)) == 1


def test_requeue_moves_a_failed_run_to_the_code_of_today_and_keeps_the_first_facts(
    home: Home, db: sqlite3.Connection, checkout: Path, rpat: Rpat
) -> None:
    n = queued(home, db)
    folder = RunDir(home.runs / "r0001")
    first = read_json(folder.provenance)
    (checkout / "step.py").write_text("one = 2\n")
    refused = rpat("requeue", "r1", "--code", "now")
    assert (refused.code, "is queued" in refused.err) == (2, True)
    assert read_json(folder.provenance) == first
    ended(db, n)
    assert "is moved from code" in rpat("requeue", "r1", "--code", "now").out
    later = read_json(folder.provenance)
    assert {key: later[key] for key in first} == first
    assert later["history"][0]["snapshot"] == first["snapshot"]
    assert newest_code(later)["snapshot"] == later["history"][-1]["snapshot"] != first["snapshot"]
    env = attend._environment(folder, folder.take_attempt())
    assert env["PYTHONPATH"].startswith(newest_code(later)["snapshot_path"])
    row = db.execute("select state, snapshot from runs where n = ?", (n,)).fetchone()
    assert row == ("queued", newest_code(later)["snapshot"])
    ended(db, n)
    assert "has the code of today already" in rpat("requeue", "r1", "--code", "now").out
    assert len(read_json(folder.provenance)["history"]) == 2


# ----------------------------------------------------------------- rpat diff


def test_diff_names_what_differs_in_config_code_and_environment(
    home: Home, db: sqlite3.Connection, checkout: Path, rpat: Rpat
) -> None:
    queued(home, db)
    (checkout / "step.py").write_text("one = 2\n")
    (checkout / "new.py").write_text("")
    queued(home, db, **{"threat.epsilon": "8/255", "seed": 3})
    found = rpat("diff", "r1", "r2", "--json").json
    assert found["config"]["seed"] == [0, 3]
    assert found["code"]["files"] == {"rpat/new.py": "added", "rpat/step.py": "changed"}
    assert "+one = 2" in found["code"]["diff"]
    assert found["environment"] == {}
    assert found["data"] is None
    text = rpat("diff", "r1", "r2").out
    for line in ("threat.epsilon  0.1 → 8/255", "environment: the same", "changed  rpat/step.py"):
        assert line in text
    assert rpat("diff", "r1", "r1").out == (
        "config: the same\nenvironment: the same\nimages: the same\ncode: the same\n"
    )


def test_a_snapshot_that_is_gone_is_said_to_be(
    home: Home, db: sqlite3.Connection, checkout: Path, rpat: Rpat
) -> None:
    queued(home, db)
    (checkout / "step.py").write_text("one = 2\n")
    queued(home, db)
    shutil.rmtree(read_json(RunDir(home.runs / "r0001").provenance)["snapshot_path"])
    found = differences(home, db, 1, 2)["code"]
    assert len(found["missing"]) == 1
    assert "is not kept: its files cannot be compared" in rpat("diff", "r1", "r2").out


# ----------------------------------------------------------------- duplicates

RUN = ("run", "--dataset", "digits", "--method", "pgd-at", "--detach")


def test_a_second_run_of_one_config_is_remarked_and_made(
    home: Home, db: sqlite3.Connection, rpat: Rpat
) -> None:
    assert rpat(*RUN).err == ""
    said = rpat(*RUN)
    assert said.out == "r0002\n"
    assert said.err == "r0001 is queued for the same; --reuse takes it instead of training again\n"


@pytest.mark.parametrize(
    ("state", "said"),
    [("done", "r0001 has trained this\n"), ("queued", "r0001 is queued for this\n")],
)
def test_reuse_takes_the_run_that_is_there(
    home: Home, db: sqlite3.Connection, rpat: Rpat, state: str, said: str
) -> None:
    rpat(*RUN)
    if state == "done":
        ended(db, 1, "done")
    answer = rpat(*RUN, "--seeds", "0-1", "--reuse")
    assert answer.out == "r0001 r0002\n"
    assert answer.err == said
    assert [row["seed"] for row in queries.runs(db)] == [0, 1]


def test_a_failed_run_is_not_reused(home: Home, db: sqlite3.Connection, rpat: Rpat) -> None:
    rpat(*RUN)
    ended(db, 1)
    assert rpat(*RUN, "--reuse").out == "r0002\n"


def test_reuse_asks_the_old_run_for_the_evaluation_that_the_new_one_would_have(
    home: Home, db: sqlite3.Connection, rpat: Rpat
) -> None:
    rpat(*RUN)
    ended(db, 1, "done")
    rpat(*RUN, "--reuse", "--eval", "aa")
    assert [n for n, *_ in queries.due(db)] == [1]
