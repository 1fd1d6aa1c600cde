"""The rival: VMamba's public code, from a copy that the user has. Nothing of it is kept in this package.

That code runs on CUDA only. On a CPU two functions are replaced, which enter `torch.cuda.device` before they pick their
own torch form; the rest is theirs. Packages it imports but does not need here are stood in for, if they are missing.

Source: Liu et al. 2024, "VMamba", https://github.com/MzeroMiko/VMamba, folder classification/models.
"""

import contextlib
import importlib
import importlib.util
import sys
import types
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AuscultError
from ..models.dass import SIZES

PACKAGE = "_public_vmamba"
FLOPS_NAMES = ("FlopCountAnalysis", "flop_count_str", "flop_count", "parameter_count")


@cache
def load(folder: Path) -> types.ModuleType:
    """Its module `vmamba`, ready for the CPU; `patched(module)` says what was changed.

    Args:
        folder: of the repository.

    Raises:
        AuscultError: E_SETTING when the code is not there or cannot be imported.
    """
    models = folder / "classification" / "models"
    if not (models / "vmamba.py").is_file():
        raise AuscultError("E_SETTING", f"--vmamba {folder} holds no classification/models/vmamba.py; clone VMamba.")
    name = f"{PACKAGE}_{zlib.crc32(str(models.resolve()).encode())}"  # two copies do not mix
    package = types.ModuleType(name)
    package.__path__ = [str(models)]
    try:
        with _standing_in(package) as changes, warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with contextlib.redirect_stdout(sys.stderr):  # it prints what it misses; stdout is for results
                module = importlib.import_module(f"{name}.vmamba")
                plain = importlib.import_module(f"{name}.csm_triton")
    except (ImportError, AttributeError) as error:
        raise AuscultError("E_SETTING", f"the code in {models} cannot be imported: {error}.") from error
    for function, form in (("cross_scan_fn", "CrossScanF"), ("cross_merge_fn", "CrossMergeF")):
        setattr(module, function, _on_cpu(getattr(module, function), getattr(plain, form)))
    changes.append("cross_scan_fn and cross_merge_fn take their torch form on a CPU")
    changes += sorted({f"it warns: {w.message}" for w in said if w.category is UserWarning})
    module.__dict__["_changes"] = changes
    return module


def patched(module: types.ModuleType) -> str:
    """What `load` changed, in words."""
    return "public VMamba: " + "; ".join(module.__dict__["_changes"])


def scan_modules(
    module: types.ModuleType,
) -> tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor]]:
    """Its cross-scan, selective scan and cross-merge, as its block `v05` calls them."""
    return module.cross_scan_fn, module.selective_scan_fn, module.cross_merge_fn


def build(folder: Path, size: str, state: dict[str, Tensor], classes: int) -> nn.Module:
    """Its network of a DASS size, with the weights `state` of ours: the names are the published ones."""
    shape = SIZES[size]
    network = load(folder).VSSM(
        in_chans=1,
        num_classes=classes,
        depths=list(shape.depths),
        dims=list(shape.dims),
        ssm_d_state=1,
        ssm_ratio=1.0,
        ssm_conv_bias=False,
        forward_type="v05_noz",
        mlp_ratio=4.0,
        drop_path_rate=0.0,
        norm_layer="ln2d",
        downsample_version="v3",
        patchembed_version="v2",
    )
    network.load_state_dict({name: value.clone() for name, value in state.items()})
    return network


def _on_cpu(theirs: Callable[..., Tensor], form: Any) -> Callable[..., Tensor]:
    def call(
        x: Tensor,
        in_channel_first: bool = True,
        out_channel_first: bool = True,
        one_by_one: bool = False,
        scans: int = 0,
        force_torch: bool = False,
    ) -> Tensor:
        if x.is_cuda:
            return theirs(x, in_channel_first, out_channel_first, one_by_one, scans, force_torch)
        return form.apply(x, in_channel_first, out_channel_first, one_by_one, scans)

    return call


@contextlib.contextmanager
def _standing_in(package: types.ModuleType) -> Iterator[list[str]]:
    """Puts the package and what it needs only by name into `sys.modules`; afterwards the stand-ins are gone again."""
    own = package.__name__
    made = {own: package, **_mamba2(own)}
    changes = ["its Mamba-2 part, which DASS does not use, is left out"]
    for name, modules in {"timm": _timm(), "fvcore": _fvcore()}.items():
        if importlib.util.find_spec(name) is None:
            made |= modules
            changes.append(f"{name} is missing: a stand-in for it")
    sys.modules.update(made)
    try:
        yield changes
    except BaseException:
        for name in [n for n in sys.modules if n.split(".")[0] == own]:
            del sys.modules[name]
        raise
    finally:
        for name in made:
            if name != own:
                sys.modules.pop(name, None)


def _module(name: str, **contents: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__dict__.update(contents)
    return made


def _mamba2(package: str) -> dict[str, types.ModuleType]:
    name = f"{package}.mamba2"
    return {name: _module(name), f"{name}.ssd_minimal": _module(f"{name}.ssd_minimal", selective_scan_chunk_fn=None)}


def _timm() -> dict[str, types.ModuleType]:
    layers = _module("timm.models.layers", DropPath=_NoDropPath, trunc_normal_=nn.init.trunc_normal_)
    models = _module("timm.models", layers=layers)
    return {"timm": _module("timm", models=models), "timm.models": models, "timm.models.layers": layers}


def _fvcore() -> dict[str, types.ModuleType]:
    fvcore_nn = _module("fvcore.nn", **dict.fromkeys(FLOPS_NAMES))
    return {"fvcore": _module("fvcore", nn=fvcore_nn), "fvcore.nn": fvcore_nn}


class _NoDropPath(nn.Module):
    """DropPath of rate 0, the only rate used here."""

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        if drop_prob:
            raise ValueError(f"drop path rate {drop_prob}; the stand-in for timm knows only 0")
        self.drop_prob = drop_prob

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x
