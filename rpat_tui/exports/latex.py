"""A LaTeX `tabular` for a document with `\\usepackage{booktabs}`."""

from __future__ import annotations

import re
from typing import TextIO

from rpat_tui.exports._layout import NO_RUN, NORM_TITLES, Block, Line, lay_out
from rpat_tui.table import MEASURES, Table

_NORMS = {"linf": r"$\ell_\infty$", "l2": r"$\ell_2$"}
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "\N{EN DASH}": "--",
    "…": r"\dots{}",
}


def write(table: Table, out: TextIO) -> None:
    """Write the tabular, its notes below it, and remedies as comments."""
    if not table.rows:
        out.write(escape(NO_RUN) + "\n")
        return
    page = lay_out(table)
    if page.title:
        out.write(f"% {page.title}\n")
    out.write("% needs \\usepackage{booktabs}\n")
    out.write("".join(f"% {remedy}\n" for remedy in page.remedies))
    out.write(f"\\begin{{tabular}}{{l{'r' * len(MEASURES)}r}}\n\\toprule\n")
    out.write(" & ".join(["Method", *map(escape, page.columns.values()), "$n$"]) + " \\\\\n")
    for block in page.blocks:
        out.write(f"\\midrule\n\\multicolumn{{{len(MEASURES) + 2}}}{{l}}")
        out.write(f"{{\\textit{{{_heading(block)}}}}} \\\\\n")
        for line in block.lines:
            cells = [_label(line), *(_cell(line, m) for m in MEASURES), line.n]
            out.write(" & ".join(cells).rstrip() + " \\\\\n")
    out.write("\\bottomrule\n\\end{tabular}\n")
    notes = [f"\\textsuperscript{{({number})}} {escape(note)}" for number, note in page.notes]
    for note in [escape(page.common)] * bool(page.common) + notes:
        out.write(f"\\par{{\\footnotesize {note}\\par}}\n")


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is; `code` becomes typewriter."""
    plain = "".join(_ESCAPES.get(character, character) for character in text)
    return re.sub(r"`([^`]*)`", lambda found: rf"\texttt{{{found[1]}}}", plain)


def _heading(block: Block) -> str:
    spoken = escape(NORM_TITLES.get(block.norm, block.norm))
    return escape(block.heading).replace(spoken, _NORMS.get(block.norm, spoken), 1)


def _label(line: Line) -> str:
    indent = f"\\hspace{{{line.depth}em}}" if line.depth else ""
    text = indent + escape(line.label)
    if line.variant:
        text += f" ({escape(line.variant)})"
    return text + "".join(f"\\textsuperscript{{({n})}}" for n in line.notes)


def _cell(line: Line, measure: str) -> str:
    text, marks = escape(line.cells[measure]), line.marked.get(measure, ())
    if "underline" in marks:
        text = f"\\underline{{{text}}}"
    if "bold" in marks:
        text = f"\\textbf{{{text}}}"
    return text if line.kind == "row" or not text else f"\\textit{{{text}}}"
