"""`rpat report`: one page that says everything, needs nothing, and runs nothing foreign."""

from __future__ import annotations

import base64
import hashlib
import re
import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rpat.recipes import recipe
from rpat_tui import report
from rpat_tui.home import Home
from rpat_tui.report.scale import scale, tight
from rpat_tui.store import index, queries
from tests.console.browser import browser, found
from tests.console.conftest import Rpat, refused
from tests.console.examples import example

RUDE = '</script><script>window.rude = 1</script><img src=x onerror="window.rude = 2">\x1b[2J'


@pytest.fixture
def full(home: Home, db: sqlite3.Connection) -> list[int]:
    """The example with rude names, notes, tags and reasons."""
    numbers = example(home, db)
    db.execute("update runs set name = ?1, note = ?1, reason = ?1 where n = 1", (RUDE,))
    db.execute("insert into tags values (1, ?)", (RUDE,))
    return numbers


class Page(HTMLParser):
    """The words of a page's tables, and whether its elements are closed in order."""

    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, *starts: str) -> list[str]:
        """Return the first row whose first cells begin so."""
        return next(r for r in self.rows if all(map(str.startswith, r, starts)))


def made(home: Home, db: sqlite3.Connection, numbers: list[int], folder: Path) -> str:
    report.write(home, db, numbers, folder / "page.html", now=0.0)
    return (folder / "page.html").read_text("utf-8")


# ----------------------------------------------------------------- what it says


def test_the_page_has_the_tables_numbers(full: list[int], rpat: Rpat, tmp_path: Path) -> None:
    said = rpat("report", "-o", "out.html")
    assert (said.code, said.err) == (0, "")
    assert re.fullmatch(r"wrote out.html: 10 runs, \d+ kB\n", said.out)
    page = Page((tmp_path / "out.html").read_text("utf-8"))
    for row in rpat("table", "--checkpoint", "", "--json").json:
        method = {"pgd-at": "PGD-AT", "trades": "TRADES"}[row["method"]] + " + RPAT" * row["rpat"]
        found = next(
            r for r in page.rows
            if r and re.fullmatch(re.escape(method) + r"( \(\d\))*", r[0])
            and r[1] == row["checkpoint"]
        )  # fmt: skip
        told = [f"{row[m]['mean']:.2f} ± {row[m]['std']:.2f}" for m in ("clean", "pgd20", "aa")]
        assert found[2:5] == told
        assert found[7] == str(row["n"])
    assert "paper, Table 1" in {row[0] for row in page.rows}


def test_the_page_has_every_part(full: list[int], home: Home, db: sqlite3.Connection,
                                 tmp_path: Path) -> None:  # fmt: skip
    page = Page(made(home, db, full, tmp_path))
    ids = {attrs.get("id") for _, attrs in page.elements}
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a"]
    assert links == ["#results", "#curves", "#plane", "#runs", "#configs", "#findings",
                     "#evaluations", "#provenance", "#history"]  # fmt: skip
    assert {link.removeprefix("#") for link in links if link} <= ids
    charts = [attrs for tag, attrs in page.elements if tag == "svg" and attrs.get("role") == "img"]
    assert len(charts) == 6
    for attrs in charts:  # a name and a description for those who do not see it
        assert set(str(attrs["aria-labelledby"]).split()) <= ids
    assert [tag for tag, _ in page.elements if tag in ("h1", "main")] == ["h1", "main"]
    assert page.row("r0009", "MART")[3] == "failed out of memory"
    assert "normal:0.001" in page.row("attack.start")
    assert page.row("selected-on-test")[2].split() == [f"r000{n}" for n in range(1, 9)]
    aa = page.row("r0001", "best", "online", "15", "AutoAttack")
    assert aa[5:7] == ["l\N{INFINITY} 8/255", "2/255"]
    assert aa[7] == "10,000"
    assert page.row("data fingerprint")[1] == "f" * 64
    assert "CUDA" not in page.words  # that is the log's business
    assert page.row("PGD-AT (seeds 0, 1)", "schedule.epochs")[2:] == ["110", "20"]


def test_the_last_values_of_curves_are_told_in_words(
    full: list[int], home: Home, db: sqlite3.Connection, tmp_path: Path
) -> None:
    (last,) = queries.points(db, 3, "test/pgd_acc")[-1:]
    text = made(home, db, full, tmp_path)
    assert f"r0003 ends at {last[2]:.4g} % in epoch 20" in text


def test_a_value_that_was_not_finite_breaks_the_line(
    full: list[int], home: Home, db: sqlite3.Connection, tmp_path: Path
) -> None:
    db.execute(
        "update points set value = null where epoch in (3, 19) and series in "
        "(select id from series where run = 1 and name = 'train/loss')"
    )
    text = made(home, db, [1], tmp_path)
    chart = text[text.index("Training loss over epochs") :]
    chart = chart[: chart.index("</svg>")]
    path = re.search(r' d="([^"]+)"', chart.rpartition("<path")[2])
    assert path is not None
    assert path[1].count("M") == 3
    assert path[1].count("L") == 15
    assert path[1].endswith("h0.01")  # the lone last point is a dot
    assert "nan" not in chart.lower()


# ----------------------------------------------------------------- what it is


def test_what_people_wrote_stays_text(
    full: list[int], home: Home, db: sqlite3.Connection, tmp_path: Path
) -> None:
    report.write(home, db, full, tmp_path / "page.html", title=RUDE)
    text = (tmp_path / "page.html").read_text("utf-8")
    page = Page(text)
    assert text.count("<script") == 1
    assert "\x1b" not in text
    assert [tag for tag, _ in page.elements if tag in ("img", "script", "iframe")] == ["script"]
    assert "window.rude = 1</script>" in page.words
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)


def test_the_page_asks_for_nothing_and_runs_its_own_script_alone(
    full: list[int], home: Home, db: sqlite3.Connection, tmp_path: Path
) -> None:
    text = made(home, db, full, tmp_path)
    for tag, attrs in Page(text).elements:
        assert tag not in ("link", "iframe", "object", "embed", "form", "base")
        assert not {"src", "srcset", "action", "style", "background"} & set(attrs)
        assert str(attrs.get("href", "#")).startswith("#")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    script = text[text.index("<script>") + 8 : text.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert re.findall(r"https?://\S+", text) == ['http://www.w3.org/2000/svg",']


def test_the_same_runs_give_the_same_page_but_for_its_date(
    full: list[int], home: Home, db: sqlite3.Connection, tmp_path: Path, rpat: Rpat
) -> None:
    pages = []
    for name, now in (("a.html", 1.0e9), ("b.html", 1.7e9)):
        report.write(home, db, full, tmp_path / name, now=now)
        pages.append((tmp_path / name).read_text("utf-8").splitlines())
    assert [(a, b) for a, b in zip(*pages, strict=True) if a != b] == [
        (f'<p class="date">Made on {day} UTC</p>',
         f'<p class="date">Made on {later} UTC</p>')
        for day, later in [("2001-09-09 01:46:40", "2023-11-14 22:13:20")]
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 50])
def test_a_page_holds_one_run_or_fifty(
    home: Home, db: sqlite3.Connection, tmp_path: Path, count: int
) -> None:
    example(home, db)
    more = [
        recipe("mart", ("rpat",), dataset="cifar10").override({"rpat.lam": 1 + i / 10})
        for i in range(40)
    ]
    index.enqueue(home, db, more, index.Wish(), {})
    text = made(home, db, list(range(1, count + 1)), tmp_path)
    page = Page(text)
    assert len({a["data-run"] for tag, a in page.elements if "data-run" in a}) == min(count, 10)
    assert page.words.count("Whole config: ") == {1: 1, 50: 46}[count]
    assert len(text) < {1: 100_000, 50: 1_000_000}[count]


def test_ten_runs_of_two_hundred_epochs_take_less_than_a_megabyte(
    full: list[int], home: Home, db: sqlite3.Connection, tmp_path: Path
) -> None:
    db.execute(
        "insert into points (series, step, epoch, value) "
        "select series, step * 1000 + k.value, epoch + 20 * k.value, "
        "points.value + 0.01 * k.value from points, json_each('[1,2,3,4,5,6,7,8,9]') k"
    )
    text = made(home, db, full, tmp_path)
    (longest,) = [max(len(d) for d in re.findall(r' d="([^"]+)"', text))]
    assert longest > 2_000
    assert len(text) < 1_000_000


def test_a_run_without_any_number_has_a_page(
    home: Home, db: sqlite3.Connection, rpat: Rpat, tmp_path: Path
) -> None:
    index.enqueue(home, db, [recipe("pgd-at", dataset="digits")], index.Wish(), {})
    assert rpat("report").code == 0
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "None of these runs has been evaluated yet." in page.words
    assert page.row("r0001", "PGD-AT")[5] == "–"
    assert not [tag for tag, _ in page.elements if tag == "svg"]


def test_what_cannot_be_reported_is_refused_and_nothing_is_made(
    full: list[int], db: sqlite3.Connection, rpat: Rpat, tmp_path: Path
) -> None:
    refused(rpat("report", "-o", "page.pdf"), "-o page.pdf", ".html")
    refused(rpat("report", "-o", "no/page.html"), "the folder no does not exist")
    refused(rpat("report", "r77"), "run 'r77' does not exist")
    refused(rpat("report", "--where", "method:gairat"), "no run matches")
    db.execute("update runs set kind = 'eval' where n = 10")
    refused(rpat("report", "r1", "r10"), "r0010 is a job of kind eval")
    assert [p.name for p in tmp_path.iterdir() if p.name != "home"] == []


def test_scales_hold_all_values_and_have_round_ticks() -> None:
    made = scale([11.3, 52.7], 100, 0)
    assert (made.low, made.high, list(made.ticks)) == (10, 60, [10, 20, 30, 40, 50, 60])
    assert (made.place(10), made.place(60), made.place(35)) == (100, 0, 50)
    assert scale([5, 5], 0, 1).low < 5 < scale([5, 5], 0, 1).high
    assert scale([], 0, 1).ticks
    logarithmic = scale([0.0005, 0.1], 0, 3, log=True)
    assert [round(logarithmic.place(v), 9) for v in (1e-4, 1e-2, 1e-1)] == [0, 2, 3]
    assert list(tight(0, 110, 0, 1).ticks) == [0, 20, 40, 60, 80, 100]


# ----------------------------------------------------------------- of a suite

SUITE = ("report", "--suite", "table1", "--dataset", "cifar10", "--epochs", "20")


def test_the_report_of_a_suite_has_its_table_with_holes_and_printed_numbers(
    full: list[int], home: Home, db: sqlite3.Connection, rpat: Rpat, tmp_path: Path
) -> None:
    said = rpat(*SUITE, "-o", "suite.html")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("wrote suite.html: 10 runs, ")
    page = Page((tmp_path / "suite.html").read_text("utf-8"))
    rows = rpat("table", *SUITE[1:], "--paper", "--json").json
    assert len([row for row in rows if row["n"] and row["aa"]]) == 6
    for row in rows:
        for measure in ("clean", "aa", "mean"):
            if row[measure]:
                assert f"{row[measure]['mean']:.2f} ± {row[measure]['std']:.2f}" in page.words
            if row["paper"][measure]:
                digits = 3 if measure == "mean" else 2
                assert f"{row['paper'][measure]:.{digits}f}" in page.words
    assert page.row("Consistency-AT")[1] == "\N{EN DASH}", "nobody has trained it"
    assert "r0009" in page.words, "a failed run of the suite has its curves as well"
    charts = [attrs for tag, attrs in page.elements if tag == "svg" and attrs.get("role") == "img"]
    assert len(charts) == 6
    fine = rpat("table", "--verify", "suite.html")
    assert (fine.code, "are as they were" in fine.out) == (0, True), "its table is an exported one"


def test_the_report_of_a_suite_without_runs_is_the_papers_table(
    nowhere: Path, rpat: Rpat, tmp_path: Path
) -> None:
    said = rpat("report", "--suite", "table1", "-o", "suite.html")
    assert (said.code, said.out.partition(",")[0]) == (0, "wrote suite.html: 0 runs")
    page = Page((tmp_path / "suite.html").read_text("utf-8"))
    assert [a["href"] for tag, a in page.elements if tag == "a"] == ["#results"]
    assert "82.92" in page.words
    assert "64.830" in page.words
    assert not nowhere.exists()


def test_a_report_cannot_be_of_a_suite_and_of_runs(full: list[int], rpat: Rpat) -> None:
    refused(rpat("report", "r0001", "--suite", "table1"), "--suite", "--where")
    refused(rpat("report", "--suite", "table9"), "table9", "did you mean")
    refused(rpat("report", "--dataset", "cifar10"), "--dataset", "--suite")
    refused(rpat("report", "--epochs", "2"), "--epochs", "--suite")


# ----------------------------------------------------------------- in a browser


@pytest.mark.skipif(found() is None, reason="no Chromium is installed")
def test_a_browser_shows_the_page_of_a_suite_without_a_complaint_or_a_request(
    full: list[int], home: Home, db: sqlite3.Connection, tmp_path: Path, rpat: Rpat
) -> None:
    assert rpat(*SUITE, "-o", "suite.html").code == 0
    with browser() as seen:
        seen.open(tmp_path / "suite.html")
        shown = seen.value("document.querySelector('.suite').innerText")
        for row in rpat("table", *SUITE[1:], "--paper", "--json").json:
            assert f"{row['paper']['aa']:.2f}" in shown
        assert "Consistency-AT" in shown
        assert seen.value("document.querySelectorAll('svg.chart').length") > 4
        assert seen.value("document.documentElement.scrollWidth") <= 1280
        right = "getComputedStyle(document.querySelector('.suite tbody td')).textAlign"
        assert seen.value(right) == "right"
        assert seen.complaints == []
        assert [url for url in seen.requests if not url.startswith("file:")] == []


@pytest.mark.skipif(found() is None, reason="no Chromium is installed")
def test_a_browser_shows_the_page_without_a_complaint_or_a_request(
    full: list[int], home: Home, db: sqlite3.Connection, tmp_path: Path, rpat: Rpat
) -> None:
    made(home, db, full, tmp_path)
    page = tmp_path / "page.html"
    with browser() as seen:
        seen.open(page)
        shown = seen.value("document.body.innerText")
        for row in rpat("table", "--json").json:
            assert f"{row['aa']['mean']:.2f} ± {row['aa']['std']:.2f}" in shown
        assert seen.value("window.rude === undefined")
        assert seen.value("document.documentElement.scrollWidth") <= 1280

        # a curve says its value where the mouse is
        place = seen.value(
            "(() => { const c = document.querySelectorAll('svg.chart')[1];"
            " c.scrollIntoView({behavior: 'instant'});"
            " const p = c.querySelector('.best[data-group=\"2\"]').getBoundingClientRect();"
            " return [p.x + p.width / 2, p.y + p.height / 2]; })()"
        )
        seen.point(*place)
        tip = "document.getElementById('tip')"
        assert seen.value(f"{tip}.hidden") is False
        run, _, epoch, value, unit = seen.value(f"{tip}.textContent").split()
        assert (epoch, unit) == ("15", "%")
        (told,) = [v for _, e, v in queries.points(db, queries.find(db, [run])[0], "test/pgd_acc")
                   if e == 15]  # fmt: skip
        assert told is not None
        assert float(value) == pytest.approx(told, abs=0.02)
        seen.point(2, 2)
        assert seen.value(f"{tip}.hidden") is True

        # an experiment is switched off in every picture
        lines = "[...document.querySelectorAll('figure [data-group=\"0\"]')]"
        seen.value("document.querySelector('.key[data-group=\"0\"]').click()")
        assert seen.value(f"{lines}.length > 10 && {lines}.every(m => !m.checkVisibility())")
        seen.value("document.querySelectorAll('.key[data-group=\"0\"]')[1].click()")
        assert seen.value(f"{lines}.every(m => m.checkVisibility())")

        # it is dark where its reader likes that, and unfolds to be printed
        light = seen.value("getComputedStyle(document.body).backgroundColor")
        seen.dark(True)
        assert seen.value("getComputedStyle(document.body).backgroundColor") != light
        seen.value("dispatchEvent(new Event('beforeprint'))")
        assert seen.value("[...document.querySelectorAll('details')].every(d => d.open)")
        assert seen.complaints == []
        assert seen.requests == [page.absolute().as_uri()]


@pytest.mark.skipif(found() is None, reason="no Chromium is installed")
def test_the_browser_of_these_tests_sees_complaints_and_requests(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<script>console.error('alas'); document.createElement('img').src = 'gone.png';"
        "missing()</script>", "utf-8",
    )  # fmt: skip
    with browser() as seen:
        seen.open(bad)
        seen.value("new Promise(done => setTimeout(done, 0)) && 1")
        words = " ".join(seen.complaints)
        assert "alas" in words
        assert "missing is not defined" in words
        assert any(url.endswith("gone.png") for url in seen.requests)
