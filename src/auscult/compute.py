"""The fast exact route for float32 matrix products on the processor: found by measuring, never assumed.

torch multiplies float32 matrices with MKL, and with oneDNN when `torch.set_float32_matmul_precision("medium")` allows
bfloat16 inside. Without AMX tiles oneDNN does not use that licence: it computes in float32, on some processors more
than twice as fast. With AMX it does use it. So both routes multiply the same matrices here, and the other one is taken
only when its result is as good and it is faster.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import platformdirs
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import fingerprint
from .errors import AuscultError, unknown
from .runs import processor, read_json, write_json

log = logging.getLogger(__name__)

NAMES = ("auto", "default", "onednn")
EXACT = 2e-6  # largest error allowed, relative to the largest value; float32 gives 5e-7, bfloat16 3e-3
GAIN = 1.02  # a faster route is at least this much faster
SHAPE = 400, 384, 1536  # the commonest product of DASS small: rows, inputs, outputs
ROUNDS = 7


@dataclass(frozen=True, kw_only=True)
class Route:
    """What was found about float32 products on this machine.

    Args:
        name: ``default``, or ``onednn`` when that one is as exact and faster.
        error: of oneDNN's against float64, relative to the largest value.
        default_error: of torch's own.
        gain: time of torch's own over time of oneDNN's.
    """

    name: str
    error: float
    default_error: float
    gain: float


def tune() -> Route:
    """Sets the faster exact route for the whole process and gives it. AUSCULT_MATMUL asks for one by name.

    For commands and scripts. Importing the library changes no setting of torch.

    Raises:
        AuscultError: E_SETTING when AUSCULT_MATMUL holds an unknown name.
    """
    asked = os.environ.get("AUSCULT_MATMUL") or "auto"
    if asked not in NAMES:
        raise unknown("route of matrix products", asked, NAMES)
    taken = route() if asked == "auto" else replace(measure(), name=asked)
    torch.set_float32_matmul_precision("medium" if taken.name == "onednn" else "highest")
    return taken


@cache
def route() -> Route:
    """What was found on this machine: measured once and kept on disk, so that a resumed run repeats its own bits."""
    kept = _file()
    if kept.exists():
        return Route(**read_json(kept))
    found = measure()
    try:
        write_json(kept, asdict(found))
    except AuscultError as error:
        log.info("the route of matrix products is measured at every start: %s", error.message)
    return found


def _file() -> Path:
    machine = fingerprint({"processor": processor(), "torch": torch.__version__, "shape": SHAPE}, length=12)
    folder = Path(os.environ.get("AUSCULT_CACHE") or platformdirs.user_cache_path("auscult"))
    return folder / f"matmul-{machine}.json"


def measure() -> Route:
    """Measures both routes, one after the other in turns, and leaves torch's setting as it was."""
    generator = torch.Generator().manual_seed(0)
    rows, inputs, outputs = SHAPE
    a, b = torch.randn(rows, inputs, generator=generator), torch.randn(outputs, inputs, generator=generator)
    exact = a.double() @ b.double().t()
    errors, times = {"highest": 0.0, "medium": 0.0}, {"highest": 9e9, "medium": 9e9}
    for _ in range(ROUNDS):
        for precision in errors:
            with _precision(precision):
                started = time.perf_counter()
                product = F.linear(a, b)
                times[precision] = min(times[precision], time.perf_counter() - started)
            errors[precision] = float((product - exact).abs().max() / exact.abs().max())
    gain = times["highest"] / times["medium"]
    name = "onednn" if errors["medium"] <= EXACT and gain >= GAIN else "default"
    return Route(name=name, error=errors["medium"], default_error=errors["highest"], gain=gain)


@contextmanager
def _precision(name: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def linear_gelu(layer: nn.Module, x: Tensor) -> Tensor:
    """`gelu(layer(x))`, the exact GELU, in one pass over memory where that is possible.

    Possible is: a plain `nn.Linear`, float32 on the processor, no gradient wanted, not under autocast or a tracer,
    oneDNN there and its private operator in agreement with the two steps on a small example.
    """
    if type(layer) is nn.Linear and _one_pass(x) and _fused_works():
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "gelu", [], "none")
    return F.gelu(layer(x))


def linear_add(layer: nn.Module, x: Tensor, other: Tensor) -> Tensor:
    """`other + layer(x)` in one pass over memory where that is possible; see `linear_gelu`."""
    if type(layer) is nn.Linear and other.dtype == torch.float32 and _one_pass(x) and _fused_works():
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, layer.weight, layer.bias, "add")
    return other + layer(x)


def _one_pass(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()  # true while exporting too
        and not torch.jit.is_tracing()
    )


@cache
def _fused_works() -> bool:
    """Whether oneDNN's fused products are there and right; a private operator of torch may go or change."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    generator = torch.Generator().manual_seed(0)
    x, w, b, other = (torch.randn(s, generator=generator) for s in ((2, 3, 5, 32), (48, 32), (48,), (2, 3, 5, 48)))
    with torch.inference_mode():
        try:
            gelu = torch.ops.mkldnn._linear_pointwise(x, w, b, "gelu", [], "none")
            added = torch.ops.mkldnn._linear_pointwise.binary(x, other, w, b, "add")
            bare = torch.ops.mkldnn._linear_pointwise.binary(x, other, w, None, "add")
        except (RuntimeError, AttributeError):  # another torch: the two steps do as well
            return False
        product = F.linear(x, w)
        pairs = (gelu, F.gelu(product + b)), (added, other + product + b), (bare, other + product)
        return all(torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5) for ours, theirs in pairs)
