"""Journals into rows, exactly once.

Rows and the new byte offset are committed in one transaction, and (run, attempt, seq) is the key
of a record: reading anything again, anywhere, is harmless. When an attempt begins from step s,
the points of earlier attempts beyond s were trained again and are dropped with it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import index
from pathlib import Path
from types import NoneType
from typing import Any

from rpat import journal
from rpat.journal import Record
from rpat.rundir import Attempt, RunDir
from rpat_tui.store import spans
from rpat_tui.store.db import transaction
from rpat_tui.store.points import Points, drop_after, write

EVALUATION = (
    "step", "checkpoint", "network", "epoch", "weights", "selected_on", "attack", "norm",
    "epsilon", "steps", "step_size", "restarts", "split", "n", "of", "indices", "seed", "dtype",
    "note", "clean", "robust", "seconds",
)  # fmt: skip
"""Keys of an `eval` record that become columns; `of` is the column `of_n`."""

LATER = {
    "start": "", "bn": "eval", "tf32": False, "normalize": "", "differs": "", "batch_size": 0,
    "file": "",
}  # fmt: skip
"""Keys that records of the first release lack, and the values they mean by that."""


def ingest(db: sqlite3.Connection, n: int, run: RunDir) -> int:
    """Read what is new in a run's journals; return the number of new records.

    Journals that are not the ones that were read (the run's files or the database were restored
    from a backup) are read from the start.
    """
    if _are_others(db, n, run):
        with transaction(db):
            _forget(db, n)
    return sum(
        _ingest_file(db, n, attempt, file)
        for attempt in run.attempts()
        for file in ("attendant", "journal", "monitor")
    )


def _ingest_file(db: sqlite3.Connection, n: int, attempt: Attempt, file: str) -> int:
    path = _path(attempt, file)
    key = (n, attempt.number, file)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = 0
    if _position(db, key)[0] == size and _is_known(db, key):
        return 0
    with transaction(db):
        db.execute("insert or ignore into attempts (run, number) values (?, ?)", key[:2])
        db.execute("update runs set attempt = max(attempt, ?) where n = ?", (attempt.number, n))
        offset, seq = _position(db, key)  # again, now that nobody else can write
        batch = _Batch(db, n, attempt.number)
        count = 0
        for record, end in journal.read(path, offset):
            offset = end
            if record["seq"] > seq:
                seq = record["seq"]
                count += 1
                batch.add(file, record)
        batch.flush()
        if count or offset:
            db.execute(
                "insert or replace into journals values (?, ?, ?, ?, ?)", (*key, offset, seq)
            )
    return count


def _are_others(db: sqlite3.Connection, n: int, run: RunDir) -> bool:
    """Return whether a journal does not go on where reading it has ended."""
    for attempt, file, offset, seq in db.execute(
        "select attempt, file, offset, seq from journals where run = ?", (n,)
    ):
        path = _path(Attempt(run.path, attempt), file)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < offset or (size > offset > 0 and _last_seq(path, offset) not in (seq, None)):
            return True
    return False


TAIL = 1 << 16
"""Bytes in which the last line that was read is looked for."""


def _last_seq(path: Path, offset: int) -> int | None:
    """Return the number of the record that ends at an offset; None if it is too long to tell.

    0 where no record ends there.
    """
    with path.open("rb") as stream:
        stream.seek(max(0, offset - TAIL))
        data = stream.read(min(offset, TAIL))
    lines = data.split(b"\n")
    if lines[-1]:
        return 0
    if len(lines) == 2 and offset > TAIL:
        return None
    try:
        return int(json.loads(lines[-2])["seq"])
    except (ValueError, KeyError, TypeError):
        return 0


def _forget(db: sqlite3.Connection, n: int) -> None:
    for table in (
        "attempts", "journals", "events", "series", "evaluations", "studies", "findings", "samples",
    ):  # fmt: skip
        db.execute(f"delete from {table} where run = ?", (n,))
    db.execute(
        "update runs set attempt = 0, epoch = 0, step = 0, steps = 0, stage = '' where n = ?", (n,)
    )


def _path(attempt: Attempt, file: str) -> Path:
    files = {"attendant": attempt.attendant, "journal": attempt.journal, "monitor": attempt.monitor}
    return files[file]


def _is_known(db: sqlite3.Connection, key: tuple[int, int, str]) -> bool:
    row = db.execute("select 1 from attempts where run = ? and number = ?", key[:2]).fetchone()
    return row is not None


def _position(db: sqlite3.Connection, key: tuple[int, int, str]) -> tuple[int, int]:
    row = db.execute(
        "select offset, seq from journals where run = ? and attempt = ? and file = ?", key
    ).fetchone()
    return row or (0, 0)


_DAMAGE = (
    KeyError, TypeError, ValueError, AttributeError, OverflowError,
    sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError,
)  # fmt: skip
"""What a line of JSON causes that is no record of ours; the last four: of a wrong type."""


class _Batch:
    """The new records of one file, on their way into rows."""

    def __init__(self, db: sqlite3.Connection, n: int, attempt: int) -> None:
        self.db, self.n, self.attempt = db, n, attempt
        self.rows: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
        """`seq`, `t`, step, epoch and values of records, by the names of their values."""
        later = db.execute(
            "select min(from_step) from attempts where run = ? and number > ?", (n, attempt)
        ).fetchone()[0]
        self.limit: float = float("inf") if later is None else later
        """Steps beyond this belong to a later attempt."""
        self.reached: tuple[int, int] | None = None
        """The highest step and epoch among the points collected; the run's row waits for them."""
        self.stride: int | None = None
        """Steps of an epoch, where a record tells."""

    def add(self, file: str, record: Record) -> None:
        """Take one record; kinds that nobody queries are kept as events."""
        handler = _HANDLERS[file].get(record["kind"])
        if handler is not None:
            try:
                handler(self, record)
            except _DAMAGE as error:
                # A line of JSON that is no record of ours must not stop the others.
                record = {**record, "kind": "damaged", "was": record["kind"], "why": repr(error)}
        if record["kind"] not in ("log", "epoch", "eval", "study", "sample"):
            self.note(file, record)

    def note(self, file: str, record: Record) -> None:
        """Keep a record as an event."""
        body = {k: v for k, v in record.items() if k not in ("seq", "t", "kind")}
        t = record.get("t")
        self.db.execute(
            "insert or ignore into events values (?, ?, ?, ?, ?, ?, ?)",
            (self.n, self.attempt, file, record["seq"], t if isinstance(t, (int, float)) else 0.0,
             record["kind"], json.dumps(body)),
        )  # fmt: skip

    def set(self, **columns: Any) -> None:
        """Set columns of the attempt's row."""
        sets = ", ".join(f"{name} = ?" for name in columns)
        self.db.execute(
            f"update attempts set {sets} where run = ? and number = ?",
            (*columns.values(), self.n, self.attempt),
        )

    # ------------------------------------------------------------- the trainer's records

    def begin(self, record: Record) -> None:
        """Drop what this attempt trains again, then note who it is."""
        self.note_progress()
        start = record["from_step"]
        if start is not None:  # else it failed before it knew
            start = _step(start)
            _drop_after(self.db, self.n, self.attempt, start, self.limit)
        self.set(
            from_step=start, trainer=json.dumps(_identity(record)), began=record["t"],
            device=record.get("device_name", ""),
        )  # fmt: skip
        self.db.execute(
            "update runs set started = coalesce(started, ?) where n = ?", (record["t"], self.n)
        )

    def log(self, record: Record) -> None:
        """Collect the points of a step or an epoch."""
        step, epoch, values = record["step"], record["epoch"], record["values"]
        if not (0 <= index(step) <= spans.LAST and 0 <= index(epoch) <= spans.LAST):
            raise ValueError(f"no step {step} of an epoch {epoch} can be")
        if step > self.limit:
            return
        row = (record["seq"], record.get("t"), step, epoch, *values.values())
        self.rows[tuple(values)].append(row)
        completed = 0
        if record["kind"] == "epoch":
            completed = epoch
            if epoch and step and not step % epoch:
                self.stride = step // epoch
        before = self.reached or (0, 0)
        self.reached = max(before[0], step), max(before[1], completed)
        if "stage" in record:  # a job that has no epochs
            self.db.execute(
                "update runs set steps = ?, stage = ? where n = ?",
                (record["steps"], record["stage"], self.n),
            )

    def study(self, record: Record) -> None:
        """Keep what a study measured."""
        if record["step"] > self.limit:
            return
        body = {k: v for k, v in record.items() if k not in ("seq", "t", "kind")}
        self.db.execute(
            "insert or ignore into studies values (?, ?, ?, ?, ?, ?, ?, ?)",
            (self.n, self.attempt, record["seq"], record["t"], record["study"],
             record["checkpoint"], record["network"], json.dumps(body)),
        )  # fmt: skip

    def notice(self, record: Record) -> None:
        """Note which images and how many steps the run has."""
        if record.get("what") == "data":
            self.set(ready=record["t"])
            self.db.execute(
                "update runs set data_key = ? where n = ?", (record["fingerprint"], self.n)
            )
        elif record.get("what") == "plan":
            self.db.execute("update runs set steps = ? where n = ?", (record["steps"], self.n))

    def evaluation(self, record: Record) -> None:
        """Keep an evaluation, unless a later attempt trains those weights again."""
        if record.get("step", 0) > self.limit:
            return
        for key in ("clean", "robust"):
            _number(record.get(key))  # a repeated row may be ignored, and so would a wrong type
        row = {("of_n" if key == "of" else key): record.get(key) for key in EVALUATION}
        row |= {"run": self.n, "attempt": self.attempt, "seq": record["seq"], "t": record["t"]}
        row |= {key: record.get(key, default) for key, default in LATER.items()}
        row |= {"evidence": json.dumps(record.get("evidence", {})), "tf32": int(bool(row["tf32"]))}
        row["state"] = record.get("state", "done")
        columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
        self.db.execute(f"insert or ignore into evaluations ({columns}) values ({marks})", row)

    def stop(self, record: Record) -> None:
        """The trainer saved its work and left."""
        self.last_word("stop", record)

    def end(self, record: Record) -> None:
        """The trainer finished."""
        self.last_word("end", record)

    def last_word(self, ending: str, record: Record) -> None:
        """Note the trainer's own end; the attendant, which saw more, outweighs it.

        Either may be read first, and the row must be the same.
        """
        self.db.execute(
            "update attempts set ending = case ending when 'forced' then ending else :ending end, "
            "word = case ending when 'forced' then word else :word end, "
            "ended = coalesce(ended, :t) where run = :run and number = :attempt",
            {"ending": ending, "word": record.get("word", ""), "t": record["t"],
             "run": self.n, "attempt": self.attempt},
        )  # fmt: skip

    def error(self, record: Record) -> None:
        """The trainer failed and said why."""
        self.set(
            error_reason=record.get("reason", "error"), error_message=record.get("message", "")
        )

    # ------------------------------------------------------------- the attendant's records

    def attendant_begin(self, record: Record) -> None:
        """Note who watches the trainer."""
        self.set(attendant=json.dumps(_identity(record)))

    def attendant_started(self, record: Record) -> None:
        """Note who the trainer is before it can say so itself: its imports take seconds."""
        self.set(trainer=json.dumps(_identity(record)))

    def attendant_end(self, record: Record) -> None:
        """Note how the trainer's process ended."""
        if record.get("forced"):
            self.set(ending="forced", word=str(record["forced"]))
        self.set(
            exit_code=record.get("exit_code"), signal=record.get("signal", ""), ended=record["t"]
        )

    # ------------------------------------------------------------- the worker's records

    def sample(self, record: Record) -> None:
        """Keep what a run's card and processes did at a moment, and the peak of its memory."""
        t, device, values = record["t"], record["device"], record["values"]
        self.db.executemany(
            "insert or ignore into samples values (?, ?, ?, ?, ?)",
            [(self.n, device, name, t, value) for name, value in values.items()],
        )
        if values.get("gpu/process_mb") is not None:
            self.db.execute(
                "update runs set memory_mb = max(coalesce(memory_mb, 0), ?) where n = ?",
                (round(values["gpu/process_mb"]), self.n),
            )

    # ------------------------------------------------------------- points

    def note_progress(self) -> None:
        """Raise the run's step and epoch to what was collected."""
        if self.reached is not None:
            self.db.execute(
                "update runs set step = max(step, ?), epoch = max(epoch, ?) where n = ?",
                (*self.reached, self.n),
            )
            self.reached = None

    def flush(self) -> None:
        """Write the collected points and bring `latest_best` up to date."""
        self.note_progress()
        new = [points for names, rows in self.rows.items() for points in self.points(names, rows)]
        if new:
            write(self.db, self.n, new, self.stride)

    def points(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Iterator[Points]:
        """Yield the points of rows; a value that is no number costs only itself."""
        numbers, times, steps, epochs, *columns = zip(*rows, strict=True)
        values = dict(zip(names, columns, strict=True))
        for name in names:
            if set(map(type, values[name])) <= _USUAL:
                continue
            kept = []
            for seq, t, step, epoch, value in zip(
                numbers, times, steps, epochs, values.pop(name), strict=True
            ):
                try:
                    kept.append((step, epoch, _number(value)))
                except (TypeError, OverflowError) as error:
                    why = f"{name}: {error}"
                    self.note("journal", {"seq": seq, "t": t, "kind": "damaged", "why": why})
            if kept:
                some, their, good = zip(*kept, strict=True)
                yield Points(some, their, {name: good})
        if values:
            yield Points(steps, epochs, values)


_Handler = Callable[[_Batch, Record], None]
_TRAINER: dict[str, _Handler] = {
    "begin": _Batch.begin,
    "log": _Batch.log,
    "epoch": _Batch.log,
    "notice": _Batch.notice,
    "eval": _Batch.evaluation,
    "study": _Batch.study,
    "stop": _Batch.stop,
    "end": _Batch.end,
    "error": _Batch.error,
}
_ATTENDANT: dict[str, _Handler] = {
    "begin": _Batch.attendant_begin,
    "started": _Batch.attendant_started,
    "end": _Batch.attendant_end,
}
_HANDLERS: dict[str, dict[str, _Handler]] = {
    "journal": _TRAINER,
    "attendant": _ATTENDANT,
    "monitor": {"sample": _Batch.sample},
}


def _identity(record: Record) -> dict[str, Any]:
    return {key: record[key] for key in ("host", "boot", "pid", "started")}


def _step(value: Any) -> int:
    """Return a step; raises `TypeError` or `ValueError` for what can be none."""
    if not 0 <= index(value) <= spans.LAST:
        raise ValueError(f"{value} is no step")
    return int(value)


_USUAL = {float, NoneType}
"""What the values of a metric are in Python, as long as none is whole or damaged."""


def _number(value: object) -> float | None:
    """Return a value as SQLite keeps it; raises `TypeError` or `OverflowError` for other things."""
    if value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    raise TypeError(f"a number is expected, not {type(value).__name__}")


def _drop_after(db: sqlite3.Connection, n: int, attempt: int, step: int, limit: float) -> None:
    """Forget points, evaluations and studies of earlier attempts beyond a step; count again.

    Points beyond `limit` are a later attempt's and stay.
    """
    drop_after(db, n, step, limit)
    db.execute(
        "delete from evaluations where run = ? and attempt < ? and step > ?", (n, attempt, step)
    )
    db.execute(
        "delete from studies where run = ? and attempt < ? and json_extract(body, '$.step') > ?",
        (n, attempt, step),
    )
    if attempt > 1 and limit == float("inf"):
        db.execute(
            "update runs set step = ?, epoch = coalesce((select max(lb.epoch) from latest_best lb "
            "join series s on s.id = lb.series where s.run = runs.n and s.name = 'train/loss'), 0) "
            "where n = ?",
            (step, n),
        )
