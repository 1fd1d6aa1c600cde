"""One batch, several processes: each encodes its share of the clips, and all see the features of all.

Everything but `Backbone.encode` (and `patchify`, where nothing comes between the two) is done on the whole batch by
every process: masks and noise, mixing, head, projectors, losses. So an objective that sets the clips of a batch against
each other sees all of them, a weighted mean is one over the whole batch, and every random number is the one that a
single process would draw. The price is a front end in every process; the backbone is what takes the time.

Gradients: every process has the same loss of the same features. What lies above `encode` gets its whole gradient
everywhere, what lies below gets the part of the process's own clips, times the number of processes. The mean over the
processes, which DistributedDataParallel makes, is the gradient of one process in both.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Share:
    """The clips that this process encodes.

    Args:
        rows: clips of the whole batch.
        first: of its own.
        last: behind its own.
        counts: False where it has none, and encodes one of another's that nobody looks at.
    """

    rows: int
    first: int
    last: int
    counts: bool = True


_shares: list[Share | None] = []


@contextlib.contextmanager
def within(share: Share | None) -> Iterator[None]:
    """Inside, maps hold this share of the batch."""
    _shares.append(share)
    try:
        yield
    finally:
        _shares.pop()


def current() -> Share | None:
    """The share that maps hold at this point; None where they hold the whole batch."""
    return _shares[-1] if _shares else None


def drawn(rows: int, draw: Callable[[int], Tensor]) -> Tensor:
    """``draw(rows)``; of a share ``draw`` of the whole batch, and of that the share.

    Every process then draws alike and ends with the same state of its generator.

    Args:
        rows: clips in the map at hand.
        draw: random numbers for so many clips, along the first axis.
    """
    share = current()
    return draw(rows) if share is None else draw(share.rows)[share.first : share.last]


def same_share() -> dict[str, Any]:
    """What `torch.utils.checkpoint.checkpoint` needs to compute again with the share of the first time."""
    share = current()
    if share is None:
        return {}
    return {"context_fn": lambda: (contextlib.nullcontext(), within(share))}


class SharedDropout(nn.Dropout):
    """Dropout inside a backbone: drawn for the whole batch, see `drawn`."""

    def forward(self, x: Float[Tensor, "B *rest"]) -> Float[Tensor, "B *rest"]:
        if current() is None or not self.training:
            return super().forward(x)
        return x * drawn(len(x), lambda rows: F.dropout(x.new_ones(rows, *x.shape[1:]), self.p))


class SharedBatchNorm(nn.BatchNorm2d):
    """A batch norm whose mean and variance are those of the whole batch, over all processes, while it trains."""

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        share = current()
        if share is None or not self.training:
            return super().forward(x)
        wide = x.float()
        n = share.rows * x.shape[2] * x.shape[3]
        mean = self.over_all(wide, n, share)
        centred = wide - mean[:, None, None]
        variance = self.over_all(centred.square(), n, share)
        self.follow(mean.detach(), variance.detach() * n / max(n - 1, 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def over_all(self, x: Float[Tensor, "B C H W"], n: int, share: Share) -> Float[Tensor, "C"]:
        """The mean of each channel over the clips of all processes."""
        return _Summed.apply(x.sum(dim=(0, 2, 3)) * float(share.counts)) / n

    @torch.no_grad()
    def follow(self, mean: Float[Tensor, "C"], variance: Float[Tensor, "C"]) -> None:
        """Moves the running statistics."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class _Summed(torch.autograd.Function):
    """Sum over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


class _Gathered(torch.autograd.Function):
    """The rows of all processes. Each has the same loss of them, so the sum of the gradients is N times the own."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, sizes: list[int], rank: int) -> Tensor:
        ctx.sizes, ctx.rank, ctx.shape = sizes, rank, own.shape
        sent = own.new_zeros(max(sizes), *own.shape[1:])
        sent[: sizes[rank]] = own[: sizes[rank]]
        found = [torch.empty_like(sent) for _ in sizes]
        distributed.all_gather(found, sent)
        return torch.cat([piece[:size] for piece, size in zip(found, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        first, size = sum(ctx.sizes[: ctx.rank]), ctx.sizes[ctx.rank]
        own = gradient.new_zeros(ctx.shape)
        own[:size] = gradient[first : first + size] * len(ctx.sizes)
        return own, None, None


def in_shares(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function(x)`` for a function that treats each clip by itself, computed by all processes together."""
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    bounds = [len(x) * r // ranks for r in range(ranks + 1)]
    sizes = [last - first for first, last in pairwise(bounds)]
    share = Share(len(x), bounds[rank], bounds[rank + 1])
    if not sizes[rank]:  # fewer clips than processes; a process without work would not answer the others
        share = Share(len(x), 0, 1, counts=False)
    with within(share):
        own = function(x[share.first : share.last])
    return _Gathered.apply(own, sizes, rank)


def share_encoding(backbone: nn.Module) -> None:
    """From now on the processes of the default group share the work of `backbone`, in training and evaluation.

    All of them must call it with the same batches. Its batch norms see the whole batch.

    Args:
        backbone: a `Backbone`; `compile_encode`, where it is wanted, comes before.
    """
    encode, patchify = backbone.encode, backbone.patchify

    def both(x: Tensor) -> Tensor:
        return encode(patchify(x))  # type: ignore[operator]

    backbone.encode = partial(in_shares, encode)  # type: ignore[assignment,arg-type]
    backbone.forward = partial(in_shares, both)
    for module in backbone.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm  # same tensors under the same names, another forward
