"""Learning rate over time, as pure functions of a position in the run."""

from __future__ import annotations

from rpat.config import ScheduleConfig


def milestones(schedule: ScheduleConfig) -> list[int]:
    """Return the decay points in completed epochs.

    They are stored as fractions so that short runs decay too: each is kept early enough that
    every later stage has at least one epoch. 110 epochs give 100 and 105, 200 give 100 and 150.
    """
    total, count = schedule.epochs, len(schedule.milestones)
    return [
        max(1, min(round(fraction * total), total - (count - i)))
        for i, fraction in enumerate(sorted(schedule.milestones))
    ]


def learning_rate(base: float, schedule: ScheduleConfig, epoch: int, fraction: float) -> float:
    """Return the learning rate of a step.

    `epoch` counts completed epochs. With granularity `iteration`, `fraction` is (i+1)/n for
    batch i of n, so that the last batch of the epoch before a milestone has decayed already
    (Rice et al., ICML 2020); with `epoch` it is not used.
    """
    position = epoch + (fraction if schedule.granularity == "iteration" else 0.0)
    passed = sum(position >= point for point in milestones(schedule))
    return base / schedule.decay**passed
