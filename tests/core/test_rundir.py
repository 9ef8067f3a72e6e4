"""Run directories: names, claims that only one can win, and files that are replaced whole."""

from __future__ import annotations

import json
import threading

import pytest

from rpat.rundir import Attempt, RunDir, new_uid, read_json, replace, write_json


def test_every_file_of_a_run_has_its_place(tmp_path):
    run = RunDir(tmp_path / "runs" / "r0001")
    attempt = Attempt(run.path, 7)
    names = {
        run.config: "config.json",
        run.provenance: "provenance.json",
        run.meta: "meta.json",
        run.last: "checkpoints/last.pt",
        run.best("online"): "checkpoints/best-online.pt",
        run.final("wa"): "checkpoints/final-wa.pt",
        run.kept("online", 12): "checkpoints/epoch-0012-online.pt",
        attempt.journal: "attempts/0007/journal.jsonl",
        attempt.attendant: "attempts/0007/attendant.jsonl",
        attempt.monitor: "attempts/0007/monitor.jsonl",
        attempt.output: "attempts/0007/output.log",
        attempt.stop: "attempts/0007/stop",
    }
    for path, name in names.items():
        assert path == run.path / name
    assert run.home == tmp_path
    assert RunDir(tmp_path / "elsewhere").home is None


def test_attempts_are_numbered_from_one(tmp_path):
    run = RunDir(tmp_path)
    assert run.attempts() == []
    assert [run.take_attempt().number for _ in range(3)] == [1, 2, 3]
    assert [attempt.number for attempt in run.attempts()] == [1, 2, 3]
    assert all(attempt.path.is_dir() for attempt in run.attempts())
    (tmp_path / "attempts" / "notes").mkdir()
    (tmp_path / "attempts" / "0009").mkdir()
    assert run.take_attempt().number == 10


def test_each_attempt_is_claimed_once_among_threads(tmp_path):
    run = RunDir(tmp_path)
    barrier, taken = threading.Barrier(8), []

    def claim():
        barrier.wait()
        for _ in range(5):
            taken.append(run.take_attempt().number)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 41))


def test_an_attempt_is_superseded_by_a_later_one_only(tmp_path):
    run = RunDir(tmp_path)
    first = run.take_attempt()
    assert not run.superseded(first)
    second = run.take_attempt()
    assert run.superseded(first)
    assert not run.superseded(second)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "config.json"
    write_json(path, {"a": 1, "text": "größer"})
    assert read_json(path) == {"a": 1, "text": "größer"}

    def fails(stream):
        stream.write(b"half of ")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        replace(path, fails)
    assert read_json(path) == {"a": 1, "text": "größer"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]


def test_a_reader_of_a_replaced_file_never_sees_a_part(tmp_path):
    path = tmp_path / "meta.json"
    write_json(path, {"n": -1})
    done, wrong = threading.Event(), []

    def look():
        while not done.is_set():
            try:
                read_json(path)
            except (json.JSONDecodeError, FileNotFoundError) as error:
                wrong.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for n in range(50):
        write_json(path, {"n": n, "padding": "x" * 5000})
    done.set()
    reader.join()
    assert wrong == []
    assert read_json(path)["n"] == 49


def test_a_number_that_json_does_not_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_identities_sort_by_time_and_never_repeat(monkeypatch):
    clock = iter(range(10**18, 10**18 + 10**12, 10**9))
    monkeypatch.setattr("time.time_ns", lambda: next(clock))
    uids = [new_uid() for _ in range(100)]
    assert uids == sorted(uids)
    assert len(set(uids)) == 100
    assert all(len(uid) == 32 and int(uid, 16) >= 0 for uid in uids)
    monkeypatch.setattr("time.time_ns", lambda: 5 * 10**15)
    assert new_uid() != new_uid()
