"""The networks that are compared, each by its name: ours, ours on the torch scan, the public VMamba, AST.

All DASS networks carry the same weights, drawn so that every block has a say, with no two decay rates alike.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AuscultError
from ..models.dass import Dass, start_by_fan_in
from ..models.scan import force
from . import vmamba
from .ast import AST
from .ast import check as check_ast
from .setting import MELS, Setting, autocast, tensor

OURS, CHUNKED, CHECKPOINT = "ours", "ours, torch scan", "ours, checkpoint"
WHOLE = "ours, passes apart"
VMAMBA, VMAMBA_HALF, AST_BASE = "public VMamba", "VMamba, bf16", "AST-base"
CLASSES = 4
TOLERANCE = {"fp32": 1e-5, "bf16": 5e-2}
GRADIENT_TOLERANCE = {"fp32": 1e-4, "bf16": 1e-1}
CHECK_S = 8.0  # the definition walks step by step: it is asked for no longer clip than this
GRADIENT_CHECK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and how it is run.

    Args:
        module: (B, 1, F, T) to (B, K) or features; has `patchify` and `encode`.
        precision: fp32 or bf16.
        scan: which scan `ss2d` takes; no matter to a rival.
        shared: whether a training step of three passes embeds the patches once and takes the two views as one batch.
    """

    name: str
    module: Any  # an nn.Module; mypy does not know its verbs
    precision: str
    device: str
    scan: str = "auto"
    shared: bool = True

    def infer(self, x: Tensor) -> Callable[[], Tensor]:
        """One forward pass without gradients."""

        def work() -> Tensor:
            with torch.inference_mode(), force(self.scan), autocast(self.device, self.precision):
                return self.module(x)

        return work

    def step(self, x: Tensor, passes: int = 1, optimizer: bool = False) -> Callable[[], object]:
        """Forward and backward, and AdamW if asked.

        Args:
            passes: 1, or 3: the clean clip and two views with patches mixed along time and along frequency.
        """
        self.module.train()
        update = torch.optim.AdamW(self.module.parameters(), lr=1e-5) if optimizer else None

        def work() -> None:
            self.module.zero_grad(set_to_none=True)
            with force(self.scan):
                with autocast(self.device, self.precision):
                    out = self.outputs(x, passes)
                (out.float() * ramp(out)).sum().backward()
            if update is not None:
                update.step()

        return work

    def outputs(self, x: Tensor, passes: int) -> Tensor:
        """The outputs of all passes, one after another along the batch."""
        if passes == 1:
            return self.module(x)
        encode, patchify = self.module.encode, self.module.patchify
        if self.shared:
            p = patchify(x)
            return torch.cat((encode(p), encode(torch.cat((mixed(p, 3), mixed(p, 2))))))
        return torch.cat((encode(patchify(x)), encode(mixed(patchify(x), 3)), encode(mixed(patchify(x), 2))))


def ramp(like: Tensor) -> Tensor:
    """Weights of a loss, from -1 to 1; after a norm a mean square would have hardly any gradient."""
    return torch.linspace(-1, 1, like.numel(), device=like.device).view(like.shape)


def mixed(patches: Tensor, axis: int) -> Tensor:
    """The first half along an axis, the rest from the clip before: the work of patch mixing, not its lottery."""
    first = torch.arange(patches.shape[axis], device=patches.device) < patches.shape[axis] // 2
    shape = [1] * patches.ndim
    shape[axis] = -1
    return torch.where(first.view(shape), patches, patches.roll(1, 0))


def dass(size: str, checkpoint: bool = False) -> nn.Module:
    """DASS with a head, without drop path, its weights always the same."""
    torch.manual_seed(0)
    network = Dass(size=size, drop_path=0.0, checkpoint=checkpoint).build(CLASSES)
    network.apply(start_by_fan_in)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("A_logs", "Ds")):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


def names(setting: Setting, *, vmamba_folder: Path | None, ast: bool, train: bool, passes: int = 1) -> list[str]:
    """Who takes part, ours first; rivals that cannot are refused before anything is built."""
    found = [OURS, CHUNKED]
    if train:
        found.append(CHECKPOINT)
    if passes == 3:
        found.append(WHOLE)
    if vmamba_folder is not None:
        vmamba.load(vmamba_folder)
        found.append(VMAMBA)
        if setting.precision == "bf16":
            found.append(VMAMBA_HALF)
    if ast:
        check_ast(setting.frames)
        found.append(AST_BASE)
    return found


def build(name: str, setting: Setting, vmamba_folder: Path | None = None, frames: int | None = None) -> Network:
    """The network of that name, on the device of `setting`.

    Args:
        frames: for AST, whose length is fixed; None takes that of `setting`.

    Raises:
        AuscultError: E_SETTING for an unknown name, or VMamba without its folder.
    """
    where: dict[str, Any] = {"precision": setting.precision, "device": setting.device}
    if name == AST_BASE:
        return Network(name=name, module=AST(frames or setting.frames).to(setting.device).eval(), **where)
    ours = dass(setting.size, checkpoint=name == CHECKPOINT)
    if name in (OURS, CHUNKED, CHECKPOINT, WHOLE):
        ours = ours.to(setting.device).eval()
        return Network(
            name=name, module=ours, scan="chunked" if name == CHUNKED else "auto", shared=name != WHOLE, **where
        )
    if name not in (VMAMBA, VMAMBA_HALF) or vmamba_folder is None:
        raise AuscultError("E_SETTING", f"no network {name!r} without --vmamba, the folder of its public code.")
    theirs = _Verbs(vmamba.build(vmamba_folder, setting.size, ours.state_dict(), CLASSES)).to(setting.device).eval()
    precision = "bf16" if name == VMAMBA_HALF else "fp32"
    return Network(name=name, module=theirs, precision=precision, device=setting.device)


class _Verbs(nn.Module):
    """The public VMamba behind the interface of our backbones."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def patchify(self, x: Tensor) -> Tensor:
        return self.network.patch_embed(x)

    def encode(self, x: Tensor) -> Tensor:
        for stage in self.network.layers:
            x = stage(x)
        return self.network.classifier(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(self.patchify(x))


def clip(setting: Setting, batch: int | None = None, frames: int | None = None) -> Tensor:
    """Input of a network, normal numbers. Shape: (B, 1, F, T)."""
    return tensor(batch or setting.batch, 1, MELS, frames or setting.frames, seed=2, device=setting.device)


class Definition:
    """What all must agree with, in float64: DASS on the step-by-step scan; for AST, AST itself."""

    def __init__(self, setting: Setting, passes: int = 1) -> None:
        self.setting, self.passes = setting, passes
        self._known: dict[str, Tensor] = {}

    def output_error(self, network: Network) -> float:
        """Largest difference of the outputs of a clip of at most 8 s (AST: 1 s), relative to the largest output."""
        network, x = self._case(network, CHECK_S)
        with torch.inference_mode():
            exact = self._once("output", network, lambda twin: twin.module(x.double().cpu()))
        return _error(exact, network.infer(x)())

    def gradient_error(self, network: Network) -> float:
        """The difference of all gradients of a training step on a clip of at most 1 s, relative to their length."""
        network, x = self._case(network, GRADIENT_CHECK_S)

        def gradients(which: Network, clip: Tensor) -> Tensor:
            which.step(clip, self.passes)()
            named = {n.removeprefix("network."): p.grad for n, p in which.module.named_parameters()}
            found = [g.flatten().double().cpu() for _, g in sorted(named.items()) if g is not None]
            which.module.zero_grad(set_to_none=True)
            return torch.cat(found)

        exact = self._once("gradients", network, lambda twin: gradients(twin, x.double().cpu()))
        found = gradients(network, x)
        return float((found - exact).norm() / exact.norm())

    def _case(self, network: Network, limit_s: float) -> tuple[Network, Tensor]:
        seconds = min(self.setting.seconds, GRADIENT_CHECK_S if network.name == AST_BASE else limit_s)
        frames = Setting(seconds=seconds).frames
        if network.name == AST_BASE and frames != self.setting.frames:
            network = build(AST_BASE, self.setting, frames=frames)
        return network, clip(self.setting, batch=2 if self.passes == 3 else 1, frames=frames)

    def _once(self, what: str, network: Network, compute: Callable[[Network], Tensor]) -> Tensor:
        key = f"{what} of {AST_BASE if network.name == AST_BASE else 'DASS'}"
        if key not in self._known:
            source = network.module if network.name == AST_BASE else dass(self.setting.size)
            module = copy.deepcopy(source).cpu().double()
            twin = Network(name=key, module=module, precision="fp32", device="cpu", scan="reference")
            self._known[key] = compute(twin)
        return self._known[key]


def _error(exact: Tensor, found: Tensor) -> float:
    return float((found.detach().double().cpu() - exact).abs().max() / exact.abs().max())


def tolerances(network: Network, table: dict[str, float]) -> float:
    """The tolerance of the precision a network runs in."""
    return table[network.precision]


def notes(chosen: Sequence[str], folder: Path | None) -> list[str]:
    """What must stand below a table with these networks."""
    found = []
    if folder is not None and VMAMBA in chosen:
        found.append(vmamba.patched(vmamba.load(folder)))
        found.append("public VMamba runs in fp32 unless its name says bf16; all share one setting of matrix products")
    return found
