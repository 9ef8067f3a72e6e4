"""What `rpat run --dry-run` prints: the exact configs, and nothing is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpat.config import RunConfig
from rpat.knobs import show
from rpat.recipes import label
from rpat.schedules import milestones
from rpat_tui.cli.output import console, print_json, say


def show_plan(configs: list[RunConfig], json: bool) -> None:
    """Print every resolved config: JSON whole, or the first one and what the others change."""
    if json:
        print_json(
            [
                {"fingerprint": c.fingerprint(), "group": c.group(), "config": c.to_dict()}
                for c in configs
            ]
        )
        return
    out = console()
    first = configs[0]
    noun = "run" if len(configs) == 1 else "runs"
    out.print(f"{len(configs)} {noun}", style="bold", end="")
    out.print(" would be queued; nothing was started")
    out.print(f"fingerprint {first.fingerprint()}\n")
    for line in describe(first):
        say(line)
    base = _flat(first.to_dict())
    for config in configs[1:]:
        changed = {k: v for k, v in _flat(config.to_dict()).items() if base.get(k) != v}
        words = ", ".join(f"{key} {show(value)}" for key, value in changed.items())
        say(f"and {label(config)}: {words}")


def describe(config: RunConfig) -> list[str]:
    """Return a config as lines of `section  key value …`, with units that people read."""
    lines = describe_values(config.to_dict())
    epochs = ", ".join(str(point) for point in milestones(config.schedule))
    lines.append(f"{'decays':<10} after epoch {epochs}")
    return lines


def describe_values(values: Mapping[str, Any]) -> list[str]:
    """Return nested values as lines of `section  key value …`."""
    lines = []
    for section, value in values.items():
        if isinstance(value, dict):
            items = "  ".join(f"{k} {_word(k, v)}" for k, v in value.items())
            lines.append(f"{section:<10} {items}".rstrip())
        else:
            lines.append(f"{section:<10} {_word(section, value)}")
    return lines


def _word(key: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(show(item) for item in value) or "–"
    if key in ("epsilon", "step_size") and isinstance(value, float):
        text = show(value)
        return f"{text} = {value:.5f}" if "/" in text else text
    return "–" if value == "" else f"{value:g}" if isinstance(value, float) else show(value)


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            flat[key] = tuple(value) if isinstance(value, list) else value
    return flat
