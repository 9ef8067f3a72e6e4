"""The columns of the run table: what each shows of a line, and which of them fit. No terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from rpat_tui.glyphs import SHORT, Glyphs, duration
from rpat_tui.store.rows import Line, Stat

Cell = tuple[str, str]
"""A text and the name of its style; '' is plain."""

GAP = 1
MACHINE = 8
"""Cells that the name of a machine takes in an id at most; the number is never cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: `wide` is its width when it shows means with their spread."""

    name: str
    title: str
    width: int
    cell: Callable[[Line, Glyphs], Cell]
    right: bool = False
    wide: int = 0
    grows: int = 0
    """How much wider it may become where there is room."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A column on the screen."""

    column: Column
    x: int
    width: int


def clean(text: str, glyphs: Glyphs) -> str:
    """Return a text without what would move the cursor, join signs or change the direction."""
    kept = "".join(c if c.isprintable() else " " if c in "\n\r\t" else "" for c in text)
    kept = kept.replace("\ufe0f", "")
    return kept if glyphs.name != "ascii" else kept.encode("ascii", "replace").decode()


def fit(text: str, width: int, glyphs: Glyphs, *, right: bool = False) -> str:
    """Return a text that is exactly so many cells wide; what is cut off is marked."""
    size = cell_len(text)
    if size > width:
        cut = set_cell_size(text, max(width - cell_len(glyphs.more), 0)) + glyphs.more
        return set_cell_size(cut, width)
    return " " * (width - size) + text if right else text + " " * (width - size)


def _number(value: float, digits: int, width: int) -> str:
    text = f"{value:.{digits}f}"
    return text if len(text) <= width else f"{value:.1e}"


def _stat(name: str, digits: int, style: str = "") -> Callable[[Line, Glyphs], Cell]:
    def cell(line: Line, glyphs: Glyphs) -> Cell:
        found = line.values.get(name)
        if found is None:
            return glyphs.missing, "missing"
        return _spread(found, digits, glyphs), style

    return cell


def _spread(stat: Stat, digits: int, glyphs: Glyphs) -> str:
    """Return a number; a mean with its spread, whose leading zero goes."""
    middle = _number(stat.value, digits, digits + 5)
    if stat.std is None:
        return middle
    spread = ""
    for kept in range(digits, -1, -1):
        spread = f"{stat.std:.{kept}f}"
        spread = spread.removeprefix("0") or "0"
        if len(spread) <= max(digits + 1, 3):
            break
    return middle + glyphs.spread + spread


def _id(line: Line, glyphs: Glyphs) -> Cell:
    if line.folds:
        return f"n={len(line.members)}", "group"
    machine, _, own = line.id.rpartition(":")
    if len(machine) > MACHINE:
        machine = machine[: MACHINE - 1] + glyphs.more
    name = f"{machine}:{own}" if machine else own
    return (f"{glyphs.member}{name}" if line.inside else name), ""


def _state(line: Line, glyphs: Glyphs) -> Cell:
    if line.archived:
        return f"{glyphs.states['archived']} {line.state}", "archived"
    return f"{glyphs.states[line.state]} {line.state}", line.state


def _method(line: Line, glyphs: Glyphs) -> Cell:
    return clean(line.method, glyphs) + "+rpat" * bool(line.rpat), "group" if line.folds else ""


def _lam(line: Line, glyphs: Glyphs) -> Cell:
    return (glyphs.missing, "missing") if line.lam is None else (f"{line.lam:g}", "")


def _dataset(line: Line, glyphs: Glyphs) -> Cell:
    short = SHORT.get(line.dataset, clean(line.dataset, glyphs))
    return (short if line.norm == "linf" else f"{short} {line.norm}"), ""


def _seed(line: Line, glyphs: Glyphs) -> Cell:
    seeds = sorted(set(line.seeds))
    if len(seeds) < 2:
        return (str(seeds[0]), "") if seeds else (glyphs.missing, "missing")
    if seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]}-{seeds[-1]}", "dim"
    return f"{seeds[0]}{glyphs.more}{seeds[-1]}", "dim"


def _epoch(line: Line, glyphs: Glyphs) -> Cell:
    if line.kind != "train":
        share = 100 * line.step / line.steps if line.steps else 0.0
        return (glyphs.missing, "missing") if line.state == "queued" else (f"{share:.0f} %", "")
    if not line.epoch and line.state == "queued":
        return glyphs.missing, "missing"
    return f"{line.epoch}/{line.epochs}", "" if line.epoch < line.epochs else "dim"


def _best(line: Line, glyphs: Glyphs) -> Cell:
    text, style = _stat("best_pgd", 1)(line, glyphs)
    return (f"{text}@{line.best_epoch}" if line.best_epoch and not style else text), style


def _left(line: Line, glyphs: Glyphs) -> Cell:
    found = line.values.get("left")
    return (duration(found.value), "") if found else (glyphs.missing, "missing")


def _took(line: Line, glyphs: Glyphs) -> Cell:
    if line.started is None or line.ended is None:
        return glyphs.missing, "missing"
    return duration(line.ended - line.started), ""


def _created(line: Line, glyphs: Glyphs) -> Cell:
    if line.created is None:
        return glyphs.missing, "missing"
    return time.strftime("%m-%d %H:%M", time.localtime(line.created)), "dim"


def _text(name: str, style: str = "") -> Callable[[Line, Glyphs], Cell]:
    def cell(line: Line, glyphs: Glyphs) -> Cell:
        return clean(str(getattr(line, name) or ""), glyphs), style

    return cell


COLUMNS = {
    column.name: column
    for column in (
        Column(name="id", title="id", width=6, cell=_id, grows=1),
        Column(name="state", title="st", width=10, cell=_state),
        Column(name="method", title="method", width=12, cell=_method, grows=10),
        Column(name="lam", title="λ", width=4, cell=_lam, right=True),
        Column(name="dataset", title="ds", width=6, cell=_dataset, grows=3),
        Column(name="model", title="model", width=10, cell=_text("model"), grows=9),
        Column(name="seed", title="s", width=3, cell=_seed, right=True),
        Column(name="epoch", title="ep", width=7, cell=_epoch, right=True),
        Column(name="clean", title="clean", width=6, wide=8, cell=_stat("clean", 1), right=True),
        Column(name="pgd", title="PGD", width=5, wide=8, cell=_stat("pgd", 1), right=True),
        Column(name="nrr", title="NRR", width=5, wide=8, cell=_stat("nrr", 1), right=True),
        Column(name="mean", title="Mean", width=5, wide=8, cell=_stat("mean", 1), right=True),
        Column(name="best_pgd", title="best", width=8, cell=_best, right=True),
        Column(
            name="logit_mse", title="mse", width=7, wide=13, cell=_stat("logit_mse", 4), right=True
        ),
        Column(name="loss", title="loss", width=6, wide=11, cell=_stat("loss", 3), right=True),
        Column(name="left", title="left", width=6, cell=_left, right=True),
        Column(name="took", title="took", width=6, cell=_took, right=True),
        Column(name="created", title="queued", width=11, cell=_created),
        Column(name="priority", title="prio", width=4, right=True, cell=_text("priority")),
        Column(name="slot", title="slot", width=7, cell=_text("slot")),
        Column(name="sweep", title="sweep", width=10, cell=_text("sweep"), grows=6),
        Column(name="reason", title="why", width=14, cell=_text("reason", "dim"), grows=20),
        Column(name="tags", title="tags", width=10, cell=_text("tags", "dim"), grows=10),
        Column(name="name", title="name", width=12, cell=_text("name"), grows=12),
        Column(name="note", title="note", width=16, cell=_text("note", "dim"), grows=100),
    )
}

DEFAULT = (
    "id", "state", "method", "lam", "dataset", "model", "seed", "epoch", "clean", "pgd", "nrr",
    "left", "name", "tags", "note",
)  # fmt: skip

FIXED = ("id", "state")
"""Stay where they are when the others are moved sideways."""

FIRST_TO_GO = (
    "note", "reason", "tags", "sweep", "name", "created", "took", "slot", "priority", "loss",
    "logit_mse", "best_pgd", "mean", "left", "model", "state's word", "lam", "dataset", "seed",
    "nrr", "epoch", "clean", "pgd", "method",
)  # fmt: skip
"""What a narrow table does without, the dearest last; a state keeps its sign."""


def place(
    names: Sequence[str], width: int, skip: int, *, start: int, means: bool, glyphs: Glyphs,
    ids: int = 0,
) -> tuple[list[Placed], bool]:  # fmt: skip
    """Return the columns that fit from a cell on, and whether some are left out to the right.

    Without `skip` columns go by how dear they are; with it, the first ones that may move have
    gone to the left, and the next ones follow as far as there is room. `ids` is what ids take at
    least.
    """
    chosen = [COLUMNS[name] for name in names]
    widths = {column.name: _width(column, means, glyphs) for column in chosen}
    widths["id"] = max(widths.get("id", 0), ids)
    kept = list(chosen)
    if not skip:
        for name in FIRST_TO_GO:
            if _span(kept, widths) <= width - start:
                break
            if name == "state's word":
                widths["state"] = 2
            kept = [column for column in kept if column.name != name]
    else:
        fixed = [column for column in chosen if column.name in FIXED]
        kept = fixed + [column for column in chosen if column.name not in FIXED][skip:]
        if _span(kept[: len(fixed) + 1], widths) > width - start:
            widths["state"] = 2
    while len(kept) > 1 and _span(kept, widths) > width - start:
        kept.pop()
    cut = len(kept) + skip < len(chosen)
    room = width - start - _span(kept, widths)
    placed, x = [], start
    for column in kept:
        more = min(column.grows, room) if column.grows else 0
        room -= more
        placed.append(Placed(column, x, min(widths[column.name] + more, max(width - x, 0))))
        x += widths[column.name] + more + GAP
    return placed, cut


def _width(column: Column, means: bool, glyphs: Glyphs) -> int:
    if means and column.wide:
        return column.wide + len(glyphs.spread) - 1
    return max(column.width, len(glyphs.lam) + 1 if column.name == "lam" else 0)


def _span(columns: Sequence[Column], widths: dict[str, int]) -> int:
    return sum(widths[column.name] + GAP for column in columns) - GAP
