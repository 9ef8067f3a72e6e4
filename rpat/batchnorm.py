"""BatchNorm whose batch is that of all ranks; torch's own form of it does not run on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def synchronise(network: nn.Module, ranks: Any) -> None:
    """Exchange every BatchNorm of a network for one over all ranks, with the same parameters."""
    for name, layer in list(network.named_modules()):
        if type(layer) is nn.BatchNorm2d:
            network.set_submodule(name, Synchronised(layer, ranks))


class Synchronised(nn.BatchNorm2d):
    """BatchNorm2d over the rows of all ranks: the same running statistics everywhere."""

    def __init__(self, layer: nn.BatchNorm2d, ranks: Any) -> None:
        """Take the place of a layer."""
        super().__init__(
            layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
        )
        self.weight, self.bias = layer.weight, layer.bias
        for name, buffer in layer.named_buffers():
            setattr(self, name, buffer)
        self.train(layer.training)
        self.ranks = ranks

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]`, this rank's rows, to the same shape."""
        if not self.training and self.running_mean is not None:
            return super().forward(x)
        y, mean, variance = Normalise.apply(x, self.weight, self.bias, self.eps, self.ranks)
        if self.training and self.running_mean is not None:
            self._follow(mean, variance)
        out: Tensor = y
        return out

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; the variance is the unbiased one."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1 / float(self.num_batches_tracked)
        for running, now in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running.mul_(1 - share).add_(now, alpha=share)


class Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, over all ranks' rows.

    Forward exchanges each rank's count, mean and sum of squares about that mean; backward the two
    sums of gradients that every row needs. Gradients of weight and bias are this rank's part: they
    are summed with those of all weights.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output, and mean [C] and unbiased variance [C] of the whole batch."""
        values = full(x)
        mean, variance, count = moments(values, ranks)
        y = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt(), count)
        ctx.ranks = ranks
        unbiased = variance * (count / (count - 1)).to(variance.dtype)
        ctx.mark_non_differentiable(mean, unbiased)
        return y, mean, unbiased

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and of this rank's part of weight and bias."""
        x, weight, mean, scale, count = ctx.saved_tensors
        dy, normalised = full(gradients[0]), (full(x) - column(mean)) * column(scale)
        sums = torch.stack([over_rows(dy), over_rows(dy * normalised)])
        by_bias, by_weight = sums
        shift, tilt = (ctx.ranks.sum(sums.to(torch.float64, copy=True)) / count).to(dy.dtype)
        dx = (dy - column(shift) - normalised * column(tilt)) * column(scale)
        if weight is None:
            return dx.to(x.dtype), None, None, None, None
        return (dx * column(full(weight))).to(x.dtype), by_weight, by_bias, None, None


def moments(x: Tensor, ranks: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean [C], biased variance [C] and number of values of a channel, over all ranks."""
    count = x.numel() // x.shape[1]
    if count:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    else:
        variance = mean = x.new_zeros(x.shape[1])
    own = torch.stack([torch.full_like(mean, count), mean, variance]).double()
    counts, means, variances = ranks.each(own).unbind(1)  # [ranks, C] each
    total = counts.sum(0)
    middle = (counts * means).sum(0) / total
    spread = (counts * (variances + (means - middle).square())).sum(0) / total
    return middle.to(x.dtype), spread.to(x.dtype), total


def full(x: Tensor) -> Tensor:
    """Return a tensor in at least float32."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def over_rows(x: Tensor) -> Tensor:
    """Sum [B, C, H, W] to [C]."""
    return x.sum((0, 2, 3))


def column(values: Tensor) -> Tensor:
    """Shape [C] so that it broadcasts over [B, C, H, W]."""
    return values[:, None, None]
