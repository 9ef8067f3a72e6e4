"""Each run's numbers at its checkpoints: the input of every table.

What a table says of a run follows from its evaluations and, under another rule for the best
epoch, from the numbers of all its epochs. That is worked out once and kept in `reported`. Triggers
put a run on the list `stale` when something has changed that it follows from; `keep` works that
list off, and until then readers work out the runs on it for themselves.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from rpat_tui import selection
from rpat_tui.selection import Rule
from rpat_tui.store import spans
from rpat_tui.store.db import hurried, snapshot, transaction
from rpat_tui.store.flat import FlatConfig, flatten
from rpat_tui.store.rows import Measurement

Json = dict[str, Any]

CHECKPOINTS = ("best", "final")
RULES = tuple(
    f"{name}{split}" for name in ("pgd", "mean", "nrr", "last", "lex:0.5") for split in ("", "@val")
)
"""Rules for the best epoch whose outcome is kept.

`lex` has a tolerance that may be anything: beside the usual one the epochs are kept that it may
choose (`fronts`), each with what it is chosen from on.
"""
USUAL_LEX = "m014_the_usual_lex"
"""The migration since which `lex:0.5` is among them."""
AT_ONCE = 50
"""Runs whose numbers are kept in one transaction."""


class _Report(NamedTuple):
    """What is reported of a run: `asked` is a checkpoint, or a rule's name without `@test`."""

    run: int
    asked: str
    clean: float | None
    pgd20: float | None
    aa: float | None
    marks: tuple[str, ...]


def measurements(
    db: sqlite3.Connection,
    *,
    dataset: str = "",
    norm: str = "",
    model: str = "",
    method: str = "",
    checkpoint: str = "",
    select: str = "",
    numbers: Sequence[int] | None = None,
    groups: Sequence[str] | None = None,
    configs: bool = True,
) -> list[Measurement]:
    """Return each run's numbers at its checkpoints, by run and checkpoint.

    Of a run with an averaged network, the averaged one is reported. `select` is a rule for the
    best epoch (see `selection`) in the place of the one that chose while training; `numbers` and
    `groups` keep some runs; without `configs`, they are left empty.
    """
    filters = {"p.dataset": dataset, "p.norm": norm, "p.model": model, "p.method": method}
    chosen = {column: value for column, value in filters.items() if value}
    clause = "".join(f" and {column} = ?" for column in chosen)
    if numbers is not None:
        clause += f" and p.n in ({', '.join(str(int(n)) for n in numbers)})"
    if groups is not None:
        clause += f" and {_in_groups(groups)}"
    rule = selection.rule(select) if select else None
    made: list[Measurement] = []
    with snapshot(db):
        question = _Question(db, clause, list(chosen.values()), configs)
        for kind in (checkpoint,) if checkpoint else CHECKPOINTS:
            made += question.at(kind, rule if kind == "best" else None)
    return made


def by_every_rule(
    db: sqlite3.Connection, groups: Sequence[str]
) -> Iterator[tuple[str, list[Measurement]]]:
    """Yield the numbers of groups at each checkpoint and by each rule whose outcome is kept.

    A rule's remark on what it chose is `CHOSEN`, since it depends on how the rule is written.
    """
    question = _Question(db, f" and {_in_groups(groups)}", [])
    for kind in CHECKPOINTS:
        yield kind, question.at(kind, None)
    for name in RULES:
        yield name, question.at("best", selection.rule(name), chosen=CHOSEN)


def kept_as(checkpoint: str, select: str) -> str:
    """Return under which name the outcome at a checkpoint is kept; '' where it is not."""
    asked = _asked(selection.rule(select)) if select and checkpoint == "best" else checkpoint
    return asked if asked in (*CHECKPOINTS, *RULES) else ""


def keeps(db: sqlite3.Connection, asked: str) -> bool:
    """Return whether a database keeps what is kept under a name; an older one has no `lex`."""
    if not asked.startswith("lex"):
        return True
    found = db.execute(
        "select 1 from _sqlite_migrations where migration_set = 'rpat' and name = ?", (USUAL_LEX,)
    )
    return found.fetchone() is not None


def chosen(select: str) -> str:
    """Return the remark on what a rule chose."""
    return _chosen(selection.rule(select)) if select else ""


def _in_groups(groups: Sequence[str]) -> str:
    """Return the condition that keeps groups, which are digests in hexadecimal."""
    return f"p.group_key in ({', '.join(_quoted(group) for group in groups)})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Question:
    """Runs that are asked about, by a clause over `runs p`, and what all their rows share."""

    def __init__(
        self, db: sqlite3.Connection, clause: str, bound: list[str], configs: bool = True
    ) -> None:
        self.db, self.bound = db, bound
        self.clause, self.narrow = f"p.kind = 'train' and p.archived = 0{clause}", bool(clause)
        keeps = "select 1 from sqlite_master where name = 'reported'"
        self.keeps = db.execute(keeps).fetchone() is not None  # a read-only home may be older
        keeps = "select 1 from sqlite_master where name = 'fronts'"
        self.keeps_fronts = db.execute(keeps).fetchone() is not None
        self.suspicious = _suspicions(db)
        self.configs = self._configs() if configs else None

    def at(self, checkpoint: str, rule: Rule | None, chosen: str = "") -> list[Measurement]:
        """Return the numbers at a checkpoint, of the best epoch by a rule if there is one.

        `chosen` is the remark on what the rule chose in the place of the usual one.
        """
        asked = _asked(rule) if rule else checkpoint
        chosen = chosen or (_chosen(rule) if rule else "")
        if self.keeps and asked in (*CHECKPOINTS, *RULES) and keeps(self.db, asked):
            rows = self._kept(asked)
        elif rule and asked.startswith("lex") and self.keeps_fronts:
            rows = self._chosen_from_fronts(rule)
        else:
            return self._made(self._fresh(asked, rule), checkpoint, chosen)
        if self.db.execute("select 1 from stale limit 1").fetchone():
            rows = [*rows, *self._fresh(asked, rule, "p.n in (select run from stale)")]
            rows.sort(key=lambda row: row[0])
        return self._made(rows, checkpoint, chosen)

    def _kept(self, asked: str) -> Iterable[tuple[Any, ...]]:
        return self.db.execute(
            f"select {_RUN}, k.clean, k.pgd20, k.aa, k.marks "
            "from runs p cross join reported k on k.run = p.n and k.asked = ? "
            f"where {self.clause} and p.n not in (select run from stale) order by p.n",
            [asked, *self.bound],
        )

    def _chosen_from_fronts(self, rule: Rule) -> Iterable[tuple[Any, ...]]:
        """Return rows like the kept ones at the epochs that `lex` chooses.

        That is the epoch of a front with the lowest PGD accuracy within the tolerance.
        """
        rows = self.db.execute(
            f"select {_RUN}, f.clean, f.pgd20, f.aa, f.marks, f.epoch, f.steps "
            "from runs p cross join fronts f on f.split = ?1 and f.run = p.n and f.pgd = ("
            "select min(pgd) from fronts where split = ?1 and run = p.n and pgd >= ("
            "select max(pgd) from fronts where split = ?1 and run = p.n) - ?2) "
            f"where f.found and {self.clause} and p.n not in (select run from stale) order by p.n",
            [rule.split, rule.tolerance, *self.bound],
        )
        for *row, marks, epoch, steps in rows:
            if steps is not None:
                why = _not_kept(row[1], epoch, steps)
                marks = f"{marks}\n{why}" if marks else why
            yield (*row, marks)

    def _fresh(self, asked: str, rule: Rule | None, which: str = "1") -> list[tuple[Any, ...]]:
        """Work out runs whose numbers are not kept, as rows like the kept ones."""
        found = {r.run: r for r in _reports(self.db, f"{self.clause} and {which}", self.bound,
                                            [rule] if rule else [], asked)}  # fmt: skip
        rows = self.db.execute(
            f"select {_RUN} from runs p where {self.clause} and {which} order by p.n", self.bound
        )
        return [
            (*row, r.clean, r.pgd20, r.aa, "\n".join(r.marks))
            for row in rows
            if (r := found.get(row[0])) is not None
        ]

    def _made(
        self, rows: Iterable[tuple[Any, ...]], checkpoint: str, chosen: str
    ) -> list[Measurement]:
        remarks: dict[str, tuple[str, ...]] = {}
        made = []
        for (
            n, run, seed, group, data, dataset, source, norm, model, method, rpat,
            clean, pgd20, aa, text,
        ) in rows:  # fmt: skip
            marks = remarks.get(text)
            if marks is None:
                marks = remarks[text] = _remarks(text, chosen)
            if n in self.suspicious:
                marks = (*marks, self.suspicious[n])
            config = self._config(group, n)
            made.append(
                Measurement(
                    run, seed, group, dataset, norm, model, method, rpat == 1, checkpoint, source,
                    data, clean, pgd20, aa, config, marks,
                )
            )  # fmt: skip
        return made

    def _configs(self) -> dict[str, FlatConfig]:
        if not self.keeps:
            return {}
        some = f"where group_key in (select p.group_key from runs p where {self.clause})"
        rows = self.db.execute(
            f"select group_key, lines from flat_configs {some if self.narrow else ''}",
            self.bound if self.narrow else [],
        )
        return {group: FlatConfig(lines) for group, lines in rows}

    def _config(self, group: str, n: int) -> Mapping[str, object]:
        """Return the config of a group and its run; empty where none is asked for."""
        if self.configs is None:
            return _NO_CONFIG
        if group not in self.configs:
            row = self.db.execute("select config from runs where n = ?", (n,)).fetchone()
            self.configs[group] = FlatConfig(flatten(row[0]))
        return self.configs[group]


_NO_CONFIG: Mapping[str, object] = MappingProxyType({})


_RUN = (
    "p.n, p.id, p.seed, p.group_key, p.data_key, p.dataset, p.source, p.norm, p.model, p.method, "
    "p.rpat"
)
IMPORTED = "imported"
CHOSEN = "\x1a"
"""Stands, where rows of tables are kept, for the remark on what a rule chose."""


def _asked(rule: Rule) -> str:
    if rule.name.startswith("lex"):
        return f"lex:{rule.tolerance:g}" + "@val" * (rule.split == "val")
    return rule.name.removesuffix("@test")


def _chosen(rule: Rule) -> str:
    """Return the remark on what a rule chose."""
    looks = rule.split == "test" and rule.score is not selection.SCORES["last"]
    return f"best by {rule.name}" + ", selected on the test set" * looks


def _remarks(text: str, chosen: str) -> tuple[str, ...]:
    """Return kept remarks, and what a rule chose before those on the numbers."""
    marks = text.split("\n") if text else []
    if chosen:
        marks.insert(marks[:1] == [IMPORTED], chosen)
    return tuple(marks)


# ----------------------------------------------------------------- what is kept


def keep(db: sqlite3.Connection, *, until: float = float("inf")) -> bool:
    """Work off the list of runs whose numbers are not kept; False where some are left.

    `until` is a moment of the monotonic clock. Nobody waits for this: where the database is busy
    or the disk full, the list stays as it is.
    """
    try:
        with hurried(db):
            while db.execute("select 1 from stale limit 1").fetchone():
                if time.monotonic() > until:
                    return False
                with transaction(db):
                    _keep_some(db)
    except sqlite3.OperationalError:
        return False
    return True


def _keep_some(db: sqlite3.Connection) -> None:
    """Keep the numbers of the first runs on the list; the caller holds a transaction."""
    numbers = [n for (n,) in db.execute(f"select run from stale limit {AT_ONCE}")]
    some = f"p.n in ({', '.join(map(str, numbers))})"
    rules = [selection.rule(name) for name in RULES]
    _let_pool_anew(db, some)
    fronts: list[tuple[Any, ...]] = []
    made = [
        (r.run, r.asked, r.clean, r.pgd20, r.aa, "\n".join(r.marks))
        for r in _reports(db, f"p.kind = 'train' and {some}", [], rules, fronts=fronts)
    ]
    for table in ("reported", "fronts"):
        db.executemany(f"delete from {table} where run = ?", [(n,) for n in numbers])
    db.executemany("insert into fronts values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", fronts)
    db.executemany("insert into reported values (?, ?, ?, ?, ?, ?)", made)
    _let_pool_anew(db, some)
    _keep_configs(db, some)
    db.executemany("delete from stale where run = ?", [(n,) for n in numbers])


def _let_pool_anew(db: sqlite3.Connection, some: str) -> None:
    """Put the groups of runs that have numbers on the list of those that are pooled anew."""
    db.execute(
        "insert or replace into stale_pools (group_key) select p.group_key from runs p "
        f"where {some} and p.n in (select run from reported)"
    )


def _keep_configs(db: sqlite3.Connection, some: str) -> None:
    """Keep the config of each group that has numbers."""
    rows = db.execute(
        f"select p.group_key, p.config from runs p where {some} "
        "and p.n in (select run from reported) "
        "and p.group_key not in (select group_key from flat_configs) group by p.group_key"
    )
    db.executemany(
        "insert into flat_configs values (?, ?)",
        [(group, flatten(config)) for group, config in rows.fetchall()],
    )


# ----------------------------------------------------------------- working it out

_MEASURED = """
select p.n, p.config, p.imported,
    json_extract(p.config, '$.data.train_n') or json_extract(p.config, '$.data.test_n') as subset,
    e.checkpoint, e.network, e.epoch, e.weights, e.run = p.n as own,
    e.attack, e.n as images, e.of_n, e.selected_on, e.note, e.clean, e.robust
from runs p
cross join runs j on j.n in (select p.n union all select c.n from runs c where c.parent = p.uid)
cross join evaluations e on e.run = j.n
where e.state = 'done' and e.split = 'test'
    and e.epsilon = json_extract(p.config, '$.threat.epsilon') and e.norm = p.norm
    and e.differs = '' and e.dtype = 'float32' and e.bn = 'eval' and not e.tf32
    and e.restarts = 1 and (e.attack = 'aa' or (e.attack = 'pgd' and e.steps = 20))
"""


def _reports(
    db: sqlite3.Connection,
    clause: str,
    bound: Sequence[str],
    rules: Sequence[Rule],
    only: str = "",
    fronts: list[tuple[Any, ...]] | None = None,
) -> Iterator[_Report]:
    """Return what is reported of the runs of a clause, at both checkpoints and by each rule.

    `only` is the one that is asked for, '' all; `fronts` takes the rows of the table of that name.
    """
    rows = _rows(db, f"{_MEASURED} and {clause} order by p.n, e.t, e.id", bound)
    groups: dict[tuple[int, str], list[Json]] = {}
    for row in rows:
        groups.setdefault((row["n"], row["checkpoint"]), []).append(row)
    for (n, kind), found in groups.items():
        if kind in CHECKPOINTS and only in ("", kind):
            yield _report(n, kind, _of_the_run(found))
    if rules:
        yield from _selected(db, rules, clause, bound, rows, fronts)


def _of_the_run(rows: list[Json]) -> list[Json]:
    """Return the rows of the network that stands for the run, and of its weights of today."""
    measured = {row["network"] for row in rows}
    if len(measured) > 1:
        from rpat.recipes import reported_network

        network = reported_network(json.loads(rows[0]["config"])["wrappers"])
        if network not in measured:
            network = "online" if "online" in measured else rows[0]["network"]
        rows = [row for row in rows if row["network"] == network]
    told = [row for row in rows if row["own"]] or rows  # the run's own word, else any
    return [row for row in rows if row["weights"] == told[-1]["weights"]]


def _report(n: int, asked: str, rows: list[Json]) -> _Report:
    first = rows[0]
    by_attack: dict[str, Json] = {}
    for row in sorted(rows, key=lambda row: row["images"]):  # the most images, then the newest
        by_attack[row["attack"]] = row
    pgd, aa = by_attack.get("pgd"), by_attack.get("aa")
    return _Report(
        n,
        asked,
        clean=(pgd or aa or first)["clean"],
        pgd20=pgd["robust"] if pgd else None,
        aa=aa["robust"] if aa else None,
        marks=(*_origin(first), *_marks(list(by_attack.values()))),
    )


def _selected(
    db: sqlite3.Connection,
    rules: Sequence[Rule],
    clause: str,
    bound: Sequence[str],
    rows: list[Json],
    fronts: list[tuple[Any, ...]] | None,
) -> Iterator[_Report]:
    """Return each finished run at the epoch that a rule calls best.

    Where that epoch's weights were kept and evaluated, with what the evaluations say; otherwise
    with the epoch's own numbers, and the reason.
    """
    from rpat.recipes import reported_network

    at: dict[tuple[int, str, int], list[Json]] = {}
    for row in rows:
        at.setdefault((row["n"], row["network"], row["epoch"]), []).append(row)
    runs = _rows(
        db,
        "select p.n, p.id, p.config, p.imported from runs p "
        f"where p.epoch > 0 and p.epoch >= p.epochs and {clause} order by p.n",
        bound,
    )
    for run in runs:
        config = json.loads(run["config"])
        network = reported_network(config["wrappers"])
        numbers = {s: epoch_numbers(db, run["n"], network, s) for s in ("test", "val")}
        tested = {e["epoch"]: e for e in numbers["test"]}
        kept = {e: at[key] for e in tested.keys() | {e["epoch"] for e in numbers["val"]}
                if (key := (run["n"], network, e)) in at}  # fmt: skip
        of_epoch = partial(_at_epoch, run, config["eval"]["selection_steps"], kept, tested)
        for rule in rules:
            best = selection.choose(numbers[rule.split], rule)
            known = None if best is None else of_epoch(best)
            if best is None or known is None:
                continue
            report, steps = known
            why = () if steps is None else (_not_kept(run["id"], best, steps),)
            yield report._replace(asked=_asked(rule), marks=(*report.marks, *why))
        if fronts is not None:
            for split in numbers:
                fronts += _front(run["n"], split, numbers[split], of_epoch)


_AtEpoch = tuple[_Report, int | None] | None
"""What is reported at an epoch, and where its weights were not kept the steps of its attack."""


def _at_epoch(
    run: Json,
    steps: int,
    kept: Mapping[int, list[Json]],
    tested: Mapping[int, Json],
    epoch: int,
) -> _AtEpoch:
    if found := kept.get(epoch):
        known = _report(run["n"], "", _of_the_run(found))
        marks = tuple(m for m in known.marks if not m.startswith("best selected"))
        return known._replace(marks=marks), None
    if epoch not in tested:
        return None
    clean, pgd = tested[epoch]["clean"], tested[epoch]["pgd"]
    return _Report(run["n"], "", clean, pgd, None, tuple(_origin(run))), steps


def _not_kept(run: str, epoch: int, steps: int) -> str:
    return f"{run}: weights of epoch {epoch} were not kept: PGD-{steps} of that epoch, no AA"


def _front(
    n: int,
    split: str,
    numbers: Sequence[selection.Epoch],
    of_epoch: Callable[[int], _AtEpoch],
) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each epoch that `lex` may choose, with the PGD accuracy it is chosen from."""
    for pgd, epoch in selection.front(numbers):
        known = of_epoch(epoch)
        if known is None:
            numbers_of: tuple[Any, ...] = (0, None, None, None, None, "")
        else:
            report, steps = known
            marks = "\n".join(report.marks)
            numbers_of = (1, report.clean, report.pgd20, report.aa, steps, marks)
        yield (split, n, pgd, epoch, *numbers_of)


def epoch_numbers(db: sqlite3.Connection, n: int, network: str, split: str) -> list[Json]:
    """Return `epoch`, `clean` and `pgd` of each epoch of a network on a split."""
    prefix = "" if network == "online" else f"{network}/"
    return _rows(
        db,
        f"select {spans.EPOCH} as epoch, k.value as clean, p.value as pgd "
        f"from series s cross join packed_points k on {spans.after('-1')} "
        "join series sp on sp.run = s.run and sp.name = ?3 "
        f"join packed_points p on p.at = k.at + ((sp.id - s.id) << {spans.BITS}) "
        "where s.run = ?1 and s.name = ?2 and k.value is not null and p.value is not null "
        "order by k.at",
        [n, f"{prefix}{split}/clean_acc", f"{prefix}{split}/pgd_acc"],
    )


def _suspicions(db: sqlite3.Connection) -> Mapping[int, str]:
    """Return a remark for each run in whose numbers the linter found an error or a warning."""
    rows = db.execute(
        "select r.n, r.id, group_concat(distinct f.rule) "
        "from findings f join runs r on r.n = f.run where f.level <> 'note' group by r.n"
    )
    return {n: f"check {name} (rpat show): {rules.replace(',', ', ')}" for n, name, rules in rows}


def _origin(run: Json) -> list[str]:
    return [IMPORTED] if run["imported"].startswith("log:") else []


def _marks(rows: list[Json]) -> Iterator[str]:
    if any(row["selected_on"] == "test" for row in rows):
        yield "best selected on the test set"
    if rows[0]["subset"]:
        yield "subset of the images"
    for row in rows:
        name = "AA" if row["attack"] == "aa" else "PGD"
        if row["images"] < row["of_n"]:
            yield f"{name} on {row['images']} of {row['of_n']} test images"
        if row["note"]:
            yield f"{name} with {row['note']}"


def _rows(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> list[Json]:
    cursor = db.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
