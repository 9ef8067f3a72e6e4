"""What follows a run by itself: the evaluation that it asked for, queued once it is done."""

from __future__ import annotations

import sqlite3

from rpat.config import DATASETS, RunConfig
from rpat.jobs import EvalJob
from rpat_tui import examine
from rpat_tui.home import Home
from rpat_tui.launch import frozen
from rpat_tui.store import queries, queue
from rpat_tui.store.index import Wish, enqueue
from rpat_tui.store.queue import name_of


def queue_evaluations(home: Home, db: sqlite3.Connection) -> list[int]:
    """Queue AutoAttack on the best and final weights of runs that are done and asked for it.

    Whether it has been queued follows from the jobs that exist, so a crash between two looks
    neither loses nor doubles one. Returns the new jobs' numbers.
    """
    made: list[int] = []
    for n, uid, attack, priority in queries.due(db):
        config = RunConfig.from_dict(queries.config_of(db, n))
        job = evaluation(uid, name_of(n), config, attack)
        launcher, resources = queue.place_of(db, n)
        wish = Wish(priority=priority, tags=("automatic",), launcher=launcher, resources=resources)
        provenance = frozen.provenance(home, f"rpat eval {name_of(n)} --attack {attack}")
        made += enqueue(home, db, [job], wish, provenance)
    return made


def evaluation(uid: str, folder: str, config: RunConfig, attack: str) -> EvalJob:
    """Return the evaluation that `eval.attack` asks for at the end of a run."""
    there = config.data.test_n or DATASETS[config.data.name].n_test
    some = config.eval.aa_n if config.eval.aa_n < (there or config.eval.aa_n + 1) else 0
    ask = examine.Ask(fixed={"images.n": some})
    return examine.of_run(EvalJob, uid, folder, config, ask, attacks=(attack,))
