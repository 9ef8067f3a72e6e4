"""What the Table screen shows: the paper-style table with what is on its way, and its words."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich.text import Text

from rpat.errors import ConfigError
from rpat_tui import exports, gaps, paper_table, pools
from rpat_tui.compare import Reached, Seeds, verdict
from rpat_tui.contrast import against_base
from rpat_tui.exports._layout import (
    DASH,
    TITLES,
    Line,
    Page,
    lay_out,
    method_title,
    number,
    remedies,
)
from rpat_tui.glyphs import Glyphs
from rpat_tui.home import Home
from rpat_tui.paper_table import LAYOUTS
from rpat_tui.sheet import chance, difference
from rpat_tui.statistics import Test, method
from rpat_tui.store import pace
from rpat_tui.store.db import snapshot
from rpat_tui.store.pending import Pending, pending
from rpat_tui.table import CHECKPOINTS, MEASURES, Cell, Row, Table
from rpat_tui.uncollected import uncollected
from rpat_tui.widgets.papertable import Figure, Layout, TableLine

_NAMES = {"aa": "AutoAttack", "pgd": "PGD-20"}
ACTIVE = ("starting", "running", "pausing")
MEASURED = ("clean", "pgd20", "aa")
"""The measures of one run; the others follow from them."""


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
    layout: str = "long"
    """`paper`: data sets beside each other."""
    remote: tuple[str, ...] = ()
    """The other machines whose runs are in it."""

    @property
    def filters(self) -> dict[str, str]:
        """What keeps some rows."""
        named = {k: getattr(self, k) for k in ("dataset", "norm", "model", "method")}
        return {key: value for key, value in named.items() if value}

    def of_command(self) -> paper_table.Ask:
        """Return what `rpat table` is asked for the same table; it shows every column."""
        return paper_table.Ask(
            dataset=self.dataset, norm=self.norm, model=self.model, method=self.method,
            checkpoint="final" if self.rule == "final" else None,
            select="" if self.rule in CHECKPOINTS else self.rule,
            robust=self.robust, paper=self.paper, layout=self.layout, remote=self.remote,
        )  # fmt: skip

    def command(self) -> str:
        """Return the command that prints the same table."""
        return self.of_command().command()

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
    values: Seeds = field(default_factory=dict)
    """What each run behind a row reached."""
    open: Mapping[int, tuple[Pending, ...]] = field(default_factory=dict)
    """By row."""
    brings: Mapping[int, Collection[str]] = field(default_factory=dict)
    """The measures that open runs and evaluations will fill, by their numbers."""
    tests: Mapping[tuple[str, str], Test] = field(default_factory=dict)

    def test(self, row: Row, measure: str) -> Test | None:
        """Return the test of a row with RPAT against the one without."""
        return self.tests.get((f"{row.group} {row.data} {row.checkpoint}", measure))

    def runs(self, row: Row) -> list[tuple[str, Reached]]:
        """Return the runs behind a row, by seed, each with what it reached."""
        values = self.values.get((row.group, row.data, row.checkpoint), ())
        return list(zip(row.runs, values, strict=bool(values)))


def read(db: sqlite3.Connection, ask: Ask) -> Answer:
    """Read a table; in the reader's thread."""
    checkpoint = "final" if ask.rule == "final" else "best"
    with uncollected(), snapshot(db):
        rows, values = pools.everything(
            db, **ask.filters, checkpoint=checkpoint,
            select="" if ask.rule in CHECKPOINTS else ask.rule, robust=ask.robust,
            paper=ask.paper, seeds=True, stamp=False,
        )  # fmt: skip
        which = {key: value for key, value in ask.filters.items() if key != "method"}
        waiting = [p for p in pending(db, **which) if ask.method in ("", p.subject.method)]
        made = Table(
            rows=tuple(rows), robust=ask.robust, checkpoint=checkpoint, paper=ask.paper
        )  # fmt: skip
        table, open_rows = gaps.with_open(db, made, waiting, checkpoint)
        ends = pace.endings(db, [p.n for p in waiting if not p.attacks])
        return Answer(
            ask=ask, table=table, values=values, open=open_rows,
            brings={p.n: _brings(p.attacks or ends[p.n], ask.robust) for p in waiting},
            tests=against_base(table, values),
        )  # fmt: skip


def exported(db: sqlite3.Connection, ask: Ask, layout: str, why: str = "") -> tuple[str, str]:
    """Return the file that `rpat table --format` would write, in the reader's thread.

    Where no command makes the same table again, `why` or else the second value says why not, and
    the file names none. Rows that have no numbers yet are left out.
    """
    try:
        table = paper_table.build(db, ask.of_command())
    except ConfigError as error:  # a filter that other machines or releases know
        why, table = why or str(error), read(db, ask).table
        rows = tuple(row for row in table.rows if row.n)
        table = replace(table, rows=rows, columns=LAYOUTS[ask.layout])
    out = io.StringIO()
    exports.write(layout, replace(table, asked="") if why else table, out)
    return out.getvalue(), why


# ----------------------------------------------------------------- lines


def title(measure: str, robust: str) -> str:
    """Return a column's heading; Mean and NRR are marked where they do not rest on AutoAttack."""
    return TITLES[measure] + "°" * (measure in ("mean", "nrr") and robust != "aa")


Places = dict[str, dict[str, str]]
"""For each group of columns the keys of its measures in a `Line`; '' is a list's only group."""
_NOTHING = Figure("")


def laid_out(answer: Answer, glyphs: Glyphs, layout: str = "long") -> Layout:
    """Return the table's lines under their headings; in the reader's thread."""
    with uncollected():
        page = lay_out(replace(answer.table, columns=LAYOUTS[layout]))
        heads = [*(title(m, answer.table.robust) for m in answer.ask.measures), "n"]
        return Layout.of(
            heads * max(len(page.groups), 1), lines(answer, page, glyphs), page.groups,
            ascii_only=glyphs.name == "ascii",
        )  # fmt: skip


def lines(answer: Answer, page: Page, glyphs: Glyphs) -> list[TableLine]:
    """Return the table's lines: blocks under headings, then the remarks."""
    if not answer.table.rows:
        return []
    places: Places = {}
    for column in page.columns:
        measure = column.key.removeprefix(column.place).lstrip(":")
        if measure in answer.ask.measures:
            places.setdefault(column.place, {})[measure] = column.key
    made: list[TableLine] = []
    printed: dict[int, tuple[Figure, ...]] = {}
    for block in page.blocks:
        made += [TableLine("blank", "")] * bool(made) + [TableLine("heading", block.heading)]
        above = None
        for line in block.lines:
            if line.kind == "row":
                above = line
                made.append(_row(answer, line, places, glyphs))
                continue
            figures = printed.get(id(line)) or _below(line, above, places)
            if line.kind == "paper":  # it may stand below many
                printed[id(line)] = figures
            made.append(TableLine(line.kind, _label(line), "", figures))
    known = [row for row in answer.table.rows if row.n or row.paper]
    notes = [page.common, *(f"{_raised(i)} {note}" for i, note in page.notes)]
    notes += remedies(replace(answer.table, rows=tuple(known)))
    if method(answer.tests):
        notes.append(f"* against the row without RPAT: {method(answer.tests)}")
    if answer.table.robust != "aa":
        notes.append("° on PGD-20 in the place of AutoAttack")
    made.append(TableLine("blank", ""))
    return made + [TableLine("note", note) for note in notes if note]


def _label(line: Line) -> str:
    return "  " * line.depth + line.label + "".join([f" {_raised(i)}" for i in line.notes])


def _below(line: Line, above: Line | None, places: Places) -> tuple[Figure, ...]:
    """Return the figures of the paper's numbers, or of the differences, below a row."""
    figures = []
    for place, keys in places.items():
        for measure, key in keys.items():
            text = line.cells.get(key, "")
            figures.append(Figure(text, "", _briefly(text, measure, place, above)))
        figures.append(_NOTHING)
    return tuple(figures)


def _briefly(text: str, measure: str, place: str, above: Line | None) -> str:
    """Return a printed number or a difference with one digit; '' where there is none."""
    if not place or not text or text == DASH:
        return ""
    number, _, sign = text.partition(" ")
    if number[0] not in "+-":
        return f"{float(number):.1f}"
    assert above is not None
    diff = (above.rows[place][1].diff or {})[measure]
    return f"{_one_digit(diff, '+')} {sign}".strip()


def _row(answer: Answer, line: Line, places: Places, glyphs: Glyphs) -> TableLine:
    figures: list[Figure] = []
    rows: list[int] = []
    for place, keys in places.items():
        if place in line.rows:
            rows.append(line.rows[place][0])
            figures += _figures(answer, line, keys, rows[-1], glyphs)
        else:
            rows.append(-1)
            figures += [*[Figure(DASH)] * len(keys), Figure("0")]
    return TableLine("row", _label(line), line.variant, tuple(figures), tuple(rows))


def _figures(
    answer: Answer, line: Line, keys: Mapping[str, str], at: int, glyphs: Glyphs
) -> list[Figure]:
    """Return the cells of a row, with stars and the signs of what is open, and its seeds."""
    row, open_now = answer.table.rows[at], at in answer.open
    tested = answer.tests if row.rpat else {}
    name = f"{row.group} {row.data} {row.checkpoint}" if tested else ""
    figures = []
    for m, key in keys.items():
        text, brief = line.cells[key], "" if key == m else _brief(row.cell(m))
        if tested and (test := tested.get((name, m))) is not None and test.significant:
            text, brief = f"{text}*", brief and f"{brief}*"
        if open_now and (sign := open_sign(answer, at, m, glyphs)):
            known = row.cell(m) is not None
            text, brief = f"{sign} {text}" if known else sign, brief and f"{sign} {brief}"
        figures.append(Figure(text, " ".join(line.marked.get(key, ())), brief))
    return [*figures, Figure(_seeds_of(answer, row, at) if open_now else str(row.n))]


def _brief(cell: Cell | None) -> str:
    """Return `82.9±.3`; '' where there is no number."""
    if cell is None:
        return ""
    return f"{cell.mean:.1f}" + ("" if cell.std is None else f"±{_one_digit(cell.std)}")


def _one_digit(value: float, sign: str = "-") -> str:
    """Return a number with one digit and no zero in front: `.3`, `1.2`, `+.3`."""
    text = f"{round(value, 1) + 0.0:{sign}.1f}"
    return text.replace("0.", ".") if abs(value) < 0.95 else text


def _seeds_of(answer: Answer, row: Row, at: int) -> str:
    """Return how many seeds a row has, and of how many where some are being trained."""
    training = {p.subject.seed for p in answer.open[at] if not p.attacks}
    both = row.n + len(training - _seeds(answer, row))
    return f"{row.n}/{both}" if both > row.n else str(row.n)


def open_sign(answer: Answer, at: int, measure: str, glyphs: Glyphs) -> str:
    """Return the sign of work that will change a cell: of what runs, else of what is queued."""
    states = [p.state for p in answer.open.get(at, ()) if measure in answer.brings[p.n]]
    if not states:
        return ""
    active = next((s for s in states if s in ACTIVE), "")
    return glyphs.states["running" if active else states[0]]


def _brings(attacks: Collection[str], robust: str) -> set[str]:
    """Return the measures that attacks will fill."""
    found = {"clean"} if attacks else set()
    found |= {"pgd20"} if "pgd" in attacks else set()
    found |= {"aa"} if "aa" in attacks else set()
    return found | ({"mean", "nrr"} if robust in found else set())


# ----------------------------------------------------------------- one cell


def measure_at(ask: Ask, column: int) -> str:
    """Return the measure of a column; '' for the number of seeds."""
    place = column % (len(ask.measures) + 1)
    return ask.measures[place] if place < len(ask.measures) else ""


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


def describe_gap(answer: Answer, beside: Sequence[int], column: int, group: str) -> list[str]:
    """Return what is known of a cell where no run stands, but others on its line do."""
    like = next((answer.table.rows[at] for at in beside if at >= 0), None)
    if like is None:
        return []
    name = method_title(like.method) + " + RPAT" * like.rpat
    measure = TITLES.get(measure_at(answer.ask, column), "n")
    first = " · ".join(filter(None, (name, group, like.model, like.variant, measure)))
    own = [run for run in like.runs if ":" not in run]
    remedy = f"c on {own[0]} in the list composes one like it" if own else ""
    return [first, "no run yet", remedy]


def by_seed(answer: Answer, at: int, glyphs: Glyphs) -> Text:
    """Return what each run behind a row reached, and what is on its way."""
    text = Text()
    if not 0 <= at < len(answer.table.rows):
        return text
    row = answer.table.rows[at]
    pool = answer.runs(row)
    waiting = answer.open.get(at, ())
    names = [*(name for name, _ in pool), *(item.id for item in waiting)]
    wide = max([7, *(len(name) + 1 for name in names)])
    if pool or waiting:
        head = f"{'run':<{wide}}{'seed':>4} {'Clean':>8}{'PGD-20':>8}{'AA':>8}"
        text.append(f"\n\n{head}", style="dim")
    for name, (seed, *reached) in pool:
        values = (glyphs.missing if value is None else f"{value:.2f}" for value in reached)
        text.append(f"\n{name:<{wide}}", style="bold").append(f"{seed:>4} ")
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
    if lacks in MEASURED:
        place = 1 + MEASURED.index(lacks)
        without = [name for name, reached in answer.runs(row) if reached[place] is None]
        without.sort(key=lambda name: (len(name), name))
        if own := [run for run in without if ":" not in run]:
            without = own
        elif without:
            return f"{TITLES[lacks]} is missing: it is evaluated where the run is"
        if without and not any(lacks in answer.brings[p.n] for p in answer.open.get(at, ())):
            attack = " --attack aa" if lacks == "aa" else ""
            return f"{TITLES[lacks]} is missing: rpat eval {' '.join(without)}{attack}"
    have = _seeds(answer, row) | {p.subject.seed for p in answer.open.get(at, ())}
    own = [run for run in row.runs if ":" not in run]
    if own and len(have) < 3:
        seeds_wanted = [str(s) for s in range(10) if s not in have][: 3 - len(have)]
        return f"{len(have)} of 3 seeds: rpat rerun {own[0]} --seeds {','.join(seeds_wanted)}"
    return row.marks[0] if row.marks else ""


def _seeds(answer: Answer, row: Row) -> set[int]:
    return {reached[0] for _, reached in answer.runs(row)}


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
