"""Bundles: what travels, byte for byte the same; what is refused; how homes merge."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rpat.errors import ConfigError
from rpat.recipes import recipe
from rpat.rundir import RunDir, read_json
from rpat_tui import compose
from rpat_tui.home import Home
from rpat_tui.keeping import bundle, labels, merge
from rpat_tui.launch.rebuild import rebuild
from rpat_tui.store import carry, index, queries
from rpat_tui.store import db as database
from rpat_tui.store.queue import move, name_of
from tests.console.conftest import Enqueue, Rpat, enqueuer, refused
from tests.console.executed import evaluate, execute, rows

ORIGIN = ("imported", "snapshot", "priority", "retries", "offset")


@pytest.fixture
def other(tmp_path: Path) -> Home:
    """Another, empty home."""
    return Home(tmp_path / "other").make()


@pytest.fixture
def there(other: Home) -> Iterator[sqlite3.Connection]:
    """Its database."""
    with database.opened(other) as connection:
        yield connection


def packed(
    home: Home, db: sqlite3.Connection, out: Path, *numbers: int, weights: str = "best,final"
) -> Path:
    bundle.write(home, db, bundle.family(db, numbers, True), out, weights.split(","))
    return out


def files(run: RunDir) -> dict[str, bytes]:
    """Return what of a run must arrive as it was."""
    return {
        name: (run.path / name).read_bytes()
        for name in sorted(str(f.relative_to(run.path)) for f in run.path.rglob("*") if f.is_file())
        if name not in ("meta.json", "config.json")
    }


def test_equal_content_makes_equal_bytes(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, tmp_path: Path
) -> None:
    for n in enqueue(2):
        execute(home, db, n)
    one = packed(home, db, tmp_path / "a.tar.gz", 1, 2)
    two = packed(home, db, tmp_path / "b.tar.gz", 2, 1)
    assert one.read_bytes() == two.read_bytes()
    plain = packed(home, db, tmp_path / "a.tar", 1, 2)
    assert gzip.decompress(one.read_bytes()) == plain.read_bytes()
    with tarfile.open(plain) as tar:
        members = tar.getmembers()
    assert members[0].name == "manifest.json"
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
    names = [m.name for m in members[1:]]
    assert names == sorted(names)


@pytest.mark.parametrize(("weights", "expected"), [
    ("best,final", {"best-online.pt", "final-online.pt"}),
    ("best", {"best-online.pt"}),
    ("none", set()),
    ("all", {"best-online.pt", "final-online.pt", "last.pt", "epoch-0001-online.pt",
             "epoch-0002-online.pt"}),
])  # fmt: skip
def test_the_weights_that_were_asked_for_travel(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat, weights: str, expected: set
) -> None:
    (n,) = enqueue()
    execute(home, db, n)
    manifest = rpat("bundle", "r1", "--out", "x.tar", "--weights", weights, "--json").json
    (run,) = manifest["runs"]
    there = {f.removeprefix("checkpoints/") for f in run["files"] if f.startswith("checkpoints/")}
    assert there == expected
    assert all(set(facts) == {"sha256", "size"} for facts in run["files"].values())


def test_a_wrong_bundle_request_is_refused(home: Home, enqueue: Enqueue, rpat: Rpat) -> None:
    enqueue()
    refused(rpat("bundle", "r1", "--out", "x.zip"), "--out x.zip", ".tar.gz")
    refused(rpat("bundle", "r1", "--out", "x.tar", "--weights", "bst"), "--weights bst", "final")
    refused(rpat("bundle", "r1", "--out", "no/x.tar"), "--out no/x.tar")
    refused(rpat("import", "nothing.tar"), "nothing.tar is no file")


def test_runs_and_the_jobs_about_them_arrive_whole_and_marked(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, other: Home, there: sqlite3.Connection,
    tmp_path: Path, rpat: Rpat, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    enqueue()  # so that ids differ
    (n,) = enqueue(name="mine", tags=("a", "b"), note="a note")
    execute(home, db, n, end="stop", state="stopped", epochs=1)
    with database.transaction(db):
        move(db, n, "queued")
    run = execute(home, db, n, first=1, epochs=2)
    job = evaluate(home, db, n, epsilon=0.01)
    file = packed(home, db, tmp_path / "a.tar.gz", n, weights="all")
    enqueuer(other, there)(1)  # takes the id r0001
    monkeypatch.setenv("RPAT_HOME", str(other.path))
    said = rpat("import", str(file), "--json").json
    assert [(one["was"], one["id"], one["did"]) for one in said] == [
        ("r0002", "r0002", "new"), ("r0003", "r0003", "new"),
    ]  # fmt: skip
    expected = {
        table: [line for line in lines if line[0] in {one["uid"] for one in said}]
        for table, lines in rows(db, without=ORIGIN).items()
    }
    assert len(expected["findings"]) == 1
    arrived = {
        table: [line for line in lines if line[0] in {one["uid"] for one in said}]
        for table, lines in rows(there, without=ORIGIN).items()
    }
    assert arrived == expected
    assert files(RunDir(other.runs / "r0002")) == files(run)
    assert files(RunDir(other.runs / "r0003")) == files(RunDir(home.runs / name_of(job)))
    row = rpat("list", "--where", "is:imported", "--json").json[0]
    assert row["imported"].startswith("bundle from ")
    assert "imported: bundle from " in rpat("show", "r2").out
    assert "imported: bundle from " in rpat("list").out
    before = rows(there)
    rebuild(other)
    assert rows(there) == before
    again = rpat("import", str(file), "--json").json
    assert [one["did"] for one in again] == ["same", "same"]
    assert rows(there) == before


def test_ids_that_are_taken_move_and_jobs_follow_their_run(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, other: Home, there: sqlite3.Connection,
    tmp_path: Path,
) -> None:  # fmt: skip
    (n,) = enqueue()
    execute(home, db, n)
    evaluate(home, db, n)
    enqueuer(other, there)(3)
    taken = merge.take(other, there, [packed(home, db, tmp_path / "a.tar", n)])
    assert [one.id for one in taken] == ["r0004", "r0005"]
    job = read_json(other.runs / "r0005" / "config.json")
    assert job["config"]["subject"]["folder"] == "r0004"
    assert queries.config_of(there, 5)["subject"]["folder"] == "r0004"
    assert queries.runs(there, numbers=[5])[0]["parent"] == "r0004"
    assert carry.facts(there, 5)["fingerprint"] == job["fingerprint"]


def test_a_job_without_its_run_waits_for_it_to_arrive(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, other: Home, there: sqlite3.Connection,
    tmp_path: Path,
) -> None:  # fmt: skip
    (n,) = enqueue()
    execute(home, db, n)
    job = evaluate(home, db, n)
    manifest = bundle.write(home, db, [job], tmp_path / "job.tar", ["none"])
    assert [entry["id"] for entry in manifest["prerequisites"]] == ["r0001"]
    merge.take(other, there, [tmp_path / "job.tar"])
    assert queries.config_of(there, 1)["subject"]["folder"].startswith("missing-")
    run = bundle.write(home, db, [n], tmp_path / "run.tar", ["none"])["runs"][0]
    assert "checkpoints/best-online.pt" in run["left_out"]
    merge.take(other, there, [tmp_path / "run.tar"])
    assert queries.config_of(there, 1)["subject"]["folder"] == "r0002"


def test_dependencies_survive_by_uid(
    home: Home, db: sqlite3.Connection, other: Home, there: sqlite3.Connection, tmp_path: Path
) -> None:
    config = recipe("cure", dataset="digits", epochs=1)
    teacher, student = index.enqueue(home, db, compose.with_prerequisites(config), index.Wish(), {})
    execute(home, db, teacher)
    enqueuer(other, there)(2)
    merge.take(other, there, [packed(home, db, tmp_path / "a.tar", teacher, student)])
    uid = carry.facts(db, teacher)["uid"]
    wanted = [("r0004", uid, "final")]
    query = "select r.id, d.needs, d.checkpoint from dependencies d join runs r on r.n = d.run"
    assert there.execute(query).fetchall() == wanted
    rebuild(other)
    assert there.execute(query).fetchall() == wanted


@pytest.mark.parametrize("state", ["queued", "running", "lost"])
def test_a_run_that_has_not_ended_arrives_stopped_and_never_starts_by_itself(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, other: Home, there: sqlite3.Connection,
    tmp_path: Path, state: str,
) -> None:  # fmt: skip
    (n,) = enqueue()
    if state != "queued":
        run = execute(home, db, n, state="running", end="log")
        with run.attempts()[0].journal.open("ab") as stream:
            stream.write(b'{"seq": 99, "t": 1')  # its writer is at work
    if state == "lost":
        with database.transaction(db):
            move(db, n, "lost")
    manifest = bundle.write(home, db, [n], tmp_path / "a.tar", ["none"])
    assert manifest["runs"][0]["remark"] == f"was {state} when it was bundled"
    merge.take(other, there, [tmp_path / "a.tar"])
    (row,) = queries.runs(there)
    assert (row["state"], row["reason"]) == (
        "stopped", f"never queued: was {state} when it was bundled",
    )  # fmt: skip
    before = rows(there)
    rebuild(other)
    assert rows(there) == before


# ----------------------------------------------------------------- merging what is known


def test_a_run_that_went_on_elsewhere_comes_back_and_keeps_what_was_written_here(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, other: Home, there: sqlite3.Connection,
    tmp_path: Path,
) -> None:  # fmt: skip
    (n,) = enqueue(name="ours")
    execute(home, db, n, epochs=1, end="stop", state="stopped", evaluated=())
    out = packed(home, db, tmp_path / "out.tar", n, weights="all")
    merge.take(other, there, [out])
    with database.transaction(there):
        move(there, 1, "queued")
    run = execute(other, there, 1, first=1, epochs=2)
    labels.write(other, there, 1, note="theirs")
    back = packed(other, there, tmp_path / "back.tar", 1, weights="best,final")
    labels.write(home, db, n, note="ours")
    (one,) = merge.take(home, db, [back])
    assert (one.id, one.did) == ("r0001", "updated")
    (row,) = queries.runs(db)
    assert (row["state"], row["epoch"], row["name"], row["note"]) == ("done", 3, "ours", "ours")
    assert row["imported"].startswith("bundle from ")
    here = RunDir(home.runs / "r0001")
    assert here.best("online").read_bytes() == run.best("online").read_bytes()
    before = rows(db)
    assert merge.take(home, db, [back])[0].did == "same"
    assert merge.take(home, db, [out])[0].text.startswith("is further here")
    assert rows(db) == before
    rebuild(home)
    assert rows(db) == before


def test_histories_that_parted_are_left_alone(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, other: Home, there: sqlite3.Connection,
    tmp_path: Path, rpat: Rpat,
) -> None:  # fmt: skip
    (n,) = enqueue()
    execute(home, db, n, epochs=1, end="stop", state="stopped")
    merge.take(other, there, [packed(home, db, tmp_path / "out.tar", n)])
    for place, store in ((home, db), (other, there)):
        with database.transaction(store):
            move(store, 1, "queued")
        execute(place, store, 1, first=1, epochs=1 if place is home else 2)
    packed(other, there, tmp_path / "back.tar", 1)
    before, there_files = rows(db), files(RunDir(home.runs / "r0001"))
    said = rpat("import", "back.tar")
    assert said.code == 1
    assert "skipped: has gone on differently here" in said.out
    assert (rows(db), files(RunDir(home.runs / "r0001"))) == (before, there_files)


def test_a_run_that_is_queued_here_is_left_alone(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, other: Home, there: sqlite3.Connection,
    tmp_path: Path,
) -> None:  # fmt: skip
    (n,) = enqueue()
    merge.take(other, there, [packed(home, db, tmp_path / "out.tar", n)])
    with database.transaction(there):
        move(there, 1, "queued")
    execute(other, there, 1)
    (one,) = merge.take(home, db, [packed(other, there, tmp_path / "back.tar", 1)])
    assert (one.did, one.text) == ("skipped", "is queued here: left as it is")


@pytest.mark.parametrize("where", ["settle_in", "admit", "ingest", "_go_on"])
def test_an_import_that_is_cut_short_is_finished_by_the_next(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, other: Home, there: sqlite3.Connection,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str,
) -> None:  # fmt: skip
    (n,) = enqueue()
    execute(home, db, n, epochs=1, end="stop", state="stopped")
    first = packed(home, db, tmp_path / "a.tar", n)
    with database.transaction(db):
        move(db, n, "queued")
    execute(home, db, n, first=1)
    evaluate(home, db, n)
    whole = packed(home, db, tmp_path / "b.tar", n)
    if where in ("ingest", "_go_on"):
        merge.take(other, there, [first])

    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(merge, where, cut)
        with pytest.raises(KeyboardInterrupt):
            merge.take(other, there, [whole])
    assert not list(other.runs.glob(".*"))
    merge.take(other, there, [whole])
    without = ("started", "ended", *ORIGIN)
    assert rows(there, without=without)["points"] == rows(db)["points"]
    assert sorted(r["state"] for r in queries.runs(there, kind="")) == ["done", "done"]
    before = rows(there)
    rebuild(other)
    assert rows(there)["points"] == before["points"]
    assert sorted(r["state"] for r in queries.runs(there, kind="")) == ["done", "done"]


# ----------------------------------------------------------------- bytes that are refused


@pytest.fixture
def good(home: Home, db: sqlite3.Connection, enqueue: Enqueue, tmp_path: Path) -> bytes:
    """The bytes of a bundle of two runs, without compression."""
    for n in enqueue(2):
        execute(home, db, n)
    return packed(home, db, tmp_path / "good.tar", 1, 2).read_bytes()


def left_alone(other: Home, there: sqlite3.Connection) -> bool:
    """Return whether a home is as empty as it was."""
    return not list(other.runs.iterdir()) and not carry.numbers(there)


def test_a_broken_download_changes_nothing(
    good: bytes, home: Home, other: Home, there: sqlite3.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "broken.tar.gz"
    for data in (good, gzip.compress(good, mtime=0)):
        for cut in [0, 1, 511, 512, 700, *range(1000, len(data) - 11_000, len(data) // 40)]:
            file.write_bytes(data[:cut])
            with pytest.raises(ConfigError, match="nothing was imported"):
                merge.take(other, there, [file])
        for place in range(600, len(good) - 11_000, len(good) // 40):
            damaged = bytearray(data)
            if place < len(damaged):
                damaged[place] ^= 0xFF
            file.write_bytes(damaged)
            # Padding between members may be anything, and so may gzip's header.
            with suppress(ConfigError):
                merge.take(other, there, [file])
    assert left_alone(other, there) or carry.numbers(there) == [1, 2]
    for run in other.runs.iterdir():
        assert files(RunDir(run)).items() <= files(RunDir(home.runs / run.name)).items()


def test_one_broken_file_of_several_changes_nothing(
    good: bytes, other: Home, there: sqlite3.Connection, tmp_path: Path
) -> None:
    (tmp_path / "bad.tar").write_bytes(good[:9000])
    with pytest.raises(ConfigError, match=r"bad\.tar"):
        merge.take(other, there, [tmp_path / "good.tar", tmp_path / "bad.tar"])
    assert left_alone(other, there)


Change = Callable[[dict[str, Any], list[tuple[tarfile.TarInfo, bytes]]], None]


def remade(good: bytes, change: Change) -> bytes:
    """Return a bundle with manifest and members changed."""
    with tarfile.open(fileobj=io.BytesIO(good)) as tar:
        members = [
            (m, tar.extractfile(m).read())  # type: ignore[union-attr]
            for m in tar
        ]
    manifest = json.loads(members.pop(0)[1])
    change(manifest, members)
    text = json.dumps(manifest).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        first = tarfile.TarInfo("manifest.json")
        first.size = len(text)
        tar.addfile(first, io.BytesIO(text))
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def named(manifest: dict[str, Any], name: str, data: bytes = b"") -> dict[str, Any]:
    """Name a file in the manifest; returns the entry of its run."""
    entry: dict[str, Any] = manifest["runs"][0]
    entry["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return entry


def escape(name: str) -> Change:
    def change(manifest: dict[str, Any], members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        entry = named(manifest, name)
        members.append((member(f"runs/{entry['uid']}/{name}"), b""))

    return change


def linked(kind: bytes) -> Change:
    def change(manifest: dict[str, Any], members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        entry = named(manifest, "results/x")
        members.append((member(f"runs/{entry['uid']}/results/x", kind, "../../../../x"), b""))

    return change


def stated(**values: Any) -> Change:
    def change(manifest: dict[str, Any], members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        manifest["runs"][0]["intent"] |= values

    return change


def written(name: str, **values: Any) -> Change:
    """Change values of a JSON file of the first run, its digest included."""

    def change(manifest: dict[str, Any], members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        full = f"runs/{manifest['runs'][0]['uid']}/{name}"
        for place, (info, data) in enumerate(members):
            if info.name == full:
                text = json.dumps(json.loads(data) | values).encode()
                info.size = len(text)
                members[place] = (info, text)
                named(manifest, name, text)

    return change


EVIL: dict[str, Change] = {
    "a path that climbs": escape("../../../evil"),
    "a path that climbs inside": escape("results/../../../evil"),
    "a path from the root": escape("/tmp/evil"),
    "a hidden file": escape("results/.evil"),
    "an unknown place": escape("code/evil.py"),
    "a symbolic link": linked(tarfile.SYMTYPE),
    "a hard link": linked(tarfile.LNKTYPE),
    "a device": linked(tarfile.CHRTYPE),
    "a folder": linked(tarfile.DIRTYPE),
    "a member that nobody announced": lambda m, f: f.append((member("runs/x/y"), b"")),
    "a member twice": lambda m, f: f.append(f[0]),
    "a member missing": lambda m, f: f.clear(),
    "another schema": lambda m, f: m.update(schema=99),
    "another program": lambda m, f: m.update(what="x"),
    "no runs": lambda m, f: m.update(runs=None),
    "a uid that climbs": lambda m, f: m["runs"][0].update(uid="../" * 10),
    "a uid of another run": lambda m, f: m["runs"][0].update(kind="eval"),
    "a run that is queued": stated(state="queued"),
    "a history of nonsense": stated(history=[["a", "b"]]),
    "needs of nonsense": stated(needs=[[1, 2]]),
    "tags of nonsense": written("meta.json", tags="x"),
    "a time of nonsense": written("provenance.json", queued="x"),
    "a config of nonsense": written("config.json", config={"x": 1}),
}


@pytest.mark.parametrize("what", EVIL)
def test_a_bundle_with_tricks_is_refused(
    good: bytes, other: Home, there: sqlite3.Connection, tmp_path: Path, what: str
) -> None:
    file = tmp_path / "evil.tar"
    file.write_bytes(remade(good, EVIL[what]))
    outside = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="nothing was imported"):
        merge.take(other, there, [file])
    assert left_alone(other, there)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == outside


def test_a_bundle_that_is_only_written_anew_is_taken(
    good: bytes, other: Home, there: sqlite3.Connection, tmp_path: Path
) -> None:
    (tmp_path / "again.tar").write_bytes(remade(good, lambda m, f: None))
    assert [one.did for one in merge.take(other, there, [tmp_path / "again.tar"])] == ["new"] * 2


# ----------------------------------------------------------------- any runs


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, str, bool, str]]:
    """Some runs: epochs of each attempt, how the last one ended, whether evaluated, a label."""
    one = st.tuples(
        st.integers(0, 3), st.sampled_from(["done", "failed", "stopped", "paused"]), st.booleans(),
        st.text("aλ“ ", max_size=4),
    )  # fmt: skip
    return draw(st.lists(one, min_size=1, max_size=3))


@settings(
    max_examples=8,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(runs=histories(), taken=st.integers(0, 2))
def test_a_bundle_in_an_empty_home_makes_equal_rows(
    tmp_path_factory: pytest.TempPathFactory, runs: list[Any], taken: int
) -> None:
    folder = tmp_path_factory.mktemp("homes")
    home, other = Home(folder / "one").make(), Home(folder / "two").make()
    with database.opened(home) as db, database.opened(other) as there:
        numbers = []
        for seed, (epochs, state, evaluated, label) in enumerate(runs):
            config = recipe("pgd-at", dataset="digits", epochs=3).override({"seed": seed})
            wish = index.Wish(name=label, tags=("t",) * bool(label), note=label)
            (n,) = index.enqueue(home, db, [config], wish, {})
            numbers.append(n)
            execute(home, db, n, epochs=epochs, end="end" if state == "done" else "x", state=state)
            if evaluated:
                evaluate(home, db, n)
        if taken:
            enqueuer(other, there)(taken)
        file = packed(home, db, folder / "x.tar.gz", *numbers, weights="all")
        uids = {one.uid for one in merge.take(other, there, [file])}
        arrived = rows(there, without=ORIGIN)
        mine = {
            table: [line for line in lines if line[0] in uids] for table, lines in arrived.items()
        }
        assert mine == rows(db, without=ORIGIN)
        before = rows(there)
        rebuild(other)
        assert rows(there) == before
