"""What the Table screen shows: the paper-style table with what is on its way, and its words."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich.text import Text

from rpat_tui import gaps
from rpat_tui.compare import seeds, seeds_of, summarise, verdict
from rpat_tui.contrast import against_base, measured_at
from rpat_tui.exports._layout import TITLES, Line, lay_out, method_title, number
from rpat_tui.glyphs import Glyphs
from rpat_tui.home import Home
from rpat_tui.sheet import chance, difference
from rpat_tui.statistics import Test, method
from rpat_tui.store.pending import Pending, pending
from rpat_tui.store.rows import Measurement
from rpat_tui.table import MEASURES, Row, Table
from rpat_tui.widgets.papertable import Figure, TableLine

_NAMES = {"aa": "AutoAttack", "pgd": "PGD-20"}
ACTIVE = ("starting", "running", "pausing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Which table: rows, rule, basis, and whether the paper's numbers stand below ours."""

    dataset: str = ""
    norm: str = ""
    model: str = ""
    method: str = ""
    rule: str = "best"
    robust: str = "aa"
    paper: bool = False
    measures: tuple[str, ...] = MEASURES
    """The columns that are shown."""

    @property
    def filters(self) -> dict[str, str]:
        """What keeps some rows."""
        named = {k: getattr(self, k) for k in ("dataset", "norm", "model", "method")}
        return {key: value for key, value in named.items() if value}

    def command(self) -> str:
        """Return the command that prints the same table."""
        words = ["rpat table", *(f"--{key} {value}" for key, value in self.filters.items())]
        if self.rule == "final":
            words.append("--checkpoint final")
        elif self.rule != "best":
            words.append(f"--select {self.rule}")
        words += ["--robust pgd20"] * (self.robust != "aa") + ["--paper"] * self.paper
        return " ".join(words)

    def fill_command(self) -> str:
        """Return the command that queues what the table lacks."""
        words = ["rpat fill", *(f"--{key} {value}" for key, value in self.filters.items())]
        words += ["--checkpoint final"] * (self.rule == "final")
        words += ["--attack pgd"] * (self.robust != "aa")
        return " ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A table with what is open, and the tests of RPAT against its base."""

    ask: Ask = Ask()
    table: Table = field(default_factory=Table)
    """With rows of open runs that have no numbers yet."""
    measured: Mapping[str, Sequence[Measurement]] = field(default_factory=dict)
    """By group and images."""
    open: Mapping[int, tuple[Pending, ...]] = field(default_factory=dict)
    """By row."""
    tests: Mapping[tuple[str, str], Test] = field(default_factory=dict)

    def test(self, row: Row, measure: str) -> Test | None:
        """Return the test of a row with RPAT against the one without."""
        return self.tests.get((f"{row.group} {row.data} {row.checkpoint}", measure))


def read(db: sqlite3.Connection, ask: Ask) -> Answer:
    """Read a table; in the reader's thread."""
    measured = measured_at(db, ask.rule, **ask.filters)
    checkpoint = "final" if ask.rule == "final" else "best"
    made = summarise(measured, robust=ask.robust, checkpoint=checkpoint, paper=ask.paper)
    which = {key: value for key, value in ask.filters.items() if key != "method"}
    waiting = [p for p in pending(db, **which) if ask.method in ("", p.subject.method)]
    table, open_rows = gaps.with_open(made, waiting, checkpoint)
    pools: dict[str, list[Measurement]] = defaultdict(list)
    for item in measured:
        pools[f"{item.group} {item.data}"].append(item)
    return Answer(
        ask=ask,
        table=table,
        measured=pools,
        open=open_rows,
        tests=against_base(table, seeds_of(measured)),
    )


# ----------------------------------------------------------------- lines


def heads(answer: Answer) -> list[str]:
    """Return the headings of the columns."""
    return [*(title(m, answer.table.robust) for m in answer.ask.measures), "n"]


def title(measure: str, robust: str) -> str:
    """Return a column's heading; Mean and NRR are marked where they do not rest on AutoAttack."""
    return TITLES[measure] + "°" * (measure in ("mean", "nrr") and robust != "aa")


def lines(answer: Answer, glyphs: Glyphs) -> list[TableLine]:
    """Return the table's lines: blocks under headings, then the remarks."""
    if not answer.table.rows:
        return []
    page = lay_out(answer.table)
    blocks: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(answer.table.rows):
        blocks.setdefault((row.dataset, row.source, row.norm, row.model), []).append(i)
    order = [i for members in blocks.values() for i in members]
    made: list[TableLine] = []
    for block in page.blocks:
        made += [TableLine("blank", "")] * bool(made) + [TableLine("heading", block.heading)]
        at = -1
        for line in block.lines:
            if line.kind == "row":
                at = order.pop(0)
            made.append(_line(answer, line, at, glyphs))
    known = replace(answer.table, rows=tuple(r for r in answer.table.rows if r.n or r.paper))
    remedies = page.remedies if known == answer.table else lay_out(known).remedies
    notes = [page.common, *(f"{_raised(i)} {note}" for i, note in page.notes), *remedies]
    if method(answer.tests):
        notes.append(f"* against the row without RPAT: {method(answer.tests)}")
    if answer.table.robust != "aa":
        notes.append("° on PGD-20 in the place of AutoAttack")
    made.append(TableLine("blank", ""))
    return made + [TableLine("note", note) for note in notes if note]


def _line(answer: Answer, line: Line, at: int, glyphs: Glyphs) -> TableLine:
    label = "  " * line.depth + line.label
    if line.kind != "row":
        figures = [Figure(line.cells[m]) for m in answer.ask.measures]
        return TableLine(line.kind, label, "", (*figures, Figure("")), at)
    row = answer.table.rows[at]
    label += "".join(f" {_raised(i)}" for i in line.notes)
    figures = [
        Figure(_figure(answer, at, m, line.cells[m], glyphs), " ".join(line.marked.get(m, ())))
        for m in answer.ask.measures
    ]
    training = {p.subject.seed for p in answer.open.get(at, ()) if not p.attacks}
    seeds_known = row.n + len(training - _seeds(answer, row))
    n = f"{row.n}/{seeds_known}" if seeds_known > row.n else line.n
    return TableLine("row", label, line.variant, (*figures, Figure(n)), at)


def _figure(answer: Answer, at: int, measure: str, text: str, glyphs: Glyphs) -> str:
    """Return a cell's text with the sign of what is open and the star of what is significant."""
    sign = open_sign(answer, at, measure, glyphs)
    row = answer.table.rows[at]
    test = answer.test(row, measure)
    star = "*" * bool(test and test.significant)
    if sign and row.cell(measure) is None:
        return sign
    return f"{sign} {text}{star}".strip()


def open_sign(answer: Answer, at: int, measure: str, glyphs: Glyphs) -> str:
    """Return the sign of work that will change a cell: of what runs, else of what is queued."""
    states = [p.state for p in answer.open.get(at, ()) if measure in _brings(p, answer.ask.robust)]
    if not states:
        return ""
    active = next((s for s in states if s in ACTIVE), "")
    return glyphs.states["running" if active else states[0]]


def _brings(item: Pending, robust: str) -> set[str]:
    """Return the measures that an open run or evaluation will fill."""
    attacks = item.attacks
    if not attacks:
        asked = str(item.subject.config.get("eval.attack", "pgd"))
        attacks = {"none": (), "pgd": ("pgd",), "aa": ("pgd", "aa")}.get(asked, ("pgd",))
    found = {"clean"} if attacks else set()
    found |= {"pgd20"} if "pgd" in attacks else set()
    found |= {"aa"} if "aa" in attacks else set()
    return found | ({"mean", "nrr"} if robust in found else set())


# ----------------------------------------------------------------- one cell


def measure_at(ask: Ask, column: int) -> str:
    """Return the measure of a column; '' for the number of seeds."""
    return ask.measures[column] if column < len(ask.measures) else ""


def lacking(
    home: Home, db: sqlite3.Connection, answer: Answer, at: int, column: int, slots: int
) -> gaps.Plan:
    """Return what would fill the whole table (`at` is -1), or the cell at a row and a column."""
    ask, attack = answer.ask, answer.ask.robust.replace("pgd20", "pgd")
    rows = answer.table.rows
    if at >= 0:
        measure = measure_at(ask, column)
        rows = rows[at : at + 1]
        attack = {"": "none", "aa": "aa", "clean": "pgd", "pgd20": "pgd"}.get(measure, attack)
    return gaps.plan(home, db, rows, attack=attack, slots=slots)


def describe(answer: Answer, at: int, column: int, glyphs: Glyphs) -> list[str]:
    """Return what is known of a cell: number, runs, what is missing and what would fill it."""
    if not 0 <= at < len(answer.table.rows):
        return []
    row = answer.table.rows[at]
    measure = measure_at(answer.ask, column)
    name = method_title(row.method) + " + RPAT" * row.rpat
    where = " · ".join(filter(None, (name, row.dataset, row.model, row.variant)))
    value = number(row.cell(measure)) if measure else f"{row.n} seeds"
    first = f"{where} · {TITLES.get(measure, 'n')} {value}"
    if measure and row.printed().get(measure) is not None and row.paper:
        diff = (row.diff or {}).get(measure)
        said = "" if diff is None else f", {diff:+.2f} {verdict(diff)}"
        first += f"   paper {row.printed()[measure]:g}{said} (Table {row.paper.table})"
    test = answer.test(row, measure)
    if test is not None and test.diff is not None:
        base = chance(test) or test.reason
        first += f"   {difference(test)} against no RPAT: {base}"
    return [first, _runs(answer, row, at, glyphs), _remedy(answer, row, at, measure)]


def by_seed(answer: Answer, at: int, glyphs: Glyphs) -> Text:
    """Return what each run behind a row reached, and what is on its way."""
    text = Text()
    if not 0 <= at < len(answer.table.rows):
        return text
    row = answer.table.rows[at]
    pool = [m for m in answer.measured.get(f"{row.group} {row.data}", ()) if m.run in row.runs]
    waiting = answer.open.get(at, ())
    wide = max([7, *(len(name) + 1 for name in (*(m.run for m in pool), *(w.id for w in waiting)))])
    if pool or waiting:
        head = f"{'run':<{wide}}{'seed':>4} {'Clean':>8}{'PGD-20':>8}{'AA':>8}"
        text.append(f"\n\n{head}", style="dim")
    for m in sorted(pool, key=lambda m: m.seed):
        values = (
            glyphs.missing if value is None else f"{value:.2f}"
            for value in (m.clean, m.pgd20, m.aa)
        )
        text.append(f"\n{m.run:<{wide}}", style="bold").append(f"{m.seed:>4} ")
        text.append("".join(f"{value:>8}" for value in values))
    for item in waiting:
        what = " ".join(_NAMES.get(word, word) for word in item.attacks) or "training"
        far = f" {item.epoch}/{item.epochs}" if item.state in ACTIVE and not item.attacks else ""
        sign = glyphs.states.get(item.state, "?")
        text.append(f"\n{item.id:<{wide}}", style="bold").append(f"{item.subject.seed:>4} ")
        text.append(f" {sign} {item.state} {what}{far}", style="dim")
    return text


def _runs(answer: Answer, row: Row, at: int, glyphs: Glyphs) -> str:
    names = list(row.runs)
    for item in answer.open.get(at, ()):
        sign = glyphs.states.get(item.state, "?")
        far = f" {item.epoch}/{item.epochs}" if item.state in ACTIVE and not item.attacks else ""
        names.append(f"{sign} {item.id}{far}")
    return "runs " + " ".join(names) if names else "no run yet"


def _remedy(answer: Answer, row: Row, at: int, measure: str) -> str:
    """Say what is missing of a cell, and the command that would fill it."""
    lacks = "aa" if measure in ("mean", "nrr") and row.robust == "aa" else measure
    pool = answer.measured.get(f"{row.group} {row.data}", ())
    if lacks in ("aa", "pgd20", "clean"):
        without = [m.run for m in pool if m.run in row.runs and getattr(m, lacks) is None]
        if own := [run for run in without if ":" not in run]:
            without = own
        elif without:
            return f"{TITLES[lacks]} is missing: it is evaluated where the run is"
        if without and not any(lacks in _brings(p, "aa") for p in answer.open.get(at, ())):
            attack = " --attack aa" if lacks == "aa" else ""
            return f"{TITLES[lacks]} is missing: rpat eval {' '.join(without)}{attack}"
    have = _seeds(answer, row) | {p.subject.seed for p in answer.open.get(at, ())}
    own = [run for run in row.runs if ":" not in run]
    if own and len(have) < 3:
        seeds_wanted = [str(s) for s in range(10) if s not in have][: 3 - len(have)]
        return f"{len(have)} of 3 seeds: rpat rerun {own[0]} --seeds {','.join(seeds_wanted)}"
    return row.marks[0] if row.marks else ""


def _seeds(answer: Answer, row: Row) -> set[int]:
    pool = [m for m in answer.measured.get(f"{row.group} {row.data}", ()) if m.run in row.runs]
    return set(seeds(pool, "clean")) | {m.seed for m in pool}


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
