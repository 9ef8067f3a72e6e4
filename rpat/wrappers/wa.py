"""WA: an exponential average of the weights (Izmailov et al., UAI 2018; Rebuffi et al., 2021)."""

from torch import nn

from rpat.ema import follow, frozen_copy
from rpat.methods.base import Run, Wrapper
from rpat.step import Step


class Wa(Wrapper):
    """Keeps an averaged network beside the trained one, evaluated and selected on its own."""

    average: nn.Module

    def setup(self, run: Run) -> None:
        """Copy the network."""
        super().setup(run)
        self.average = frozen_copy(run.model)

    @property
    def active(self) -> int:
        """First epoch, from 0, in which the average is more than a copy (105 of 200)."""
        return self.begins(self.config.start)

    def after_step(self, step: Step) -> None:
        """w_wa <- r w_wa + (1-r) w after the base's work; an exact copy before the start."""
        self.base.after_step(step)
        follow(self.average, step.model, self.config.decay if step.epoch >= self.active else 0.0)

    def models(self, model: nn.Module) -> dict[str, nn.Module]:
        """The base's networks and the average."""
        return {**self.base.models(model), "wa": self.average}
