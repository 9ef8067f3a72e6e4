"""SWA: a uniform average of the epochs' weights (Izmailov et al., UAI 2018; Chen et al., 2021)."""

import torch
from torch import Tensor, nn

from rpat.ema import collect, frozen_copy, refresh_statistics
from rpat.methods.base import Run, Wrapper


class Swa(Wrapper):
    """Averages the weights at each epoch's end, from 55 of 200 epochs on."""

    average: nn.Module
    collected: Tensor

    def setup(self, run: Run) -> None:
        """Copy the network."""
        super().setup(run)
        self.average = frozen_copy(run.model)
        self.register_buffer("collected", torch.zeros((), dtype=torch.int64))

    def epoch_end(self, run: Run, epoch: int) -> None:
        """Collect the weights, then estimate BatchNorm's statistics on clean training images."""
        self.base.epoch_end(run, epoch)
        if epoch < self.begins(self.config.start):
            self.average.load_state_dict(run.model.state_dict())
            return
        collect(self.average, run.model, int(self.collected))
        self.collected += 1
        refresh_statistics(self.average, lambda: run.clean_batches(epoch))

    def models(self, model: nn.Module) -> dict[str, nn.Module]:
        """The base's networks and the average."""
        return {**self.base.models(model), "swa": self.average}
