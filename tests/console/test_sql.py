"""`rpat sql`, the views that it promises, and the page that teaches them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import queries
from rpat_tui.store.ask import asking
from rpat_tui.store.views import QUESTIONS, VIEWS
from tests.console.conftest import Rpat, refused, until
from tests.console.examples import example

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
ENDLESS = (
    "with recursive c(x) as (select 1 union all select x + 1 from c) select max(x) as most from c"
)


@pytest.fixture
def full(home: Home, db: sqlite3.Connection) -> list[int]:
    return example(home, db)


# ----------------------------------------------------------------- the promise

FIRST = {
    "v1_runs": "run name kind state reason archived method rpat lam dataset source norm epsilon "
    "model mode seed epoch epochs clean pgd logit_mse loss best_pgd best_epoch created started "
    "ended seconds device attempts tags note sweep parent seed_group uid config",
    "v1_metrics": "run name epoch step value",
    "v1_summaries": "run name last_epoch last highest highest_epoch lowest lowest_epoch points",
    "v1_results": "run method rpat lam dataset norm model seed seed_group checkpoint network epoch "
    "clean pgd20 aa mean nrr images selected_on",
    "v1_evaluations": "run job checkpoint network epoch attack norm epsilon steps step_size "
    "restarts clean robust images of_images split selected_on differs note state seed dtype "
    "weights at",
    "v1_states": "run old new reason cause at evidence",
    "v1_attempts": "run attempt host device from_step began ended seconds ending exit_code signal "
    "error_reason error_message",
    "v1_findings": "run rule level checkpoint network text remedy evidence",
    "v1_studies": "run job study checkpoint network at record",
    "v1_samples": "run device name at value",
    "v1_tags": "run tag",
}


def test_the_views_of_version_1_have_their_columns_for_ever(db: sqlite3.Connection) -> None:
    """Never change this: a column more or less is a view of version 2."""
    found = {
        name: " ".join(c[0] for c in db.execute(f"select * from {name}").description)
        for (name,) in db.execute("select name from sqlite_master where type = 'view'")
        if name.startswith("v1_")
    }
    assert found == FIRST


def test_every_column_of_every_view_is_explained(db: sqlite3.Connection) -> None:
    views = {row[0] for row in db.execute("select name from sqlite_master where type = 'view'")}
    assert views - {"points"} == set(VIEWS)
    for name, view in VIEWS.items():
        assert [c[0] for c in db.execute(f"select * from {name}").description] == [*view.columns]
        assert all(view.columns.values())


def test_the_results_are_what_the_table_is_made_of(full: list[int], db: sqlite3.Connection) -> None:
    found = {
        (run, checkpoint): numbers
        for run, checkpoint, *numbers in db.execute(
            "select run, checkpoint, clean, pgd20, aa from v1_results"
        )
    }
    measured = queries.measurements(db)
    assert len(measured) == 16
    assert found == {(m.run, m.checkpoint): [m.clean, m.pgd20, m.aa] for m in measured}
    (row,) = db.execute("select * from v1_results where run = 'r0001' and checkpoint = 'best'")
    by_name = dict(zip(VIEWS["v1_results"].columns, row, strict=True))
    assert by_name["mean"] == (by_name["clean"] + by_name["aa"]) / 2
    assert by_name["nrr"] == pytest.approx(
        2 * by_name["clean"] * by_name["aa"] / (by_name["clean"] + by_name["aa"])
    )


def test_a_job_of_its_own_counts_for_its_run_and_the_newest_of_most_images_wins(
    full: list[int], db: sqlite3.Connection
) -> None:
    columns = [c[1] for c in db.execute("pragma table_info(evaluations)") if c[1] != "id"]
    (before,) = db.execute(
        "select aa from v1_results where run = 'r0001' and checkpoint = 'best'"
    ).fetchone()
    for n, robust, seq in ((10_000, 44.0, 9001), (1_000, 11.0, 9002)):
        made = ", ".join({"n": str(n), "robust": str(robust), "seq": str(seq), "t": "9e9",
                          "run": "10"}.get(c, c) for c in columns)  # fmt: skip
        db.execute(
            f"insert into evaluations ({', '.join(columns)}) select {made} from evaluations "
            "where run = 1 and attack = 'aa' and checkpoint = 'best'"
        )
    db.execute(
        "update runs set kind = 'eval', parent = (select uid from runs where n = 1) where n = 10"
    )
    (after,) = db.execute(
        "select aa from v1_results where run = 'r0001' and checkpoint = 'best'"
    ).fetchone()
    assert (before != 44.0, after) == (True, 44.0)
    (measured,) = queries.measurements(db, numbers=[1], checkpoint="best")
    assert measured.aa == 44.0
    jobs = db.execute("select job, count(*) from v1_evaluations where run = 'r0001' group by job")
    assert jobs.fetchall() == [("r0001", 4), ("r0010", 2)]


@pytest.mark.parametrize(
    ("query", "steps"),
    [
        (
            "select value from v1_metrics where run = 'r0001' and name = 'lr'",
            ["SEARCH r ", "SEARCH s USING COVERING INDEX sqlite_autoindex_series_1 (run=? AND name",
             "SEARCH k USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
        ),
        ("select * from v1_summaries where run = 'r0001'", ["SEARCH r ", "SEARCH s ", "SEARCH b "]),
        ("select * from v1_states where run = 'r0001'", ["SEARCH r ", "SEARCH t "]),
        ("select * from v1_attempts where run = 'r0001'", ["SEARCH r ", "SEARCH a "]),
        ("select * from v1_findings where run = 'r0001'", ["SEARCH r ", "SEARCH f "]),
        ("select * from v1_samples where run = 'r0001'", ["SEARCH r ", "SEARCH s "]),
        ("select * from v1_tags where run = 'r0001'", ["SEARCH r ", "SEARCH t "]),
        ("select * from v1_evaluations where run = 'r0001'", ["SEARCH r ", "SEARCH j ",
                                                              "SEARCH e "]),
        ("select * from v1_results where run = 'r0001'", ["SEARCH r USING INDEX sqlite_autoindex",
                                                          "SEARCH j ", "SEARCH e "]),
        ("select * from v1_runs where run = 'r0001'", ["SEARCH r ", "SEARCH s USING INTEGER"]),
    ],
)  # fmt: skip
def test_the_rows_of_one_run_are_found_through_indexes(
    db: sqlite3.Connection, query: str, steps: list[str]
) -> None:
    plan = [row[3] for row in db.execute(f"explain query plan {query}")]
    for step in steps:
        assert any(line.startswith(step) for line in plan), plan
    assert not [line for line in plan if re.match(r"SCAN [a-ln-z]\b", line)], plan


def test_a_database_of_an_older_release_gets_the_views(tmp_path: Path) -> None:
    from sqlite_utils import Database

    from rpat_tui.store.migrations import migrations

    old = database.connect(Home(tmp_path / "home").make().database)
    migrations.apply(Database(old), stop_before="m009_views_for_sql")
    assert not old.execute("select 1 from sqlite_master where name = 'v1_runs'").fetchone()
    old.close()
    with database.opened(Home(tmp_path / "home")) as db:
        assert db.execute("select count(*) from v1_runs").fetchone() == (0,)


# ----------------------------------------------------------------- the page


def test_the_page_answers_its_questions_and_says_what_is_printed(
    full: list[int], rpat: Rpat
) -> None:
    """RPAT_UPDATE_DOCS=1 writes the generated part of the page again."""
    parts = []
    for q in QUESTIONS:
        said = rpat("sql", q.sql)
        assert (said.code, said.err) == (0, "")
        assert len(said.out.splitlines()) > 1
        parts.append(f"### {q.asks}\n\n```sql\n{q.sql}\n```\n\n```text\n{said.out.rstrip()}\n```\n")
    made = "\n".join(line.rstrip() for line in "\n".join(parts).splitlines()) + "\n"
    _generated("questions", made)


def test_the_page_lists_every_view_and_column() -> None:
    parts = []
    for name, view in VIEWS.items():
        rows = [f"| `{column}` | {meaning} |" for column, meaning in view.columns.items()]
        head = f"### {name}\n\nA row is {view.rows}.\n\n| column | meaning |\n| :-- | :-- |\n"
        parts.append(head + "\n".join(rows) + "\n")
    _generated("views", "\n".join(parts))


def _generated(what: str, made: str) -> None:
    text = PAGE.read_text("utf-8")
    begin, end = f"<!-- {what}: generated -->\n", f"<!-- end of {what} -->"
    head, _, rest = text.partition(begin)
    old, _, tail = rest.partition(end)
    assert (rest, tail) != ("", "")
    if os.environ.get("RPAT_UPDATE_DOCS"):
        PAGE.write_text(f"{head}{begin}\n{made}\n{end}{tail}", "utf-8")
        return
    assert old.strip() == made.strip()


# ----------------------------------------------------------------- asking


def test_values_are_exact_in_every_format(full: list[int], rpat: Rpat) -> None:
    query = "select 0.1 + 0.2 as sum, null as none, 'a|b,\"c\"\nd' as words, 3 as n"
    (row,) = rpat("sql", query, "--json").json
    assert row == {"sum": 0.1 + 0.2, "none": None, "words": 'a|b,"c"\nd', "n": 3}
    head, line = csv.reader(io.StringIO(rpat("sql", query, "--format", "csv").out))
    assert head == ["sum", "none", "words", "n"]
    assert (float(line[0]), line[1], line[2]) == (0.1 + 0.2, "", 'a|b,"c"\nd')
    md = rpat("sql", query, "--format", "md").out.splitlines()
    assert md[1:] == ["| --: | --: | :-- | --: |", '| 0.3 | – | a\\|b,"c" d | 3 |']


def test_an_answer_without_rows_is_still_json(full: list[int], rpat: Rpat) -> None:
    assert rpat("sql", "select run from v1_runs where 0", "--json").json == []
    assert rpat("sql", "select run from v1_runs where 0", "--format", "csv").out == "run\n"


def test_a_long_answer_is_cut_for_people_and_says_so(full: list[int], rpat: Rpat) -> None:
    many = (
        "with recursive c(x) as (select 1 union all select x + 1 from c limit 600) select * from c"
    )
    said = rpat("sql", many)
    assert len(said.out.splitlines()) == 501
    assert said.err == "500 rows are shown and there are more; --limit 0 shows all\n"
    assert len(rpat("sql", many, "--limit", "0").out.splitlines()) == 601
    assert len(rpat("sql", many, "--json").json) == 600
    said = rpat("sql", many, "--limit", "2", "--json")
    assert [row["x"] for row in said.json] == [1, 2]
    assert "--limit 0" in said.err


def test_a_note_cannot_command_the_terminal(
    full: list[int], db: sqlite3.Connection, rpat: Rpat
) -> None:
    db.execute("update runs set note = char(27) || '[2Jx' where n = 1")
    assert "\x1b" not in rpat("sql", "select note from v1_runs").out


def test_the_query_is_read_from_standard_input(
    full: list[int], rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("select count(*) as n\nfrom v1_runs\n"))
    assert rpat("sql", "-", "--json").json == [{"n": 10}]


@pytest.mark.parametrize(
    ("query", "fragments"),
    [
        ("delete from runs", ["only reads", "'delete'"]),
        ("update runs set note = 'x'", ["only reads", "'update'"]),
        ("insert into tags values (1, 'x')", ["only reads", "'insert'"]),
        ("drop table points", ["only reads"]),
        ("create table mine (x)", ["only reads"]),
        ("attach 'other.db' as other", ["only reads", "'attach'"]),
        ("pragma journal_mode = delete", ["only reads", "'pragma'"]),
        ("pragma query_only = off", ["only reads", "'pragma'"]),
        ("vacuum", ["only reads"]),
        ("begin immediate", ["only reads", "'transaction'"]),
        ("select * from v1_run", ["'v1_run'", "did you mean 'v1_runs'?"]),
        ("select * from metrics", ["'metrics'", "did you mean 'v1_metrics'?"]),
        ("select * from nonsense", ["'nonsense'", "v1_runs, v1_metrics"]),
        ("select methd from v1_runs", ["v1_runs has no column 'methd'; did you mean 'method'?"]),
        ("select m.vlaue from v1_metrics m", ["did you mean 'value'?"]),
        ("select best_pgd from v1_metrics", ["v1_runs has it"]),
        ("selct run from v1_runs", ["cannot be understood", 'near "selct"']),
        ("select run from", ["cannot be understood", "incomplete input"]),
        ("select 1; select 2", ["one at a time"]),
        ("select ?", ["placeholder"]),
        ("  ", ["empty"]),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(
    full: list[int], db: sqlite3.Connection, rpat: Rpat, query: str, fragments: list[str]
) -> None:
    def kept() -> list[object]:
        tables = ("runs", "tags", "points", "evaluations", "sqlite_master")
        return [db.execute(f"select * from {table}").fetchall() for table in tables]

    before = kept()
    refused(rpat("sql", query), *fragments)
    assert kept() == before


def test_wrong_options_are_refused(nowhere: Path, rpat: Rpat) -> None:
    refused(rpat("sql", "select 1", "--format", "cvs"), "--format", "did you mean 'csv'?")
    refused(rpat("sql", "select 1", "--limit", "-1"), "--limit is -1")
    refused(rpat("sql", "select 1", "--timeout", "-2"), "--timeout is -2")
    refused(rpat("sql", "select 1"), "has no runs yet")
    assert not nowhere.exists()


def test_two_columns_of_one_name_are_refused_where_one_would_be_lost(
    full: list[int], rpat: Rpat
) -> None:
    refused(rpat("sql", "select 1 as a, 2 as a", "--json"), "'a'", "as OTHER")
    assert rpat("sql", "select 1 as a, 2 as a", "--format", "csv").out == "a,a\n1,2\n"


def test_tables_made_of_json_can_be_read(full: list[int], rpat: Rpat) -> None:
    query = (
        "select run, j.value as wrapper from v1_runs, json_each(config, '$.wrappers') j "
        "order by run limit 1"
    )
    assert rpat("sql", query, "--json").json == [{"run": "r0005", "wrapper": "rpat"}]


def test_a_query_ends_at_its_time_limit(full: list[int], rpat: Rpat) -> None:
    refused(rpat("sql", ENDLESS, "--timeout", "0.2"), "took longer than 0.2 s", "--timeout")


def test_ctrl_c_ends_a_query(full: list[int], home: Home) -> None:
    code = "import sys; from rpat_tui.cli import main; sys.stderr.write('up\\n'); main()"
    asked = subprocess.Popen(
        [sys.executable, "-c", code, "sql", ENDLESS],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert asked.stderr is not None
    assert asked.stderr.readline() == "up\n"

    def computes() -> bool:
        """It has used more processor time than starting takes, so SQLite is at work."""
        fields = Path(f"/proc/{asked.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / os.sysconf("SC_CLK_TCK") > 1.0

    until(computes)
    asked.send_signal(signal.SIGINT)
    out, err = asked.communicate(timeout=60)
    assert (asked.returncode, out, err) == (130, "", "")


def test_the_answer_reads_while_somebody_writes(
    full: list[int], home: Home, db: sqlite3.Connection
) -> None:
    with asking(home) as ask:
        rows = ask("select run from v1_runs").rows
        assert next(rows) == ("r0001",)
        with database.transaction(db):
            db.execute("update runs set note = 'meanwhile' where n = 1")
        assert len(list(rows)) == 9


def test_a_home_that_cannot_be_written_can_be_asked(
    full: list[int], home: Home, db: sqlite3.Connection, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = rpat("sql", "select count(*) as n from v1_runs", "--json")
    assert said.json == [{"n": 10}]
    assert "read-only" in said.err
    for view in VIEWS:
        db.execute(f"drop view {view}")
    said = rpat("sql", "select * from v1_runs")
    assert said.code == 2
    assert "older release" in said.err


def test_the_views_are_listed_without_a_home(nowhere: Path, rpat: Rpat) -> None:
    said = rpat("sql")
    assert "v1_metrics: one value of one metric of one run" in said.out
    assert rpat("sql", "--json").json["v1_tags"]["columns"]["tag"] == "tag"
    assert not nowhere.exists()


def test_the_database_file_is_named(full: list[int], home: Home, rpat: Rpat) -> None:
    assert rpat("sql", "--database").out == f"{home.database}\n"


# ----------------------------------------------------------------- datasette


def test_datasette_is_told_every_view_and_to_hide_the_rest(
    full: list[int], db: sqlite3.Connection, rpat: Rpat
) -> None:
    told = rpat("sql", "--datasette").json["databases"]["rpat"]
    shown = {name for name, about in told["tables"].items() if not about.get("hidden")}
    assert shown == set(VIEWS)
    assert {"runs", "points"} < set(told["tables"]) - shown
    assert told["queries"]["overfitting"]["sql"] == QUESTIONS[1].sql


@pytest.mark.slow
def test_datasette_shows_the_views_and_answers_the_questions(
    full: list[int], home: Home, db: sqlite3.Connection, rpat: Rpat
) -> None:
    import asyncio

    app = pytest.importorskip("datasette.app", reason="datasette is not installed")
    told = json.loads(rpat("sql", "--datasette").out)

    async def get(path: str) -> tuple[int, str]:
        response = await served.client.get(path)
        return response.status_code, response.text

    async def look() -> None:
        status, page = await get("/rpat")
        assert status == 200
        for view in VIEWS:
            assert f'href="/rpat/{view}"' in page
            status, body = await get(f"/rpat/{view}.json?_shape=array")
            assert (status, list(json.loads(body)[0]) if json.loads(body) else None) in (
                (200, list(VIEWS[view].columns)), (200, None),
            )  # fmt: skip
        status, page = await get("/rpat/v1_runs")
        assert (status, "accuracy under PGD" in page) == (200, True)  # what the columns mean
        _, body = await get("/rpat/v1_runs.json?_shape=array&method=trades&rpat=1")
        assert [row["run"] for row in json.loads(body)] == ["r0007", "r0008"]
        for q in QUESTIONS:
            status, body = await get(f"/rpat/{q.name}.json?_shape=array")
            assert json.loads(body) == rpat("sql", q.sql, "--json").json
        db.execute("update runs set note = 'meanwhile' where n = 1")  # a run goes on
        _, body = await get("/rpat/v1_runs.json?_shape=array&run=r0001")
        assert json.loads(body)[0]["note"] == "meanwhile"

    served = app.Datasette([str(home.database)], metadata=told)
    asyncio.run(look())
