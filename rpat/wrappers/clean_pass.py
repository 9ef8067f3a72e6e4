"""The SOTA family's train-mode pass of the clean batch after the optimiser's step."""

import torch

from rpat.methods.base import Wrapper
from rpat.step import Step


class CleanPass(Wrapper):
    """Moves BatchNorm's running statistics once more, with the updated weights."""

    def after_step(self, step: Step) -> None:
        """After AWP has restored its weights, and before any averaging."""
        self.base.after_step(step)
        step.model.train()
        with torch.no_grad():
            step.model(step.x)
