"""A bundle's files into a folder of their own, every byte checked before anything is believed.

Whatever is not in the manifest, is no plain file, has another size or digest, or would lie
outside is refused, and so is a bundle that ends early: nothing of it has been taken then.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from rpat.errors import ConfigError, RpatError
from rpat.rundir import RunDir, read_json
from rpat_tui.keeping.bundle import CHUNK, MANIFEST, NAME, read_manifest
from rpat_tui.store.index import task
from rpat_tui.store.queue import FINAL

LARGEST = 1 << 28
"""Bytes that a manifest may have."""

_UID = re.compile(r"^[0-9a-f]{32}$", re.ASCII)

Json = dict[str, Any]


def unpack(file: Path, into: Path) -> Json:
    """Unpack a bundle to `into/<uid>/…`; returns its manifest.

    Raises `ConfigError` naming the file and what is wrong with it.
    """
    try:
        with file.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
            manifest = _manifest(tar)
            wanted = _files(manifest)
            while (member := tar.next()) is not None:
                _take(tar, member, wanted, into)
            if wanted:
                raise ValueError(f"{next(iter(wanted))} is missing")
        for entry in manifest["runs"]:
            _check_run(into / entry["uid"], entry)
    except OSError as error:
        if error.strerror is None:  # gzip's words for damaged bytes
            raise ConfigError(_refusal(file, str(error))) from error
        raise ConfigError(f"{file}: {error.strerror}; nothing was imported") from error
    except RpatError as error:
        raise ConfigError(_refusal(file, str(error))) from error
    except (tarfile.TarError, EOFError, zlib.error, ValueError, KeyError, TypeError,
            AttributeError, IndexError) as error:  # fmt: skip
        raise ConfigError(_refusal(file, str(error) or type(error).__name__)) from error
    return manifest


def _refusal(file: Path, why: str) -> str:
    return f"{file} is damaged, incomplete or no bundle ({why}); nothing was imported"


def _manifest(tar: tarfile.TarFile) -> Json:
    first = tar.next()
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > LARGEST:
        raise ValueError(f"{MANIFEST} does not come first")
    stream = tar.extractfile(first)
    assert stream is not None
    return read_manifest(stream)


def _files(manifest: Json) -> dict[str, Mapping[str, Any]]:
    """Return every file that the manifest names, by its name in the bundle."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in manifest["runs"]:
        if not _UID.match(entry["uid"]):
            raise ValueError(f"'{entry['uid']}' is no uid")
        for name, facts in entry["files"].items():
            if not NAME.match(name):
                raise ValueError(f"'{name}' is no file of a run")
            member = f"runs/{entry['uid']}/{name}"
            if member in found:
                raise ValueError(f"{member} is there twice")
            found[member] = facts
    return found


def _take(
    tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: dict[str, Mapping[str, Any]], into: Path
) -> None:
    facts = wanted.pop(member.name, None)
    if facts is None:
        raise ValueError(f"'{member.name}' is not in its manifest")
    if not member.isreg():
        raise ValueError(f"'{member.name}' is no plain file")
    if member.size != facts["size"]:
        raise ValueError(f"'{member.name}' has another size than its manifest says")
    source = tar.extractfile(member)
    assert source is not None
    target = into / member.name.removeprefix("runs/")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        digest = _copy(source, out)
    if digest != facts["sha256"]:
        raise ValueError(f"'{member.name}' has another SHA-256 than its manifest says")


def _copy(source: IO[bytes], out: IO[bytes]) -> str:
    sha = hashlib.sha256()
    while data := source.read(CHUNK):
        sha.update(data)
        out.write(data)
    return sha.hexdigest()


def _check_run(folder: Path, entry: Json) -> None:
    """Refuse a run whose files and manifest disagree, or that this version cannot read."""
    if "config.json" not in entry["files"]:
        raise ValueError(f"{entry['uid']} has no config")
    job = read_json(RunDir(folder).config)
    if (job["uid"], job["kind"]) != (entry["uid"], entry["kind"]):
        raise ValueError(f"the config of {entry['uid']} is that of another run")
    task(job["kind"], job["config"])
    kept = entry["intent"]
    if kept["state"] not in (*FINAL, "paused"):
        raise ValueError(f"{entry['id']} is {kept['state']}; a bundle holds runs that have ended")
    numbers = [a.number for a in RunDir(folder).attempts()]
    if max(numbers, default=0) > entry["attempts"]:
        raise ValueError(f"{entry['id']} has more attempts than its manifest says")
    _check(entry["id"], "history", [[str, str, float, str, dict]], kept["history"])
    _check(entry["id"], "needs", [[str, str]], kept["needs"])
    _check(entry["id"], "reason", str, kept["reason"])
    _check(entry["id"], "left_out", [str], entry["left_out"])
    if kept["ended"] is not None:
        _check(entry["id"], "ended", float, kept["ended"])
    for name, kinds in _BESIDE.items():
        values = read_json(folder / name) if (folder / name).exists() else {}
        for key, kind in kinds.items():
            if key in values:
                _check(entry["id"], f"{name}: {key}", kind, values[key])


_BESIDE: dict[str, dict[str, Any]] = {
    "meta.json": {"name": str, "note": str, "sweep": str, "tags": [str], "archived": bool},
    "provenance.json": {"queued": float, "snapshot": str, "history": [dict]},
}
"""What is believed of the files beside the config, and its types."""


def _check(who: str, key: str, kind: Any, value: Any) -> None:
    """Refuse a value of another type; a list of one kind has any number of them."""
    if isinstance(kind, list):
        inner = kind * len(value) if isinstance(value, list) and len(kind) == 1 else kind
        if not isinstance(value, list) or len(inner) != len(value):
            raise ValueError(f"{who}: {key} is {value!r}")
        for one, part in zip(inner, value, strict=True):
            _check(who, key, one, part)
    elif not isinstance(value, (int, float) if kind is float else kind):
        raise ValueError(f"{who}: {key} is {value!r}")
