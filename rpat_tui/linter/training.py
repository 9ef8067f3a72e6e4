"""Rules over a run's curves: collapse, overfitting, numbers that are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rpat_tui.linter.reading import Row, beyond, inner, named, number
from rpat_tui.linter.rules import Evidence, Sight, rule

CHANCE = 1.2
"""Times the accuracy of guessing, 100/classes, up to which a network counts as guessing."""

FIRST_EPOCHS = 5
"""Epochs that a run may spend at chance before it is called collapsed, unless it is done."""

ROBUST_COLLAPSE = 15.0
"""Points of PGD accuracy lost since the best epoch, with the clean accuracy kept."""

CLEAN_KEPT = 0.5
"""Points of clean accuracy that may be lost while it still counts as kept."""

ROBUST_OVERFITTING = 3.0
"""Points of PGD accuracy that a finished run may end below its best epoch."""

NETWORKS = {"online": "", "wa": "wa/", "swa": "swa/"}
"""Network -> what its metrics have in front."""


@rule(
    "collapse",
    "error",
    f"the clean accuracy is at most {CHANCE:g} times that of guessing, or one class is predicted",
    "train again with a lower optim.lr or a smaller threat.epsilon at first, and look at the "
    "curves for the epoch where it fell",
)
def collapse(evidence: Evidence) -> Iterator[Sight]:
    """Judge the last epoch, and every evaluation's predictions.

    A finished run needs one epoch. Any other is judged once it was better before, or after
    `FIRST_EPOCHS`: hard tasks begin at chance. An evaluation that predicts one class on images
    of that class alone (all of them right) is none.
    """
    limit = CHANCE * 100 / evidence.classes if evidence.classes > 1 else None
    for network in NETWORKS:
        curve = _curve(evidence, network, "clean_acc")
        if limit is None or not curve:
            continue
        epoch, last = curve[-1]
        fell = any(beyond(value, limit) for _, value in curve)
        ripe = evidence.state == "done" or fell or len(curve) >= FIRST_EPOCHS
        if ripe and not beyond(last, limit):
            yield Sight(
                text=f"{network}: clean accuracy {last:.2f} % at epoch {epoch:g}; guessing among "
                f"{evidence.classes} classes gives {100 / evidence.classes:.2f} %",
                numbers={"clean": last, "epoch": epoch, "classes": evidence.classes},
                network=network,
                by=limit - last,
            )
    for row in evidence.evaluations:
        told, n, clean = inner(row, "evidence"), number(row, "n"), number(row, "clean")
        if number(told, "predicted_classes") == 1 and n != 1 and clean != 100:
            accuracy = "" if clean is None else f", {clean:.2f} % right"
            yield Sight(
                text=f"one class is predicted for all clean images{accuracy}: {named(row)}",
                rows=(row,),
                numbers={"predicted_classes": 1, "clean": clean, "n": n},
            )


@rule(
    "robust-collapse",
    "warning",
    f"PGD accuracy fell over {ROBUST_COLLAPSE:g} points below its best, the clean one did not",
    "catastrophic overfitting: report the best epoch and train again with more attack.steps or a "
    "smaller attack.step_size",
)
def robust_collapse(evidence: Evidence) -> Iterator[Sight]:
    """Compare the last epoch with the best one."""
    for fall in _falls(evidence):
        if fall.catastrophic:
            yield fall.sight()


@rule(
    "robust-overfitting",
    "note",
    f"a finished run's PGD accuracy ends over {ROBUST_OVERFITTING:g} points below its best",
    "report best and final side by side; an averaged network (--with wa) or fewer epochs narrows "
    "the gap",
)
def robust_overfitting(evidence: Evidence) -> Iterator[Sight]:
    """Compare the end of a finished run with its best epoch; a collapse says more."""
    for fall in _falls(evidence):
        beyond_bound = beyond(fall.points, ROBUST_OVERFITTING) and not fall.catastrophic
        if evidence.state == "done" and beyond_bound:
            yield fall.sight()


@rule(
    "nonfinite",
    "error",
    "a journaled number was not finite",
    "lower optim.lr or the weight of the named term and train again from before that step",
)
def nonfinite(evidence: Evidence) -> Iterator[Sight]:
    """Look for the journal's events, and for epochs whose mean loss is no number."""
    epochs = [
        point.get("epoch")
        for point in evidence.epochs
        if "train/loss" in point and number(point, "train/loss") is None
    ]
    names = sorted({str(name) for event in evidence.nonfinite for name in event.get("names") or ()})
    if not epochs and not evidence.nonfinite:
        return
    first: Row = evidence.nonfinite[0] if evidence.nonfinite else {"epoch": epochs[0]}
    keys = ("step", "epoch", "attempt")
    place = ", ".join(f"{key} {first[key]}" for key in keys if first.get(key) is not None)
    yield Sight(
        text=f"not finite: {', '.join(names) or 'train/loss'}, first at {place or 'a step unknown'}"
        f" (events: {len(evidence.nonfinite)}, epochs without a loss: {len(epochs)})",
        numbers={"names": names, "first": dict(first), "events": len(evidence.nonfinite)}
        | {"epochs": epochs},
    )


# --------------------------------------------------------------------------- curves


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fall:
    """A network's PGD accuracy at its best epoch and at the last one."""

    network: str
    split: str
    best_epoch: float
    best: float
    last_epoch: float
    last: float
    clean_best: float | None
    clean_last: float | None

    @property
    def points(self) -> float:
        return self.best - self.last

    @property
    def catastrophic(self) -> bool:
        """Whether the robust accuracy is gone and the clean one is not."""
        if self.clean_best is None or self.clean_last is None:
            return False
        kept = not beyond(self.clean_best - self.clean_last, CLEAN_KEPT)
        return kept and beyond(self.points, ROBUST_COLLAPSE)

    def sight(self) -> Sight:
        clean = [f"{c:.2f} %" for c in (self.clean_best, self.clean_last) if c is not None]
        return Sight(
            text=f"{self.network}: {self.split} PGD accuracy {self.best:.2f} % at epoch "
            f"{self.best_epoch:g}, {self.last:.2f} % at epoch {self.last_epoch:g}, "
            f"{self.points:.2f} points less; clean {', '.join(clean) or 'unknown'}",
            numbers={
                "best": self.best,
                "best_epoch": self.best_epoch,
                "last": self.last,
                "last_epoch": self.last_epoch,
                "clean_at_best": self.clean_best,
                "clean_at_last": self.clean_last,
            },
            network=self.network,
            by=self.points,
        )


def _falls(evidence: Evidence) -> Iterator[_Fall]:
    """Yield each network's best and last epoch, on the split that it was selected on."""
    for network in NETWORKS:
        curve = _curve(evidence, network, "pgd_acc")
        if curve:
            clean = dict(_curve(evidence, network, "clean_acc"))
            best_epoch, best = max(curve, key=lambda point: (point[1], -point[0]))
            last_epoch, last = curve[-1]
            yield _Fall(
                network=network,
                split=_split(evidence),
                best_epoch=best_epoch,
                best=best,
                last_epoch=last_epoch,
                last=last,
                clean_best=clean.get(best_epoch),
                clean_last=clean.get(last_epoch),
            )


def _curve(evidence: Evidence, network: str, metric: str) -> list[tuple[float, float]]:
    """Return (epoch, value) of a metric wherever both are known."""
    name = f"{NETWORKS[network]}{_split(evidence)}/{metric}"
    points = ((number(point, "epoch"), number(point, name)) for point in evidence.epochs)
    return [(epoch, value) for epoch, value in points if epoch is not None and value is not None]


def _split(evidence: Evidence) -> str:
    """Return the split that selected, where its curves exist; else the other one."""
    chosen = "val" if evidence.selection == "val" else "test"
    other = "test" if chosen == "val" else "val"
    known = {name.partition("/")[0] for point in evidence.epochs for name in point}
    return other if other in known and chosen not in known else chosen
