"""What a table reads of a run: which network, which evaluations."""

from __future__ import annotations

import sqlite3

import pytest

from rpat.recipes import recipe
from rpat_tui.home import Home
from rpat_tui.store import index, queries


def evaluate(
    db: sqlite3.Connection, run: int, network: str, clean: float, **changes: object
) -> None:
    seq = db.execute("select count(*) from evaluations").fetchone()[0]
    row = {
        "run": run, "attempt": 1, "seq": seq,
        "t": 0.0, "step": 1, "checkpoint": "best", "network": network, "epoch": 1, "weights": "w",
        "selected_on": "test", "attack": "pgd", "norm": "linf", "epsilon": 0.1, "steps": 20,
        "step_size": 0.025, "restarts": 1, "split": "test", "n": 360, "of_n": 360, "indices": "i",
        "seed": 0, "dtype": "float32", "note": "", "state": "done", "clean": clean,
        "robust": clean / 2,
    } | changes  # fmt: skip
    columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    db.execute(f"insert into evaluations ({columns}) values ({marks})", row)


@pytest.mark.parametrize(
    ("method", "networks", "reported"),
    [
        ("pgd-at", ("online",), "online"),
        ("wa", ("online", "wa"), "wa"),
        ("rpat++", ("online", "wa"), "wa"),
        ("kd+swa", ("online", "swa"), "swa"),
        ("adr", ("online", "wa"), "online"),
    ],
)
def test_the_average_is_reported_where_it_is_the_method_and_adrs_student_is(
    home: Home, db: sqlite3.Connection, method: str, networks: tuple[str, ...], reported: str
) -> None:
    (n,) = index.enqueue(home, db, [recipe(method, dataset="digits")], index.Wish(), {})
    numbers = {"online": 10.0, "wa": 20.0, "swa": 30.0}
    for network in networks:
        evaluate(db, n, network, numbers[network])
    (found,) = queries.measurements(db)
    assert (found.method, found.clean, found.pgd20) == (
        method, numbers[reported], numbers[reported] / 2,
    )  # fmt: skip


def test_another_radius_or_another_number_of_steps_is_no_row_of_the_table(
    home: Home, db: sqlite3.Connection
) -> None:
    (n,) = index.enqueue(home, db, [recipe("pgd-at", dataset="digits")], index.Wish(), {})
    evaluate(db, n, "online", 90.0)
    evaluate(db, n, "online", 80.0, epsilon=0.2)
    evaluate(db, n, "online", 70.0, steps=100)
    evaluate(db, n, "online", 90.0, attack="aa", steps=0, n=20, robust=40.0)
    (found,) = queries.measurements(db)
    assert (found.clean, found.pgd20, found.aa) == (90.0, 45.0, 40.0)
    assert "AA on 20 of 360 test images" in found.marks
