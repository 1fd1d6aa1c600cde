"""What this machine can do at best: matrix products by every route, and copies. The floor of a network is made of them.

One side of 2048 in fp32 is 17 GFLOP; on a GPU 8192, as 2048 does not fill one.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .setting import Setting, tensor
from .timing import Clock
from .work import products

SIDE, GPU_SIDE = 2048, 8192
COPY_BYTES = 2**28
SAMPLES = 5
EXACT = 1e-5  # a fp32 product of this error is fp32; bf16 inside would give 1e-3

ROUTES: dict[str, tuple[str, str | None]] = {  # name -> precision, what torch calls the route
    "fp32, torch's default": ("fp32", "ieee"),
    "fp32, oneDNN": ("fp32", "bf16"),
    "bf16": ("bf16", None),
}


def peaks(setting: Setting) -> dict[str, Any]:
    """Measured peaks with the threads and on the device of `setting`.

    Returns:
        ``gemm``: one dictionary a route with GFLOP/s and error; ``own_shapes_gflops``: the network's own linear layers
        by the route in force; ``copy_gb_s``: bytes read and written by a copy of 256 MiB.
    """
    clock = Clock(threads=setting.threads, device=setting.device)
    side = SIDE if setting.device == "cpu" else GPU_SIDE
    found = []
    for name, (precision, kind) in ROUTES.items():
        if setting.device == "cuda" and kind == "bf16":
            continue  # oneDNN is a library for CPUs
        with route(kind if setting.device == "cpu" else None):
            found.append({"route": name, "precision": precision, "side": side, **_square(side, precision, clock)})
    return {
        "gemm": found,
        "own_shapes_gflops": own_shapes(setting, clock),
        "copy_gb_s": copy_gb_s(setting.device, clock),
    }


@contextlib.contextmanager
def route(kind: str | None) -> Iterator[None]:
    """Within the block, fp32 products on the CPU take this route: ``ieee`` or ``bf16`` (torch's name for oneDNN's)."""
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    try:
        if kind is not None:
            torch.backends.mkldnn.matmul.fp32_precision = kind  # type: ignore[attr-defined]
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before  # type: ignore[attr-defined]


def best_gflops(found: dict[str, Any], precision: str) -> float:
    """The fastest route of a precision; for fp32 only those that are fp32 in truth."""
    able = [g for g in found["gemm"] if g["precision"] == precision and (precision == "bf16" or g["error"] < EXACT)]
    return max(g["gflops"] for g in able)


def _square(side: int, precision: str, clock: Clock) -> dict[str, float]:
    a, b = (_matrix(side, side, precision, clock.device, seed) for seed in (0, 1))
    rows = a[: min(side, 64)].double() @ b.double()
    error = float((torch.mm(a, b)[: len(rows)].double() - rows).abs().max() / rows.abs().max())
    return {"gflops": 2 * side**3 / _best(lambda: torch.mm(a, b), clock) / 1e9, "error": error}


def own_shapes(setting: Setting, clock: Clock) -> float:
    """GFLOP/s over all linear layers of the network, each shape timed for itself by the route in force."""
    flops = seconds = 0.0
    for times, (rows, inner, columns) in products(setting.size, setting.frames, setting.batch):
        a, b = (_matrix(*s, setting.precision, setting.device, 0) for s in ((rows, inner), (columns, inner)))
        flops += times * 2 * rows * inner * columns
        seconds += times * _best(lambda a=a, b=b: torch.nn.functional.linear(a, b), clock)  # type: ignore[misc]
    return flops / seconds / 1e9


def _matrix(rows: int, columns: int, precision: str, device: str, seed: int) -> Tensor:
    made = tensor(rows, columns, seed=seed, device=device)
    return made.bfloat16() if precision == "bf16" else made


def copy_gb_s(device: str, clock: Clock) -> float:
    """GB/s read and written by a copy of 256 MiB into memory that is already there."""
    source = torch.ones(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / _best(lambda: target.copy_(source), clock) / 1e9


def _best(work: Callable[[], object], clock: Clock) -> float:
    repeats = clock.repeats(work)
    return min(clock.sample(work, repeats).seconds for _ in range(SAMPLES))
