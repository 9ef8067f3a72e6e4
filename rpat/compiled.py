"""Passes through a network as compiled code, each kind of pass for batches of one size.

torch.compile makes code anew for every shape and every kind of pass, and its code computes all
gradients that its inputs ask for. So what is compiled has one purpose: full batches with a
gradient, either to the images through a frozen twin or to the weights in training. Whatever else is
asked (an epoch's last batch, a part of a batch, a pass without gradient) goes through the network
as it is. Code is made at its first use, once in a process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rpat.errors import ConfigError


class Compiled:
    """Training passes of full batches, with gradients to the weights alone."""

    to_images = False
    """Whether the images ask for a gradient."""

    graphs = False
    """Whether CUDA records the passes and replays them."""

    def __init__(self, net: nn.Module, rows: int) -> None:
        """Prepare to compile `net`, whose train or eval mode is settled, for `rows` images."""
        self.rows, self.made = rows, False
        self.code = _compile(net, self.graphs)

    def takes(self, x: Tensor) -> bool:
        """Return whether this is a pass that there is code for."""
        return len(x) == self.rows and torch.is_grad_enabled() and x.requires_grad == self.to_images

    def __call__(self, x: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to logits [B, C]; raises `ConfigError` where torch fails."""
        if self.made:
            return self.code(x)
        try:
            logits: Tensor = self.code(x)
        except (RuntimeError, OSError) as error:
            if isinstance(bottom(error), (torch.OutOfMemoryError, torch.AcceleratorError)):
                raise
            raise ConfigError(refusal(x.device, error)) from error
        self.made = True
        return logits


class Climbed(Compiled):
    """Passes of an attack through a frozen network; on CUDA they are replayed as CUDA graphs.

    A graph reads weights where they lie, so that they must be changed in place, and writes logits
    and gradient where its next replay writes them again. Both leave as copies, so that nothing of
    one pass is read after the next one has begun, as each pass announces.
    """

    to_images = True
    graphs = True

    def __call__(self, x: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to logits [B, C]."""
        torch.compiler.cudagraph_mark_step_begin()
        x = x.view_as(x)  # the hook is this pass's own
        x.register_hook(torch.clone)
        return super().__call__(x).clone()


def require(device: torch.device) -> None:
    """Raise `ConfigError` where nothing can be compiled for a device."""
    try:
        _compile(_trial)(torch.ones(8, device=device))
    except (RuntimeError, OSError) as error:
        raise ConfigError(refusal(device, error)) from error


def _compile(function: Callable[[Tensor], Tensor], graphs: bool = False) -> Any:
    """Return a function whose code torch will make when it is called for the first time."""
    from torch._functorch import config

    config.donated_buffer = False  # CURE differentiates a pass twice: what it keeps has to last
    options: dict[str, Any] = {"triton.cudagraphs": graphs}
    options["deterministic"] = True  # else, on CUDA, a stopwatch decides how sums are divided
    return torch.compile(function, fullgraph=True, dynamic=False, options=options)


def _trial(x: Tensor) -> Tensor:
    return x.sin() + x.cos()


def refusal(device: torch.device, error: BaseException) -> str:
    """Say in a line that torch cannot compile for a device, why, and what to do."""
    cause = bottom(error)
    text = str(cause).strip().splitlines() or [type(cause).__name__]
    why = next((line for line in text if "error: " in line), text[0]).strip().rstrip(".")
    needs = "triton, a C compiler" if device.type == "cuda" else "a C++ compiler"
    remedy = f"install {needs} and Python's headers"
    if isinstance(cause, OSError):
        remedy = "let TORCHINDUCTOR_CACHE_DIR name a folder that takes files"
    return f"compiled is on, but torch.compile fails ({why}); {remedy}, or leave out --compiled"


def bottom(error: BaseException) -> BaseException:
    """Return what an error was raised from in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
