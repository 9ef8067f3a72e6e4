"""Runs into one file that another home can take: a tar that describes itself.

    manifest.json                         schema, versions, host; every run with its files' SHA-256
    runs/<uid>/config.json  …             the run directories, under their uids

Equal content makes equal bytes: members are sorted, their dates, owners and modes fixed, and
nothing says when the bundle was made. Journals are cut at their last whole line.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import socket
import sqlite3
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import rpat
from rpat.errors import ConfigError, StoreError
from rpat.rundir import RunDir, replace
from rpat_tui.home import Home
from rpat_tui.store import carry, queries
from rpat_tui.store.queue import FINAL

SCHEMA = 1
MANIFEST = "manifest.json"
NAME = re.compile(
    r"^(?:config\.json|provenance\.json|meta\.json|checkpoints/[A-Za-z0-9][\w.+-]*"
    r"|results/[A-Za-z0-9][\w.+-]*|attempts/\d{4,}/[A-Za-z0-9][\w.+-]*)$",
    re.ASCII,
)
"""The files of a run directory that travel."""

WEIGHTS = ("best", "final", "all", "none")
ENDINGS = (".tar", ".tar.gz", ".tgz")
CHUNK = 1 << 20

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A file on its way into a bundle: so many of its first bytes, with this digest."""

    name: str
    path: Path
    size: int
    sha256: str


def family(db: sqlite3.Connection, numbers: Sequence[int], evaluations: bool) -> list[int]:
    """Return runs with the jobs about them, where those are wanted; oldest first."""
    jobs = queries.jobs_of(db, numbers) if evaluations else []
    return sorted({*numbers, *jobs})


def write(
    home: Home, db: sqlite3.Connection, numbers: Sequence[int], out: Path, weights: Sequence[str]
) -> Json:
    """Write a bundle of runs; returns its manifest. The file is there whole or not at all."""
    if not out.name.endswith(ENDINGS):
        raise ConfigError(f"--out {out}: write a name that ends with {', '.join(ENDINGS)}")
    for word in weights:
        if word not in WEIGHTS:
            raise ConfigError(f"--weights {word}: choose of {', '.join(WEIGHTS)}, as best,final")
    parts: list[Part] = []
    runs = []
    for n in numbers:
        entry, mine = _run(home, db, n, weights)
        runs.append(entry)
        parts += mine
    runs.sort(key=lambda entry: entry["uid"])
    manifest = {
        "schema": SCHEMA,
        "what": "rpat bundle",
        "rpat": rpat.__version__,
        "host": socket.gethostname(),
        "runs": runs,
        "prerequisites": _prerequisites(db, runs),
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    try:
        replace(out, lambda stream: _pack(stream, out, text, sorted(parts, key=lambda p: p.name)))
    except OSError as error:
        raise StoreError(
            f"--out {out}: {error.strerror}; free some space or name another place"
        ) from error
    return manifest


# ----------------------------------------------------------------- what a run is made of


def _run(
    home: Home, db: sqlite3.Connection, n: int, weights: Sequence[str]
) -> tuple[Json, list[Part]]:
    facts, kept = carry.facts(db, n), carry.intent(db, n)
    del kept["priority"], kept["retries"]  # places in a queue mean nothing elsewhere
    folder = home.runs / facts["id"]
    run = RunDir(folder)
    remark = ""
    if kept["state"] not in (*FINAL, "paused"):
        remark = f"was {kept['state']} when it was bundled"
        kept |= {"state": "stopped", "reason": f"never queued: {remark}"}
    names = _names(folder)
    chosen = [name for name in names if _travels(name, weights)]
    parts = [_part(folder, name, f"runs/{facts['uid']}/{name}") for name in chosen]
    entry = {
        **{key: facts[key] for key in ("uid", "id", "kind", "parent", "fingerprint")},
        "text": f"{facts['method']}{'+rpat' if facts['rpat'] else ''} on {facts['dataset']}",
        "remark": remark,
        "attempts": max((a.number for a in run.attempts()), default=0),
        "intent": kept,
        "left_out": [name for name in names if name not in chosen],
        "files": {
            part.name.split("/", 2)[2]: {"sha256": part.sha256, "size": part.size} for part in parts
        },
    }
    return entry, parts


def _names(folder: Path) -> list[str]:
    """Return the files of a run directory that may travel; links and leftovers never do."""
    found = []
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base) / name
            inside = path.relative_to(folder).as_posix()
            if NAME.match(inside) and path.is_file() and not path.is_symlink():
                found.append(inside)
    return sorted(found)


def _travels(name: str, weights: Sequence[str]) -> bool:
    top, _, file = name.partition("/")
    if top != "checkpoints" or "all" in weights:
        return True
    return file.split("-")[0] in weights and file.endswith(".pt")


def _part(folder: Path, name: str, member: str) -> Part:
    path = folder / name
    with path.open("rb") as stream:
        size = _whole(stream) if name.endswith(".jsonl") else path.stat().st_size
        stream.seek(0)
        sha, left = hashlib.sha256(), size
        while left and (data := stream.read(min(CHUNK, left))):
            sha.update(data)
            left -= len(data)
    return Part(member, path, size, sha.hexdigest())


def _whole(stream: IO[bytes]) -> int:
    """Return the bytes of a journal up to its last whole line: its writer may be at work."""
    end = stream.seek(0, io.SEEK_END)
    while end:
        start = max(0, end - CHUNK)
        stream.seek(start)
        found = stream.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _prerequisites(db: sqlite3.Connection, runs: Sequence[Json]) -> list[Json]:
    """Describe the runs that the bundled ones need or are about, and that stay behind."""
    inside = {entry["uid"] for entry in runs}
    wanted = {uid for e in runs for uid, _ in e["intent"]["needs"]}
    wanted |= {entry["parent"] for entry in runs if entry["parent"]}
    found = []
    for uid in sorted(wanted - inside):
        n = carry.by_uid(db, uid)
        if n is not None:
            facts = carry.facts(db, n)
            keys = ("uid", "id", "kind", "state", "method", "dataset", "fingerprint")
            found.append({**{key: facts[key] for key in keys}, "config": queries.config_of(db, n)})
    return found


# ----------------------------------------------------------------- bytes


def _pack(stream: IO[bytes], out: Path, manifest: bytes, parts: Sequence[Part]) -> None:
    if out.name.endswith(".tar"):
        _tar(stream, manifest, parts)
        return
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=stream, mtime=0) as packed:
        _tar(packed, manifest, parts)


def _tar(stream: Any, manifest: bytes, parts: Sequence[Part]) -> None:
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_header(MANIFEST, len(manifest)), io.BytesIO(manifest))
        for part in parts:
            with part.path.open("rb") as source:
                digest = _Digest(source, part.size)
                tar.addfile(_header(part.name, part.size), digest)
            if digest.sha.hexdigest() != part.sha256:
                raise StoreError(f"{part.path} was written meanwhile; bundle again")


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info


class _Digest:
    """A file that is read once, so many bytes of it, and its digest."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self.source, self.left, self.sha = source, size, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        data = self.source.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        self.sha.update(data)
        return data


def read_manifest(stream: IO[bytes]) -> Json:
    """Return a manifest that this version understands; raises `ValueError` for another file."""
    manifest = json.loads(stream.read())
    if not isinstance(manifest, dict) or manifest.get("what") != "rpat bundle":
        raise ValueError("it is no bundle of rpat")
    if manifest.get("schema") != SCHEMA:
        raise ValueError(f"it has schema {manifest.get('schema')}; this version reads {SCHEMA}")
    return manifest
