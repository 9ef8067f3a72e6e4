"""Which other machines there are: `--remote`, the setting `remotes`, the tables `[remote.NAME]`.

[remote.box]
host = "me@gpu-box"            # anything that ssh understands; your ~/.ssh/config counts
home = "/data/rpat"            # else the home that rpat finds there by itself
rpat = "~/venv/bin/rpat"       # else rpat from the PATH of a shell that ssh starts
ssh = "ssh -p 2222"            # else the setting remote_ssh
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui.settings import config_files, read_toml, settings

KEYS = ("host", "home", "rpat", "ssh")
ALL, NONE = "all", "none"

_NAME = re.compile(r"(?!r\d+$)[a-z][a-z0-9-]{0,19}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._%+@-]*|\[[0-9A-Fa-f:.%]+\]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A home on another machine, and how to get there."""

    name: str
    host: str
    home: str = ""
    rpat: str = "rpat"
    ssh: str = "ssh"

    def command(self, wait: float) -> list[str]:
        """Return the command that speaks with its rpat; every word is quoted for the shell there.

        Options of ssh stand before its own: what the settings say comes first and wins.
        """
        far = [*map(_quoted, shlex.split(self.rpat)), "feed"]
        far += ["--home", _quoted(self.home)] if self.home else []
        options = {
            "BatchMode": "yes", "ConnectTimeout": str(max(round(wait), 1)),
            "ServerAliveInterval": "5", "ServerAliveCountMax": "3", "Compression": "yes",
            "ClearAllForwardings": "yes", "RemoteCommand": "none", "RequestTTY": "no",
        }  # fmt: skip
        said = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        host = self.host.strip("[]")
        return [*shlex.split(self.ssh), *said, "--", host, f"exec {' '.join(far)}"]


def _quoted(word: str) -> str:
    """Return a word as a shell takes it whole; only a leading ~/ keeps its meaning."""
    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word)


def configured() -> dict[str, Place]:
    """Return the machines of the settings files by name; raises `ConfigError`."""
    found: dict[str, dict[str, Any]] = {}
    for file in config_files():
        tables = read_toml(file).get("remote", {})
        if not isinstance(tables, dict) or not all(isinstance(v, dict) for v in tables.values()):
            raise ConfigError(f"{file}: write a machine as [remote.NAME] with host = ...")
        for name, values in tables.items():
            _check_name(name, f"{file}: [remote.{name}]")
            for key, value in values.items():
                if key not in KEYS:
                    raise ConfigError(f"{file}: remote.{name}.{unknown(key, KEYS)}")
                if not isinstance(value, str):
                    raise ConfigError(f"{file}: remote.{name}.{key} is {value!r}; write a text")
            found.setdefault(name, {}).update(values)
    usual = settings()["remote_ssh"].value
    return {name: _place(name, {"ssh": usual, **values}) for name, values in found.items()}


def _place(name: str, values: dict[str, Any]) -> Place:
    host = values.pop("host", name)
    if not _HOST.fullmatch(host):
        raise ConfigError(f"remote.{name}.host is {host!r}; write HOST or USER@HOST, as for ssh")
    for key in ("rpat", "ssh"):
        try:
            empty = not shlex.split(values.get(key, key))
        except ValueError as error:
            raise ConfigError(f"remote.{name}.{key}: {error}") from None
        if empty:
            raise ConfigError(f"remote.{name}.{key} is empty; leave it out or name a command")
    return Place(name=name, host=host, **values)


def _check_name(name: str, where: str) -> None:
    if not _NAME.fullmatch(name) or name in (ALL, NONE):
        raise ConfigError(
            f"{where}: a machine's name is small letters, digits and -, begins with a letter, "
            "has 20 at most, and is no run's id"
        )


def chosen(
    words: Sequence[str] | None, runs: Sequence[str], known: Mapping[str, Place]
) -> list[Place]:
    """Return the machines that are asked for: by options, else by the settings, and by ids of runs.

    `known` is what names stand for. Raises `ConfigError` for a word that is no machine.
    """
    flags = list(words or ())
    usual = settings()["remotes"].value if not flags else ""
    asked = [word.strip() for text in (*flags, usual) for word in text.split(",") if word.strip()]
    found: dict[str, Place] = {}
    for word in asked:
        if word == NONE:
            found.clear()
        meant = configured().values() if word == ALL else [of(word, known)]
        for place in meant if word != NONE else ():
            if found.setdefault(place.name, place) != place:
                raise ConfigError(
                    f"--remote {word}: another machine is called {place.name} as well; give each "
                    "a name of its own, as [remote.NAME] in the settings (rpat config)"
                )
    for word in runs:
        name = machine_of(word)
        if name in known:
            found.setdefault(name, known[name])
    return [found[name] for name in sorted(found)]


def machine_of(run: str) -> str:
    """Return the machine in the id of a run, as in box:r0012; '' for one of this machine."""
    name, _, number = run.partition(":")
    return name if number.removeprefix("r").isdigit() and _NAME.fullmatch(name) else ""


def of(word: str, known: Mapping[str, Place]) -> Place:
    """Return the machine that a word names: a name of the settings, else HOST[:HOME]."""
    if word in known:
        return known[word]
    split = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.+))?", word)
    if split is None or not _HOST.fullmatch(split[1]):
        raise ConfigError(
            f"--remote {word!r}: write HOST, USER@HOST or HOST:HOME as for ssh, or a name from the "
            f"settings ({', '.join(known) or 'there is none yet'})"
        )
    host, home = split[1], split[2] or ""
    return Place(name=_called(host, home), host=host, home=home, ssh=settings()["remote_ssh"].value)


def _called(host: str, home: str) -> str:
    """Return a short name for a machine that the settings do not name."""
    word = host.strip("[]").rpartition("@")[2].lower()
    first = word.partition(".")[0]
    word = word if first.isdigit() else first  # an address has no first part that tells anything
    last = home.rstrip("/").rpartition("/")[2].lower()
    text = re.sub(r"[^a-z0-9]+", "-", f"{word}-{last}" if last else word).strip("-")[:20].strip("-")
    return text if _NAME.fullmatch(text) else f"at-{text}"[:20].strip("-")
