"""`auscult bench scan`: the selective scan of all blocks of a network, by every form there is and by its rivals."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.scan import choose, force, reference, ss2d
from . import memory, peaks, rivals, vmamba
from .document import document
from .setting import Setting, prepare
from .timing import Clock, Contestant, race
from .work import Map, maps

OUTPUT_TOLERANCE = {"fp32": 1e-5, "bf16": 1e-2}  # bf16: u, x and the output; the state is fp32 all the same
GRADIENT_TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
SLOW_ROUNDS = 2
VMAMBA = "public VMamba"
CHECK_LENGTH, GRADIENT_CHECK_LENGTH = 6400, 1600  # longer maps are cut for the check: the definition walks step by step
Scan = Callable[..., Tensor]


def measure(
    setting: Setting,
    *,
    vmamba_folder: Path | None = None,
    mambapy: bool = False,
    with_reference: bool = False,
    with_first_call: bool = True,
) -> dict[str, Any]:
    """Times the scan, forward and forward with backward, summed over the blocks of `setting.size`.

    Args:
        vmamba_folder: of the public repository; None leaves it out.
        mambapy: whether mambapy's parallel scan takes part.
        with_reference: whether the definition is timed too; it takes seconds.
        with_first_call: whether compiling is measured, in a process of its own.
    """
    state = prepare(setting)
    forms = contestants(setting, vmamba_folder, mambapy, with_reference)
    clock = Clock(threads=setting.threads, device=setting.device)
    races = {}
    for what, train in (("forward", False), ("forward + backward", True)):
        checked = [
            Contestant(
                name=name,
                work=_all_blocks(form, setting, train),
                error=_error(form, setting, train),
                tolerance=(GRADIENT_TOLERANCE if train else OUTPUT_TOLERANCE)[setting.precision],
                at_most=SLOW_ROUNDS if name in (VMAMBA, "reference") else None,
            )
            for name, form in forms.items()
        ]
        races[what] = race(checked, setting.rounds, clock, what)
    notes = [vmamba.patched(vmamba.load(vmamba_folder))] if vmamba_folder else []
    return document(
        "scan",
        setting,
        state,
        options={
            "vmamba": vmamba_folder is not None,
            "mambapy": mambapy,
            "reference": with_reference,
            "no-first-call": not with_first_call,
        },
        races=races,
        copy_gb_s=peaks.copy_gb_s(setting.device, clock),
        traffic={what: traffic(setting, train) for what, train in (("forward", False), ("forward + backward", True))},
        elements=sum(m.depth * m.rows * m.columns * m.channels * 4 for m in maps(setting.size, setting.frames)),
        first_call=memory.first_calls() if with_first_call else None,
        notes=notes,
    )


def traffic(setting: Setting, train: bool) -> int:
    """Bytes that a scan must move: u and x in, y out; with gradients also u, x and dy in, du and dx out."""
    maps_, projections = 0, 0
    for m in maps(setting.size, setting.frames):
        positions = setting.batch * m.depth * m.rows * m.columns
        maps_ += positions * m.channels
        projections += positions * 4 * (m.rank + 2)
    numbers = 5 * maps_ + 3 * projections if train else 2 * maps_ + projections
    return numbers * (2 if setting.precision == "bf16" else 4)


def contestants(setting: Setting, folder: Path | None, mambapy: bool, with_reference: bool) -> dict[str, Scan]:
    """Name to scan; the one that `choose` takes comes first."""
    best = choose(torch.empty(1, 32, 32, 32, device=setting.device))
    names = [best, *(n for n in ("chunked", "reference") if n != best and (n == "chunked" or with_reference))]
    found: dict[str, Scan] = {name: _forced(name) for name in names}
    if mambapy:
        found["mambapy"] = rivals.mambapy()
    if folder is not None:
        found[VMAMBA] = rivals.public_vmamba(folder)
    return found


def _forced(name: str) -> Scan:
    def scan(*inputs: Tensor) -> Tensor:
        with force(name):
            return ss2d(*inputs)

    return scan


def inputs_of(m: Map, batch: int, device: str, precision: str, exact: bool = False) -> list[Tensor]:
    """Inputs of `ss2d` for a map, distributed as when training starts: step sizes from 0.001 to 0.1, A near -1.

    Args:
        precision: of u and x.
        exact: the same numbers, in float64.
    """
    g = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    delta = torch.exp(torch.empty(4, m.channels, dtype=torch.float64).uniform_(-6.9, -2.3, generator=g))
    made = [
        normal(batch, m.rows, m.columns, m.channels),
        normal(batch, m.rows, m.columns, 4, m.rank + 2),
        normal(4, m.rank, m.channels) * m.rank**-0.5,
        delta + torch.log(-torch.expm1(-delta)),  # inverse of softplus
        -torch.exp(0.3 * normal(4, m.channels)),
        1 + 0.3 * normal(4, m.channels),
    ]
    half = torch.bfloat16 if precision == "bf16" else torch.float32
    rounded = [t.to(device, half if place < 2 else torch.float32) for place, t in enumerate(made)]
    return [t.double() for t in rounded] if exact else rounded


def _all_blocks(form: Scan, setting: Setting, train: bool) -> Callable[[], object]:
    precision, device = setting.precision, setting.device
    stages = [(m.depth, inputs_of(m, setting.batch, device, precision)) for m in maps(setting.size, setting.frames)]
    if not train:

        def forward() -> None:
            with torch.inference_mode():
                for depth, inputs in stages:
                    for _ in range(depth):
                        form(*inputs)

        return forward
    for _, inputs in stages:
        for t in inputs:
            t.requires_grad_()

    def backward() -> None:
        for depth, inputs in stages:
            for _ in range(depth):
                y = form(*inputs)
                torch.autograd.grad(y, inputs, torch.ones_like(y))

    return backward


def _error(form: Scan, setting: Setting, train: bool) -> float:
    """The worst over the maps, the longest cut; of the output, or of the worst of six gradients."""
    errors = []
    for m in maps(setting.size, setting.frames):
        limit = GRADIENT_CHECK_LENGTH if train else CHECK_LENGTH
        columns = min(m.columns, max(1, limit // m.rows))
        cut = Map(rows=m.rows, columns=columns, channels=m.channels, rank=m.rank, depth=1)
        exact = _results(reference.scan, inputs_of(cut, 1, "cpu", setting.precision, exact=True), train)
        found = _results(form, inputs_of(cut, 1, setting.device, setting.precision), train)
        errors += [_relative(a, b) for a, b in zip(exact, found, strict=True)]
    return float(torch.stack(errors).max())  # NaN stays NaN


def _results(form: Scan, inputs: Sequence[Tensor], train: bool) -> Sequence[Tensor]:
    if not train:
        with torch.inference_mode():
            return [form(*inputs)]
    leaves = [t.requires_grad_() for t in inputs]
    y = form(*leaves)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape).to(y)
    return torch.autograd.grad(y, leaves, weights)


def _relative(exact: Tensor, found: Tensor) -> Tensor:
    return (found.detach().double().cpu() - exact.detach()).abs().max() / exact.detach().abs().max()
