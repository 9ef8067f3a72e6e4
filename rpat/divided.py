"""A network whose batches are divided among processes, and yet the same function of them.

Every rank runs the whole program of one process, with the same random draws and the same numbers;
only passes through a network are divided. A rank sends its rows of a batch through the network;
the logits of all ranks are put together, so that methods, attacks and evaluations see whole
batches on every rank. Gradients to the images are put together as well, gradients of the weights
are summed, and BatchNorm computes its statistics over all ranks. What a method does with logits,
be it a mean, a weight over the batch's mean or a sort, each rank computes as one process would.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rpat.errors import Parted, RunError
from rpat.ranks import DOOR, Place

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others in one operation."""

LONG = timedelta(days=7)
"""How long the others wait for rank 0 to fetch the images."""


class Alone:
    """One process: nothing is divided, nobody is asked."""

    rank, size = 0, 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the journal and the checkpoints."""
        return self.rank == 0

    def divide(self, network: nn.Module) -> nn.Module:
        """Return the network, whose passes are divided from now on."""
        return network

    def agreed(self, ask: Callable[[], str | None]) -> Callable[[], str | None]:
        """Return the question as all ranks ask it: rank 0 decides."""
        return ask

    def compare(self, network: nn.Module) -> None:
        """Raise `RunError` where the ranks have come to have different networks."""

    @contextmanager
    def rank_0_first(self) -> Iterator[None]:
        """Let rank 0 pass before the others."""
        yield

    def leave(self) -> None:
        """Let go of the others."""


class Ranks(Alone):
    """One of several processes that compute the same run."""

    def __init__(self, place: Place, device: torch.device) -> None:
        """Meet the others, at the door that the parent opened or where torchrun says."""
        self.rank, self.size, self.device = place.rank, place.size, device
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        with _parting():
            self.store = meeting_point(place)
            dist.init_process_group(
                backend, store=self.store, rank=self.rank, world_size=self.size, timeout=PATIENCE
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> Ranks:
        """Copies of a network are divided among the same ranks."""
        return self

    # ----------------------------------------------------------------- one network

    def divide(self, network: nn.Module) -> nn.Module:
        """Divide the passes of a network, and synchronise its BatchNorm; returns it."""
        from rpat.batchnorm import synchronise

        synchronise(network, self)
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.register_hook(self.summed)
        self.share(network)
        return network

    def share(self, network: nn.Module) -> None:
        """Let each rank make its part of the passes of a network that is trained elsewhere."""
        rows, shared = Rows(self), cast(Any, network)
        network.register_forward_pre_hook(rows.cut)
        network.register_forward_hook(rows.join)
        shared.divided = self  # so that a twin of the network can be divided as well

    def part(self, count: int) -> slice:
        """Return this rank's rows of a batch; some ranks may have one row less, or none."""
        each, rest = divmod(count, self.size)
        first = self.rank * each + min(self.rank, rest)
        return slice(first, first + each + (self.rank < rest))

    # ----------------------------------------------------------------- between ranks

    def sum(self, values: Tensor) -> Tensor:
        """Add up a contiguous tensor over all ranks, in place: the same bits everywhere."""
        with _parting():
            dist.all_reduce(values)
        return values

    def whole(self, part: Tensor, count: int) -> Tensor:
        """Return [count, ...] from each rank's rows."""
        rows = part.new_zeros((count, *part.shape[1:]))
        rows[self.part(count)] = part
        return self.sum(rows)

    def each(self, values: Tensor) -> Tensor:
        """Return [ranks, ...]: the same tensor of every rank."""
        rows = values.new_zeros((self.size, *values.shape))
        rows[self.rank] = values
        return self.sum(rows)

    def summed(self, gradient: Tensor) -> Tensor:
        """Return a gradient added up over all ranks, in the layout that it has."""
        total = self.sum(gradient.contiguous().clone())
        return torch.empty_like(gradient).copy_(total)

    def agreed(self, ask: Callable[[], str | None]) -> Callable[[], str | None]:
        """Return the question as all ranks ask it: rank 0 asks, and all have its answer."""

        def everyone() -> str | None:
            word = ask() if self.leads else None
            flag = torch.tensor([int(bool(word))])
            with _parting():
                dist.broadcast(flag, 0)
            return word or ("stop" if flag.item() else None)

        return everyone

    def compare(self, network: nn.Module) -> None:
        """Raise `RunError` where the ranks have come to have different networks."""
        sums = torch.stack([value.double().sum() for value in network.state_dict().values()])
        found = self.each(sums.view(torch.int64))  # as bits: a loss that is not finite is no reason
        if not torch.equal(found, found[:1].expand_as(found)):
            raise RunError(
                f"the {self.size} ranks have different weights: their devices do not compute "
                "alike; use cards of one kind, or one card",
                reason="ranks",
            )

    @contextmanager
    def rank_0_first(self) -> Iterator[None]:
        """Let rank 0 pass before the others, however long it takes."""
        if not self.leads:
            with _parting():
                self.store.wait(["rank 0 has passed"], LONG)
        yield
        if self.leads:
            self.store.set("rank 0 has passed", "1")

    def leave(self) -> None:
        """Let go of the others."""
        if dist.is_initialized():
            dist.destroy_process_group()


def meeting_point(place: Place) -> Any:
    """Return the store where the ranks meet."""
    torchs: Any = dist
    door = os.environ.get(DOOR)
    if door is None and os.environ.get("TORCHELASTIC_USE_AGENT_STORE"):
        return next(iter(torchs.rendezvous("env://")))[0]
    host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ["MASTER_PORT"])
    more = {"master_listen_fd": int(door)} if door else {}
    return torchs.TCPStore(host, port, place.size, place.rank == 0, wait_for_workers=False, **more)


class Rows:
    """The two ends of a divided pass: images are cut, logits are joined."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.counts: list[int] = []
        """Rows of the passes under way."""

    def cut(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Leave this rank's rows of the images."""
        (x,) = inputs
        self.counts.append(len(x))
        if x.requires_grad and torch.is_grad_enabled():
            return (Cut.apply(x, self.ranks),)
        return (x[self.ranks.part(len(x))],)

    def join(self, network: nn.Module, inputs: Any, logits: Tensor) -> Tensor:
        """Put the logits of all ranks together."""
        joined: Tensor = Join.apply(logits, self.counts.pop(), self.ranks)
        return joined


class Cut(torch.autograd.Function):
    """This rank's rows of a batch; its gradient is that of all rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks) -> Tensor:
        """Return the rows."""
        ctx.ranks, ctx.count = ranks, len(x)
        return x[ranks.part(len(x))].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Put the gradients of all ranks together."""
        return ctx.ranks.whole(gradient, ctx.count), None


class Join(torch.autograd.Function):
    """The rows of all ranks; the gradient goes to this rank's own."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, count: int, ranks: Ranks) -> Tensor:
        """Put the rows together."""
        ctx.rows = ranks.part(count)
        return ranks.whole(part, count)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return this rank's rows."""
        return gradient[ctx.rows], None, None


@contextmanager
def _parting() -> Iterator[None]:
    """Tell an operation that fails since another rank has gone from other errors."""
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise  # this rank's own
    except RuntimeError as error:
        raise Parted(str(error)) from error
