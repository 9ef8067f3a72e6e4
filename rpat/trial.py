"""A network put on trial: attacks on some images, batch by batch, that can stop between any two.

One loop serves every attack. A part (`rpat.attacks.ensembles`) perturbs a batch; the images that
withstood a part go on to the next one. With AutoAttack's parts this is the loop of its package,
image for image; what is added is a state after each batch from which another process goes on
with the same result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rpat.attacks.ensembles import Part
from rpat.data.dataset import Images
from rpat.data.loader import pixels

PAUSE = 1.0
"""Seconds between two looks at the world inside a batch."""


class Meter(nn.Module):
    """A network that counts the passes it makes, and now and then lets others know.

    A pass of B images counts B, twice that when it is differentiated to its input.
    """

    def __init__(self, net: nn.Module, tick: Callable[[float], None]) -> None:
        super().__init__()
        self.net, self.tick = net, tick
        self.units = 0.0
        self.looked = time.monotonic()

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to logits [B, C]."""
        self.units += len(x) * (2 if x.requires_grad and torch.is_grad_enabled() else 1)
        if time.monotonic() - self.looked >= PAUSE:
            self.tick(self.units)  # may raise: the work since the last state is done again
            self.looked = time.monotonic()
        logits: Tensor = self.net(x)
        return logits


@dataclass(slots=True)
class State:
    """All that another process needs to go on; tensors of [N] on the CPU."""

    clean: Tensor  # bool: the clean image is classified correctly
    answered: Tensor  # int64: class predicted for the clean image
    robust: Tensor  # bool: still correct
    predicted: Tensor  # int64: class predicted for the perturbed image
    part: int = 0
    batch: int = 0
    todo: Tensor | None = None  # positions that the present part attacks, fixed when it begins
    bounds: dict[str, float] = field(default_factory=dict)  # part -> robust accuracy after it
    losses: list[float] = field(default_factory=list)  # sum over images at each step
    gradients: list[float] = field(default_factory=list)  # norms of the input gradient
    warnings: list[str] = field(default_factory=list)
    units: float = 0.0

    def plain(self) -> dict[str, Any]:
        """Return the state as a checkpoint's content."""
        return {name: getattr(self, name) for name in self.__slots__}


class Trial:
    """Some images, some parts, and how far they are."""

    def __init__(
        self,
        net: nn.Module,
        images: Images,
        parts: Sequence[Part],
        *,
        batch_size: int,
        state: State | None = None,
        tick: Callable[[Trial], None] = lambda trial: None,
        saved: Callable[[Trial], None] = lambda trial: None,
        broken: Callable[[Trial, Tensor, Tensor], None] = lambda trial, rows, x_adv: None,
    ) -> None:
        """Prepare a trial of an eval-mode network with frozen parameters.

        `tick` is called about once a second, also within a batch, and may raise; `saved` after
        each batch, when `state` is worth keeping; `broken` with the rows of a batch that were
        broken and their images.
        """
        self.images, self.parts, self.batch_size = images, parts, batch_size
        self.saved, self.broken = saved, broken
        self._tick = tick
        self.meter = Meter(net, self._ticked)
        self._state = state
        self._before = state.units if state else 0.0
        self._clock = time.monotonic()

    # ----------------------------------------------------------------- how far it is

    @property
    def state(self) -> State | None:
        """What is decided so far; None before the clean images were classified."""
        return self._state

    @property
    def units(self) -> float:
        """Passes made so far, in this process and before it."""
        return self._before + self.meter.units

    @property
    def rate(self) -> float:
        """Passes a second in this process."""
        return self.meter.units / max(time.monotonic() - self._clock, 1e-9)

    @property
    def total(self) -> float:
        """Passes that the whole trial will have cost, as far as one can tell now."""
        n, state = len(self.images), self._state
        if state is None:
            return self.units + n * (3 + sum(part.cost for part in self.parts))
        left, standing = 0.0, int(state.robust.sum())
        for number, part in enumerate(self.parts[state.part :], state.part):
            rows = n if part.everyone else standing
            if number == state.part and state.todo is not None:
                rows = len(state.todo) - state.batch * self.batch_size
            left += max(rows, 0) * part.cost
        return max(state.units + left, self.units)

    @property
    def bound(self) -> float | None:
        """Robust accuracy in percent if no further image breaks: an upper bound."""
        if self._state is None:
            return None
        return 100.0 * int(self._state.robust.sum()) / len(self.images)

    @property
    def stage(self) -> str:
        """Where the trial is, for people."""
        state = self._state
        if state is None:
            return "clean images"
        if state.part >= len(self.parts):
            return "done"
        rows = len(self.images) if state.todo is None else len(state.todo)
        batches = -(-rows // self.batch_size)
        return f"{self.parts[state.part].name} {state.batch}/{batches}"

    def _ticked(self, units: float) -> None:
        self._tick(self)

    # ----------------------------------------------------------------- the loop

    def run(self) -> State:
        """Carry on to the end and return what was decided."""
        if self._state is None:
            self._state = self._classify()
            self._keep()
        state = self._state
        while state.part < len(self.parts):
            if state.todo is None:
                part = self.parts[state.part]
                rows = torch.ones_like(state.robust) if part.everyone else state.robust
                state.todo = rows.nonzero()[:, 0]
            self._finish_part(state, self.parts[state.part])
        return state

    def _finish_part(self, state: State, part: Part) -> None:
        assert state.todo is not None
        while (start := state.batch * self.batch_size) < len(state.todo):
            rows = state.todo[start : start + self.batch_size]
            self._attack(state, part, rows)
            state.batch += 1
            self._keep()
        if len(state.todo):
            state.bounds[part.name] = 100.0 * int(state.robust.sum()) / len(self.images)
        state.part, state.batch, state.todo = state.part + 1, 0, None
        self._keep()

    def _attack(self, state: State, part: Part, rows: Tensor) -> None:
        x, y = self._batch(rows)
        with torch.no_grad():
            attacked = part.perturb(self.meter, x, y, state.batch)
            x_adv = attacked.images
            logits = self.meter(x_adv)
        answer = logits.argmax(1).cpu()
        fooled = answer != self.images.labels.cpu()[rows]
        if part.everyone:
            state.robust[rows] = ~fooled
            state.predicted[rows] = answer
        else:
            state.robust[rows[fooled]] = False
            state.predicted[rows[fooled]] = answer[fooled]
        if attacked.losses:
            losses = [*attacked.losses, F.cross_entropy(logits, y, reduction="sum").item()]
            old = state.losses or [0.0] * len(losses)
            state.losses = [a + b for a, b in zip(old, losses, strict=True)]
        state.warnings = list(dict.fromkeys([*state.warnings, *attacked.warnings]))
        changed = torch.ones_like(fooled) if part.everyone else fooled
        if changed.any():
            self.broken(self, rows[changed], x_adv[changed.to(x_adv.device)])

    def _classify(self) -> State:
        """Classify the clean images; note how steep the loss is at each of them."""
        answers, norms = [], []
        for rows in torch.arange(len(self.images)).split(self.batch_size):
            x, y = self._batch(rows)
            with torch.no_grad():
                answers.append(self.meter(x).argmax(1).cpu())
            norms.append(self._gradient_norm(x, y))
        answered = torch.cat(answers)
        clean = answered == self.images.labels.cpu()
        robust = torch.ones_like(clean) if self.parts[0].everyone else clean.clone()
        first = self.parts[0]
        warnings = first.examine(self.meter, *self._first()) if first.examine else []
        return State(
            clean, answered, robust, answered.clone(), gradients=torch.cat(norms).tolist(),
            warnings=warnings,
        )  # fmt: skip

    def _first(self) -> tuple[Tensor, Tensor]:
        return self._batch(torch.arange(len(self.images))[: self.batch_size])

    def _gradient_norm(self, x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(self.meter(x), y, reduction="sum")
        return torch.autograd.grad(loss, x)[0].flatten(1).norm(dim=1).double().cpu()

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        place = self.images.labels.device
        rows = rows.to(place)
        return pixels(self.images.images[rows]), self.images.labels[rows]

    def _keep(self) -> None:
        assert self._state is not None
        self._state.units = self.units
        self.saved(self)


def evidence(state: State) -> dict[str, Any]:
    """Return what the numbers rest on: for the robustness linter and for readers.

    `gradient_norm` is the mean l_2 norm of the loss's gradient at the clean images,
    `zero_gradients` the percentage of images where it vanishes, `losses` the mean loss along
    the attack's steps.
    """
    norms = torch.tensor(state.gradients, dtype=torch.float64)
    n = len(state.clean)
    return {
        "gradient_norm": norms.mean().item(),
        "zero_gradients": 100.0 * int((norms == 0).sum()) / n,
        "losses": [value / n for value in state.losses],
        "predicted_classes": len(state.answered.unique()),
        "bound": dict(state.bounds),
        "warnings": list(state.warnings),
    }
