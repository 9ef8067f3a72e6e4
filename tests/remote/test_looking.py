"""Homes of other machines in one list and one table; links that are cut, homes that change."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rpat.journal import Journal
from rpat.rundir import RunDir
from rpat_tui.home import Home
from rpat_tui.keeping import labels, trash
from rpat_tui.remote import wire
from rpat_tui.remote.link import Link, LinkError
from rpat_tui.remote.mirror import Mirror, Taking
from rpat_tui.remote.places import Place
from rpat_tui.remote.view import View
from rpat_tui.store import db as database
from rpat_tui.store import ingest, marks, queue
from tests.console.conftest import Rpat, refused
from tests.console.examples import example
from tests.remote.conftest import (
    WAIT,
    Server,
    asked,
    configure,
    held_by,
    place,
    seen,
)

Far = Callable[..., Home]
Shell = Callable[..., str]


CUT = """
import os, subprocess, sys
child = subprocess.Popen(['sh', '-c', 'exec ' + sys.argv[2].removeprefix('exec ')],
    stdout=subprocess.PIPE)
left = int(sys.argv[1])
while left:
    data = os.read(child.stdout.fileno(), left)
    left -= os.write(1, data)
child.kill()
"""
"""Passes so many bytes on, then hangs up."""


def train_on(there: Home, n: int, epochs: range) -> None:
    """Let a run's trainer write some more epochs."""
    log = Journal(RunDir(there.runs / f"r{n:04d}").attempts()[-1].journal)
    for e in epochs:
        values = {"train/loss": 1.0 / e, "test/clean_acc": 60.0 + e, "test/pgd_acc": 30.0 + e}
        log.write("epoch", epoch=e, step=e * 390, values=values)
    log.close()
    with database.opened(there) as db:
        ingest.ingest(db, n, RunDir(there.runs / f"r{n:04d}"))


# ----------------------------------------------------------------- one list, one table


def test_two_homes_on_two_machines_are_one_list_and_one_table(
    home: Home, db: sqlite3.Connection, far: Far, server: Server, rpat: Rpat
) -> None:
    example(home, db)
    there = far()
    configure(place(there, server.ssh))
    rows = rpat("list", "--remote", "box", "--json").json
    assert [row["id"] for row in rows] == [
        *(f"r{n:04d}" for n in range(1, 11)),
        *(f"box:r{n:04d}" for n in range(1, 11)),
    ]
    assert [row["host"] for row in rows] == [""] * 10 + ["box"] * 10
    assert rpat("delete", "r0007", "r0008", "--yes").code == 0
    alone = rpat("table", "--json").json
    both = rpat("table", "--remote", "box", "--json").json
    assert len(alone) == 3
    whole = rpat("table", "--json", "--home", str(there.path)).json
    keys = ("method", "rpat", "n", "clean", "pgd20", "aa", "mean", "nrr")
    assert [[row[k] for k in keys] for row in both] == [[row[k] for k in keys] for row in whole]
    assert "--remote box" in rpat("table", "--remote", "box", "--format", "md").out
    assert "box:r0007" in rpat("list", "--remote", "box").out
    shown = rpat("show", "box:r0007")
    assert shown.out.startswith("box:r0007  trades+rpat")
    assert len(rpat("list", "--json").json) == 8  # not asked for, not shown


def test_the_same_through_a_shell(
    home: Home, db: sqlite3.Connection, box: Place, far: Far, rpat: Rpat
) -> None:
    example(home, db)
    configure(box)
    rows = rpat("list", "--remote", "box", "--json").json
    assert len(rows) == 20
    assert seen(home, box) == {**held_by(home), **held_by(far(fill=None), "box:")}
    assert "box:r0003" in rpat("list", "--where", "host:box trades", "--remote", "box").out
    assert rpat("compare", "r0001", "box:r0003", "--only", "--json").code == 0
    assert "begins at step 0" in rpat("logs", "box:r0003").out
    points = rpat("metrics", "box:r0003", "--json").json
    assert points == rpat("metrics", "r0003", "--json").json


def test_the_machines_of_the_settings_are_shown_without_an_option(
    home: Home, box: Place, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(box)
    monkeypatch.setenv("RPAT_REMOTES", "box")
    assert len(rpat("list", "--json").json) == 10
    assert rpat("list", "--remote", "none", "--json").json == []


def test_a_machine_without_an_entry_is_named_by_its_host_and_remembered(
    home: Home, far: Far, shell: Shell, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = far()
    run = 'command=$*; exec sh -c "exec $RPAT_HERE ${command#exec rpat}"'
    monkeypatch.setenv("RPAT_SSH", shell(run=run))
    from tests.remote.conftest import RPAT

    monkeypatch.setenv("RPAT_HERE", RPAT)
    rows = rpat("list", "--remote", f"me@gpu-7.lab.example:{there.path}", "--json").json
    assert rows[0]["id"] == "gpu-7-far:r0001"
    assert rpat("show", "gpu-7-far:r0002").code == 0
    (known,) = rpat("remotes", "--json").json
    assert (known["name"], known["runs"]) == ("gpu-7-far", 10)
    assert rpat("remotes", "gpu-7-far", "--forget").out == "gpu-7-far is forgotten\n"
    assert rpat("remotes", "--json").json == []
    assert not list((home.path / "together").iterdir())


def test_two_machines_with_the_same_ids_stay_apart(
    home: Home, far: Far, shell: Shell, rpat: Rpat
) -> None:
    configure(place(far("one"), shell()), place(far("two"), shell(), "crate"))
    rows = rpat("list", "--remote", "all", "--json").json
    assert [row["id"] for row in rows if "r0001" in row["id"]] == ["box:r0001", "crate:r0001"]
    assert len(rows) == 20


def test_a_run_that_is_here_as_well_is_shown_once_as_it_is_here(
    home: Home, db: sqlite3.Connection, far: Far, shell: Shell, rpat: Rpat, tmp_path: Path
) -> None:
    there = far()
    file = str(tmp_path / "some.rpat.tar")
    assert rpat("bundle", "r0001", "--out", file, "--home", str(there.path)).code == 0
    assert rpat("import", file).code == 0
    configure(place(there, shell()))
    rows = rpat("list", "--remote", "box", "--json").json
    assert [row["id"] for row in rows] == ["r0001", *(f"box:r{n:04d}" for n in range(2, 11))]


def test_this_home_itself_is_no_other_machine(
    home: Home, db: sqlite3.Connection, shell: Shell
) -> None:
    example(home, db)
    contact = asked(home, place(home, shell()))
    assert contact.problem == "box is this home itself; leave it out"


def test_what_happens_here_is_seen_beside_them(
    home: Home, db: sqlite3.Connection, box: Place
) -> None:
    example(home, db)
    asked(home, box)
    assert len(seen(home, box)) == 20
    labels.tag(home, db, 1, ["mine"], [])
    train_on(home, 9, range(8, 10))
    trash.delete(home, db, trash.plan(home, db, [2]))
    after = seen(home, box)
    assert len(after) == 19
    assert {k: v for k, v in after.items() if ":" not in k} == held_by(home)


def test_nothing_here_is_ever_done_to_runs_of_other_machines(
    home: Home, db: sqlite3.Connection, far: Far, shell: Shell, rpat: Rpat
) -> None:
    there = far()
    with database.opened(there) as other:
        other.execute("update runs set state = 'queued' where n = 10")
        other.execute("update runs set state = 'paused' where n = 9")
    where = place(there, shell())
    asked(home, where)
    before = seen(home, where)
    assert before["box:r0010"]["state"] == "queued"
    assert not queue.work_left(db)
    assert rpat("worker", "--idle", "0").code == 0
    assert rpat("reindex").out.startswith("0 runs")
    assert rpat("prune", "--yes").code == 0
    assert rpat("list", "--json").json == []
    for words in (["eval", "box:r0001"], ["wait", "box:r0001"], ["rerun", "box:r0001"]):
        refused(rpat(*words), "does not exist here; rpat list --remote box")
    assert seen(home, where) == before


# ----------------------------------------------------------------- a link that is cut


def test_a_link_that_is_killed_in_the_middle_loses_and_doubles_nothing(
    home: Home, far: Far, server: Server
) -> None:
    there = far()
    train_on(there, 9, range(8, 5000))
    where = place(there, server.ssh)
    mirror = Mirror(home, where)
    with mirror.opened() as known, Link(where, WAIT) as link:
        taking = Taking(mirror, known, link)
        ask = link.stream

        def cut(do: str, **values: object) -> object:
            for message in ask(do, **values):
                yield message
                if message.get("part") == 9:
                    os.kill(link.pid, signal.SIGKILL)

        link.stream = cut  # type: ignore[method-assign, assignment]
        with pytest.raises(LinkError, match=r"^box has hung up \(killed\)$"):
            taking.all()
    assert 0 < len(mirror.known()) < 10
    part = {f"box:r{n:04d}" for n in mirror.known()}
    assert seen(home, where) == {k: v for k, v in held_by(there, "box:").items() if k in part}
    journal = "attempts/0001/journal.jsonl"
    before = (mirror.folder(9).path / journal).stat().st_size
    assert 0 < before < (there.runs / "r0009" / journal).stat().st_size
    train_on(there, 9, range(5000, 5002))
    contact = asked(home, where)
    assert contact.problem == ""
    assert contact.taken == 10 - len(part)
    assert seen(home, where) == held_by(there, "box:")


@pytest.mark.parametrize("length", [300, 4_000, 61_001])
def test_a_line_that_is_cut_anywhere_is_taken_the_next_time(
    home: Home, far: Far, shell: Shell, length: int
) -> None:
    there = far()
    whole = place(there, shell())
    cut = place(there, shell(run=f'exec {sys.executable} -c "{CUT}" {length} "$*"', name="cut"))
    contact = asked(home, cut)
    assert contact.problem == "box has hung up (it has ended)"
    some = seen(home, cut)
    everything = held_by(there, "box:")
    assert {name: everything[name] for name in some} == some
    assert asked(home, whole).problem == ""
    assert seen(home, whole) == everything


def test_a_machine_that_cannot_be_reached_is_shown_as_it_was_with_its_age(
    home: Home, far: Far, shell: Shell, rpat: Rpat
) -> None:
    there = far()
    away = place(there, shell(run="echo 'ssh: no route to host' >&2; exit 255", name="away"))
    configure(away)
    said = rpat("list", "--remote", "box", "--json")
    assert said.err == (
        "box cannot be reached (ssh: no route to host); nothing is known of it yet\n"
    )
    assert (said.code, said.json) == (0, [])
    configure(place(there, shell()))
    before = rpat("list", "--remote", "box", "--json")
    assert before.err == ""
    configure(away)
    after = rpat("list", "--remote", "box", "--json")
    assert after.json == before.json
    assert after.code == 0
    assert after.err.startswith("box cannot be reached (ssh: no route to host); shown as of ")
    assert after.err.count("\n") == 1


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ("exec sh -c 'no-such-program feed'", "there is no "),
        (
            "echo \"rpat: No such command 'feed'; see rpat --help\" >&2; exit 2",
            "its rpat is older than this; update it there: pip install -U rpat",
        ),
        (
            'echo \'rpat-feed {"speaks": [7, 9], "home": "u", "version": "9.1"}\'; cat',
            "speaks another protocol (7-9, not 1-1); update rpat here: pip install -U rpat",
        ),
        (
            'echo \'rpat-feed {"speaks": [0, 0], "home": "u", "version": "0.0"}\'; cat',
            "speaks another protocol (0-0, not 1-1); update rpat there: pip install -U rpat",
        ),
        ("echo 'rpat-feed soup'; cat", "something else speaks there: soup"),
        ("exec yes", "it prints without end before rpat begins"),
        (f"echo 'rpat-feed {'[' * 99_999}'; cat", "something else speaks there: [[["),
        ("exit 0", "has hung up"),
        ("exec sleep 60", "does not answer"),
    ],
)  # fmt: skip
def test_what_is_wrong_over_there_is_one_line_with_the_remedy(
    home: Home, far: Far, shell: Shell, run: str, says: str
) -> None:
    where = place(far(fill=None), shell(run=run))
    with pytest.raises(LinkError) as caught:
        Link(where, 1.0 if "sleep" in run else WAIT)
    assert says in str(caught.value)
    assert str(caught.value).startswith("box")
    assert "\n" not in str(caught.value)


def test_a_home_that_is_not_there_says_so(home: Home, far: Far, shell: Shell) -> None:
    where = place(Home(far(fill=None).path / "nowhere"), shell())
    problem = asked(home, where).problem
    assert problem.startswith("box: home ")
    assert "nowhere has no runs yet" in problem


def test_what_a_login_shell_prints_is_passed_over(home: Home, far: Far, shell: Shell) -> None:
    there = far()
    noise = "echo 'Welcome!'; printf 'last login: \\033[31m today'"
    where = place(there, shell(before=noise))
    assert asked(home, where).problem == ""
    assert seen(home, where) == held_by(there, "box:")


# ----------------------------------------------------------------- homes that change


def test_a_home_that_is_restored_from_a_backup_is_followed_back(
    home: Home, far: Far, shell: Shell, tmp_path: Path
) -> None:
    there = far()
    where = place(there, shell())
    backup = tmp_path / "backup"
    shutil.copytree(there.path, backup)
    train_on(there, 9, range(8, 15))
    RunDir(there.runs / "r0010").take_attempt()
    with database.opened(there) as db:
        labels.write(there, db, 3, note="later")
        trash.delete(there, db, trash.plan(there, db, [4]))
    asked(home, where)
    assert seen(home, where) == held_by(there, "box:")
    shutil.rmtree(there.path)
    shutil.copytree(backup, there.path)
    train_on(there, 9, range(8, 10))
    assert asked(home, where).problem == ""
    assert seen(home, where) == held_by(there, "box:")


def test_another_home_under_the_same_name_replaces_what_was_known(
    home: Home, far: Far, shell: Shell
) -> None:
    asked(home, place(far("old"), shell()))
    new = far("new", fill=lambda there, db: example(there, db)[:0])
    where = place(new, shell())
    assert asked(home, where).problem == ""
    assert seen(home, where) == held_by(new, "box:")


def test_ten_thousand_runs_cost_a_few_kilobytes_to_compare(
    home: Home, far: Far, shell: Shell
) -> None:
    there = far()
    with database.opened(there) as db:
        columns = [row[1] for row in db.execute("pragma table_info(runs)")]
        others = [c for c in columns if c not in ("n", "id", "uid")]
        db.execute(
            "with recursive more(k) as (select 11 union all select k + 1 from more "
            "where k < 10000) "
            f"insert into runs (n, id, uid, {', '.join(others)}) "
            "select k, printf('r%04d', k), printf('%032x', k), "
            f"{', '.join(f'r.{c}' for c in others)} from more, runs r where r.n = 1"
        )
        known = marks.marks(db)
    where = place(there, shell())
    mirror = Mirror(home, where)
    with mirror.opened() as near:
        marks.keep(near, [(n, f"{n:032x}", mark) for n, mark in known.items()])
    quiet = asked(home, where)
    assert (quiet.problem, quiet.taken) == ("", 0)
    assert quiet.sent + quiet.received < 600
    train_on(there, 9, range(8, 9))
    one = asked(home, where)
    assert (one.problem, one.taken) == ("", 1)
    size = sum(f.stat().st_size for f in (there.runs / "r0009").rglob("*") if f.is_file())
    assert one.sent + one.received < 10_000 + 2 * size
    train_on(there, 9, range(9, 10))
    again = asked(home, where)
    assert again.sent + again.received < 10_000
    assert len(mirror.known()) == 10_000


# ----------------------------------------------------------------- what is not believed


def test_only_ssh_and_the_shell_there_see_what_was_meant_for_them(
    home: Home, shell: Shell, far: Far, tmp_path: Path
) -> None:
    there = far('it\'s $(touch stolen); `touch stolen` "far" \\')
    where = place(there, shell())
    assert asked(home, where).problem == ""
    assert len(seen(home, where)) == 10
    assert not list(tmp_path.rglob("stolen"))


@pytest.mark.parametrize(
    "word", ["-oProxyCommand=touch stolen", "a b", "box;touch stolen", "$(x)", "::1", "", "a\nb"]
)
def test_what_is_no_host_is_refused(rpat: Rpat, home: Home, word: str) -> None:
    if not word:
        assert rpat("list", "--remote", word).code == 0
        return
    refused(rpat("list", "--remote", word), "--remote", "write HOST")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[remote.box]\nhost = "-oX"\n', "remote.box.host"),
        ('[remote.box]\nhots = "x"\n', "did you mean 'host'"),
        ('[remote.Box]\nhost = "x"\n', "[remote.Box]"),
        ('[remote.r0001]\nhost = "x"\n', "[remote.r0001]"),
        ("[remote.box]\nhost = 3\n", "remote.box.host is 3"),
        ('remote = "box"\n', "remote"),
        ('[remote.box]\nrpat = "it\'s"\n', "remote.box.rpat"),
    ],
)
def test_a_wrong_entry_in_the_settings_is_refused(
    rpat: Rpat, home: Home, text: str, says: str
) -> None:
    configure()
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "rpat" / "config.toml"
    file.write_text(text)
    refused(rpat("list", "--remote", "box"), says)


def scripted(tmp_path: Path, shell: Shell, *messages: wire.Json) -> Place:
    """Return a machine that says the same whatever it is asked; `to` counts up."""
    lines = [
        'rpat-feed {"speaks": [1, 1], "home": "' + "f" * 32 + '", "version": "1"}',
        json.dumps({"to": 1, "groups": {"0": "x"}}),
        json.dumps({"to": 2, "marks": {"1": "m" * 24}}),
        *(json.dumps(message) for message in messages),
        json.dumps({"to": 3}),
    ]
    file = tmp_path / "script"
    file.write_text("\n".join(lines) + "\n")
    return place(Home(tmp_path), shell(run=f"cat {file}; cat > /dev/null"))


@pytest.mark.parametrize(
    "message",
    [
        {"part": 1, "file": "../../../stolen/journal", "from": 0, "text": "x"},
        {"part": 1, "file": "1/../stolen", "from": 0, "text": "x"},
        {"part": "../../stolen", "file": "1/journal", "from": 0, "text": "x"},
        {"part": 1, "file": "1/journal", "from": 7, "text": "x"},
        {"part": -1, "file": "1/journal", "from": 0, "text": "x"},
        {"part": 1, "file": "1/journal", "from": 0, "text": 5},
        {"run": "/etc", "uid": "u", "mark": "m", "docs": {}, "tails": {}},
        {"run": 1, "uid": "u", "mark": "m", "docs": [], "tails": {}},
        {"run": 1, "uid": "u", "mark": "m", "docs": {"config": 5}, "tails": {}},
        {"run": 1, "uid": "u", "mark": "m", "docs": {}, "tails": {"../stolen": "x"}},
        {"run": 1, "uid": 5, "mark": "m", "docs": {}, "tails": {}},
    ],
)
def test_files_are_written_where_they_belong_or_not_at_all(
    home: Home, shell: Shell, tmp_path: Path, message: wire.Json
) -> None:
    assert asked(home, scripted(tmp_path, shell, message)).problem
    assert not list(tmp_path.rglob("*stolen*"))
    assert Mirror(home, place(home, "x")).known() == {}


@pytest.mark.parametrize(
    ("doc", "change"),
    [
        ("standing", {"state": "conquered"}),
        ("standing", {"ended": "x"}),
        ("standing", {"history": [[1, 2, 3, 4, 5]]}),
        ("standing", {"ended": float("inf")}),
        ("standing", {"priority": 1 << 70}),
        ("standing", {"findings": [["a"]]}),
        ("meta", {"tags": "abc"}),
        ("meta", {"name": None}),
        ("config", {"uid": "0" * 32}),
        ("config", {"kind": "spell"}),
        ("config", {"config": {"method": "spell"}}),
        ("config", {"config": 3}),
        ("meta", {"sweep": json.loads("[" * 900 + "]" * 900)}),
    ],
)
def test_a_run_that_cannot_be_believed_is_left_out_and_named(
    home: Home, box: Place, doc: str, change: wire.Json
) -> None:
    asked(home, box)
    file = Mirror(home, box).folder(3).path / f"{doc}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    view = View(home, [box])
    with database.opened(home) as own, view.opened() as db:
        view.update(db, own)
        (problem,) = view.problems
        assert problem.startswith("box:r0003 is left out: ")
        assert db.execute("select count(*) from runs").fetchone()[0] == 9


def test_far_texts_reach_the_terminal_without_what_it_would_obey(
    home: Home, far: Far, shell: Shell, rpat: Rpat
) -> None:
    there = far()
    with database.opened(there) as db:
        labels.write(there, db, 2, name="evil \x1b[2J\x1b]0;title\x07 \u202e name", note="\x1b[31m")
    configure(place(there, shell()))
    for words in (["list", "--remote", "box"], ["show", "box:r0002"], ["logs", "box:r0002"]):
        said = rpat(*words)
        assert said.code == 0
        assert not {"\x1b", "\x07", "\u202e"} & set(said.out + said.err)
    speaks = '{"speaks": [1, 1], "home": "u", "version": "\\u001b[1m", "path": "\\u0007"}'
    configure(place(there, shell(run=f"printf '%s\\n' 'rpat-feed {speaks}'; cat > /dev/null")))
    said = rpat("remotes", "--ask")
    assert not {"\x1b", "\x07"} & set(said.out + said.err)
    configure(place(there, shell(run="printf 'boo \\033[31m\\007\\n' >&2; exit 255")))
    said = rpat("list", "--remote", "box")
    assert not {"\x1b", "\x07"} & set(said.err)
