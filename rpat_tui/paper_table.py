"""The table that `rpat table` prints, from what is asked to its rows.

Without a suite every run that matches the filters is in it; with one its rows are the suite's,
numbers or holes, and nothing else. Every row is stamped with what it was made from.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rpat.config import DATASETS, MODELS, NORMS
from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui import pools
from rpat_tui.compare import BASES, Seeds, seeds_of, summarise
from rpat_tui.store import pace, queries, stamps
from rpat_tui.store.measured import IMPORTED
from rpat_tui.store.rows import Measurement
from rpat_tui.table import CHECKPOINTS, SPREADS, TOLERANCE, Row, Table
from rpat_tui.uncollected import uncollected

if TYPE_CHECKING:
    from rpat_tui.store.pending import Pending
    from rpat_tui.suites import Changes, Entry, Suite

LAYOUTS = {"long": (), "paper": ("dataset",)}
"""Name of a layout -> what goes into blocks of columns."""

_UNPROVEN = f"{IMPORTED}, which proves no cell of the suite"
_ACTIVE = ("starting", "running", "pausing")


class Ask(NamedTuple):
    """What `rpat table` was asked, but for the format; a field is an option of the same name."""

    dataset: str = ""
    norm: str = ""
    model: str = ""
    method: str = ""
    suite: str = ""
    where: str = ""
    epochs: int = 0
    set: tuple[str, ...] = ()
    checkpoint: str | None = None
    select: str = ""
    robust: str = "aa"
    paper: bool = False
    tolerance: float = TOLERANCE
    test: bool = False
    layout: str = "long"
    columns: str = ""
    remote: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse what cannot be; raises `ConfigError`."""
        for flag, value, known in (
            *(("--dataset", name, list(DATASETS)) for name in self._names(self.dataset)),
            *(("--norm", name, list(NORMS)) for name in self._names(self.norm)),
            *(("--model", name, list(MODELS)) for name in self._names(self.model)),
            ("--checkpoint", self.checkpoint or "", ["", *CHECKPOINTS]),
            ("--robust", self.robust, list(BASES)),
            ("--layout", self.layout, list(LAYOUTS)),
            *(("--columns", name, list(SPREADS)) for name in self.spread),
        ):
            if value not in known:
                raise ConfigError(f"{flag} {unknown(value, list(filter(None, known)))}")
        if self.select and self.checkpoint == "final":
            raise ConfigError("--select chooses the best weights; leave --checkpoint final out")
        if self.select:
            from rpat_tui import selection

            selection.rule(self.select)
        if not self.tolerance > 0:
            raise ConfigError(f"--tolerance is {self.tolerance:g}; write percent points above 0")
        for flag, given in (
            ("--where", self.where),
            ("--epochs", self.epochs),
            ("--set", self.set),
        ):
            if given and not self.suite:
                raise ConfigError(f"{flag} changes a suite; name one with --suite")

    def _names(self, text: str) -> list[str]:
        """Return the names in an option: a suite takes several."""
        return [name for name in (text.split(",") if self.suite else [text]) if name]

    @property
    def spread(self) -> tuple[str, ...]:
        """What goes into blocks of columns."""
        named = tuple(name.strip() for name in self.columns.split(",") if name.strip())
        return named or LAYOUTS.get(self.layout, ())

    def command(self) -> str:
        """Return the command that makes the same table."""
        words = ["rpat", "table"]
        for name, value in self._asdict().items():
            if value == self._field_defaults[name]:
                continue
            if value is True:
                words.append(f"--{name}")
            elif isinstance(value, tuple):
                words += [word for item in value for word in (f"--{name}", str(item))]
            elif isinstance(value, float):
                words += [f"--{name}", f"{value:g}"]
            else:
                words += [f"--{name}", str(value)]
        return shlex.join(words)


def asked(command: str) -> Ask:
    """Read a command that `Ask.command` wrote; raises `ConfigError` for any other."""
    words = shlex.split(command)[2:]
    known = Ask._field_defaults
    values: dict[str, object] = {}
    while words:
        name = words.pop(0).removeprefix("--")
        if name not in known:
            raise ConfigError(f"`{command}`: {unknown(name, known)}")
        if known[name] is False:
            values[name] = True
            continue
        if not words:
            raise ConfigError(f"`{command}`: --{name} has no value")
        word, usual = words.pop(0), known[name]
        if isinstance(usual, tuple):
            values[name] = (*values.get(name, ()), word)  # type: ignore[misc]
        else:
            try:
                values[name] = type(usual)(word) if isinstance(usual, int | float) else word
            except ValueError:
                raise ConfigError(f"`{command}`: --{name} {word} is no number") from None
    return Ask(**values)  # type: ignore[arg-type]


def build(
    db: sqlite3.Connection | None, ask: Ask, data_dir: Path | None = None, *, stamp: bool = True
) -> Table:
    """Return the table; without a database, one without numbers.

    `data_dir` is where a suite's images would be looked for; `stamp` asks for the digests of what
    rows are made from, where they are not known yet. Raises `ConfigError` for what cannot be.
    """
    ask.check()
    with uncollected():
        return _build(db, ask, data_dir, stamp)


def _build(db: sqlite3.Connection | None, ask: Ask, data_dir: Path | None, stamp: bool) -> Table:
    if ask.suite:
        made, values = _of_suite(db, ask, data_dir)
    else:
        made, values = _of_everything(db, ask, stamp)
    tests = {}
    if ask.test:
        from rpat_tui.contrast import against_base

        tests = against_base(made, values)
    rows = made.rows
    if stamp and not all(row.stamp for row in rows):
        rows = tuple(pools.stamped(db, rows))
    return replace(
        made, rows=rows, tests=tests, columns=ask.spread, tolerance=ask.tolerance,
        asked=ask.command(),
    )  # fmt: skip


def _of_everything(db: sqlite3.Connection | None, ask: Ask, stamp: bool) -> tuple[Table, Seeds]:
    """Return a table of every run that the filters keep, and the values behind it."""
    checkpoint = "best" if ask.checkpoint is None else ask.checkpoint
    shape = Table(robust=ask.robust, checkpoint=checkpoint, paper=ask.paper)
    if db is None:
        return shape, {}
    rows, values = pools.everything(
        db, dataset=ask.dataset, norm=ask.norm, model=ask.model, method=ask.method,
        checkpoint=checkpoint, select=ask.select, robust=ask.robust, paper=ask.paper,
        seeds=ask.test, stamp=stamp,
    )  # fmt: skip
    if lacking := {row.group for row in rows if None in row.cells}:
        from rpat_tui.store.pending import pending

        waiting = pending(db, dataset=ask.dataset, norm=ask.norm, model=ask.model)
        rows = _with_open(db, rows, [p for p in waiting if p.subject.group in lacking])
    return replace(shape, rows=tuple(rows)), values


# ----------------------------------------------------------------- a suite


def _of_suite(
    db: sqlite3.Connection | None, ask: Ask, data_dir: Path | None
) -> tuple[Table, Seeds]:
    """Return a suite's table, its rows in its order, filled or not, and the values behind it."""
    from rpat.recipes import label
    from rpat_tui import compose
    from rpat_tui.store.pending import pending
    from rpat_tui.suites import Changes, entries, load

    suite = load(ask.suite)
    changes = Changes(
        datasets=compose.words(ask.dataset),
        models=compose.words(ask.model),
        norms=compose.words(ask.norm),
        epochs=ask.epochs,
        seeds=("0",),
        fixed=compose.assignments(ask.set),
        data_dir=data_dir,
    )
    there = _narrowed(db, suite, changes, ask.where) if ask.where else entries(suite, changes)
    if ask.method:
        there = [e for e in there if label(e.config) == ask.method]
    groups = {config.group(): i for i, e in enumerate(there) for config in e.configs}
    measured: list[Measurement] = []
    waiting: list[Pending] = []
    if db is not None and (numbers := stamps.members(db, list(groups))):
        kind = ask.checkpoint or ""
        measured = queries.measurements(db, checkpoint=kind, select=ask.select, numbers=numbers)
        measured = [m for m in measured if m.group in groups]
        waiting = [item for item in pending(db) if item.subject.group in groups]
    pooled = summarise(measured, robust=ask.robust, paper=ask.paper)
    filled: dict[tuple[int, str], list[Row]] = {}
    for row in pooled.rows:
        filled.setdefault((groups[row.group], row.checkpoint), []).append(row)
    rows: list[Row] = []
    for i, entry in enumerate(there):
        for kind in _kinds(suite, entry, ask.checkpoint):
            own = filled.get((i, kind), []) or [_hole(entry, kind, ask, pooled.rows)]
            rows += [_named(row, entry, len(own) > 1) for row in own]
    shown = _gathered(rows)
    if db is not None:
        shown = _with_open(db, shown, waiting, groups, there)
    made = replace(
        pooled,
        rows=tuple(shown),
        title=suite.title,
        suite=ask.suite,
        venues=suite.table in (3, 4),
    )
    return made, seeds_of(measured) if ask.test else {}


def _narrowed(
    db: sqlite3.Connection | None, suite: Suite, changes: Changes, where: str
) -> list[Entry]:
    from rpat_tui import agenda  # what it needs to queue is not needed to print

    return list(agenda.look(db, suite, changes, where).entries)


def _kinds(suite: Suite, entry: Entry, checkpoint: str | None) -> tuple[str, ...]:
    """Return the checkpoints that a row shows: those of the suite, unless asked for others."""
    if checkpoint is None:
        from rpat_tui.suites import checkpoints

        return checkpoints(suite, entry)
    return (checkpoint,) if checkpoint else CHECKPOINTS


def _named(row: Row, entry: Entry, several: bool) -> Row:
    """Call a row what the suite calls it; rows of other images under one name are told apart."""
    variant = "cutmix" if entry.config.data.cutmix and entry.row.printed else ""
    if several:
        variant = ", ".join(filter(None, [variant, f"data {row.data[:6] or 'unknown'}"]))
    marks = tuple([_UNPROVEN if mark == IMPORTED else mark for mark in row.marks])
    label = "" if entry.row.printed else entry.label
    return row._replace(variant=variant, label=label, marks=marks)


def _hole(entry: Entry, checkpoint: str, ask: Ask, known: Sequence[Row]) -> Row:
    """Return a row without numbers, beside the rows of the same images where there are some."""
    from rpat.recipes import label

    config = entry.config
    rpat = config.wrapper("rpat") is not None
    place = (config.data.name, config.threat.norm, config.model.name)
    sources = [r.source for r in known if (r.dataset, r.norm, r.model) == place]
    found = None
    if ask.paper and config.data.source != "embedded":
        from rpat import published

        found = published.find(*place, label(config), rpat, config.data.cutmix)
        values = found.measures(checkpoint).values() if found else ()
        found = found if any(value is not None for value in values) else None
    return Row(
        dataset=place[0],
        source=max(sources, key=sources.count, default=config.data.source),
        norm=place[1],
        model=place[2],
        method=label(config),
        rpat=rpat,
        checkpoint=checkpoint,
        robust=ask.robust,
        n=0,
        group=config.group(),
        paper=found,
        diff={} if found else None,
    )


def _gathered(rows: Sequence[Row]) -> list[Row]:
    """Let rows of one block stand together, blocks in the order in which they begin."""
    blocks: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        blocks.setdefault((row.dataset, row.source, row.norm, row.model), []).append(row)
    return [row for some in blocks.values() for row in some]


# ----------------------------------------------------------------- what is on its way


def _with_open(
    db: sqlite3.Connection,
    rows: Sequence[Row],
    waiting: Sequence[Pending],
    groups: Mapping[str, int] | None = None,
    there: Sequence[Entry] = (),
) -> list[Row]:
    """Say of each row which of its numbers open runs and evaluations will bring.

    With `groups`, runs of any group of a suite's entry belong to its row.
    """
    if not waiting:
        return list(rows)
    ends = pace.endings(db, [item.n for item in waiting])
    of: dict[str, dict[str, str]] = {}
    for item in waiting:
        group = item.subject.group
        own = there[groups[group]].configs if groups is not None else ()
        for name in {group, *(config.group() for config in own)}:
            for measure in _brings(item.attacks or ends.get(item.n, ()), rows[0].robust):
                state = "running" if item.state in _ACTIVE else "queued"
                if of.setdefault(name, {}).get(measure) != "running":
                    of[name][measure] = state
    return [row._replace(open=of[row.group]) if row.group in of else row for row in rows]


def _brings(attacks: Collection[str], robust: str) -> list[str]:
    """Return the measures that attacks fill."""
    found = [m for m in ("clean", "pgd20") if "pgd" in attacks]
    found += ["aa"] if "aa" in attacks else []
    return found + (["mean", "nrr"] if robust in found else [])
