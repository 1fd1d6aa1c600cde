"""The selective scan in plain torch: many short chunks side by side, then the states carried from chunk to chunk.

Exact at any step size: it only multiplies decays, each in (0, 1], and never divides by one. There is no loop that
depends on values, so it exports, and it runs on every device in float32 and float64.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, softplus

CHUNK = 16  # steps; sequences up to this long are a plain loop


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
    u_, x, dt_weight, dt_bias, A, D_skip = (t.to(dtype) for t in (u, x, dt_weight, dt_bias, A, D_skip))
    along = _rows_and_columns(u_, u_)
    onward = _directions(along, _rows_and_columns(x[..., 0, :], x[..., 1, :]), dt_weight[:2], dt_bias[:2], A[:2], False)
    back = _directions(along, _rows_and_columns(x[..., 2, :], x[..., 3, :]), dt_weight[2:], dt_bias[2:], A[2:], True)
    by_row, by_column = (onward + back).unbind(1)
    rows, columns = u.shape[1:3]
    y = torch.addcmul(by_row.unflatten(1, (rows, columns)), u_, D_skip.sum(0))
    return (y + by_column.unflatten(1, (columns, rows)).transpose(1, 2)).to(u.dtype)


def _rows_and_columns(a: Float[Tensor, "B H W C"], b: Float[Tensor, "B H W C"]) -> Float[Tensor, "B 2 L C"]:
    """The first map read along its rows, the second along its columns."""
    return torch.stack((a.flatten(1, 2), b.transpose(1, 2).flatten(1, 2)), 1)


def _directions(
    u: Float[Tensor, "B 2 L D"],
    x: Float[Tensor, "B 2 L R2"],
    dt_weight: Float[Tensor, "2 R D"],
    dt_bias: Float[Tensor, "2 D"],
    A: Float[Tensor, "2 D"],
    reverse: bool,
) -> Float[Tensor, "B 2 L D"]:
    """C h of two directions that run the same way."""
    low, b, c = x.split((dt_weight.shape[1], 1, 1), -1)
    delta = softplus(low @ dt_weight + dt_bias[:, None], threshold=100.0)  # float64 is still curved at torch's 20
    decay, drive = torch.exp(delta * A[:, None]), delta * b * u
    if torch.is_grad_enabled() and (decay.requires_grad or drive.requires_grad):
        return c * _Scan.apply(decay, drive, reverse)
    return c * linear_scan(decay, drive, reverse)


class _Scan(torch.autograd.Function):
    """`linear_scan` with its own backward, which is the same scan run the other way."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, drive: Tensor, reverse: bool) -> Tensor:
        h = linear_scan(decay, drive, reverse)
        ctx.save_for_backward(decay, h)
        ctx.reverse = reverse
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, Tensor, None]:
        decay, h = ctx.saved_tensors
        drive_grad = linear_scan(_shift(decay, not ctx.reverse), dh, not ctx.reverse)
        return drive_grad * _shift(h, ctx.reverse), drive_grad, None


def linear_scan(
    decay: Float[Tensor, "*batch L D"], drive: Float[Tensor, "*batch L D"], reverse: bool = False
) -> Float[Tensor, "*batch L D"]:
    """`h[l] = decay[l] * h[l - 1] + drive[l]` from `h = 0`; from the other end with `reverse`.

    >>> linear_scan(torch.full((3, 1), 0.5), torch.ones(3, 1)).flatten()
    tensor([1.0000, 1.5000, 1.7500])
    """
    length = drive.shape[-2]
    if length <= CHUNK:
        return torch.stack(_loop(decay.unbind(-2), drive.unbind(-2), reverse), -2)
    missing = -length % CHUNK
    if missing:
        decay, drive = (pad(t, (0, 0, 0, missing)) for t in (decay, drive))
    decay, drive = (t.unflatten(-2, (-1, CHUNK)) for t in (decay, drive))
    own = torch.stack(_loop(decay.unbind(-2), drive.unbind(-2), reverse), -2)
    kept = torch.stack(_loop(decay.unbind(-2), None, reverse), -2)
    last = 0 if reverse else -1
    entering = _shift(linear_scan(kept[..., last, :], own[..., last, :], reverse), reverse)
    return torch.addcmul(own, kept, entering.unsqueeze(-2)).flatten(-3, -2)[..., :length, :]


def _loop(decay: tuple[Tensor, ...], drive: tuple[Tensor, ...] | None, reverse: bool) -> list[Tensor]:
    """The recurrence step by step; without a drive, what each step leaves of the state before the first."""
    h: list[Tensor] = []
    for step in range(len(decay))[:: -1 if reverse else 1]:
        if not h:
            h.append(decay[step] if drive is None else drive[step])
        elif drive is None:
            h.append(decay[step] * h[-1])
        else:
            h.append(torch.addcmul(drive[step], decay[step], h[-1]))
    return h[:: -1 if reverse else 1]


def _shift(t: Float[Tensor, "*batch L D"], reverse: bool) -> Float[Tensor, "*batch L D"]:
    """The value of the step before (after, when `reverse`); zero at the start."""
    return pad(t[..., 1:, :], (0, 0, 0, 1)) if reverse else pad(t[..., :-1, :], (0, 0, 1, 0))
