"""Where a run executes and what it asks of a cluster: options over settings, checked at the door.

What was asked is fixed when a run is queued: settings that change later do not move it.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping

from rpat.errors import ConfigError
from rpat_tui.home import settings

LAUNCHERS = ("local", "slurm")
RESOURCES = (
    "partition", "account", "qos", "time", "gres", "cpus", "mem", "constraint", "sbatch", "setup",
    "python", "pass_env", "signal", "turns",
)  # fmt: skip
"""What a run can ask of Slurm: the names of the settings.

`in_flight` beside them is a suite's, and `nodes` a run's on several GPUs.
"""

_TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<h>\d+)(?::(?P<m>\d+)(?::(?P<s>\d+))?)?"
    r"|(?P<H>\d+):(?P<M>\d+):(?P<S>\d+)|(?P<mm>\d+):(?P<ss>\d+)|(?P<min>\d+))$"
)

_RESERVED = (
    "--job-name", "-J", "--parsable", "--array", "-a", "--wrap", "--chdir", "-D", "--output", "-o",
    "--signal", "--no-requeue", "--export", "--ntasks", "-n", "--wait", "-W", "--hold", "-H",
    "--nodes", "-N",
)  # fmt: skip
"""Options of sbatch that rpat sets itself."""


def resolve(launcher: str | None, given: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the launcher ('' is this machine) and everything that a cluster is asked for.

    Raises `ConfigError` for what cannot be meant.
    """
    known = settings()
    word = launcher if launcher is not None else known["launcher.default"].value
    if word not in ("", *LAUNCHERS):
        raise ConfigError(f"--launcher {word} does not exist; choose {' or '.join(LAUNCHERS)}")
    if word != "slurm":
        for name in given:
            raise ConfigError(f"--{name.replace('_', '-')} is for clusters; add --launcher slurm")
        return "", {}
    asked = {name: str(known[f"launcher.slurm.{name}"].value) for name in RESOURCES}
    asked |= given
    check(asked)
    return "slurm", {name: value for name, value in asked.items() if value}


def given(launcher: str | None, **options: str) -> dict[str, str]:
    """Return the options that were given, checked; raises `ConfigError` before anything is made."""
    found = {name: value for name, value in options.items() if value}
    if resolve(launcher, found)[0] == "slurm":
        require_slurm()
    return found


def require_slurm() -> None:
    """Refuse to send runs to a cluster that cannot be asked from here; raises `ConfigError`."""
    if shutil.which("sbatch") is None:
        raise ConfigError(
            "--launcher slurm: there is no sbatch on this machine; log in to the cluster, or use "
            "--launcher local"
        )


def check(asked: Mapping[str, str]) -> None:
    """Refuse what sbatch would misread; raises `ConfigError`."""
    seconds(asked.get("time", ""))
    for name in ("cpus", "signal", "turns", "in_flight", "nodes"):
        if not re.fullmatch(r"\d+", asked.get(name) or "0"):
            raise ConfigError(f"--{name.replace('_', '-')} {asked[name]}: write a whole number")
    for name in ("partition", "account", "qos", "gres", "mem", "constraint"):
        if re.search(r"\s", asked.get(name, "")) or asked.get(name, "").startswith("-"):
            raise ConfigError(f"--{name} {asked[name]!r}: write one word, as Slurm names it")
    for word in words(asked.get("sbatch", "")):
        if word.partition("=")[0] in _RESERVED:
            instead = "use --nodes" if word.startswith(("--nodes", "-N")) else "leave it out"
            raise ConfigError(f"sbatch option {word} is set by rpat itself; {instead}")


def check_cards(asked: Mapping[str, str], cards: int) -> None:
    """Refuse a wish for another number of GPUs than a run has processes; raises `ConfigError`."""
    count = nodes(asked)
    if cards % count:
        raise ConfigError(
            f"--nodes {count} and --gpus {cards}: each node gets as many; "
            f"let --gpus be a multiple of {count}"
        )
    if cards > 1 and asked.get("gres", "none") != "none":
        times(asked["gres"], cards, count)


def nodes(asked: Mapping[str, str]) -> int:
    """Return on how many nodes a run executes."""
    return int(asked.get("nodes") or 0) or 1


def times(gres: str, cards: int, nodes: int = 1) -> str:
    """Return a node's wish for GPUs with another number: `gpu:a100:4` from `gpu:a100`, for 4.

    Raises `ConfigError` where the wish names a number of its own, other than 1.
    """
    kind, *rest = gres.split(":")
    count = rest.pop() if rest and rest[-1].isdigit() else "1"
    if count not in ("1", str(cards // nodes)):
        raise ConfigError(f"--gres {gres} and --gpus {cards}: leave the number to --gpus")
    return ":".join([kind, *rest, str(cards // nodes)])


def words(text: str) -> list[str]:
    """Return the words of a line as a shell reads them; raises `ConfigError`."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--sbatch {text!r} cannot be read: {error}") from error


def seconds(time: str) -> int | None:
    """Return the seconds of a time limit as Slurm writes it, None without one."""
    if not time:
        return None
    found = _TIME.match(time)
    if found is None:
        raise ConfigError(f"--time {time}: write minutes, MM:SS, HH:MM:SS or D-HH:MM:SS")
    part = {key: int(value or 0) for key, value in found.groupdict().items()}
    total = part["days"] * 86400 + (part["h"] + part["H"]) * 3600
    total += (part["m"] + part["M"] + part["mm"] + part["min"]) * 60
    total += part["s"] + part["S"] + part["ss"]
    if total <= 0:
        raise ConfigError(f"--time {time}: a job needs a minute at least")
    return total
