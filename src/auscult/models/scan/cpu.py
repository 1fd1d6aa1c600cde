"""The selective scan on the processor: the torch operator `auscult::ss2d` around the numba kernels.

For torch the operator is a leaf of known shape, so torch.compile, torch.export and DistributedDataParallel take it as
it is. Its backward is an operator too and recomputes from states that the forward kept every 32 steps. numba is
imported, and the kernels compiled (about 5 s, then kept on disk), when first used.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from .threads import on_threads

# Both stand in kernels.py too: numba's cache looks at that file alone, and this one must not import it.
STEPS = 32  # between two kept states
LANES = 16  # channels in a vector register
WIDEST = 96  # channels in a block


def scan(
    u: Float[Tensor, "B H W D"],
    x: Float[Tensor, "B H W 4 R2"],
    dt_weight: Float[Tensor, "4 R D"],
    dt_bias: Float[Tensor, "4 D"],
    A: Float[Tensor, "4 D"],
    D_skip: Float[Tensor, "4 D"],
) -> Float[Tensor, "B H W D"]:
    """`ss2d` by the compiled kernels, in float32 inside; the output has the type of `u`."""
    inputs = [t.float() for t in (u, x, dt_weight, dt_bias, A, D_skip)]
    save = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    plain = not save and type(u) is Tensor and not torch.compiler.is_compiling()
    run: Callable[..., tuple[Tensor, Tensor]] = scanned if plain else forward_op
    y, _ = run(*inputs, save)  # the operator's first call costs 138 MB
    return y.to(u.dtype)


def block_width(samples: int, channels: int, threads: int) -> int:
    """Channels per task: few wide blocks, but enough tasks that no thread waits. The last block may be narrower.

    >>> block_width(8, 96, 2), block_width(1, 96, 2), block_width(1, 384, 2), block_width(32, 24, 2)
    (96, 48, 96, 24)
    """
    widths = {min(channels, -(-channels // blocks // LANES) * LANES) for blocks in range(1, channels // LANES + 2)}

    def cost(width: int) -> int:
        tasks = samples * -(-channels // width)
        return -(-tasks // threads) * (width + LANES)  # each step of a task also costs about one register of work

    return min((w for w in widths if w <= WIDEST), key=lambda width: (cost(width), -width))


def scanned(
    u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor, save: bool
) -> tuple[Tensor, Tensor]:
    """The scan and, when `save`, the states before every 32nd step, (B, 4, ceil(H W / 32), D)."""
    _check(u, x, dt_weight, dt_bias, A, D_skip)
    samples, rows, columns, channels = u.shape
    y = (u * D_skip.sum(0)).contiguous()
    states = _empty_states(u, save)
    inputs = _flat(u, x, _even(dt_weight), dt_bias, A, y, states)
    block = block_width(samples, channels, torch.get_num_threads())
    tasks = samples * -(-channels // block)
    _run("forward", tasks, inputs, rows, columns, channels, dt_weight.shape[1], block, save)
    return y, states


forward_op = torch.library.custom_op("auscult::ss2d", scanned, mutates_args=(), device_types="cpu")


@forward_op.register_fake
def _forward_fake(
    u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor, save: bool
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(u, memory_format=torch.contiguous_format), _empty_states(u, save)


@torch.library.custom_op("auscult::ss2d_backward", mutates_args=(), device_types="cpu")
def backward_op(
    dy: Tensor, states: Tensor, u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `auscult::ss2d` for its six inputs, in their order."""
    with torch.autocast("cpu", enabled=False):
        return _gradients(dy, states, u, x, dt_weight, dt_bias, A, D_skip)


@backward_op.register_fake
def _backward_fake(
    dy: Tensor, states: Tensor, u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    du, dx = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (u, x))
    d_weight, d_bias, dA, d_skip = (t.new_empty(t.shape) for t in (dt_weight, dt_bias, A, D_skip))
    return du, dx, d_weight, d_bias, dA, d_skip


def _gradients(
    dy: Tensor, states: Tensor, u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    _check(dy, states, u, x, dt_weight, dt_bias, A, D_skip)
    samples, rows, columns, channels = u.shape
    length, rank = rows * columns, dt_weight.shape[1]
    block = block_width(samples, channels, torch.get_num_threads())
    x = x.contiguous()
    du = (dy * D_skip.sum(0)).contiguous()
    dx, d_weight = torch.empty_like(x), dt_weight.new_empty(dt_weight.shape)
    dz = u.new_empty(samples * length, channels)
    dbc = u.new_empty(-(-channels // block), samples * length, 2)  # each block's share
    dA, d_bias = u.new_empty(4, samples, channels), u.new_empty(4, samples, channels)
    inputs = _flat(u, x, _even(dt_weight), dt_bias, A, dy, states, du, dz, dbc)
    flat_x, flat_dx = x.view(-1, 4, rank + 2), dx.view(-1, 4, rank + 2)
    for k in range(4):  # one direction at a time, so that dz is kept for one only
        arrays = [*inputs, *_flat(dA[k], d_bias[k])]
        _run("backward", samples * len(dbc), arrays, samples, rows, columns, channels, rank, block, k)
        flat_dx[:, k, :rank] = dz @ dt_weight[k].t()
        flat_dx[:, k, rank:] = dbc.sum(0)
        torch.mm(flat_x[:, k, :rank].t(), dz, out=d_weight[k])
    d_skip = (u * dy).sum((0, 1, 2)).repeat(4, 1)
    return du, dx, d_weight, d_bias.sum(1), dA.sum(1), d_skip


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
    wrong = {str(t.dtype) for t in tensors} - {"torch.float32"}
    if wrong:
        raise ValueError(
            f"auscult::ss2d takes float32, not {', '.join(sorted(wrong))}; auscult.models.scan.ss2d converts"
        )


def _empty_states(u: Tensor, save: bool) -> Tensor:
    samples, rows, columns, channels = u.shape
    return u.new_empty(samples, 4, (rows * columns + STEPS - 1) // STEPS if save else 0, channels)


def _even(dt_weight: Tensor) -> Tensor:
    """An even rank, as the kernels take inputs in pairs: a row of zeros makes up for a missing one."""
    return pad(dt_weight, (0, 0, 0, dt_weight.shape[1] % 2))


def _flat(*tensors: Tensor) -> list[np.ndarray]:
    """Flat arrays on the tensors' memory (of a copy, for one that is not contiguous)."""
    return [t.detach().contiguous().view(-1).numpy() for t in tensors]


@cache
def _kernel(name: str) -> Any:
    from . import kernels

    if (kernels.STEPS, kernels.WIDEST) != (STEPS, WIDEST):
        raise ValueError("STEPS and WIDEST must be the same in cpu.py and kernels.py")
    return {"forward": kernels.forward, "backward": kernels.backward}[name]()


def _run(name: str, tasks: int, arrays: list[np.ndarray], *sizes: int) -> None:
    """Runs a kernel on as many threads as torch uses."""
    data = np.array([0, tasks, *(a.ctypes.data for a in arrays), *sizes], dtype=np.int64)
    on_threads(_kernel(name).address, data.ctypes.data, min(tasks, torch.get_num_threads()))
