"""Words and tables as HTML: everything that came from outside is escaped here."""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rpat_tui.launch.differences import word as shown

DASH = "\N{EN DASH}"


def text(value: Any) -> str:
    """Return a value as text of a page: escaped, without characters that no page may hold."""
    words = "".join(c if c.isprintable() or c in "\n\t" else " " for c in str(value))
    return html.escape(words, quote=True)


def utc(t: float | None) -> str:
    """Format UTC seconds."""
    return DASH if t is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(t))


def number(value: float | None, digits: int = 2) -> str:
    """Format a number, a dash for none."""
    return DASH if value is None else f"{value:.{digits}f}"


def cell(inner: str, kind: str = "", *, head: bool = False, scope: str = "row") -> str:
    """Return a cell around inner HTML."""
    name = f' class="{kind}"' if kind else ""
    return f'<th scope="{scope}"{name}>{inner}</th>' if head else f"<td{name}>{inner}</td>"


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Iterable[str] = (),
    words: Iterable[str] = (),
) -> str:
    """Return a table of plain values; the first cell of a row names it.

    Columns of `right` are numbers, those of `words` may break.
    """
    kinds = ["n" if h in right else "words" if h in words else "" for h in heads]
    body = "".join(
        "<tr>"
        + "".join(
            cell(value if isinstance(value, Markup) else text(value), kind, head=i == 0)
            for i, (value, kind) in enumerate(zip(row, kinds, strict=True))
        )
        + "</tr>\n"
        for row in rows
    )
    return whole(caption, list(zip(heads, kinds, strict=True)), body)


def whole(caption: str, heads: Sequence[tuple[str, str]], body: str) -> str:
    """Return a table around rows that are HTML already."""
    top = "".join(cell(text(h), kind, head=True, scope="col") for h, kind in heads)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption>\n<thead><tr>{top}</tr></thead>\n"
        f"<tbody>\n{body}</tbody></table></div>\n"
    )


class Markup(str):
    """HTML that is finished: not escaped again."""


def state(word: str) -> Markup:
    """Return a run's state in its colour."""
    return Markup(f'<span class="state {text(word)}">{text(word)}</span>')


def details(summary: str, inner: str) -> str:
    """Return a part of the page that is folded."""
    return f"<details><summary>{summary}</summary><div>\n{inner}</div></details>\n"


def facts(caption: str, values: Mapping[str, Any]) -> str:
    """Return names and values as a table of two columns."""
    return table(caption, ["what", "value"], values.items(), words=["value"])


def setting(value: Any) -> str:
    """Return a value of a config as people write it."""
    return shown(value)
