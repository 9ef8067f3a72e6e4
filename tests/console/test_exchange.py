"""`rpat export csv|json|parquet|tensorboard`: everything arrives, exactly."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rpat_tui import exchange
from rpat_tui.home import Home
from rpat_tui.store import extract, queries
from rpat_tui.store.db import transaction
from tests.console.conftest import Rpat, refused
from tests.console.examples import example

FORMS = ("csv", "json", "parquet", "tensorboard")


@pytest.fixture
def full(home: Home, db: sqlite3.Connection) -> list[int]:
    """The example, with a value that was not finite, one without a short form, and rude words."""
    numbers = example(home, db)
    db.execute(
        "update points set value = null where epoch = 3 and series = "
        "(select id from series where run = 1 and name = 'train/loss')"
    )
    db.execute(
        "update points set value = ? where epoch = 4 and series = "
        "(select id from series where run = 1 and name = 'train/loss')",
        (0.1 + 0.2,),
    )
    db.execute("update runs set note = ? where n = 1", ('a "b", c\nd <x>',))
    return numbers


def stored(db: sqlite3.Connection, table: str, run: str) -> list[tuple[Any, ...]]:
    return list(extract.rows(db, table, [run]))


def test_csv_holds_every_value_of_every_table(
    full: list[int], db: sqlite3.Connection, rpat: Rpat, tmp_path: Path
) -> None:
    said = rpat("export", "csv", "r1", "r9", "-o", "out")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("wrote out: 2 runs, ")
    for table in extract.TABLES:
        with (tmp_path / "out" / f"{table}.csv").open(encoding="utf-8", newline="") as stream:
            head, *lines = csv.reader(stream)
        assert head == list(extract.columns(table))
        kinds = list(extract.columns(table).values())
        read = [
            tuple(
                None if cell == "" and kind is not str else kind(cell)
                for cell, kind in zip(line, kinds, strict=True)
            )
            for line in lines
        ]
        told = stored(db, table, "r0001") + stored(db, table, "r0009")
        assert read == [
            tuple("" if v is None and k is str else v for v, k in zip(row, kinds, strict=True))
            for row in told
        ]
    manifest = json.loads((tmp_path / "out" / "export.json").read_text("utf-8"))
    assert (manifest["form"], manifest["runs"]) == ("csv", 2)


def test_json_holds_configs_curves_and_where_runs_come_from(
    full: list[int], db: sqlite3.Connection, rpat: Rpat, tmp_path: Path
) -> None:
    assert rpat("export", "json", "r1", "-o", "out.json").code == 0
    (run,) = json.loads((tmp_path / "out.json").read_text("utf-8"))["runs"]
    assert run["config"] == queries.config_of(db, 1)
    assert run["note"] == 'a "b", c\nd <x>'
    assert run["provenance"]["host"] == "box"
    loss = run["metrics"]["train/loss"]
    assert loss["value"][2] is None
    assert loss["value"][3] == 0.1 + 0.2
    points = [(name, e, s, v) for name, c in run["metrics"].items()
              for e, s, v in zip(c["epoch"], c["step"], c["value"], strict=True)]  # fmt: skip
    assert points == [row[1:] for row in stored(db, "metrics", "r0001")]
    assert [e["robust"] for e in run["evaluations"]] == [
        e["robust"] for e in queries.evaluations(db, 1)
    ]


def test_parquet_gives_back_what_it_took(
    full: list[int], db: sqlite3.Connection, rpat: Rpat, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert rpat("export", "parquet", "r1", "r9", "-o", "out").code == 0
    for table in extract.TABLES:
        found = parquet.read_table(tmp_path / "out" / f"{table}.parquet")
        assert found.column_names == list(extract.columns(table))
        rows = list(zip(*(column.to_pylist() for column in found.columns), strict=True))
        assert rows == stored(db, table, "r0001") + stored(db, table, "r0009")
        assert "null" not in {str(field.type) for field in found.schema}


def test_tensorboard_reads_curves_hyperparameters_and_results(
    full: list[int], db: sqlite3.Connection, rpat: Rpat, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing import event_file_loader
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util import tensor_util

    assert rpat("export", "tensorboard", "r1", "r9", "-o", "out").code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["export.json", "r0001", "r0009"]
    (file,) = (tmp_path / "out" / "r0001").iterdir()
    curves: dict[str, list[tuple[int, float, float]]] = {}
    hparams: dict[str, Any] = {}
    for event in event_file_loader.EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            if value.tag == metadata.SESSION_START_INFO_TAG:
                told = metadata.parse_session_start_info_plugin_data(
                    value.metadata.plugin_data.content
                )
                hparams = dict(told.hparams)
            elif value.metadata.plugin_data.plugin_name == "scalars":
                number = tensor_util.make_ndarray(value.tensor).item()
                curves.setdefault(value.tag, []).append((event.step, event.wall_time, number))
    pgd = curves["test/pgd_acc"]
    told = queries.points(db, 1, "test/pgd_acc")
    assert [step for step, _, _ in pgd] == [step for step, _, _ in told]
    assert [v for _, _, v in pgd] == pytest.approx([v for _, _, v in told], rel=1e-6)
    (row,) = queries.runs(db, numbers=[1])
    assert pgd[1][1] == pytest.approx(row["started"] + 2 * (150 + 30))
    assert math.isnan(curves["train/loss"][2][2])
    assert hparams["threat.norm"].string_value == "linf"
    assert hparams["optim.lr"].number_value == pytest.approx(
        queries.config_of(db, 1)["optim"]["lr"]
    )
    best = next(e for e in queries.evaluations(db, 1) if e["attack"] == "aa")
    assert curves["result/best/aa"][0][2] == pytest.approx(best["robust"], rel=1e-6)


def test_the_types_are_those_of_the_values(full: list[int], db: sqlite3.Connection) -> None:
    sql = {int: {"integer", "null"}, float: {"real", "null"}, str: {"text", "null"}}
    for table, (view, _) in extract.TABLES.items():
        for name, kind in extract.columns(table).items():
            found = {row[0] for row in db.execute(f"select distinct typeof({name}) from {view}")}
            assert found <= sql[kind], (table, name)


def test_a_filter_chooses_and_without_one_all_runs_are_taken(
    full: list[int], rpat: Rpat, tmp_path: Path
) -> None:
    said = rpat("export", "csv", "--where", "is:rpat state=done", "-o", "some", "--json").json
    assert (said["out"], said["runs"]) == ("some", 4)
    assert rpat("export", "csv", "-o", "all", "--json").json["runs"] == 10


@pytest.mark.parametrize("form", FORMS)
def test_the_same_runs_give_the_same_bytes(
    full: list[int], rpat: Rpat, tmp_path: Path, form: str
) -> None:
    _needed(form)
    for name in ("a", "b"):
        assert rpat("export", form, "r1", "r2", "-o", name).code == 0
    files = [sorted(p for p in (tmp_path / name).rglob("*")) or [tmp_path / name] for name in "ab"]
    assert len(files[0]) == len(files[1]) > 0
    for a, b in zip(*files, strict=True):
        assert a.is_dir() == b.is_dir()
        assert a.is_dir() or a.read_bytes() == b.read_bytes()


def _needed(form: str) -> None:
    if needs := getattr(exchange._module(form), "NEEDS", None):
        pytest.importorskip(needs[0], reason=f"{needs[0]} is not installed")


@pytest.mark.parametrize(("form", "package"), [("parquet", "pyarrow"), ("tensorboard",) * 2])
def test_a_missing_package_is_named_with_the_remedy(
    full: list[int], rpat: Rpat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    form: str, package: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)
    refused(rpat("export", form, "-o", "out"), package, f"pip install 'rpat[{form}]'")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_that_was_not_asked_for(
    full: list[int], rpat: Rpat, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work", "utf-8")
    refused(rpat("export", "csv", "-o", "mine", "--force"), "--out mine", "is no export")
    refused(rpat("export", "json", "-o", "mine"), "--out mine is a folder")
    refused(rpat("export", "csv", "-o", "no/where"), "the folder no does not exist")
    assert rpat("export", "csv", "r1", "-o", "out").code == 0
    refused(rpat("export", "csv", "-o", "out"), "--out out exists", "--force")
    assert rpat("export", "csv", "r2", "-o", "out", "--force").code == 0
    assert "r0002" in (tmp_path / "out" / "runs.csv").read_text("utf-8")
    refused(rpat("export", "csv", "--where", "method:nothing", "-o", "none"), "no run matches")
    refused(rpat("export", "csv", "r99", "-o", "none"), "run 'r99' does not exist")
    left = sorted(p.name for p in tmp_path.iterdir() if p.name != "home")
    assert left == ["mine", "out"]


def test_an_export_that_fails_leaves_nothing(
    full: list[int], home: Home, db: sqlite3.Connection, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extract, "rows", broken)
    with pytest.raises(exchange.ConfigError, match="No space left"):
        exchange.write("csv", exchange.Take(home, db, ["r0001"]), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir() if p.name != "home"] == []


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_million_points_take_a_small_multiple_of_reading_them(
    full: list[int], home: Home, db: sqlite3.Connection, tmp_path: Path, form: str
) -> None:
    _needed(form)
    with transaction(db):
        for i in range(100):
            (series,) = db.execute(
                "insert into series (run, name) values (1, ?) returning id", (f"step/{i}",)
            ).fetchone()
            db.executemany(
                "insert into points (series, step, epoch, value) values (?, ?, ?, ?)",
                ((series, s, s // 100, s / 7) for s in range(10_000)),
            )
    began = time.process_time()
    read = sum(1 for row in extract.rows(db, "metrics", ["r0001"]) for _ in row)
    reading = time.process_time() - began
    began = time.process_time()
    counts = exchange.write(form, exchange.Take(home, db, ["r0001"]), tmp_path / "out")
    assert counts["metrics"] * 5 == read > 5e6
    assert time.process_time() - began < 60 * max(reading, 0.5)
