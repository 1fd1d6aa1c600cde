"""The selective scan in numpy: `models.scan.chunked` step by step, for maps (B, H, W, D).

The four directions go two and two: rows forwards and backwards side by side, then columns. Each is many short chunks
next to one another, and then the states carried from chunk to chunk.
"""

import math
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from .arithmetic import softplus_

Array = np.ndarray
STEPS = 16  # about so many in a chunk along a row
LONGEST = 8  # chunks whose states are carried one by one; more are chunked again


def ss2d(
    u: Float[Array, "B H W D"],
    x: Float[Array, "B H W 4 R2"],
    dt_weight: Float[Array, "4 R D"],
    dt_bias: Float[Array, "4 D"],
    A: Float[Array, "4 D"],
    D_skip: Float[Array, "4 D"],
) -> Float[Array, "B H W D"]:
    """See `models.scan.ss2d`: the same arguments and the same sum."""
    rank = dt_weight.shape[1]
    y = u * D_skip.sum(axis=0)
    for k in range(4):
        delta = np.matmul(np.ascontiguousarray(x[..., k, :rank]).reshape(-1, rank), dt_weight[k])
        delta += dt_bias[k]
        delta = softplus_(delta).reshape(u.shape)
        decay = delta * A[k]
        np.exp(decay, out=decay)
        delta *= u
        delta *= x[..., k, rank, None]
        h = states(decay, delta, k)
        y += np.multiply(h, x[..., k, rank + 1, None], out=decay)
    return y


def states(decay: Float[Array, "B H W D"], drive: Float[Array, "B H W D"], k: int) -> Float[Array, "B H W D"]:
    """h of direction k; both maps are used up."""
    batch, rows, columns, channels = drive.shape
    if k % 2:
        walk = (0, 2, 1, 3)
        return linear_scan_(decay.transpose(walk), drive.transpose(walk), k >= 2).transpose(walk)
    steps = chunk(rows * columns)
    lines = [cut(t.reshape(batch, -1, channels), steps) for t in (decay, drive)]
    h = linear_scan_(lines[0], lines[1], k >= 2)
    return h.reshape(batch, -1, channels)[:, : rows * columns].reshape(drive.shape)


def chunk(length: int) -> int:
    """Steps in a chunk along rows: near STEPS, and a divisor of the length where there is one.

    >>> chunk(6400), chunk(97), chunk(20)
    (16, 16, 4)
    """
    wanted = min(STEPS, max(4, math.isqrt(length)))
    divisors = [n for n in range(wanted // 2, 2 * wanted + 1) if n > 1 and length % n == 0]
    return min(divisors, key=lambda n: (abs(n - wanted), n), default=STEPS)


def cut(t: Float[Array, "B L D"], steps: int) -> Float[Array, "B N S D"]:
    """A sequence in chunks; zeros fill the last, which is harmless from either end."""
    missing = -t.shape[1] % steps
    if missing:
        t = np.pad(t, ((0, 0), (0, missing), (0, 0)))
    return t.reshape(len(t), -1, steps, t.shape[2])


def linear_scan_(
    decay: Float[Array, "B N S D"], drive: Float[Array, "B N S D"], reverse: bool = False
) -> Float[Array, "B N S D"]:
    """`h[l] = decay[l] * h[l - 1] + drive[l]` from `h = 0`, over N chunks of S steps that follow one another.

    From the other end with `reverse`. Works in place: `drive` becomes h, `decay` is used up.

    >>> linear_scan_(np.full((1, 1, 3, 1), 0.5), np.ones((1, 1, 3, 1))).ravel().tolist()
    [1.0, 1.5, 1.75]
    """
    chunks, steps = drive.shape[1:3]
    order = range(steps)[:: -1 if reverse else 1]
    term = np.empty_like(drive[:, :, 0])
    for before, step in pairwise(order):
        np.multiply(decay[:, :, step], drive[:, :, before], out=term)
        drive[:, :, step] += term
        if chunks > 1:
            decay[:, :, step] *= decay[:, :, before]
    if chunks == 1:
        return drive
    ends = carry(decay[:, :, order[-1]], drive[:, :, order[-1]], reverse)
    if reverse:
        decay[:, :-1] *= ends[:, 1:, None]
        drive[:, :-1] += decay[:, :-1]
    else:
        decay[:, 1:] *= ends[:, :-1, None]
        drive[:, 1:] += decay[:, 1:]
    return drive


def carry(decay: Float[Array, "B N D"], drive: Float[Array, "B N D"], reverse: bool) -> Float[Array, "B N D"]:
    """The state at the end of every chunk, from what each leaves of the state before it and its own."""
    count = drive.shape[1]
    steps = count if count <= LONGEST else math.isqrt(count)
    ends = linear_scan_(cut(decay.copy(), steps), cut(drive.copy(), steps), reverse)
    return ends.reshape(len(ends), -1, ends.shape[3])[:, :count]
