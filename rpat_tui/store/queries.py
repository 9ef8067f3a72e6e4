"""Everything that is read from the database, as plain values. Lists never touch raw metrics."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rpat.errors import ConfigError
from rpat_tui.store import spans
from rpat_tui.store.belonging import fact
from rpat_tui.store.measured import measurements as measurements
from rpat_tui.store.queue import BLOCKED, DUE, FINAL, OPEN, ORDER, name_of

if TYPE_CHECKING:
    from rpat_tui.estimate import Workload

Json = dict[str, Any]

_LIST = """
select r.n, r.id, r.state, r.reason, r.name, r.kind, r.method, r.rpat, r.lam, r.dataset, r.source,
    r.norm, r.model, r.seed, r.epoch, r.epochs, r.step, r.steps, r.attempt, r.slot, r.device,
    r.priority, r.note, r.sweep, r.archived, r.fingerprint, r.group_key, r.data_key, r.uid,
    r.created, r.started, r.ended, r.stage, r.imported,
    (select p.id from runs p where p.uid = r.parent) as parent,
    (select group_concat(tag, ',') from tags t where t.run = r.n) as tags,
    c.value as clean, p.value as pgd, p.max_value as best_pgd, p.max_epoch as best_epoch
from runs r
left join series sc on sc.run = r.n and sc.name = 'test/clean_acc'
left join latest_best c on c.series = sc.id
left join series sp on sp.run = r.n and sp.name = 'test/pgd_acc'
left join latest_best p on p.series = sp.id
"""

LISTED = (
    "not {0}.archived and not exists (select 1 from runs a where a.uid = {0}.parent and a.archived)"
)
"""Neither a run that is archived, nor a job about one."""

LIST_KEYS = (
    "id", "state", "reason", "name", "kind", "method", "rpat", "lam", "dataset", "source", "norm",
    "model", "seed", "epoch", "epochs", "clean", "pgd", "best_pgd", "best_epoch", "created",
    "started", "ended", "tags", "note", "archived", "parent", "stage", "imported",
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
    """Return runs, oldest first; `where` is a filter as people write it.

    `kind` is "" for all kinds.
    """
    clause = "1"
    bound: list[Any] = []
    if where.strip():
        from rpat_tui.store.filters import compile_filter

        clause, bound = compile_filter(where)
    conditions = [f"({clause})"]
    if numbers is not None:
        conditions.append(f"r.n in ({', '.join('?' for _ in numbers)})")
        bound += numbers
    else:
        conditions += ["r.kind = ?"] if kind else []
        bound += [kind] if kind else []
        if not archived and "archived" not in where:
            conditions.append(LISTED.format("r"))
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
    out["host"] = row["id"].rpartition(":")[0]
    return out


def find(db: sqlite3.Connection, words: Sequence[str]) -> list[int]:
    """Return the numbers of runs named by id (`r0193`, `r193`, `193`), uid or unique name.

    Where other machines' runs are shown too, theirs are named as in `box:r0193`.

    Raises `ConfigError` for a word that names no run or several.
    """
    numbers = []
    for word in words:
        machine, _, own = word.rpartition(":")
        digits = own.removeprefix("r")
        if digits.isdigit() and machine:
            name = f"{machine}:{name_of(int(digits))}"
            found = db.execute("select n from runs where id = ?", (name,)).fetchall()
        elif digits.isdigit():
            found = db.execute("select n from runs where n = ?", (int(digits),)).fetchall()
        else:
            found = db.execute(
                "select n from runs where uid = ?1 or name = ?1 limit 2", (word,)
            ).fetchall()
        if not found:
            raise ConfigError(_unknown(db, word))
        if len(found) > 1:
            raise ConfigError(f"run '{word}' is the name of several runs; give an id (rpat list)")
        numbers.append(int(found[0][0]))
    return list(dict.fromkeys(numbers))


def _unknown(db: sqlite3.Connection, word: str) -> str:
    machine, _, own = word.rpartition(":")
    if machine and own.removeprefix("r").isdigit():
        return f"run '{word}' does not exist here; rpat list --remote {machine} shows what is there"
    digits = word.removeprefix("r")
    name = name_of(int(digits)) if digits.isdigit() else word
    if fact(db, f"deleted:{name}"):
        return f"run '{word}' is deleted; rpat undelete {name} brings it back"
    return f"run '{word}' does not exist; rpat list shows all runs"


def is_archived(db: sqlite3.Connection, n: int) -> bool:
    """Return whether a run has been taken out of lists and tables."""
    return bool(db.execute("select archived from runs where n = ?", (n,)).fetchone()[0])


def metrics(db: sqlite3.Connection, n: int, names: Sequence[str] = ()) -> list[Json]:
    """Return a run's points as `{name, epoch, step, value}`, by name and step."""
    chosen = f"and s.name in ({', '.join('?' for _ in names)})" if names else ""
    return _rows(
        db,
        f"select s.name, {spans.EPOCH} as epoch, {spans.STEP} as step, k.value from series s "
        f"cross join packed_points k where s.run = ? {chosen} and {spans.after('-1')} "
        "order by s.name, k.at",
        [n, *names],
    )


def points(
    db: sqlite3.Connection, n: int, name: str, after: int = -1
) -> list[tuple[int, int, float | None]]:
    """Return a metric's points after a step as (step, epoch, value), by step."""
    return db.execute(
        f"select {spans.STEP}, {spans.EPOCH}, k.value from series s cross join packed_points k "
        f"where s.run = ?1 and s.name = ?2 and {spans.after('?3')} order by k.at",
        (n, name, after),
    ).fetchall()


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


def samples(
    db: sqlite3.Connection, n: int, name: str | None = None, since: float | None = None
) -> list[Json]:
    """Return what was seen of a run's card and processes: `{device, name, t, value}`, by time."""
    return _rows(
        db,
        "select device, name, t, value from samples where run = ?1 and name = coalesce(?2, name) "
        "and t > coalesce(?3, -1) order by t, name",
        [n, name, since],
    )


def latest_samples(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, dict[str, Json]]:
    """Return each run's samples by name: device, time and newest value, and the peak of all."""
    out: dict[int, dict[str, Json]] = {n: {} for n in numbers}
    marks = ", ".join("?" for _ in numbers)
    for aggregate in ("max(t) as t, value, device", "max(value) as peak"):
        for row in _rows(
            db,
            f"select run, name, {aggregate} from samples where run in ({marks}) "
            "group by run, name order by run, name",
            list(numbers),
        ):
            out[row.pop("run")].setdefault(row.pop("name"), {}).update(row)
    return out


def evaluations(db: sqlite3.Connection, n: int) -> list[Json]:
    """Return the evaluations of a run's weights, oldest first, whichever job made them.

    Of a job that is no training run, those that it made itself.
    """
    rows = _rows(
        db,
        "select e.id, j.id as job, e.checkpoint, e.network, e.epoch, e.attack, e.norm, e.epsilon, "
        "e.steps, e.step_size, e.start, e.restarts, e.split, e.n, e.of_n, e.selected_on, e.note, "
        "e.differs, e.state, e.clean, e.robust, e.weights, e.indices, e.seed, e.dtype, e.bn, "
        "e.tf32, e.normalize, e.batch_size, e.seconds, e.file, e.evidence "
        "from evaluations e join runs j on j.n = e.run "
        "where e.run = ?1 or j.parent = (select uid from runs where n = ?1) order by e.t, e.id",
        [n],
    )
    for row in rows:
        row["tf32"], row["evidence"] = bool(row["tf32"]), json.loads(row["evidence"])
    return rows


def studies(db: sqlite3.Connection, numbers: Sequence[int]) -> list[Json]:
    """Return what studies found about runs, or made as jobs themselves; oldest first."""
    marks = ", ".join("?" for _ in numbers)
    rows = _rows(
        db,
        "select j.id as job, coalesce(p.id, j.id) as subject, j.method, j.rpat, j.lam, s.body "
        "from studies s join runs j on j.n = s.run left join runs p on p.uid = j.parent "
        f"where s.run in ({marks}) or p.n in ({marks}) order by s.t, s.seq",
        [*numbers, *numbers],
    )
    return [{**row, **json.loads(row.pop("body"))} for row in rows]


def findings(db: sqlite3.Connection, n: int) -> list[Json]:
    """Return what the linter found in a run's numbers, the worst first."""
    rows = _rows(
        db,
        "select rule, level, checkpoint, network, text, do, evidence from findings where run = ? "
        "order by instr('error warning note', level), rule, checkpoint, network",
        [n],
    )
    for row in rows:
        row["evidence"] = json.loads(row["evidence"])
    return rows


def outcomes(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Return what evaluation jobs measured, in a few words each."""
    marks = ", ".join("?" for _ in numbers)
    rows = db.execute(
        "select run, group_concat(checkpoint || ' ' || attack || ' ' || round(robust, 1), ', ') "
        f"from (select * from evaluations where run in ({marks}) order by id) group by run",
        list(numbers),
    )
    return dict(rows.fetchall())


def jobs_of(db: sqlite3.Connection, numbers: Sequence[int], *, tag: str = "") -> list[int]:
    """Return the jobs about runs' weights, oldest first; `tag` keeps those that carry it."""
    marks = ", ".join("?" for _ in numbers)
    tagged = "and exists (select 1 from tags t where t.run = runs.n and t.tag = ?) " if tag else ""
    rows = db.execute(
        f"select n from runs where parent in (select uid from runs where n in ({marks})) {tagged}"
        "order by n",
        [*numbers, *([tag] if tag else [])],
    )
    return [n for (n,) in rows]


def subject_of(db: sqlite3.Connection, n: int) -> int:
    """Return the run that a job is about: itself, where it is a training run or about a file."""
    row = db.execute(
        "select p.n from runs j join runs p on p.uid = j.parent where j.n = ?", (n,)
    ).fetchone()
    return int(row[0]) if row else n


def same_job(db: sqlite3.Connection, fingerprint: str, *, keeps: bool = False) -> int | None:
    """Return the newest job of this identity that is done or under way.

    One that began before its run ended may have seen other weights, and does not count; with
    `keeps`, neither does one that keeps no adversarial images.
    """
    row = db.execute(
        "select max(n) from runs j where fingerprint = ? and kind <> 'train' "
        "and state not in ('failed', 'stopped') "
        "and (not ? or json_extract(config, '$.keep')) "
        "and not exists (select 1 from runs p where p.uid = j.parent and j.started is not null "
        "and (p.ended is null or p.ended > j.started))",
        (fingerprint, keeps),
    ).fetchone()
    return row[0] if row else None


def by_fingerprint(db: sqlite3.Connection, fingerprints: Sequence[str]) -> dict[str, Json]:
    """Return for each config the run that stands for it: one that is done, else the newest.

    One that has failed or was stopped stands for it only where there is no other.
    """
    marks = ", ".join("?" for _ in fingerprints)
    rows = _rows(
        db,
        "select n, id, uid, state, reason, fingerprint, epoch, epochs from runs "
        f"where fingerprint in ({marks}) and not archived and imported not like 'log:%' "
        "order by state = 'done', state not in ('failed', 'stopped'), n",
        list(fingerprints),
    )
    return {row["fingerprint"]: row for row in rows}


def imported_by_fingerprint(db: sqlite3.Connection, fingerprints: Sequence[str]) -> dict[str, str]:
    """Return for each config the newest run of it that was read from another program's log."""
    marks = ", ".join("?" for _ in fingerprints)
    rows = db.execute(
        f"select fingerprint, id from runs where fingerprint in ({marks}) "
        "and kind = 'train' and not archived and imported like 'log:%' order by n",
        list(fingerprints),
    )
    return dict(rows.fetchall())


def open_by_fingerprint(db: sqlite3.Connection, fingerprints: Sequence[str]) -> dict[str, Json]:
    """Return for each config the newest run of it that is neither done nor given up."""
    marks = ", ".join("?" for _ in fingerprints)
    rows = _rows(
        db,
        "select n, id, uid, state, reason, fingerprint, epoch, epochs from runs "
        f"where fingerprint in ({marks}) and kind = 'train' and not archived "
        "and imported not like 'log:%' and state not in ('done', 'failed', 'stopped') order by n",
        list(fingerprints),
    )
    return {row["fingerprint"]: row for row in rows}


def twins(db: sqlite3.Connection, fingerprints: Sequence[str]) -> dict[str, Json]:
    """Return for each config a run that has trained it, trains it or will: the best first."""
    states = ("done", "running", "pausing", "starting", "queued")
    marks = ", ".join("?" for _ in fingerprints)
    rows = _rows(
        db,
        "select n, id, state, fingerprint, wants from runs where kind = 'train' "
        f"and fingerprint in ({marks}) and state in ({', '.join('?' for _ in states)}) "
        "and not archived and imported not like 'log:%' order by n desc",
        [*fingerprints, *states],
    )
    rows.sort(key=lambda row: states.index(row["state"]), reverse=True)
    return {row["fingerprint"]: row for row in rows}


def due(db: sqlite3.Connection) -> list[tuple[int, str, str, int]]:
    """Return runs whose evaluation is still to be queued: number, uid, attack, priority."""
    return db.execute(f"select n, uid, wants, priority from runs where {DUE}").fetchall()


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


def moves_for(db: sqlite3.Connection, n: int, cause: str, new: str = "queued") -> int:
    """Return how often a run was moved to a state for a cause."""
    row = db.execute(
        "select count(*) from transitions where run = ? and new = ? "
        "and json_extract(evidence, '$.cause') = ?",
        (n, new, cause),
    ).fetchone()
    return int(row[0])


def stuck(db: sqlite3.Connection) -> list[int]:
    """Return the running runs that the worker has called stuck."""
    rows = db.execute(
        "select n from runs where state = 'running' and reason <> '' and "
        "(select json_extract(t.evidence, '$.cause') from transitions t where t.run = runs.n "
        "order by t.id desc limit 1) = 'stuck'"
    )
    return [n for (n,) in rows]


def waits_for(db: sqlite3.Connection, n: int) -> list[Json]:
    """Return the runs that a run waits for; `id` is None where one is gone."""
    return _rows(
        db,
        "select r.id, r.state, d.checkpoint from dependencies d "
        "left join runs r on r.uid = d.needs where d.run = ? order by r.n",
        [n],
    )


def attendant_end(db: sqlite3.Connection, n: int, attempt: int) -> Json:
    """Return the attendant's last word about an attempt, or nothing."""
    row = db.execute(
        "select body from events where run = ? and attempt = ? and file = 'attendant' "
        "and kind = 'end' order by seq desc limit 1",
        (n, attempt),
    ).fetchone()
    said: Json = json.loads(row[0]) if row else {}
    return said


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


def attendant(db: sqlite3.Connection, n: int, attempt: int, kinds: Sequence[str]) -> list[Json]:
    """Return what the attendant of an attempt wrote, in order, each with its kind."""
    marks = ", ".join("?" for _ in kinds)
    rows = db.execute(
        "select kind, body from events where run = ? and attempt = ? and file = 'attendant' "
        f"and kind in ({marks}) order by seq",
        (n, attempt, *kinds),
    )
    return [{"kind": kind, **json.loads(body)} for kind, body in rows]


def claim(db: sqlite3.Connection, n: int, attempt: int) -> Json:
    """Return what the first record of an attempt says of its job; nothing where there is none."""
    for record in attendant(db, n, attempt, ("begin",)):
        found: Json = record.get("slurm", {})
        return found
    return {}


def claimed(db: sqlite3.Connection, n: int, attempt: int) -> float:
    """Return when an attempt's attendant came to work; 0 where there is none."""
    row = db.execute(
        "select t from events where run = ? and attempt = ? and file = 'attendant' "
        "and kind = 'begin'",
        (n, attempt),
    ).fetchone()
    return float(row[0]) if row else 0.0


def open_runs(db: sqlite3.Connection, *, submitted: bool = False) -> list[Json]:
    """Return the runs that may have a process, with what is known of their start.

    With `submitted` also those that wait in a cluster's queue.
    """
    waiting = "or r.n in (select run from submissions where closed is null) " if submitted else ""
    return _rows(
        db,
        "select r.n, r.id, r.state, r.reason, r.slot, r.attempt, r.epoch, r.launcher, "
        "l.host, l.boot, l.pid, l.started, "
        "(select max(t) from transitions t where t.run = r.n and t.new = r.state) as since, "
        "(select json_extract(t.evidence, '$.after_attempt') from transitions t "
        "where t.run = r.n and t.old = 'queued' order by t.id desc limit 1) as after_attempt "
        f"from runs r left join launches l on l.run = r.n where r.state in "
        f"({', '.join('?' for _ in OPEN)}) {waiting}",
        list(OPEN),
    )


def unfinished(db: sqlite3.Connection, numbers: Sequence[int] | None = None) -> list[int]:
    """Return which of the runs, or of all, will still change by themselves."""
    chosen = "1" if numbers is None else f"n in ({', '.join('?' for _ in numbers)})"
    still = ", ".join("?" for _ in (*FINAL, "paused"))
    rows = db.execute(
        f"select n from runs where {chosen} and ((state not in ({still}) and not {BLOCKED}) "
        f"or {DUE}) order by n",
        [*(numbers or ()), *FINAL, "paused"],
    )
    return [n for (n,) in rows]


def usable(db: sqlite3.Connection, fingerprints: Sequence[str]) -> set[str]:
    """Return which configs have a run that is done, or will be."""
    marks = ", ".join("?" for _ in fingerprints)
    rows = db.execute(
        f"select fingerprint from runs where fingerprint in ({marks}) "
        "and state not in ('failed', 'stopped') and imported not like 'log:%'",
        list(fingerprints),
    )
    return {fingerprint for (fingerprint,) in rows}


def obstacles(db: sqlite3.Connection) -> dict[int, str]:
    """Return why queued runs cannot be taken now, whatever is free; nothing for those that can."""
    found = {n: "held back" for (n,) in db.execute(
        "select n from runs where state = 'queued' and held"
    )}  # fmt: skip
    for n, name, state in db.execute(
        "select d.run, coalesce(p.id, 'a run that is gone'), coalesce(p.state, 'gone') "
        "from dependencies d join runs r on r.n = d.run left join runs p on p.uid = d.needs "
        "where r.state = 'queued' and coalesce(p.state, '') <> 'done'"
    ):
        found[n] = f"waits for {name} ({state})"
    return found


def workload(db: sqlite3.Connection, slots: int = 1) -> Workload:
    """Return what is open, in the order in which it starts, with the paces that are known."""
    from rpat_tui.estimate import Load, Workload

    rows = _rows(
        db,
        "select n, state, kind, model, dataset, method, rpat, epochs, epoch, step, steps, held, "
        f"{BLOCKED} as blocked from runs where state in ('queued', {_quoted(OPEN)}) and {HERE} "
        f"order by state = 'queued', {ORDER}",
        [],
    )
    own = _paces(db, [row["n"] for row in rows])
    known: dict[tuple[Any, ...], list[float]] = {}
    loads = []
    for row in rows:
        key = (row["model"], row["dataset"], row["method"], row["rpat"])
        paces = own.get(row["n"], [])
        if len(paces) < 2 and row["kind"] == "train":
            if key not in known:
                known[key] = usual_paces(db, *key)
            paces = [*known[key], *paces]
        done = row["step"] / row["steps"] * row["epochs"] if row["steps"] else row["epoch"]
        loads.append(
            Load(
                n=row["n"],
                running=row["state"] != "queued",
                epochs_left=row["epochs"] - max(done, row["epoch"]),
                paces=paces,
                blocked=bool(row["blocked"] or row["held"]),
            )
        )
    return Workload(loads=loads, slots=slots)


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def _paces(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, list[float]]:
    """Return each run's seconds an epoch, training and evaluation together, newest last."""
    out: dict[int, list[float]] = {}
    marks = ", ".join("?" for _ in numbers)
    for n, seconds in db.execute(
        "select s.run, sum(p.value) from series s join points p on p.series = s.id "
        f"where s.run in ({marks}) and s.name in ('time/epoch_s', 'time/eval_s') "
        "group by s.run, p.step having count(*) = 2 order by s.run, p.step",
        list(numbers),
    ):
        out.setdefault(n, []).append(seconds)
    return out


def usual_paces(
    db: sqlite3.Connection, model: str, dataset: str, method: str, rpat: int
) -> list[float]:
    """Return the newest epochs of the newest runs of the same network, data and method."""
    rows = db.execute(
        "select n from runs where model = ? and dataset = ? and method = ? and rpat = ? "
        "and kind = 'train' and epoch > 0 order by n desc limit 5",
        (model, dataset, method, rpat),
    ).fetchall()
    paces = _paces(db, [n for (n,) in rows]) if rows else {}
    return [pace for found in paces.values() for pace in found[-5:]]


HERE = "instr(id, ':') = 0"
"""No run of another machine: those are called box:r0012."""


def counts(db: sqlite3.Connection, *, here: bool = False) -> dict[str, int]:
    """Return how many runs are in each state; `here` leaves other machines' out."""
    own = f"and {HERE}" if here else ""
    return dict(
        db.execute(
            f"select state, count(*) from runs r where {LISTED.format('r')} {own} group by state"
        ).fetchall()
    )


def config_of(db: sqlite3.Connection, n: int) -> Json:
    """Return a run's config as it was frozen."""
    row = db.execute("select config from runs where n = ?", (n,)).fetchone()
    config: Json = json.loads(row[0])
    return config


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
