"""The four-direction selective scan of VMamba's SS2D with one state per channel, in four forms that agree.

`reference` is the definition, `chunked` plain torch for every device, `cpu` and `gpu` are compiled kernels.
AUSCULT_SCAN or `force` asks for one by name; otherwise `choose` takes the best that works.
"""

import importlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from subprocess import SubprocessError
from typing import ParamSpec, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import AuscultError, unknown
from . import chunked, reference

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)

NAMES = ("auto", "chunked", "cpu", "gpu", "reference")
DEVICES = {"cpu": "cpu", "gpu": "cuda"}  # of the compiled forms
COMPILERS = {"cpu": "numba", "gpu": "triton"}
SINGLE = (torch.float32, torch.bfloat16, torch.float16)  # computed in float32 by the compiled forms
TINY = 64  # positions up to which the loop is as quick in float64

_forced: ContextVar[str | None] = ContextVar("_forced", default=None)


def ss2d(
    u: Float[Tensor, "B H W D"],
    x: Float[Tensor, "B H W 4 R2"],
    dt_weight: Float[Tensor, "4 R D"],
    dt_bias: Float[Tensor, "4 D"],
    A: Float[Tensor, "4 D"],
    D_skip: Float[Tensor, "4 D"],
) -> Float[Tensor, "B H W D"]:
    """Scans a map along its rows, its columns and both reversed, and adds the four results where they belong.

    In direction k, with `delta = softplus(x[..., k, :R] @ dt_weight[k] + dt_bias[k])`, `B = x[..., k, R]` and
    `C = x[..., k, R + 1]`, step l of the sequence is

        h_l = exp(delta_l A) h_{l-1} + delta_l B_l u_l,    h_0 = 0
        y_l = C_l h_l + D_skip u_l

    Args:
        u: the map, channels last.
        x: for each of the four directions R inputs of the step size, then B, then C; R2 is R + 2.
        dt_weight: from the R inputs to each channel's step size.
        dt_bias: added before the softplus.
        A: decay rates, negative: `-exp(A_log)`.
        D_skip: the direct path, one factor per direction and channel.

    Returns:
        The sum, in the type of `u`. Half precision is computed in float32, also under autocast.

    Raises:
        AuscultError: E_SETTING when AUSCULT_SCAN holds an unknown name, or that of a form for another device.

    Source: Liu et al., VMamba, arXiv 2401.10166, section 4.2, and its code: `csms6s.py` (scan and merge), `vmamba.py`
    (forward type v05), `selective_scan_fwd_kernel_oflex.cuh`. As in that code the input enters by the Euler step
    `delta B u`, where the paper writes a zero-order hold.
    """
    form, kind = _load(choose(u)), u.device.type
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    with torch.autocast(kind, enabled=False) if autocast else nullcontext():
        return form(u, x, dt_weight, dt_bias, A, D_skip)


def choose(u: Tensor) -> str:
    """The form that runs for this map: the one asked for, or the best that works here.

    On the processor and on CUDA devices that is the compiled kernel, once it has agreed with the definition on a tiny
    map. float64, other devices and graphs being exported take the chunked form; tiny float64 maps take the definition.
    """
    name, kind = _asked(), u.device.type
    if name in DEVICES and kind != DEVICES[name] and not (name == "gpu" and _interpreted()):
        hint = "; its kernels run on the processor only with TRITON_INTERPRET=1" if name == "gpu" else ""
        raise AuscultError(
            "E_SETTING", f"the scan '{name}' was asked for a map on {u.device}; ask for 'auto' or 'chunked'{hint}."
        )
    if name != "auto":
        return name
    if u.dtype == torch.float64:
        return "reference" if u.shape[1] * u.shape[2] <= TINY else "chunked"
    if kind not in DEVICES.values() or u.dtype not in SINGLE or torch.compiler.is_exporting():
        return "chunked"
    best = "cpu" if kind == "cpu" else "gpu"
    return best if _works(best, str(u.device), torch.is_grad_enabled()) else "chunked"


def prefer(name: str) -> AbstractContextManager[None]:
    """`force`, unless another form is asked for by `force` or AUSCULT_SCAN."""
    return force(name) if _asked() == "auto" else nullcontext()


@contextmanager
def force(name: str) -> Iterator[None]:
    """Within the block, in this thread, `ss2d` takes this form; "auto" undoes an outer block and AUSCULT_SCAN.

    >>> with force("reference"):
    ...     choose(torch.zeros(1, 2, 2, 8))
    'reference'
    """
    token = _forced.set(_known(name))
    try:
        yield
    finally:
        _forced.reset(token)


def _constant(function: Callable[P, R]) -> Callable[P, R]:
    """What `torch.compiler.assume_constant_result` does, without importing torch._dynamo: 140 MB, and two seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@_constant
def _asked() -> str:
    return _known(_forced.get() or os.environ.get("AUSCULT_SCAN") or "auto")


def _known(name: str) -> str:
    if name not in NAMES:
        raise unknown("scan", name, NAMES)
    return name


@_constant
def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _load(name: str) -> Callable[..., Tensor]:
    if name == "cpu":
        from . import cpu  # not at the top: registers the operator, which only this form needs

        return cpu.scan
    if name == "gpu":
        from . import gpu

        return gpu.scan
    return {"chunked": chunked.scan, "reference": reference.scan}[name]


@_constant
def _works(name: str, device: str, gradients: bool) -> bool:
    return _checked(name, device, gradients)  # torch.compile would look through the cache


@cache
def _checked(name: str, device: str, gradients: bool) -> bool:
    """Whether a form's compiler is there and its kernels agree with the definition; asked once for each device."""
    cost = ", about 4 times slower" if name == "cpu" else ", which is slower"
    try:
        compiler = importlib.import_module(COMPILERS[name])
    except ImportError as error:
        log.info("%s cannot be imported (%s): the scan takes its torch form%s", COMPILERS[name], error, cost)
        return False
    refusal = compiler.core.errors.NumbaError if name == "cpu" else compiler.TritonError
    try:
        wrong_by = _disagreement(_load(name), gradients, device)
    except (refusal, RuntimeError, OSError, SubprocessError) as failure:
        reason = f"does not run ({type(failure).__name__}: {failure})"
    else:
        if wrong_by <= 1e-5:
            return True
        reason = f"differs from its definition by {wrong_by:.1e}"
    warnings.warn(
        f"the compiled scan {reason}; taking the torch form{cost}. AUSCULT_SCAN=chunked does so without this check.",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def _disagreement(form: Callable[..., Tensor], gradients: bool, device: str = "cpu") -> float:
    """The largest error on a tiny map, of the output and, if asked, the six gradients, each relative to its largest."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 3, 13, 20), (2, 3, 13, 4, 5), (4, 3, 20), (4, 20), (4, 20), (4, 20)
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        exact = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=gradients) for s in shapes]
        single = [t.detach().to(device, torch.float32).requires_grad_(gradients) for t in exact]
        pairs = []
        forms: tuple[Callable[..., Tensor], ...] = (reference.scan, form)
        for scan, inputs in zip(forms, (exact, single), strict=True):
            y = scan(*inputs[:4], -inputs[4].exp(), inputs[5])
            pairs.append((y.detach(), *(torch.autograd.grad(y.square().sum(), inputs) if gradients else ())))
    return max(float((b.cpu() - a).abs().max() / a.abs().max()) for a, b in zip(*pairs, strict=True))
