"""Rules that hold evaluations of the same weights and images against each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations

from rpat_tui.linter.reading import (
    ROUNDING,
    Row,
    alike,
    beyond,
    cite,
    inner,
    leaves,
    named,
    number,
    robust,
    standard_error,
    with_attack,
)
from rpat_tui.linter.rules import Evidence, Sight, rule

MORE_STEPS = 0.5
"""Points that more steps may leave above fewer, beside one standard error of the difference."""

AA_ABOVE_PGD = 0.2
"""Points that AutoAttack may leave above PGD: random starts differ, so single images may."""

GAP_STEPS = 20
"""PGD with at least so many steps is held against AutoAttack."""

AA_PGD_GAP = 8.0
"""Points from PGD-20 down to AutoAttack. Usual adversarial training shows 2 to 5; methods that
reweight the loss of single images, GAIRAT for one, show far more, since what they learn fits the
attack they were trained with."""

SQUARE_DROP = 0.2
"""Points that Square, which sees no gradient, may take from what gradient attacks left."""

SQUARE_RIVAL_STEPS = 10
"""PGD with fewer steps is too weak to speak for the gradient attacks."""

GRADIENT_PARTS = ("apgd-ce", "apgd-t", "fab-t")
"""The parts of AutoAttack that follow gradients; Square comes after them."""


@rule(
    "more-steps-not-stronger",
    "warning",
    f"PGD with more steps leaves over {MORE_STEPS:g} points and one standard error more accuracy",
    "suspect masked gradients or a step that does not fit: repeat with restarts and other step "
    "sizes, and trust the lower number",
)
def more_steps_not_stronger(evidence: Evidence) -> Iterator[Sight]:
    """Compare PGD of one family on the same weights and images, FGSM counting as one step.

    What was measured while training at an epoch takes part where it saw all test images. The
    standard error treats the two numbers as independent: which images fell is not stored.
    """
    rows = with_attack(evidence.evaluations, "fgsm", "pgd")
    rows += [told for row in rows for told in _while_training(evidence, row)]
    for many, few in permutations(rows, 2):
        n = number(many, "n")
        if not n or not alike(many, few) or not _should_be_stronger(many, few):
            continue
        more, less = robust(many), robust(few)
        limit = MORE_STEPS + math.sqrt(2) * standard_error((more + less) / 2, n)
        if beyond(more - less, limit):
            yield Sight(
                text=f"{leaves(many)} of the same {n:g} images, {leaves(few)}: more steps leave "
                f"{more - less:.2f} points more, and chance explains up to {limit:.2f}",
                rows=(many, few),
                numbers={"more_steps": more, "fewer_steps": less, "n": n, "limit": limit},
                by=more - less - limit,
            )


@rule(
    "aa-above-pgd",
    "error",
    f"AutoAttack leaves over {AA_ABOVE_PGD:g} points more accuracy than PGD on the same images",
    "evaluate again and do not report this AutoAttack number: check that the network is in eval "
    "mode, deterministic and without gradients cut off",
)
def aa_above_pgd(evidence: Evidence) -> Iterator[Sight]:
    """Compare AutoAttack, which contains APGD-CE, with PGD on the same weights and images."""
    for aa, pgd in _pairs(evidence, ("aa",), ("pgd",)):
        above = robust(aa) - robust(pgd)
        if beyond(above, AA_ABOVE_PGD):
            yield Sight(
                text=f"{leaves(aa)}, {above:.2f} points above PGD on the same images: "
                f"{leaves(pgd)}; AutoAttack contains APGD-CE and should be at or below",
                rows=(aa, pgd),
                numbers={"aa": robust(aa), "pgd": robust(pgd), "above": above},
                by=above,
            )


@rule(
    "fgsm-above-clean",
    "error",
    "FGSM leaves more accuracy than the clean images have",
    "do not report it: the gradient points the wrong way or labels leak into the attack; check "
    "normalisation, labels and BatchNorm's mode",
)
def fgsm_above_clean(evidence: Evidence) -> Iterator[Sight]:
    """Compare FGSM with the clean accuracy on the same images, which its own row holds."""
    for row in with_attack(evidence.evaluations, "fgsm"):
        clean, left = number(row, "clean"), robust(row)
        if clean is not None and beyond(left, clean):
            yield Sight(
                text=f"{leaves(row)}, above the clean accuracy of {clean:.2f} %",
                rows=(row,),
                numbers={"clean": clean, "fgsm": left},
                by=left - clean,
            )


@rule(
    "aa-pgd-gap",
    "warning",
    f"AutoAttack takes over {AA_PGD_GAP:g} points more than PGD-{GAP_STEPS} on the same images",
    "report AutoAttack, not PGD: the gradients are masked or the method fits one attack; look at "
    "apgd-t and square alone",
)
def aa_pgd_gap(evidence: Evidence) -> Iterator[Sight]:
    """Compare PGD-20 (or more steps) with AutoAttack.

    AutoAttack's own bound after APGD-CE, which is at least as strong, stands in for PGD where
    no PGD saw the same images.
    """
    for aa, pgd in _pairs(evidence, ("aa",), ("pgd",)):
        if (number(pgd, "steps") or 0) >= GAP_STEPS:
            yield from _gap(aa, leaves(pgd), robust(pgd), (aa, pgd))
    for aa in with_attack(evidence.evaluations, "aa"):
        first = number(_bound(aa), "apgd-ce")
        if first is not None:
            yield from _gap(aa, f"its part APGD-CE alone leaves {first:.2f} %", first, (aa,))


def _gap(aa: Row, rival: str, left: float, rows: Sequence[Row]) -> Iterator[Sight]:
    gap = left - robust(aa)
    if beyond(gap, AA_PGD_GAP):
        yield Sight(
            text=f"{leaves(aa)}, {gap:.2f} points below a gradient attack on the same images: "
            f"{rival}; more than {AA_PGD_GAP:g} are suspicious",
            rows=rows,
            numbers={"aa": robust(aa), "pgd": left, "gap": gap},
            by=gap,
        )


@rule(
    "square-finds-more",
    "warning",
    f"Square takes over {SQUARE_DROP:g} points from what gradient attacks left",
    "suspect masked gradients: judge by AutoAttack with more restarts and by an attack adapted to "
    "this network, and look for saturation or noise in it",
)
def square_finds_more(evidence: Evidence) -> Iterator[Sight]:
    """Compare a black-box attack with the strongest gradient attack on the same images."""
    for square in with_attack(evidence.evaluations, "square"):
        rivals = [
            row
            for row in with_attack(evidence.evaluations, "pgd", *GRADIENT_PARTS)
            if alike(square, row)
            and (row["attack"] != "pgd" or (number(row, "steps") or 0) >= SQUARE_RIVAL_STEPS)
        ]
        if not rivals:
            continue
        best = min(rivals, key=lambda row: (robust(row), cite(row)))
        drop = robust(best) - robust(square)
        if beyond(drop, SQUARE_DROP):
            yield Sight(
                text=f"{leaves(square)}, {drop:.2f} points below the strongest gradient attack "
                f"on the same images: {leaves(best)}",
                rows=(square, best),
                numbers={"gradient": robust(best), "square": robust(square), "drop": drop},
                by=drop,
            )
    for row in evidence.evaluations:
        bound = _bound(row)
        earlier = [left for part in GRADIENT_PARTS if (left := number(bound, part)) is not None]
        after = number(bound, "square")
        if earlier and after is not None and beyond(min(earlier) - after, SQUARE_DROP):
            drop = min(earlier) - after
            yield Sight(
                text=f"in {named(row)} Square takes {drop:.2f} points from the "
                f"{min(earlier):.2f} % that the gradient attacks left: {after:.2f} %",
                rows=(row,),
                numbers={"gradient": min(earlier), "square": after, "drop": drop},
                by=drop,
            )


# --------------------------------------------------------------------------- what is compared


def _pairs(
    evidence: Evidence, attacks: tuple[str, ...], rivals: tuple[str, ...]
) -> Iterator[tuple[Row, Row]]:
    """Yield pairs of evaluations of the same weights and images by these attacks."""
    for row in with_attack(evidence.evaluations, *attacks):
        for rival in with_attack(evidence.evaluations, *rivals):
            if alike(row, rival):
                yield row, rival


def _should_be_stronger(many: Row, few: Row) -> bool:
    """Say whether more steps must help: a step no longer, a way and restarts no fewer."""
    (k, size), (fewer, longer) = _walk(many), _walk(few)
    if k is None or fewer is None or size is None or longer is None or k <= fewer:
        return False
    starts = {row.get("start") for row in (many, few) if row.get("attack") == "pgd"} - {None, ""}
    return (
        size <= longer + ROUNDING
        and k * size >= fewer * longer - ROUNDING
        and (number(many, "restarts") or 1) >= (number(few, "restarts") or 1)
        and len(starts) < 2
    )


def _walk(row: Row) -> tuple[float | None, float | None]:
    """Return how many steps an attack takes and how long one is."""
    if row.get("attack") == "fgsm":
        return 1.0, number(row, "epsilon")
    return number(row, "steps"), number(row, "step_size")


def _while_training(evidence: Evidence, row: Row) -> Iterator[Row]:
    """Yield what PGD left at this evaluation's epoch while training, as an evaluation.

    Only where both are of the training's ball and of all test images.
    """
    threat, settings = inner(evidence.config, "threat"), inner(evidence.config, "eval")
    ball = [(number(place, "epsilon"), place.get("norm")) for place in (row, threat)]
    n, epoch = number(row, "n"), number(row, "epoch")
    whole = row.get("split") == "test" and n is not None and n == number(row, "of_n")
    if not whole or epoch is None or ball[0] != ball[1]:
        return
    network = row.get("network")
    name = "test/pgd_acc" if network == "online" else f"{network}/test/pgd_acc"
    for point in evidence.epochs:
        if number(point, "epoch") == epoch and number(point, name) is not None:
            yield {
                **row,
                "id": None,
                "cited": f"epoch {epoch:g}, while training",
                "attack": "pgd",
                "steps": settings.get("selection_steps"),
                "step_size": settings.get("step_size"),
                "start": settings.get("start"),
                "restarts": 1,
                "robust": point[name],
                "dtype": "float32",
                "bn": "eval",
                "tf32": False,
                "normalize": inner(evidence.config, "model").get("normalize"),
                "evidence": {},
            }


def _bound(row: Row) -> Row:
    """Return AutoAttack's robust accuracy after each of its parts."""
    return inner(inner(row, "evidence"), "bound") if row.get("attack") == "aa" else {}
