"""Rules about the loss surface: what the core measured at the data and along an attack's steps."""

from __future__ import annotations

from collections.abc import Iterator

from rpat_tui.linter.reading import Row, beyond, inner, named, number, series
from rpat_tui.linter.rules import Evidence, Sight, rule

ZERO_GRADIENTS = 10.0
"""Percent of images whose input gradient may be exactly zero: a saturated softmax has some."""


@rule(
    "flat-loss",
    "error",
    f"the input gradient is exactly zero at over {ZERO_GRADIENTS:g} % of the images, or on average",
    "do not trust attacks that follow the cross-entropy: use apgd-t and square, whose losses do "
    "not saturate, and look for rounding or a saturated softmax",
)
def flat_loss(evidence: Evidence) -> Iterator[Sight]:
    """Look at the cross-entropy's gradient at the clean images; NaN there is a warning."""
    for row in evidence.evaluations:
        seen = inner(row, "evidence")
        zeros, norm = number(seen, "zero_gradients"), number(seen, "gradient_norm")
        if (zeros is not None and beyond(zeros, ZERO_GRADIENTS)) or norm == 0:
            share = "" if zeros is None else f" at {zeros:.2f} % of the images"
            length = "" if norm is None else f", mean norm {norm:g}"
            yield Sight(
                text=f"the input gradient is zero{share}{length}: {named(row)}",
                rows=(row,),
                numbers={"zero_gradients": zeros, "gradient_norm": norm},
                by=100.0 if zeros is None else zeros,
            )
        elif norm is None and _not_a_number(evidence, seen):
            yield Sight(
                text=f"the norm of the input gradient is not a finite number: {named(row)}",
                rows=(row,),
                numbers={"zero_gradients": zeros, "gradient_norm": None},
                level="warning",
            )


@rule(
    "loss-not-rising",
    "warning",
    "PGD's loss ends no higher than it began",
    "do not trust this PGD number: check step size, start and gradients, then compare with apgd-ce",
)
def loss_not_rising(evidence: Evidence) -> Iterator[Sight]:
    """Compare the mean cross-entropy after PGD's last step with that of its start."""
    for row in evidence.evaluations:
        losses = series(inner(row, "evidence"), "losses")
        if row.get("attack") != "pgd" or number(row, "epsilon") == 0 or len(losses) < 2:
            continue
        first, last = losses[0], losses[-1]
        if first is not None and last is not None and last <= first:
            yield Sight(
                text=f"the loss along {named(row)} begins at {first:.4g} and ends at {last:.4g}",
                rows=(row,),
                numbers={"first": first, "last": last, "steps": len(losses) - 1},
                by=first - last,
            )


def _not_a_number(evidence: Evidence, seen: Row) -> bool:
    """Say whether the gradient's norm was not finite: NaN here, or null with an event."""
    if isinstance(seen.get("gradient_norm"), float):
        return True
    named_so = any("gradient_norm" in (event.get("names") or ()) for event in evidence.nonfinite)
    return "gradient_norm" in seen and named_so
