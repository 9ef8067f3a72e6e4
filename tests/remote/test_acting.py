"""Acts on runs of other machines: the same functions, through the link or not at all."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from rpat_tui.acts import ACTS
from rpat_tui.home import Home
from rpat_tui.launch.locks import holder
from rpat_tui.remote import acting
from rpat_tui.remote.link import Link, LinkError
from rpat_tui.remote.places import Place
from rpat_tui.store import db as database
from rpat_tui.store import queries
from tests.console.conftest import Rpat, enqueuer, refused, until
from tests.remote.conftest import WAIT, Server, configure, place

Far = Callable[..., Home]
Shell = Callable[..., str]


def waiting(there: Home, db: sqlite3.Connection) -> None:
    """Queue three runs that wait for a run that does not end."""
    enqueuer(there, db)(3)
    db.execute("update runs set held = 1")


def row(there: Home, n: int) -> dict[str, Any]:
    """Return a run as it is over there."""
    with database.opened(there) as db:
        return queries.runs(db, numbers=[n])[0]


@pytest.fixture
def there(home: Home, far: Far) -> Iterator[Home]:
    """A home elsewhere with three runs that are held back, and no worker in the end."""
    made = far(fill=waiting)
    yield made
    with database.opened(made) as db:
        db.execute("update runs set state = 'stopped'")
    if (worker := holder(made.worker_lock)) and worker.get("pid"):
        os.kill(worker["pid"], signal.SIGTERM)  # through ssh it has the usual patience
    until(lambda: holder(made.worker_lock) is None)


@pytest.fixture
def box(there: Home, shell: Shell) -> Place:
    """The machine of that home, in the settings."""
    made = place(there, shell())
    configure(made)
    return made


def test_runs_there_and_here_are_stopped_by_one_command(
    home: Home, db: sqlite3.Connection, there: Home, server: Server, rpat: Rpat
) -> None:
    waiting(home, db)
    configure(place(there, server.ssh))
    said = rpat("stop", "box:r0002", "r0003", "box:3")
    assert said.out.splitlines() == [
        "box: r0002 was queued: it is stopped",
        "box: r0003 was queued: it is stopped",
        "r0003 was queued: it is stopped",
    ]
    assert [row(there, n)["state"] for n in (1, 2, 3)] == ["queued", "stopped", "stopped"]
    assert rpat("note", "box:r0002", "seen").out == "box: r0002: noted\n"
    assert rpat("note", "box:r0002").out == "seen\n"
    states = {r["id"]: r["state"] for r in rpat("list", "--remote", "box", "--json").json}
    assert states["box:r0002"] == states["r0003"] == "stopped"
    assert states["box:r0001"] == states["r0001"] == "queued"


@pytest.fixture
def one_link(box: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let all commands of a test use one link: opening each its own takes most of the time."""
    with Link(box, WAIT) as open_link:
        monkeypatch.setattr("rpat_tui.remote.link.Link", lambda *_: nullcontext(open_link))
        yield


@pytest.mark.usefixtures("one_link")
def test_every_act_reaches_the_run(there: Home, rpat: Rpat, home: Home) -> None:
    note = 'it\'s "quoted" $(touch stolen) `x` ; é \\ %s\n\x1b[31m'
    for words, key, value in (
        (("pause", "box:1"), "state", "paused"),
        (("resume", "box:1"), "state", "queued"),
        (("queue", "priority", "70", "box:1"), "priority", 70),
        (("queue", "last", "box:1"), "state", "queued"),
        (("queue", "up", "box:1"), "state", "queued"),
        (("stop", "box:1"), "state", "stopped"),
        (("requeue", "box:1"), "state", "queued"),
        (("kill", "box:1"), "state", "stopped"),
        (("tag", "box:1", "+mine", "+x"), "tags", ["mine", "x"]),
        (("tag", "box:1", "-x"), "tags", ["mine"]),
        (("note", "box:1", note), "note", note),
        (("name", "box:1", "sweet"), "name", "sweet"),
        (("archive", "box:1"), "archived", True),
        (("unarchive", "box:1"), "archived", False),
    ):
        said = rpat(*words)
        assert (words, said.code, said.err) == (words, 0, "")
        assert (words, row(there, 1)[key]) == (words, value)
    assert rpat("delete", "box:1", "--yes").code == 0
    with database.opened(there) as db:
        assert queries.runs(db, numbers=[1]) == []


def test_what_is_refused_there_is_told_and_is_the_status(
    there: Home, box: Place, rpat: Rpat, home: Home
) -> None:
    said = rpat("resume", "box:r0001", "box:r0077")
    assert said.code == 2
    assert said.err.splitlines() == [
        "rpat: box: run r0001 is queued; only paused runs are resumed",
        "rpat: box: run 'r0077' does not exist; rpat list shows all runs",
    ]
    refused(rpat("stop", "crate:r0001"), "no machine is called crate", "[remote.crate]")


def test_without_a_link_nothing_is_done_and_one_line_says_so(
    there: Home, shell: Shell, rpat: Rpat, home: Home
) -> None:
    configure(place(there, shell(run="echo 'ssh: host is down' >&2; exit 255", name="down")))
    refused(rpat("stop", "box:r0001"), "box cannot be reached (ssh: host is down)")
    assert row(there, 1)["state"] == "queued"


def test_a_home_that_takes_no_file_is_shown_and_left_alone(
    there: Home, box: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rpat_tui.remote import feed

    with database.opened_readonly(there) as db:
        one = feed.Feed(there, db, writes=False, out=-1)
        with pytest.raises(Exception, match="read-only there"):
            one.act({"act": "stop", "runs": ["r0001"]})
        assert set(one.look({"whole": ""})["groups"]) == {0}


def test_what_no_act_is_ends_nothing(there: Home, box: Place) -> None:
    with Link(box, WAIT) as link:
        for wrong in (
            {"act": "conquer", "runs": ["r0001"]},
            {"act": "stop", "runs": 5},
            {"act": "tag", "runs": ["r0001"], "values": 3},
            {"act": "tag", "runs": ["r0001"], "values": {"add": "abc"}},
            {"act": "note", "runs": ["r0001"], "values": {"text": 3}},
            {"act": "priority", "runs": ["r0001"], "values": {"priority": "high"}},
            {},
        ):
            if wrong.get("runs") == ["r0001"] and "values" in wrong and wrong["values"] != 3:
                assert len(link.ask("act", **wrong)["refused"]) == 1
            else:
                with pytest.raises(LinkError, match=r"^box: "):
                    link.ask("act", **wrong)
        said, _ = link.act("stop", ["r0001"], {})
        assert said == ["r0001 was queued: it is stopped"]


def test_every_act_of_the_screens_can_travel() -> None:
    assert set(ACTS) <= set(acting.DOES)


def test_ids_with_a_colon_that_name_no_machine_stay_names(
    home: Home, db: sqlite3.Connection, rpat: Rpat, tmp_path: Path
) -> None:
    enqueuer(home, db)(1, name="lr:0.1")
    db.execute("update runs set held = 1")
    assert rpat("stop", "lr:0.1").out == "r0001 was queued: it is stopped\n"
