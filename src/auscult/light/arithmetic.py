"""Layers of a network in numpy, float32, on maps (..., C) with contiguous channels.

Elementwise work goes by pieces that stay in the cache: on whole maps it would wait for memory.
"""

import numpy as np
from jaxtyping import Float

PIECE = 2**15  # numbers worked on at once, 128 KiB
EPS = 1e-5  # of torch's LayerNorm
Array = np.ndarray
ERF = tuple(map(np.float32, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)))
ERF_SCALE = np.float32(0.3275911 / np.sqrt(2))


def linear(x: Float[Array, "*P I"], weight: Float[Array, "O I"], bias: Float[Array, "O"] | None = None) -> Array:
    """``x @ weight.T + bias``. Shape: (*P, O)."""
    y = np.matmul(x.reshape(-1, x.shape[-1]), weight.T)
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], len(weight))


def layer_norm(x: Float[Array, "*P C"], weight: Float[Array, "C"], bias: Float[Array, "C"]) -> Float[Array, "*P C"]:
    """Every position to mean 0 and variance 1 over its channels, then scale and shift."""
    rows = x.reshape(-1, x.shape[-1])
    made = np.empty_like(rows)
    average = np.full(rows.shape[1], 1 / rows.shape[1], np.float32)  # a product is quicker than a mean of few numbers
    at_once = max(1, PIECE // rows.shape[1])
    for start in range(0, len(rows), at_once):
        some, y = rows[start : start + at_once], made[start : start + at_once]
        np.subtract(some, (some @ average)[:, None], out=y)
        y *= (1 / np.sqrt(np.square(y) @ average + np.float32(EPS)))[:, None]
        y *= weight
        y += bias
    return made.reshape(x.shape)


def gelu_(x: Float[Array, "*P"]) -> Float[Array, "*P"]:
    """x * Phi(x), in place, within 1e-6.

    Source: Abramowitz and Stegun 1964, 7.1.26: erf within 1.5e-7, by a polynomial and an exponential.
    """
    t = np.abs(x)
    z = np.square(t)
    z *= np.float32(-0.5)
    np.exp(z, out=z)
    t *= ERF_SCALE
    t += np.float32(1)
    np.reciprocal(t, out=t)
    p = t * ERF[0]
    for factor in ERF[1:]:
        p += factor
        p *= t
    p *= z
    p *= np.float32(-0.5)
    p += np.float32(0.5)  # |Phi(x) - 1/2|
    np.copysign(p, x, out=p)
    p += np.float32(0.5)
    x *= p
    return x


def silu(x: Float[Array, "*P"]) -> Float[Array, "*P"]:
    """x * sigmoid(x)."""
    with np.errstate(over="ignore"):  # exp(-x) of a very negative x is infinite, and x over it 0, as it should be
        e = np.exp(-x)
    e += np.float32(1)
    return np.divide(x, e, out=e)


def softplus_(x: Float[Array, "*P"]) -> Float[Array, "*P"]:
    """log(1 + exp(x)), in place, without overflow."""
    e = np.abs(x)
    np.negative(e, out=e)
    np.exp(e, out=e)
    np.log1p(e, out=e)
    np.maximum(x, 0, out=x)
    x += e
    return x


def mlp(
    x: Float[Array, "*P C"],
    first: tuple[Float[Array, "H C"], Float[Array, "H"]],
    second: tuple[Float[Array, "C H"], Float[Array, "C"]],
) -> Float[Array, "*P C"]:
    """Linear, GELU, linear, by rows: what is inside, four times as wide, is never there as a whole."""
    rows = x.reshape(-1, x.shape[-1])
    y = np.empty_like(rows)
    at_once = max(1, PIECE // len(first[0]))
    for start in range(0, len(rows), at_once):
        inside = gelu_(linear(rows[start : start + at_once], *first))
        y[start : start + at_once] = linear(inside, *second)
    return y.reshape(x.shape)


def padded(x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 C"]:
    """A border of zeros, one wide."""
    batch, rows, columns, channels = x.shape
    made = np.zeros((batch, rows + 2, columns + 2, channels), np.float32)
    made[:, 1:-1, 1:-1] = x
    return made


def halved(
    x: Float[Array, "B H W C"], weight: Float[Array, "O C 3 3"], bias: Float[Array, "O"]
) -> Float[Array, "B H2 W2 O"]:
    """3x3 convolution of stride 2: n -> ceil(n / 2) rows and columns."""
    rows, columns = (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2
    around = padded(x)
    seen = [around[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for i in range(3) for j in range(3)]
    return linear(np.concatenate(seen, axis=-1), weight.transpose(0, 2, 3, 1).reshape(len(weight), -1), bias)


def depthwise(x: Float[Array, "B H W C"], weight: Float[Array, "C 1 3 3"]) -> Float[Array, "B H W C"]:
    """3x3 convolution of every channel by itself."""
    rows, columns = x.shape[1:3]
    around, factors = padded(x), np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))
    made = np.zeros_like(x)
    for clip, out in zip(around, made, strict=True):
        term = np.empty_like(out)
        for i in range(3):
            for j in range(3):
                np.multiply(clip[i : i + rows, j : j + columns], factors[i, j], out=term)
                out += term
    return made
