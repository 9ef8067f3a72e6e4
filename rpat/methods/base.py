"""What every method answers to the training loop, and what stacks on a method.

The loop asks, in this order: `craft` the adversarial images, `backward` the `loss`, and after
the optimiser's step `after_step`; once an epoch `epoch_end` and `models`. A method overrides the
hooks it needs. Rules: `loss` has no side effect on the method and may be called twice; state is
written in `craft`, `after_step` and `epoch_end` only, and lives in buffers and submodules, so
that `state_dict` holds it; schedules are functions of `step.epoch` or `step.t / step.total`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rpat import losses
from rpat.attacks.pgd import Ascent, pgd
from rpat.config import Knobs, RunConfig
from rpat.step import Step

Terms = dict[str, Tensor]
"""Named, already weighted terms of the objective, each a scalar; the objective is their sum."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a method may know about the run when it sets itself up."""

    model: nn.Module
    num_classes: int
    n_train: int  # images in the full training set; `step.index` points into it
    epochs: int
    steps_per_epoch: int
    clean_batches: Callable[[int], Iterator[Tensor]] = lambda epoch: iter(())
    """Augmented training images of an epoch, not attacked, [B, 3, H, W]."""
    teacher: Callable[[str], nn.Module] = lambda weights: nn.Identity()
    """The frozen network, in eval mode, whose weights file has a SHA-256."""


class Method(nn.Module):
    """A training objective; its buffers and submodules are its state."""

    views = 1
    """Augmented views of each image in a batch."""

    def __init__(self, config: Any, run_config: RunConfig) -> None:
        super().__init__()
        self.config = config
        self.threat = run_config.threat
        self.attack = run_config.attack
        said = [part.LIVE_WEIGHTS for part in (run_config.method, *run_config.wrappers)]
        self.live_weights = True in said and False not in said
        self.epochs = run_config.schedule.epochs

    def begins(self, fraction: float) -> int:
        """Return the epoch, from 0, at which a fraction of the run has passed.

        Burn-ins and warm-ups are fractions so that short runs reach every phase too.
        """
        return min(round(fraction * self.epochs), self.epochs - 1) if fraction < 1 else self.epochs

    def setup(self, run: Run) -> None:
        """Allocate memories and copy networks, once, before the first step."""

    def ascent(self, step: Step) -> Ascent:
        """Return the loss of each image that the attack climbs; by default CE on the target."""
        return lambda logits: losses.ce_each(logits, step.target)

    def craft(self, step: Step) -> Tensor:
        """Return the adversarial images, [B, 3, H, W], detached."""
        return self.pgd(step, self.ascent(step))

    def pgd(self, step: Step, ascent: Ascent, **options: Any) -> Tensor:
        """Run the configured attack on the batch."""
        return pgd(
            step.model,
            step.x,
            ascent,
            self.threat,
            self.attack,
            step.generator("attack"),
            full=self.full_precision_steps(),
            live_weights=self.live_weights,
            **options,
        )

    def full_precision_steps(self) -> int:
        """Return how many first iterations of the attack no mode may round more coarsely.

        A climb that starts next to its own minimum, as that of a KL to the clean prediction,
        begins with gradients that are little more than rounding.
        """
        near = self.attack.start.startswith("normal") or self.attack.start == "zero"
        return 3 if near and type(self).ascent is not Method.ascent else 0

    def loss(self, step: Step) -> Terms:
        """Return the terms of the objective."""
        raise TypeError(f"{type(self).__name__} defines no loss")

    def backward(self, step: Step, loss: Callable[[Step], Terms]) -> Terms:
        """Write the gradient of `loss`, the outermost objective, into the parameters."""
        terms = loss(step)
        total(terms).backward()
        return terms

    def after_step(self, step: Step) -> None:
        """Average weights, restore weights, write memories; after the optimiser's step."""

    def epoch_end(self, run: Run, epoch: int) -> None:
        """Do what is due once an epoch."""

    def models(self, model: nn.Module) -> dict[str, nn.Module]:
        """Return the networks to evaluate and select, each on its own."""
        return {"online": model}


class Wrapper(Method):
    """Something that stacks on a method: forwards every hook to its base."""

    def __init__(self, config: Any, run_config: RunConfig, base: Method) -> None:
        super().__init__(config, run_config)
        self.base = base
        self.views = base.views

    def setup(self, run: Run) -> None:
        """Forward to the base."""
        self.base.setup(run)

    def ascent(self, step: Step) -> Ascent:
        """Forward to the base: the adversary stays the base method's."""
        return self.base.ascent(step)

    def craft(self, step: Step) -> Tensor:
        """Forward to the base."""
        return self.base.craft(step)

    def loss(self, step: Step) -> Terms:
        """Forward to the base."""
        return self.base.loss(step)

    def backward(self, step: Step, loss: Callable[[Step], Terms]) -> Terms:
        """Forward the outermost loss to the base."""
        return self.base.backward(step, loss)

    def after_step(self, step: Step) -> None:
        """Forward to the base."""
        self.base.after_step(step)

    def epoch_end(self, run: Run, epoch: int) -> None:
        """Forward to the base."""
        self.base.epoch_end(run, epoch)

    def models(self, model: nn.Module) -> dict[str, nn.Module]:
        """Forward to the base."""
        return self.base.models(model)


def total(terms: Terms) -> Tensor:
    """Sum the terms in their order."""
    values = iter(terms.values())
    result = next(values)
    for value in values:
        result = result + value
    return result


def implementation(package: str, knobs: type[Knobs]) -> Any:
    """Return the class that implements a knobs class: `TradesConfig` in `trades.py` is `Trades`."""
    module = knobs.NAME.replace("-", "_").replace("++", "_plus_plus")
    name = knobs.__name__.removesuffix("Config")
    return getattr(importlib.import_module(f"{package}.{module}"), name)
