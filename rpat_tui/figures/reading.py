"""Records of studies as what a figure draws: pairs of bars, and ways to an adversarial image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]

NORMS = {"linf": "l∞", "l2": "l2"}
WITH_RPAT = " + RPAT"
"""What the title of a network with RPAT's term has more than that of its base."""

SPREAD = 12.0
"""Where the highest is so many times the lowest, each gets a scale of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One network under one perturbation: logit MSE of success and failure cases."""

    subject: str
    perturbation: str
    setting: str
    success: float | None
    failure: float | None
    ratio: float | None  # failure to success
    n_success: int
    n_failure: int
    clean_acc: float
    perturbed_acc: float

    @property
    def top(self) -> float:
        """The higher of the two bars."""
        return max(self.success or 0.0, self.failure or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One network on the way from images to adversarial ones; means over all of them."""

    subject: str
    base: str  # the subject without RPAT's term; itself where it has none
    perturbation: str
    setting: str
    jacobians: str
    alphas: tuple[float, ...]
    deviation: tuple[float | None, ...]
    measures: dict[str, float | None]  # see MEASURES

    @property
    def top(self) -> float:
        """The highest deviation."""
        return max((value or 0.0 for value in self.deviation), default=0.0)


MEASURES = {
    "deviation_mid": ("deviation", "at 1/2"),
    "second_max": ("second diff.", "max"),
    "jacobian_change": ("Jacobian", "change"),
    "jacobian_relative": ("Jacobian", "relative"),
    "clean_acc": ("", "clean"),
    "robust_acc": ("", "robust"),
}
"""Numbers of a way and their headings, in two lines."""


def pairs(records: Sequence[Record]) -> list[Pair]:
    """Return the bars of all perception studies, network by network."""
    chosen = [record for record in records if record["study"] == "perception"]
    return [
        _pair(record, name, kind)
        for record, name in zip(chosen, _names(chosen), strict=True)
        for kind in ((record["case"],) if record.get("case") else ("noise", "pgd"))
    ]


def _pair(record: Record, name: str, kind: str) -> Pair:
    found = record["result"][kind]
    how = {"sample": "mean over images", "batch": "mean of batch means"}[record["average"]]
    return Pair(
        subject=name,
        perturbation=perturbation(record, kind),
        setting=f"{_setting(record)} · {how}",
        success=found["mse_success"],
        failure=found["mse_failure"],
        ratio=found["ratio"],
        n_success=found["n_success"],
        n_failure=found["n_failure"],
        clean_acc=found["clean_acc"],
        perturbed_acc=found["perturbed_acc"],
    )


def ways(records: Sequence[Record]) -> list[Way]:
    """Return the curves of all smoothness studies."""
    chosen = [record for record in records if record["study"] == "smoothness"]
    return [_way(record, name) for record, name in zip(chosen, _names(chosen), strict=True)]


def _way(record: Record, name: str) -> Way:
    found = record["result"]
    means = found["all"]
    how, n = found.get("jacobian_how"), means["n_jacobian"]
    title, sign, rest = name.partition(WITH_RPAT)
    return Way(
        subject=name,
        base=title + rest if sign else name,
        perturbation=perturbation(record, "pgd"),
        setting=_setting(record),
        jacobians=f"Jacobian: {how}, {n} images" if how else "Jacobian: not measured",
        alphas=tuple(found["alphas"]),
        deviation=tuple(means["deviation"] or [None] * len(found["alphas"])),
        measures={key: (found if key.endswith("_acc") else means)[key] for key in MEASURES},
    )


def perturbation(record: Record, kind: str) -> str:
    """Return what a kind of perturbation is called."""
    return "random noise" if kind == "noise" else f"PGD-{record['steps']}"


def subjects(records: Sequence[Record]) -> list[str]:
    """Return the name of each record's network among those of its study."""
    found: dict[int, str] = {}
    for study in ("perception", "smoothness"):
        places = [i for i, record in enumerate(records) if record["study"] == study]
        names = _names([records[i] for i in places])
        found |= dict(zip(places, names, strict=True))
    return [found[i] for i in sorted(found)]


def common(texts: Iterable[str]) -> str:
    """Return what several figures have in common, or all of it where they differ."""
    return "; ".join(dict.fromkeys(texts))


def apart(drawn: Sequence[Pair] | Sequence[Way]) -> bool:
    """Return whether pairs or curves are too different for one scale."""
    tops = [one.top for one in drawn if one.top > 0]
    return bool(tops) and max(tops) > SPREAD * min(tops)


def ceiling(value: float) -> float:
    """Return the next round number, where an axis can end."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return (
        next(
            step
            for step in (1, 1.2, 1.6, 2, 2.5, 3, 4, 5, 6, 8, 10)
            if value <= step * unit * (1 + 1e-9)
        )
        * unit
    )


def number(value: float | None, none: str = "–") -> str:
    """Format a measure with three figures."""
    if value is None:
        return none
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-4:
        return f"{value:.2e}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(digits, 0)}f}"


def _names(records: Sequence[Record]) -> list[str]:
    """Return titles, and what tells those apart that are alike: weights, network, run."""
    names = []
    for record in records:
        alike = [other for other in records if other["title"] == record["title"]]
        words = [
            str(record.get(key, ""))
            for key in ("subject", "checkpoint", "network")
            if len({other.get(key) for other in alike}) > 1
        ]
        names.append(" ".join([str(record["title"]), *words]))
    return names


def _setting(record: Record) -> str:
    images = f"{record['n']} images"
    if record["n"] != record["of"]:
        images = f"{record['n']} of {record['of']} images"
    norm = NORMS.get(record["norm"], record["norm"])
    return f"{record['split']}, {images} · {norm} {_budget(record['epsilon'])}"


def _budget(epsilon: float) -> str:
    pixels = epsilon * 255
    if abs(pixels - round(pixels)) < 1e-6:
        return f"{round(pixels)}/255"
    return f"{epsilon:g}"
