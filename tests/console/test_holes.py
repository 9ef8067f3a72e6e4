"""Holes: where wanted numbers stand, and exactly the work that closes what is missing."""

from __future__ import annotations

import sqlite3

import pytest

from rpat.config import RunConfig
from rpat.recipes import recipe
from rpat_tui import compose, holes
from rpat_tui.holes import Want, cost, look, queue, work
from rpat_tui.home import Home
from rpat_tui.launch import frozen, worker
from rpat_tui.store import index, queries
from rpat_tui.store.db import transaction
from rpat_tui.store.queue import move
from tests.console.executed import evaluate, execute, settle

BOTH = ("best", "final")


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "provenance", lambda *_: {})
    monkeypatch.setattr(worker, "ensure", lambda _: None)


def config(seed: int = 0, method: str = "pgd-at", **changes: object) -> RunConfig:
    made = recipe(method, dataset="digits", epochs=2).override({"eval.attack": "aa", "seed": seed})
    return made.override(changes)


def want(seed: int = 0, **more: object) -> Want:
    return Want(configs=(config(seed),), **more)  # type: ignore[arg-type]


def train(home: Home, db: sqlite3.Connection, *configs: RunConfig) -> list[int]:
    return index.enqueue(home, db, configs, index.Wish(), {})


def states(db: sqlite3.Connection, *wants: Want) -> list[dict[str, str]]:
    return [dict(standing.states) for standing in look(db, wants)]


def todo(home: Home, db: sqlite3.Connection, *wants: Want) -> list[tuple[str, tuple[str, ...]]]:
    return [(task.do, task.attacks) for task in work(home, look(db, wants))]


def test_without_runs_everything_is_missing_and_everything_is_trained(
    home: Home, db: sqlite3.Connection
) -> None:
    assert states(db, want()) == [{"pgd": "missing", "aa": "missing"}]
    assert [s.states for s in look(None, [want()])] == [{"pgd": "missing", "aa": "missing"}]
    assert todo(home, db, want(), want(1)) == [("train", ("pgd", "aa"))] * 2


def test_a_number_goes_from_missing_to_queued_running_and_proven(
    home: Home, db: sqlite3.Connection
) -> None:
    (n,) = train(home, db, config())
    assert states(db, want(), want(1)) == [
        {"pgd": "queued", "aa": "queued"}, {"pgd": "missing", "aa": "missing"},
    ]  # fmt: skip
    with transaction(db):
        move(db, n, "starting")
        move(db, n, "running")
    assert states(db, want()) == [{"pgd": "running", "aa": "running"}]
    with transaction(db):
        move(db, n, "queued")
    execute(home, db, n)
    assert states(db, want()) == [{"pgd": "proven", "aa": "queued"}], "the worker will queue it"
    evaluate(home, db, n, done=False, tags=("automatic",))
    assert states(db, want()) == [{"pgd": "proven", "aa": "queued"}]
    assert todo(home, db, want()) == []


def test_autoattack_of_the_weights_that_lack_it_is_evaluated_and_nothing_trained(
    home: Home, db: sqlite3.Connection
) -> None:
    (n,) = train(home, db, config(**{"eval.attack": "pgd"}))
    execute(home, db, n)
    assert todo(home, db, want()) == [("evaluate", ("aa",))]
    (task,) = work(home, look(db, [want(checkpoints=BOTH)]))
    made = queue(home, db, [task], index.Wish(), "rpat")
    (job,) = queries.runs(db, kind="eval")
    assert made == {0: job["n"]}
    assert (job["parent"], queries.config_of(db, job["n"])["attacks"]) == ("r0001", ["aa"])
    assert states(db, want()) == [{"pgd": "proven", "aa": "queued"}]
    assert todo(home, db, want()) == []


def test_a_failed_evaluation_is_a_hole_again(home: Home, db: sqlite3.Connection) -> None:
    (n,) = train(home, db, config())
    execute(home, db, n)
    job = evaluate(home, db, n, done=False, tags=("automatic",))
    settle(home, db, job, "failed", "out of memory")
    (standing,) = look(db, [want()])
    assert (standing.states["aa"], standing.why["aa"]) == ("missing", "AA not measured")
    assert todo(home, db, want()) == [("evaluate", ("aa",))]


def test_a_failed_seed_is_trained_anew_and_says_why(home: Home, db: sqlite3.Connection) -> None:
    (n,) = train(home, db, config())
    with transaction(db):
        move(db, n, "starting")
        move(db, n, "failed", "broken")
    (standing,) = look(db, [want()])
    assert set(standing.why.values()) == {"r0001 failed"}
    tasks = work(home, [standing])
    assert queue(home, db, tasks, index.Wish(), "rpat") == {0: 2}
    assert states(db, want()) == [{"pgd": "queued", "aa": "queued"}]


def test_a_run_under_way_is_asked_for_autoattack_and_not_doubled(
    home: Home, db: sqlite3.Connection
) -> None:
    (n,) = train(home, db, config(**{"eval.attack": "pgd"}))
    assert states(db, want()) == [{"pgd": "queued", "aa": "missing"}]
    tasks = work(home, look(db, [want()]))
    assert [task.do for task in tasks] == ["ask"]
    assert queue(home, db, tasks, index.Wish(), "rpat") == {0: n}
    assert states(db, want()) == [{"pgd": "queued", "aa": "queued"}]
    assert len(queries.runs(db)) == 1


def test_a_run_whose_weights_are_gone_is_trained_again(home: Home, db: sqlite3.Connection) -> None:
    (n,) = train(home, db, config(**{"eval.attack": "pgd"}))
    run = execute(home, db, n)
    run.best("online").unlink()
    assert todo(home, db, want()) == [("train", ("pgd", "aa"))]
    run.best("online").write_text("there")
    assert todo(home, db, want()) == [("evaluate", ("aa",))]


def test_what_trains_a_run_without_weights_again_is_queued_once(
    home: Home, db: sqlite3.Connection
) -> None:
    (n,) = train(home, db, config(**{"eval.attack": "pgd"}))
    execute(home, db, n).best("online").unlink()
    tasks = work(home, look(db, [want()]))
    (again,) = queue(home, db, tasks, index.Wish(), "rpat").values()
    assert again != n
    (standing,) = look(db, [want()])
    assert standing.states == {"pgd": "proven", "aa": "queued"}
    assert standing.why == {"aa": f"r{again:04d} trains it again"}
    assert work(home, [standing]) == []

    db.execute(
        "update runs set config = json_set(config, '$.eval.attack', 'none'), wants = '' "
        "where n = ?",
        (again,),
    )
    tasks = work(home, look(db, [want()]))
    assert [(task.do, task.asked and task.asked["n"]) for task in tasks] == [("ask", again)]
    assert queue(home, db, tasks, index.Wish(), "rpat") == {0: again}
    assert todo(home, db, want()) == [], "it was asked for the attack that it did not bring"

    with transaction(db):
        move(db, again, "stopped")
    assert todo(home, db, want()) == [("train", ("pgd", "aa"))], "nothing replaces it any more"


def test_autoattack_on_fewer_images_than_asked_for_is_a_hole(
    home: Home, db: sqlite3.Connection
) -> None:
    (n,) = train(home, db, config())
    execute(home, db, n)
    evaluate(home, db, n, tags=("automatic",))
    kinds: dict[str, object] = {"checkpoints": ("final",)}
    assert states(db, want(**kinds)) == [{"pgd": "proven", "aa": "proven"}]
    db.execute("update evaluations set n = 20, of_n = 360 where attack = 'aa'")
    (standing,) = look(db, [want(**kinds)])
    assert (standing.states["aa"], standing.why["aa"]) == ("missing", "AA on 20 of 360 test images")
    some = Want(configs=(config(**{"eval.aa_n": 20}),), checkpoints=("final",))
    assert states(db, some) == [{"pgd": "proven", "aa": "proven"}]


def test_a_want_without_attacks_is_met_by_the_end_of_the_run(
    home: Home, db: sqlite3.Connection
) -> None:
    (n,) = train(home, db, config(**{"eval.attack": "none"}))
    bare = want(attacks=())
    assert states(db, bare) == [{"training": "queued"}]
    execute(home, db, n, evaluated=())
    assert states(db, bare) == [{"training": "proven"}]


def test_a_run_of_the_same_experiment_on_other_files_answers_as_well(
    home: Home, db: sqlite3.Connection
) -> None:
    other = config(**{"data.val_n": 5})
    execute(home, db, *train(home, db, other))
    both = Want(configs=(config(), other), attacks=("pgd",))
    assert states(db, both) == [{"pgd": "proven"}]


def test_prerequisites_come_first_and_once(home: Home, db: sqlite3.Connection) -> None:
    made = [compose.with_prerequisites(config(seed, "kd+swa")) for seed in (0, 1)]
    wants = [Want(configs=(whole[-1],), before=tuple(whole[:-1])) for whole in made]
    queue(home, db, work(home, look(db, wants)), index.Wish(), "rpat")
    rows = queries.runs(db)
    assert [(r["method"], r["seed"]) for r in rows] == [
        ("clean", 0), ("pgd-at", 0), ("clean", 1), ("pgd-at", 1), ("kd+swa", 0), ("kd+swa", 1),
    ]  # fmt: skip
    assert [w["id"] for w in queries.waits_for(db, rows[4]["n"])] == ["r0001", "r0002"]


def test_a_prerequisite_that_is_itself_wanted_is_queued_before_what_waits_for_it(
    home: Home, db: sqlite3.Connection
) -> None:
    whole = compose.with_prerequisites(config(0, "kd+swa"))
    wants = [Want(configs=(whole[-1],), before=tuple(whole[:-1])), Want(configs=(whole[1],))]
    made = queue(home, db, work(home, look(db, wants)), index.Wish(), "rpat")
    assert made == {0: 3, 1: 2}
    assert len(queries.runs(db)) == 3


def test_two_wants_of_one_experiment_are_one_run(home: Home, db: sqlite3.Connection) -> None:
    made = queue(home, db, work(home, look(db, [want(), want()])), index.Wish(), "rpat")
    assert made == {0: 1, 1: 1}


def test_time_is_told_from_runs_of_the_same_kind_and_unknown_is_said(
    home: Home, db: sqlite3.Connection
) -> None:
    tasks = work(home, look(db, [want(), want(1)]))
    nothing = cost(db, tasks)
    assert (nothing.spans, nothing.total, nothing.unknown) == ((None, None), (0, 0), 2)
    (n,) = train(home, db, config(5))
    execute(home, db, n, epochs=4)
    evaluate(home, db, n)
    (series,) = db.execute("select max(id) + 1 from series").fetchone()
    for i, (name, value) in enumerate([("time/epoch_s", 90.0), ("time/eval_s", 10.0)]):
        db.execute("insert into series (id, run, name) values (?, ?, ?)", (series + i, n, name))
        for step in range(4):
            db.execute(
                "insert into points (series, step, epoch, value) values (?, ?, ?, ?)",
                (series + i, step, step, value),
            )
    db.execute("update evaluations set seconds = 36.0, n = 360 where attack = 'aa'")
    found = cost(db, tasks)
    (low, high), again = found.spans
    assert again == (low, high)
    assert low <= 2 * 100 + 2 * 36 <= high, "2 epochs, and AA on the best and the final weights"
    assert found.total == (2 * low, 2 * high)
    assert found.finish is not None
    assert found.finish[1] == pytest.approx(2 * high)
    twice = cost(db, tasks, slots=2).finish
    assert twice is not None
    assert twice[1] < found.finish[1]
    assert holes.cost(None, tasks).unknown == 2
