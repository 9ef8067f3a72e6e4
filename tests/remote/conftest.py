"""Homes on "other machines": behind a shell that stands in for ssh, and behind a real sshd.

The server listens on the loopback as the present user, with keys and settings of its own. Where
there is none (tests/remote/install), the tests that need it are skipped; the stand-in runs the
same commands in the same shell.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rpat_tui.home import Home
from rpat_tui.remote.mirror import Contact, Mirror, bring_up
from rpat_tui.remote.places import Place
from rpat_tui.remote.view import View
from rpat_tui.store import db as database
from rpat_tui.store import queries
from tests.console.conftest import db as db
from tests.console.conftest import home as home
from tests.console.conftest import rpat as rpat
from tests.console.examples import example

RPAT = f"{shlex.quote(sys.executable)} -m rpat_tui"
WAIT = 30.0
"""Seconds that a silent link is waited for: a busy machine needs them."""

STAND_IN = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift 2
{before}
{run}
"""


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., str]:
    """Return what makes a program that stands in for ssh."""

    def make(before: str = "", run: str = 'exec sh -c "$*"', name: str = "stand-in") -> str:
        file = tmp_path / name
        file.write_text(STAND_IN.format(before=before, run=run))
        file.chmod(0o755)
        return str(file)

    return make


@pytest.fixture
def far(tmp_path: Path) -> Callable[..., Home]:
    """Return what makes a home elsewhere, with ten runs or as many as it is filled with."""

    def make(name: str = "far", fill: Callable[..., Any] | None = example) -> Home:
        there = Home(tmp_path / name).make()
        with database.opened(there) as db:
            if fill is not None:
                fill(there, db)
        return there

    return make


@pytest.fixture
def box(far: Callable[..., Home], shell: Callable[..., str]) -> Place:
    """A machine called box, with ten runs."""
    return place(far(), shell())


def place(there: Home, ssh: str, name: str = "box") -> Place:
    """Return a machine that the stand-in or the server leads to."""
    return Place(name=name, host="127.0.0.1", home=str(there.path), rpat=RPAT, ssh=ssh)


def configure(*places: Place) -> None:
    """Write machines into the settings of the user."""
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "rpat"
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for one in places:
        lines.append(f"[remote.{one.name}]")
        for key in ("host", "home", "rpat", "ssh"):
            lines.append(f"{key} = {toml(getattr(one, key))}")
    (folder / "config.toml").write_text("\n".join(lines) + "\n")


def toml(text: str) -> str:
    """Return a text as TOML writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def asked(own: Home, where: Place) -> Contact:
    """Ask a machine once."""
    return bring_up(Mirror(own, where), WAIT)


Rows = dict[str, Any]


def seen(own: Home, *places: Place) -> Rows:
    """Return everything that the view of this home and others holds, by the runs' ids."""
    view = View(own, places)
    with database.opened(own) as here, view.opened() as db:
        view.update(db, here)
        assert not view.problems
        return everything(db)


def held_by(there: Home, prefix: str = "") -> Rows:
    """Return everything that a home itself holds."""
    with database.opened(there) as db:
        return {f"{prefix}{name}": row for name, row in everything(db).items()}


def everything(db: sqlite3.Connection) -> Rows:
    """Return each run with all its points, evaluations, moves and labels."""
    found = {}
    for row in queries.runs(db, kind="", archived=True):
        n = row["n"]
        found[row["id"]] = {
            **{key: row[key] for key in queries.LIST_KEYS if key not in ("id", "parent")},
            "points": queries.metrics(db, n),
            "results": [
                {k: v for k, v in e.items() if k not in ("id", "job")}
                for e in queries.evaluations(db, n)
            ],
            "moves": queries.transitions(db, n),
            "findings": sorted((f["rule"], f["text"]) for f in queries.findings(db, n)),
            "events": len(queries.events(db, n)),
        }
    return found


# ----------------------------------------------------------------- a real server


@dataclass(frozen=True)
class Server:
    """An sshd of our own, and the command that reaches it."""

    ssh: str
    port: int


def why_not() -> str:
    """Return why no server is started here, or ''."""
    missing = [name for name in ("sshd", "ssh", "ssh-keygen") if not there(name)]
    return f"no ssh server ({', '.join(missing)} missing; tests/remote/install)" if missing else ""


def there(name: str) -> str | None:
    """Return where a program is, also one of the system's administrator."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An sshd on the loopback with keys made for this session."""
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("ssh")
    for key in ("host", "user"):
        subprocess.run(
            [str(there("ssh-keygen")), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)],
            check=True,
        )
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    words = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {words[0]} {words[1]}\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it separates its privileges
    log = (folder / "log").open("wb")
    child = subprocess.Popen(
        [str(there("sshd")), "-D", "-e", "-f", str(folder / "config")], stderr=log
    )
    try:
        deadline = time.monotonic() + 30
        while not answers(port):
            if child.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"sshd does not start: {(folder / 'log').read_text()[-200:]}")
            time.sleep(0.05)
        yield Server(
            f"ssh -F none -p {port} -i {folder}/user -o IdentitiesOnly=yes "
            f"-o UserKnownHostsFile={folder}/known",
            port,
        )
    finally:
        child.terminate()
        child.wait()
        log.close()


def answers(port: int) -> bool:
    """Return whether somebody listens on a port."""
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), 1)):
        return True
    return False
