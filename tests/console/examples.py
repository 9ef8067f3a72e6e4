"""A home that looks like one after some weeks: eight runs done, one failed, one stopped.

The numbers are made up and always the same. Journals are written and read as real ones are.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from typing import Any

from rpat.recipes import RADIUS, recipe
from rpat.rundir import RunDir
from rpat_tui.home import Home
from rpat_tui.store import findings, index, ingest
from rpat_tui.store.queue import name_of

EPOCHS = 20
BEGAN = 1_767_225_600.0  # 2026-01-01
HOUR = 3600.0
ME = {"host": "box", "boot": "b", "pid": 1, "started": "1"}


def example(home: Home, db: sqlite3.Connection) -> list[int]:
    """Fill a home; returns the runs' numbers.

    r0001-r0002 PGD-AT, r0003-r0004 TRADES, r0005-r0008 the same with RPAT, two seeds each;
    r0009 MART, failed; r0010 MART with RPAT, stopped.
    """
    configs = [
        recipe(method, stack, dataset="cifar10", epochs=EPOCHS).override({"seed": seed})
        for stack in ((), ("rpat",))
        for method in ("pgd-at", "trades")
        for seed in (0, 1)
    ]
    configs += [
        recipe("mart", stack, dataset="cifar10", epochs=EPOCHS) for stack in ((), ("rpat",))
    ]
    numbers = index.enqueue(home, db, configs, index.Wish(), {"rpat": "0", "host": "box"})
    for n in numbers:
        run = RunDir(home.runs / name_of(n))
        last = {9: 7, 10: 12}.get(n, EPOCHS)
        lines = [*_journal(n, configs[n - 1].method.NAME, n > 4 and n != 9, last)]
        text = "".join(
            json.dumps({"seq": i, "t": BEGAN + n * HOUR + i, **line}) + "\n"
            for i, line in enumerate(lines, 1)
        )
        run.take_attempt().journal.write_text(text, "utf-8")
        ingest.ingest(db, n, run)
        db.execute(
            "update runs set state = ?, reason = ?, created = ?, started = ?, ended = ? "
            "where n = ?",
            (
                {9: "failed", 10: "stopped"}.get(n, "done"),
                {9: "out of memory", 10: "on request"}.get(n, ""),
                BEGAN, BEGAN + n * HOUR, BEGAN + (n + 1) * HOUR, n,
            ),
        )  # fmt: skip
        db.execute("update transitions set t = ? where run = ?", (BEGAN + n * HOUR, n))
        findings.judge(db, n)
    return numbers


def _journal(n: int, method: str, rpat: bool, last: int) -> Iterator[dict[str, Any]]:
    top = {"pgd-at": 50.2, "trades": 51.1, "mart": 52.3}[method] + 1.3 * rpat + 0.17 * (n % 2)
    yield {"kind": "begin", "v": 1, "attempt": 1, "from_step": 0, **ME, "device_name": "GPU",
           "versions": {"torch": "2", "rpat": "0"}}  # fmt: skip
    yield {"kind": "notice", "what": "data", "fingerprint": "f" * 64}
    for e in range(1, last + 1):
        rise, late = 1 - math.exp(-e / 4), max(e - 15, 0)
        values = {
            "train/loss": round(0.9 + 1.4 * math.exp(-e / 6), 4),
            "train/clean_acc": round(86 * rise, 2),
            "train/adv_acc": round((top + 6) * rise + late, 2),
            "test/clean_acc": round((84 - 1.1 * rpat) * rise + 0.2 * late, 2),
            "test/pgd_acc": round(top * rise - (0.6 - 0.3 * rpat) * late, 2),
            "test/logit_mse": round(0.4 - 0.01 * e - 0.05 * rpat, 4),
            "test/logit_mse_success": round(0.5 - 0.01 * e - 0.05 * rpat, 4),
            "test/logit_mse_failure": round(0.3 - 0.01 * e - 0.05 * rpat, 4),
            "lr": 0.1 if e < 15 else 0.01,
            "time/epoch_s": 150.0,
            "time/eval_s": 30.0,
        }
        yield {"kind": "epoch", "epoch": e, "step": e * 391, "values": values}
    if n == 9:
        yield {"kind": "error", "reason": "out of memory", "message": "CUDA out of memory",
               "traceback": ""}  # fmt: skip
    if n == 10:
        yield {"kind": "stop", "word": "stop", "epoch": last, "step": last * 391}
    if last < EPOCHS:
        return
    for kind, epoch, less in (("best", 15, 0.0), ("final", EPOCHS, 2.1 - 1.2 * rpat)):
        for attack, steps in (("pgd", 20), ("aa", 0)):
            yield {
                "kind": "eval", "checkpoint": kind, "network": "online", "epoch": epoch,
                "step": epoch * 391, "selected_on": "test" if kind == "best" else "",
                "attack": attack, "norm": "linf", "epsilon": RADIUS["linf"], "steps": steps,
                "step_size": 2 / 255, "restarts": 1, "split": "test", "n": 10_000, "of": 10_000,
                "indices": "0" * 64, "seed": 0, "dtype": "float32", "note": "",
                "weights": f"{n:032d}{kind:>32}",
                "clean": round(82.4 - 1.1 * rpat + less / 3 + 0.1 * (n % 2), 2),
                "robust": round(top - 0.9 - less - 3.4 * (attack == "aa"), 2),
            }  # fmt: skip
    yield {"kind": "end", "epoch": EPOCHS, "step": EPOCHS * 391}
