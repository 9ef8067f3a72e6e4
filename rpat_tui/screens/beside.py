"""The texts of the Compare screen: groups, configs, results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from rpat_tui import sheet
from rpat_tui.charts.grid import ASCII, cut
from rpat_tui.contrast import Contrast, Group
from rpat_tui.launch.differences import word

LINES = "━┅┉╍"
"""Samples of the dashes of curves."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the texts look: in the colours of the theme, in Unicode or ASCII."""

    colours: Sequence[str]
    ascii_only: bool
    states: Mapping[str, str]

    def colour(self, letter: str) -> str:
        """Return the colour of a group."""
        return self.colours[(ord(letter) - ord("A")) % len(self.colours)]

    def plain(self, text: str) -> str:
        """Write a text with the signs that the terminal has."""
        return text.translate(ASCII) if self.ascii_only else text

    def cut(self, text: str, size: int) -> str:
        """Shorten a text to some cells."""
        return cut(text, size, "~" if self.ascii_only else "…")


def groups_text(groups: Sequence[Group], shown: set[str], at: int, look: Look) -> Text:
    """Return a line for each group, and below it its runs with their states."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for i, group in enumerate(groups):
        style = look.colour(group.letter) if group.letter in shown else "dim strike"
        sign = "-" if look.ascii_only else LINES[(ord(group.letter) - ord("A")) % len(LINES)]
        few = " (!)" if group.n < 3 else ""
        text.append(
            f"{group.letter} {sign} {look.plain(group.title)}  n={group.n}{few}\n",
            style=f"{style} reverse" if i == at else style,
        )
        states = Counter(group.states)
        counted = ", ".join(f"{look.states.get(s, '?')} {k} {s}" for s, k in states.items())
        text.append(f"     {' '.join(group.ids)}  {counted}\n", style="dim")
    text.rstrip()
    return text


def config_text(made: Contrast, code: Sequence[str], every: bool, width: int, look: Look) -> Text:
    """Return the keys in which the configs differ, or all, then how the code differs."""
    text = Text(no_wrap=True, overflow="ellipsis")
    rows = made.settings if every else made.differing
    values = {key: [look.plain(word(v)) for v in row] for key, row in rows.items()}
    longest = [max([1, *(len(row[i]) for row in values.values())]) for i in range(len(made.groups))]
    name_size = min(max([8, *(len(key.rpartition(".")[2]) + 1 for key in values)]), 16)
    each = max((width - name_size - 1) // max(len(longest), 1) - 1, 3)
    sizes = [min(size, each) for size in longest]
    if len(made.groups) > 1 or every:
        text.append(" " * (name_size + 1))
        for group, size in zip(made.groups, sizes, strict=True):
            text.append(group.letter.ljust(size + 1), style=f"bold {look.colour(group.letter)}")
        text.append("\n")
    section = ""
    for key, row in values.items():
        head, _, name = key.rpartition(".")
        if head != section and head:
            text.append(f"{head}\n", style="dim")
        section = head
        text.append(f"{' ' * bool(head)}{look.cut(name, name_size - 1)}".ljust(name_size + 1))
        different = len(set(row)) > 1
        for value, size in zip(row, sizes, strict=True):
            text.append(look.cut(value, size).ljust(size + 1), style="" if different else "dim")
        text.append("\n")
    if len(made.groups) > 1 and not rows:
        text.append("the configs are equal\n")
    if code:
        text.append("code and environment\n", style="dim")
        text.append("\n".join(map(look.plain, code)))
    text.rstrip()
    return text


def code_line(found: Mapping[str, Any]) -> str:
    """Say how the code and the versions behind two runs differ."""
    code, said = found["code"], []
    if code is None:
        said.append("same code")
    elif code["missing"]:
        said.append("code differs")
    elif not code["files"]:
        said.append("same files")
    else:
        lines = code["diff"].splitlines()
        added = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
        gone = sum(line.startswith("-") and not line.startswith("---") for line in lines)
        files = len(code["files"])
        said.append(f"{files} file{'s' * (files > 1)}, +{added} -{gone}")
    changed = [key for key in found["environment"] if key not in ("user", "host")]
    if changed:
        said.append(f"other {', '.join(changed[:3])}" + " …" * (len(changed) > 3))
    if found["data"]:
        said.append("other images")
    return "; ".join(said)


def results_text(made: Contrast, width: int, look: Look) -> Text:
    """Return cells, differences and chances, as wide as there is room, then the remarks."""
    text = Text(no_wrap=False, overflow="fold")
    if not made.groups:
        return text
    names = made.measures
    cells = {g.letter: [sheet.cell_text(made.cells.get((g.letter, m))) for m in names]
             for g in made.groups}  # fmt: skip
    size = max(10, *(len(c) for row in cells.values() for c in row)) + 1
    label = min(max(len(g.title) for g in made.groups) + 3, max(width - size * len(names) - 1, 5))
    heads = [sheet.title(made, m).replace(" (PGD-20)", "") for m in names]
    text.append(" " * label + "".join(head.rjust(size) for head in heads) + "\n", style="dim")
    for group in made.groups:
        name = f"{group.letter} {look.plain(group.title)}"
        text.append(look.cut(name, label - 1).ljust(label), style=look.colour(group.letter))
        text.append("".join(look.plain(c).rjust(size) for c in cells[group.letter]) + "\n")
    first = made.groups[0].letter
    for group in made.groups[1:]:
        tests = [made.tests.get((group.letter, m)) for m in names]
        text.append(f"{group.letter}-{first}".ljust(label), style="bold")
        if all(test is None or test.diff is None for test in tests):
            text.append(f" {sheet.why_not(made, group.letter)}\n", style="dim")
            continue
        for test in tests:
            starred = test is not None and test.significant
            text.append(sheet.difference(test).rjust(size), style="bold" if starred else "")
        text.append("\n")
        if reason := sheet.why_not(made, group.letter):
            text.append(" " * label + f" {reason}\n", style="dim")
        else:
            shown = "".join(sheet.chance(test).rjust(size) for test in tests)
            text.append(" " * label + shown + "\n")
    if made.robust != "aa" and made.cells:
        text.append("Mean and NRR rest on PGD-20: no AutoAttack here yet\n", style="dim")
    for note in sheet.notes(made):
        text.append(look.plain(note) + "\n", style="dim")
    text.rstrip()
    return text
