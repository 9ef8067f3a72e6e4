"""A table as one page of HTML that needs nothing else: no script, no network."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from functools import partial
from typing import TextIO

from rpat_tui.exports._layout import NO_RUN, Line, Page, lay_out, marked, written
from rpat_tui.exports._origin import Exported, named_cells, origin, parts
from rpat_tui.table import Table

MARKS = {"underline": ("<u>", "</u>"), "bold": ("<b>", "</b>")}
STYLE = """\
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .5rem; }
th, td { padding: .15rem .6rem; text-align: right; white-space: nowrap; }
th[scope=row], th.text, td.text { text-align: left; font-weight: 400; }
thead th { border-bottom: 1px solid; font-weight: 600; }
thead th[colspan] { text-align: center; }
tr.heading th { text-align: left; font-weight: 600; padding-top: .9rem; }
tr.paper, tr.diff, tr.test { opacity: .7; font-size: .93em; }
th.d1 { padding-left: 2rem; } th.d2 { padding-left: 3.4rem; } th.d3 { padding-left: 4.8rem; }
.notes { margin-top: .6rem; font-size: .9em; opacity: .85; } .notes p { margin: .2rem 0; }
"""
_SPECIAL = re.compile("[&<>\"']")


def write(table: Table, out: TextIO) -> None:
    """Write a whole document."""
    title = _escape(table.title or "rpat table")
    out.write('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n')
    out.write(f"<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n")
    out.write(fragment(table))
    out.write("</body>\n</html>\n")


def fragment(table: Table) -> str:
    """Return the table and its notes as elements for the body of a page."""
    if not table.rows:
        return f"<p>{_text(NO_RUN)}</p>\n"
    page = lay_out(table)
    made = origin(table)
    lines = [f"<!-- {made} -->"] if made else []
    lines += ["<table>"]
    lines += [f"<caption>{_escape(page.title)}</caption>"] if page.title else []
    lines += ["<thead>", *_header(page), "</thead>"]
    for block in page.blocks:
        lines.append("<tbody>")
        if block.heading:
            heading = _escape(block.heading)
            lines.append(
                f'<tr class="heading"><th colspan="{page.width}" scope="rowgroup">{heading}</th>'
                "</tr>"
            )
        lines += written(block.lines, partial(_line, page))
        lines.append("</tbody>")
    lines += ["</table>", '<div class="notes">']
    lines += [f"<p>{_text(page.common)}</p>"] if page.common else []
    lines += [f"<p><sup>({number})</sup> {_text(note)}</p>" for number, note in page.notes]
    lines += [f"<p>{_text(remedy)}</p>" for remedy in page.remedies]
    lines += [f"<p>{_text(made)}</p>"] if made else []
    return "\n".join([*lines, "</div>"]) + "\n"


def read(text: str) -> list[Exported]:
    """Return the tables of a file that `write` wrote, whatever stands around them."""
    found = []
    for asked, stamp, body in parts(text):
        inner = re.match(r"\s*-->\s*<table>(.*?)</table>", body, re.DOTALL)
        if inner:
            found.append(Exported(html.unescape(asked), stamp, _cells(inner[1])))
    return found


def _cells(inner: str) -> dict[str, str]:
    head, _, body = inner.partition("</thead>")
    rows = [_row_of(row) for row in re.findall(r"<tr[^>]*>.*?</tr>", head, re.DOTALL)]
    titles = [text for _, text in rows[-1][1:]] if rows else []
    if len(rows) > 1:
        names = [text for size, text in rows[0] for _ in range(size) if size > 1 and text]
        shift = titles.index("Venue") + 1 if "Venue" in titles else 0
        titles[shift : shift + len(names)] = [
            f"{name} {title}" for name, title in zip(names, titles[shift:], strict=False)
        ]
    told: list[tuple[int, str, list[str]]] = []
    for row in re.findall(r"<tr[^>]*>.*?</tr>", body, re.DOTALL):
        depth = re.search(r'class="d(\d)"', row)
        cells = [text for _, text in _row_of(row)]
        level = -1 if 'class="heading"' in row else int(depth[1]) if depth else 0
        told.append((level, cells[0], cells[1:]))
    return named_cells(titles, told)


def _row_of(row: str) -> list[tuple[int, str]]:
    """Return the cells of a row: how many columns each spans, and what a reader sees."""
    found = []
    for attributes, inner in re.findall(r"<t[hd]([^>]*)>(.*?)</t[hd]>", row, re.DOTALL):
        size = re.search(r'colspan="(\d+)"', attributes)
        plain = re.sub(r"<[^>]+>", "", re.sub(r"<sup>.*?</sup>", "", inner))
        found.append((int(size[1]) if size else 1, html.unescape(plain).strip()))
    return found


def _header(page: Page) -> list[str]:
    lines = []
    if page.groups:
        size = len(page.columns) // len(page.groups)
        titles = "".join(
            f'<th colspan="{size}" scope="colgroup">{_escape(title)}</th>' for title in page.groups
        )
        lines.append(f"<tr>{'<th></th>' * (1 + page.venues)}{titles}<th></th></tr>")
    names = "".join(
        f'<th scope="col">{_escape(t)}</th>' for t in (*(c.title for c in page.columns), "n")
    )
    venue = '<th scope="col" class="text">Venue</th>' * page.venues
    return [*lines, f'<tr><th scope="col" class="text">Method</th>{venue}{names}</tr>']


def _line(page: Page, line: Line) -> str:
    depth = f' class="d{line.depth}"' if line.depth else ""
    label = _escape(line.label + (f" ({line.variant})" if line.variant else ""))
    label += "".join(f"<sup>({n})</sup>" for n in line.notes)
    venue = f'<td class="text">{_escape(line.cells.get("venue", ""))}</td>' * page.venues
    cells = "</td><td>".join([*marked(page, line, _escape, MARKS), line.n])
    first = f'<th scope="row"{depth}>{label}</th>'
    return f'<tr class="{line.kind}">{first}{venue}<td>{cells}</td></tr>'


def _escape(text: str) -> str:
    return html.escape(text) if _SPECIAL.search(text) else text


def _text(text: str) -> str:
    """Return text with `code` as code."""
    pieces: Sequence[str] = _escape(text).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))
