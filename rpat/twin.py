"""A frozen twin of a network for attacks: eval mode, BatchNorm folded, channels last.

In eval mode BatchNorm is an affine map with constant coefficients, so that a convolution and the
BatchNorm after it are one convolution: the same function of the images, up to rounding. The twin
asks for no parameter gradient. Its weights keep their storage: `refresh` computes them anew from
the network, in place.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from rpat.compiled import Climbed


class Twin(nn.Module):
    """Another way to compute a network's eval-mode logits, for gradients to the images."""

    def __init__(
        self, model: nn.Module, dtype: torch.dtype | None = None, compiled: int = 0
    ) -> None:
        """Build the twin of a network; `dtype` is that of its convolutions, by default the same.

        BatchNorm that follows no convolution, normalisation and the classifier keep the
        network's own type. Batches of `compiled` images go through compiled code.
        """
        super().__init__()
        traced = copy.deepcopy(model)
        self.net = fx.GraphModule(traced, Layers().trace(traced))
        originals = dict(model.named_modules())
        self.folds: list[tuple[Convolution, nn.Conv2d, nn.BatchNorm2d | None]] = []
        for conv, bn in _pairs(self.net):
            norm = originals[bn] if bn else None
            place = Convolution(originals[conv], dtype)
            self.folds.append((place, originals[conv], norm))
            self.net.set_submodule(conv, place)
        for name, layer in list(self.net.named_modules()):
            if isinstance(layer, nn.Linear):
                self.net.set_submodule(name, Classifier(layer))
        self.net.delete_all_unused_submodules()
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)
        sources = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        own = {**dict(self.net.named_parameters()), **dict(self.net.named_buffers())}
        shared = [name for name in own if name in sources and name not in self._folded()]
        self.copies = [(own[name], sources[name]) for name in shared]
        self.refresh()
        if (ranks := getattr(model, "divided", None)) is not None:
            ranks.share(self)  # several processes make the network's passes together, and these
            compiled = len(range(compiled)[ranks.part(compiled)])
        self.code = Climbed(self.net, compiled) if compiled else None

    def _folded(self) -> set[str]:
        places = {place: name for name, place in self.net.named_modules()}
        return {
            f"{places[place]}.{key}" for place, _, _ in self.folds for key in ("weight", "bias")
        }

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the network's present weights and running statistics."""
        for target, source in self.copies:
            target.copy_(source)
        for place, conv, norm in self.folds:
            place.take(conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to logits [B, C]; the gradient to `x` has the layout of `x`."""
        x = ChannelsLast.apply(x)
        if self.code is not None and self.code.takes(x):
            return self.code(x)
        logits: Tensor = self.net(x)
        return logits


def flat(model: nn.Module, frozen: bool = False) -> nn.Module:
    """Return a train-mode network's own layers as one function that can be compiled.

    Weights and running statistics are the network's own tensors; `frozen`, the weights ask for no
    gradient. The classifier stays out of autocast.
    """
    net = fx.GraphModule(model, Layers().trace(model))
    for name, layer in list(net.named_modules()):
        if not list(layer.parameters(recurse=False)):
            continue
        if frozen:
            layer = _without_gradient(layer)
            net.set_submodule(name, layer)
        if isinstance(layer, nn.Linear):
            net.set_submodule(name, Classifier(layer))
    return net


def _without_gradient(layer: nn.Module) -> nn.Module:
    """Return the same layer whose parameters ask for no gradient, on the same memory."""
    same = copy.copy(layer)
    same._parameters = {
        name: None if p is None else nn.Parameter(p.detach(), requires_grad=False)
        for name, p in layer._parameters.items()
    }
    return same


class Convolution(nn.Module):
    """A convolution with the BatchNorm that follows it, in a type of its own."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: Any, dtype: torch.dtype | None) -> None:
        super().__init__()
        weight = conv.weight.detach()
        self.register_buffer("weight", torch.empty_like(weight, dtype=dtype))
        self.register_buffer("bias", weight.new_empty(len(weight), dtype=dtype))
        self.place = (conv.stride, conv.padding, conv.dilation, conv.groups)

    def take(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> None:
        """Compute weight and bias from the two layers, in the type of the network."""
        bias = 0.0 if conv.bias is None else conv.bias
        if norm is None:
            self.weight.copy_(conv.weight)
            self.bias.fill_(0.0) if conv.bias is None else self.bias.copy_(conv.bias)
            return
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = (norm.running_var + norm.eps).rsqrt()
        if norm.affine:
            scale = scale * norm.weight
        self.weight.copy_(conv.weight * scale[:, None, None, None])
        moved = (bias - norm.running_mean) * scale
        self.bias.copy_(moved + norm.bias if norm.affine else moved)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, H, W]` to `[B, outputs, H', W']`."""
        return F.conv2d(x.to(self.weight.dtype), self.weight, self.bias, *self.place)


class Classifier(nn.Module):
    """The linear layer, whose logits keep full precision whatever the features have."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map features `[B, F]` to logits `[B, C]`."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class ChannelsLast(torch.autograd.Function):
    """Lay images out with the channels innermost, and their gradient as they were."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the same images in the other layout."""
        return x.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the same gradient, contiguous."""
        return gradient.contiguous()


class Layers(fx.Tracer):
    """Sees every BatchNorm as one layer, whoever has written it."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """Return whether a module is called as a whole."""
        return isinstance(module, nn.BatchNorm2d) or super().is_leaf_module(module, name)


def _pairs(net: fx.GraphModule) -> list[tuple[str, str]]:
    """Return every convolution with the BatchNorm that alone reads it, '' where there is none.

    The BatchNorms found are taken out of the graph.
    """
    modules, found = dict(net.named_modules()), []
    for node in list(net.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[str(node.target)], nn.Conv2d):
            continue
        conv = modules[str(node.target)]
        if conv.padding_mode != "zeros":
            continue
        users = list(node.users)
        norm = ""
        if len(users) == 1 and users[0].op == "call_module":
            layer = modules[str(users[0].target)]
            if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
                norm = str(users[0].target)
                users[0].replace_all_uses_with(node)
                net.graph.erase_node(users[0])
        found.append((str(node.target), norm))
    net.recompile()
    return found
