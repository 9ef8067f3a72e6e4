"""`rpat plot`, and the curves under `rpat watch`."""

from __future__ import annotations

import io
import json
import sqlite3
import sys

import pytest
from rich.console import Console

from rpat.errors import ConfigError
from rpat_tui.charts import picture
from rpat_tui.charts.chart import Chart, Series, View
from rpat_tui.cli import live, main
from rpat_tui.cli.plot import charts_of
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import queries
from tests.console.examples import example

METRICS = {
    "test/clean_acc": lambda e: 80 * (1 - 0.8**e),
    "test/pgd_acc": lambda e: 50 * (1 - 0.85**e) - max(e - 15, 0) * 0.5,
    "train/loss": lambda e: 2.3 / e if e != 7 else None,
    "time/epoch_s": lambda e: 3000.0,
    "time/eval_s": lambda e: 600.0,
}


@pytest.fixture
def runs(home: Home, enqueue, db: sqlite3.Connection) -> list[int]:
    """Two runs with 20 of 40 epochs each, and one without points."""
    numbers = enqueue(3, epochs=40)
    with db:
        for n in numbers[:2]:
            db.execute("update runs set epoch = 20, step = 200, steps = 400 where n = ?", (n,))
            for name, value in METRICS.items():
                series = db.execute(
                    "insert into series (run, name) values (?, ?) returning id", (n, name)
                ).fetchone()[0]
                values = [(series, e * 10, e, value(e)) for e in range(1, 21)]
                db.executemany(
                    "insert into points (series, step, epoch, value) values (?, ?, ?, ?)", values
                )
                db.execute(
                    "insert into latest_best values (?, 200, 20, ?, 1, 1, 1, 1, 20)",
                    (series, values[-1][3]),
                )
    return numbers


def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["rpat", *words])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    out = capsys.readouterr()
    return int(left.value.code or 0), out.out, out.err


@pytest.fixture
def rpat(capsys, monkeypatch):
    return lambda *words: said(capsys, monkeypatch, *words)


def test_two_runs_share_a_chart_and_are_told_apart(runs, rpat):
    code, out, err = rpat("plot", "r1", "r2", "--width", "90", "--height", "12")
    assert (code, err) == (0, "")
    head, *rows = out.splitlines()
    assert len(rows) == 11
    assert head.startswith("acc %")
    for word in ("r0001 clean", "r0001 PGD", "r0002 clean", "r0002 PGD"):
        assert word in head
    assert rows[-1].split()[-1] == "40"  # the planned end
    assert "\x1b" not in out


def test_metrics_of_two_units_are_two_charts(runs, rpat):
    code, out, _ = rpat("plot", "r1", "--metric", "clean,loss", "--ascii", "--smooth", "0.6")
    assert code == 0
    assert out.isascii()
    assert [line.split()[0] for line in out.splitlines() if "smooth 0.6" in line] == [
        "clean", "loss",
    ]  # fmt: skip


def test_the_time_axis_has_hours(runs, db):
    chart = charts_of(db, runs[:1], ["clean"], "time")[0]
    assert chart.series[0].x[-1] == pytest.approx(20)
    assert charts_of(db, runs[:1], ["clean"], "step")[0].planned_end == 400


def test_json_holds_what_would_be_drawn(runs, rpat):
    code, out, _ = rpat("plot", "r1", "--metric", "loss", "--json")
    assert code == 0
    (chart,) = json.loads(out)
    assert chart["x"] == "epoch"
    (line,) = chart["series"]
    assert line["x"] == [float(e) for e in range(1, 21)]
    assert line["y"][6] is None


def test_a_null_is_a_gap(runs, db):
    y = charts_of(db, runs[:1], ["loss"])[0].series[0].y
    assert [i for i, v in enumerate(y) if v != v] == [6]


def test_a_run_keeps_its_colour_whatever_is_beside_it(runs, db):
    both = charts_of(db, runs[:2], ["clean"])[0]
    alone = charts_of(db, runs[1:2], ["clean"])[0]
    assert both.series[1].colour == alone.series[0].colour != both.series[0].colour


def test_a_run_without_points_is_said_to_have_none(runs, rpat):
    code, out, _ = rpat("plot", "r3")
    assert code == 0
    assert "no points yet" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "claen"], "did you mean 'clean'"),
        (["--metric", ","], "names no metric"),
        (["--x", "epcoh"], "did you mean 'epoch'"),
        (["--smooth", "1"], "from 0 to 0.999"),
        (["--height", "3"], "from 6 to"),
        (["--width", "4"], "from 20 to"),
        (["--save", "a.gif"], ".png, .svg, .pdf"),
        (["--save", "nowhere/a.png"], "does not exist"),
    ],
)
def test_a_wrong_request_is_refused_with_the_remedy(runs, rpat, words, message):
    code, out, err = rpat("plot", "r1", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_without_matplotlib_a_picture_names_the_extra(runs, rpat, monkeypatch):
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    code, _, err = rpat("plot", "r1", "--save", "a.png")
    assert code == 2
    assert "pip install 'rpat[plot]'" in err


@pytest.mark.parametrize("kind", picture.FORMATS)
def test_a_picture_is_the_same_for_the_same_data(tmp_path, kind):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    x = [1.0, 2.0, 3.0]
    y = [1.0, 2.0, float("nan")]
    chart = Chart([Series.of("a $x", x, y, lower=[0, 1, 2], upper=[2, 3, 4])], title="acc %")
    for name in ("a", "b"):
        picture.save([chart, chart], tmp_path / f"{name}.{kind}", View(smooth=0.5, log_y=True))
    first = (tmp_path / f"a.{kind}").read_bytes()
    assert len(first) > 1000
    assert first == (tmp_path / f"b.{kind}").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a.{kind}", f"b.{kind}"]


def test_saving_below_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        picture.check(tmp_path / "no" / "a.png")


# ----------------------------------------------------------------- what runs reached


def test_the_plane_shows_the_best_weights_of_runs(home, db, rpat):
    example(home, db)
    code, out, err = rpat("plot", "r1", "r5", "r7", "--plane", "--width", "100")
    assert (code, err) == (0, "")
    assert out.startswith("best weights  x clean  y AutoAttack")
    for words in ("r0001 pgd-at", "r0005 pgd-at+rpat", "r0007 trades+rpat"):
        assert words in out
    told = json.loads(rpat("plot", "r1", "--plane", "--json")[1])
    (best,) = queries.measurements(db, numbers=[1], checkpoint="best")
    assert told["robust"] == "AutoAttack"
    assert [(p["clean"], p["robust"]) for p in told["points"]] == [(best.clean, best.aa)]


def test_the_plane_takes_the_attack_that_most_runs_have_met(home, db, rpat):
    example(home, db)
    db.execute("delete from evaluations where run > 1 and attack = 'aa'")
    told = json.loads(rpat("plot", "r1", "r2", "--plane", "--json")[1])
    assert (told["robust"], len(told["points"])) == ("PGD-20", 2)
    code, _, err = rpat("plot", "r9", "--plane")
    assert (code, err.count("\n")) == (2, 1)
    assert "rpat eval" in err


@pytest.mark.parametrize("kind", picture.FORMATS)
def test_a_plane_is_a_picture_and_the_same_for_the_same_data(home, db, rpat, tmp_path, kind):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    example(home, db)
    for name in ("a", "b"):
        code, out, _ = rpat("plot", "r1", "r5", "--plane", "--save", f"{name}.{kind}")
        assert (code, out) == (0, f"wrote {name}.{kind}\n")
    first = (tmp_path / f"a.{kind}").read_bytes()
    assert first == (tmp_path / f"b.{kind}").read_bytes()
    assert first.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind])
    if kind == "svg":
        assert b"r0005 pgd-at+rpat" in first
        assert b"NRR 6" in first


def test_perception_draws_the_newest_study_or_says_how_to_make_one(home, db, rpat, tmp_path):
    example(home, db)
    code, _, err = rpat("plot", "r1", "--perception", "--save", "fig.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "rpat study perception r1" in err
    assert not (tmp_path / "fig.csv").exists()
    db.execute(
        "update runs set kind = 'study', parent = (select uid from runs where n = 1) where n = 10"
    )
    case = {"mse_success": 0.5, "mse_failure": 0.25, "ratio": 0.5, "n_success": 60,
            "n_failure": 40, "clean_acc": 80.0, "perturbed_acc": 60.0}  # fmt: skip
    body = {"n": 100, "of": 100, "norm": "linf", "epsilon": 8 / 255, "split": "test", "steps": 20,
            "average": "sample", "result": {"noise": case, "pgd": case},
            "study": "perception", "checkpoint": "final", "network": "online"}  # fmt: skip
    db.execute(
        "insert into studies values (10, 1, 1, 1.0, 'perception', 'final', 'online', ?)",
        (json.dumps(body),),
    )
    code, out, _ = rpat("plot", "r1", "--perception", "--save", "fig.csv")
    assert code == 0
    assert "Perception" in out
    assert "0.25" in (tmp_path / "fig.csv").read_text("utf-8")
    assert "two figures" in rpat("plot", "r1", "--perception", "--plane")[2]


# ----------------------------------------------------------------- under the watch


def watched(home: Home, numbers: list[int], width: int, height: int) -> str:
    out = io.StringIO()
    with database.opened(home) as db:
        rows = live.snapshot(db, numbers)
        below = live._Curves(db)(rows, width, height)
        screen = Console(file=out, width=width, height=height, no_color=True)
        screen.print(live.view(rows, width, below))
    return out.getvalue()


def test_a_large_terminal_shows_curves_under_the_table(home, runs):
    text = watched(home, runs[:2], 120, 40)
    assert "acc %" in text
    assert "r0001 PGD" in text
    assert len(text.splitlines()) <= 38


def test_only_the_command_says_that_a_metric_is_missing(home, runs, rpat, capsys):
    assert rpat("plot", "r1", "--metric", "clean,lr")[2] == "no run here has lr\n"
    with database.opened(home) as db:
        charts_of(db, runs[:1], ["clean", "lr"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("size", [(99, 40), (120, 29)])
def test_a_small_terminal_shows_the_table_alone(home, runs, size):
    assert "acc %" not in watched(home, runs[:2], *size)


def test_runs_that_have_no_epoch_yet_have_no_curves(home, runs):
    assert "acc %" not in watched(home, runs[2:], 120, 40)


def test_points_are_read_after_a_step(runs, db):
    assert [p[0] for p in queries.points(db, runs[0], "test/clean_acc", after=180)] == [190, 200]
    assert queries.points(db, runs[0], "no/such") == []
