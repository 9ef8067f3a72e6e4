"""Figures of studies: golden text, files for other programs, pictures."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from rpat.errors import ConfigError
from rpat_tui import figures
from rpat_tui.figures import reading

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = {
    "checkpoint": "final", "network": "online", "epoch": 110, "weights": "w", "normalize": "none",
    "selected_on": "", "split": "test", "n": 10000, "of": 10000, "indices": "i", "norm": "linf",
    "epsilon": 8 / 255, "steps": 20, "step_size": 2 / 255, "start": "uniform", "seed": 0,
    "batch_size": 100, "tf32": False, "file": "f.npz",
}  # fmt: skip


def averages(success: float | None, failure: float | None, clean: float, pert: float) -> Any:
    ratio = failure / success if success and failure else None
    found: dict[str, Any] = {"mse": 0.3, "mse_success": success, "mse_failure": failure}
    for name in ("clean_mid", "mid_pert"):
        found |= {name: 0.1, f"{name}_success": 0.125, f"{name}_failure": None}
    found |= {"ratio": ratio, "clean_acc": clean, "perturbed_acc": pert}
    return found | {"n_success": round(pert * 100), "n_failure": round(10000 - pert * 100)}


def perception(title: str, noise: Any, pgd: Any, **changes: Any) -> dict[str, Any]:
    result = {"noise": noise, "pgd": pgd, "release": {"noise": noise, "pgd": pgd}}
    own = {"study": "perception", "title": title, "average": "sample", "result": result}
    return SETTINGS | own | changes


def smoothness(title: str, height: float | None, **changes: Any) -> dict[str, Any]:
    alphas = [k / 10 for k in range(11)]
    curve = [None if height is None else 4 * height * a * (1 - a) * (1.2 - 0.4 * a) for a in alphas]
    means = {
        "n": 10000, "deviation": curve, "deviation_mid": curve[5], "second_max": 12.5,
        "second_mean": 8.0, "n_jacobian": 200, "jacobian_change": height and 40 * height,
        "jacobian_clean": 2.0, "jacobian_adv": 3.0, "jacobian_relative": 0.75, "jacobian_last": 0.0,
    }  # fmt: skip
    result = {
        "alphas": alphas, "clean_acc": 82.71, "robust_acc": 50.4, "jacobian_how": "exact",
        "all": means, "success": means, "failure": means | {"deviation": None, "n": 0},
    }  # fmt: skip
    own = {"study": "smoothness", "title": title, "alphas": 11, "jacobian_n": 200, "iterations": 20}
    return SETTINGS | own | {"result": result} | changes


def fig2() -> list[dict[str, Any]]:
    """The three cases of the paper's Fig. 2."""
    nothing = averages(None, 95.2, 94.6, 0.0)
    return [
        perception("clean", averages(1.624, 3.917, 94.6, 81.3), nothing, case="noise"),
        perception("random", averages(0.412, 1.31, 93.1, 92.2), nothing, case="noise"),
        perception("pgd-at", averages(0.01, 0.012, 82.7, 82.5),
                   averages(0.871, 0.563, 82.71, 50.4), case="pgd"),
    ]  # fmt: skip


def ways() -> list[dict[str, Any]]:
    return [smoothness("pgd-at", 0.0417), smoothness("pgd-at + RPAT", 0.0203)]


FIGURES = {
    "perception": fig2,
    "smoothness": ways,
    "apart": lambda: [
        perception("pgd-at", averages(0.0007, 0.0008, 82.7, 82.5), averages(0.9, 0.6, 82.7, 50.4)),
        smoothness("pgd-at", 0.04, norm="l2", epsilon=0.5),
        smoothness("clean", 4.0, norm="l2", epsilon=0.5),
    ],
}


def drawn(records: list[dict[str, Any]], width: int, encoding: str = "utf-8") -> str:
    stream = io.BytesIO()
    out = io.TextIOWrapper(stream, encoding=encoding)
    console = Console(file=out, width=width, no_color=True, highlight=False, legacy_windows=False)
    console.print(figures.terminal(records, width))
    out.flush()
    return stream.getvalue().decode(encoding)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


# ----------------------------------------------------------------- in the terminal


@pytest.mark.parametrize(
    ("width", "encoding"), [(80, "utf-8"), (120, "utf-8"), (80, "ascii")], ids=str
)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_as_its_golden_file(name, width, encoding):
    golden = GOLDEN / f"figure-{name}-{'ascii' if encoding == 'ascii' else width}.txt"
    text = drawn(FIGURES[name](), width, encoding)
    if os.environ.get("RPAT_UPDATE_GOLDEN"):
        golden.write_text(text, "utf-8")
    assert golden.read_text("utf-8") == text


@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_its_width_and_leaves_no_trailing_blanks(name, width):
    lines = drawn(FIGURES[name](), width).splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert "\x1b" not in "".join(lines)
    assert max(map(len, lines)) <= width


def test_bars_are_as_long_as_their_numbers():
    lines = drawn(fig2(), 80).splitlines()
    bars = [line[13:60].rstrip() for line in lines if line.startswith(("  success", "  failure"))]
    assert len(bars[1]) == 47  # the highest of all
    assert len(bars[0]) == pytest.approx(47 * 1.624 / 3.917, abs=1)
    assert len(bars[5]) == pytest.approx(47 * 0.563 / 3.917, abs=1)


def test_pairs_that_are_too_different_get_scales_of_their_own_and_it_is_said():
    text = drawn(FIGURES["apart"]()[:1], 80)
    assert "each pair of bars has a scale of its own" in text
    assert text.count("█" * 47) == 2
    assert "one scale for all bars" in drawn(fig2(), 80)


def test_base_and_rpat_have_the_same_mark_full_and_hollow_and_a_line_of_differences():
    text = drawn(ways(), 80)
    assert "● pgd-at   ○ pgd-at + RPAT" in text
    line = next(line for line in text.splitlines() if line.startswith("  against pgd-at"))
    assert line.split()[2:5] == ["−51", "%", "+0"]


@pytest.mark.parametrize("record", [
    perception("broken", averages(None, None, 10.0, 10.0), averages(None, None, 10.0, 10.0)),
    smoothness("broken", None),
    smoothness("flat", 0.0),
], ids=["perception", "smoothness", "flat"])  # fmt: skip
def test_what_does_not_exist_is_a_dash_and_nothing_breaks(record, tmp_path):
    assert "–" in drawn([record], 80) or record["title"] == "flat"
    for suffix in ("json", "csv", "md"):
        figures.write([record], tmp_path / f"f.{suffix}")
        text = (tmp_path / f"f.{suffix}").read_text("utf-8")
        assert "nan" not in text.lower()
        assert "None" not in text


def test_no_study_is_said_in_a_line():
    assert drawn([], 80) == f"{figures.NOTHING}\n"


def test_names_tell_networks_of_one_title_apart():
    best, final = (smoothness("pgd-at", 1.0, checkpoint=word) for word in ("best", "final"))
    assert [way.subject for way in reading.ways([best, final])] == ["pgd-at best", "pgd-at final"]
    rpat = smoothness("pgd-at + RPAT", 1.0, checkpoint="best")
    found = reading.ways([best, final, rpat, rpat | {"checkpoint": "final"}])
    assert [way.base for way in found[2:]] == ["pgd-at best", "pgd-at final"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (0.4123, "0.412"), (12.34, "12.3"), (1234.5, "1234"),
     (0.00071, "0.000710"), (3e-6, "3.00e-06"), (-0.25, "-0.250")],
)  # fmt: skip
def test_numbers_have_three_figures(value, text):
    assert reading.number(value) == text


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.00166, 0.0999, 1.0, 7.3, 99.9])
def test_an_axis_ends_at_a_round_number_above(value):
    top = reading.ceiling(value)
    assert value <= top <= max(1.4 * value, 1e-8) or value == 0


# ----------------------------------------------------------------- files


def test_json_holds_the_records(tmp_path):
    figures.write(fig2(), tmp_path / "f.json")
    assert json.loads((tmp_path / "f.json").read_text("utf-8")) == fig2()


def test_csv_is_one_number_a_line_in_full_precision(tmp_path):
    figures.write([*fig2(), *ways()], tmp_path / "f.csv")
    with (tmp_path / "f.csv").open() as stream:
        rows = list(csv.DictReader(stream))

    def value(**wanted: str) -> str:
        found = [row for row in rows if wanted.items() <= row.items()]
        assert len(found) == 1
        return found[0]["value"]

    case = {"subject": "pgd-at", "perturbation": "PGD-20", "study": "perception"}
    assert value(**case, measure="mse", case="failure") == "0.563"
    assert value(**case, measure="mse", case="all") == "0.3"
    assert value(**case, measure="clean_mid", case="failure") == ""
    assert value(**case, measure="ratio") == repr(0.563 / 0.871)
    assert value(**case, measure="n", case="success") == "5040"
    assert value(**case, measure="clean_acc", case="") == "82.71"
    way = {"subject": "pgd-at + RPAT", "study": "smoothness", "perturbation": "PGD-20"}
    curve = ways()[1]["result"]["all"]["deviation"]
    assert value(**way, measure="deviation", case="all", alpha="0.3") == repr(curve[3])
    assert value(**way, measure="deviation", case="failure", alpha="0.3") == ""
    assert value(**way, measure="jacobian_relative", case="all") == "0.75"


def test_markdown_is_a_table_for_each_study(tmp_path):
    figures.write([*fig2(), *ways()], tmp_path / "f.md")
    text = (tmp_path / "f.md").read_text("utf-8")
    assert text.count("| Network |") == 2
    assert "| pgd-at | PGD-20 | 0.871 | 0.563 | 0.646 | 5040 | 4960 | 82.7 | 50.4 |" in text
    assert "| pgd-at + RPAT | 0.0203 | 12.5 | 0.812 | 0.750 | 82.7 | 50.4 |" in text


def test_an_unknown_suffix_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ConfigError, match=r"'\.gif' .* \.json, \.csv, \.md, \.png, \.svg, \.pdf"):
        figures.write(fig2(), tmp_path / "f.gif")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no folder .*missing"):
        figures.write(fig2(), tmp_path / "missing" / "f.csv")


# ----------------------------------------------------------------- pictures


def test_without_matplotlib_a_picture_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'rpat\[plot\]'"):
        figures.write(fig2(), tmp_path / "f.png")
    assert not list(tmp_path.iterdir())


ACCURACIES = [
    {"title": f"alpha {alpha}", "paper_label": str(1 - alpha), "run": f"r{i}", "seed": i % 2,
     "clean": 80.0 + i, "pgd20": 50.5 - i, "aa": None if i == 3 else 46.25 + alpha}
    for i, alpha in enumerate((0.25, 0.25, 0.5, 0.75))
]  # fmt: skip


def test_accuracies_are_written_as_numbers(tmp_path):
    for suffix in ("json", "csv", "md"):
        figures.write_accuracies(ACCURACIES, tmp_path / f"a.{suffix}", "Fig. 4(b)")
    whole = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert whole == {"title": "Fig. 4(b)", "records": ACCURACIES}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text("utf-8"))))
    assert [row["aa"] for row in rows] == ["46.5", "46.5", "46.75", ""]
    text = (tmp_path / "a.md").read_text("utf-8")
    assert "| alpha 0.75 | 0.25 | r3 | 1 | 83.00 | 47.50 | – |" in text
    assert text.endswith("\nFig. 4(b)\n")


def test_a_target_is_checked_before_anything_is_made(tmp_path, monkeypatch):
    figures.check_target(tmp_path / "f.csv")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"rpat\[plot\]"):
        figures.check_target(tmp_path / "f.pdf")
    with pytest.raises(ConfigError, match="is no format"):
        figures.check_target(tmp_path / "f")


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="pictures need the extra 'plot'")


def test_a_picture_shows_one_study_and_not_none(matplotlib, tmp_path):
    with pytest.raises(ConfigError, match="apart"):
        figures.write([*fig2(), *ways()], tmp_path / "f.png")
    with pytest.raises(ConfigError, match="no study"):
        figures.write([], tmp_path / "f.png")


@pytest.mark.parametrize("name", ["perception", "smoothness"])
def test_an_svg_parses_is_as_wide_as_asked_and_the_same_each_time(matplotlib, name, tmp_path):
    file = tmp_path / "f.svg"
    figures.write(FIGURES[name](), file, 6.75)
    first = file.read_bytes()
    root = ElementTree.fromstring(first)
    assert root.tag.endswith("svg")
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(6.75 * 72)
    figures.write(FIGURES[name](), file, 6.75)
    assert file.read_bytes() == first


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_pictures_are_of_their_format(matplotlib, suffix, magic, tmp_path):
    broken = perception("a$b$ long title", averages(None, None, 0.0, 0.0), averages(0, 1, 9, 9))
    for number, records in enumerate(
        (fig2(), ways(), [broken] * 4, [smoothness("broken", None), smoothness("clean", 4e-7)])
    ):
        file = tmp_path / f"{number}.{suffix}"
        figures.write(records, file)
        assert file.read_bytes().startswith(magic)
    figures.write_accuracies(ACCURACIES, tmp_path / f"a.{suffix}", "Fig. 4(b)")
    assert len(list(tmp_path.iterdir())) == 5


def test_a_terminal_needs_neither_numbers_nor_pictures():
    code = (
        "import sys; from rpat_tui import figures; "
        "light = {'rich', 'numpy', 'matplotlib', 'torch'} & set(sys.modules); "
        "assert not light, light; from rpat_tui.figures import bars, curves; "
        "heavy = {'numpy', 'matplotlib', 'torch'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
