"""Runs that need the weights of others: composed, queued, shared, waited for, or refused."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rpat.config import METHODS, RunConfig
from rpat.errors import ConfigError
from rpat.identity import process_identity
from rpat.recipes import COMBINATIONS, label, recipe
from rpat.rundir import RunDir, find_weights, write_json
from rpat_tui.cli import main
from rpat_tui.compose import Request, compose, needs
from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.launch.rebuild import rebuild
from rpat_tui.store import db as database
from rpat_tui.store import queries, queue
from rpat_tui.store.db import transaction

Rpat = Callable[..., tuple[int, str, str]]
KD = ("run", "--dataset", "digits", "--method", "kd+swa")


@pytest.fixture
def rpat(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Rpat:
    """Run a command in this process; runs are queued and nothing starts them."""
    monkeypatch.setattr(worker, "ensure", lambda home: None)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rpat", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


def queued(rpat: Rpat, *words: str) -> list[int]:
    """Queue runs and return their numbers."""
    code, out, err = rpat(*words, "--detach")
    assert (code, err) == (0, "")
    return [int(name[1:]) for name in out.split()]


def config_of(home: Home, n: int) -> RunConfig:
    job = json.loads(RunDir(home.runs / f"r{n:04d}").config.read_text("utf-8"))
    return RunConfig.from_dict(job["config"])


def needed(db: sqlite3.Connection, n: int) -> list[tuple[int, str]]:
    """Return the runs that a run waits for, each with which of its weights."""
    return db.execute(
        "select r.n, d.checkpoint from dependencies d join runs r on r.uid = d.needs "
        "where d.run = ? order by r.n",
        (n,),
    ).fetchall()


def take(db: sqlite3.Connection) -> int | None:
    with transaction(db):
        taken = queue.take(db, "cpu:0", ("cpu", "auto"), process_identity())
    return None if taken is None else taken[0]


def end(db: sqlite3.Connection, n: int, state: str = "done") -> None:
    with transaction(db):
        queue.move(db, n, state)


def asked(*methods: str, **more: Any) -> list[RunConfig]:
    """Compose runs on digits."""
    return compose(Request(methods=methods, datasets=("digits",), data_dir=Path("data"), **more))


# ----------------------------------------------------------------- what is composed


def test_distillation_comes_after_its_two_teachers() -> None:
    natural, robust, student = asked("kd+swa")
    assert [label(c) for c in (natural, robust, student)] == ["clean", "pgd-at", "kd+swa"]
    kd = student.wrapper("kd")
    assert kd.natural == f"run:{natural.fingerprint()}:final"
    assert kd.robust == f"run:{robust.fingerprint()}:best"
    assert needs(student) == [(natural.fingerprint(), "final"), (robust.fingerprint(), "best")]
    assert natural.attack.steps == 0
    assert robust.attack == student.attack
    for teacher in (natural, robust):
        assert teacher.wrappers == ()
        for part in ("data", "model", "threat", "optim", "schedule", "eval", "seed"):
            assert getattr(teacher, part) == getattr(student, part)


def test_cure_comes_after_its_natural_start() -> None:
    natural, student = asked("cure")
    assert (label(natural), label(student)) == ("clean", "cure")
    assert student.wrapper("cure").start == f"run:{natural.fingerprint()}:final"
    assert needs(student) == [(natural.fingerprint(), "final")]


def test_weights_that_are_named_are_not_trained() -> None:
    digest = "ab" * 32
    natural, student = asked("kd+swa", fixed={"kd.robust": digest})
    assert label(natural) == "clean"
    assert student.wrapper("kd").robust == digest
    (alone,) = asked("cure", fixed={"cure.start": digest})
    assert needs(alone) == []


def test_values_reach_the_teachers_but_for_those_of_the_student() -> None:
    configs = asked("kd+swa", fixed={"optim.lr": 0.01, "schedule.epochs": 3, "kd.temperature": 4.0})
    assert {c.optim.lr for c in configs} == {0.01}
    assert {c.schedule.epochs for c in configs} == {3}
    plain = asked("kd+swa", fixed={"optim.lr": 0.01, "schedule.epochs": 3})
    assert [a.fingerprint() == b.fingerprint() for a, b in zip(configs, plain, strict=True)] == [
        True, True, False,
    ]  # fmt: skip


def test_seeds_share_no_teacher() -> None:
    configs = asked("kd+swa", axes={"seed": ("0", "1")})
    assert [(label(c), c.seed) for c in configs] == [
        (name, seed) for seed in (0, 1) for name in ("clean", "pgd-at", "kd+swa")
    ]
    assert len({c.fingerprint() for c in configs}) == 6
    for *teachers, student in (configs[:3], configs[3:]):
        assert [key for key, _ in needs(student)] == [c.fingerprint() for c in teachers]


@pytest.mark.parametrize(
    ("methods", "wrappers"), [(("kd+swa",), ("rpat",)), (("pgd-at",), ("kd", "swa", "rpat"))]
)
def test_students_of_one_seed_share_their_teachers(
    methods: tuple[str, ...], wrappers: tuple[str, ...]
) -> None:
    configs = asked(*methods, wrappers=wrappers, axes={"rpat.lam": ("1", "2")})
    assert [label(c) for c in configs] == ["clean", "pgd-at", "kd+swa", "kd+swa"]
    assert needs(configs[2]) == needs(configs[3])


def test_a_run_asked_for_twice_is_still_refused() -> None:
    with pytest.raises(ConfigError, match="asked for twice"):
        asked("kd+swa", "kd+swa")
    with pytest.raises(ConfigError, match="asked for twice"):
        asked("pgd-at", "pgd-at")


# ----------------------------------------------------------------- what is queued


def test_the_student_waits_for_both_teachers(
    home: Home, db: sqlite3.Connection, rpat: Rpat
) -> None:
    natural, robust, student = queued(rpat, *KD)
    assert [label(config_of(home, n)) for n in (natural, robust, student)] == [
        "clean", "pgd-at", "kd+swa",
    ]  # fmt: skip
    assert needed(db, student) == [(natural, "final"), (robust, "best")]
    assert needed(db, natural) == needed(db, robust) == []
    assert (take(db), take(db), take(db)) == (natural, robust, None)
    end(db, natural)
    assert take(db) is None
    end(db, robust)
    assert take(db) == student
    assert take(db) is None


def test_seeds_wait_for_teachers_of_their_own(db: sqlite3.Connection, rpat: Rpat) -> None:
    runs = queued(rpat, *KD, "--seeds", "0-1")
    assert len(runs) == 6
    for *teachers, student in (runs[:3], runs[3:]):
        assert [n for n, _ in needed(db, student)] == teachers
    taken = [take(db) for _ in range(5)]
    assert taken == [*runs[0:2], *runs[3:5], None]
    for n in runs[3:5]:
        end(db, n)
    assert take(db) == runs[5]
    assert take(db) is None


@pytest.mark.parametrize("state", ["queued", "done"])
def test_teachers_that_are_there_are_used_again(
    db: sqlite3.Connection, rpat: Rpat, state: str
) -> None:
    natural, robust, student = queued(rpat, *KD)
    if state == "done":
        for _ in range(3):
            n = take(db)
            assert n is not None
            end(db, n)
    (second,) = queued(rpat, *KD, "--rpat")
    assert needed(db, second) == needed(db, student) == [(natural, "final"), (robust, "best")]
    assert take(db) == (second if state == "done" else natural)


def test_a_teacher_that_failed_is_trained_anew(db: sqlite3.Connection, rpat: Rpat) -> None:
    natural, robust, _ = queued(rpat, *KD)
    assert (take(db), take(db)) == (natural, robust)
    end(db, natural)
    end(db, robust, "failed")
    assert take(db) is None
    again, student = queued(rpat, *KD, "--rpat")
    assert needed(db, student) == [(natural, "final"), (again, "best")]
    assert take(db) == again
    end(db, again)
    assert take(db) == student


@pytest.mark.parametrize("state", ["failed", "stopped", "paused"])
def test_nobody_waits_for_a_student_whose_teacher_will_not_come(
    db: sqlite3.Connection, rpat: Rpat, state: str
) -> None:
    natural, student = queued(rpat, "run", "--dataset", "digits", "--method", "cure")
    assert take(db) == natural
    assert queries.unfinished(db, [natural, student]) == [natural, student]
    end(db, natural, state)
    assert queries.unfinished(db, [natural, student]) == []
    assert not queue.work_left(db)
    assert take(db) is None
    with transaction(db):  # a person asks for the teacher again
        queue.move(db, natural, "queued")
    assert queries.unfinished(db, [natural, student]) == [natural, student]
    assert queue.work_left(db)
    assert take(db) == natural
    end(db, natural)
    assert queries.unfinished(db, [natural, student]) == [student]
    assert queue.work_left(db)
    assert take(db) == student


def test_a_run_command_ends_when_a_teacher_has_failed(
    home: Home, db: sqlite3.Connection, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def fail_the_next(home: Home) -> None:
        if (n := take(db)) is not None:
            taken.append(n)
            end(db, n, "failed")

    monkeypatch.setattr(worker, "ensure", fail_the_next)
    code, out, _ = rpat("run", "--dataset", "digits", "--method", "cure")
    assert code == 1
    assert taken == [1]
    assert "r0001 failed" in out
    assert "r0002 queued" in out


def test_a_database_made_again_still_knows_who_waits(
    home: Home, db: sqlite3.Connection, rpat: Rpat
) -> None:
    natural, robust, student = queued(rpat, *KD)
    before = needed(db, student)
    assert rebuild(home) == (3, [])
    with database.opened(home) as fresh:
        assert needed(fresh, student) == before
        assert (take(fresh), take(fresh), take(fresh)) == (natural, robust, None)


def test_cure_waits_for_one_run(db: sqlite3.Connection, rpat: Rpat) -> None:
    natural, student = queued(rpat, "run", "--dataset", "digits", "--method", "cure")
    assert needed(db, student) == [(natural, "final")]
    assert (take(db), take(db)) == (natural, None)
    end(db, natural)
    assert take(db) == student


# ----------------------------------------------------------------- whose weights are found


def test_weights_are_those_of_a_finished_run(home: Home) -> None:
    config = recipe("clean", dataset="digits")
    word = f"run:{config.fingerprint()}:best"
    runs = [RunDir(home.runs / f"r{n:04d}") for n in (1, 2, 3)]
    for run in runs:
        run.checkpoints.mkdir(parents=True)
        write_json(run.config, {"fingerprint": config.fingerprint()})
    assert find_weights(home.path, word) is None
    runs[0].best("online").touch()  # the first stopped before its last epoch
    assert find_weights(home.path, word) is None
    for run in runs[1:]:
        run.best("online").touch()
        run.final("online").touch()
    assert find_weights(home.path, word) == runs[1].best("online")
    assert find_weights(home.path, word.replace("best", "final")) == runs[1].final("online")
    assert find_weights(home.path, f"run:{'0' * 64}:best") is None
    assert find_weights(home.path, "ab" * 32) is None
    (home.path / "weights").mkdir()
    named = home.path / "weights" / f"{'ab' * 32}.pt"
    named.touch()
    assert find_weights(home.path, "ab" * 32) == named


# ----------------------------------------------------------------- names and refusals


@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_published_combination_is_a_method(home: Home, rpat: Rpat, name: str) -> None:
    words = ("run", "--dataset", "digits", "--method", name, "--dry-run")
    code, out, err = rpat(*words, "--json")
    assert (code, err) == (0, "")
    configs = [RunConfig.from_dict(plan["config"]) for plan in json.loads(out)]
    assert label(configs[-1]) == name
    expected = {"kd+swa": ["clean", "pgd-at"], "cure": ["clean"]}.get(name, [])
    assert [label(c) for c in configs[:-1]] == expected
    code, out, err = rpat(*words)
    assert (code, err) == (0, "")
    assert f"{len(configs)} run" in out
    assert list(home.runs.iterdir()) == []


CUTMIX = "needs the hard label"
REFUSED = [
    ("mma", ("--with", "adr"), ("adr", "'mma'", "hard label")),
    ("rpat++", ("--with", "rebat"), ("rebat", "'rpat++'", "averaged network")),
    ("rpat++", ("--rpat",), ("rpat", "'rpat++'", "its own term")),
    ("adr", ("--with", "wa"), ("wa", "'adr'", "averaged network")),
    ("clean", ("--rpat",), ("rpat", "'clean'", "no adversarial image")),
    ("random", ("--rpat",), ("rpat", "'random'", "no adversarial image")),
    ("consistency-at", ("--cutmix",), ("data.cutmix", "'consistency-at'", "two views")),
    ("adr", ("--cutmix",), ("data.cutmix", "'adr'", "hard labels")),
    ("te", ("--cutmix",), ("data.cutmix", "'te'", "memory")),
    ("cure", ("--cutmix",), ("data.cutmix", "'cure'", "prominence")),
    ("mart", ("--with", "adr"), ("adr", "'mart'", "hard label")),
    *(
        (name, ("--cutmix",), ("data.cutmix", f"'{name}'", CUTMIX))
        for name in ("mma", "gairat", "mail-at", "mail-trades", "sovr", "mart")
    ),
]


@pytest.mark.parametrize(
    ("method", "words", "fragments"), REFUSED, ids=lambda v: v if isinstance(v, str) else v[-1]
)
def test_a_combination_that_makes_no_sense_is_refused_with_the_reason(
    home: Home, rpat: Rpat, method: str, words: tuple[str, ...], fragments: tuple[str, ...]
) -> None:
    code, out, err = rpat("run", "--dataset", "digits", "--method", method, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    for fragment in fragments:
        assert fragment in err
    assert list(home.runs.iterdir()) == []


def test_mixing_is_refused_by_set_too_and_taken_by_every_other_method() -> None:
    with pytest.raises(ConfigError, match=r"data\.cutmix on 'mart'"):
        asked("mart", fixed={"data.cutmix": "true"})
    refused = {method for method, words, _ in REFUSED if "--cutmix" in words}
    for name in {*METHODS, *COMBINATIONS} - refused:
        assert asked(name, cutmix=True)[-1].data.cutmix
