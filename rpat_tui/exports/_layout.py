"""The words of a table for people: headings, labels, cells and notes, before any format."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from rpat import published
from rpat.config import DATASETS, METHODS, WRAPPERS
from rpat.published import METHOD_NAMES, MODEL_NAMES, Published
from rpat_tui.compare import emphasis, verdict
from rpat_tui.glyphs import UNICODE
from rpat_tui.statistics import method as tests_done
from rpat_tui.statistics import p_text
from rpat_tui.table import MEASURES, Cell, Row, Table, printed

DASH = "\N{EN DASH}"
NO_RUN = (
    "There is no finished run to show; `rpat demo` makes some in a minute, "
    "`rpat run --method pgd-at` starts one."
)
TITLES = {"clean": "Clean", "pgd20": "PGD-20", "aa": "AA", "mean": "Mean", "nrr": "NRR"}
NORM_TITLES = {"linf": "l_inf", "l2": "l_2"}
MODEL_TITLES = {ours: printed for printed, ours in MODEL_NAMES.items()} | {
    "resnet8": "ResNet-8",
    "resnet26-bottleneck": "ResNet-26 (bottleneck)",
}
_PRINTED = {ours: printed for printed, ours in METHOD_NAMES.items()}


_SPREAD = "%.2f ± %.2f"
"""Takes half the time of an f-string, and there are thousands."""
_UNMARKED: Mapping[str, Collection[str]] = MappingProxyType({})
_NO_ROWS: Mapping[str, tuple[int, Row]] = MappingProxyType({})


class Entry(NamedTuple):
    """What stands on one line: a row, or `across` the groups of columns one for each.

    `place` is that of `lead`, the first of them, in the table.
    """

    place: int
    lead: Row
    across: Mapping[str, tuple[int, Row]] = _NO_ROWS

    @property
    def rows(self) -> Mapping[str, tuple[int, Row]]:
        """The rows with their places, by group of columns ('' in a list)."""
        return self.across or {"": (self.place, self.lead)}


class Line(NamedTuple):
    """One line of a block: a row's own numbers, or below them the paper's, a difference, a test.

    `cells` are by the key of their column. `depth` is the indentation, `notes` the numbers of the
    remarks under the table, `marked` what is bold or underlined. A tuple, as rows are.
    """

    kind: str
    depth: int
    label: str
    cells: Mapping[str, str]
    variant: str = ""
    notes: tuple[int, ...] = ()
    n: str = ""
    marked: Mapping[str, Collection[str]] = _UNMARKED
    entry: Entry | None = None

    @property
    def rows(self) -> Mapping[str, tuple[int, Row]]:
        """The rows of the table with their places, by group of columns ('' in a list)."""
        return self.entry.rows if self.entry else _NO_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The lines that share a heading: of one data set, network and norm, or of all but one."""

    heading: str
    norm: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column beside the first: `group` is its place in the page's groups, -1 in none."""

    key: str
    title: str
    group: int = -1

    @property
    def place(self) -> str:
        """The key of its group: of the rows in a `Line` that stand in it."""
        return self.key.rpartition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole table in words; `common` are remarks on every row, `notes` the numbered ones."""

    title: str
    columns: tuple[Column, ...]
    groups: tuple[str, ...] = ()
    blocks: tuple[Block, ...]
    common: str
    notes: tuple[tuple[int, str], ...]
    remedies: tuple[str, ...]
    venues: bool = False

    @property
    def width(self) -> int:
        """How many columns there are, with the first, the venue and n."""
        return len(self.columns) + 2 + self.venues


_entry: Callable[[tuple[Any, ...]], Entry] = partial(tuple.__new__, Entry)
_line: Callable[[tuple[Any, ...]], Line] = partial(tuple.__new__, Line)
"""Made of all their values, in a fraction of the time: there are thousands."""


def lay_out(table: Table) -> Page:
    """Turn a table into words; computes nothing."""
    shown = _measures(table)
    groups = _groups(table)
    names = list(groups)
    common, numbered = _remarks(table.rows, {} if not groups else _group_of(table, groups))
    marked: dict[int, dict[str, set[str]]] = {}
    for (i, measure), marks in emphasis(table).items():
        marked.setdefault(i, {})[measure] = marks
    blocks = [
        Block(
            heading=heading,
            norm=entries[0].lead.norm,
            lines=tuple(_lines(table, entries, shown, numbered, marked)),
        )
        for heading, entries in _blocks(table)
    ]
    columns = [
        Column(key=_key(name, m), title=_column(m, table.robust), group=g if groups else -1)
        for g, name in enumerate(names or [""])
        for m in shown
    ]
    return Page(
        title=table.title,
        columns=tuple(columns),
        groups=tuple(groups.values()),
        blocks=tuple(blocks),
        common=f"All rows: {', '.join(common)}." if common else "",
        notes=tuple((i, mark) for mark, i in numbered.items()),
        remedies=tuple(remedies(table)),
        venues=table.venues,
    )


def written(lines: Iterable[Line], text: Callable[[Line], str]) -> Iterator[str]:
    """Yield the text of each line; a printed row that stands below many is written once."""
    known: dict[int, str] = {}
    for line in lines:
        if line.kind != "paper":
            yield text(line)
            continue
        if id(line) not in known:
            known[id(line)] = text(line)
        yield known[id(line)]


def marked(
    page: Page, line: Line, escape: Callable[[str], str], marks: Mapping[str, tuple[str, str]]
) -> list[str]:
    """Return the texts of the columns, escaped together: there are thousands.

    `marks` has what stands around a text that is `underline`d or `bold`, the inner first.
    """
    names = [column.key for column in page.columns]
    texts = escape("\0".join([line.cells.get(name, "") for name in names])).split("\0")
    for i, name in enumerate(names) if line.marked else ():
        own = line.marked.get(name, ())
        for mark, (before, behind) in marks.items():
            if mark in own:
                texts[i] = f"{before}{texts[i]}{behind}"
    return texts


def venue(row: Row) -> str:
    """Return where a row's method was published, as the paper prints it."""
    return _venues().get((row.method, row.rpat), "Ours" if row.rpat else "")


@cache
def _venues() -> dict[tuple[str, bool], str]:
    return {(row.method, row.rpat): row.venue for row in published.rows()}


# ----------------------------------------------------------------- rows and columns


def _measures(table: Table) -> list[str]:
    """Return the measures that have a column; the paper's Tables 3 and 4 print no PGD-20."""
    known = any(row.pgd20 or row.open for row in table.rows)
    in_paper = any(row.paper and row.paper.pgd20 is not None for row in table.rows)
    left_out = table.venues and not known and not in_paper
    return [m for m in MEASURES if not (left_out and m == "pgd20")]


def _groups(table: Table) -> dict[str, str]:
    """Return the blocks of columns: key and title, in reading order."""
    if not table.columns:
        return {}
    return {_group(row, table.columns): _group_title(row, table.columns) for row in table.rows}


def _group(row: Row, columns: Sequence[str]) -> str:
    parts = [str(getattr(row, name)) for name in columns]
    return "/".join([*parts, *([row.source] if "dataset" in columns else [])])


def _group_of(table: Table, groups: Mapping[str, str]) -> dict[int, str]:
    return {i: groups[_group(row, table.columns)] for i, row in enumerate(table.rows)}


def _group_title(row: Row, columns: Sequence[str]) -> str:
    titles = {
        "dataset": _dataset(row),
        "norm": NORM_TITLES.get(row.norm, row.norm),
        "model": MODEL_TITLES.get(row.model, row.model),
        "rpat": "+ RPAT" if row.rpat else "without RPAT",
        "checkpoint": row.checkpoint,
    }
    return ", ".join(titles[name] for name in columns)


def _key(group: str, measure: str) -> str:
    return f"{group}:{measure}" if group else measure


def _blocks(table: Table) -> Iterator[tuple[str, list[Entry]]]:
    """Yield each block's heading and its entries: what is not spread over columns sets it apart."""
    spread = table.columns
    kept = [k for k in ("dataset", "source", "norm", "model") if k not in spread]
    if "dataset" in spread:
        kept.remove("source")
    blocks: dict[object, list[Entry]] = defaultdict(list)
    apart = attrgetter(*kept) if kept else len
    for i, row in enumerate(table.rows):
        blocks[apart(row)].append(_entry((i, row, _NO_ROWS)))
    for rows in blocks.values():
        kinds = set() if "checkpoint" in spread else {entry.lead.checkpoint for entry in rows}
        yield _heading(rows[0].lead, kept, kinds), _across(rows, spread) if spread else rows


def _across(rows: Sequence[Entry], spread: Sequence[str]) -> list[Entry]:
    """Put rows beside each other that differ in what is spread over groups of columns."""
    lines: dict[tuple[object, ...], dict[str, tuple[int, Row]]] = {}
    firsts: dict[tuple[object, ...], int] = {}
    for i, row, _ in rows:
        same = (row.method, row.label if "rpat" not in spread else "")
        first = firsts.setdefault(same, len(firsts))
        key: tuple[object, ...] = (
            first,
            "rpat" not in spread and row.rpat,
            firsts.setdefault(("variant", row.variant), len(firsts)),
            "checkpoint" not in spread and row.checkpoint,
        )
        while _group(row, spread) in lines.setdefault(key, {}):
            key = (*key, 0)  # rows that look alike in everything stand below each other
        lines[key][_group(row, spread)] = (i, row)
    return [
        Entry(*next(iter(lines[key].values())), lines[key]) for key in sorted(lines, key=_sortable)
    ]


def _sortable(key: tuple[object, ...]) -> tuple[str, ...]:
    return tuple(f"{part:06d}" if isinstance(part, int) else str(part) for part in key)


def _lines(
    table: Table,
    entries: Sequence[Entry],
    shown: Sequence[str],
    numbered: Mapping[str, int],
    marked: Mapping[int, Mapping[str, set[str]]],
) -> list[Line]:
    lines: list[Line] = []
    spread = table.columns
    every: Iterable[Row] = [entry.lead for entry in entries]
    if spread:
        every = [row for entry in entries for _, row in entry.across.values()]
    bases = {row.method for row in every if not row.rpat}
    both = len({row.checkpoint for row in every}) > 1 and "checkpoint" not in spread
    beside = "rpat" not in spread
    above: Entry | None = None
    notes_of = _Notes(numbered)
    for entry in entries:
        row = entry.lead
        nested = row.rpat and beside and row.method in bases
        depth = int(nested and not row.label)
        if nested or row.label:
            label = row.label or "+ RPAT"
        else:
            label = method_title(row.method) + " + RPAT" * (row.rpat and beside)
        variant = row.variant
        if both and row.checkpoint == "final":
            if above and _continues(above, entry):
                depth, label, variant = depth + 1, "final", ""
            else:
                label += ", final"
        if spread:
            lines.append(_spread_line(table, entry, depth, label, variant, shown, numbered, marked))
        else:
            cells = _cells(table, row, shown)
            if table.venues:
                cells["venue"] = venue(row)
            notes, marks = notes_of[row.marks], marked.get(entry.place, _UNMARKED)
            lines.append(
                _line(("row", depth, label, cells, variant, notes, str(row.n), marks, entry))
            )
        if row.paper is not None or spread:
            lines += _paper_lines(table, entry, depth + 1, shown)
        if table.tests:
            lines += _test_lines(table, entry, depth + 1, shown)
        above = entry
    return lines


def _continues(above: Entry, entry: Entry) -> bool:
    """Return whether an entry is the final checkpoint of the one above."""
    one, other = above.lead, entry.lead
    if not above.across and (one.group, one.data) != (other.group, other.data):
        return False
    return (one.method, one.rpat, one.variant, one.label) == (
        other.method, other.rpat, other.variant, other.label,
    )  # fmt: skip


def _spread_line(
    table: Table,
    entry: Entry,
    depth: int,
    label: str,
    variant: str,
    shown: Sequence[str],
    numbered: Mapping[str, int],
    marked: Mapping[int, Mapping[str, set[str]]],
) -> Line:
    """Return the line of an entry with a row for each group of columns."""
    counts = [str(row.n) for _, row in entry.across.values()]
    cells: dict[str, str] = {}
    marks: dict[str, set[str]] = {}
    notes: dict[int, None] = {}
    for g, (i, row) in entry.across.items():
        title = _group_title(row, table.columns)
        notes |= dict.fromkeys(_Notes(numbered, f"{title}: ")[row.marks])
        cells |= {_key(g, m): text for m, text in _cells(table, row, shown).items()}
        marks |= {_key(g, m): found for m, found in marked.get(i, {}).items() if m in shown}
    if table.venues:
        cells["venue"] = venue(entry.lead)
    return Line(
        kind="row",
        depth=depth,
        label=label,
        variant=variant,
        notes=tuple(notes),
        cells=cells,
        n=counts[0] if len(set(counts)) == 1 else "/".join(counts),
        marked=marks,
        entry=entry,
    )


class _Notes(dict[tuple[str, ...], tuple[int, ...]]):
    """The numbers of a row's remarks, but for those that all rows share, by the remarks."""

    def __init__(self, numbered: Mapping[str, int], before: str = "") -> None:
        super().__init__({(): ()})
        self.numbered, self.before = numbered, before

    def __missing__(self, marks: tuple[str, ...]) -> tuple[int, ...]:
        found = [self.numbered.get(self.before + mark) for mark in marks]
        self[marks] = tuple(dict.fromkeys(number for number in found if number is not None))
        return self[marks]


def _cells(table: Table, row: Row, shown: Sequence[str]) -> dict[str, str]:
    """Return a row's texts: numbers, starred where a test finds one, or the signs of runs."""
    found = row.cells if len(shown) == len(MEASURES) else [row.cell(m) for m in shown]
    # The usual case of `number` is written out: half of the time goes into calls.
    texts = {
        measure: _SPREAD % cell[:2] if cell and cell[1] is not None else number(cell)
        for measure, cell in zip(shown, found, strict=True)
    }
    for measure in shown if row.open else ():
        if measure in row.open and row.cell(measure) is None:
            running = row.open[measure] == "running"
            texts[measure] = UNICODE.states["running" if running else "queued"]
    for measure, test in table.tests_of(row).items() if table.tests else ():
        if test.significant and measure in texts:
            texts[measure] += "*"
    return texts


@cache
def method_title(label: str) -> str:
    """Return a method as people write it; a label nobody titled is taken apart at its `+`."""
    for registry in (METHODS, WRAPPERS):
        if label in registry:
            return registry[label].TITLE
    if label in _PRINTED:
        return _PRINTED[label]
    parts = re.split(r"\+(?=[a-z])", label)
    return "+".join(method_title(part) for part in parts) if len(parts) > 1 else label


def number(cell: Cell | None) -> str:
    """Return `82.92 ± 0.31`, without a spread for one seed, a dash for nothing."""
    if cell is None:
        return DASH
    mean, std, _ = cell
    return f"{mean:.2f}" if std is None else _SPREAD % (mean, std)


def _column(measure: str, robust: str) -> str:
    based = measure in ("mean", "nrr") and robust != "aa"
    return f"{TITLES[measure]} ({TITLES[robust]})" if based else TITLES[measure]


def _dataset(row: Row) -> str:
    facts = DATASETS.get(row.dataset)
    name = facts.title if facts else row.dataset
    return name if row.source == "official" else f"{name} ({row.source.replace('-', ' ')})"


def _heading(row: Row, kept: Collection[str], checkpoints: Collection[str]) -> str:
    parts = [_dataset(row)] if "dataset" in kept else []
    parts += [MODEL_TITLES.get(row.model, row.model)] if "model" in kept else []
    parts += [NORM_TITLES.get(row.norm, row.norm)] if "norm" in kept else []
    kinds = " and ".join(kind for kind in ("best", "final") if kind in checkpoints)
    parts += [f"{kinds or 'any'} checkpoint"] if checkpoints else []
    return " · ".join(parts)


def _paper_lines(table: Table, entry: Entry, depth: int, shown: Sequence[str]) -> list[Line]:
    """Return the printed numbers, bold and underlined as among all printed ones, and below them
    the differences."""
    row = entry.lead
    if not table.columns:
        lines = [_printed_line(row.paper, row.checkpoint, row.robust, tuple(shown), depth)]
        diffs = _differences(row, table.tolerance, shown) if row.diff else {}
    else:
        beside = {g: row for g, (_, row) in entry.across.items() if row.paper is not None}
        if not beside:
            return []
        cells: dict[str, str] = {}
        marked: dict[str, Collection[str]] = {}
        diffs = {}
        for g, row in beside.items():
            line = _printed_line(row.paper, row.checkpoint, row.robust, tuple(shown), depth)
            cells |= {_key(g, m): text for m, text in line.cells.items()}
            marked |= {_key(g, m): marks for m, marks in line.marked.items()}
            texts = _differences(row, table.tolerance, shown)
            diffs |= {_key(g, m): text for m, text in texts.items()}
        lines = [line._replace(cells=cells, marked=marked)]
        diffs = diffs if any(row.diff for row in beside.values()) else {}
    if diffs:
        lines.append(Line("diff", depth, "difference", diffs))
    return lines


def _differences(row: Row, tolerance: float, shown: Sequence[str]) -> dict[str, str]:
    found = row.diff or {}
    return {m: _difference(found[m], tolerance) if m in found else "" for m in shown}


@cache
def _printed_line(
    paper: Published | None, checkpoint: str, robust: str, shown: tuple[str, ...], depth: int
) -> Line:
    """Return the line of a printed row: one for all rows of ours that it stands below."""
    assert paper is not None
    values = printed(paper, checkpoint, robust)
    digits = {"mean": 3, "nrr": 3}
    texts = {
        m: DASH if (v := values[m]) is None else f"{v:.{digits.get(m, 2)}f}" for m in shown
    }  # fmt: skip
    marked: dict[str, Collection[str]] = {}
    for m in shown if checkpoint == "best" else ():
        marks = _printed_marks(paper.table).get((_identity(paper), m))
        if marks and values[m] is not None:
            marked[m] = marks
    return Line("paper", depth, "paper", texts, marked=marked)


def _identity(row: Published) -> tuple[object, ...]:
    return (row.dataset, row.norm, row.model, row.method, row.rpat, row.cutmix)


@cache
def _printed_marks(number_of_table: int) -> dict[tuple[tuple[object, ...], str], set[str]]:
    """Return what is best and what RPAT did not improve among a table's printed numbers."""
    known = [row for row in published.rows() if row.table == number_of_table]
    rows = [
        Row(
            dataset=p.dataset, source="official", norm=p.norm, model=p.model, method=p.method,
            rpat=p.rpat, checkpoint="best", robust="aa", n=1, clean=Cell(p.clean), aa=Cell(p.aa),
            mean=Cell(p.mean), nrr=Cell(p.nrr), config={"data.cutmix": p.cutmix},
        )
        for p in known
    ]  # fmt: skip
    marked = emphasis(Table(rows=tuple(rows)))
    return {(_identity(known[i]), m): marks for (i, m), marks in marked.items()}


def _test_lines(table: Table, entry: Entry, depth: int, shown: Sequence[str]) -> list[Line]:
    cells = {}
    for g, (_, row) in entry.rows.items():
        for m, test in table.tests_of(row).items():
            if test.corrected is not None and m in shown:
                cells[_key(g, m)] = p_text(test.corrected) + "*" * test.significant
    return [Line(kind="test", depth=depth, label="p (Holm)", cells=cells)] if cells else []


def _difference(value: float, tolerance: float) -> str:
    off = verdict(value, tolerance) == "off"
    return f"{round(value, 2) + 0.0:+.2f}{' !' if off else ''}"  # no minus before a zero


def _remarks(rows: Sequence[Row], groups: Mapping[int, str]) -> tuple[list[str], dict[str, int]]:
    """Split the marks: those of every row with runs, and the others, numbered as they appear.

    Where groups of columns share a line, a remark names its group.
    """
    ours = [row for row in rows if row.n]
    first = ours[0].marks if ours else ()
    common = [m for m in first if len(ours) > 1 and all(m in row.marks for row in ours)]
    rest = dict.fromkeys(
        f"{groups[i]}: {mark}" if groups else mark
        for i, row in enumerate(rows)
        for mark in row.marks
        if row.n and mark not in common
    )
    return common, {mark: i for i, mark in enumerate(rest, start=1)}


def remedies(table: Table) -> list[str]:
    """Say what would fill the empty cells, and what `!` means."""
    found = []
    without = list(dict.fromkeys(run for row in table.rows if row.aa is None for run in row.runs))
    there = sorted({run.partition(":")[0] for run in without if ":" in run})
    if without := [run for run in without if ":" not in run]:
        named = " ".join(without[:3]) + (" …" if len(without) > 3 else "")
        found.append(f"Where AA is empty, `rpat eval {named} --attack aa` fills it.")
    if there:
        found.append(f"Runs of {', '.join(there)} without AA are evaluated there.")
    if any(row.n == 0 for row in table.rows):
        known = all(row.paper for row in table.rows if row.n == 0)
        where = "printed in the paper, " * known
        found.append(f"n 0: {where}no finished run here yet.")
        if table.suite:
            found.append(f"`rpat suite run {table.suite} --fill --dry-run` lists what closes them.")
    signs = {row.open[m] for row in table.rows for m in row.open if row.cell(m) is None}
    if signs:
        words = {"running": "running", "queued": "queued"}
        said = [f"{UNICODE.states[s]} {words[s]}" for s in words if s in signs]
        found.append(", ".join(said) + ".")
    diffs = [d for row in table.rows for d in (row.diff or {}).values()]
    if any(verdict(d, table.tolerance) == "off" for d in diffs):
        found.append(f"! more than {table.tolerance:g} points from the paper.")
    if len(diffs) > 0 and table.suite:
        near = sum(verdict(d, table.tolerance) == "ok" for d in diffs)
        found.append(
            f"{near} of {len(diffs)} numbers within {table.tolerance:g} points of the paper's."
        )
    return found + _tests(table)


def _tests(table: Table) -> list[str]:
    """Name the tests that were done, and why others were not."""
    found = []
    if done := tests_done(table.tests):
        found.append(f"Against the row without RPAT: {done}.")
    reasons = dict.fromkeys(
        test.reason.removesuffix(": no test") for test in table.tests.values() if test.reason
    )
    if reasons:
        found.append(f"No test where: {', '.join(reasons)}.")
    return found
