"""Rules about how numbers came about: settings, images and selection of each evaluation."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from rpat_tui.linter.reading import (
    Row,
    ball,
    cite,
    inner,
    leaves,
    named,
    number,
    places,
    robust,
    standard_error,
    title,
    with_attack,
)
from rpat_tui.linter.rules import Evidence, Sight, rule

FULL_PRECISION = ("float32", "float64")
"""Types in which an evaluation may compute; fewer bits hide small gradients."""


@rule(
    "epsilon-mismatch",
    "warning",
    "an evaluation's norm or radius is not the one trained for",
    "say so beside the number, or evaluate within threat.norm and threat.epsilon of the run",
)
def epsilon_mismatch(evidence: Evidence) -> Iterator[Sight]:
    """Compare each evaluation's ball with the training's; a file from elsewhere has none."""
    threat = inner(evidence.config, "threat")
    trained, radius = threat.get("norm"), number(threat, "epsilon")
    for row in evidence.evaluations:
        norm, epsilon = row.get("norm"), number(row, "epsilon")
        other_norm = None not in (norm, trained) and norm != trained
        off = abs(epsilon - radius) if epsilon is not None and radius is not None else 0.0
        if other_norm or off > 1e-6:
            yield Sight(
                text=f"{named(row)} attacks within {ball(norm, epsilon)}, the run trained for "
                f"{ball(trained, radius)}",
                rows=(row,),
                numbers={"norm": norm, "epsilon": epsilon}
                | {"trained_norm": trained, "trained_epsilon": radius},
                by=math.inf if other_norm else off,
            )


@rule(
    "normalization-mismatch",
    "error",
    "an evaluation normalises images unlike the training",
    "do not report it: evaluate again with the statistics of model.normalize inside the network",
)
def normalization_mismatch(evidence: Evidence) -> Iterator[Sight]:
    """Compare the statistics in front of the network; '' and `none` both mean none."""
    trained = inner(evidence.config, "model").get("normalize")
    for row in evidence.evaluations:
        used = row.get("normalize")
        if None not in (used, trained) and (used or "none") != (trained or "none"):
            yield Sight(
                text=f"{named(row)} normalises with {used or 'none'}, the run trained with "
                f"{trained or 'none'}",
                rows=(row,),
                numbers={"normalize": used or "none", "trained": trained or "none"},
            )


@rule(
    "selected-on-test",
    "note",
    "the weights were chosen by their accuracy on the test images",
    "say so, report the final weights beside them, or select on a hold-out (data.val_n)",
)
def selected_on_test(evidence: Evidence) -> Iterator[Sight]:
    """Name the evaluations of weights that were chosen on what they are judged by."""
    for rows in places(row for row in evidence.evaluations if row.get("selected_on") == "test"):
        yield Sight(text=f"chosen on the test images: {named(*rows)}", rows=rows)


@rule(
    "bn-train",
    "error",
    "an evaluation had BatchNorm in train mode",
    "do not report it: a prediction must not depend on its batch; evaluate again in eval mode",
)
def bn_train(evidence: Evidence) -> Iterator[Sight]:
    """Name the evaluations whose predictions depend on the rest of the batch."""
    for rows in places(row for row in evidence.evaluations if row.get("bn") == "train"):
        yield Sight(text=f"BatchNorm in train mode: {named(*rows)}", rows=rows)


@rule(
    "low-precision",
    "warning",
    "an evaluation computed in less than float32, or with TF32",
    "evaluate again in float32 with TF32 off: rounding masks small gradients",
)
def low_precision(evidence: Evidence) -> Iterator[Sight]:
    """Name the evaluations in few bits; float64 is more than asked for, not less."""
    low = [row for row in evidence.evaluations if _precision(row)]
    for rows in places(low):
        kinds = sorted({_precision(row) for row in rows})
        yield Sight(
            text=f"computed in {', '.join(kinds)}: {named(*rows)}",
            rows=rows,
            numbers={"precision": kinds},
        )


@rule(
    "subset",
    "note",
    "AutoAttack saw a part of the images",
    "give the standard error with the number, or evaluate on all images",
)
def subset(evidence: Evidence) -> Iterator[Sight]:
    """State the standard error of an accuracy on some of the images; fewest images first."""
    for row in with_attack(evidence.evaluations, "aa"):
        n, of, left = number(row, "n"), number(row, "of_n"), robust(row)
        if not n or of is None or n >= of:
            continue
        error = standard_error(left, n)
        yield Sight(
            text=f"{leaves(row)} of {n:g} of {of:g} images, standard error {error:.2f} points",
            rows=(row,),
            numbers={"n": n, "of_n": of, "robust": left, "standard_error": error},
            by=error,
        )


@rule(
    "not-standard-aa",
    "note",
    "AutoAttack ran other parts or targets than its standard version",
    "do not call it AutoAttack (standard) without this remark, nor compare it with published rows",
)
def not_standard_aa(evidence: Evidence) -> Iterator[Sight]:
    """Repeat the evaluation's own remark that it is not the standard version."""
    for row in evidence.evaluations:
        note = str(row.get("note") or "")
        if row.get("attack") == "aa" and "not standard" in note.lower():
            yield Sight(
                text=f"{title(row)} ({cite(row)}): {note}", rows=(row,), numbers={"note": note}
            )


@rule(
    "package-warning",
    "warning",
    "AutoAttack's package gave a warning",
    "read it before trusting the number: it tells of randomness, logits or gradients it dislikes",
)
def package_warning(evidence: Evidence) -> Iterator[Sight]:
    """Repeat each distinct warning once, at the evaluations that it was given for."""
    rows = {row["id"]: row for row in evidence.evaluations if row.get("id") is not None}
    told: dict[tuple[str, str], dict[str, Row | None]] = defaultdict(dict)
    for warning in evidence.warnings:
        text, row = str(warning.get("text") or "").strip(), rows.get(warning.get("eval"))
        if text:
            place = row or {}
            told[str(place.get("checkpoint")), str(place.get("network"))].setdefault(text, row)
    for texts in told.values():
        known = [row for row in texts.values() if row is not None]
        said = [f"{text} ({cite(row)})" if row is not None else text for text, row in texts.items()]
        yield Sight(text="; ".join(said), rows=known, numbers={"warnings": sorted(texts)})


def _precision(row: Row) -> str:
    """Return in what an evaluation computed where that is too little, else ''."""
    dtype = row.get("dtype")
    if dtype and dtype not in FULL_PRECISION:
        return str(dtype)
    return "TF32" if row.get("tf32") else ""
