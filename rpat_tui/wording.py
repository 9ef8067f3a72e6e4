"""A config in words, for the command line and the screens alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpat.config import RunConfig
from rpat.knobs import show
from rpat.schedules import milestones


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


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values by dotted keys; lists as tuples."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= {f"{key}.{inner}": each for inner, each in flat(value).items()}
        else:
            found[key] = tuple(value) if isinstance(value, list) else value
    return found
