"""Learning rate over time, as pure functions of a position in the run."""

from __future__ import annotations

from rpat.config import ScheduleConfig


def milestones(schedule: ScheduleConfig) -> list[int]:
    """Return the decay points in completed epochs.

    They are stored as fractions so that short runs decay too: each stage has at least one epoch
    where there are enough of them. 110 epochs give 100 and 105, 200 give 100 and 150.
    """
    total, count = schedule.epochs, len(schedule.milestones)
    points: list[int] = []
    for i, fraction in enumerate(sorted(schedule.milestones)):
        latest = total - (count - i)
        earliest = points[-1] + 1 if points else 1
        points.append(max(earliest, min(round(fraction * total), latest)))
    return points


def growing_weight(lr_max: float, lr: float) -> float:
    """Return ReBAT's optional weight (lr_max / lr - 1) / 2: 0 before the first decay."""
    return (lr_max / lr - 1) / 2


def learning_rate(base: float, schedule: ScheduleConfig, epoch: int, fraction: float) -> float:
    """Return the learning rate of a step.

    `epoch` counts completed epochs. With granularity `iteration`, `fraction` is (i+1)/n for
    batch i of n, so that the last batch of the epoch before a milestone has decayed already
    (Rice et al., ICML 2020); with `epoch` it is not used.
    """
    position = epoch + (fraction if schedule.granularity == "iteration" else 0.0)
    passed = sum(position >= point for point in milestones(schedule))
    return base / schedule.decay**passed
