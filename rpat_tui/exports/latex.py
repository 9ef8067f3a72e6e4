"""A LaTeX `tabular` for a document with `\\usepackage{booktabs}`."""

from __future__ import annotations

import re
from functools import partial
from typing import TextIO

from rpat_tui.exports._layout import (
    NO_RUN,
    NORM_TITLES,
    Block,
    Line,
    Page,
    lay_out,
    marked,
    written,
)
from rpat_tui.exports._origin import Exported, named_cells, origin, parts
from rpat_tui.table import Table

MARKS = {"underline": (r"\underline{", "}"), "bold": (r"\textbf{", "}")}
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
    "●": r"$\bullet$",
    "◌": r"$\circ$",
}
_TRANSLATED = str.maketrans(_ESCAPES)
_RARE = re.compile("[" + re.escape("".join(_ESCAPES.keys() - {"±", "\N{EN DASH}"})) + "`]")
_BEGIN = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=12mm]{geometry}
\usepackage{booktabs,graphicx}
\pagestyle{empty}
\setlength{\parindent}{0pt}
\begin{document}
\small
"""
_FITTED = r"""\noindent\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%
"""
_END = "\\end{document}\n"


def write(table: Table, out: TextIO, *, standalone: bool = False) -> None:
    """Write the tabular, its notes below it, and remedies as comments.

    `standalone` writes a whole document around it, which compiles as it is.
    """
    if standalone:
        out.write(_BEGIN)
    if table.rows:
        _write(table, out, standalone)
    else:
        out.write(escape(NO_RUN) + "\n")
    if standalone:
        out.write(_END)


def _write(table: Table, out: TextIO, standalone: bool) -> None:
    page = lay_out(table)
    if page.title:
        out.write(f"% {page.title}\n")
    if made := origin(table):
        out.write(f"% {made}\n")
    if not standalone:
        out.write("% needs \\usepackage{booktabs}\n")
    out.write("".join(f"% {remedy}\n" for remedy in page.remedies))
    fitted = standalone and page.groups
    if fitted:
        out.write(_FITTED)
    out.write(f"\\begin{{tabular}}{{l{'l' * page.venues}{'r' * len(page.columns)}r}}\n\\toprule\n")
    out.write(_header(page))
    for block in page.blocks:
        out.write("\\midrule\n")
        if block.heading:
            out.write(f"\\multicolumn{{{page.width}}}{{l}}")
            out.write(f"{{\\textit{{{_heading(block)}}}}} \\\\\n")
        out.writelines(written(block.lines, partial(_line, page)))
    out.write("\\bottomrule\n\\end{tabular}\n" + "}\n" * bool(fitted))
    notes = [f"\\textsuperscript{{({number})}} {escape(note)}" for number, note in page.notes]
    notes += [
        escape(said)
        for said in page.remedies
        if said.startswith(("Against", "No test", "!", "●", "◌"))
    ]
    for note in [escape(page.common)] * bool(page.common) + notes:
        out.write(f"\\par{{\\footnotesize {note}\\par}}\n")


def _header(page: Page) -> str:
    """Return the titles of the columns, under those of their groups."""
    above = ""
    if page.groups:
        size = len(page.columns) // len(page.groups)
        first = 2 + page.venues
        titles = [f"\\multicolumn{{{size}}}{{c}}{{{escape(title)}}}" for title in page.groups]
        starts = [first + i * size for i in range(len(titles))]
        rules = [f"\\cmidrule(lr){{{start}-{start + size - 1}}}" for start in starts]
        lead = ["", *[""] * page.venues]
        above = " & ".join([*lead, *titles, ""]).rstrip() + f" \\\\\n{' '.join(rules)}\n"
    titles = [*["Venue"] * page.venues, *(escape(column.title) for column in page.columns)]
    return above + " & ".join(["Method", *titles, "$n$"]) + " \\\\\n"


def read(text: str) -> list[Exported]:
    """Return the tables of a file that `write` wrote, whatever stands around them."""
    return [Exported(asked, stamp, _cells(body)) for asked, stamp, body in parts(text)]


def _cells(body: str) -> dict[str, str]:
    inner = body.partition(r"\begin{tabular}")[2].partition(r"\end{tabular}")[0]
    rows = [
        line.strip().removesuffix(r"\\").strip()
        for line in inner.splitlines()
        if line.rstrip().endswith(r"\\")
    ]
    heads = next((i for i, row in enumerate(rows) if row.startswith("Method &")), None)
    if heads is None:
        return {}
    titles = [_plain(cell) for cell in re.split(r"(?<!\\)&", rows[heads])[1:]]
    groups = re.findall(r"\\multicolumn\{(\d+)\}\{c\}\{(.*?)\}(?= &| *$)", "".join(rows[:heads]))
    names = [_plain(name) for size, name in groups for _ in range(int(size))]
    shift = titles.index("Venue") + 1 if "Venue" in titles else 0
    titles[shift : shift + len(names)] = [
        f"{name} {title}" for name, title in zip(names, titles[shift:], strict=False)
    ]
    told: list[tuple[int, str, list[str]]] = []
    for row in rows[heads + 1 :]:
        if found := re.match(r"\\multicolumn\{\d+\}\{l\}\{(.*)\}$", row):
            told.append((-1, _plain(found[1]), []))
            continue
        label, *cells = re.split(r"(?<!\\)&", row)
        indent = re.match(r"\s*\\hspace\{(\d+)em\}", label)
        depth = int(indent[1]) if indent else 0
        told.append((depth, _plain(label), [_plain(cell) for cell in cells]))
    return named_cells(titles, told)


def _plain(text: str) -> str:
    """Return what a reader sees of a cell, without marks of notes."""
    text = text.replace("$n$", "n")
    text = re.sub(r"\\textsuperscript\{[^{}]*\}|\\hspace\{[^{}]*\}", "", text)
    while (
        less := re.sub(r"\\(?:textbf|underline|textit|texttt)\{([^{}]*)\}", r"\1", text)
    ) != text:
        text = less
    for shown, symbol in sorted(_ESCAPES.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(symbol, shown)
    for shown, symbol in _NORMS.items():
        text = text.replace(symbol, NORM_TITLES[shown])
    return text.strip()


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is; `code` becomes typewriter."""
    if not _RARE.search(text):  # as are most cells, of which there are thousands
        return text.replace("±", _ESCAPES["±"]).replace("\N{EN DASH}", "--")
    plain = text.translate(_TRANSLATED)
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


def _line(page: Page, line: Line) -> str:
    venue = [escape(line.cells.get("venue", ""))] * page.venues
    return " & ".join([_label(line), *venue, *_numbers(page, line), line.n]).rstrip() + " \\\\\n"


def _numbers(page: Page, line: Line) -> list[str]:
    texts = marked(page, line, escape, MARKS)
    if line.kind == "row":
        return texts
    return [f"\\textit{{{text}}}" if text else "" for text in texts]
