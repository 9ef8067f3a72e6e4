"""Append-only files of one JSON object a line: the bytes of records, and nothing of their meaning.

A record is `{"seq": 1, "t": 1700000000.0, "kind": "begin", …}`: a sequence number that rises by
one within a file, UTC seconds, a kind. A record is written with one `write` call, so a reader
sees it whole or without its newline; a line without a newline is not a record yet. JSON has no
NaN: a non-finite number is written as null and reported in a record of its own, kind
`nonfinite`. Readers ignore kinds and keys they do not know. Standard library only.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

VERSION = 1
"""The `v` of a file's first record; the meaning of a record changes only with it."""

Record = dict[str, Any]


class Journal:
    """Writes records to one file; the only writer of that file.

    An existing file is continued: a torn last line is cut off and numbering goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seq = 0
        """Number of the last record; 0 in an empty file."""
        if path.exists():
            end = 0
            for record, end in read(path):  # noqa: B007  the last values are used below
                self.seq = record["seq"]
            os.truncate(path, end)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, kind: str, /, *, sync: bool = False, **values: Any) -> int:
        """Append a record and return its sequence number; `sync` waits for the disk.

        `kind` is a word; a value `t` says when it happened, if that is not now. Raises OSError
        when the line could not be written whole; nothing of it is kept then.
        """
        nonfinite: list[str] = []
        seq = self.seq + 1
        t = values.pop("t") if "t" in values else time.time()
        try:
            text = _encode(values)
        except (ValueError, TypeError):  # something is not finite, or no plain dict
            values = {key: _finite(key, value, nonfinite) for key, value in values.items()}
            text = _encode(values)
        head = f'{{"seq":{seq},"t":{t:.3f},"kind":"{kind}"'
        self._append(f"{head},{text[1:]}\n".encode() if values else f"{head}}}\n".encode())
        self.seq = seq
        if nonfinite:
            place = {k: values[k] for k in ("epoch", "step") if k in values}
            self.write("nonfinite", names=nonfinite, **place)
        if sync:
            os.fsync(self._fd)
        return seq

    def _append(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        if written != len(line):  # a full disk can take a part of the line
            size = os.fstat(self._fd).st_size
            os.ftruncate(self._fd, size - written)
            raise OSError(28, "No space left on device", str(self.path))

    def close(self) -> None:
        """Flush to the disk and close the file."""
        os.fsync(self._fd)
        os.close(self._fd)


def read(path: Path, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """Yield each whole record from a byte offset on, with the offset behind it.

    Damaged lines are passed over (their offset is consumed with the next good line); a last line
    without its newline is left for later. A missing file has no records.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read()
    except FileNotFoundError:
        return
    lines = data.split(b"\n")
    del lines[-1]  # torn, or nothing
    for first in range(0, len(lines), AT_ONCE):
        some = lines[first : first + AT_ONCE]
        for line, value in zip(some, _values(some), strict=True):
            offset += len(line) + 1
            if _is_record(value):
                yield value, offset


def _is_record(value: Any) -> bool:
    """Return whether a line holds a record; a number beyond 64 bits is damage."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return False
    return isinstance(value.get("seq"), int) and 0 <= value["seq"] < 1 << 63


def counted(files: Iterable[Path], kind: str) -> list[Record]:
    """Return the records of a kind, with a `step` each, from the journals of a run's attempts.

    The oldest attempt comes first; what a later one has trained again does not count.
    """
    found: list[Record] = []
    for file in files:
        for record, _ in read(file):
            if record["kind"] == "begin" and record["from_step"] is not None:
                found = [old for old in found if old["step"] <= record["from_step"]]
            elif record["kind"] == kind:
                found.append(record)
    return found


AT_ONCE = 256
"""Lines that are parsed in one call, which costs a third less than a call for each."""


def _values(lines: list[bytes]) -> list[Any]:
    """Return what each line holds; None for one that is damaged."""
    try:
        found = json.loads((b"[%b]" % b",".join(lines)).decode())
    except ValueError:
        return [_value(line) for line in lines]
    return found if len(found) == len(lines) else [_value(line) for line in lines]


def _value(line: bytes) -> Any:
    try:
        return json.loads(line.decode())  # of bytes, json would guess the encoding first
    except ValueError:
        return None


def _encoder() -> Callable[[dict[str, Any]], str]:
    """Return an encoder without spaces that refuses numbers that are not finite.

    The one of `json.JSONEncoder` is built anew in each call, a tenth of a line's time.
    """
    plain = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    try:
        chunks = make(
            None, plain.default, json.encoder.encode_basestring_ascii, None, ":", ",",
            False, False, False,
        )  # fmt: skip
        if "".join(chunks({"a": [1.5, None]}, 0)) == '{"a":[1.5,null]}':
            return lambda values: "".join(chunks(values, 0))
    except TypeError:  # another Python's, or none
        pass
    return plain.encode


_encode = _encoder()


def _finite(name: str, value: Any, nonfinite: list[str]) -> Any:
    """Return a value with non-finite floats as None; note the names of those."""
    if isinstance(value, float) and not math.isfinite(value):
        nonfinite.append(name)
        return None
    if isinstance(value, Mapping):
        return {key: _finite(key, inner, nonfinite) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(name, inner, nonfinite) for inner in value]
    return value
