"""The selective scan in plain torch: many short chunks side by side, then the states carried from chunk to chunk.

Exact at any step size: it only multiplies decays, each in (0, 1], and never divides by one. There is no loop that
depends on values, so it exports, and it runs on every device in float32 and float64. Along columns a chunk is a column,
read where it lies; along rows it is a run of some 16 steps. The backward keeps the inputs only and computes the rest
again, one direction at a time.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from ...light.scan import LONGEST, chunk
from .reference import softplus


def scan(
    u: Float[Tensor, "B H W D"],
    x: Float[Tensor, "B H W 4 R2"],
    dt_weight: Float[Tensor, "4 R D"],
    dt_bias: Float[Tensor, "4 D"],
    A: Float[Tensor, "4 D"],
    D_skip: Float[Tensor, "4 D"],
) -> Float[Tensor, "B H W D"]:
    """`ss2d` by chunks; the inside is float32 at least, the output has the type of `u`."""
    dtype = torch.promote_types(u.dtype, torch.float32)
    inputs = [t.to(dtype) for t in (u, x, dt_weight, dt_bias, A, D_skip)]
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    y = _Scan.apply(*inputs) if learns and not torch.compiler.is_exporting() else _forward(*inputs)
    return y.to(u.dtype)


class _Scan(torch.autograd.Function):
    """`_forward` with a backward written by hand."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return _forward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        return _backward(dy, *ctx.saved_tensors)


def _forward(u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor) -> Tensor:
    y = u * D_skip.sum(0)
    for k in range(4):
        low, b, c = _parts(x, k, dt_weight)
        delta = softplus(_z(low, dt_weight[k], dt_bias[k]))
        decay = (delta * A[k]).exp_()
        h = _states(decay, delta.mul_(u).mul_(b), k)
        y = y.addcmul_(h, c)
    return y


def _backward(
    dy: Tensor, u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor
) -> tuple[Tensor, ...]:
    """The gradients of the six inputs. With g = dL/dh: g_l = C_l dy_l + decay_{l+1} g_{l+1}."""
    du, dx = dy * D_skip.sum(0), torch.empty_like(x)
    d_weight, d_bias, dA = torch.empty_like(dt_weight), torch.empty_like(dt_bias), torch.empty_like(A)
    rank = dt_weight.shape[1]
    for k in range(4):
        low, b, c = _parts(x, k, dt_weight)
        z = _z(low, dt_weight[k], dt_bias[k])
        delta = softplus(z)
        decay = (delta * A[k]).exp_()
        drive = (delta * u).mul_(b)
        g = _states(_next(decay, k), dy * c, k, backward=True)
        h = _states(decay, drive.clone(), k)
        dx[..., k, rank + 1] = torch.linalg.vecdot(dy, h)
        kept = h.sub_(drive).mul_(g)  # g_l decay_l h_{l-1}, as decay_l h_{l-1} = h_l - drive_l
        dA[k] = _sum(kept, delta)
        g_delta = g * delta
        dx[..., k, rank] = torch.linalg.vecdot(g_delta, u)
        du.addcmul_(g_delta, b)
        d_delta = kept.mul_(A[k]).add_(g.mul_(u).mul_(b))
        dz = d_delta.mul_(z.sigmoid_())
        d_bias[k] = dz.sum((0, 1, 2))
        dx[..., k, :rank] = dz @ dt_weight[k].t()
        d_weight[k] = low.flatten(0, -2).t() @ dz.flatten(0, -2)
    d_skip = _sum(u, dy).repeat(4, 1)
    return du, dx, d_weight, d_bias, dA, d_skip


def _parts(x: Tensor, k: int, dt_weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The R inputs of the step size, B and C of one direction, each (B, H, W, .)."""
    low, b, c = x[..., k, :].split((dt_weight.shape[1], 1, 1), -1)
    return low, b, c


def _z(low: Tensor, weight: Tensor, bias: Tensor) -> Float[Tensor, "B H W D"]:
    """What the softplus makes into a step size."""
    return (low @ weight).add_(bias)


def _sum(a: Float[Tensor, "B H W D"], b: Float[Tensor, "B H W D"]) -> Float[Tensor, "D"]:
    """The sum of a * b over all positions."""
    return (a * b).sum((0, 1, 2))


def _states(decay: Tensor, drive: Tensor, k: int, backward: bool = False) -> Float[Tensor, "B H W D"]:
    """h of direction k, or what runs through it backward; both maps are used up."""
    rows, columns = drive.shape[1:3]
    reverse = (k >= 2) != backward
    if k % 2:
        return linear_scan_(decay.transpose(1, 2), drive.transpose(1, 2), reverse).transpose(1, 2)
    length = rows * columns
    steps = chunk(int(length))
    h = linear_scan_(_cut(decay.flatten(1, 2), steps), _cut(drive.flatten(1, 2), steps), reverse)
    return h.flatten(1, 2)[:, :length].unflatten(1, (rows, columns))


def _cut(t: Float[Tensor, "B L D"], steps: int) -> Float[Tensor, "B N S D"]:
    """A sequence in chunks; zeros fill the last, which is harmless from either end."""
    missing = -t.shape[1] % steps
    return (pad(t, (0, 0, 0, missing)) if missing else t).unflatten(1, (-1, steps))


def _next(decay: Float[Tensor, "B H W D"], k: int) -> Float[Tensor, "B H W D"]:
    """The decay of the step after, in direction k; the last step has none."""
    walk = decay.transpose(1, 2) if k % 2 else decay
    line = walk.flatten(1, 2)
    after = pad(line[:, :-1], (0, 0, 1, 0)) if k >= 2 else pad(line[:, 1:], (0, 0, 0, 1))
    after = after.unflatten(1, walk.shape[1:3])
    return after.transpose(1, 2) if k % 2 else after


def linear_scan_(
    decay: Float[Tensor, "B N S D"], drive: Float[Tensor, "B N S D"], reverse: bool = False
) -> Float[Tensor, "B N S D"]:
    """`h[l] = decay[l] * h[l - 1] + drive[l]` from `h = 0`, over N chunks of S steps that follow one another.

    From the other end with `reverse`. Works in place: `drive` becomes h, `decay` is used up.

    >>> linear_scan_(torch.full((1, 1, 3, 1), 0.5), torch.ones(1, 1, 3, 1)).flatten()
    tensor([1.0000, 1.5000, 1.7500])
    """
    chunks, steps = drive.shape[1:3]
    order = range(steps)[:: -1 if reverse else 1]
    h, kept = _each_step(drive), _each_step(decay)
    for before, step in pairwise(order):
        h[step].addcmul_(kept[step], h[before])
        kept[step].mul_(kept[before])
    if chunks == 1:
        return drive
    ends = _carry(kept[order[-1]], h[order[-1]], reverse)
    if reverse:
        drive[:, :-1].addcmul_(decay[:, :-1], ends[:, 1:].unsqueeze(2))
    else:
        drive[:, 1:].addcmul_(decay[:, 1:], ends[:, :-1].unsqueeze(2))
    return drive


def _carry(decay: Float[Tensor, "B N D"], drive: Float[Tensor, "B N D"], reverse: bool) -> Float[Tensor, "B N D"]:
    """The state at the end of every chunk, from what each leaves of the state before it and its own."""
    count = drive.shape[1]
    steps = count if count <= LONGEST else math.isqrt(count)
    ends = linear_scan_(_cut(decay.clone(), steps), _cut(drive.clone(), steps), reverse)
    return ends.flatten(1, 2)[:, :count]


def _each_step(t: Float[Tensor, "B N S D"]) -> Sequence[Float[Tensor, "B N D"]]:
    # autograd allows no change in place to what `unbind` gives, which is the quicker
    return [t.select(2, step) for step in range(t.shape[2])] if torch.is_grad_enabled() else t.unbind(2)
