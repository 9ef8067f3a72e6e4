"""Runs as if they had been executed, without a process: journals, weights, states."""

from __future__ import annotations

import sqlite3
from typing import Any

from rpat.config import RunConfig
from rpat.jobs import EvalJob
from rpat.journal import Journal
from rpat.rundir import RunDir
from rpat_tui import examine
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import findings, index, queries
from rpat_tui.store.ingest import ingest
from rpat_tui.store.queue import move, name_of

WHO = {"host": "elsewhere", "boot": "b", "pid": 1, "started": "1"}
EVALUATION: dict[str, Any] = {
    "network": "online", "weights": "0" * 64, "split": "test", "n": 20, "of": 20,
    "indices": "0" * 64, "seed": 0, "dtype": "float32", "norm": "linf", "epsilon": 8 / 255,
    "restarts": 1, "note": "", "selected_on": "",
}  # fmt: skip


def execute(
    home: Home,
    db: sqlite3.Connection,
    n: int,
    *,
    epochs: int = 2,
    first: int = 0,
    end: str = "end",
    state: str = "done",
    evaluated: tuple[str, ...] = ("best", "final"),
) -> RunDir:
    """Write an attempt of a training run, from an epoch on, and bring its rows up to date."""
    run = RunDir(home.runs / name_of(n))
    attempt = run.take_attempt()
    log = Journal(attempt.attendant)
    log.write("begin", v=1, attempt=attempt.number, **WHO)
    log = Journal(attempt.journal)
    log.write("begin", v=1, attempt=attempt.number, from_step=first * 5, versions={}, **WHO)
    log.write("notice", what="data", fingerprint="f" * 64)
    for epoch in range(first + 1, first + epochs + 1):
        values = {"train/loss": 1 / epoch, "test/clean_acc": 50.0 + epoch, "test/pgd_acc": 20.0}
        log.write("epoch", step=5 * epoch, epoch=epoch, values=values)
        weights(run, f"epoch-{epoch:04d}-online.pt")
    for name in ("last.pt", "best-online.pt", "final-online.pt"):
        weights(run, name, str(first + epochs))
    step = 5 * (first + epochs)
    epsilon = queries.config_of(db, n)["threat"]["epsilon"]
    for kind in evaluated:
        log.write("eval", checkpoint=kind, step=step, epoch=first + epochs, attack="pgd", steps=20,
                  step_size=2 / 255, clean=60.0, robust=30.0,
                  **EVALUATION | {"epsilon": epsilon})  # fmt: skip
    attempt.output.write_text("it went well\n")
    log.write(end, step=step, word="stop")
    settle(home, db, n, state)
    return run


def weights(run: RunDir, name: str, text: str = "weights") -> None:
    """Put a file where weights lie."""
    run.checkpoints.mkdir(exist_ok=True)
    (run.checkpoints / name).write_text(text * 100)


def settle(home: Home, db: sqlite3.Connection, n: int, state: str, reason: str = "") -> None:
    """Read a run's journals and move it to a state."""
    ingest(db, n, RunDir(home.runs / name_of(n)))
    with database.transaction(db):
        move(db, n, "starting")
        move(db, n, state, reason)
    findings.judge(db, queries.subject_of(db, n))


def evaluate(
    home: Home,
    db: sqlite3.Connection,
    n: int,
    *,
    done: bool = True,
    attack: str = "aa",
    epsilon: float = 0.0,
    tags: tuple[str, ...] = (),
) -> int:
    """Queue an evaluation of a run's weights and carry it out; returns its number."""
    row = queries.runs(db, numbers=[n])[0]
    config = RunConfig.from_dict(queries.config_of(db, n))
    job = examine.of_run(EvalJob, row["uid"], row["id"], config, examine.Ask(), attacks=(attack,))
    (made,) = index.enqueue(home, db, [job], index.Wish(tags=tags), {"queued": 1000.0})
    if done:
        run = RunDir(home.runs / name_of(made))
        attempt = run.take_attempt()
        log = Journal(attempt.journal)
        log.write("begin", v=1, attempt=1, from_step=0, versions={}, **WHO)
        log.write("eval", checkpoint="final", step=0, epoch=2, attack=attack, steps=0,
                  step_size=0.0, clean=60.0, robust=25.0,
                  **EVALUATION | {"epsilon": epsilon or config.threat.epsilon})  # fmt: skip
        log.write("end", step=1)
        run.results.mkdir()
        (run.results / "final-online-aa.npz").write_bytes(b"decisions")
        settle(home, db, made, "done")
    return made


TABLES = (
    "runs", "tags", "dependencies", "attempts", "journals", "events", "evaluations", "studies",
    "findings", "transitions",
)  # fmt: skip


def rows(db: sqlite3.Connection, *, without: tuple[str, ...] = ()) -> dict[str, list[Any]]:
    """Return what the database says of runs, keyed by uid: no numbers, ids nor folders."""
    uids = dict(db.execute("select n, uid from runs").fetchall())
    found: dict[str, list[Any]] = {}
    for table in TABLES:
        cursor = db.execute(f"select * from {table}")
        names = [column[0] for column in cursor.description]
        lines = []
        for values in cursor:
            row = dict(zip(names, values, strict=True))
            key = row.pop("n") if table == "runs" else row.pop("run")
            row.pop("id", None)
            if table == "runs":
                row["config"] = without_folder(row["config"])
            for name in without:
                row.pop(name, None)
            lines.append((uids[key], repr(sorted(row.items()))))
        found[table] = sorted(lines)
    points = db.execute(
        "select r.uid, s.name, p.step, p.epoch, p.value from points p join series s "
        "on s.id = p.series join runs r on r.n = s.run order by 1, 2, 3"
    )
    found["points"] = points.fetchall()
    best = db.execute(
        "select r.uid, s.name, b.step, b.epoch, b.value, b.max_value, b.points from latest_best b "
        "join series s on s.id = b.series join runs r on r.n = s.run order by 1, 2"
    )
    found["latest_best"] = best.fetchall()
    return found


def without_folder(text: str) -> str:
    """Return a config without the folder of its subject, which is another in each home."""
    import json

    config = json.loads(text)
    config.get("subject", {}).pop("folder", None)
    return json.dumps(config, sort_keys=True)
