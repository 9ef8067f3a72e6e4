"""Sets of runs that belong together: the paper's figures as data, and users' own.

A suite is a TOML file: `title`, what makes its `figure`, and `rows`, each with a label and what
`rpat run` would be asked (`method`, `with`, `set`, …). The files beside this module are the
paper's; a path to a file of the same form is a suite as well.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rpat.config import RunConfig
from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui import compose
from rpat_tui.compose import Request

FIGURES = ("perception", "accuracy", "")
"""What a suite draws: a study of its networks, or their accuracies; '' for nothing."""

CASES = ("noise", "pgd", "")
"""What a perception study's row shows; '' for all."""

_ROW = {
    "label": str, "method": str, "with": list, "preset": str, "dataset": str, "model": str,
    "norm": str, "epochs": int, "set": dict, "case": str, "paper_label": str,
}  # fmt: skip
_SUITE = {"title": str, "figure": str, "checkpoint": str, "note": str, "rows": list}
_WORDS = {str: "a text", list: "a list", int: "a whole number", dict: "a table"}


@dataclass(frozen=True, slots=True)
class Row:
    """One entry: a label and what is asked of `rpat run`."""

    label: str
    request: Request
    case: str = ""  # of a perception study: noise or pgd
    paper_label: str = ""  # as the paper's figure prints it, where that differs


@dataclass(frozen=True, slots=True)
class Suite:
    """Rows, and what is drawn from them."""

    name: str
    title: str
    rows: tuple[Row, ...]
    figure: str = ""
    checkpoint: str = "best"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a person changes in every row: other images, a shorter run, other seeds."""

    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    epochs: int = 0
    seeds: tuple[str, ...] = ("0",)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    data_dir: Path | None = None
    data_dir_given: bool = False


def names() -> list[str]:
    """Return the names of the suites that come with the package."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.toml"))


def load(name: str) -> Suite:
    """Return a suite by its name or the path of its file; `ConfigError` for one that is none."""
    file = Path(__file__).parent / f"{name}.toml"
    if name not in names():
        file = Path(name).expanduser()
        if file.suffix != ".toml":
            raise ConfigError(f"suite {unknown(name, names())}")
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"suite {file}: {error}") from None
    return _suite(file, values)


def configs(suite: Suite, changes: Changes) -> list[tuple[Row, list[RunConfig]]]:
    """Return each row with its configs, one a seed."""
    return [
        (row, [compose.with_prerequisites(c)[-1] for c in _combinations(row, changes)])
        for row in suite.rows
    ]


def prerequisites(suite: Suite, changes: Changes) -> list[RunConfig]:
    """Return the configs that must come before those of the rows: teachers, natural starts."""
    return [
        before
        for row in suite.rows
        for config in _combinations(row, changes)
        for before in compose.with_prerequisites(config)[:-1]
    ]


def _combinations(row: Row, changes: Changes) -> list[RunConfig]:
    return compose.combinations(_changed(row.request, changes))


def _changed(request: Request, changes: Changes) -> Request:
    return replace(
        request,
        datasets=changes.datasets or request.datasets,
        models=changes.models or request.models,
        norms=changes.norms or request.norms,
        epochs=changes.epochs or request.epochs,
        axes={"seed": changes.seeds},
        fixed={**request.fixed, **changes.fixed},
        data_dir=changes.data_dir,
        data_dir_given=changes.data_dir_given,
    )


def _suite(file: Path, values: Mapping[str, Any]) -> Suite:
    _only(file, values, _SUITE)
    rows = values.get("rows")
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"suite {file}: [[rows]] is missing; write one for each run")
    figure, checkpoint = values.get("figure", ""), values.get("checkpoint", "best")
    if figure not in FIGURES:
        raise ConfigError(f"suite {file}: figure {unknown(figure, FIGURES[:-1])}")
    if checkpoint not in ("best", "final"):
        raise ConfigError(f"suite {file}: checkpoint {unknown(checkpoint, ('best', 'final'))}")
    return Suite(
        name=file.stem,
        title=values.get("title", file.stem),
        rows=tuple(_row(file, row) for row in rows),
        figure=figure,
        checkpoint=checkpoint,
        note=values.get("note", ""),
    )


def _row(file: Path, values: Any) -> Row:
    if not isinstance(values, dict):
        raise ConfigError(f"suite {file}: rows must be tables; write [[rows]] above each")
    _only(file, values, _ROW)
    if values.get("case", "") not in CASES:
        raise ConfigError(f"suite {file}: case {unknown(values['case'], CASES[:-1])}")
    if not (values.get("method") or values.get("preset")):
        raise ConfigError(f"suite {file}: a row names neither a method nor a preset")
    request = Request(
        methods=compose.words(values.get("method")),
        wrappers=tuple(str(name) for name in values.get("with", ())),
        preset=values.get("preset", ""),
        datasets=compose.words(values.get("dataset")),
        models=compose.words(values.get("model")),
        norms=compose.words(values.get("norm")),
        epochs=values.get("epochs", 0),
        fixed=values.get("set", {}),
    )
    label = values.get("label") or values.get("method") or values["preset"]
    return Row(label, request, values.get("case", ""), values.get("paper_label", ""))


def _only(file: Path, values: Mapping[str, Any], known: Mapping[str, type]) -> None:
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"suite {file}: {unknown(key, known)}")
        if not isinstance(value, known[key]):
            raise ConfigError(f"suite {file}: {key} is {value!r}; write {_WORDS[known[key]]}")
