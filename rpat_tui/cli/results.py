"""How evaluations, findings and jobs look in a terminal; `show`, `eval` and `watch` share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rpat_tui.cli.output import figure, plain_table
from rpat_tui.sentences import attack_name

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}
SIGNS = {"error": "✗", "warning": "!", "note": "·"}


def evaluation_table(found: Sequence[dict[str, Any]]) -> Table:
    """Return evaluations as a table, a row each."""
    from rpat.knobs import show

    table = plain_table(
        "weights", "network", "epoch", "attack", "radius", "clean", "robust", "images", "remarks",
        right=("epoch", "clean", "robust", "images"),
    )  # fmt: skip
    table.columns[-1].no_wrap = False
    for e in found:
        images = str(e["n"]) if e["n"] == e["of_n"] else f"{e['n']} of {e['of_n']}"
        table.add_row(
            e["checkpoint"], e["network"], str(e["epoch"] or "–"), attack_name(e),
            f"{e['norm']} {show(e['epsilon'])}", figure(e["clean"], 2), figure(e["robust"], 2),
            images, ", ".join(filter(None, _remarks(e))),
        )  # fmt: skip
    return table


def _remarks(e: dict[str, Any]) -> list[str]:
    return [
        f"selected on {e['selected_on']}" if e["selected_on"] else "",
        f"on the {e['split']} split" if e["split"] != "test" else "",
        e["note"],
        f"differs: {e['differs']}" if e.get("differs") else "",
        e.get("job", ""),
    ]


def finding_lines(found: Sequence[dict[str, Any]]) -> list[Text]:
    """Return the linter's findings, each with what to do, as lines."""
    from rich.text import Text

    lines = []
    for f in found:
        place = " ".join(filter(None, [f["checkpoint"], f["network"]]))
        head = f"{SIGNS[f['level']]} {f['rule']}" + (f" ({place})" if place else "")
        lines.append(Text.assemble((head, COLOURS[f["level"]]), f": {f['text']}"))
        lines.append(Text(f"  {f['do']}", style="dim"))
    return lines
