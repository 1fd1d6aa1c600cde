"""The selective scan on a GPU: the torch operator `auscult::ss2d_gpu` around the Triton kernels.

The length is cut into tiles of 32 steps that run side by side, whatever the batch: a first pass sums up each tile, a
short second chains the states from tile to tile, a third computes each tile from the state that enters it. The price is
that step sizes and decays are computed twice; in return one recording fills the device as well as a batch does, no
program waits for another, and the states between tiles are there for the backward, which recomputes the rest.

One program does both directions of a line, so that the map is read once for two of them and their sum never leaves
registers. Rows go first, into a float32 map; columns add theirs and write the result in the type of `u`. Nothing is
added by atomics: what several programs share of one gradient goes to planes of their own that are summed at the end,
so results repeat bit for bit. Bytes moved for each value of `u`, with s bytes in its type, T steps and N channels in a
tile:

    forward   7 s + 8 for the maps, 8 (R + 2) s / N for x, 96 / T for states
    backward  9 s + 8 for the maps, 8 (R + 2) s / N for x, 112 / T for states,
              32 (R + 2) / N for dx in a plane per block, 32 (R + 3) / T for the parameters in a plane per tile

A plane per direction for y and du would cost 24 more in either. triton is imported when first used, and the kernels are
compiled then, once for each number of channels, rank and type.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

TYPES = (torch.float32, torch.bfloat16, torch.float16)

# The table to tune. Steps: each tile costs states and a plane of parameter gradients, each step registers. Channels
# in a block, and the warps for it: a thread then holds 16 values of each map (8 in tiles of 16 steps), which the
# gradients just fit into 255 registers. Products of matrices: "ieee" is float32 throughout, "tf32x3" nearly so.
STEPS = 32
WARPS = {16: 1, 32: 2, 64: 4}
PRECISION = "ieee"
CHAIN = (64, 32, 4)  # tiles at a time, channels and warps where states are chained


def scan(
    u: Float[Tensor, "B H W D"],
    x: Float[Tensor, "B H W 4 R2"],
    dt_weight: Float[Tensor, "4 R D"],
    dt_bias: Float[Tensor, "4 D"],
    A: Float[Tensor, "4 D"],
    D_skip: Float[Tensor, "4 D"],
) -> Float[Tensor, "B H W D"]:
    """`ss2d` by the Triton kernels, in float32 inside; inputs of half precision are read as they are."""
    inputs = [t if t.dtype in TYPES else t.float() for t in (u, x, dt_weight, dt_bias, A, D_skip)]
    save = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    y, _ = forward_op(*inputs, save)
    return y.to(u.dtype)


@dataclass(frozen=True)
class Tiling:
    """How a map is cut: `tiles` of `steps` along the length, `blocks` of `lanes` channels, `warps` for one of each."""

    steps: int
    tiles: int
    lanes: int
    blocks: int
    warps: int


def tiling(channels: int, length: int) -> Tiling:
    """The cut of a map: the widest blocks of those that leave the fewest lanes empty.

    >>> tiling(96, 6400)
    Tiling(steps=32, tiles=200, lanes=32, blocks=3, warps=2)
    >>> tiling(768, 100)
    Tiling(steps=32, tiles=4, lanes=64, blocks=12, warps=4)
    """
    lanes = min(WARPS, key=lambda lanes: (-(-channels // lanes) * lanes, -lanes))
    return Tiling(STEPS, -(-length // STEPS), lanes, -(-channels // lanes), WARPS[lanes])


@torch.library.custom_op("auscult::ss2d_gpu", mutates_args=(), device_types=("cuda", "cpu"))
def forward_op(
    u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor, save: bool
) -> tuple[Tensor, Tensor]:
    """The scan and, when `save`, the states entering each tile, (B, 4, tiles, D) in float32."""
    _check(u, x, dt_weight, dt_bias, A, D_skip)
    u, x, dt_weight, dt_bias, A, D_skip = (t.contiguous() for t in (u, x, dt_weight, dt_bias, A, D_skip))
    states = _entering(u, x, dt_weight, dt_bias, A, adjoint=False)
    y = torch.empty_like(u)
    by_row = _sum_of_rows(y)
    for columns in (0, 1):
        _run("outputs", u, x, (u, x, dt_weight, dt_bias, A, D_skip, states, by_row, y), (), COLUMNS=columns)
    return y, states if save else _empty_states(u, save)


@forward_op.register_fake
def _forward_fake(
    u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor, save: bool
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(u, memory_format=torch.contiguous_format), _empty_states(u, save)


@torch.library.custom_op("auscult::ss2d_gpu_backward", mutates_args=(), device_types=("cuda", "cpu"))
def backward_op(
    dy: Tensor, states: Tensor, u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `auscult::ss2d_gpu` for its six inputs, in their order and types."""
    _check(dy, states, u, x, dt_weight, dt_bias, A, D_skip)
    parameters = dt_weight, dt_bias, A, D_skip
    dy, states, u, x, dt_weight, dt_bias, A, D_skip = (t.contiguous() for t in (dy, states, u, x, *parameters))
    (samples, rows, columns, channels), rank = u.shape, x.shape[4] - 2
    cut = tiling(channels, rows * columns)
    adjoint = _entering(dy, x, dt_weight, dt_bias, A, adjoint=True)
    du = torch.empty_like(u)
    by_row = _sum_of_rows(du)
    dx = u.new_empty(cut.blocks, *x.shape, dtype=torch.float32)  # each block's share
    sums = u.new_empty(samples, cut.tiles, 4, rank + 3, channels, dtype=torch.float32)
    maps = u, dy, x, dt_weight, dt_bias, A, D_skip, states, adjoint, by_row, du, dx, sums
    for line in (0, 1):
        _run("gradients", u, x, maps, (samples,), COLUMNS=line)
    d_weight, *rest = sums.sum((0, 1)).split((rank, 1, 1, 1), 1)
    found = (d_weight, *(t.squeeze(1) for t in rest))
    shares = (share.to(t.dtype, copy=True) for share, t in zip(found, parameters, strict=True))
    return du, (dx[0] if cut.blocks == 1 else dx.sum(0)).to(x.dtype), *shares


@backward_op.register_fake
def _backward_fake(
    dy: Tensor, states: Tensor, u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    du, dx = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (u, x))
    d_weight, d_bias, dA, d_skip = (t.new_empty(t.shape) for t in (dt_weight, dt_bias, A, D_skip))
    return du, dx, d_weight, d_bias, dA, d_skip


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], *inputs[:6])


def _backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if dy is None:
        return (None,) * 7
    states, *inputs = ctx.saved_tensors
    return *backward_op(dy, states, *inputs), None


forward_op.register_autograd(_backward, setup_context=_save_for_backward)


def _check(*tensors: Tensor) -> None:
    wrong = {str(t.dtype) for t in tensors if t.dtype not in TYPES}
    if wrong:
        raise ValueError(
            f"auscult::ss2d_gpu takes float32, bfloat16 and float16, not {', '.join(sorted(wrong))}; "
            "auscult.models.scan.ss2d converts"
        )


def _entering(value: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, adjoint: bool) -> Tensor:
    """The state that enters each tile, (B, 4, tiles, D); of the adjoint, from the other end, with dy for `value`."""
    entering = _empty_states(value, True)
    if entering.shape[2] == 1:
        return entering.zero_()
    decays, states = torch.empty_like(entering), torch.empty_like(entering)
    maps = value, x, dt_weight, dt_bias, A, decays, states
    _run("summarise", value, x, maps, (), directions=4, ADJOINT=int(adjoint))
    steps, lanes, warps = CHAIN
    samples, _, tiles, channels = entering.shape
    grid = (-(-channels // lanes), samples, 4)
    sizes = {"D": channels, "STEPS": steps, "LANES": lanes, "ADJOINT": int(adjoint)}
    _launch("enter", value, grid, warps, decays, states, entering, tiles, **sizes)
    return entering


def _empty_states(u: Tensor, save: bool) -> Tensor:
    samples, rows, columns, channels = u.shape
    tiles = (rows * columns + STEPS - 1) // STEPS if save else 0  # as in `tiling`; sizes may be symbols here
    return u.new_empty(samples, 4, tiles, channels, dtype=torch.float32)


def _sum_of_rows(result: Tensor) -> Tensor:
    """The float32 map that keeps the rows' part: the result itself, where that is float32."""
    return result if result.dtype == torch.float32 else torch.empty_like(result, dtype=torch.float32)


def _run(
    name: str, u: Tensor, x: Tensor, maps: tuple[Tensor, ...], more: tuple[int, ...], directions: int = 1, **flag: int
) -> None:
    """One of the kernels that work on tiles of the map."""
    samples, rows, columns, channels = u.shape
    cut = tiling(channels, rows * columns)
    sizes = {"D": channels, "R": x.shape[4] - 2, "STEPS": cut.steps, "LANES": cut.lanes, "PRECISION": PRECISION}
    grid = (cut.tiles * cut.blocks, samples, directions)
    _launch(name, u, grid, cut.warps, *maps, rows, columns, cut.tiles, *more, **sizes, **flag)


def _launch(name: str, near: Tensor, grid: tuple[int, int, int], warps: int, *arguments: Any, **constants: Any) -> None:
    from . import gpu_kernels  # imports triton

    # Fusing products and sums is the older default of triton; naming it keeps results the same from version to version.
    with torch.cuda.device_of(near) if near.is_cuda else nullcontext():
        getattr(gpu_kernels, name)[grid](*arguments, **constants, num_warps=warps, enable_fp_fusion=True)
