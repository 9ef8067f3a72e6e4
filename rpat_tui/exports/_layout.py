"""The words of a table for people: headings, labels, cells and notes, before any format."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rpat.config import DATASETS, METHODS, WRAPPERS
from rpat.published import METHOD_NAMES, MODEL_NAMES
from rpat_tui.compare import TOLERANCE, emphasis, verdict
from rpat_tui.table import MEASURES, Cell, Row, Table

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a block: a row's own numbers, or below them the paper's or the difference.

    `depth` is the indentation, `notes` the numbers of the remarks under the table, `marked`
    what is bold or underlined, by measure.
    """

    kind: str
    depth: int
    label: str
    variant: str = ""
    notes: tuple[int, ...] = ()
    cells: Mapping[str, str]
    n: str = ""
    marked: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The lines of one data set, network and norm under their heading."""

    heading: str
    norm: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole table in words; `common` are remarks on every row, `notes` the numbered ones."""

    title: str
    columns: Mapping[str, str]
    blocks: tuple[Block, ...]
    common: str
    notes: tuple[tuple[int, str], ...]
    remedies: tuple[str, ...]


def lay_out(table: Table) -> Page:
    """Turn a table into words; computes nothing."""
    common, numbered = _remarks(table.rows)
    marked = emphasis(table)
    blocks: dict[tuple[str, ...], list[tuple[int, Row]]] = {}
    for i, row in enumerate(table.rows):
        blocks.setdefault((row.dataset, row.source, row.norm, row.model), []).append((i, row))
    return Page(
        title=table.title,
        columns={m: _column(m, table.robust) for m in MEASURES},
        blocks=tuple(
            Block(
                heading=_heading(rows[0][1], {row.checkpoint for _, row in rows}),
                norm=rows[0][1].norm,
                lines=tuple(_lines(rows, marked, numbered)),
            )
            for rows in blocks.values()
        ),
        common=f"All rows: {', '.join(common)}." if common else "",
        notes=tuple((i, mark) for mark, i in numbered.items()),
        remedies=tuple(_remedies(table)),
    )


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
    return f"{cell.mean:.2f}" if cell.std is None else f"{cell.mean:.2f} ± {cell.std:.2f}"


def _column(measure: str, robust: str) -> str:
    based = measure in ("mean", "nrr") and robust != "aa"
    return f"{TITLES[measure]} ({TITLES[robust]})" if based else TITLES[measure]


def _heading(row: Row, checkpoints: Collection[str]) -> str:
    facts = DATASETS.get(row.dataset)
    name = facts.title if facts else row.dataset
    if row.source != "official":
        name += f" ({row.source.replace('-', ' ')})"
    model = MODEL_TITLES.get(row.model, row.model)
    kinds = " and ".join(kind for kind in ("best", "final") if kind in checkpoints)
    return " · ".join(
        (name, model, NORM_TITLES.get(row.norm, row.norm), f"{kinds or 'any'} checkpoint")
    )


def _lines(
    rows: Sequence[tuple[int, Row]],
    marked: Mapping[tuple[int, str], set[str]],
    numbered: Mapping[str, int],
) -> list[Line]:
    lines = []
    bases = {row.method for _, row in rows if not row.rpat}
    both = len({row.checkpoint for _, row in rows}) > 1
    above: Row | None = None
    for i, row in rows:
        depth = int(row.rpat and row.method in bases)
        label = "+ RPAT" if depth else method_title(row.method) + " + RPAT" * row.rpat
        variant = row.variant
        if both and row.checkpoint == "final":
            if above and (above.group, above.data) == (row.group, row.data) and row.group:
                depth, label, variant = depth + 1, "final", ""
            else:
                label += ", final"
        lines.append(
            Line(
                kind="row",
                depth=depth,
                label=label,
                variant=variant,
                notes=tuple(numbered[mark] for mark in row.marks if mark in numbered),
                cells={m: number(row.cell(m)) for m in MEASURES},
                n=str(row.n),
                marked={m: marked[i, m] for m in MEASURES if (i, m) in marked},
            )
        )
        lines += _paper_lines(row, depth + 1)
        above = row
    return lines


def _paper_lines(row: Row, depth: int) -> list[Line]:
    if row.paper is None:
        return []
    digits = {"mean": 3, "nrr": 3}
    printed = {
        m: DASH if value is None else f"{value:.{digits.get(m, 2)}f}"
        for m, value in row.printed().items()
    }
    lines = [Line(kind="paper", depth=depth, label="paper", cells=printed)]
    if row.diff:
        diffs = {m: _difference(row.diff.get(m)) for m in MEASURES}
        lines.append(Line(kind="diff", depth=depth, label="difference", cells=diffs))
    return lines


def _difference(value: float | None) -> str:
    if value is None:
        return ""
    shown = round(value, 2) + 0.0  # no minus before a zero
    return f"{shown:+.2f}" + (" !" if verdict(value) == "off" else "")


def _remarks(rows: Sequence[Row]) -> tuple[list[str], dict[str, int]]:
    """Split the marks: those of every row with runs, and the others, numbered as they appear."""
    ours = [row for row in rows if row.n]
    marks = list(dict.fromkeys(mark for row in ours for mark in row.marks))
    common = [m for m in marks if len(ours) > 1 and all(m in row.marks for row in ours)]
    rest = [m for m in marks if m not in common]
    return common, {mark: i for i, mark in enumerate(rest, start=1)}


def _remedies(table: Table) -> list[str]:
    """Say what would fill the empty cells, and what `!` means."""
    found = []
    without = list(dict.fromkeys(run for row in table.rows if row.aa is None for run in row.runs))
    if without:
        named = " ".join(without[:3]) + (" …" if len(without) > 3 else "")
        found.append(f"Where AA is empty, `rpat eval {named} --attack aa` fills it.")
    if any(row.n == 0 for row in table.rows):
        found.append("n 0: printed in the paper, no finished run here yet.")
    if any(verdict(d) == "off" for row in table.rows for d in (row.diff or {}).values()):
        found.append(f"! more than {TOLERANCE:g} points from the paper.")
    return found
