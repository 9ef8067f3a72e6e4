"""Labels, archive, trash, disk use and pruning; databases that are not the home's own."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rpat.errors import ConfigError, StoreError
from rpat.journal import Journal
from rpat.recipes import recipe
from rpat.rundir import RunDir, read_json
from rpat_tui import compose
from rpat_tui.home import Home
from rpat_tui.keeping import labels, prune, trash, usage
from rpat_tui.launch import attend, control
from rpat_tui.launch.rebuild import rebuild
from rpat_tui.store import carry, index, queries
from rpat_tui.store import db as database
from rpat_tui.store.belonging import generation
from rpat_tui.store.ingest import ingest
from rpat_tui.store.queue import move, name_of
from tests.console.conftest import Enqueue, Rpat, Said, refused
from tests.console.executed import evaluate, execute, rows, weights


def meta(home: Home, n: int) -> dict[str, object]:
    return read_json(RunDir(home.runs / name_of(n)).meta)


# ----------------------------------------------------------------- labels, archive


def test_tags_notes_and_names_are_in_meta_and_in_the_row(
    home: Home, enqueue: Enqueue, rpat: Rpat
) -> None:
    enqueue(2, tags=("draft",))
    said = rpat("tag", "r1", "2", "+table1", "+x", "-draft", "-chosen")
    assert said == Said(0, "r0001  #table1 #x\nr0002  #table1 #x\n", "")
    assert rpat("tag", "r1").out == "r0001  #table1 #x\n"
    assert rpat("note", "r1", "look at λ") == Said(0, "", "")
    assert rpat("note", "r1").out == "look at λ\n"
    assert rpat("name", "r1", "mine").code == 0
    assert rpat("name", "mine").out == "mine\n"
    assert meta(home, 1)["tags"] == ["table1", "x"]
    assert (meta(home, 1)["name"], meta(home, 1)["note"]) == ("mine", "look at λ")
    (row,) = rpat("list", "--where", "tag:x has:name", "--json").json
    assert (row["id"], row["tags"], row["note"]) == ("r0001", ["table1", "x"], "look at λ")
    refused(rpat("tag", "r1", "+two words"), "'two words'", "without spaces")
    refused(rpat("tag", "+x"), "names no run")
    refused(rpat("name", "r1", "r7"), "'r7'", "looks like the id")
    rpat("note", "r1", "")
    assert rpat("note", "r1").out == "\n"


def test_an_archived_run_leaves_lists_tables_and_counts_with_its_jobs(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    first, second = enqueue(2)
    refused(rpat("archive", "r1"), "r0001 is queued", "rpat stop r0001")
    for n in (first, second):
        execute(home, db, n)
    evaluate(home, db, first)
    said = rpat("archive", "r1")
    assert said.out == "r0001 has left lists and tables; rpat unarchive r0001 brings it back\n"
    assert [row["id"] for row in rpat("list", "--json").json] == ["r0002"]
    assert rpat("list", "--kind", "eval", "--json").json == []
    assert [row["n"] for row in rpat("table", "--json").json] == [1]
    assert queries.counts(db) == {"done": 1}
    assert [r["id"] for r in rpat("list", "--where", "is:archived", "--json").json] == ["r0001"]
    assert "archived; rpat unarchive r0001" in rpat("show", "r1").out
    assert meta(home, 1)["archived"] is True
    rebuild(home)
    assert queries.counts(db) == {"done": 1}
    assert rpat("unarchive", "r1", "r2").out == (
        "r0001 is in lists and tables again\nr0002 is not archived: nothing to do\n"
    )
    assert len(rpat("list", "--json").json) == 2


def test_an_archived_or_deleted_run_is_not_queued_again(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    (n,) = enqueue()
    execute(home, db, n, end="stop", state="stopped")
    rpat("archive", "r1")
    refused(rpat("requeue", "r1"), "r0001 is archived", "rpat unarchive r0001")
    rpat("unarchive", "r1")
    rpat("delete", "r1", "--yes")
    refused(rpat("requeue", "r1"), "'r1' is deleted", "rpat undelete r0001")
    refused(rpat("show", "r0001"), "rpat undelete r0001")
    rpat("undelete", "r1")
    shutil.rmtree(home.runs / "r0001")
    with pytest.raises(ConfigError, match="has no directory"):
        control.requeue(home, db, n)


# ----------------------------------------------------------------- trash


def test_delete_takes_the_jobs_along_and_undelete_brings_all_of_it_back(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    (n,) = enqueue(name="mine", tags=("a",))
    execute(home, db, n)
    evaluate(home, db, n)
    before = rows(db)
    refused(rpat("delete", "r1"), "delete 2 run(s)", "--yes")
    assert rows(db) == before
    said = rpat("delete", "mine", "--yes")
    assert said.out.splitlines() == [
        "r0002 is deleted; rpat undelete r0002 brings it back",
        "r0001 is deleted; rpat undelete r0001 brings it back",
    ]
    assert db.execute("select count(*) from runs").fetchone() == (0,)
    assert list(home.runs.iterdir()) == []
    assert [e["id"] for e in rpat("trash", "--json").json] == ["r0001", "r0002"]
    assert rpat("undelete", "r1").out == "r0001 is back\nr0002 is back\n"
    assert rows(db) == before
    assert rpat("trash", "--json").json == []
    assert not (home.runs / "r0001" / "deleted.json").exists()


def test_what_lives_or_is_needed_is_not_deleted(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    config = recipe("cure", dataset="digits", epochs=1)
    teacher, student = index.enqueue(home, db, compose.with_prerequisites(config), index.Wish(), {})
    refused(rpat("delete", "r1", "--yes"), "r0001 is queued", "rpat stop r0001")
    execute(home, db, teacher)
    refused(rpat("delete", "r1", "--yes"), "r0001 has weights that r0002", "name it too")
    with database.transaction(db):
        move(db, student, "stopped", "on request")
    refused(rpat("delete", "r1", "--yes"), "r0002")
    job = evaluate(home, db, teacher, done=False)
    refused(rpat("delete", "r1", "r2", "--yes"), f"{name_of(job)} is queued", "r0001 is to be")
    with database.transaction(db):
        move(db, job, "stopped")
    refused(rpat("delete", "r9", "--yes"), "'r9' does not exist")
    assert len(rpat("delete", "r1", "r2", "--yes").out.splitlines()) == 3


def test_the_id_of_a_deleted_run_names_no_other_and_undelete_finds_a_place(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    (n,) = enqueue()
    execute(home, db, n)
    evaluate(home, db, n)
    rpat("delete", "r1", "--yes")
    assert enqueue() == [3]
    (home.runs / "r0003").rename(home.runs / "r0001")  # somebody moved it there by hand
    said = rpat("undelete", "r1")
    assert said.out.splitlines()[0] == "r0001 is back as r0004, since r0001 is another run now"
    assert queries.config_of(db, 2)["subject"]["folder"] == "r0004"
    assert read_json(home.runs / "r0002" / "config.json")["config"]["subject"]["folder"] == "r0004"


def test_deleting_an_automatic_evaluation_does_not_bring_it_up_again(
    home: Home, db: sqlite3.Connection
) -> None:
    config = recipe("pgd-at", dataset="digits", epochs=1).override({"eval.attack": "aa"})
    (n,) = index.enqueue(home, db, [config], index.Wish(), {})
    execute(home, db, n)
    assert len(queries.due(db)) == 1
    by_hand = evaluate(home, db, n)
    trash.delete(home, db, trash.plan(home, db, [by_hand]))
    assert len(queries.due(db)) == 1
    job = evaluate(home, db, n, tags=("automatic",))
    assert queries.due(db) == []
    trash.delete(home, db, trash.plan(home, db, [job]))
    assert queries.due(db) == []
    rebuild(home)
    assert queries.due(db) == []


KILL = """
import os, sys
from pathlib import Path
from rpat_tui.home import Home
from rpat_tui.keeping import trash
from rpat_tui.store import db as database, carry, queries
def die(*_, **__):
    os._exit(9)
{patch}
home = Home(Path(sys.argv[1]))
with database.opened(home) as db:
    {act}
"""
STEPS = {
    "before the rename": "Path.rename = die",
    "between rename and row": "carry.forget = die",
    "before the commit": "trash.bump = die",
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("heal", ["reindex", "again", "undelete"])
def test_a_delete_that_is_killed_leaves_nothing_half_deleted(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat, step: str, heal: str
) -> None:
    (n,) = enqueue()
    execute(home, db, n)
    before = rows(db)
    act = "trash.delete(home, db, trash.plan(home, db, [1]))"
    script = KILL.format(patch=STEPS[step], act=act)
    assert subprocess.run([sys.executable, "-c", script, str(home.path)]).returncode == 9
    moved = not (home.runs / "r0001").exists()
    assert moved == (step != "before the rename")
    assert len(trash.entries(home)) == moved
    assert db.execute("select count(*) from runs").fetchone() == (1,)
    if heal == "reindex":
        rpat("reindex")
        assert db.execute("select count(*) from runs").fetchone() == (not moved,)
    elif heal == "again":
        assert rpat("delete", "r1", "--yes").code == 0
        assert db.execute("select count(*) from runs").fetchone() == (0,)
    if moved or heal == "again":
        assert rpat("undelete", "r1").code == 0
    assert rows(db, without=("priority",))["points"] == before["points"]
    if heal != "reindex":
        assert rows(db) == before


def test_an_undelete_that_is_killed_is_healed_by_reindex(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    (n,) = enqueue()
    execute(home, db, n)
    before = rows(db)
    rpat("delete", "r1", "--yes")
    script = KILL.format(patch="trash.admit = die", act="trash.undelete(home, db, 'r1')")
    assert subprocess.run([sys.executable, "-c", script, str(home.path)]).returncode == 9
    assert rpat("reindex").out == "1 runs indexed\n"
    after = rows(db)
    assert (after["points"], after["evaluations"]) == (before["points"], before["evaluations"])
    assert queries.runs(db)[0]["state"] == "done"


def test_the_trash_is_emptied_by_age_and_only_when_agreed(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    for n in enqueue(2):
        execute(home, db, n)
    rpat("delete", "r1", "r2", "--yes")
    old = trash.entries(home)[0].path / "deleted.json"
    old.write_text(json.dumps({**json.loads(old.read_text()), "t": time.time() - 40 * 86_400}))
    refused(rpat("trash", "--empty"), "2 run(s) for good", "--yes")
    refused(rpat("trash", "--older", "30"), "--older '30'", "30d")
    assert rpat("trash", "--empty", "--older", "30d", "--yes").code == 0
    (left,) = rpat("trash", "--json").json
    assert f"{left['id']}  " in rpat("trash").out.replace("id ", "")
    assert rpat("trash", "--empty", "--yes").out.endswith(" freed\n")
    assert list(home.trash.iterdir()) == []
    refused(rpat("undelete", "r1"), "not in the trash")
    refused(rpat("show", "r1"), "'r1' does not exist")


# ----------------------------------------------------------------- disk


def test_du_counts_each_file_once_and_sorts(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    small, large = enqueue(2)
    execute(home, db, small)
    run = execute(home, db, large)
    weights(run, "last.pt", "x" * 10_000)
    said = rpat("du", "--json").json
    assert [use["id"] for use in said["runs"]] == ["r0002", "r0001"]
    sizes = sum(f.stat().st_size for f in home.runs.rglob("*") if f.is_file())
    assert sum(use["total"] for use in said["runs"]) == sizes == said["home"]["runs"]
    assert said["runs"][0]["checkpoints"] > 1_000_000
    assert "1.0 MB" in rpat("du", "r2").out
    assert {"cache", "snapshots", "trash", "database", "total"} <= set(said["home"])


@pytest.mark.parametrize(("size", "text"), [
    (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_949, "9.9 kB"), (9_999, "10 kB"),
    (999_600, "1.0 MB"), (34_000_000, "34 MB"), (5.6e9, "5.6 GB"), (2e15, "2000 TB"),
])  # fmt: skip
def test_sizes_are_for_people(size: float, text: str) -> None:
    assert usage.human(size) == text


def gone(home: Home, n: int) -> set[str]:
    everything = {"last.pt", "best-online.pt", "final-online.pt", "epoch-0001-online.pt",
                  "epoch-0002-online.pt"}  # fmt: skip
    return everything - {f.name for f in (home.runs / name_of(n) / "checkpoints").iterdir()}


def test_prune_lists_first_and_removes_training_states_of_what_is_done(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    done, stopped = enqueue(2)
    run = execute(home, db, done)
    execute(home, db, stopped, end="stop", state="stopped")
    (run.checkpoints / "next-best-online.pt").write_text("x")
    parts = run.results / ".final-online-aa"
    parts.mkdir(parents=True)
    (parts / "00-000000.pt").write_text("x")
    said = rpat("prune")
    assert said.out.splitlines()[-1].endswith("would be freed; --yes removes it")
    assert rpat("prune", "--dry-run").out == said.out
    assert gone(home, done) == set()
    plan = rpat("prune", "--json").json
    assert [i["path"].rpartition("/")[2] for i in plan["items"]] == [
        "last.pt", "next-best-online.pt", ".final-online-aa",
    ]  # fmt: skip
    assert rpat("prune", "--yes").code == 0
    assert (gone(home, done), gone(home, stopped)) == ({"last.pt"}, set())
    assert not parts.exists()
    assert rpat("prune").err == "nothing to remove by this rule\n"
    assert [note["file"] for note in meta(home, done)["pruned"]] == [  # type: ignore[attr-defined]
        "checkpoints/last.pt", "checkpoints/next-best-online.pt",
    ]  # fmt: skip
    assert "pruned: checkpoints/last.pt" in rpat("show", "r1").out
    refused(rpat("prune", "--keep", "bst"), "--keep bst", "best, final, last")
    refused(rpat("prune", "--yes", "--dry-run"), "--yes", "keep one")
    refused(rpat("prune", "r1", "--where", "x"), "--where", "keep one")


def test_weights_that_somebody_needs_are_never_pruned(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    plain, measured, asked = enqueue(3)
    config = recipe("cure", dataset="digits", epochs=1)
    teacher, student = index.enqueue(home, db, compose.with_prerequisites(config), index.Wish(), {})
    execute(home, db, plain, evaluated=())
    execute(home, db, measured, evaluated=("best", "epoch:1"))
    execute(home, db, asked, evaluated=())
    execute(home, db, teacher, evaluated=())
    evaluate(home, db, asked, done=False)
    said = rpat("prune", "--keep", "last", "--epochs", "--yes")
    assert said.code == 0
    epochs = {"epoch-0001-online.pt", "epoch-0002-online.pt"}
    both = {"best-online.pt", "final-online.pt"}
    assert gone(home, plain) == epochs | both
    assert gone(home, measured) == {"epoch-0002-online.pt", "final-online.pt"}
    assert gone(home, asked) == epochs
    assert gone(home, teacher) == epochs | {"best-online.pt"}
    for who in ("evaluated by r0002 (pgd)", "r0006 (eval) is queued", f"{name_of(student)} learns"):
        assert who in said.out


def test_prune_frees_code_and_images_that_nobody_refers_to(
    home: Home, db: sqlite3.Connection, rpat: Rpat
) -> None:
    used, unused, fresh = "a" * 64, "b" * 64, "c" * 64
    config = recipe("pgd-at", dataset="digits", epochs=1)
    (n,) = index.enqueue(home, db, [config], index.Wish(), {"snapshot": used})
    old = time.time() - 10 * 86_400
    import os

    for digest in (used, unused, fresh):
        (home.snapshots / digest / "rpat").mkdir(parents=True)
        if digest != fresh:
            os.utime(home.snapshots / digest, (old, old))
    for key in ("f" * 64, "e" * 64):
        (home.cache / key).mkdir(parents=True)
        (home.cache / key / "train.npy").write_bytes(b"images")
        os.utime(home.cache / key / "train.npy", (old, old))
    execute(home, db, n, state="paused", end="stop")
    assert [i["path"] for i in rpat("prune", "--json").json["items"]] == [f"snapshots/{unused}"]
    said = rpat("prune", "--cache", "7", "--yes", "--json").json
    assert [i["path"] for i in said["items"]] == [f"snapshots/{unused}", f"cache/{'e' * 64}"]
    assert {f.name for f in home.snapshots.iterdir()} == {used, fresh}
    assert {f.name for f in home.cache.iterdir()} == {"f" * 64}


def test_a_job_that_is_queued_after_the_look_keeps_its_weights(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    execute(home, db, n, evaluated=())
    rule = prune.Rule(keep=("last",))
    items = prune.of_run(home, db, n, rule)
    assert [item.kept for item in items] == [False, False]
    evaluate(home, db, n, done=False)
    assert prune.carry_out(home, db, items, rule, None) == 0
    assert gone(home, n) == set()


# ----------------------------------------------------------------- databases of other homes


def test_the_database_of_another_home_is_made_again_with_a_remark(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, tmp_path: Path, rpat: Rpat
) -> None:
    (n,) = enqueue(name="mine")
    execute(home, db, n)
    expected = rows(db)
    db.close()
    other = Home(tmp_path / "other").make()
    with database.opened(other) as strange:
        index.enqueue(other, strange, [recipe("mart", dataset="digits")], index.Wish(), {})
    for path in home.path.glob("rpat.db*"):
        path.unlink()
    shutil.copy(other.path / "rpat.db", home.database)
    said = rpat("list", "--json")
    assert [row["name"] for row in said.json] == ["mine"]
    (kept,) = home.path.glob("rpat.db.of-*")
    assert rpat("list", "--json").err == ""
    with database.opened(home) as again:
        assert rows(again)["points"] == expected["points"]
        assert queries.runs(again)[0]["state"] == "done"
    with sqlite3.connect(kept) as aside:
        assert aside.execute("select method from runs").fetchall() == [("mart",)]
    aside.close()


def test_the_remark_reaches_standard_error(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    enqueue()
    db.execute("update facts set value = 'x' where key = 'home'")
    done = subprocess.run(
        [sys.executable, "-m", "rpat_tui", "list"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "its database is that of another home; 1 runs were read again" in done.stderr


def test_an_older_database_is_brought_up_to_its_runs(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat, tmp_path: Path
) -> None:
    ran, waits = enqueue(2)
    rpat("list")
    db.execute("vacuum into ?", (str(tmp_path / "backup"),))
    execute(home, db, ran)
    later = enqueue(1)
    execute(home, db, later[0])
    expected = rows(db)
    rpat("list")
    assert int(home.generation.read_text()) == generation(db)
    db.close()
    for path in home.path.glob("rpat.db*"):
        path.unlink()
    shutil.copy(tmp_path / "backup", home.database)
    states = {row["id"]: row["state"] for row in rpat("list", "--json").json}
    assert states == {"r0001": "done", name_of(waits): "queued", name_of(later[0]): "done"}
    with database.opened(home) as again:
        assert rows(again)["points"] == expected["points"]
        assert rows(again)["evaluations"] == expected["evaluations"]


@pytest.mark.parametrize("how", ["shorter", "longer", "attempt gone"])
def test_journals_that_are_not_those_that_were_read_are_read_from_the_start(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, how: str
) -> None:
    (n,) = enqueue()
    run = execute(home, db, n)
    if how == "attempt gone":
        attempt = run.take_attempt()
        Journal(attempt.journal).write("begin", v=1, attempt=2, from_step=5, host="h", boot="b",
                                       pid=1, started="1")  # fmt: skip
        ingest(db, n, run)
        assert len(queries.metrics(db, n)) == 3
        shutil.rmtree(attempt.path)
    else:
        path = run.attempts()[0].journal
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:3]))
        if how == "longer":
            log = Journal(path)
            for step in range(40, 100):
                log.write("log", step=step, epoch=9, values={"step/loss": 1.0})
    ingest(db, n, run)
    found = {(p["name"], p["step"]) for p in queries.metrics(db, n)}
    with database.transaction(db):
        for table in ("attempts", "journals", "events", "series", "evaluations"):
            db.execute(f"delete from {table} where run = ?", (n,))
    ingest(db, n, run)
    assert found == {(p["name"], p["step"]) for p in queries.metrics(db, n)}
    assert found


def test_a_home_that_moved_works_and_finds_its_code(
    home: Home, db: sqlite3.Connection, tmp_path: Path, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = "d" * 64
    code = home.snapshots / digest
    code.mkdir(parents=True)
    provenance = {"snapshot": digest, "snapshot_path": str(code)}
    config = recipe("pgd-at", dataset="digits", epochs=1)
    (n,) = index.enqueue(home, db, [config], index.Wish(name="mine"), provenance)
    run = execute(home, db, n)
    evaluate(home, db, n)
    before = rows(db)
    db.close()
    moved = Home(tmp_path / "elsewhere" / "home")
    moved.path.parent.mkdir()
    home.path.rename(moved.path)
    monkeypatch.setenv("RPAT_HOME", str(moved.path))
    said = rpat("list", "--json")
    assert ([row["name"] for row in said.json], said.err) == (["mine"], "")
    with database.opened(moved) as again:
        assert rows(again) == before
    there = RunDir(moved.runs / run.path.name)
    (attempt,) = there.attempts()
    paths = attend._environment(there, attempt)["PYTHONPATH"].split(":")
    assert paths[0] == str(moved.snapshots / digest)


def test_a_read_only_home_with_a_strange_database_says_so(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    enqueue()
    db.execute("update facts set value = 'x' where key = 'home'")
    with pytest.raises(StoreError, match="another home"), database.opened_readonly(home):
        pass


def test_a_copied_run_directory_is_named_by_reindex(
    home: Home, enqueue: Enqueue, rpat: Rpat
) -> None:
    enqueue()
    shutil.copytree(home.runs / "r0001", home.runs / "r0005")
    said = rpat("reindex")
    assert (said.code, said.out) == (1, "1 runs indexed\n")
    assert "r0005: a copy of another run" in said.err


def test_facts_and_labels_need_no_number_that_is_gone(db: sqlite3.Connection) -> None:
    assert carry.numbers(db) == []
    assert carry.by_uid(db, "0" * 32) is None
    assert labels.written(Home(Path("nowhere")), 1)["name"] == ""
