"""Everything that is read from the database, as plain values. Lists never touch raw metrics."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rpat.config import incidental
from rpat.errors import ConfigError
from rpat_tui.store.filters import compile_filter
from rpat_tui.store.queue import BLOCKED, FINAL, OPEN
from rpat_tui.store.rows import Measurement

Json = dict[str, Any]

_LIST = """
select r.n, r.id, r.state, r.reason, r.name, r.kind, r.method, r.rpat, r.lam, r.dataset, r.source,
    r.norm, r.model, r.seed, r.epoch, r.epochs, r.step, r.steps, r.attempt, r.slot, r.device,
    r.priority, r.note, r.sweep, r.archived, r.fingerprint, r.group_key, r.data_key, r.uid,
    r.created, r.started, r.ended,
    (select group_concat(tag, ',') from tags t where t.run = r.n) as tags,
    c.value as clean, p.value as pgd, p.max_value as best_pgd, p.max_epoch as best_epoch
from runs r
left join series sc on sc.run = r.n and sc.name = 'test/clean_acc'
left join latest_best c on c.series = sc.id
left join series sp on sp.run = r.n and sp.name = 'test/pgd_acc'
left join latest_best p on p.series = sp.id
"""

LIST_KEYS = (
    "id", "state", "reason", "name", "kind", "method", "rpat", "lam", "dataset", "source", "norm",
    "model", "seed", "epoch", "epochs", "clean", "pgd", "best_pgd", "best_epoch", "created",
    "started", "ended", "tags", "note", "archived",
)  # fmt: skip
"""Keys of `rpat list --json`, in order."""


def runs(
    db: sqlite3.Connection,
    where: str = "",
    *,
    kind: str = "train",
    archived: bool = False,
    numbers: Sequence[int] | None = None,
) -> list[Json]:
    """Return runs, oldest first; `where` is a filter as people write it."""
    clause, values = compile_filter(where)
    conditions, bound = [f"({clause})"], list(values)
    if numbers is not None:
        conditions.append(f"r.n in ({', '.join('?' for _ in numbers)})")
        bound += numbers
    else:
        conditions.append("r.kind = ?")
        bound.append(kind)
        if not archived and "archived" not in where:
            conditions.append("not r.archived")
    rows = _rows(db, f"{_LIST} where {' and '.join(conditions)} order by r.n", bound)
    for row in rows:
        row["tags"] = sorted(row["tags"].split(",")) if row["tags"] else []
        row["rpat"], row["archived"] = bool(row["rpat"]), bool(row["archived"])
    return rows


def public(row: Mapping[str, Any]) -> Json:
    """Return a run as `rpat list --json` prints it: stable keys, ISO times."""
    out = {key: row[key] for key in LIST_KEYS}
    for key in ("created", "started", "ended"):
        out[key] = iso(row[key])
    return out


def find(db: sqlite3.Connection, words: Sequence[str]) -> list[int]:
    """Return the numbers of runs named by id (`r0193`, `r193`, `193`), uid or unique name.

    Raises `ConfigError` for a word that names no run or several.
    """
    numbers = []
    for word in words:
        digits = word.removeprefix("r")
        if digits.isdigit():
            found = db.execute("select n from runs where n = ?", (int(digits),)).fetchall()
        else:
            found = db.execute(
                "select n from runs where uid = ?1 or name = ?1 limit 2", (word,)
            ).fetchall()
        if not found:
            raise ConfigError(f"run '{word}' does not exist; rpat list shows all runs")
        if len(found) > 1:
            raise ConfigError(f"run '{word}' is the name of several runs; give an id (rpat list)")
        numbers.append(int(found[0][0]))
    return list(dict.fromkeys(numbers))


def metrics(db: sqlite3.Connection, n: int, names: Sequence[str] = ()) -> list[Json]:
    """Return a run's points as `{name, epoch, step, value}`, by name and step."""
    chosen = f"and s.name in ({', '.join('?' for _ in names)})" if names else ""
    return _rows(
        db,
        "select s.name, p.epoch, p.step, p.value from series s join points p on p.series = s.id "
        f"where s.run = ? {chosen} order by s.name, p.step",
        [n, *names],
    )


def latest(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, dict[str, float | None]]:
    """Return the newest value of each metric of each run, from the summary."""
    out: dict[int, dict[str, float | None]] = {n: {} for n in numbers}
    marks = ", ".join("?" for _ in numbers)
    for n, name, value in db.execute(
        "select s.run, s.name, lb.value from series s join latest_best lb on lb.series = s.id "
        f"where s.run in ({marks})",
        list(numbers),
    ):
        out[n][name] = value
    return out


def summaries(db: sqlite3.Connection, n: int) -> list[Json]:
    """Return the summary of each of a run's metrics."""
    return _rows(
        db,
        "select s.name, lb.epoch, lb.value, lb.max_value, lb.max_epoch, lb.min_value, lb.min_epoch,"
        " lb.points from series s join latest_best lb on lb.series = s.id where s.run = ? "
        "order by s.name",
        [n],
    )


def evaluations(db: sqlite3.Connection, n: int) -> list[Json]:
    """Return a run's evaluations, oldest first."""
    return _rows(
        db,
        "select checkpoint, network, epoch, attack, norm, epsilon, steps, step_size, restarts, "
        "split, n, of_n, selected_on, note, state, clean, robust, weights, indices, seed, dtype "
        "from evaluations where run = ? order by id",
        [n],
    )


def attempts(db: sqlite3.Connection, n: int) -> list[Json]:
    """Return a run's attempts, oldest first; processes as identities."""
    rows = _rows(db, "select * from attempts where run = ? order by number", [n])
    for row in rows:
        for who in ("trainer", "attendant"):
            row[who] = json.loads(row[who]) if row[who] else None
    return rows


def transitions(db: sqlite3.Connection, n: int) -> list[Json]:
    """Return every move of a run with its reason and evidence."""
    rows = _rows(
        db, "select old, new, t, reason, evidence from transitions where run = ? order by id", [n]
    )
    for row in rows:
        row["evidence"] = json.loads(row["evidence"])
    return rows


def events(db: sqlite3.Connection, n: int, kinds: Sequence[str] = ()) -> list[Json]:
    """Return what the journals reported beside numbers, oldest first."""
    chosen = f"and kind in ({', '.join('?' for _ in kinds)})" if kinds else ""
    rows = _rows(
        db,
        "select attempt, file, seq, t, kind, body from events "
        f"where run = ? {chosen} order by attempt, t, seq",
        [n, *kinds],
    )
    for row in rows:
        row |= json.loads(row.pop("body"))
    return rows


def open_runs(db: sqlite3.Connection) -> list[Json]:
    """Return the runs that may have a process, with what is known of their start."""
    return _rows(
        db,
        "select r.n, r.id, r.state, r.reason, r.slot, r.attempt, l.host, l.boot, l.pid, l.started, "
        "(select max(t) from transitions t where t.run = r.n and t.new = r.state) as since, "
        "(select json_extract(t.evidence, '$.after_attempt') from transitions t "
        "where t.run = r.n and t.old = 'queued' order by t.id desc limit 1) as after_attempt "
        f"from runs r left join launches l on l.run = r.n where r.state in "
        f"({', '.join('?' for _ in OPEN)})",
        list(OPEN),
    )


def unfinished(db: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    """Return which of the runs will still change by themselves."""
    marks = ", ".join("?" for _ in numbers)
    still = ", ".join("?" for _ in (*FINAL, "paused"))
    rows = db.execute(
        f"select n from runs where n in ({marks}) and state not in ({still}) and not {BLOCKED}",
        [*numbers, *FINAL, "paused"],
    )
    return [n for (n,) in rows]


def usable(db: sqlite3.Connection, fingerprints: Sequence[str]) -> set[str]:
    """Return which configs have a run that is done, or will be."""
    marks = ", ".join("?" for _ in fingerprints)
    rows = db.execute(
        f"select fingerprint from runs where fingerprint in ({marks}) "
        "and state not in ('failed', 'stopped')",
        list(fingerprints),
    )
    return {fingerprint for (fingerprint,) in rows}


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """Return how many runs are in each state."""
    return dict(
        db.execute("select state, count(*) from runs where not archived group by state").fetchall()
    )


def config_of(db: sqlite3.Connection, n: int) -> Json:
    """Return a run's config as it was frozen."""
    row = db.execute("select config from runs where n = ?", (n,)).fetchone()
    config: Json = json.loads(row[0])
    return config


# ----------------------------------------------------------------- tables

_MEASURED = """
select r.n, r.id, r.seed, r.group_key, r.data_key, r.dataset, r.source, r.norm, r.model, r.method,
    r.rpat, r.config, e.checkpoint, e.network, e.attack, e.steps, e.n as images, e.of_n,
    e.selected_on, e.note, e.clean, e.robust
from evaluations e join runs r on r.n = e.run
where e.state = 'done' and e.split = 'test' and not r.archived
    and e.epsilon = json_extract(r.config, '$.threat.epsilon') and e.norm = r.norm
    and (e.attack = 'aa' or (e.attack = 'pgd' and e.steps = 20))
"""


def measurements(
    db: sqlite3.Connection,
    *,
    dataset: str = "",
    norm: str = "",
    model: str = "",
    method: str = "",
    checkpoint: str = "",
) -> list[Measurement]:
    """Return each run's numbers at its checkpoints: the input of every table.

    Of a run with an averaged network, the averaged one is reported.
    """
    filters = {
        "r.dataset": dataset, "r.norm": norm, "r.model": model, "r.method": method,
        "e.checkpoint": checkpoint,
    }  # fmt: skip
    chosen = {column: value for column, value in filters.items() if value}
    clause = "".join(f" and {column} = ?" for column in chosen)
    rows = _rows(db, f"{_MEASURED}{clause} order by r.n, e.id", list(chosen.values()))
    groups: dict[tuple[int, str], list[Json]] = {}
    for row in rows:
        groups.setdefault((row["n"], row["checkpoint"]), []).append(row)
    return [_measurement(found) for found in groups.values()]


def _measurement(rows: list[Json]) -> Measurement:
    network = _reported(rows)
    rows = [row for row in rows if row["network"] == network]
    first = rows[0]
    by_attack = {row["attack"]: row for row in rows}
    pgd, aa = by_attack.get("pgd"), by_attack.get("aa")
    return Measurement(
        run=first["id"],
        seed=first["seed"],
        group=first["group_key"],
        data=first["data_key"],
        dataset=first["dataset"],
        source=first["source"],
        norm=first["norm"],
        model=first["model"],
        method=first["method"],
        rpat=bool(first["rpat"]),
        checkpoint=first["checkpoint"],
        clean=(pgd or aa or first)["clean"],
        pgd20=pgd["robust"] if pgd else None,
        aa=aa["robust"] if aa else None,
        config=_LazyConfig(first["config"]),
        marks=tuple(_marks(rows)),
    )


def _reported(rows: list[Json]) -> str:
    """Return the network whose numbers stand for the run: the average where that is the method.

    ADR's average is a teacher; its published row is the student.
    """
    stacked = json.loads(rows[0]["config"])["wrappers"]
    measured = {row["network"] for row in rows}
    averages = {"wa": "wa", "rebat": "wa", "rpat++": "wa", "swa": "swa"}
    wanted = [averages[name] for name in stacked if name in averages]
    return next((name for name in (*wanted, "online") if name in measured), rows[0]["network"])


def _marks(rows: list[Json]) -> Iterator[str]:
    if any(row["selected_on"] == "test" for row in rows):
        yield "best selected on the test set"
    data = json.loads(rows[0]["config"])["data"]
    if data["train_n"] or data["test_n"]:
        yield "subset of the images"
    for row in rows:
        name = "AA" if row["attack"] == "aa" else "PGD"
        if row["images"] < row["of_n"]:
            yield f"{name} on {row['images']} of {row['of_n']} test images"
        if row["note"]:
            yield f"{name} with {row['note']}"


class _LazyConfig(Mapping[str, object]):
    """A config with dotted keys, parsed when somebody looks: most rows need no variant."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._flat: dict[str, object] | None = None

    def _values(self) -> dict[str, object]:
        if self._flat is None:
            self._flat = {}
            for key, value in json.loads(self._text).items():
                if isinstance(value, dict):
                    self._flat |= {f"{key}.{inner}": v for inner, v in value.items()}
                elif key not in ("seed", "schema"):
                    self._flat[key] = value
            for key in incidental():
                self._flat.pop(key, None)
        return self._flat

    def __getitem__(self, key: str) -> object:
        return self._values()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())


# ----------------------------------------------------------------- helpers


def iso(t: float | None) -> str | None:
    """Return UTC seconds as ISO 8601 with `Z`."""
    if t is None:
        return None
    return datetime.fromtimestamp(t, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _rows(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> list[Json]:
    cursor = db.execute(sql, values)
    names = [column[0] for column in cursor.description]
    assert len(set(names)) == len(names), f"two columns of one name in {names}"
    return [dict(zip(names, row, strict=True)) for row in cursor]
