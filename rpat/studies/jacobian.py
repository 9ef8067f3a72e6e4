"""Spectral norms of the logits' Jacobian with respect to the pixels.

Few classes: its rows, one backward pass each, and their singular values. Many: power iteration,
without forming it. The network must treat its images one by one, as with eval-mode BatchNorm.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Map = Callable[[Tensor], Tensor]


SLICE = 128
"""Images at once: their graphs take the memory of four training steps of as many."""

ENTRIES = 2**25
"""Entries at once of the Jacobians at one end; three of as many are held."""


class Jacobian:
    """The C x D Jacobian at each image as a linear map; parameter gradients are not touched.

    J^T u is a graph of u as well, which is linear in it; its own gradient gives J v. (Forward-mode
    differentiation would not keep the graph, but torch warns on its first use.)
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self.x = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            self.logits = model(self.x)
            self.u = torch.zeros_like(self.logits, requires_grad=True)
            self.slope = torch.autograd.grad(self.logits, self.x, self.u, create_graph=True)[0]

    def push(self, v: Tensor) -> Tensor:
        """J v: a change of the pixels to a change of the logits, [B, C]."""
        return torch.autograd.grad(self.slope, self.u, v, retain_graph=True)[0]

    def pull(self, u: Tensor) -> Tensor:
        """J^T u: weights of the logits to the gradient at the pixels, like x."""
        return torch.autograd.grad(self.logits, self.x, u, retain_graph=True)[0]


def spectral_norm(push: Map, pull: Map, u: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Return each image's largest singular value, and how much the last iteration changed it.

    Power iteration on A^T A from A^T u. The values grow towards the norm and never exceed it; the
    change is relative, [B] each. It is no bound of the error, which is several times as large
    where the two largest singular values are close. 1 says that only one iteration was made.
    """
    size = before = u.new_zeros(len(u))
    for _ in range(iterations):
        v = pull(u)
        v = v / _lengths(v).clamp(min=torch.finfo(v.dtype).tiny).view(-1, *[1] * (v.dim() - 1))
        u = push(v)
        before, size = size, _lengths(u)
    change = torch.where(size == 0, size, (size - before).abs() / size)
    return size, change


def exact_norms(model: nn.Module, x: Tensor, x_adv: Tensor, classes: int) -> tuple[Tensor, ...]:
    """Return what `end_norms` returns, from the whole Jacobians; nothing is left to change."""
    size = max(1, min(SLICE, ENTRIES // (classes * x[0].numel())))
    parts = []
    for a, b in zip(x.split(size), x_adv.split(size), strict=True):
        clean, adv = rows(model, a, classes), rows(model, b, classes)
        norms = [_largest(matrix) for matrix in (adv - clean, clean, adv)]
        parts.append((*norms, 0 * norms[0]))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def rows(model: nn.Module, x: Tensor, classes: int) -> Tensor:
    """Return the Jacobians at a batch of images, [B, C, D]; one backward pass a class."""
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = model(x)
    found = [
        torch.autograd.grad(logits[:, c].sum(), x, retain_graph=c < classes - 1)[0].flatten(1)
        for c in range(classes)
    ]
    return torch.stack(found, 1)


def _largest(matrix: Tensor) -> Tensor:
    """Return the largest singular value of each matrix; NaN where an entry is not finite."""
    sound = matrix.isfinite().all(2).all(1)
    norms: Tensor = torch.linalg.matrix_norm(torch.where(sound[:, None, None], matrix, 0), ord=2)
    return torch.where(sound, norms, torch.nan)


def end_norms(
    model: nn.Module, x: Tensor, x_adv: Tensor, u: Tensor, iterations: int
) -> tuple[Tensor, ...]:
    """Return |J(x') - J(x)|, |J(x)|, |J(x')| and the largest of their last changes, [B] each.

    `u` are the logits' weights [B, C] from which each of the three iterations begins.
    """
    slices = zip(x.split(SLICE), x_adv.split(SLICE), u.split(SLICE), strict=True)
    parts = [_end_norms(model, *each, iterations) for each in slices]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _end_norms(
    model: nn.Module, x: Tensor, x_adv: Tensor, u: Tensor, iterations: int
) -> list[Tensor]:
    clean, adv = Jacobian(model, x), Jacobian(model, x_adv)
    maps: list[tuple[Map, Map]] = [
        (lambda v: adv.push(v) - clean.push(v), lambda u: adv.pull(u) - clean.pull(u)),
        (clean.push, clean.pull),
        (adv.push, adv.pull),
    ]
    norms, lasts = zip(*(spectral_norm(*both, u, iterations) for both in maps), strict=True)
    return [*norms, torch.stack(lasts).amax(0)]


def _lengths(rows: Tensor) -> Tensor:
    return rows.flatten(1).norm(dim=1)
