"""What rules get and give, and the registry that they enter. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rpat_tui.linter.reading import Row, by_length, plain

LEVELS = ("error", "warning", "note")
"""Worst first. Error: the number is wrong or means nothing; warning: doubt it; note: say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the store knows of one run, or of a job that evaluated a file.

    Any key of the mappings may be missing or None: a rule that lacks what it needs is silent.
    `config` is the training run's, nested as `RunConfig.to_dict()` gives it, and {} for a file
    from elsewhere; `classes` is 0 where unknown. `evaluations` are the store's rows, each with
    what the core measured beside the accuracies under `evidence`. `epochs` holds a mapping of
    metric to value for each epoch in order, None for what was not finite; a network other than
    `online` has its name in front. `nonfinite` are the journal's events, `warnings` what
    AutoAttack's package said, `selection` the split that chose the best epoch.
    """

    config: Row
    classes: int
    evaluations: Sequence[Row]
    epochs: Sequence[Mapping[str, float | None]]
    nonfinite: Sequence[Row]
    warnings: Sequence[Row] = ()
    state: str
    selection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One objection: what was seen, the numbers behind it as plain JSON, and what to do.

    `checkpoint` and `network` are '' where no evaluation but the run as a whole is meant.
    """

    rule: str
    level: str
    text: str
    evidence: Mapping[str, Any]
    do: str
    checkpoint: str = ""
    network: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule under its name; `help` says when it finds something, `do` what helps then."""

    name: str
    level: str
    help: str
    do: str
    check: Callable[[Evidence], Iterator[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a rule saw, before it is a finding.

    `rows` are the evaluations that it rests on; the first one is at fault. `by` says how far
    the number lies beyond its bound: of several sights at one place the farthest counts.
    """

    text: str
    rows: Sequence[Row] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    by: float = 0.0
    level: str = ""
    network: str = ""


See = Callable[[Evidence], Iterator[Sight]]

RULES: dict[str, Rule] = {}
"""Name -> rule, in the order in which the rules are written."""


def rule(name: str, level: str, help: str, do: str) -> Callable[[See], See]:
    """Register what a function sees as the findings of a rule."""
    assert level in LEVELS, name
    assert name not in RULES, name

    def register(see: See) -> See:
        def check(evidence: Evidence) -> Iterator[Finding]:
            yield from _worst(_finding(name, level, do, sight) for sight in _ranked(see(evidence)))

        RULES[name] = Rule(name=name, level=level, help=help, do=do, check=check)
        return see

    return register


def _ranked(sights: Iterable[Sight]) -> list[Sight]:
    return sorted(sights, key=lambda s: (-s.by, s.text))


def _worst(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield one finding of each network at each checkpoint: of the worst level, the first."""
    seen: set[tuple[str, str]] = set()
    for finding in sorted(findings, key=lambda f: LEVELS.index(f.level)):
        place = (finding.checkpoint, finding.network)
        if place not in seen:
            seen.add(place)
            yield finding


def _finding(name: str, level: str, do: str, sight: Sight) -> Finding:
    fault = sight.rows[0] if sight.rows else {}
    stored = [row for row in sight.rows if row.get("id") is not None]
    told = {
        **sight.numbers,
        "evaluations": sorted({row["id"] for row in stored}, key=by_length),
        "jobs": sorted({str(row["job"]) for row in sight.rows if row.get("job")}),
    }
    return Finding(
        rule=name,
        level=sight.level or level,
        text=sight.text,
        evidence=plain(told),
        do=do,
        checkpoint=str(fault.get("checkpoint") or ""),
        network=str(fault.get("network") or sight.network),
    )
