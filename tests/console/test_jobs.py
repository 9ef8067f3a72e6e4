"""Evaluations and studies as jobs: what is asked, what counts, what is found, what people see."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from rpat.config import RunConfig
from rpat.errors import ConfigError
from rpat.jobs import EvalJob, StudyJob
from rpat.recipes import recipe
from rpat.rundir import RunDir, read_json
from rpat_tui import examine, selection, suites
from rpat_tui.cli.live import follow
from rpat_tui.examine import Ask
from rpat_tui.home import Home
from rpat_tui.launch import frozen, worker
from rpat_tui.launch.automatic import queue_evaluations
from rpat_tui.launch.locks import holder
from rpat_tui.launch.rebuild import rebuild
from rpat_tui.robustbench import entry
from rpat_tui.store import db as database
from rpat_tui.store import index, queries, queue
from rpat_tui.store.ingest import ingest
from rpat_tui.store.migrations import migrations
from tests.console.conftest import (
    STANDIN,
    Enqueue,
    Rpat,
    Said,
    enqueuer,
    freeze_the_standin,
    refused,
    until,
)
from tests.console.executed import execute

UID = "0" * 32
DIGITS = ("run", "--dataset", "digits", "--method", "pgd-at", "--epochs", "1")


# ----------------------------------------------------------------- from what is asked to jobs


def of_run(config: RunConfig, attacks: tuple[str, ...] = ("pgd",), **ask: Any) -> EvalJob:
    return examine.of_run(EvalJob, UID, "r0001", config, Ask(**ask), attacks=attacks)


@pytest.mark.parametrize(("method", "network"), [
    ("pgd-at", "online"), ("wa", "wa"), ("rebat", "wa"), ("rpat++", "wa"), ("kd+swa", "swa"),
    ("adr", "online"),
])  # fmt: skip
def test_the_network_that_tables_report_is_evaluated(method: str, network: str) -> None:
    job = of_run(recipe(method, dataset="digits"))
    assert job.subject.networks == (network,)
    assert job.subject.checkpoints == ("best", "final")


@pytest.mark.parametrize(("method", "networks"), [
    ("pgd-at", ["online"]), ("rpat++", ["online", "wa"]), ("adr", ["online", "wa"]),
    ("kd+swa", ["online", "swa"]),
])  # fmt: skip
def test_only_networks_that_a_run_keeps_can_be_named(method: str, networks: list[str]) -> None:
    config = recipe(method, dataset="digits")
    for name in ("online", "wa", "swa"):
        if name in networks:
            assert of_run(config, networks=(name,)).subject.networks == (name,)
        else:
            with pytest.raises(ConfigError, match=f"--network '{name}' is not known"):
                of_run(config, networks=(name,))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_job_measures_as_its_run_does(norm: str) -> None:
    config = recipe("trades", ("rpat",), dataset="cifar10", norm=norm).override({
        "eval.steps": 30, "eval.step_size": 0.01, "eval.start": "zero", "eval.batch_size": 77,
        "seed": 3, "device": "cpu", "model.normalize": "cifar10",
    })  # fmt: skip
    job = of_run(config)
    assert (job.threat, job.model, job.data) == (config.threat, config.model, config.data)
    for name in ("steps", "step_size", "start", "order", "reduction", "floor"):
        assert getattr(job.attack, name) == getattr(config.eval, name)
    assert (job.batch_size, job.seed, job.device, job.differs) == (77, 3, "cpu", "")
    subject = job.subject
    assert (subject.method, subject.rpat, subject.lam) == ("trades", True, config.wrappers[0].lam)
    assert EvalJob.from_dict(job.to_dict()) == job


def test_a_job_folds_batchnorm_where_its_run_did_unless_it_cannot_be_folded() -> None:
    config = recipe("pgd-at", dataset="digits")
    folded = {}
    for mode in ("reference", "exact", "fast"):
        folded[mode] = of_run(config.override({"mode": mode})).numerics.folded
    assert folded == {"reference": False, "exact": True, "fast": True}
    for changes in ({"numerics.bn": "train"}, {"numerics.dtype": "bfloat16"}):
        job = of_run(config.override({"mode": "exact"}), fixed=changes)
        assert not job.numerics.folded
        assert job.differs == ", ".join(changes)


def test_another_norm_takes_that_norms_settings_but_the_runs_number_of_steps() -> None:
    config = recipe("pgd-at", dataset="cifar10").override({"eval.steps": 30})
    usual = recipe("pgd-at", dataset="cifar10", norm="l2")
    job = of_run(config, norm="l2")
    assert job.threat == usual.threat
    assert (job.attack.step_size, job.attack.start) == (usual.eval.step_size, usual.eval.start)
    assert job.attack.steps == 30
    assert {"threat.norm", "threat.epsilon", "attack.step_size"} <= set(job.differs.split(", "))


def test_the_step_follows_the_radius_unless_it_is_given() -> None:
    config = recipe("pgd-at", dataset="cifar10")
    half = of_run(config, epsilon="4/255")
    assert half.threat.epsilon == 4 / 255
    assert half.attack.step_size == pytest.approx(config.eval.step_size / 2)
    assert half.differs == "threat.epsilon, attack.step_size"
    given = of_run(config, epsilon="4/255", fixed={"attack.step_size": "2/255"})
    assert (given.threat.epsilon, given.attack.step_size) == (4 / 255, 2 / 255)
    assert given.differs == "threat.epsilon"


@pytest.mark.parametrize(("ask", "differs"), [
    ({}, ""),
    ({"fixed": {"attack.steps": 100}}, ""),
    ({"fixed": {"images.n": 10}}, ""),
    ({"fixed": {"seed": 5, "batch_size": 7, "restarts": 5}}, ""),
    ({"epsilon": "8/255"}, ""),
    ({"norm": "linf"}, ""),
    ({"fixed": {"attack.start": "zero"}}, "attack.start"),
    ({"fixed": {"numerics.dtype": "bfloat16", "numerics.tf32": True}},
     "numerics.dtype, numerics.tf32"),
    ({"fixed": {"numerics.bn": "train"}}, "numerics.bn"),
    ({"normalize": "cifar10"}, "model.normalize"),
    ({"normalize": "auto"}, ""),
])  # fmt: skip
def test_a_job_names_exactly_what_is_not_as_trained(ask: dict[str, Any], differs: str) -> None:
    assert of_run(recipe("pgd-at", dataset="cifar10"), **ask).differs == differs


def found(**changes: Any) -> dict[str, Any]:
    """Return what the core says of a checkpoint file from elsewhere."""
    return {
        "model": "resnet18", "num_classes": 10, "normalize": None, "text": "a resnet18",
        "origin": "", "config": None, "epoch": None, "network": "", "sha256": "a" * 64,
        "digest": "b" * 64, "key": "",
    } | changes  # fmt: skip


def of_file(tmp_path: Path, kind: Any = EvalJob, ask: Ask | None = None, **changes: Any) -> Any:
    own = {"study": "perception"} if kind is StudyJob else {}
    asked = ask or Ask(data_dir=tmp_path)
    return examine.of_file(kind, tmp_path / "net.pt", found(**changes), asked, **own)


@pytest.mark.parametrize(("classes", "dataset"), [
    (10, "cifar10"), (100, "cifar100"), (200, "tiny-imagenet"),
])  # fmt: skip
def test_the_number_of_classes_tells_a_files_data_set(
    tmp_path: Path, classes: int, dataset: str
) -> None:
    for name in ("train", "val"):
        (tmp_path / "tiny-imagenet-200" / name).mkdir(parents=True)
    (tmp_path / "tiny-imagenet-200" / "wnids.txt").touch()
    job = of_file(tmp_path, num_classes=classes)
    assert job.data.name == dataset
    assert job.threat == recipe("pgd-at", dataset=dataset).threat
    subject = job.subject
    assert (subject.run, subject.sha256, subject.method) == ("", "a" * 64, "net")
    assert job.subject.file == str(tmp_path / "net.pt")


def test_a_file_of_ours_brings_its_config(tmp_path: Path) -> None:
    config = recipe("trades", dataset="digits", norm="l2").override({"eval.steps": 30})
    changes = {"config": config.to_dict(), "model": "resnet8", "num_classes": 10}
    for kind in (EvalJob, StudyJob):
        job = of_file(tmp_path, kind, **changes)
        assert (job.data.name, job.model.name, job.threat) == ("digits", "resnet8", config.threat)
        assert (job.attack.steps, job.subject.method) == (30, "trades")


@pytest.mark.parametrize(("inside", "asked", "tries", "name"), [
    (None, "", True, "none"), (None, "auto", True, "none"), (None, "none", False, "none"),
    (None, "cifar10", False, "cifar10"), ("cifar10", "", False, "none"),
    ("cifar10", "auto", False, "none"),
])  # fmt: skip
def test_a_files_normalisation_is_tried_its_own_or_the_given_one(
    tmp_path: Path, inside: str | None, asked: str, tries: bool, name: str
) -> None:
    ask = Ask(data_dir=tmp_path, normalize=asked)
    job = of_file(tmp_path, ask=ask, normalize=inside)
    assert (job.try_normalize, job.model.normalize) == (tries, name)


@pytest.mark.parametrize(("ask", "words"), [
    ({"checkpoints": ("bets",)}, "--checkpoint bets: write best, final or epoch:N"),
    ({"checkpoints": ("epoch:x",)}, "epoch:N"),
    ({"dataset": "cifar100"}, "r0001 was trained on cifar10; leave it out"),
    ({"norm": "l1"}, "--norm 'l1' is not known"),
    ({"epsilon": "8"}, "write 8/255, not 8"),
    ({"epsilon": "abc"}, "--epsilon abc"),
    ({"networks": ("wa",)}, "--network 'wa' is not known"),
    ({"attacks": ("pgdd",)}, "--attack 'pgdd' is not known; did you mean 'pgd'"),
    ({"attacks": ("aa", "aa")}, "--attack aa is given twice"),
    ({"attacks": ()}, "--attack is empty"),
    ({"fixed": {"images.m": 3}}, "images.m"),
    ({"fixed": {"subject.run": "x"}}, "subject.run"),
    ({"fixed": {"images.split": "tset"}}, "images.split"),
    ({"fixed": {"images.n": 3, "images.indices": (1, 2)}}, "keep one of them"),
    ({"fixed": {"images.indices": (1, 1)}}, "names an image twice"),
    ({"fixed": {"attack.double_forward": True}}, "attack.double_forward"),
])  # fmt: skip
def test_what_makes_no_sense_for_a_run_is_one_line(ask: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        of_run(recipe("pgd-at", dataset="cifar10"), **ask)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("changes", "ask", "words"), [
    ({}, {"checkpoints": ("best",)}, "a file is one network"),
    ({}, {"networks": ("wa",)}, "a file is one network"),
    ({"num_classes": 7}, {}, "tells 7 classes apart; name its data set with --dataset"),
    ({}, {"dataset": "cifr10"}, "--dataset 'cifr10' is not known; did you mean 'cifar10'"),
    ({"normalize": "cifar10"}, {"normalize": "cifar100"}, "brings a normalisation of its own"),
    ({}, {"normalize": "cifr10"}, "model.normalize"),
    ({}, {"data_dir_given": True}, "cifar10"),
])  # fmt: skip
def test_what_makes_no_sense_for_a_file_is_one_line(
    tmp_path: Path, changes: dict[str, Any], ask: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        of_file(tmp_path, ask=Ask(data_dir=tmp_path, **ask), **changes)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


# ----------------------------------------------------------------- what counts for the table

Put = Callable[..., None]


@pytest.fixture
def put(db: sqlite3.Connection) -> Put:
    """Write an evaluation: PGD-20 of the best weights on all images, unless told otherwise."""

    def write(run: int, robust: float | None, **changes: Any) -> None:
        seq = db.execute("select count(*) from evaluations").fetchone()[0] + 1
        row = {
            "run": run, "attempt": 1, "seq": seq, "t": float(seq), "step": 1, "checkpoint": "best",
            "network": "online", "epoch": 1, "weights": "w", "selected_on": "test",
            "attack": "pgd", "norm": "linf", "epsilon": 0.1, "steps": 20, "step_size": 0.025,
            "restarts": 1, "split": "test", "n": 360, "of_n": 360, "indices": "i", "seed": 0,
            "dtype": "float32", "note": "", "state": "done", "clean": 90.0, "robust": robust,
        } | changes  # fmt: skip
        if row["attack"] == "aa":
            row |= {"steps": 0, "step_size": 0.0}
        columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
        db.execute(f"insert into evaluations ({columns}) values ({marks})", row)

    return write


def job_about(
    home: Home, db: sqlite3.Connection, n: int, attacks: tuple[str, ...] = ("aa",), **ask: Any
) -> int:
    """Queue an evaluation of a run and return its number."""
    row = queries.runs(db, numbers=[n])[0]
    config = RunConfig.from_dict(queries.config_of(db, n))
    job = examine.of_run(EvalJob, row["uid"], row["id"], config, Ask(**ask), attacks=attacks)
    (made,) = index.enqueue(home, db, [job], index.Wish(), {"snapshot_path": str(STANDIN)})
    return made


def test_what_a_job_measured_stands_in_the_row_of_its_run(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, put: Put
) -> None:
    (n,) = enqueue()
    put(n, 50.0)
    job = job_about(home, db, n)
    put(job, 45.0, attack="aa")
    (m,) = queries.measurements(db)
    assert (m.run, m.clean, m.pgd20, m.aa) == ("r0001", 90.0, 50.0, 45.0)
    assert [e["job"] for e in queries.evaluations(db, n)] == ["r0001", "r0002"]
    assert [e["job"] for e in queries.evaluations(db, job)] == ["r0002"]


def test_weights_that_the_run_no_longer_has_do_not_count(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, put: Put
) -> None:
    (n,) = enqueue()
    job = job_about(home, db, n)
    put(job, 10.0, attack="aa", weights="old")
    put(n, 50.0)
    put(job, 11.0, attack="aa", weights="older")
    (m,) = queries.measurements(db)
    assert (m.pgd20, m.aa) == (50.0, None)


def test_of_a_run_that_measured_nothing_itself_the_newest_weights_count(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, put: Put
) -> None:
    (n,) = enqueue(attack="none")
    job = job_about(home, db, n)
    put(job, 10.0, weights="old")
    put(job, 50.0, weights="new")
    (m,) = queries.measurements(db)
    assert m.pgd20 == 50.0


@pytest.mark.parametrize("changes", [
    {"restarts": 5}, {"dtype": "bfloat16"}, {"bn": "train"}, {"tf32": 1}, {"epsilon": 0.05},
    {"norm": "l2"}, {"differs": "attack.start"}, {"split": "val"}, {"state": "partial"},
    {"steps": 100}, {"attack": "fgsm"}, {"attack": "apgd-ce"},
], ids=str)  # fmt: skip
def test_what_was_measured_in_another_way_is_left_out(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, put: Put, changes: dict[str, Any]
) -> None:
    (n,) = enqueue()
    put(job_about(home, db, n), 50.0, **changes)
    assert queries.measurements(db) == []


def test_more_images_win_and_among_equals_the_newest(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, put: Put
) -> None:
    (n,) = enqueue()
    job = job_about(home, db, n)
    put(job, 1.0, attack="aa", n=20, indices="some")
    (m,) = queries.measurements(db)
    assert (m.aa, m.marks[-1]) == (1.0, "AA on 20 of 360 test images")
    put(job, 3.0, attack="aa", t=90.0)
    put(job, 2.0, attack="aa", t=80.0)
    put(job, 4.0, attack="aa", n=20, indices="some", t=99.0)
    (m,) = queries.measurements(db)
    assert m.aa == 3.0
    assert not any("of 360" in mark for mark in m.marks)


# ----------------------------------------------------------------- evaluations that follow runs


def end(db: sqlite3.Connection, n: int, state: str = "done") -> None:
    db.execute("update runs set state = ?, ended = 5.0 where n = ?", (state, n))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is copied when a job is queued."""
    monkeypatch.setattr(frozen, "provenance", lambda *_: {"snapshot_path": str(STANDIN)})


@pytest.mark.usefixtures("quick")
def test_autoattack_follows_a_run_that_is_done_exactly_once(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    wants, other = enqueue(attack="aa")[0], enqueue(method="mart")[0]
    db.execute("update runs set priority = 70 where n = ?", (wants,))
    assert queue_evaluations(home, db) == []
    end(db, wants)
    end(db, other)
    assert queries.unfinished(db, [wants, other]) == [wants]
    assert queue.work_left(db)
    (made,) = queue_evaluations(home, db)
    for _ in range(3):
        assert queue_evaluations(home, db) == []
    assert queries.unfinished(db, [wants, other]) == []
    (row,) = queries.runs(db, kind="eval")
    assert (row["n"], row["parent"], row["state"]) == (made, "r0001", "queued")
    assert (row["priority"], row["tags"]) == (70, ["automatic"])
    job = EvalJob.from_dict(queries.config_of(db, made))
    assert (job.attacks, job.subject.checkpoints, job.differs) == (("aa",), ("best", "final"), "")
    assert queries.jobs_of(db, [wants, other], tag="automatic") == [made]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("state", ["failed", "stopped", "paused", "running", "queued", "lost"])
def test_nothing_follows_a_run_that_is_not_done(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, state: str
) -> None:
    (n,) = enqueue(attack="aa")
    end(db, n, state)
    assert queue_evaluations(home, db) == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("aa_n", "test_n", "some"), [(0, 0, 0), (50, 0, 50), (50, 40, 0)])
def test_autoattack_follows_on_as_many_images_as_the_run_asked_for(
    home: Home, db: sqlite3.Connection, aa_n: int, test_n: int, some: int
) -> None:
    changes = {"eval.attack": "aa", "eval.aa_n": aa_n, "data.test_n": test_n}
    config = recipe("pgd-at", dataset="digits").override(changes)
    (n,) = index.enqueue(home, db, [config], index.Wish(), {})
    end(db, n)
    (made,) = queue_evaluations(home, db)
    assert queries.config_of(db, made)["images"]["n"] == some


@pytest.mark.usefixtures("quick")
def test_an_evaluation_by_hand_does_not_take_the_place_of_the_one_that_follows(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue(attack="aa")
    job_about(home, db, n, checkpoints=("best",), fixed={"images.n": 20})
    end(db, n)
    assert len(queue_evaluations(home, db)) == 1


@pytest.mark.usefixtures("quick")
def test_a_crash_while_an_evaluation_is_queued_neither_loses_nor_doubles_it(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    (n,) = enqueue(attack="aa")
    end(db, n)
    with monkeypatch.context() as patch:  # killed between the directory and its row
        patch.setattr(index, "index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(index, "_remove", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            queue_evaluations(home, db)
    assert (home.runs / "r0002").is_dir()
    assert queries.runs(db, kind="eval") == []
    assert queries.unfinished(db, [n]) == [n]
    assert len(queue_evaluations(home, db)) == 1
    assert queue_evaluations(home, db) == []
    assert [row["id"] for row in queries.runs(db, kind="eval")] == ["r0003"]


@pytest.mark.usefixtures("quick")
def test_a_job_that_needs_final_weights_waits_for_its_run(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    job = job_about(home, db, n)
    assert take(db) == n
    assert take(db) is None
    assert queries.unfinished(db, [job]) == [job]
    end(db, n, "failed")
    assert queries.unfinished(db, [job]) == []
    assert not queue.work_left(db), "nothing happens until a person acts on the run"
    assert take(db) is None
    end(db, n)
    assert take(db) == job


def test_a_job_about_the_best_weights_waits_only_where_there_are_none_yet(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    assert take(db) == n
    early = job_about(home, db, n, checkpoints=("best",))
    assert take(db) is None
    db.execute("update runs set epoch = 1 where n = ?", (n,))
    late = job_about(home, db, n, checkpoints=("best",))
    assert take(db) == late
    end(db, n)
    assert take(db) == early


def take(db: sqlite3.Connection) -> int | None:
    with database.transaction(db):
        me = {"host": "h", "boot": "b", "pid": 1, "started": "s"}
        taken = queue.take(db, "cpu:0", ("cpu", "auto"), me)  # type: ignore[arg-type]
    return taken[0] if taken else None


# ----------------------------------------------------------------- databases and journals of before

RUN_OF_BEFORE = """
insert into runs (n, id, uid, kind, method, rpat, dataset, source, norm, model, seed, epochs,
    fingerprint, group_key, config, device, state, created)
values ({n}, 'r000{n}', 'uid{n}', 'train', 'pgd-at', 0, 'digits', 'embedded', 'linf', 'resnet8', 0,
    3, 'f{n}', 'g', '{config}', 'auto', '{state}', 1.0)
"""


def test_a_database_of_the_first_release_is_brought_up_to_date(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").make()
    config = recipe("pgd-at", dataset="digits")
    with sqlite3.connect(home.database, isolation_level=None) as old:
        migrations.apply(Database(old), stop_before="m002_jobs_beside_training")
        assert "stage" not in {row[1] for row in old.execute("pragma table_info(runs)")}
        for n, state, attack in (
            (1, "done", "aa"), (2, "failed", "aa"), (3, "running", "aa"), (4, "queued", "pgd"),
            (5, "stopped", "aa"),
        ):  # fmt: skip
            text = json.dumps(config.override({"eval.attack": attack}).to_dict())
            old.execute(RUN_OF_BEFORE.format(n=n, state=state, config=text))
        old.execute(
            "insert into evaluations values (1, 1, 1, 9, 1.0, 15, 'best', 'online', 2, 'w', "
            "'test', 'pgd', 'linf', 0.1, 20, 0.025, 1, 'test', 360, 360, 'i', 0, 'float32', '', "
            "'done', 90.0, 45.0)"
        )
        old.execute("insert into series values (1, 1, 'train/loss')")
        old.execute("insert into points values (1, 5, 1, 2.5)")
    old.close()
    with database.opened(home) as db:
        (e,) = queries.evaluations(db, 1)
        assert (e["robust"], e["start"], e["bn"], e["tf32"], e["evidence"], e["file"]) == (
            45.0, "", "eval", False, {}, "",
        )  # fmt: skip
        (m,) = queries.measurements(db)
        assert (m.run, m.pgd20, m.aa) == ("r0001", 45.0, None)
        wants = dict(db.execute("select id, wants from runs").fetchall())
        assert wants == {"r0001": "", "r0002": "", "r0003": "aa", "r0004": "", "r0005": "aa"}
        assert queries.metrics(db, 1)[0]["value"] == 2.5
        assert queries.findings(db, 1) == queries.studies(db, [1]) == []
    with database.opened(home) as db:
        assert db.execute("select count(*) from runs").fetchone() == (5,)


def test_an_evaluation_that_the_first_release_journaled_is_read(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    run = RunDir(home.runs / "r0001")
    begin = {
        "kind": "begin", "from_step": 0, "host": "h", "boot": "b", "pid": 1, "started": "1",
    }  # fmt: skip
    old = {
        "kind": "eval", "step": 15, "checkpoint": "best", "network": "online", "epoch": 2,
        "weights": "w", "selected_on": "test", "attack": "pgd", "norm": "linf", "epsilon": 0.1,
        "steps": 20, "step_size": 0.025, "restarts": 1, "split": "test", "n": 360, "of": 360,
        "indices": "i", "seed": 0, "dtype": "float32", "note": "", "clean": 90.0, "robust": 45.0,
    }  # fmt: skip
    lines = [{"seq": i, "t": float(i), **r} for i, r in enumerate((begin, old), 1)]
    attempt = run.take_attempt()
    attempt.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ingest(db, n, run) == 2
    (e,) = queries.evaluations(db, n)
    assert (e["of_n"], e["bn"], e["start"], e["evidence"], e["state"]) == (
        360, "eval", "", {}, "done",
    )  # fmt: skip
    (m,) = queries.measurements(db)
    assert m.pgd20 == 45.0


# ----------------------------------------------------------------- a home with evaluated runs


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """r0001 is fine, AutoAttack of r0002 is above PGD; r0003 and r0004 are their AutoAttacks."""
    home = Home(tmp_path_factory.mktemp("evaluated") / "home").make()
    with pytest.MonkeyPatch.context() as patch, database.opened(home) as db:
        patch.setenv("RPAT_WORKER_IDLE", "0.5")
        patch.chdir(home.path)
        freeze_the_standin(patch)
        make = enqueuer(home, db)
        numbers = make(1, "pace=0.001 eval.pace=0.001", 2, attack="aa", name="fine")
        numbers += make(1, "pace=0.001 eval.pace=0.001 eval.aa=5", 2, "mart", attack="aa")
        worker.ensure(home)
        until(lambda: not queries.unfinished(db) and queries.jobs_of(db, [numbers[1]]))
        until(lambda: holder(home.worker_lock) is None)
    return home


@pytest.fixture
def looked(evaluated: Home, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The evaluated runs, where commands that only look find them."""
    monkeypatch.setenv("RPAT_HOME", str(evaluated.path))
    return evaluated


@pytest.fixture
def copied(evaluated: Home, home: Home) -> Home:
    """A copy of the evaluated runs, which a test may change."""
    shutil.rmtree(home.path)
    shutil.copytree(evaluated.path, home.path)
    return home


def test_autoattack_was_made_by_jobs_of_their_own(evaluated: Home) -> None:
    with database.opened(evaluated) as db:
        jobs = queries.runs(db, kind="eval")
        assert [(j["id"], j["parent"], j["state"]) for j in jobs] == [
            ("r0003", "r0001", "done"), ("r0004", "r0002", "done"),
        ]  # fmt: skip
        fine, odd = queries.measurements(db, checkpoint="best")
        assert fine.aa == pytest.approx(fine.pgd20 - 2)
        assert odd.aa == pytest.approx(odd.pgd20 + 5)


@pytest.mark.parametrize("lost", [False, True])
def test_a_rebuilt_database_queues_nothing_again_and_finds_the_same(
    copied: Home, lost: bool
) -> None:
    def everything() -> tuple[Any, ...]:
        with database.opened(copied) as db:
            rows = db.execute("select * from findings order by run, rule, checkpoint, network")
            evaluations = db.execute(
                "select run, attempt, seq, attack, robust from evaluations order by run, seq"
            )
            return rows.fetchall(), evaluations.fetchall(), queries.measurements(db)

    before = everything()
    assert before[0]
    if lost:
        for path in copied.path.glob("rpat.db*"):
            path.unlink()
    assert rebuild(copied) == (4, [])
    with database.opened(copied) as db:
        assert queue_evaluations(copied, db) == []
        assert not queue.work_left(db)
        assert {row["state"] for row in queries.runs(db, numbers=[1, 2, 3, 4])} == {"done"}
        findings = db.execute("select run, rule from findings where level = 'error'").fetchall()
        assert set(findings) == {(2, "aa-above-pgd")}
        found = [e["evidence"]["evaluations"] for e in queries.findings(db, 2) if "aa" in e["rule"]]
        known = {e["id"] for e in queries.evaluations(db, 2)}
        assert all(set(ids) <= known for ids in found)
    after = everything()
    assert after[1] == before[1]
    assert [(m.run, m.pgd20, m.aa) for m in after[2]] == [(m.run, m.pgd20, m.aa) for m in before[2]]
    assert [row[:5] for row in after[0]] == [row[:5] for row in before[0]]


# ----------------------------------------------------------------- findings

FINDING = {"rule", "level", "checkpoint", "network", "text", "do", "evidence"}


def test_autoattack_above_pgd_is_found_and_a_sound_run_is_not_accused(
    looked: Home, rpat: Rpat
) -> None:
    fine = rpat("show", "r1", "--json").json["findings"]
    assert {f["level"] for f in fine} <= {"note"}
    odd = rpat("show", "r2", "--json").json["findings"]
    assert all(set(f) == FINDING for f in odd)
    errors = [f for f in odd if f["level"] == "error"]
    assert [(f["rule"], f["checkpoint"], f["network"]) for f in errors] == [
        ("aa-above-pgd", "best", "online"), ("aa-above-pgd", "final", "online"),
    ]  # fmt: skip
    assert errors == odd[:2], "the worst come first"
    assert errors[0]["evidence"]["jobs"] == ["r0002", "r0004"]
    assert errors[0]["evidence"]["above"] == pytest.approx(5)


def test_findings_are_shown_with_what_to_do(looked: Home, rpat: Rpat) -> None:
    text = rpat("show", "r2").out
    assert "✗ aa-above-pgd (best online): AutoAttack leaves" in text
    assert "evaluate again and do not report this AutoAttack number" in text
    assert "aa-above-pgd" not in rpat("show", "r1").out
    assert "aa-above-pgd" in rpat("show", "r4").out, "a job shows what was found in its run"
    assert (
        rpat("show", "r4", "--json").json["findings"]
        == (rpat("show", "r2", "--json").json["findings"])
    )


def test_the_table_points_to_the_run_whose_numbers_are_doubtful(looked: Home, rpat: Rpat) -> None:
    rows = {row["method"]: row for row in rpat("table", "--json").json}
    assert any(m.startswith("check r0002 (rpat show): aa-above-pgd") for m in rows["mart"]["marks"])
    assert not any("check" in mark for mark in rows["pgd-at"]["marks"])
    assert "check r0002 (rpat show): aa-above-pgd" in rpat("table").out


# ----------------------------------------------------------------- rules for best

EPOCHS = [
    {"epoch": 1, "clean": 80.0, "pgd": 40.0},
    {"epoch": 2, "clean": 70.0, "pgd": 50.0},
    {"epoch": 3, "clean": 75.0, "pgd": 50.0},
    {"epoch": 4, "clean": 82.0, "pgd": 49.0},
    {"epoch": 5, "clean": 82.0, "pgd": 45.0},
]


@pytest.mark.parametrize(("text", "epoch"), [
    ("pgd", 2), ("mean", 4), ("nrr", 4), ("last", 5), ("lex:0", 3), ("lex:1", 4), ("lex:5", 4),
    ("lex:0.5", 3), ("pgd@val", 2), ("last@test", 5),
])  # fmt: skip
def test_a_rule_chooses_the_first_of_equal_epochs(text: str, epoch: int) -> None:
    by = selection.rule(text)
    assert selection.choose(EPOCHS, by) == epoch
    assert by.split == ("val" if text.endswith("@val") else "test")
    assert selection.choose([], by) is None


@pytest.mark.parametrize(("text", "words"), [
    ("nonsense", "'nonsense' is not known"),
    ("ngd", "did you mean 'pgd'"),
    ("", "is not known"),
    ("lex", "write pgd, mean, nrr, lex:POINTS or last"),
    ("lex:x", "'x' is no number of points"),
    ("lex:-1", "'-1' is no number of points"),
    ("lex:nan", "'nan' is no number of points"),
    ("lex:inf", "'inf' is no number of points"),
    ("pgd:1", "lex:POINTS"),
    ("pgd@train", "'train' is not known"),
])  # fmt: skip
def test_a_rule_that_does_not_exist_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        selection.rule(text)


@pytest.fixture
def curves(db: sqlite3.Connection, enqueue: Enqueue) -> int:
    """A finished run of five epochs, with numbers of each on the test and the held-out images."""
    (n,) = enqueue(epochs=5)
    end(db, n)
    db.execute("update runs set epoch = 5 where n = ?", (n,))
    for split, shift in (("test", 0.0), ("val", -1.0)):
        for metric in ("clean", "pgd"):
            (series,) = db.execute(
                "insert into series (run, name) values (?, ?) returning id",
                (n, f"{split}/{metric}_acc"),
            ).fetchone()
            db.executemany(
                "insert into points (series, step, epoch, value) values (?, ?, ?, ?)",
                [(series, 5 * e["epoch"], e["epoch"], e[metric] + shift) for e in EPOCHS],
            )
    return n


def test_a_rule_that_picks_kept_weights_shows_what_they_were_measured_with(
    db: sqlite3.Connection, curves: int, put: Put
) -> None:
    put(curves, 48.0, epoch=2, clean=71.0)
    put(curves, 44.0, epoch=2, attack="aa", clean=71.0)
    put(curves, 40.0, epoch=5, clean=82.5, checkpoint="final", weights="f", selected_on="")
    (m,) = queries.measurements(db, select="pgd", checkpoint="best")
    assert (m.checkpoint, m.clean, m.pgd20, m.aa) == ("best", 71.0, 48.0, 44.0)
    assert m.marks == ("best by pgd, selected on the test set",)
    (m,) = queries.measurements(db, select="last", checkpoint="best")
    assert (m.clean, m.pgd20, m.aa, m.marks) == (82.5, 40.0, None, ("best by last",))
    (m,) = queries.measurements(db, select="pgd@val", checkpoint="best")
    assert (m.pgd20, m.marks) == (48.0, ("best by pgd@val",))
    kinds = [m.checkpoint for m in queries.measurements(db, select="pgd")]
    assert sorted(kinds) == ["best", "final"]


def test_a_rule_that_picks_pruned_weights_shows_the_epochs_numbers_and_says_so(
    db: sqlite3.Connection, curves: int, put: Put
) -> None:
    put(curves, 48.0, epoch=2, clean=71.0)
    put(curves, 44.0, epoch=2, attack="aa", clean=71.0)
    for text in ("nrr", "nrr@val"):
        (m,) = queries.measurements(db, select=text, checkpoint="best")
        assert (m.clean, m.pgd20, m.aa) == (82.0, 49.0, None)
        assert m.marks[1] == ("r0001: weights of epoch 4 were not kept: PGD-5 of that epoch, no AA")
    (m,) = queries.measurements(db, checkpoint="best")
    assert (m.pgd20, m.aa) == (48.0, 44.0)


def test_a_run_that_still_trains_is_no_row_of_a_rule(
    db: sqlite3.Connection, curves: int, put: Put
) -> None:
    db.execute("update runs set epoch = 4, state = 'running'")
    assert queries.measurements(db, select="pgd") == []


def test_a_table_can_follow_another_rule(
    db: sqlite3.Connection, curves: int, put: Put, rpat: Rpat
) -> None:
    put(curves, 48.0, epoch=2, clean=71.0)
    (row,) = rpat("table", "--select", "mean", "--json").json
    assert (row["clean"]["mean"], row["pgd20"]["mean"], row["aa"]) == (82.0, 49.0, None)
    said = rpat("table", "--select", "mean", "--robust", "pgd20")
    assert "weights of epoch 4 were not kept" in said.out
    assert "best by mean, selected on the test set" in said.out


@pytest.mark.parametrize("select", ["nonsense", "lex", "lex:-1", "pgd@train"])
def test_a_table_refuses_a_rule_that_does_not_exist(nowhere: Path, rpat: Rpat, select: str) -> None:
    refused(rpat("table", "--select", select), "--select")
    assert not nowhere.exists()


def test_a_rule_for_best_does_not_go_with_final(nowhere: Path, rpat: Rpat) -> None:
    refused(rpat("table", "--select", "nrr", "--checkpoint", "final"), "--checkpoint final")


# ----------------------------------------------------------------- rpat eval


@pytest.fixture
def trained(standin: Home, db: sqlite3.Connection) -> Home:
    """Two finished runs of the stand-in, and a stand-in for what follows."""
    numbers = enqueuer(standin, db)(1, "pace=0.001 eval.pace=0.001", 1, name="one")
    numbers += enqueuer(standin, db)(1, "pace=0.001 eval.pace=0.001", 1, "mart", rpat=True)
    worker.ensure(standin)
    until(lambda: not queries.unfinished(db, numbers))
    return standin


def test_a_run_is_evaluated_shown_and_kept(trained: Home, rpat: Rpat) -> None:
    said = rpat("eval", "r0001", "--attack", "aa,fgsm", "--tag", "t")
    assert said.code == 0, said
    assert "AutoAttack" in said.out
    assert "FGSM" in said.out
    again = rpat("eval", "one", "--attack", "aa,fgsm", "--json")
    assert again.err == "r0003 has measured this; --again measures it anew\n"
    (job,) = again.json
    assert {"id", "state", "kind", "parent", "results", "findings"} <= set(job)
    assert (job["id"], job["parent"], job["kind"]) == ("r0003", "r0001", "eval")
    assert [(e["checkpoint"], e["attack"], e["job"]) for e in job["results"]] == [
        ("best", "aa", "r0003"), ("best", "fgsm", "r0003"),
        ("final", "aa", "r0003"), ("final", "fgsm", "r0003"),
    ]  # fmt: skip
    (row,) = rpat("table", "--method", "pgd-at", "--json").json
    assert row["aa"]["mean"] == pytest.approx(job["results"][0]["robust"])
    shown = rpat("show", "r1", "--json").json
    assert [j["id"] for j in shown["jobs"]] == ["r0003"]
    assert [e["job"] for e in shown["results"]] == ["r0001"] * 2 + ["r0003"] * 4
    assert rpat("show", "r3").out.startswith("r0003  evaluation of r0001, pgd-at on digits linf")

    (listed,) = rpat("list", "--kind", "eval", "--json").json
    assert (listed["id"], listed["parent"], listed["tags"]) == ("r0003", "r0001", ["t"])
    assert "best aa" in rpat("list", "--kind", "eval").out
    assert [row["id"] for row in rpat("list", "--json").json] == ["r0001", "r0002"]

    anew = rpat("eval", "r1", "--attack", "aa,fgsm", "--again", "--json").json
    assert [job["id"] for job in anew] == ["r0004"]


def test_several_runs_are_evaluated_at_once(trained: Home, rpat: Rpat) -> None:
    said = rpat("eval", "r1", "r2", "r1", "--checkpoint", "best", "--n", "10", "--json")
    assert said.code == 0
    assert [(j["parent"], len(j["results"])) for j in said.json] == [("r0001", 1), ("r0002", 1)]
    assert [(e["checkpoint"], e["n"]) for j in said.json for e in j["results"]] == [
        ("best", 10)
    ] * 2


def test_a_detached_evaluation_is_a_job_that_can_be_waited_for(trained: Home, rpat: Rpat) -> None:
    said = rpat("eval", "r1", "r2", "--detach")
    assert said == Said(0, "r0003 r0004\n", "")
    known = rpat("eval", "r1", "--detach")
    assert known.out == "r0003\n"
    assert "r0003 " in known.err
    assert rpat("wait", "r3", "r4") == Said(0, "", "")
    lines = rpat("watch", "r3").out.splitlines()
    assert lines[-1].startswith("r0003 done     eval of r0001")
    assert "best pgd: part" in rpat("logs", "r3").out
    assert rpat("eval", "r1", "--detach", "--json").json[0]["state"] == "done"


def test_a_dry_run_says_the_exact_settings_and_makes_nothing(looked: Home, rpat: Rpat) -> None:
    before = sorted(looked.runs.iterdir())
    words = ("eval", "r1", "--attack", "pgd,aa", "--epsilon", "0.05", "--checkpoint", "best")
    (job,) = rpat(*words, "--dry-run", "--json").json
    assert EvalJob.from_dict(job).to_dict() == job
    assert (job["attacks"], job["threat"]["epsilon"]) == (["pgd", "aa"], 0.05)
    assert job["differs"] == "threat.epsilon, attack.step_size"
    text = rpat(*words, "--dry-run").out
    assert "checkpoints best" in text
    assert "differs    threat.epsilon, attack.step_size" in text
    assert sorted(looked.runs.iterdir()) == before


def test_adversarial_images_are_copied_to_where_they_were_asked_for(
    trained: Home, tmp_path: Path, rpat: Rpat
) -> None:
    assert rpat("eval", "r1", "--checkpoint", "best").code == 0
    said = rpat("eval", "r1", "--checkpoint", "best", "--save", "out.npz")
    assert said.code == 0, said
    assert said.err == "saved out.npz\n", "the first job has kept no images"
    assert (tmp_path / "out.npz").read_text() == "best online pgd images=True"
    said = rpat("eval", "r1", "--attack", "pgd,aa", "--checkpoint", "best", "--save", "out.npz")
    assert said.err.splitlines() == [
        "saved out-best-online-pgd.npz", "saved out-best-online-aa.npz",
    ]  # fmt: skip
    said = rpat("eval", "r1", "--checkpoint", "best", "--save", "out.npz")
    assert "r0004 has measured this" in said.err, "with images, it need not run again"


def test_exactly_the_named_images_are_looked_at(looked: Home, tmp_path: Path, rpat: Rpat) -> None:
    (tmp_path / "some.txt").write_text("3, 5\n7 11\n")
    (job,) = rpat("eval", "r1", "--indices", "some.txt", "--dry-run", "--json").json
    assert job["images"]["indices"] == [3, 5, 7, 11]


def test_an_evaluation_that_fails_says_why_and_goes_on_when_queued_again(
    trained: Home, rpat: Rpat, db: sqlite3.Connection
) -> None:
    said = rpat("eval", "r1", "--note", "crash=6")
    assert said.code == 1
    assert "r0003 failed: RuntimeError: the stand-in crashed as told" in said.out
    assert "r0003 (eval) is failed" in rpat("show", "r1").out
    assert rpat("requeue", "r3").code == 0
    assert rpat("wait", "r3").code == 0
    assert [a["from_step"] for a in queries.attempts(db, 3)] == [0, 5]
    assert [e["checkpoint"] for e in queries.evaluations(db, 3)] == ["best", "final"]


def test_a_job_can_be_stopped_killed_and_queued_again(
    trained: Home, rpat: Rpat, db: sqlite3.Connection
) -> None:
    def step() -> int:
        return int(db.execute("select step from runs where n = 3").fetchone()[0])

    assert rpat("eval", "r1", "--note", "pace=0.05 batches=20", "--detach").out == "r0003\n"
    until(lambda: step() > 0)
    assert rpat("stop", "r3").code == 0
    assert rpat("wait", "r3").code == 1
    done = step()
    assert 0 < done < 40
    assert queries.runs(db, numbers=[3])[0]["state"] == "stopped"
    rpat("requeue", "r3")
    until(lambda: step() > done)
    (row,) = rpat("list", "--kind", "eval", "--json").json
    assert row["stage"].startswith("best pgd")
    assert rpat("kill", "r3").code == 0
    assert rpat("wait", "r3").code == 1
    assert queries.runs(db, numbers=[3])[0]["reason"] == "killed on request"
    assert queries.attempts(db, 3)[1]["from_step"] == done


def test_watching_shows_jobs_as_well(trained: Home, rpat: Rpat, db: sqlite3.Connection) -> None:
    rpat("eval", "r1", "--note", "pace=0.02 batches=10", "--detach")
    said = rpat("watch")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[-1].startswith("r0003 done     eval of r0001")
    assert any("robust ≤" in line for line in lines)


def test_a_foreground_run_ends_after_the_evaluation_that_follows_it(
    standin: Home, rpat: Rpat, db: sqlite3.Connection
) -> None:
    words = (*DIGITS, "--eval", "aa", "--note", "pace=0.001 eval.pace=0.01")
    said = rpat(*words)
    assert said.code == 0, said
    assert any(line.startswith("r0002 done     eval of r0001") for line in said.out.splitlines())
    assert rpat(*words, "--seed", "1", "--detach").out == "r0003\n"
    assert rpat("wait", "r3").code == 0
    assert [row["parent"] for row in queries.runs(db, kind="eval")] == ["r0001", "r0003"]
    assert {row["state"] for row in queries.runs(db, kind="eval")} == {"done"}
    (row,) = rpat("table", "--json").json
    assert (row["n"], row["aa"]["std"] is None) == (2, False)


def test_a_foreground_run_fails_with_the_evaluation_that_follows_it(
    standin: Home, rpat: Rpat
) -> None:
    said = rpat(*DIGITS, "--eval", "aa", "--note", "pace=0.001 eval.crash=2")
    assert said.code == 1
    assert said.out.splitlines()[-1].startswith("✗ r0002 failed: RuntimeError")


@pytest.mark.usefixtures("quick")
def test_an_evaluation_that_is_queued_between_two_looks_is_followed(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    (n,) = enqueue(attack="aa")
    end(db, n)
    real, made = queries.unfinished, []

    def late(*words: Any) -> list[int]:
        if not made:  # the worker is quicker than the second look
            made.extend(queue_evaluations(home, db))
        elif len(made) == 1:
            end(db, *made)
        return real(*words)

    monkeypatch.setattr(worker, "ensure", lambda _: None)
    monkeypatch.setattr(queries, "unfinished", late)
    assert follow(home, [n], quiet=True) == 0
    assert queries.runs(db, numbers=made)[0]["state"] == "done"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that requests name; what a checkpoint holds is told at once."""
    (tmp_path / "net.pt").write_bytes(b"weights")
    (tmp_path / "words.txt").write_text("one two")
    (tmp_path / "empty.txt").write_text("\n")
    real = subprocess.run

    def told(words: list[str], **more: Any) -> Any:
        if "rpat.foreign" not in words:
            return real(words, **more)
        return subprocess.CompletedProcess(words, 0, json.dumps(found()), "")

    monkeypatch.setattr(subprocess, "run", told)
    return tmp_path


WRONG: list[tuple[list[str], list[str]]] = [
    ([], ["WHAT", "rpat eval --help"]),
    (["r99"], ["'r99'", "rpat list"]),
    (["nobody"], ["'nobody'", "rpat list"]),
    (["folder/"], ["folder is a folder", "name a run"]),
    (["void.pt"], ["void.pt does not exist", "name a run"]),
    (["r1", "r2", "--save", "x.npz"], ["--save", "one subject"]),
    (["r1", "--save", "x.pt"], ["--save", ".npz"]),
    (["r1", "--save", "x.npz", "--detach"], ["--save", "--detach"]),
    (["r1", "--indices", "words.txt"], ["--indices", "words.txt", "'one'", "whole numbers"]),
    (["r1", "--indices", "empty.txt"], ["--indices", "names no image"]),
    (["r1", "--indices", "void.txt"], ["--indices", "void.txt"]),
    (["r1", "--attack", "nonsense"], ["--attack", "'nonsense'"]),
    (["r1", "--attack", "pgd,pgdd"], ["'pgdd'", "did you mean 'pgd'"]),
    (["r1", "--attack", ""], ["--attack is empty"]),
    (["r1", "--model", "resnet18"], ["--model", "checkpoint files"]),
    (["r1", "--key", "ema"], ["--key", "checkpoint files"]),
    (["r1", "--network", "wa"], ["--network", "'wa'", "online"]),
    (["r1", "--checkpoint", "bets"], ["--checkpoint bets", "epoch:N"]),
    (["r1", "--epsilon", "8"], ["threat.epsilon", "8/255"]),
    (["r1", "--epsilon", "x"], ["--epsilon x"]),
    (["r1", "--norm", "l1"], ["--norm", "'l1'", "linf"]),
    (["r1", "--split", "tets"], ["images.split", "test"]),
    (["r1", "--n", "-3"], ["images.n", "-3"]),
    (["r1", "--dataset", "cifar10"], ["trained on digits"]),
    (["r1", "--dtype", "float16"], ["numerics.dtype", "float16"]),
    (["r1", "--bn", "off"], ["numerics.bn", "off"]),
    (["r1", "--device", "gpu"], ["device", "gpu"]),
    (["r1", "--set", "attack.stepz=3"], ["'stepz'", "did you mean 'steps'"]),
    (["r3"], ["r0003 is itself a job of kind eval", "name a run"]),
    (["net.pt", "--network", "wa"], ["--checkpoint and --network are for runs"]),
    (["net.pt", "--checkpoint", "best"], ["--checkpoint and --network are for runs"]),
    (["net.pt", "--dataset", "cifr10"], ["'cifr10'", "did you mean 'cifar10'"]),
    (["net.pt", "--data-dir", "void"], ["cifar10", "void"]),
]


@pytest.mark.parametrize(("words", "fragments"), WRONG, ids=lambda part: " ".join(part))
def test_a_wrong_request_for_an_evaluation_is_one_line_and_makes_nothing(
    looked: Home, asked: Path, rpat: Rpat, words: list[str], fragments: list[str]
) -> None:
    (asked / "folder").mkdir()
    before = sorted(asked.iterdir()), sorted(looked.runs.iterdir())
    refused(rpat("eval", *words), *fragments)
    assert (sorted(asked.iterdir()), sorted(looked.runs.iterdir())) == before


def test_a_home_without_runs_is_not_made_by_a_wrong_request(nowhere: Path, rpat: Rpat) -> None:
    refused(rpat("eval", "r1"), "'r1' is neither a run nor a checkpoint file")
    refused(rpat("study", "perception", "r1"), "'r1' is neither a run nor a checkpoint file")
    refused(rpat("export", "robustbench", "r1"), "has no runs yet")
    assert not nowhere.exists()


def test_a_run_that_failed_has_no_final_weights_to_look_at(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    (n,) = enqueue()
    end(db, n, "failed")
    refused(rpat("eval", "r1"), "r0001 is failed", "--checkpoint best", "rpat requeue r0001")
    (job,) = rpat("eval", "r1", "--checkpoint", "best", "--dry-run", "--json").json
    assert job["subject"]["checkpoints"] == ["best"]


def test_a_name_with_a_dot_is_a_runs_before_it_is_a_files(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    enqueue(name="lam0.5")
    (job,) = rpat("eval", "lam0.5", "--dry-run", "--json").json
    assert job["subject"]["folder"] == "r0001"


def test_what_was_measured_before_a_run_ended_is_measured_again(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    job = job_about(home, db, n)
    (key,) = db.execute("select fingerprint from runs where n = ?", (job,)).fetchone()
    assert queries.same_job(db, key) == job
    assert queries.same_job(db, key, keeps=True) is None
    end(db, job)
    db.execute("update runs set started = 3.0 where n = ?", (job,))
    assert queries.same_job(db, key) is None, "its run still trains"
    end(db, n)
    assert queries.same_job(db, key) is None, "its run trained on after it"
    db.execute("update runs set started = 6.0 where n = ?", (job,))
    assert queries.same_job(db, key) == job
    end(db, job, "failed")
    assert queries.same_job(db, key) is None


def test_a_checkpoint_file_is_recognised_by_the_core_and_evaluated(
    standin: Home, asked: Path, rpat: Rpat, db: sqlite3.Connection
) -> None:
    words = ("eval", "net.pt", "--dataset", "digits", "--set", "model.name=resnet8")
    said = rpat(*words, "--json")
    assert said.code == 0, said
    assert "net.pt: a resnet18\n" in said.err
    (job,) = said.json
    assert (job["id"], job["parent"], job["method"]) == ("r0001", None, "net")
    assert [e["checkpoint"] for e in job["results"]] == ["file"]
    assert queries.measurements(db) == [], "tables are of runs"
    assert "r0001" in rpat("list", "--kind", "eval").out
    assert rpat("show", "r1").out.startswith("r0001  evaluation of net on digits")


# ----------------------------------------------------------------- rpat study


def test_a_study_is_a_job_whose_numbers_stay_with_the_run(
    trained: Home, rpat: Rpat, db: sqlite3.Connection
) -> None:
    assert rpat("study", "perception", "r1", "--detach").out == "r0003\n"
    assert rpat("study", "smoothness", "r2", "--detach").out == "r0004\n"
    assert rpat("wait", "r3", "r4").code == 0
    (seen,) = rpat("show", "r1", "--json").json["studies"]
    assert (seen["job"], seen["subject"], seen["study"]) == ("r0003", "r0001", "perception")
    assert (seen["checkpoint"], seen["result"]["pgd"]["ratio"]) == ("final", 0.5)
    (seen,) = rpat("show", "r4", "--json").json["studies"]
    assert (seen["checkpoint"], len(seen["result"]["alphas"])) == ("best", 11)
    rows = rpat("list", "--kind", "study", "--json").json
    assert [(r["id"], r["kind"], r["state"]) for r in rows] == [
        ("r0003", "study", "done"), ("r0004", "study", "done"),
    ]  # fmt: skip
    assert queries.measurements(db, checkpoint="final")[0].clean is not None


def test_a_study_is_drawn_and_written_where_it_was_asked_for(
    trained: Home, tmp_path: Path, rpat: Rpat
) -> None:
    said = rpat("study", "perception", "r1", "r2", "--save", "fig2.md")
    assert said.code == 0, said
    assert "mart + RPAT" in said.out
    assert said.err.splitlines()[-1] == "saved fig2.md"
    assert "mart + RPAT" in (tmp_path / "fig2.md").read_text()
    records = rpat("study", "perception", "r2", "r1", "--json").json
    assert [(r["job"], r["title"]) for r in records] == [
        ("r0004", "mart + RPAT"), ("r0003", "pgd-at"),
    ]  # fmt: skip
    assert rpat("study", "perception", "r1", "--save", "raw.npz").code == 0
    assert (tmp_path / "raw.npz").read_text().startswith("final online perception")
    refused(rpat("study", "perception", "r1", "--save", "x.docx"), "x.docx")
    refused(rpat("study", "perception", "r1", "--save", "x.md", "--detach"), "--detach")


def test_a_dry_run_of_a_study_says_its_settings(looked: Home, rpat: Rpat) -> None:
    words = ("study", "smoothness", "r1", "--alphas", "5", "--dry-run", "--json")
    (job,) = rpat(*words).json
    assert (job["study"], job["alphas"], job["subject"]["checkpoints"]) == (
        "smoothness", 5, ["best"],
    )  # fmt: skip
    refused(rpat("study", "smoothness", "r1", "--alphas", "4", "--dry-run"), "odd number")
    refused(rpat("study", "perception", "r1", "--average", "x", "--dry-run"), "average", "sample")


# ----------------------------------------------------------------- suites


@pytest.mark.parametrize("name", suites.names())
def test_every_suite_of_the_package_loads_and_composes(name: str, tmp_path: Path) -> None:
    suite = suites.load(name)
    rows = suites.configs(suite, suites.Changes(data_dir=tmp_path, seeds=("0", "1")))
    assert len(rows) == len(suite.rows) >= 3
    keys = [config.fingerprint() for _, configs in rows for config in configs]
    assert len(set(keys)) == 2 * len(rows)
    for row, configs in rows:
        assert [config.seed for config in configs] == [0, 1]
        assert suite.table or {c.data.name for c in configs} == {"cifar10"}
        assert row.label


def test_the_package_has_the_papers_tables_and_figures() -> None:
    assert suites.names() == ["fig2", "fig4a", "fig4b", "table1", "table2", "table3", "table4"]


def test_figure_2_looks_at_final_weights_and_tests_the_clean_network_with_noise() -> None:
    suite = suites.load("fig2")
    assert (suite.figure, suite.checkpoint) == ("perception", "final")
    assert [(row.request.methods, row.case) for row in suite.rows] == [
        (("clean",), "noise"), (("random",), "noise"), (("pgd-at",), "pgd"),
    ]  # fmt: skip


def test_figure_4a_compares_criteria_with_their_base(tmp_path: Path) -> None:
    rows = suites.configs(suites.load("fig4a"), suites.Changes(data_dir=tmp_path))
    criteria = [c.wrapper("rpat").criterion if c.wrappers else "" for _, (c,) in rows]
    assert criteria == ["", "mse", "kl", "js", "cosine"]


def test_figure_4b_maps_the_printed_weight_of_the_clean_image_to_ours(tmp_path: Path) -> None:
    rows = suites.configs(suites.load("fig4b"), suites.Changes(data_dir=tmp_path))
    alphas = {row.paper_label: config.wrapper("rpat").alpha for row, (config,) in rows}
    assert set(alphas) == {"0.2", "0.5", "0.8", "Beta-", "Beta+"}
    for printed in ("0.2", "0.5", "0.8"):
        assert float(alphas[printed]) == pytest.approx(1 - float(printed))
    assert (alphas["Beta-"], alphas["Beta+"]) == ("beta+", "beta-")


OWN = """
title = "Mine"
figure = "accuracy"

[[rows]]
label = "base"
method = "pgd-at"
dataset = "digits"
epochs = 2

[[rows]]
method = "pgd-at"
with = ["rpat"]
dataset = "digits"
epochs = 2
set = { "rpat.lam" = 2.0 }
"""


def test_a_suite_of_ones_own_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(OWN)
    suite = suites.load(str(file))
    assert (suite.name, suite.title, suite.checkpoint) == ("mine", "Mine", "best")
    (base, (one,)), (ours, (two,)) = suites.configs(
        suite, suites.Changes(epochs=3, data_dir=tmp_path)
    )
    assert (base.label, ours.label) == ("base", "pgd-at")
    assert (one.schedule.epochs, two.wrapper("rpat").lam) == (3, 2.0)


@pytest.mark.parametrize(("text", "words"), [
    ("titel = 'x'", "'titel' is not known; did you mean 'title'"),
    ("title = 'x'", "[[rows]] is missing"),
    ("rows = []", "[[rows]] is missing"),
    ("rows = ['pgd-at']", "write [[rows]] above each"),
    ("[[rows]]\nlabel = 'x'", "neither a method nor a preset"),
    ("[[rows]]\nmethod = 'pgd-at'\nmodle = 'x'", "did you mean 'model'"),
    ("[[rows]]\nmethod = 'pgd-at'\nwith = 'rpat'", "with is 'rpat'; write a list"),
    ("[[rows]]\nmethod = 'pgd-at'\nepochs = 'x'", "epochs is 'x'; write a whole number"),
    ("[[rows]]\nmethod = 'pgd-at'\nset = 3", "set is 3; write a table"),
    ("[[rows]]\nmethod = 3", "method is 3; write a text"),
    ("[[rows]]\nmethod = 'pgd-at'\ncase = 'nose'", "did you mean 'noise'"),
    ("figure = 'acuracy'\n[[rows]]\nmethod = 'pgd-at'", "did you mean 'accuracy'"),
    ("checkpoint = 'last'\n[[rows]]\nmethod = 'pgd-at'", "checkpoint 'last' is not known"),
    ("title = [", "mine.toml"),
])  # fmt: skip
def test_a_suite_that_is_none_is_refused_with_its_file(
    nowhere: Path, tmp_path: Path, rpat: Rpat, text: str, words: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    refused(rpat("suite", "run", str(file)), "mine.toml", words)
    assert list(tmp_path.iterdir()) == [file]


def test_an_unknown_suite_is_refused_with_the_nearest_one(nowhere: Path, rpat: Rpat) -> None:
    refused(rpat("suite", "run", "fig4"), "suite 'fig4'", "did you mean 'fig4")
    refused(rpat("suite", "status", "nonsense"), "'nonsense'", "fig2, fig4a, fig4b, table1")
    refused(rpat("suite", "show", "void.toml"), "void.toml")
    assert not nowhere.exists()


def test_suites_are_listed_and_shown(nowhere: Path, rpat: Rpat) -> None:
    assert [s["name"] for s in rpat("suite", "list", "--json").json] == suites.names()
    assert "fig4b" in rpat("suite", "list").out
    shown = rpat("suite", "show", "fig4b", "--json").json
    assert shown["rows"][0] == {"label": "alpha 0.8", "paper_label": "0.2", "case": ""}
    assert "weight of the adversarial image" in rpat("suite", "show", "fig4b").out
    assert not nowhere.exists()


ON_DIGITS = ("fig4a", "--dataset", "digits", "--epochs", "1", "--eval", "pgd")


def test_a_suite_queues_what_is_missing_and_nothing_twice(
    home: Home, db: sqlite3.Connection, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "provenance", lambda *_: {})
    monkeypatch.setattr(worker, "ensure", lambda _: None)
    cells = rpat("suite", "status", *ON_DIGITS, "--json").json["runs"]
    assert [(c["row"], c["state"], c["run"]) for c in cells[:2]] == [
        ("PGD-AT", "missing", None), ("+ RPAT, MSE", "missing", None),
    ]  # fmt: skip
    assert "would be queued" in rpat("suite", "run", *ON_DIGITS, "--dry-run").out
    plan = rpat("suite", "run", *ON_DIGITS, "--dry-run", "--json").json
    assert [p["run"] for p in plan] == [None] * 5
    assert queries.runs(db) == []
    base = recipe("pgd-at", dataset="digits", epochs=1).override({"eval.attack": "pgd"})
    index.enqueue(home, db, [base], index.Wish(), {})
    execute(home, db, 1, epochs=1)
    said = rpat("suite", "run", *ON_DIGITS, "--detach")
    assert said.out == "r0001 r0002 r0003 r0004 r0005\n"
    assert rpat("suite", "run", *ON_DIGITS, "--detach").out == said.out
    rows = queries.runs(db)
    assert len(rows) == 5
    assert [row["sweep"] for row in rows] == ["", *["fig4a"] * 4]
    end(db, 2, "failed")
    cells = rpat("suite", "status", *ON_DIGITS, "--json").json["runs"]
    assert [c["state"] for c in cells] == ["done", "failed", "queued", "queued", "queued"]
    assert "✗ failed" in rpat("suite", "status", *ON_DIGITS).out
    assert rpat("suite", "run", *ON_DIGITS, "--detach").out == "r0001 r0006 r0003 r0004 r0005\n"
    assert rpat("suite", "run", *ON_DIGITS, "--detach").out == "r0001 r0006 r0003 r0004 r0005\n"
    cells = rpat("suite", "status", *ON_DIGITS, "--json").json["runs"]
    assert [c["run"] for c in cells] == ["r0001", "r0006", "r0003", "r0004", "r0005"]


def test_a_suite_about_perception_queues_its_studies_once(
    home: Home, db: sqlite3.Connection, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "provenance", lambda *_: {})
    monkeypatch.setattr(worker, "ensure", lambda _: None)
    words = ("suite", "run", "fig2", "--dataset", "digits", "--model", "resnet8", "--detach")
    first = rpat(*words)
    assert first.out == "r0001 r0002 r0003 r0004 r0005 r0006\n"
    jobs = queries.runs(db, kind="study")
    assert [(j["parent"], j["n"]) for j in jobs] == [("r0001", 4), ("r0002", 5), ("r0003", 6)]
    assert sorted(rpat(*words).out.split()) == first.out.split()
    assert take(db) == 1, "runs come before the studies that need their final weights"
    assert {queries.config_of(db, j["n"])["subject"]["checkpoints"][0] for j in jobs} == {"final"}


def test_a_suite_draws_its_networks_each_under_its_own_perturbation(
    standin: Home, tmp_path: Path, rpat: Rpat
) -> None:
    words = ("fig2", "--dataset", "digits", "--model", "resnet8", "--epochs", "1")
    said = rpat("suite", "run", *words, "--save", "fig2.csv")
    assert said.code == 0, said
    assert "Fig. 2" in said.out
    assert (tmp_path / "fig2.csv").read_text().startswith("study,subject,perturbation")
    records = rpat("suite", "run", *words, "--json").json["records"]
    assert [(r["title"], r["case"], r["subject"]) for r in records] == [
        ("Clean training", "noise", "r0001"), ("Noise training", "noise", "r0002"),
        ("PGD-AT", "pgd", "r0003"),
    ]  # fmt: skip


def test_a_suites_teachers_are_queued_before_it(
    home: Home, db: sqlite3.Connection, tmp_path: Path, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "provenance", lambda *_: {})
    monkeypatch.setattr(worker, "ensure", lambda _: None)
    file = tmp_path / "mine.toml"
    file.write_text("[[rows]]\nmethod = 'kd+swa'\ndataset = 'digits'\nepochs = 1\n")
    said = rpat("suite", "run", str(file), "--detach")
    assert said == Said(0, "r0003\n", "")
    assert [row["method"] for row in queries.runs(db)] == ["clean", "pgd-at", "kd+swa"]
    (cell,) = rpat("suite", "status", str(file), "--json").json["runs"]
    assert (cell["run"], cell["state"]) == ("r0003", "queued")
    assert rpat("suite", "run", str(file), "--detach").out == "r0003\n"
    assert len(queries.runs(db)) == 3


def test_a_suite_draws_the_accuracies_of_its_rows(
    standin: Home, tmp_path: Path, rpat: Rpat
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(OWN)
    said = rpat("suite", "run", str(file), "--json")
    assert said.code == 0, said
    assert [(r["title"], r["run"]) for r in said.json["records"]] == [
        ("base", "r0001"), ("pgd-at", "r0002"),
    ]  # fmt: skip
    assert all(r["aa"] < r["pgd20"] for r in said.json["records"])


# ----------------------------------------------------------------- rpat export robustbench

ENTRY = (
    "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue",
    "architecture", "eps", "clean_acc", "reported", "autoattack_acc",
)  # fmt: skip


def test_a_run_becomes_an_entry_of_robustbench(looked: Home, tmp_path: Path, rpat: Rpat) -> None:
    said = rpat("export", "robustbench", "r1")
    values = said.json
    assert tuple(values) == ENTRY
    shown = rpat("show", "r1", "--json").json["results"]
    aa = next(e for e in shown if (e["attack"], e["checkpoint"]) == ("aa", "best"))
    assert values["autoattack_acc"] == f"{aa['robust']:.2f}"
    assert values["clean_acc"] == f"{aa['clean']:.2f}"
    assert (values["dataset"], values["architecture"], values["eps"]) == (
        "digits", "ResNet-8", "0.1",
    )  # fmt: skip
    remarks = said.err.splitlines()
    assert remarks[0] == "! fill in by hand: link, name, authors, venue, reported"
    assert "! images come from: embedded; an entry needs the official files" in remarks
    assert "! RobustBench has no leaderboard for digits" in remarks
    assert "! the weights were selected on the test set" in remarks
    final = rpat("export", "robustbench", "r1", "--checkpoint", "final", "--out", "entry.json")
    assert (final.code, final.out) == (0, "")
    assert "selected on the test set" not in final.err
    assert tuple(read_json(tmp_path / "entry.json")) == ENTRY


def test_an_entry_of_the_leaderboards_needs_no_remark_but_the_authors() -> None:
    run = {"id": "r0001", "dataset": "cifar10", "model": "wrn-34-10", "source": "official"}
    e = {
        "attack": "aa", "checkpoint": "final", "network": "wa", "split": "test", "differs": "",
        "dtype": "float32", "bn": "eval", "n": 10_000, "of_n": 10_000, "note": "", "norm": "linf",
        "epsilon": 8 / 255, "clean": 85.0, "robust": 54.321, "selected_on": "",
    }  # fmt: skip
    values, remarks = entry(run, [e | {"robust": 99.0}, e | {"n": 100}, e], "final", "wa")
    assert (values["eps"], values["architecture"]) == ("8/255", "WideResNet-34-10")
    assert (values["clean_acc"], values["autoattack_acc"]) == ("85.00", "54.32")
    assert len(remarks) == 1
    _, remarks = entry(run, [e | {"n": 100, "epsilon": 4 / 255, "note": "few"}], "final", "wa")
    assert len(remarks) == 4
    for changes in ({"network": "online"}, {"checkpoint": "best"}, {"differs": "attack.start"},
                    {"dtype": "bfloat16"}, {"bn": "train"}, {"split": "val"}):  # fmt: skip
        with pytest.raises(ConfigError, match="rpat eval r0001 --attack aa --checkpoint final"):
            entry(run, [e | changes], "final", "wa")


def test_a_run_without_autoattack_is_told_the_command(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat, tmp_path: Path
) -> None:
    (n,) = enqueue()
    job_about(home, db, n)
    refused(
        rpat("export", "robustbench", "r1", "--out", "x.json"),
        "r0001 has no AutoAttack on its best weights",
        "rpat eval r0001 --attack aa --checkpoint best",
    )
    refused(rpat("export", "robustbench", "r2"), "r0002 is a job of kind eval")
    refused(rpat("export", "robustbench", "r1", "--checkpoint", "last"), "choose best or final")
    assert not (tmp_path / "x.json").exists()


def test_a_data_folder_that_the_command_names_counts_for_a_runs_job_too(tmp_path: Path) -> None:
    config = recipe("pgd-at", dataset="cifar10").override({"data.dir": "/gone"})
    for split in ("train", "test"):
        for label in "ab":
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "1.png").touch()
    kept = examine.of_run(EvalJob, "u", "r0001", config, examine.Ask(data_dir=tmp_path))
    assert kept.data.dir == "/gone"
    asked = examine.Ask(data_dir=tmp_path, data_dir_given=True, data_dir_asked=True)
    moved = examine.of_run(EvalJob, "u", "r0001", config, asked)
    assert (moved.data.dir, moved.data.source) == (str(tmp_path), "image-folder")
    assert moved.differs == ""
    nowhere = examine.Ask(data_dir=tmp_path / "x", data_dir_given=True, data_dir_asked=True)
    with pytest.raises(ConfigError, match="cifar10"):
        examine.of_run(EvalJob, "u", "r0001", config, nowhere)
