"""The commands as people and programs meet them: output, exit status, and what is left behind."""

from __future__ import annotations

import csv
import errno
import io
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from rpat.config import METHODS, WRAPPERS
from rpat.errors import ConfigError
from rpat_tui.cli import MODULES, main, output
from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.launch.locks import holder
from rpat_tui.store import db as database
from rpat_tui.store import queries
from tests.console.conftest import STANDIN, Enqueue, Rpat, Said, enqueuer, refused, until

COMMAND = [sys.executable, "-m", "rpat_tui"]
LIST_KEYS = {
    "id", "state", "reason", "method", "rpat", "lam", "dataset", "norm", "model", "seed", "epoch",
    "epochs", "clean", "pgd", "created", "started", "ended",
}  # fmt: skip
TABLE_KEYS = {
    "dataset", "source", "norm", "model", "method", "rpat", "checkpoint", "robust", "n", "clean",
    "pgd20", "aa", "mean", "nrr",
}  # fmt: skip
FINDING_KEYS = {"rule", "level", "checkpoint", "network", "text", "do", "evidence"}
DIGITS = ("run", "--dataset", "digits", "--method")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Three runs that have ended: r0001 and r0002 done, r0003 failed."""
    home = Home(tmp_path_factory.mktemp("finished") / "home").make()
    with pytest.MonkeyPatch.context() as patch, database.opened(home) as db:
        patch.setenv("RPAT_WORKER_IDLE", "0.5")
        make = enqueuer(home, db)
        numbers = make(1, "pace=0.001", 2, name="first", tags=("table1", "x"))
        numbers += make(1, "pace=0.001 robust", 3, "mart", rpat=True)
        numbers += make(1, "pace=0.001 crash=2", 3, name="odd")
        worker.ensure(home)
        until(lambda: not queries.unfinished(db, numbers))
        until(lambda: holder(home.worker_lock) is None)
    return home


@pytest.fixture
def small(finished: Home, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The finished runs, where commands look for them."""
    monkeypatch.setenv("RPAT_HOME", str(finished.path))
    return finished


# ----------------------------------------------------------------- wrong requests

WRONG: list[tuple[list[str], list[str]]] = [
    (["nosuch"], ["'nosuch'", "--help"]),
    (["--nosuch"], ["--nosuch", "--help"]),
    (["run", "--methd", "mart"], ["--methd", "--method", "rpat run --help"]),
    (["run"], ["--method", "rpat methods"]),
    ([*DIGITS, "pgd_at"], ["--method", "'pgd_at'", "did you mean 'pgd-at'"]),
    ([*DIGITS, "pgd-at,mrt"], ["'mrt'", "did you mean 'mart'"]),
    ([*DIGITS, "pgd-at", "--with", "awpp"], ["'awpp'", "awp"]),
    ([*DIGITS, "pgd-at", "--epsilon", "8"], ["threat.epsilon", "8", "[0, 1]", "8/255"]),
    ([*DIGITS, "pgd-at", "--epsilon", "abc"], ["threat.epsilon", "'abc'", "8/255"]),
    ([*DIGITS, "pgd-at", "--step-size", "9"], ["attack.step_size", "9"]),
    ([*DIGITS, "pgd-at", "--lam", "3"], ["rpat.lam", "--rpat"]),
    ([*DIGITS, "pgd-at", "--alpha", "0.5"], ["rpat.alpha", "--rpat"]),
    ([*DIGITS, "clean", "--rpat"], ["rpat on 'clean'", "adversarial"]),
    ([*DIGITS, "pgd-at", "--seed", "1", "--seeds", "0-2"], ["--seed", "--seeds", "keep one"]),
    ([*DIGITS, "pgd-at", "--seeds", "2-0"], ["--seeds", "2-0", "write 0-2"]),
    ([*DIGITS, "pgd-at", "--seeds", "a"], ["--seeds", "'a'", "0,1,2"]),
    ([*DIGITS, "pgd-at", "--seeds", "0-"], ["--seeds", "'0-'", "0,1,2"]),
    ([*DIGITS, "pgd-at", "--set", "attack.steps"], ["--set", "attack.steps", "key=value"]),
    ([*DIGITS, "pgd-at", "--set", "attack.stepz=3"], ["'stepz'", "did you mean 'steps'"]),
    ([*DIGITS, "pgd-at", "--set", "atack.steps=3"], ["'atack'", "did you mean 'attack'"]),
    ([*DIGITS, "pgd-at", "--set", "attack.steps=x"], ["attack.steps", "'x'"]),
    ([*DIGITS, "pgd-at", "--epochs", "0"], ["--epochs", "0"]),
    ([*DIGITS, "pgd-at", "--epochs", "x"], ["--epochs", "'x'"]),
    ([*DIGITS, "pgd-at", "--lr", "-1"], ["optim.lr", "-1"]),
    ([*DIGITS, "pgd-at", "--norm", "l1"], ["'l1'", "linf"]),
    ([*DIGITS, "pgd-at", "--model", "resnet9"], ["'resnet9'", "resnet8"]),
    ([*DIGITS, "pgd-at", "--eval", "pgdd"], ["eval.attack", "'pgdd'"]),
    ([*DIGITS, "pgd-at", "--device", "gpu"], ["device", "gpu"]),
    ([*DIGITS, "pgd-at", "--preset", "papr/mart"], ["'papr/mart'"]),
    ([*DIGITS, "pgd-at,pgd-at"], ["twice", "pgd-at"]),
    (["run", "--method", "mart", "--dataset", "digit"], ["--dataset", "'digit'", "digits"]),
    (["run", "--method", "mart", "--dataset", "cifar10", "--data-dir", "void"],
     ["'cifar10'", "void", "--data-dir"]),
    (["run", "--method", "mart", "--dataset", "image-folder"], ["'image-folder'", "--data-dir"]),
    (["show"], ["run"]),
    (["show", "r1"], ["no runs yet", "rpat run"]),
    (["stop", "r1"], ["no runs yet"]),
    (["wait", "r1"], ["no runs yet"]),
    (["reindex"], ["does not exist", "--home"]),
    (["methods", "marrt"], ["'marrt'", "mart"]),
    (["list", "--kind", "trains"], ["--kind", "trains", "train"]),
    (["list", "--where", "methd:mart"], ["--where", "'methd'", "did you mean 'method'"]),
    (["list", "--where", "(mart"], ["--where", "'('"]),
    (["list", "--where", "mart)"], ["--where", "')'"]),
    (["list", "--where", "not"], ["--where", "ends"]),
    (["list", "--where", "pgd>x"], ["--where", "'x'", "number"]),
    (["list", "--where", "pgd:5"], ["--where", "':'", "'pgd'"]),
    (["list", "--where", "method<3"], ["--where", "'<'", "'method'"]),
    (["list", "--where", "is:opn"], ["--where", "'opn'", "open"]),
    (["list", "--where", "age<3"], ["--where", "age<3d"]),
    (["list", "--where", "method in 0-2"], ["--where", "'method'"]),
    (["table", "--format", "docx"], ["--format", "'docx'", "csv"]),
    (["table", "--robust", "pgd"], ["--robust", "'pgd'", "pgd20"]),
    (["table", "--checkpoint", "last"], ["--checkpoint", "'last'", "final"]),
    (["table", "--dataset", "cifar"], ["--dataset", "'cifar'", "cifar10"]),
]  # fmt: skip


@pytest.mark.parametrize(("words", "fragments"), WRONG, ids=lambda part: " ".join(part))
def test_a_wrong_request_is_one_line_and_makes_nothing(
    nowhere: Path, tmp_path: Path, rpat: Rpat, words: list[str], fragments: list[str]
) -> None:
    refused(rpat(*words), *fragments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "fragments"), [
    (["show", "r99"], ["'r99'", "rpat list"]),
    (["stop", "r1", "r99"], ["'r99'", "rpat list"]),
    (["logs", "nobody"], ["'nobody'", "rpat list"]),
    (["requeue", "r1"], ["r0001 is done", "only failed and stopped"]),
])  # fmt: skip
def test_a_run_that_does_not_fit_is_named(
    small: Home, rpat: Rpat, words: list[str], fragments: list[str]
) -> None:
    refused(rpat(*words), *fragments)


def test_a_name_that_several_runs_have_is_refused(
    home: Home, db: sqlite3.Connection, rpat: Rpat
) -> None:
    enqueuer(home, db)(2, name="twin")
    refused(rpat("show", "twin"), "'twin'", "several", "id")


def test_a_setting_that_is_no_number_is_refused_with_its_origin(
    nowhere: Path, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPAT_CPU_SLOTS", "many")
    refused(rpat("config"), "cpu_slots", "'many'", "RPAT_CPU_SLOTS")


# ----------------------------------------------------------------- homes that cannot be used

READERS = [["list"], ["list", "--json"], ["table"], ["show", "r1"], ["metrics", "r1"]]


@pytest.mark.parametrize("words", [*READERS, [*DIGITS, "mart", "--detach"], ["reindex"]])
def test_a_home_that_is_a_file_is_refused(nowhere: Path, rpat: Rpat, words: list[str]) -> None:
    nowhere.write_text("a file")
    refused(rpat(*words), str(nowhere), "--home")
    assert nowhere.read_text() == "a file"


@pytest.mark.parametrize("words", READERS)
def test_a_home_that_may_not_be_read_is_refused(
    home: Home, rpat: Rpat, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    real = os.listdir

    def closed(path: Any = ".") -> list[str]:
        if str(path).startswith(str(home.path)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    with monkeypatch.context() as patch:  # what chmod 000 does to anybody but root
        patch.setattr(os, "listdir", closed)
        said = rpat(*words)
    refused(said, str(home.path), "Permission denied", "permissions")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
@pytest.mark.parametrize("words", READERS)
def test_a_closed_home_is_refused(home: Home, rpat: Rpat, words: list[str]) -> None:
    home.path.chmod(0)
    try:
        refused(rpat(*words), str(home.path), "permissions")
    finally:
        home.path.chmod(0o755)


def test_a_home_that_may_not_be_written_is_shown_as_it_is(
    small: Home, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    before = small.database.read_bytes()
    said = rpat("list", "--json")
    assert (said.code, len(said.json)) == (0, 3)
    assert "read-only" in said.err
    assert small.database.read_bytes() == before


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6, 8])
def test_a_full_disk_while_queueing_is_one_line_and_leaves_no_run(
    home: Home, db: sqlite3.Connection, rpat: Rpat, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    calls, real = itertools.count(1), os.fsync

    def full(fd: int) -> None:
        if next(calls) >= k:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        said = rpat(*DIGITS, "pgd-at", "--seeds", "0-1", "--detach")
    refused(said, str(home.path), "free some space")
    assert list(home.runs.iterdir()) == []
    assert db.execute("select count(*) from runs").fetchone() == (0,)
    assert holder(home.worker_lock) is None


def test_a_damaged_database_names_the_command_that_repairs_it(home: Home, rpat: Rpat) -> None:
    home.database.write_bytes(b"this is not a database" * 500)
    refused(rpat("list"), "damaged", "rpat reindex")
    said = rpat("reindex")
    assert (said.code, said.out) == (0, "0 runs indexed\n")
    assert rpat("list", "--json").json == []


# ----------------------------------------------------------------- run


def test_a_dry_run_prints_the_exact_config_and_makes_nothing(
    nowhere: Path, tmp_path: Path, rpat: Rpat
) -> None:
    words = [*DIGITS, "mart", "--rpat", "--lam", "5", "--epsilon", "4/255", "--dry-run"]
    said = rpat(*words, "--json")
    (plan,) = said.json
    assert plan["config"]["threat"]["epsilon"] == 4 / 255
    assert plan["config"]["rpat"]["lam"] == 5
    assert len(plan["fingerprint"]) == len(plan["group"]) == 64
    assert rpat(*words, "--json").json == said.json
    text = rpat(*words)
    assert text.code == 0
    assert "1 run would be queued; nothing was started" in text.out
    assert plan["fingerprint"] in text.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "expected"), [
    (["pgd-at,mart", "--seeds", "0-2"], [(m, s) for m in ("pgd-at", "mart") for s in (0, 1, 2)]),
    (["pgd-at", "--seeds", "0,3-4"], [("pgd-at", 0), ("pgd-at", 3), ("pgd-at", 4)]),
    (["pgd-at", "--norm", "linf,l2", "--seed", "7"], [("pgd-at", 7), ("pgd-at", 7)]),
    (["pgd-at", "--rpat", "--lam", "1,2,3", "--alpha", "0.5,beta-"], [("pgd-at", 0)] * 6),
])  # fmt: skip
def test_lists_make_a_grid(
    nowhere: Path, rpat: Rpat, words: list[str], expected: list[tuple[str, int]]
) -> None:
    plan = rpat(*DIGITS, *words, "--dry-run", "--json").json
    assert [(p["config"]["method"], p["config"]["seed"]) for p in plan] == expected
    assert len({p["fingerprint"] for p in plan}) == len(plan)


def test_a_grid_says_what_each_run_changes(nowhere: Path, rpat: Rpat) -> None:
    said = rpat(*DIGITS, "pgd-at", "--seeds", "0-1", "--dry-run")
    assert said.out.rstrip().endswith("and pgd-at: seed 1")


def test_a_foreground_run_prints_its_epochs_and_ends_with_it(standin: Home, rpat: Rpat) -> None:
    words = ["--note", "pace=0.01", "--epochs", "3", "--name", "mine", "--tag", "a", "--tag", "b"]
    said = rpat(*DIGITS, "pgd-at", *words)
    assert said.code == 0, said
    lines = said.out.splitlines()
    assert lines[-1].startswith("r0001 done     pgd-at digits s0  epoch 3/3  clean ")
    assert all(line.startswith("r0001 ") for line in lines)
    (row,) = rpat("list", "--json").json
    assert (row["name"], row["tags"], row["note"]) == ("mine", ["a", "b"], "pace=0.01")


def test_a_foreground_run_that_fails_says_why_and_exits_with_1(standin: Home, rpat: Rpat) -> None:
    said = rpat(*DIGITS, "pgd-at", "--note", "oom=1", "--epochs", "2")
    assert said.code == 1
    assert "r0001 failed: out of memory: OutOfMemoryError" in said.out.splitlines()[-1]


def test_run_json_is_the_list_of_the_runs_it_made(standin: Home, rpat: Rpat) -> None:
    said = rpat(*DIGITS, "pgd-at,mart", "--epochs", "1", "--detach", "--json")
    assert (said.code, said.err) == (0, "")
    assert [row["method"] for row in said.json] == ["pgd-at", "mart"]
    assert all(set(row) >= LIST_KEYS and row["state"] == "queued" for row in said.json)
    assert rpat("wait", "r1", "r2").code == 0


def test_a_detached_run_returns_at_once_and_is_executed(home: Home) -> None:
    """The one real run: the core itself, on a few digits."""
    words = [*DIGITS, "pgd-at", "--epochs", "1", "--steps", "1", "--eval", "none", "--detach"]
    words += ["--set", "data.train_n=40", "--set", "data.test_n=20", "--device", "cpu"]
    began = time.monotonic()
    said = subprocess.run([*COMMAND, *words], capture_output=True, text=True)
    assert (said.returncode, said.stdout, said.stderr) == (0, "r0001\n", "")
    assert time.monotonic() - began < 15
    listed = subprocess.run([*COMMAND, "list", "--json"], capture_output=True, text=True)
    (row,) = json.loads(listed.stdout)
    assert row["state"] in ("queued", "starting", "running")
    done = subprocess.run([*COMMAND, "wait", "r1"], capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (0, "")
    with database.opened(home) as db:
        (row,) = queries.runs(db)
        names = {p["name"] for p in queries.metrics(db, row["n"])}
    assert (row["state"], row["epoch"]) == ("done", 1)
    assert {"train/loss", "test/clean_acc", "test/pgd_acc", "test/logit_mse", "lr"} <= names
    provenance = json.loads((home.runs / "r0001" / "provenance.json").read_text())
    assert (home.snapshots / provenance["snapshot"] / "rpat" / "config.py").is_file()
    assert provenance["command"].endswith("--detach --set data.train_n=40 --set data.test_n=20 "
                                          "--device cpu")  # fmt: skip


# ----------------------------------------------------------------- acting on runs


@pytest.mark.parametrize("word", ["watch", "wait"])
def test_ctrl_c_leaves_the_run_alone_and_says_how_to_end_it(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, word: str, rpat: Rpat
) -> None:
    (n,) = enqueue(note="pace=0.02", epochs=300)
    client = subprocess.Popen(
        [*COMMAND, word, "r1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell starts background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip

    def state() -> tuple[str, int]:
        return db.execute("select state, epoch from runs where n = ?", (n,)).fetchone()

    until(lambda: state()[0] == "running" and state()[1] > 0)
    if word == "watch":
        assert client.stdout is not None
        assert any(line.startswith("r0001 running  pgd-at digits s0") for line in client.stdout)
    client.send_signal(signal.SIGINT)
    out, err = client.communicate(timeout=30)
    assert client.returncode == 130
    assert "Traceback" not in err
    assert "1 run(s) go on" in err
    assert "rpat stop r0001" in err
    assert word == "watch" or out == ""
    assert state()[0] == "running"
    epoch = state()[1]
    until(lambda: state()[1] > epoch)
    said = rpat("stop", "r1")
    assert (said.code, said.out) == (
        0, "r0001 saves its work and stops; rpat requeue r0001 goes on\n",
    )  # fmt: skip
    assert rpat("wait", "r1").code == 1
    assert state()[0] == "stopped"


def test_stop_kill_requeue_and_wait_say_what_happens(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    first, second = enqueue(2, note="pace=0.02", epochs=300)
    said = rpat("stop", "r2")
    assert (said.code, said.out) == (0, "r0002 was queued: it is stopped\n")
    said = rpat("stop", "2")
    assert (said.code, said.out) == (0, "r0002 is stopped: nothing to stop\n")
    refused(rpat("requeue", "r1"), "r0001 is queued", "only failed and stopped")
    worker.ensure(home)
    until(lambda: queries.runs(db, numbers=[first])[0]["epoch"] > 0)
    said = rpat("kill", "r1")
    assert (said.code, said.out) == (
        0, "r0001 is killed; rpat requeue r0001 goes on from its checkpoint\n",
    )  # fmt: skip
    said = rpat("wait", "r1")
    assert (said.code, said.out) == (1, "")
    (row,) = rpat("list", "--where", "id=r0001", "--json").json
    assert (row["state"], row["reason"]) == ("stopped", "killed on request")
    assert row["ended"].endswith("Z")
    said = rpat("requeue", "r1", "r2")
    assert said.code == 0
    assert [line.split(" and ")[0] for line in said.out.splitlines()] == [
        "r0001 is queued again", "r0002 is queued again",
    ]  # fmt: skip
    until(lambda: queries.runs(db, numbers=[first])[0]["state"] == "running")
    assert rpat("kill", "r1", "r2").code == 0
    assert rpat("wait", "r1", "r2").code == 1
    states = {row["state"] for row in queries.runs(db, numbers=[first, second])}
    assert states == {"stopped"}


def test_requeue_from_start_trains_every_epoch_again(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    (n,) = enqueue(note="crash=2 pace=0.001", epochs=3)
    worker.ensure(home)
    until(lambda: not queries.unfinished(db, [n]))
    assert rpat("requeue", "r1", "--from-start").code == 0
    assert rpat("wait", "r1").code == 0
    assert [a["from_step"] for a in queries.attempts(db, n)] == [0, 0]
    assert (home.runs / "r0001" / "checkpoints.1").is_dir()


def test_a_second_worker_is_refused_and_names_the_first(
    home: Home, enqueue: Enqueue, rpat: Rpat
) -> None:
    enqueue(note="pace=0.02", epochs=300)
    worker.ensure(home)
    until(lambda: holder(home.worker_lock))
    pid = (holder(home.worker_lock) or {})["pid"]
    done = subprocess.run([*COMMAND, "worker"], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"has a worker already (pid {pid})" in done.stderr.splitlines()[-1]
    refused(rpat("reindex"), f"pid {pid}", "runs go on")
    until(lambda: "running" in {row["state"] for row in rpat("list", "--json").json})
    rpat("kill", "r1")
    assert rpat("wait", "r1").code == 1


def test_waiting_for_runs_that_are_done_exits_with_0(small: Home, rpat: Rpat) -> None:
    assert rpat("wait", "r1", "first", "2") == Said(0, "", "")
    assert rpat("wait", "r1", "r3") == Said(1, "", "")


def test_watching_nothing_says_so(small: Home, rpat: Rpat) -> None:
    said = rpat("watch")
    assert (said.code, said.out) == (0, "")
    assert "rpat run" in said.err


def test_watching_runs_that_have_ended_prints_their_numbers(small: Home, rpat: Rpat) -> None:
    said = rpat("watch", "r1", "r3")
    assert said.code == 1
    lines = said.out.splitlines()
    assert lines[0].startswith("r0001 done     pgd-at digits s0  epoch 2/2")
    assert lines[-1].endswith("r0003 failed: RuntimeError: the stand-in crashed as told")


# ----------------------------------------------------------------- looking


def test_list_json_has_the_keys_of_the_contract(small: Home, rpat: Rpat) -> None:
    rows = rpat("list", "--json").json
    assert [row["id"] for row in rows] == ["r0001", "r0002", "r0003"]
    for row in rows:
        assert set(row) >= LIST_KEYS
        for key in ("created", "started", "ended"):
            assert time.strptime(row[key], "%Y-%m-%dT%H:%M:%SZ")
    first, second, third = rows
    assert (first["state"], first["epoch"], first["epochs"]) == ("done", 2, 2)
    assert (first["rpat"], first["lam"], second["rpat"]) == (False, None, True)
    assert second["lam"] > 0
    assert (third["state"], third["epoch"]) == ("failed", 1)
    assert 0 <= first["pgd"] <= 100


def test_the_list_of_an_empty_home_is_empty(nowhere: Path, rpat: Rpat) -> None:
    assert rpat("list", "--json") == Said(0, "[]\n", "")
    assert rpat("list").err == "no runs yet; start one with rpat run or rpat demo\n"
    assert rpat("table", "--json") == Said(0, "[]\n", "")
    assert not nowhere.exists()


def test_the_list_for_people_is_plain_when_piped(small: Home, rpat: Rpat) -> None:
    said = rpat("list")
    assert "\x1b" not in said.out
    firsts = [line.split()[0] for line in said.out.splitlines()]
    assert firsts[:4] == ["id", "r0001", "r0002", "r0003"]
    assert "the stand-in crashed as told" in said.out


@pytest.mark.parametrize(("where", "expected"), [
    ("", "123"),
    ("mart", "2"),
    ("method:mart", "2"),
    ("method=mart", "2"),
    ("method!=mart", "13"),
    ("first", "1"),
    ("state=done", "12"),
    ("state:fail", "3"),
    ("tag:table1", "1"),
    ("tag:table", ""),
    ("not tag:table1", "23"),
    ("is:rpat", "2"),
    ("not is:rpat and state=done", "1"),
    ("mart or odd", "23"),
    ("(mart or odd) state=failed", "3"),
    ("not (mart or odd)", "1"),
    ("epochs=2", "1"),
    ("epochs>2 epochs<=3", "23"),
    ("seed in 0-2", "123"),
    ("seed in 1-2", ""),
    ("epoch in 1,3", "23"),
    ("pgd>0", "123"),
    ("pgd>100", ""),
    ("not pgd>100", "123"),
    ("lam>0", "2"),
    ("not lam>0", "13"),
    ("has:name", "13"),
    ("has:tags", "1"),
    ('note:"pace=0.001 robust"', "2"),
    ('"0.001 crash"', "3"),
    ("is:open", ""),
    ("is:archived", ""),
    ("age<1d", "123"),
    ("age>1w", ""),
    ("reason:stand-in", "3"),
    ("dataset=digits norm=linf model:resnet", "123"),
    ("x' or 1=1 --", ""),
])  # fmt: skip
def test_a_filter_finds_its_runs(small: Home, rpat: Rpat, where: str, expected: str) -> None:
    said = rpat("list", "--where", where, "--json")
    assert said.code == 0, said
    assert "".join(row["id"][-1] for row in said.json) == expected


def test_show_json_has_the_keys_of_the_contract(small: Home, rpat: Rpat) -> None:
    shown = rpat("show", "first", "--json").json
    assert set(shown) >= {*LIST_KEYS, "config", "results", "provenance", "findings"}
    assert shown["id"] == "r0001"
    assert shown["config"]["method"] == "pgd-at"
    assert [(e["checkpoint"], e["attack"], e["steps"]) for e in shown["results"]] == [
        ("best", "pgd", 20), ("final", "pgd", 20),
    ]  # fmt: skip
    assert shown["provenance"]["snapshot_path"] == str(STANDIN)
    assert [moved["new"] for moved in shown["history"]][-1] == "done"


def test_show_tells_people_the_reason_and_the_folder(small: Home, rpat: Rpat) -> None:
    said = rpat("show", "r3")
    assert said.code == 0
    assert "failed: RuntimeError: the stand-in crashed as told" in said.out
    assert f"folder {small.runs / 'r0003'}" in said.out
    assert "attempt 1 on " in said.out


def test_a_loss_that_was_not_finite_is_a_finding(standin: Home, rpat: Rpat) -> None:
    assert rpat(*DIGITS, "pgd-at", "--note", "nan=1", "--epochs", "2").code == 1
    (finding,) = rpat("show", "r1", "--json").json["findings"]
    assert set(finding) == FINDING_KEYS
    assert (finding["rule"], finding["level"]) == ("nonfinite", "error")
    assert "not finite: train/loss, first at step 5, epoch 1" in finding["text"]
    assert "optim.lr" in finding["do"]
    assert finding["evidence"]["names"] == ["train/loss"]


def test_logs_show_every_epoch_and_the_end(small: Home, rpat: Rpat) -> None:
    said = rpat("logs", "r1")
    assert said.code == 0
    text = said.out
    assert text.index("attempt 1") < text.index("begins at step 0")
    assert text.index("epoch 1  loss") < text.index("epoch 2  loss") < text.index("best (epoch 1)")
    assert text.rstrip().endswith("done")
    crashed = rpat("logs", "r3").out
    assert "RuntimeError: the stand-in crashed as told" in crashed
    assert "Traceback" in crashed, "what the trainer printed belongs to its log"


def test_logs_can_follow_a_run_to_its_end(standin: Home, rpat: Rpat) -> None:
    rpat(*DIGITS, "pgd-at", "--epochs", "3", "--note", "pace=0.02", "--detach")
    text = rpat("logs", "r1", "-f").out
    assert [text.count(f"epoch {epoch}  loss") for epoch in (1, 2, 3)] == [1, 1, 1]


def test_metrics_are_the_same_points_as_json_and_csv(small: Home, rpat: Rpat) -> None:
    points = rpat("metrics", "r1", "--json").json
    assert all(list(p) == ["name", "epoch", "step", "value"] for p in points)
    assert {p["name"] for p in points} >= {"train/loss", "test/pgd_acc", "lr", "time/epoch_s"}
    losses = [(p["epoch"], p["step"]) for p in points if p["name"] == "train/loss"]
    assert losses == [(1, 5), (2, 10)]
    rows = list(csv.reader(io.StringIO(rpat("metrics", "r1", "--csv").out)))
    assert rows[0] == ["name", "epoch", "step", "value"]
    assert rows[1:] == [
        [p["name"], str(p["epoch"]), str(p["step"]), str(p["value"])] for p in points
    ]
    only = rpat("metrics", "r1", "--name", "lr", "--json").json
    assert only == [p for p in points if p["name"] == "lr"]
    summary = rpat("metrics", "r1", "--name", "lr").out.splitlines()
    assert [line.split()[0] for line in summary] == ["metric", "lr"]


@pytest.mark.parametrize("layout", ["rich", "md", "latex", "csv", "json"])
def test_the_table_has_every_format(small: Home, rpat: Rpat, layout: str) -> None:
    for words in (["--paper"], [], ["--robust", "pgd20"], ["--checkpoint", "final"]):
        said = rpat("table", "--format", layout, *words)
        assert (said.code, said.err) == (0, "")
        assert "mart" in said.out.lower()
        assert "\x1b" not in said.out


def test_table_json_has_the_keys_of_the_contract(small: Home, rpat: Rpat) -> None:
    said = rpat("table", "--robust", "pgd20", "--json")
    assert said == rpat("table", "--robust", "pgd20", "--format", "json")
    rows = said.json
    assert {(row["method"], row["rpat"]) for row in rows} == {("pgd-at", False), ("mart", True)}
    for row in rows:
        assert set(row) >= TABLE_KEYS
        assert (row["dataset"], row["checkpoint"], row["robust"], row["n"]) == (
            "digits", "best", "pgd20", 1,
        )  # fmt: skip
        assert set(row["clean"]) >= {"mean", "std"}
        assert row["clean"]["std"] is None, "one seed has no spread"
        assert row["aa"] is None
        assert row["mean"]["mean"] == pytest.approx(
            (row["clean"]["mean"] + row["pgd20"]["mean"]) / 2
        )
    assert {"paper", "diff"} <= set(rpat("table", "--paper", "--json").json[0])
    assert rpat("table", "--method", "trades", "--json").json == []
    assert [row["method"] for row in rpat("table", "--method", "mart", "--json").json] == ["mart"]


# ----------------------------------------------------------------- explaining


def test_doctor_says_what_it_found_and_what_to_do(small: Home, rpat: Rpat) -> None:
    said = rpat("doctor", "--json")
    checks = {check["check"]: check for check in said.json}
    assert all(set(check) == {"check", "ok", "found", "do"} for check in said.json)
    assert {"python", "torch", "gpu", "home", "database", "disk", "worker", "digits"} <= set(checks)
    assert checks["database"]["ok"]
    assert "3 runs" in checks["database"]["found"]
    assert all(check["do"] for check in said.json if check["ok"] is False)
    assert said.code == (1 if any(check["ok"] is False for check in said.json) else 0)
    assert "python" in rpat("doctor").out


def test_doctor_finds_a_damaged_database(home: Home, rpat: Rpat) -> None:
    home.database.write_bytes(b"this is not a database" * 500)
    said = rpat("doctor", "--json")
    assert said.code == 1
    (check,) = [check for check in said.json if check["check"] == "database"]
    assert (check["ok"], check["do"]) == (False, "rpat reindex builds it again")


def test_doctor_makes_nothing(nowhere: Path, tmp_path: Path, rpat: Rpat) -> None:
    assert rpat("doctor", "--json").code in (0, 1)
    assert list(tmp_path.iterdir()) == []


def test_config_shows_where_each_setting_comes_from(
    nowhere: Path, tmp_path: Path, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(*words: str) -> dict[str, tuple[Any, str]]:
        return {s["name"]: (s["value"], s["origin"]) for s in rpat("config", "--json", *words).json}

    assert found()["home"] == (str(nowhere), "RPAT_HOME")
    assert found()["cpu_slots"] == (1, "default")
    user = tmp_path / "config" / "rpat" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("cpu_slots = 2\nworker_idle = 5\n")
    assert found()["cpu_slots"] == (2, str(user))
    (tmp_path / "rpat.toml").write_text("cpu_slots = 3\n")
    assert found()["cpu_slots"] == (3, "rpat.toml")
    assert found()["worker_idle"] == (5.0, str(user))
    monkeypatch.setenv("RPAT_CPU_SLOTS", "4")
    assert found()["cpu_slots"] == (4, "RPAT_CPU_SLOTS")
    assert found("--home", "elsewhere")["home"] == ("elsewhere", "command line")
    assert "rpat.toml" in rpat("config").out
    user.write_text("cpu_slot = 2\n")
    refused(rpat("config"), str(user), "'cpu_slot'")
    user.write_text("cpu_slots = [\n")
    refused(rpat("config"), str(user), "cannot be read")


@pytest.mark.parametrize("word", ["methods", "presets", "datasets", "models"])
def test_a_reference_list_is_read_by_people_and_programs(
    nowhere: Path, rpat: Rpat, word: str
) -> None:
    facts = rpat(word, "--json").json
    text = rpat(word).out
    assert facts
    assert all(str(fact["name"]) in text for fact in facts)
    assert not nowhere.exists()


def test_every_method_explains_itself(nowhere: Path, rpat: Rpat) -> None:
    for fact in rpat("methods", "--json").json:
        said = rpat("methods", fact["name"])
        assert said.code == 0
        assert fact["objective"] in said.out
        for knob in fact["knobs"]:
            assert knob["name"] in said.out


def every_file() -> typer.Typer:
    """Return the commands of all files as one app, without what makes them lazy."""
    made = typer.Typer()
    for module in MODULES:
        import_module(f"rpat_tui.cli.{module}").register(made)
    return made


def commands(found: typer.Typer, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for command in found.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")  # type: ignore[union-attr]
        yield (*path, name), command.callback
    for group in found.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, *path, str(group.name))


@pytest.mark.parametrize("width", ["80", "200"])
def test_the_list_of_methods_shows_every_name_and_objective_whole(
    rpat: Rpat, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    out = rpat("methods").out
    for name, knobs in {**METHODS, **WRAPPERS}.items():
        assert any(line.startswith(name) for line in out.splitlines())
        assert knobs.OBJECTIVE in out  # brackets are no markup


def test_a_preset_explains_itself_with_its_published_rows(rpat: Rpat) -> None:
    out = rpat("presets", "paper/rpat+++cutmix").out
    assert "Table 4: cifar10 linf wrn-34-10  clean 87.57  AA 55.79  (published)" in out
    assert "double_forward on" in out
    assert "(published)" not in rpat("presets", "digits/mart").out
    refused = rpat("presets", "paper/mrat")
    assert refused.code == 2
    assert "did you mean 'paper/mart'" in refused.err


def test_every_command_explains_itself(nowhere: Path, rpat: Rpat) -> None:
    for path, function in commands(every_file()):
        first = (function.__doc__ or "").strip().splitlines()[0]
        assert first.endswith("."), path
        for flag in ("--help", "-h"):
            said = rpat(*path, flag)
            assert (said.code, said.err) == (0, "")
            assert f"Usage: rpat {' '.join(path)}" in said.out
            assert first.rstrip(".") in " ".join(said.out.split())
    assert not nowhere.exists()


def test_every_command_that_lists_has_json() -> None:
    acting = {
        "stop", "kill", "pause", "resume", "requeue", "rerun", "archive", "unarchive", "delete",
        "undelete", "tag", "note", "name", "wait", "watch", "logs", "worker", "reindex", "demo",
        "tui", "export", "feed",  # writes JSON anyway
    }  # fmt: skip
    names = set()
    for path, function in commands(every_file()):
        names.add(path[0])
        steering = path[0] == "queue" and path[-1] != "show"
        if path[0] not in acting and not steering:
            assert "json" in function.__annotations__, f"rpat {' '.join(path)} has no --json"
    assert {"run", "list", "show", "metrics", "table", "doctor", "config"} <= names


def test_no_words_print_the_help_and_the_version_is_one_line(nowhere: Path, rpat: Rpat) -> None:
    from rpat import __version__

    said = rpat()
    assert said.code == 2
    assert (said.out + said.err).startswith("Usage: rpat ")
    assert rpat("--version") == Said(0, f"rpat {__version__}\n", "")


def test_an_error_inside_a_command_is_not_hidden(
    nowhere: Path, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rpat_tui import home

    def wrong(*_: object, **__: object) -> None:
        raise ConfigError("one line")

    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(home, "settings", wrong)
    assert rpat("config") == Said(2, "", "rpat: one line\n")
    monkeypatch.setattr(home, "settings", bug)
    monkeypatch.setattr(sys, "argv", ["rpat", "config"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_a_reader_that_leaves_early_is_no_error(small: Home) -> None:
    script = f"{sys.executable} -m rpat_tui metrics r1 --csv | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "name,epoch,step,value\n", "")


def test_a_long_list_looks_like_a_short_one(
    small: Home, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines() -> list[str]:
        return [line.rstrip() for line in rpat("list").out.splitlines()]

    with database.opened(small) as db:
        db.execute("update runs set name = '宽名' where n = 1")
    short = lines()
    assert len(short) > 2
    monkeypatch.setattr(output, "MANY", 1)
    assert lines() == short
