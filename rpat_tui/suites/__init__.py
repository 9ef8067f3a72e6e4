"""Sets of runs that belong together: the paper's tables and figures as data, and users' own.

A suite is a TOML file: `title`, what makes its `figure`, and `rows`, each with a label and what
`rpat run` would be asked (`method`, `with`, `set`, …). `from = "paper"` with `table = N` stands
for the rows of a printed table, each with the preset that trains it. The files beside this
module are the paper's; a path to a file of the same form is a suite as well.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rpat import published
from rpat.config import RunConfig
from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat.published import Published
from rpat.recipes import label, preset_of_row
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
_SUITE = {
    "title": str, "figure": str, "checkpoint": str, "note": str, "rows": list, "seeds": str,
    "eval": str, "from": str, "table": int,
}  # fmt: skip
EVALUATIONS = ("none", "pgd", "aa")
SOURCES = ("official", "image-folder")
_WORDS = {str: "a text", list: "a list", int: "a whole number", dict: "a table"}


@dataclass(frozen=True, slots=True)
class Row:
    """One entry: a label and what is asked of `rpat run`."""

    label: str
    request: Request
    case: str = ""  # of a perception study: noise or pgd
    paper_label: str = ""  # as the paper's figure prints it, where that differs
    printed: Published | None = None  # the row of the paper's table that it is


@dataclass(frozen=True, slots=True)
class Suite:
    """Rows, and what is drawn from them."""

    name: str
    title: str
    rows: tuple[Row, ...]
    figure: str = ""
    checkpoint: str = "best"
    note: str = ""
    seeds: str = "0"
    evaluation: str = "aa"
    table: int = 0  # the paper's table that it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run of a row: its config, and the same on images from another source.

    The first of `configs` is what would be trained here, after those `before` it; `missing` says
    why its images cannot be had. A row that lists methods has an entry of each, with a `label` of
    its own.
    """

    row: Row
    label: str
    configs: tuple[RunConfig, ...]
    before: tuple[RunConfig, ...] = ()
    missing: str = ""

    @property
    def config(self) -> RunConfig:
        """What would be trained."""
        return self.configs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a person changes in every row: other images, a shorter run, other seeds."""

    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    epochs: int = 0
    seeds: tuple[str, ...] = ()  # empty: the suite's own
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


def entries(suite: Suite, changes: Changes) -> list[Entry]:
    """Return what each row consists of, one entry a seed; nothing is refused for want of images.

    Rows that changes have made equal (a table's three data sets, all on digits) count once.
    """
    found: dict[str, Mapping[str, Any] | str] = {}
    made: dict[str, Entry] = {}
    for row in suite.rows:
        request = _changed(row.request, suite, changes)
        kinds = [compose.combinations(replace(request, source=source)) for source in SOURCES]
        for alike in zip(*kinds, strict=True):
            name = alike[0].data.name
            if name not in found:
                found[name] = _place(name, changes)
            entry = _entry(row, alike, found[name])
            made.setdefault(entry.config.fingerprint(), entry)
    return list(made.values())


def checkpoints(suite: Suite, entry: Entry) -> tuple[str, ...]:
    """Return the weights that a suite shows: the final ones too where the paper prints them."""
    printed = entry.row.printed
    if printed is not None and printed.aa_final is not None:
        return ("best", "final")
    return (suite.checkpoint,)


def configs(suite: Suite, changes: Changes) -> list[tuple[Row, list[RunConfig]]]:
    """Return each row with the configs that would be trained, one a seed."""
    there = entries(suite, changes)
    return [(row, [e.config for e in there if e.row is row]) for row in suite.rows]


def _entry(row: Row, alike: Sequence[RunConfig], place: Mapping[str, Any] | str) -> Entry:
    """Put the images that are here first; `place` is where they lie, or why they do not."""
    if not isinstance(place, str):
        ours = alike[0].override(place)
        alike = [ours, *(config for config in alike if config.data.source != ours.data.source)]
    whole = [compose.with_prerequisites(config) for config in alike]
    unlike = {some[-1].fingerprint(): some[-1] for some in whole}
    config = alike[0]
    named = row.label
    if len(row.request.methods) > 1:
        method = label(config) + "+rpat" * (config.wrapper("rpat") is not None)
        plain = row.label == ",".join(row.request.methods)
        named = method if plain else f"{row.label}, {method}"
    return Entry(
        row=row,
        label=named,
        configs=tuple(unlike.values()),
        before=tuple(whole[0][:-1]),
        missing=place if isinstance(place, str) else "",
    )


def _place(dataset: str, changes: Changes) -> Mapping[str, Any] | str:
    try:
        return compose.find_data(dataset, changes.data_dir, changes.data_dir_given)
    except ConfigError as error:
        return str(error)


def _changed(request: Request, suite: Suite, changes: Changes) -> Request:
    return replace(
        request,
        datasets=changes.datasets or request.datasets,
        models=changes.models or request.models,
        norms=changes.norms or request.norms,
        epochs=changes.epochs or request.epochs,
        axes={"seed": changes.seeds or compose.read_seeds(suite.seeds)},
        fixed={**request.fixed, "eval.attack": suite.evaluation, **changes.fixed},
    )


def _suite(file: Path, values: Mapping[str, Any]) -> Suite:
    _only(file, values, _SUITE)
    figure, checkpoint = values.get("figure", ""), values.get("checkpoint", "best")
    if figure not in FIGURES:
        raise ConfigError(f"suite {file}: figure {unknown(figure, FIGURES[:-1])}")
    if checkpoint not in ("best", "final"):
        raise ConfigError(f"suite {file}: checkpoint {unknown(checkpoint, ('best', 'final'))}")
    evaluation = values.get("eval", "pgd" if figure == "perception" else "aa")
    if evaluation not in EVALUATIONS:
        raise ConfigError(f"suite {file}: eval {unknown(evaluation, EVALUATIONS)}")
    try:
        compose.read_seeds(values.get("seeds", "0"))
    except ConfigError as error:
        raise ConfigError(f"suite {file}: {str(error).removeprefix('--')}") from None
    return Suite(
        name=file.stem,
        title=values.get("title", file.stem),
        rows=_rows(file, values),
        figure=figure,
        checkpoint=checkpoint,
        note=values.get("note", ""),
        seeds=values.get("seeds", "0"),
        evaluation=evaluation,
        table=values.get("table", 0),
    )


def _rows(file: Path, values: Mapping[str, Any]) -> tuple[Row, ...]:
    """Return the rows of a printed table, then those that the file writes out."""
    rows: list[Row] = []
    if "from" in values or "table" in values:
        if values.get("from") != "paper":
            raise ConfigError(f'suite {file}: from is {values.get("from")!r}; write "paper"')
        tables = sorted({row.table for row in published.rows()})
        if values.get("table") not in tables:
            raise ConfigError(
                f"suite {file}: table is {values.get('table')!r}; "
                f"the paper has {', '.join(map(str, tables))}"
            )
        rows += [_printed(row) for row in published.rows() if row.table == values["table"]]
    written = values.get("rows", [])
    rows += [_row(file, row) for row in written]
    if not rows:
        raise ConfigError(f"suite {file}: [[rows]] is missing; write one for each run")
    return tuple(rows)


def _printed(row: Published) -> Row:
    """Return a printed row with the preset that trains it."""
    request = Request(
        preset=preset_of_row(row.method, row.rpat, row.cutmix),
        datasets=(row.dataset,), models=(row.model,), norms=(row.norm,),
    )  # fmt: skip
    return Row(row.name + " + CutMix" * row.cutmix, request, printed=row)


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
    named = values.get("label") or ",".join(request.methods) or values["preset"]
    return Row(named, request, values.get("case", ""), values.get("paper_label", ""))


def _only(file: Path, values: Mapping[str, Any], known: Mapping[str, type]) -> None:
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"suite {file}: {unknown(key, known)}")
        if not isinstance(value, known[key]):
            raise ConfigError(f"suite {file}: {key} is {value!r}; write {_WORDS[known[key]]}")
