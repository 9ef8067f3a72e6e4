"""The paper's tables: complete on an empty home, filled by runs, checked after export."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rpat import published
from rpat.recipes import recipe
from rpat_tui import suites
from rpat_tui.compare import mean_nrr
from rpat_tui.home import Home
from rpat_tui.launch import frozen, worker
from rpat_tui.paper_table import Ask, asked, build
from rpat_tui.store import index, queries
from rpat_tui.store.db import transaction
from rpat_tui.store.queue import move
from rpat_tui.table import MEASURES
from tests.console.conftest import Rpat, refused
from tests.console.executed import EVALUATION, evaluate, execute

TABLES = (1, 2, 3, 4)
SUITE = """
title = "Two methods on digits"
eval = "aa"
seeds = "0-1"

[[rows]]
label = "PGD-AT"
method = "pgd-at"
dataset = "digits"
epochs = 2

[[rows]]
label = "PGD-AT with the term"
method = "pgd-at"
with = ["rpat"]
dataset = "digits"
epochs = 2

[[rows]]
label = "TRADES"
method = "trades"
dataset = "digits"
epochs = 2
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.toml").write_text(SUITE)
    return "mine.toml"


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "provenance", lambda *_: {})
    monkeypatch.setattr(worker, "ensure", lambda _: None)


def train(
    home: Home,
    db: sqlite3.Connection,
    method: str,
    seed: int = 0,
    clean: float = 60.0,
    aa: float | None = None,
    pgd: float = 30.0,
    *,
    rpat: bool = False,
) -> int:
    """Let a run of `SUITE` be there, with these numbers."""
    made = recipe(method, ("rpat",) if rpat else (), dataset="digits", epochs=2)
    config = made.override({"seed": seed, "eval.attack": "pgd" if aa is None else "aa"})
    (n,) = index.enqueue(home, db, [config], index.Wish(), {})
    execute(home, db, n)
    if aa is not None:
        evaluate(home, db, n, tags=("automatic",))
        db.execute("update evaluations set checkpoint = 'best' where attack = 'aa'")
    found = "run = ? or run in (select n from runs where parent = (select uid from runs where n=?))"
    db.execute(f"update evaluations set clean = ? where {found}", (clean, n, n))
    db.execute(f"update evaluations set robust = ? where attack = 'pgd' and ({found})", (pgd, n, n))
    db.execute(f"update evaluations set robust = ? where attack = 'aa' and ({found})", (aa, n, n))
    return n


# --------------------------------------------------------------------------- an empty home


@pytest.mark.parametrize("table", TABLES)
def test_an_empty_home_shows_the_papers_table_complete_and_every_cell_of_ours_a_hole(
    nowhere: Path, rpat: Rpat, table: int
) -> None:
    rows = rpat("table", "--suite", f"table{table}", "--paper", "--json").json
    printed = [row for row in published.rows() if row.table == table]
    finals = [row for row in printed if row.aa_final is not None]
    best = [row for row in rows if row["checkpoint"] == "best"]
    assert [len(best), len(rows) - len(best)] == [len(printed), len(finals)]
    shown = {(r["dataset"], r["norm"], r["paper"]["name"], r["variant"], r["checkpoint"]): r
             for r in rows}  # fmt: skip
    for row in printed:
        for kind in ("best", "final")[: 1 + (row.aa_final is not None)]:
            ours = shown[row.dataset, row.norm, row.name, "cutmix" * row.cutmix, kind]
            assert {m: ours["paper"][m] for m in MEASURES} == row.measures(kind)
            assert (ours["n"], ours["runs"], ours["diff"]) == (0, [], {})
            assert all(ours[m] is None for m in MEASURES)
    assert not nowhere.exists()


def test_mean_and_nrr_of_the_papers_rows_follow_from_its_columns_but_for_one(
    nowhere: Path, rpat: Rpat
) -> None:
    off = []
    for table in TABLES:
        for row in rpat("table", "--suite", f"table{table}", "--paper", "--json").json:
            paper = row["paper"]
            if row["checkpoint"] == "best":
                mean, nrr = mean_nrr(paper["clean"], paper["aa"])
                if abs(mean - paper["mean"]) > 0.001 or abs(nrr - paper["nrr"]) > 0.001:
                    off.append((table, row["norm"], row["dataset"], paper["name"], paper["nrr"]))
    assert off == [(2, "l2", "cifar100", "MART", 47.92)]


def test_the_papers_layout_puts_data_sets_beside_each_other(nowhere: Path, rpat: Rpat) -> None:
    said = rpat("table", "--suite", "table1", "--paper", "--layout", "paper")
    lines = said.out.splitlines()
    assert [title in lines[3] for title in ("CIFAR-10", "CIFAR-100", "Tiny-ImageNet")] == [True] * 3
    assert lines[4].split().count("NRR") == 3
    assert lines[7].split() == [
        "paper", "82.92", "50.61", "46.74", "64.830", "59.782", "56.56", "28.80", "25.02",
        "40.790", "34.693", "46.32", "21.58", "17.07", "31.695", "24.947",
    ]  # fmt: skip
    assert "rpat suite run table1 --fill --dry-run" in said.out
    assert "provenance sha256:" in said.out


def test_tables_3_and_4_have_venues_and_no_pgd20(nowhere: Path, rpat: Rpat) -> None:
    for table in (3, 4):
        out = rpat("table", "--suite", f"table{table}", "--format", "md").out
        assert "| Venue |" in out
        assert "| RPAT++ | Ours |" in out
        assert "| CURE | ICLR'24 |" in out or table == 3
        assert "PGD-20" not in out
    assert "Venue" not in rpat("table", "--suite", "table1", "--format", "md").out


def test_what_the_paper_prints_bold_and_underlined_is_so_here(nowhere: Path, rpat: Rpat) -> None:
    out = rpat("table", "--suite", "table1", "--paper", "--format", "md").out
    cifar10 = out[out.index("CIFAR-10") : out.index("CIFAR-100")]
    assert "***84.12*** | *52.33* | ***48.98*** | ***66.550*** | ***61.911***" in cifar10
    assert "*79.67* | *51.91* | *<ins>47.62</ins>* | *63.645* | *<ins>59.610</ins>*" in cifar10


@pytest.mark.parametrize("table", TABLES)
def test_every_printed_row_is_trained_by_a_preset_on_its_own_data(table: int) -> None:
    suite = suites.load(f"table{table}")
    assert [row.printed for row in suite.rows] == [
        row for row in published.rows() if row.table == table
    ]
    there = suites.entries(suite, suites.Changes(data_dir=Path("/nowhere")))
    assert len(there) == len(suite.rows)
    for entry in there:
        config, printed = entry.config, entry.row.printed
        assert printed is not None
        place = (config.data.name, config.threat.norm, config.model.name, config.data.cutmix)
        assert place == (printed.dataset, printed.norm, printed.model, printed.cutmix)
        assert (config.wrapper("rpat") is not None) is printed.rpat
        assert config.schedule.epochs == (110 if table < 3 else 200)
        assert config.eval.attack == "aa"
        assert {c.data.source for c in entry.configs} == {"official", "image-folder"}


def test_a_row_that_lists_methods_is_a_row_of_each(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(
        '[[rows]]\nmethod = "mart, trades"\nwith = ["rpat"]\ndataset = "digits"\n'
        '[[rows]]\nlabel = "short"\nmethod = "mart,trades"\nepochs = 1\ndataset = "digits"\n'
    )
    there = suites.entries(suites.load(str(tmp_path / "grid.toml")), suites.Changes())
    assert [e.label for e in there] == ["mart+rpat", "trades+rpat", "short, mart", "short, trades"]


# --------------------------------------------------------------------------- filled


def cells(rpat: Rpat, suite: str, *words: str) -> dict[tuple[str, int, str], str]:
    found = rpat("suite", "status", suite, *words, "--json").json["cells"]
    return {(c["row"], c["seed"], c["measure"]): c["state"] for c in found}


def test_a_run_fills_its_own_cells_and_no_other(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str, nothing_starts: None
) -> None:
    before = cells(rpat, mine)
    assert set(before.values()) == {"missing"}
    assert len(before) == 3 * 2 * 3
    train(home, db, "trades", 1, aa=25.0)
    after = cells(rpat, mine)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {("TRADES", 1, m) for m in ("clean", "pgd20", "aa")}
    assert {after[key] for key in changed} == {"proven"}
    rows = {r["label"]: r for r in rpat("table", "--suite", mine, "--json").json}
    assert list(rows) == ["PGD-AT", "PGD-AT with the term", "TRADES"]
    assert [rows[name]["n"] for name in rows] == [0, 0, 1]
    assert rows["TRADES"]["aa"] == {"mean": 25.0, "std": None}
    plan = rpat("suite", "run", mine, "--fill", "--dry-run", "--json").json
    assert [(p["row"], p["seed"], p["do"]) for p in plan] == [
        ("PGD-AT", 0, "train"), ("PGD-AT", 1, "train"),
        ("PGD-AT with the term", 0, "train"), ("PGD-AT with the term", 1, "train"),
        ("TRADES", 0, "train"),
    ]  # fmt: skip


def test_weights_that_lack_only_autoattack_are_evaluated(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str, nothing_starts: None
) -> None:
    train(home, db, "trades", 0)
    words = ("suite", "run", mine, "--fill", "--where", "trades seed=0")
    (plan,) = rpat(*words, "--dry-run", "--json").json
    assert (plan["do"], plan["run"], plan["attacks"]) == ("evaluate", "r0001", ["aa"])
    assert "r0001: AA at best" in rpat(*words, "--dry-run").out
    assert rpat(*words, "--detach").out == "r0002\n"
    assert [row["kind"] for row in queries.runs(db, kind="")] == ["train", "eval"]
    assert rpat(*words, "--detach").err == "no hole to close\n"
    assert cells(rpat, mine)["TRADES", 0, "aa"] == "queued"
    (row,) = rpat("table", "--suite", mine, "--method", "trades", "--json").json
    assert row["open"] == {"aa": "queued", "mean": "queued", "nrr": "queued"}
    assert "◌" in rpat("table", "--suite", mine).out


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_of_any_width_shows_where_a_suite_stands_uncut(
    nowhere: Path, rpat: Rpat, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for words in (("status", "table1"), ("run", "table3", "--dry-run")):
        lines = rpat("suite", *words).out.splitlines()
        assert not [line for line in lines if "\N{HORIZONTAL ELLIPSIS}" in line]
        told = [line for line in lines if line.startswith(("Consistency", "train"))]
        assert len(told) == (6 if words[0] == "status" else 26)
        assert max(len(line.rstrip()) for line in told) <= width
        heads = next(line for line in lines if line.split()[:1] in (["row"], ["do"])).split()
        beside = ["data", "network"] * (width == 200)
        if words[0] == "status":
            figures = ["seed", "state", *["run", "epoch"][: 1 + (width > 60)], "clean"]
            assert heads == ["row", *beside, *figures, "PGD-20", "AA"]
            assert "missing" in told[0]
        else:
            assert [h for h in heads if h not in ("data", "network")] == [
                "do", "row", "seed", "what", "time",
            ]  # fmt: skip
            assert all("with PGD-20 and AA" in line for line in told)


def test_a_suite_can_be_narrowed_and_limited(
    home: Home, rpat: Rpat, mine: str, nothing_starts: None
) -> None:
    def planned(*words: str) -> list[tuple[str, int]]:
        plan = rpat("suite", "run", mine, "--fill", "--dry-run", "--json", *words).json
        return [(p["row"], p["seed"]) for p in plan]

    assert planned("--where", "is:rpat") == [("PGD-AT with the term", 0),
                                             ("PGD-AT with the term", 1)]  # fmt: skip
    assert planned("--where", "seed=1 not is:rpat") == [("PGD-AT", 1), ("TRADES", 1)]
    assert planned("--where", "state=proven") == []
    assert planned("--limit", "2") == [("PGD-AT", 0), ("PGD-AT", 1)]
    assert planned("--seeds", "4", "--limit", "1") == [("PGD-AT", 4)]
    refused(rpat("suite", "run", mine, "--where", "sead=1"), "--where sead=1", "seed")


def test_a_failed_seed_is_a_hole_that_says_so(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str, nothing_starts: None
) -> None:
    train(home, db, "trades", 0, aa=25.0)
    base = recipe("trades", dataset="digits", epochs=2).override({"seed": 1, "eval.attack": "aa"})
    (n,) = index.enqueue(home, db, [base], index.Wish(), {})
    with transaction(db):
        move(db, n, "starting")
        move(db, n, "failed", "out of memory")
    out = rpat("suite", "status", mine).out
    assert "✗ failed" in out
    assert "r0003 failed" in out
    assert "18 cells: 3 proven, 0 running, 0 queued, 15 missing" in out
    (row,) = rpat("table", "--suite", mine, "--method", "trades", "--json").json
    assert (row["n"], row["runs"]) == (1, ["r0001"])


def test_a_table_of_other_lengths_and_data_is_the_suites_with_those_changes(
    home: Home, db: sqlite3.Connection, rpat: Rpat, nothing_starts: None
) -> None:
    changes = ("--dataset", "digits", "--model", "resnet8", "--epochs", "2")
    train(home, db, "trades", 0)
    rows = rpat("table", "--suite", "table1", "--paper", *changes, "--json").json
    assert len(rows) == 12, "four methods with and without RPAT on one data set, and final ones"
    assert [r["n"] for r in rows if r["method"] == "trades" and not r["rpat"]] == [1]
    assert sum(r["n"] for r in rows) == 1
    assert all(r["paper"] is None for r in rows), "the paper prints no digits"
    plan = rpat("suite", "run", "table1", *changes, "--fill", "--dry-run", "--json").json
    assert len(plan) == 8


def test_images_that_are_not_here_are_refused_before_anything_is_made(
    nowhere: Path, rpat: Rpat
) -> None:
    said = rpat("suite", "run", "table1", "--fill", "--detach")
    refused(said, "'tiny-imagenet' is not in", "--where dataset=cifar10")
    assert not nowhere.exists()
    assert "would be queued" in rpat("suite", "run", "table1", "--fill", "--dry-run").out
    assert rpat("suite", "status", "table1").out.endswith(
        "72 cells: 0 proven, 0 running, 0 queued, 72 missing\n"
        "remaining: unknown; nothing alike has trained in this home yet\n"
    )
    assert not nowhere.exists()


@pytest.mark.parametrize(("text", "words"), [
    ('from = "papers"\ntable = 1', 'from is \'papers\'; write "paper"'),
    ('table = 1', 'write "paper"'),
    ('from = "paper"', "table is None; the paper has 1, 2, 3, 4"),
    ('from = "paper"\ntable = 5', "table is 5"),
    ('seeds = "x"\n[[rows]]\nmethod = "mart"', "seeds x: 'x' is not a seed"),
    ('eval = "ab"\n[[rows]]\nmethod = "mart"', "eval 'ab' is not known"),
])  # fmt: skip
def test_a_suite_file_that_asks_for_what_is_not_there_is_refused(
    nowhere: Path, tmp_path: Path, rpat: Rpat, text: str, words: str
) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    refused(rpat("suite", "status", "wrong.toml"), "wrong.toml", words)


def test_a_suite_may_take_a_printed_table_and_add_rows(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text(
        'from = "paper"\ntable = 4\n[[rows]]\nmethod = "mart"\nmodel = "wrn-34-10"\n'
    )
    suite = suites.load(str(tmp_path / "more.toml"))
    assert len(suite.rows) == 16
    assert suite.rows[-1].request.methods == ("mart",)


# --------------------------------------------------------------------------- tests


def with_seeds(home: Home, db: sqlite3.Connection) -> None:
    for seed, clean in enumerate((60.0, 61.0, 62.0)):
        train(home, db, "pgd-at", seed, clean, pgd=30.0 + seed)
        train(home, db, "pgd-at", seed, clean + (seed + 1), pgd=29.0 + seed, rpat=True)
    train(home, db, "trades", 0)


def test_rows_with_rpat_are_tested_in_pairs_where_the_seeds_match(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str
) -> None:
    with_seeds(home, db)
    rows = {r["label"]: r for r in rpat("table", "--suite", mine, "--test", "--json").json}
    found = rows["PGD-AT with the term"]["tests"]
    assert set(found) == {"clean", "pgd20"}
    clean = found["clean"]
    assert (clean["test"], clean["n"], clean["df"]) == ("paired t", [3, 3], 2)
    assert clean["t"] == pytest.approx(2 / (1 / 3**0.5)), "differences 1, 2, 3"
    assert clean["p"] == pytest.approx(1 - 12**0.5 / 14**0.5), "the closed form of two freedoms"
    assert clean["p_holm"] == clean["p"], "the other comparison has no spread, and no p"
    assert found["pgd20"]["reason"] == "no spread over seeds: no test"
    assert rows["PGD-AT"]["tests"] == {}
    out = rpat("table", "--suite", mine, "--test").out
    assert re.search(r"p \(Holm\) +p=\.074\n", out)
    assert "Against the row without RPAT: paired t, two-sided, one comparison" in out
    assert "No test where: no spread over seeds." in out


def test_unequal_seeds_are_welchs_and_fewer_than_three_no_test(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str
) -> None:
    for seed, clean in enumerate((60.0, 61.0, 62.5, 60.5)):
        train(home, db, "pgd-at", seed, clean)
    for seed, clean in enumerate((64.0, 65.5)):
        train(home, db, "pgd-at", seed, clean, rpat=True)

    def tested() -> dict[str, Any]:
        rows = rpat("table", "--suite", mine, "--test", "--json").json
        return {r["label"]: r for r in rows}["PGD-AT with the term"]["tests"]  # type: ignore[no-any-return]

    assert tested()["clean"]["reason"] == "n too small (2): no test"
    assert "No test where: n too small (2)." in rpat("table", "--suite", mine, "--test").out
    train(home, db, "pgd-at", 7, 63.0, rpat=True)
    clean = tested()["clean"]
    assert (clean["test"], clean["n"]) == ("Welch's t", [4, 3])
    from scipy import stats

    known = stats.ttest_ind((64.0, 65.5, 63.0), (60.0, 61.0, 62.5, 60.5), equal_var=False)
    assert clean["p"] == pytest.approx(known.pvalue)


def test_seeds_without_autoattack_are_left_out_of_its_test(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str
) -> None:
    for seed in range(3):
        train(home, db, "pgd-at", seed, 60.0 + seed, aa=20.0 + seed)
        train(home, db, "pgd-at", seed, 62.0 + 2 * seed, aa=None if seed else 21.0, rpat=True)
    rows = rpat("table", "--suite", mine, "--test", "--json").json
    row = {r["label"]: r for r in rows}["PGD-AT with the term"]
    assert row["tests"]["clean"]["p"] is not None
    assert row["tests"]["aa"]["reason"] == "n too small (1): no test"
    assert (row["n"], row["aa"]["std"]) == (3, None)
    assert "AA, Mean, NRR from 1 of 3 seeds" in row["marks"]


# --------------------------------------------------------------------------- verification

FORMATS = {"md": "md", "latex": "tex", "csv": "csv", "json": "json", "html": "html"}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("more", [(), ("--paper", "--test", "--layout", "paper")], ids=["", "wide"])
def test_an_exported_table_is_verified_until_a_number_changes(
    home: Home,
    db: sqlite3.Connection,
    rpat: Rpat,
    mine: str,
    tmp_path: Path,
    name: str,
    more: tuple[str, ...],
) -> None:
    with_seeds(home, db)
    said = rpat("table", "--suite", mine, *more, "--format", name)
    assert said == rpat("table", "--suite", mine, *more, "--format", name), "the same bytes"
    file = tmp_path / f"paper.{FORMATS[name]}"
    file.write_text("before\n" * (name in ("md", "latex", "html")) + said.out)
    fine = rpat("table", "--verify", str(file))
    assert (fine.code, fine.err) == (0, "")
    assert "are as they were" in fine.out
    train(home, db, "trades", 1, clean=70.0)
    drift = rpat("table", "--verify", str(file))
    assert drift.code == 1
    assert "TRADES" in drift.out or "trades" in drift.out
    assert "65.00 ± 7.07 now" in drift.out or "65.0" in drift.out
    assert "60.0" in drift.out
    assert "have drifted" in drift.out


def test_a_number_that_somebody_changed_in_the_file_is_named_with_both_values(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str, tmp_path: Path
) -> None:
    with_seeds(home, db)
    file = tmp_path / "paper.tex"
    text = rpat("table", "--suite", mine, "--format", "latex").out
    assert text.count("61.00 $\\pm$ 1.00") == 1
    file.write_text("\\section{Results}\n" + text.replace("61.00 $\\pm$ 1.00", "81.00 $\\pm$ 1.00"))
    said = rpat("table", "--verify", str(file))
    assert said.code == 1
    assert "PGD-AT, Clean: 81.00 ± 1.00 there, 61.00 ± 1.00 now" in said.out
    assert f"{file}: 1 of " in said.out


def test_other_runs_behind_the_same_numbers_are_told(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str, tmp_path: Path
) -> None:
    train(home, db, "trades", 0)
    file = tmp_path / "paper.md"
    file.write_text(rpat("table", "--suite", mine, "--format", "md").out)
    db.execute("update evaluations set weights = ?", ("1" * 64,))
    said = rpat("table", "--verify", str(file))
    assert (said.code, "the provenance is another now" in said.err) == (0, True)


def test_a_file_with_two_tables_is_verified_whole(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str, tmp_path: Path
) -> None:
    train(home, db, "trades", 0)
    file = tmp_path / "paper.tex"
    file.write_text(
        rpat("table", "--suite", mine, "--format", "latex").out
        + "some text\n"
        + rpat("table", "--robust", "pgd20", "--format", "latex").out
    )
    out = rpat("table", "--verify", str(file)).out
    assert out.count("are as they were") == 2
    assert "`rpat table --robust pgd20`" in out


def test_what_cannot_be_verified_is_refused(nowhere: Path, tmp_path: Path, rpat: Rpat) -> None:
    (tmp_path / "own.tex").write_text("\\begin{tabular}{l}a\\end{tabular}")
    (tmp_path / "wrong.md").write_text(
        "made by `rpat table --mehtod mart`\n\n| a |\n| - |\n| b |\n"
    )
    (tmp_path / "list.json").write_text("3")
    refused(rpat("table", "--verify", "own.tex"), "own.tex", "--format latex")
    refused(rpat("table", "--verify", "own.docx"), ".docx", ".tex")
    gone = rpat("table", "--verify", "none.md")
    refused(gone, "none.md: there is no such file", "rpat table --format md > none.md")
    assert "Errno" not in gone.err
    (tmp_path / "latin.md").write_bytes(b"\xe9")
    refused(rpat("table", "--verify", "latin.md"), "latin.md: this is no text in UTF-8")
    refused(rpat("table", "--verify", "wrong.md"), "did you mean 'method'")
    refused(rpat("table", "--verify", "list.json"), "no table in JSON")


@pytest.mark.parametrize(("words", "fragment"), [
    (("--layout", "wide"), "--layout"), (("--columns", "data"), "did you mean 'dataset'"),
    (("--tolerance", "0"), "--tolerance is 0"), (("--epochs", "2"), "name one with --suite"),
    (("--standalone",), "--format latex"), (("--suite", "table5"), "did you mean 'table"),
])  # fmt: skip
def test_a_wrong_request_for_a_table_is_refused(
    nowhere: Path, rpat: Rpat, words: tuple[str, ...], fragment: str
) -> None:
    refused(rpat("table", *words), fragment)


def test_what_is_asked_is_read_back_as_it_was() -> None:
    ask = Ask(
        suite="table1", where="dataset=cifar10 is:rpat", set=("rpat.lam=2", "seed=1"), epochs=3,
        checkpoint="", paper=True, tolerance=1.5, test=True, columns="rpat", robust="pgd20",
    )  # fmt: skip
    assert asked(ask.command()) == ask
    assert Ask().command() == "rpat table"


# --------------------------------------------------------------------------- any grouping


def test_anything_that_sets_rows_apart_can_be_put_into_columns(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str
) -> None:
    with_seeds(home, db)
    out = rpat("table", "--method", "pgd-at", "--columns", "rpat", "--format", "md").out
    (line,) = [line for line in out.splitlines() if line.startswith("| PGD-AT")]
    assert "61.00 ± 1.00" in line
    assert "63.00 ± 2.00" in line
    assert "without RPAT<br>Clean" in out
    assert "+ RPAT<br>Clean" in out
    both = rpat("table", "--checkpoint", "", "--columns", "checkpoint", "--format", "md").out
    assert "best<br>Clean" in both
    assert "final<br>Clean" in both


def test_the_tolerance_decides_the_verdict(nowhere: Path) -> None:
    import io

    from rpat_tui import exports
    from rpat_tui.compare import summarise
    from rpat_tui.store.rows import Measurement
    from rpat_tui.table import Table

    row = Measurement(
        run="r1", seed=0, group="g", dataset="cifar10", norm="linf", model="resnet18",
        method="mart", rpat=False, checkpoint="best", clean=78.7, pgd20=53.0, aa=46.0,
    )  # fmt: skip
    table = summarise([row], paper=True)

    def verdicts(points: float) -> dict[str, str]:
        out = io.StringIO()
        made = Table(rows=table.rows, paper=True, tolerance=points, asked="rpat table")
        exports.get("json").write(made, out)
        found: dict[str, str] = json.loads(out.getvalue())[0]["verdict"]
        return found

    assert verdicts(0.5) | {"mean": "", "nrr": ""} == {
        "clean": "off", "pgd20": "ok", "aa": "off", "mean": "", "nrr": "",
    }  # fmt: skip
    assert set(verdicts(1.0).values()) == {"ok"}


# --------------------------------------------------------------------------- LaTeX for real


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
@pytest.mark.parametrize("more", [(), ("--paper", "--layout", "paper")], ids=["long", "wide"])
def test_the_document_compiles(
    home: Home,
    db: sqlite3.Connection,
    rpat: Rpat,
    mine: str,
    tmp_path: Path,
    more: tuple[str, ...],
) -> None:
    with_seeds(home, db)
    suite = "table3" if more else mine
    said = rpat("table", "--suite", suite, "--test", *more, "--format", "latex", "--standalone")
    (tmp_path / "paper.tex").write_text(said.out)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "(1 page" in done.stdout
    assert "Overfull" not in done.stdout


def test_a_run_of_a_table_ends_with_the_table(
    standin: Home, rpat: Rpat, mine: str, tmp_path: Path
) -> None:
    said = rpat("suite", "run", mine, "--where", "trades seed=0", "--save", "mine.md")
    assert said.code == 0, said
    assert "Two methods on digits" in said.out
    assert "| TRADES<sup>(1)</sup> |" in (tmp_path / "mine.md").read_text()
    assert rpat("table", "--verify", "mine.md").code == 0
    assert build(None, Ask(suite=mine)).rows[0].n == 0
    assert EVALUATION["split"] == "test"


def test_an_imported_run_stands_in_the_table_and_proves_no_cell(
    home: Home, db: sqlite3.Connection, rpat: Rpat, mine: str
) -> None:
    train(home, db, "trades", 0, aa=20.0)
    proven = rpat("suite", "status", mine, "--json").json["counts"]["proven"]
    assert proven == 3
    db.execute("update runs set imported = 'log:text' where kind = 'train'")
    (row,) = rpat("table", "--suite", mine, "--method", "trades", "--json").json
    assert (row["clean"]["mean"], row["n"]) == (60.0, 1)
    assert "imported, which proves no cell of the suite" in row["marks"]
    told = rpat("suite", "status", mine, "--json").json
    assert told["counts"]["proven"] == 0
    (why,) = {cell["why"] for cell in told["cells"] if cell["row"] == "TRADES" and cell["why"]}
    assert why == "r0001 is imported: it proves no cell"
    assert "r0001 is imported: it proves no cell" in rpat("suite", "status", mine).out
