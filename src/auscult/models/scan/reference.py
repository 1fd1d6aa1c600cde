"""The selective scan as it is written down: one step after the other, in any floating type. Slow; the definition."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def scan(
    u: Float[Tensor, "B H W D"],
    x: Float[Tensor, "B H W 4 R2"],
    dt_weight: Float[Tensor, "4 R D"],
    dt_bias: Float[Tensor, "4 D"],
    A: Float[Tensor, "4 D"],
    D_skip: Float[Tensor, "4 D"],
) -> Float[Tensor, "B H W D"]:
    """`ss2d` by its recurrence; see there for the arguments."""
    merged = torch.zeros_like(u)
    for k in range(4):
        y = _one_direction(_walk(u, k), _walk(x[..., k, :], k), dt_weight[k], dt_bias[k], A[k], D_skip[k])
        merged = merged + _put_back(y, k, u.shape)
    return merged


def _one_direction(
    u: Float[Tensor, "B L D"],
    x: Float[Tensor, "B L R2"],
    dt_weight: Float[Tensor, "R D"],
    dt_bias: Float[Tensor, "D"],
    A: Float[Tensor, "D"],
    D_skip: Float[Tensor, "D"],
) -> Float[Tensor, "B L D"]:
    rank = dt_weight.shape[0]
    delta = softplus(x[..., :rank] @ dt_weight + dt_bias)
    h, outputs = torch.zeros_like(u[:, 0]), []
    for delta_l, u_l, x_l in zip(delta.unbind(1), u.unbind(1), x.unbind(1), strict=True):
        b_l, c_l = x_l[:, rank, None], x_l[:, rank + 1, None]
        h = torch.exp(delta_l * A) * h + delta_l * b_l * u_l
        outputs.append(c_l * h + D_skip * u_l)
    return torch.stack(outputs, 1)


def softplus(z: Tensor) -> Tensor:
    """log(1 + exp(z)). float64 is still curved at torch's threshold of 20, float32 overflows from 89 on."""
    return F.softplus(z, threshold=40.0 if z.dtype == torch.float64 else 20.0)


def _walk(t: Float[Tensor, "B H W C"], k: int) -> Float[Tensor, "B L C"]:
    """The map as the sequence that direction k sees: rows, columns, and the two reversed."""
    sequence = (t.transpose(1, 2) if k % 2 else t).flatten(1, 2)
    return sequence.flip(1) if k >= 2 else sequence


def _put_back(y: Float[Tensor, "B L D"], k: int, shape: torch.Size) -> Float[Tensor, "B H W D"]:
    rows, columns = shape[1:3]
    y = y.flip(1) if k >= 2 else y
    return y.unflatten(1, (columns, rows)).transpose(1, 2) if k % 2 else y.unflatten(1, (rows, columns))
