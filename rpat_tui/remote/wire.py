"""What two machines say to each other: a line of JSON each, after a line that begins it.

    far    rpat-feed {"speaks": [1, 1], "version": …, "home": UID, "path": …, "host": …, "t": …}
    near   {"id": 1, "do": "look", "whole": DIGEST}
    far    {"to": 1, "groups": {"0": DIGEST, …}}              nothing where the digests agree
    near   {"id": 2, "do": "marks", "of": [0, 3]}
    far    {"to": 2, "marks": {"7": MARK, …}}
    near   {"id": 3, "do": "runs", "of": {"7": {"docs": {NAME: CRC}, "files": {"1/journal": [SIZE, CRC]}}}}
    far    {"part": 7, "file": "1/journal", "from": 4096, "text": "…"}                   any number
    far    {"run": 7, "uid": …, "mark": …, "docs": {"config": "…"}, "tails": {"1": "…"}, "attempts": [1]}
    far    {"to": 3}
    near   {"id": 4, "do": "follow"}
    far    {"to": 4}, then {"changed": {"7": MARK}, "gone": [9]} and {"beat": T} as it happens
    near   {"id": 5, "do": "act", "act": "stop", "runs": ["r0007"], "values": {}}
    far    {"to": 5, "said": ["r0007 saves its work and stops; …"], "refused": []}

What a login shell prints before the first line is passed over. Readers ignore keys that they do not
know; a changed meaning needs another number in `speaks`.
"""  # noqa: E501  a line of the protocol is a line

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

Json = dict[str, Any]

MARKER = "rpat-feed "
SPEAKS = (1, 1)
"""The oldest and the newest protocol that is understood."""

BEAT = 5.0
"""Seconds after which the far side says that it is there."""
PART = 1 << 18
"""Bytes of a journal that one line carries."""
LONGEST = 1 << 24
"""Bytes that a line may have."""
TAIL = 4096
"""Bytes before an offset that must be the same on both sides."""
LAST = 16_384
"""Bytes of a run's output that are carried: its end."""

DOCS = ("config", "provenance", "meta", "standing")
FILES = ("journal", "attendant")


def encoded(message: Json) -> bytes:
    """Return a message as a line; bytes that are no UTF-8 survive as lone surrogates."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def crc(data: bytes) -> int:
    """Return a checksum of bytes."""
    return zlib.crc32(data)


def text_of(data: bytes) -> str:
    """Return bytes as text that a line can carry."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: Any) -> bytes:
    """Undo `text_of`; raises ValueError for what no bytes were."""
    if not isinstance(text, str):
        raise ValueError(f"{type(text).__name__} where a text is expected")
    return text.encode("utf-8", "surrogateescape")


def before(path: Path, size: int) -> int:
    """Return the checksum of the bytes before an offset."""
    with path.open("rb") as stream:
        stream.seek(max(0, size - TAIL))
        return crc(stream.read(min(size, TAIL)))
