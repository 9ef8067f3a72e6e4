"""The journal: whole lines only, wherever it is cut and whatever the disk does."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpat.journal import Journal, read


def records(path: Path, offset: int = 0) -> list[dict]:
    return [record for record, _ in read(path, offset)]


def plain(path: Path) -> list[dict]:
    """Return the records without their times."""
    return [{k: v for k, v in record.items() if k != "t"} for record in records(path)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def write_some(path: Path, n: int = 3) -> None:
    log = Journal(path)
    for i in range(n):
        log.write("log", step=i, values={"step/loss": i / 3})
    log.close()


def test_what_is_written_is_read(path):
    before = time.time()
    log = Journal(path)
    assert log.write("begin", v=1, text="größer\n", nothing=None) == 1
    assert log.write("log", sync=True, step=5, values={"step/loss": 0.5}, deep={"a": [1, 2.5]}) == 2
    log.close()
    assert plain(path) == [
        {"seq": 1, "kind": "begin", "v": 1, "text": "größer\n", "nothing": None},
        {
            "seq": 2,
            "kind": "log",
            "step": 5,
            "values": {"step/loss": 0.5},
            "deep": {"a": [1, 2.5]},
        },
    ]
    assert all(before - 1 <= record["t"] <= time.time() + 1 for record in records(path))
    assert path.read_bytes().count(b"\n") == 2


def test_a_missing_file_has_no_records(path):
    assert records(path) == []


def test_a_record_is_one_write_call(path, monkeypatch):
    calls = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: calls.append(data) or real(fd, data))
    log = Journal(path)
    log.write("log", values={"a": 1.0})
    log.close()
    assert len(calls) == 1
    assert calls[0].endswith(b"}\n")


def assert_a_cut_is_harmless(path: Path, content: bytes, whole: list[dict], cut: int) -> None:
    """A cut file has the records before the cut, and a writer goes on behind them."""
    path.write_bytes(content[:cut])
    found = plain(path)
    assert found == whole[: len(found)]
    assert len(found) == content[:cut].count(b"\n")
    log = Journal(path)
    log.write("end", step=9)
    log.close()
    assert plain(path) == [*found, {"seq": len(found) + 1, "kind": "end", "step": 9}]


def test_every_cut_gives_a_prefix_of_the_records(path):
    write_some(path, 3)
    whole, content = plain(path), path.read_bytes()
    for cut in range(len(content) + 1):
        assert_a_cut_is_harmless(path, content, whole, cut)


@settings(max_examples=60)
@given(
    values=st.lists(
        st.dictionaries(st.text(max_size=5), st.floats() | st.text() | st.none() | st.integers()),
        min_size=1,
        max_size=4,
    ),
    share=st.floats(0, 1),
)
def test_a_cut_is_harmless_whatever_was_written(values, share):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        log = Journal(path)
        for some in values:
            log.write("log", values=some)
        log.close()
        whole, content = plain(path), path.read_bytes()
        assert [record["values"].keys() for record in whole if record["kind"] == "log"] == [
            some.keys() for some in values
        ]
        assert_a_cut_is_harmless(path, content, whole, int(share * len(content)))


def test_a_torn_last_line_is_left_for_later(path):
    write_some(path)
    with path.open("ab") as stream:
        stream.write(b'{"seq": 4, "t": 1.0, "kind": "log"')
    found = list(read(path))
    assert [record["seq"] for record, _ in found] == [1, 2, 3]
    with path.open("ab") as stream:
        stream.write(b', "step": 3}\n')
    (late,) = records(path, found[-1][1])
    assert late == {"seq": 4, "t": 1.0, "kind": "log", "step": 3}


def test_reading_goes_on_from_any_offset_that_was_given(path):
    write_some(path, 4)
    found = list(read(path))
    for i, (_, offset) in enumerate(found):
        assert records(path, offset) == [record for record, _ in found[i + 1 :]]
    assert found[-1][1] == path.stat().st_size


def test_continuing_an_intact_file_keeps_it(path):
    write_some(path)
    before = path.read_bytes()
    log = Journal(path)
    log.write("end")
    log.close()
    assert path.read_bytes().startswith(before)
    assert [record["seq"] for record in records(path)] == [1, 2, 3, 4]


@pytest.mark.parametrize("damage", [b"\x00\xff garbage", b"[1, 2]", b"{}", b'{"seq": "1"}', b""])
def test_a_damaged_line_is_passed_over(path, damage):
    write_some(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + b"\n" + lines[2])
    found = list(read(path))
    assert [record["seq"] for record, _ in found] == [1, 3]
    assert found[-1][1] == path.stat().st_size
    log = Journal(path)
    log.write("end")
    log.close()
    assert [record["seq"] for record in records(path)] == [1, 3, 4]


def test_damaged_lines_that_make_sense_together_are_no_records(path):
    write_some(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"seq": 7, "kind": "a", "x": [1\n2]}\n' + lines[2])
    assert [record["seq"] for record in records(path)] == [1, 3]


def test_a_record_may_say_when_it_happened(path):
    log = Journal(path)
    log.write("log", t=12.5, step=1)
    log.write("end", t=13)
    log.close()
    assert [(record["t"], record["kind"]) for record in records(path)] == [
        (12.5, "log"),
        (13, "end"),
    ]


def test_a_non_finite_number_is_null_and_a_record_of_its_own(path):
    log = Journal(path)
    number = log.write(
        "epoch",
        epoch=2,
        step=6,
        values={"train/loss": float("nan"), "lr": 0.1, "train/kl": float("-inf")},
        top=float("inf"),
        many=[1.0, float("nan")],
        deep={"inner": {"x": float("nan")}},
    )
    log.write("end")
    log.close()
    assert number == 1
    first, second, third = plain(path)
    assert first["values"] == {"train/loss": None, "lr": 0.1, "train/kl": None}
    assert first["top"] is None
    assert first["many"] == [1.0, None]
    assert first["deep"] == {"inner": {"x": None}}
    assert second == {
        "seq": 2,
        "kind": "nonfinite",
        "names": ["train/loss", "train/kl", "top", "many", "x"],
        "epoch": 2,
        "step": 6,
    }
    assert third["seq"] == 3
    assert "NaN" not in path.read_text("utf-8")


def test_finite_numbers_make_no_second_record(path):
    log = Journal(path)
    log.write("log", values={"a": 1e308, "b": -0.0, "c": 5e-324})
    log.close()
    assert [record["kind"] for record in records(path)] == ["log"]


class Disk:
    """A disk with room for so many bytes, after which writing fails or takes a part."""

    def __init__(self, room: int, partly: bool) -> None:
        self.room, self.partly, self.real = room, partly, os.write

    def write(self, fd: int, data: bytes) -> int:
        if len(data) <= self.room:
            self.room -= len(data)
            return self.real(fd, data)
        if not self.partly or not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written, self.room = self.real(fd, data[: self.room]), 0
        return written


def write_nine(log: Journal) -> None:
    for i in range(9):
        log.write("log", step=i, values={"step/loss": 0.25})


@pytest.mark.parametrize("partly", [True, False])
@pytest.mark.parametrize("room", [0, 1, 40, 150])
def test_a_full_disk_leaves_whole_lines_and_raises(path, monkeypatch, room, partly):
    disk = Disk(room, partly)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", disk.write)
        log = Journal(path)
        with pytest.raises(OSError, match="No space left") as caught:
            write_nine(log)
        assert caught.value.errno == errno.ENOSPC
        content = path.read_bytes()
        assert content == b"" or content.endswith(b"\n")
        kept = plain(path)
        assert [record["step"] for record in kept] == list(range(len(kept)))
    log.write("end")  # room was made: numbering goes on without a gap
    log.close()
    assert [record["seq"] for record in records(path)] == list(range(1, len(kept) + 2))


def test_a_record_that_cannot_be_written_takes_no_number(path):
    log = Journal(path)
    with pytest.raises(TypeError):
        log.write("log", value=object())
    log.write("end")
    log.close()
    assert [record["seq"] for record in records(path)] == [1]


def test_a_growing_file_is_read_piece_by_piece(path):
    log = Journal(path)
    offset, seen = 0, []
    for i in range(6):
        log.write("log", step=i)
        if i % 2:
            new = list(read(path, offset))
            offset = new[-1][1]
            seen += [record for record, _ in new]
    log.close()
    assert seen == records(path)
    lines = path.read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(6))
