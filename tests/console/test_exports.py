"""Every format against its golden file, and what all of them promise."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from rpat import published
from rpat.errors import ConfigError
from rpat_tui import exports
from rpat_tui.compare import seeds_of, summarise
from rpat_tui.contrast import against_base
from rpat_tui.exports import rich as rich_format
from rpat_tui.store.rows import Measurement
from rpat_tui.table import Table

GOLDEN = Path(__file__).parent / "golden"
CONTRACT = [
    "dataset", "source", "norm", "model", "method", "rpat", "checkpoint", "robust", "n",
    "clean", "pgd20", "aa", "mean", "nrr", "variant", "group", "marks", "runs",
]  # fmt: skip


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def measured(run, seed, method, rpat, clean, pgd20, aa, **changes):
    values = {
        "group": f"{method}-{rpat}",
        "dataset": "cifar10",
        "norm": "linf",
        "model": "resnet18",
        "checkpoint": "best",
        "marks": ("selected on test",),
        "config": {"schedule.epochs": 110},
    }
    return Measurement(
        run=run, seed=seed, method=method, rpat=rpat, clean=clean, pgd20=pgd20, aa=aa,
        **(values | changes),
    )  # fmt: skip


def small_table(**options):
    """A base and its RPAT row with two seeds, a missing AA, a variant, a folder of images."""
    short = {"group": "short", "config": {"schedule.epochs": 2}}
    subset = {"marks": ("selected on test", "subset")}
    folder = {"dataset": "cifar100", "source": "image-folder", "norm": "l2"}
    return summarise(
        [
            measured("r0001", 0, "pgd-at", False, 82.71, 50.40, 46.55),
            measured("r0002", 1, "pgd-at", False, 83.05, 50.92, 46.99),
            measured("r0003", 0, "pgd-at", True, 83.11, 51.20, 46.51),
            measured("r0004", 1, "pgd-at", True, 83.47, 51.34, 46.83),
            measured("r0005", 0, "mart", False, 78.10, 53.02, 46.72),
            measured("r0006", 1, "mart", False, 77.86, 52.87, None),
            measured("r0007", 0, "mart", False, 41.30, 29.44, None, **short, **subset),
            measured("r0008", 0, "trades", False, 61.00, 42.80, None, **folder),
            measured("r0008", 0, "trades", False, 61.20, 41.90, None, **folder, checkpoint="final"),
        ],
        **options,
    )


def wide_table():
    """Two data sets beside each other: tests over three seeds, holes, what runs, a CutMix row."""
    other = {"dataset": "cifar100", "group": "other"}
    measured_runs = [
        measured(f"r{i:04d}", seed, "mart", rpat, 70 + seed + 2 * rpat + i / 10, 40 + seed, aa)
        for i, (seed, rpat, aa) in enumerate(
            [(0, False, 40.0), (1, False, 40.4), (2, False, 41.0),
             (0, True, 43.1), (1, True, 43.2), (2, True, 44.1)]
        )
    ]  # fmt: skip
    measured_runs += [
        measured("r0011", 0, "mart", False, 50.72, 30.0, 25.0, **other, marks=("imported",)),
        measured("r0012", 1, "mart", False, 50.92, 30.5, None, **other),
    ]
    made = summarise(measured_runs, paper=True, title="A table of two data sets")
    rows = list(made.rows)
    hole = rows[1]._replace(
        **other, n=0, runs=(), marks=(), clean=None, pgd20=None, aa=None, mean=None,
        nrr=None, diff={}, paper=published.find("cifar100", "linf", "resnet18", "mart", rpat=True),
        open={"clean": "running", "aa": "queued"},
    )  # fmt: skip
    rows.append(hole)
    return replace(
        made,
        rows=tuple(row._replace(stamp=str(i)) for i, row in enumerate(rows)),
        columns=("dataset",),
        venues=True,
        suite="mine.toml",
        tests=against_base(made, seeds_of(measured_runs)),
        asked="rpat table --suite mine.toml --paper --test --layout paper",
    )


def written(name, table, **options):
    out = io.StringIO()
    exports.get(name).write(table, out, **options)
    return out.getvalue()


@pytest.mark.parametrize("paper", [False, True], ids=["plain", "paper"])
@pytest.mark.parametrize("name", exports.names())
def test_a_format_writes_its_golden_file_byte_for_byte(name, paper):
    golden = GOLDEN / f"table{'-paper' * paper}.{name}"
    text = written(name, small_table(paper=paper)).encode()
    if os.environ.get("RPAT_UPDATE_GOLDEN"):
        golden.write_bytes(text)
    assert golden.read_bytes() == text


@pytest.mark.parametrize("name", exports.names())
def test_a_format_writes_a_wide_table_byte_for_byte(name):
    golden = GOLDEN / f"table-wide.{name}"
    text = written(name, wide_table()).encode()
    if os.environ.get("RPAT_UPDATE_GOLDEN"):
        golden.write_bytes(text)
    assert golden.read_bytes() == text


@pytest.mark.parametrize("name", [n for n in exports.names() if n != "rich"])
def test_a_format_reads_back_what_it_wrote(name):
    form, table = exports.get(name), wide_table()
    (found,) = form.read(written(name, table))
    assert (found.asked, found.stamp) == (table.asked, table.stamp)
    shown = set(found.cells.values())
    assert {"json": "50.820000", "csv": "50.82"}.get(name, "50.82 ± 0.14") in shown
    assert len(found.cells) >= 40


def test_the_wide_document_is_the_same_tabular_in_a_document_of_its_own():
    whole = written("latex", wide_table(), standalone=True)
    assert whole.startswith("\\documentclass")
    assert whole.endswith("\\end{document}\n")
    inner = written("latex", wide_table())
    begin = inner.index("\\begin{tabular}")
    assert inner[begin : inner.index("\\end{tabular}")] in whole


def test_the_page_of_html_needs_nothing_from_elsewhere():
    text = written("html", wide_table())
    assert "http" not in text
    assert "<script" not in text
    assert "&lt;.05" not in text
    assert '<th colspan="5" scope="colgroup">CIFAR-100</th>' in text


def test_blocks_of_columns_that_do_not_fit_a_terminal_become_blocks_of_rows():
    text = written("rich", wide_table(), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "CIFAR-10 · ResNet-18" in text
    assert "CIFAR-100 · ResNet-18" in text


@pytest.mark.parametrize("name", exports.names())
def test_a_format_writes_an_empty_table_that_ends_its_line(name):
    text = written(name, Table())
    assert text.endswith("\n")
    assert "nan" not in text.lower()
    if name not in ("csv", "json"):
        assert "rpat demo" in text
        assert "rpat run" in text


@pytest.mark.parametrize("name", exports.names())
def test_a_format_loads_neither_numbers_nor_tables_it_does_not_need(name):
    heavy = {"torch", "numpy", "scipy", "textual", "sqlite_utils", "pydantic"}
    if name != "rich":
        heavy.add("rich")
    code = f"from rpat_tui import exports; exports.get({name!r}); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(done.stdout.split())


def test_the_folder_is_the_registry():
    assert {"rich", "md", "latex", "csv", "json"} <= set(exports.names())
    with pytest.raises(ConfigError, match="did you mean 'latex'"):
        exports.get("latx")
    with pytest.raises(ConfigError):
        exports.get("_layout")


def test_json_has_the_keys_of_the_contract_in_order():
    rows = json.loads(written("json", small_table()))
    assert all(list(row) == CONTRACT for row in rows)
    assert rows[0]["clean"] == {"mean": 82.88, "std": 0.240416}
    assert rows[-1]["aa"] is None
    assert json.loads(written("json", Table())) == []
    beside = json.loads(written("json", small_table(paper=True)))
    assert list(beside[0]) == [*CONTRACT, "paper", "diff", "verdict"]
    assert beside[0]["paper"]["clean"] == 82.92
    assert beside[0]["diff"]["clean"] == -0.04


def test_csv_is_numbers_in_full_precision_and_empty_when_absent():
    first, *_, last = csv.DictReader(io.StringIO(written("csv", small_table())))
    assert float(first["nrr"]) == small_table().rows[0].nrr.mean
    assert (first["rpat"], first["n"], last["aa"], last["aa_n"]) == ("false", "2", "", "")
    assert len(written("csv", Table()).splitlines()) == 1


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_terminals_table_keeps_every_column_from_80_columns_on(width):
    lines = written("rich", small_table(), width=width).splitlines()
    assert max(map(len, lines)) <= width
    for title in ("Clean", "PGD-20", "AA", "Mean", "NRR", "n"):
        assert title in lines[1].split()


def test_a_pipe_gets_every_column_however_wide():
    long = {"config": {}, "group": "long", "data": "f" * 64}
    runs = [measured(f"r{i}", i, "mart", True, 50.0 + i, 30.0, 99.0 + i, **long) for i in (0, 1)]
    header = written("rich", summarise(runs, paper=True, robust="pgd20")).splitlines()[2]
    assert header.split() == ["Method", "Clean", "PGD-20", "AA", "(PGD-20)", "(PGD-20)", "n"]


def test_points_stand_below_each_other_with_and_without_a_spread():
    lines = written("rich", small_table(paper=True), width=80).splitlines()
    block = [line for line in lines[3 : lines.index("")] if "." in line]
    assert len({line.index(".") for line in block}) == 1


def test_a_terminal_shows_the_best_in_bold_and_what_rpat_did_not_improve_underlined():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    exports.get("rich").write(small_table(), out, width=80)
    assert "\x1b[1;4m46.77±0.31\x1b[0m" in out.getvalue()
    assert "\x1b[1m83.29±0.25\x1b[0m" in out.getvalue()


def test_a_long_variant_breaks_between_its_keys():
    runs = [
        measured(f"r{i}", 0, "mart", False, 50.0, 30.0, 20.0, group=str(i),
                 config={"schedule.epochs": i, "optim.batch_size": 64 + i, "attack.steps": i})
        for i in (1, 2)
    ]  # fmt: skip
    text = written("rich", summarise(runs), width=60)
    assert "\n  steps 1,\n" in text or "\n  steps 1, batch_size 65,\n" in text


def test_a_narrow_terminal_says_which_columns_it_left_out():
    text = written("rich", small_table(), width=50)
    assert max(map(len, text.splitlines())) <= 50
    assert "Too narrow for PGD-20, Mean" in text


def test_a_pipe_gets_no_escapes_and_no_trailing_blanks():
    text = written("rich", small_table())
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_an_output_that_shows_only_ascii_gets_ascii():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    exports.get("rich").write(wide_table(), out)
    out.flush()
    text = raw.getvalue().decode("ascii")
    assert "?" not in text
    assert "71.10+1.10" in text or "71.10 + 1.10" in text
    assert "ResNet-18 | l_inf" in text


def test_an_empty_aa_names_the_command_that_fills_it():
    for name in ("rich", "md"):
        assert "`rpat eval r0007 r0008 --attack aa`" in written(name, small_table())


def test_the_header_names_a_basis_that_is_not_autoattack():
    table = small_table(robust="pgd20")
    for name in ("md", "latex"):
        assert "NRR (PGD-20)" in written(name, table)
    assert "(PGD-20)" in written("rich", table)


def test_latex_escapes_what_latex_would_read():
    from rpat_tui.exports import latex

    assert latex.escape("a_b 5% & #1 ±") == r"a\_b 5\% \& \#1 $\pm$"
    run = measured("r1", 0, "my_method", False, 80.0, 50.0, 45.0, marks=("50% of it_all",))
    text = written("latex", summarise([run]))
    assert r"my\_method" in text
    assert r"50\% of it\_all" in text
    assert text.count("{") == text.count("}")


def test_a_mark_on_every_row_is_said_once_and_the_others_are_numbered():
    text = written("rich", small_table(), width=100)
    assert text.count("selected on test") == 1
    assert text.count("subset") == 1
    assert "All rows: selected on test." in text


def test_a_row_that_only_the_paper_has_is_shown_as_missing():
    table = summarise([], paper=True, holes=True)
    assert len(table.rows) == 89
    text = written("rich", table, width=120)
    assert "n 0: printed in the paper" in text
    assert "--eval aa" not in text


# --------------------------------------------------------------------------- large tables


def drawn(table, width, monkeypatch, many):
    """Each character that a terminal would show, with its style."""
    monkeypatch.setattr(rich_format, "MANY", many)
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, highlight=False)
    console.print(rich_format.render(table, width))
    lines = [Text.from_ansi(line) for line in out.getvalue().split("\n")]
    return [
        [(char, line.get_style_at_offset(console, i)) for i, char in enumerate(line.plain.rstrip())
         if char != " "]
        for line in lines
    ], [line.plain.rstrip() for line in lines]  # fmt: skip


words = st.text("kv1.", min_size=1, max_size=9)


@given(
    keys=st.lists(st.tuples(words, words), min_size=1, max_size=6),
    width=st.integers(16, 50), depth=st.integers(1, 3),
)  # fmt: skip
def test_a_variant_breaks_between_keys_where_textwrap_would(keys, width, depth):
    space, indent = "\N{NO-BREAK SPACE}", "  " * depth
    kept = ", ".join(space.join(pair) for pair in keys)
    whole = ", ".join(" ".join(pair) for pair in keys)
    if max(map(len, kept.split(", "))) + 1 + len(indent) <= width:
        filled = textwrap.fill(kept, width, initial_indent=indent, subsequent_indent=indent)
        assert rich_format._wrapped(whole, width, indent) == filled.replace(space, " ")


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 160])
@pytest.mark.parametrize("paper", [False, True], ids=["plain", "paper"])
def test_the_lines_of_a_large_table_are_those_that_rich_would_lay_out(monkeypatch, width, paper):
    table = small_table(paper=paper)
    long = {"schedule.epochs": 3, "optim.a_key_without_an_end": "x" * 50, "data.note": "some words"}
    more = [
        measured("r0009", 0, "trades", True, 70.0, 50.0, 40.0, group="g", config=long),
        measured("r0010", 0, "trades", True, 71.0, 50.0, 45.0, group="h", marks=("one", "two")),
        measured("r0011", 0, "a-method-with-a-name-longer-than-a-column-is", False, 9.0, 5.0, 4.0),
    ]
    runs = summarise(more, paper=paper)
    for shown in (table, runs):
        assert drawn(shown, width, monkeypatch, 0) == drawn(shown, width, monkeypatch, 10_000)
        texts = []
        for many in (0, 10_000):
            monkeypatch.setattr(rich_format, "MANY", many)
            texts += [written("rich", shown, width=width), written("rich", shown)]
        assert texts[:2] == texts[2:]


@given(st.floats() | st.floats(-200, 200) | st.decimals(-200, 200, places=6).map(float))
def test_numbers_in_json_are_rounded_as_python_rounds(value: float) -> None:
    from rpat_tui.exports import json as json_format

    assert json_format._six(value) == repr(round(value, 6))


def test_many_small_blocks_are_written_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich needs half a millisecond for each line, in however many blocks they stand."""
    runs = [
        measured(f"r{i}", 0, "pgd-at", False, 80, 50, 45, group=f"{i}", model=f"m{i % 40}")
        for i in range(240)
    ]
    table = summarise(runs)
    expected = written("rich", table)
    grids = []
    real = rich_format._grid
    monkeypatch.setattr(rich_format, "_grid", lambda *a: grids.append(len(a[0])) or real(*a))
    assert written("rich", table) == expected
    assert set(grids) == {0}
    monkeypatch.setattr(rich_format, "MANY", 1000)
    assert written("rich", table) == expected
    assert len(grids) == 41
