"""The numeric modes: one algorithm, carried out plainly, without waste, or in bfloat16.

`reference` makes every pass of the authors' releases and computes every gradient that they do.
`exact` leaves out what cannot change the result but for rounding: parameters' gradients in the
attack, BatchNorm in the attacked network, and second passes of the same images.
`fast` computes convolutions in bfloat16; weights, statistics, logits and losses stay float32.
docs/performance.md says what each gains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from rpat.compiled import Climbed, Compiled, require
from rpat.errors import ConfigError
from rpat.passes import Network, Passes, Update
from rpat.twin import Twin, flat

BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Flags of processors that multiply bfloat16 in hardware; the last one is ARM's."""


def make(name: str, model: nn.Module, device: torch.device, compiled: int = 0) -> Passes:
    """Return the passes of a mode for a run's network, which may get another memory layout.

    What batches of `compiled` images go through is compiled, where it can be; 0: nothing is.
    Raises `ConfigError` where the device cannot carry the mode out.
    """
    if name == "reference":
        return Passes()
    model.to(memory_format=torch.channels_last)
    if name == "fast" and (reason := no_bfloat16(device)):
        raise ConfigError(f"mode is fast, and {reason}; use --mode exact")
    if compiled:
        require(device)
    return {"exact": Exact, "fast": Fast}[name](model, compiled)


def no_bfloat16(device: torch.device) -> str:
    """Return why a device does not compute in bfloat16; '' where it does."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return ""
        return f"{torch.cuda.get_device_name(device)} has no bfloat16 arithmetic"
    if any(flag in processor_flags() for flag in BFLOAT16):
        return ""
    return "this processor has no bfloat16 instructions (avx512_bf16, amx_bf16)"


def processor_flags() -> set[str]:
    """Return what the processor says it can do; nothing where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return set()
    named = (line.partition(":") for line in lines)
    words = next((v for k, _, v in named if k.strip().lower() in ("flags", "features")), "")
    return set(words.split())


class Exact(Passes):
    """The same mathematics with fewer operations, for one network; others go the plain way."""

    def __init__(self, model: nn.Module, compiled: int = 0) -> None:
        """Build the network's twin, which holds a copy of the weights.

        Batches of `compiled` images go through compiled code; the network's own passes only in
        train mode, and not where several processes divide it: BatchNorm asks the others then.
        """
        self.model = model
        self.twin = Twin(model, compiled=compiled)
        self.codes: tuple[Compiled, ...] = ()
        if compiled and getattr(model, "divided", None) is None:
            own, frozen = flat(model), flat(model, frozen=True)
            self.codes = Compiled(own, compiled), Climbed(frozen, compiled)

    def trained(self, model: nn.Module, x: Tensor) -> tuple[Tensor, Update | None]:
        """Make the pass and keep what it did to the statistics."""
        update = Update(model)
        logits = self.logits(model, x)
        update.made()
        return logits, update if update.possible else None

    def twice(self, model: nn.Module, network: Network, x: Tensor) -> Tensor:
        """Make one pass and repeat its update: both would give the same logits."""
        update = Update(model)
        if not update.possible:
            return super().twice(model, network, x)
        logits = network(x)
        update.made()
        update.again()
        return logits

    @contextmanager
    def attack(self, model: nn.Module, full: int) -> Iterator[Callable[[int], Network]]:
        """Attack the twin where BatchNorm uses running statistics, else the network itself."""
        if self.stands_in(model):
            self.twin.refresh()
            yield lambda k: self.twin
        else:
            yield lambda k: lambda x: self.logits(model, x)

    def gradient(self, loss: Tensor, x: Tensor, model: nn.Module, live_weights: bool) -> Tensor:
        """Differentiate to the images alone."""
        return super().gradient(loss, x, model, live_weights=False)

    def judging(self, network: nn.Module) -> Passes:
        """Search adversarial images with a twin; the verdict stays the network's own."""
        return Exact(network)

    def stands_in(self, model: nn.Module) -> bool:
        """Return whether the twin computes what the model does now."""
        return model is self.model and not model.training

    def code(self, model: nn.Module, x: Tensor) -> Compiled | None:
        """Return the code for a pass through the network itself; None where there is none."""
        own = self.codes if model is self.model and model.training else ()
        return next((code for code in own if code.takes(x)), None)

    def logits(self, model: nn.Module, x: Tensor) -> Tensor:
        """Make a pass through the network itself."""
        logits: Tensor = (self.code(model, x) or model)(x)
        return logits


class Fast(Exact):
    """Convolutions in bfloat16, in the attack and in training."""

    def __init__(self, model: nn.Module, compiled: int = 0) -> None:
        """Build two twins: one for the iterations that need full precision."""
        super().__init__(model, compiled)
        self.coarse = Twin(model, torch.bfloat16, compiled)

    @contextmanager
    def attack(self, model: nn.Module, full: int) -> Iterator[Callable[[int], Network]]:
        """Attack in bfloat16 but for the first `full` iterations."""
        if self.stands_in(model):
            self.coarse.refresh()
            if full:
                self.twin.refresh()
            yield lambda k: self.twin if k < full else self.coarse
        else:
            yield lambda k: model if k < full else lambda x: self.logits(model, x)

    def logits(self, model: nn.Module, x: Tensor) -> Tensor:
        """Make a pass under autocast; the classifier gives float32 logits."""
        if (code := self.code(model, x)) is not None:
            with torch.autocast(x.device.type, torch.bfloat16):
                return code(x)
        with autocast(x.device, model):
            logits: Tensor = model(x)
        return logits


@contextmanager
def autocast(device: torch.device, model: nn.Module) -> Iterator[None]:
    """Compute in bfloat16 what torch's autocast names, except the network's linear layers.

    Casts of weights are not kept: weights may change between two passes.
    """
    with ExitStack() as hooks, torch.autocast(device.type, torch.bfloat16):
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                hooks.enter_context(in_full_precision(layer, device))
        yield


@contextmanager
def in_full_precision(layer: nn.Linear, device: torch.device) -> Iterator[None]:
    """Keep a layer out of autocast inside."""
    with ExitStack() as aside:

        def before(layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
            aside.enter_context(torch.autocast(device.type, enabled=False))
            return inputs[0].float()

        def after(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            aside.close()

        handles = layer.register_forward_pre_hook(before), layer.register_forward_hook(after)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
