"""Reading evidence of which any part may be missing: numbers, names, and what is comparable."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rpat.knobs import show

Row = Mapping[str, Any]

ROUNDING = 1e-9
"""A number that lies on its bound but for the rounding of percents is not beyond it."""

TITLES = {
    "fgsm": "FGSM",
    "pgd": "PGD",
    "apgd-ce": "APGD-CE",
    "apgd-t": "APGD-T",
    "fab-t": "FAB-T",
    "square": "Square",
    "aa": "AutoAttack",
}

SAME = ("weights", "norm", "epsilon", "split", "indices")
"""What two evaluations must both tell, and tell alike, before their accuracies are compared."""

COMPATIBLE = ("dtype", "bn", "tf32", "normalize")
"""What they must tell alike where both tell it."""


def number(row: Row, key: str) -> float | None:
    """Return a finite number, or None for whatever else is there."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def inner(row: Row, key: str) -> Row:
    """Return a mapping inside a mapping, or an empty one."""
    value = row.get(key)
    return value if isinstance(value, Mapping) else {}


def series(row: Row, key: str) -> list[float | None]:
    """Return a list of numbers, None for each that is not finite."""
    value = row.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    return [number({"": item}, "") for item in value]


def beyond(value: float, bound: float) -> bool:
    """Say whether a value is above its bound; the bound itself is allowed."""
    return value > bound + ROUNDING


def standard_error(percents: float, n: float) -> float:
    """Return a percentage's standard error in points, from n images drawn by themselves."""
    share = min(max(percents / 100, 0.0), 1.0)
    return 100 * math.sqrt(share * (1 - share) / n)


def alike(one: Row, other: Row) -> bool:
    """Say whether two evaluations saw the same weights, ball and images in the same way."""
    if any(one.get(key) in (None, "") or one.get(key) != other.get(key) for key in SAME):
        return False
    told = [key for key in COMPATIBLE if None not in (one.get(key), other.get(key))]
    return all(_said(one, key) == _said(other, key) for key in told)


def with_attack(rows: Iterable[Row], *attacks: str) -> list[Row]:
    """Return the evaluations by any of these attacks whose robust accuracy is known."""
    return [
        row for row in rows if row.get("attack") in attacks and number(row, "robust") is not None
    ]


def robust(row: Row) -> float:
    """Return the percentage of images that withstood the attack; see `with_attack`."""
    return float(row["robust"])


def places(rows: Iterable[Row]) -> list[list[Row]]:
    """Group evaluations by checkpoint and network; each group in the order of its ids."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[str(row.get("checkpoint")), str(row.get("network"))].append(row)
    return [sorted(group, key=lambda row: by_length(row.get("id"))) for group in groups.values()]


def title(row: Row) -> str:
    """Return an attack's name as people write it: `PGD-20`, `AutoAttack`."""
    attack = str(row.get("attack") or "an attack")
    steps = number(row, "steps")
    name = TITLES.get(attack, attack)
    return f"{name}-{steps:g}" if attack == "pgd" and steps else name


def cite(row: Row) -> str:
    """Say where a number comes from: `evaluation 3 of r0007`."""
    told = str(row.get("cited") or "")
    if not told:
        told = "an evaluation" if row.get("id") is None else f"evaluation {row['id']}"
    return f"{told} of {row['job']}" if row.get("job") else told


def named(*rows: Row) -> str:
    """Name evaluations: `PGD-20 (evaluation 3 of r0007), AutoAttack (evaluation 4 of r0007)`."""
    return ", ".join(f"{title(row)} ({cite(row)})" for row in rows)


def leaves(row: Row) -> str:
    """Say what an attack leaves: `PGD-20 leaves 47.00 % (evaluation 3 of r0007)`."""
    return f"{title(row)} leaves {robust(row):.2f} % ({cite(row)})"


def ball(norm: Any, epsilon: float | None) -> str:
    """Name a ball: `linf 8/255`."""
    return f"{norm or 'norm unknown'} {'radius unknown' if epsilon is None else show(epsilon)}"


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: nothing non-finite, no foreign types."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def by_length(told: Any) -> tuple[int, str]:
    """Sort ids as they were given: 9 before 10, r0009 before r0010."""
    return len(str(told)), str(told)


def _said(row: Row, key: str) -> Any:
    return (row.get(key) or "none") if key == "normalize" else row.get(key)
