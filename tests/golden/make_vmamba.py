"""Makes vmamba.npz: what the public VMamba definition answers for a tiny DASS with drawn weights.

    git clone https://github.com/MzeroMiko/VMamba /tmp/vmamba
    python tests/golden/make_vmamba.py /tmp/vmamba tests/golden/vmamba.npz

The file in the repository was made so, at commit 2ed52ea, with torch 2.13 on a CPU. Nothing of that code is kept here:
its modules are imported from the clone. On a machine without CUDA they need two things. Packages the forward pass does
without (fvcore, einops) or of which it uses a trifle (timm) are stood in for where they are missing. Their scan calls
open `torch.cuda.device`, which a CPU has not; the calls are led to the plain torch forms beside them, which are the
authors' own reference: `CrossScanF`, `CrossMergeF`, `selective_scan_torch`.

The copy of that code in Saurabhbhati/DASS (commit 246c9f4), whose checkpoints are published, has the same names and
shapes and gave the same bits.

Source: Liu et al. 2024, "VMamba", classification/models/vmamba.py, built with the arguments of DASS (Bhati et al. 2024,
src/models/ast_models.py), but a tiny width and depth.
"""

import argparse
import functools
import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

DIMS, DEPTHS, CLASSES = (16, 32, 64, 128), (1, 1, 1, 1), 5
CLIPS, MELS, FRAMES = 2, 40, 52  # sides that do not halve evenly: 10 x 13, 5 x 7, 3 x 4, 2 x 2
WEIGHT_SEED, INPUT_SEED = 1, 2


def uniform(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Numbers in [-1, 1) from the raw bits of PCG64, a stream that NumPy promises not to change."""
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return ((bits >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32).reshape(shape)


def draw(shapes: dict[str, tuple[int, ...]], seed: int = WEIGHT_SEED) -> dict[str, torch.Tensor]:
    """A state dict in which no weight is idle: matrices keep the size of what passes, norms are not 1 and 0."""
    state = {}
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        x = uniform(1000 * seed + number, shape)
        if "norm" in name or name.startswith(("patch_embed.2", "patch_embed.7")) or "downsample.3" in name:
            x = 1 + 0.3 * x if name.endswith("weight") else 0.3 * x
        elif name.endswith("dt_projs_bias"):
            x = 1.5 * x - 2
        elif name.endswith("A_logs"):
            x = 0.8 * x
        elif name.endswith("Ds"):
            x = 1 + 0.5 * x
        elif name.endswith("bias"):
            x = 0.3 * x
        else:
            inputs = shape[-1] if name.endswith("projs_weight") or "x_proj" in name else int(np.prod(shape[1:]))
            x = x * (3 / inputs) ** 0.5
        state[name] = torch.from_numpy(np.ascontiguousarray(x))
    return state


def answers(model: torch.nn.Module, x: torch.Tensor) -> dict[str, NDArray[np.float32]]:
    """Patch embedding, features and logits of the public model."""
    found: dict[str, NDArray[np.float32]] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: found.__setitem__(name, output.numpy().copy())

    model.patch_embed.register_forward_hook(keep("patches"))
    model.classifier.flatten.register_forward_hook(keep("features"))
    with torch.no_grad():
        found["logits"] = model(x).numpy().copy()
    return found


def public_model(repository: Path) -> torch.nn.Module:
    """VSSM of that clone with DASS's arguments."""
    stand_in()
    sys.path.insert(0, str(repository / "classification" / "models"))
    vmamba = importlib.import_module("vmamba")
    scans, selective = importlib.import_module("csm_triton"), importlib.import_module("csms6s")
    vmamba.cross_scan_fn = functools.partial(on_cpu, scans.CrossScanF)
    vmamba.cross_merge_fn = functools.partial(on_cpu, scans.CrossMergeF)
    vmamba.selective_scan_fn = selective.selective_scan_torch
    return vmamba.VSSM(
        in_chans=1,
        num_classes=CLASSES,
        dims=list(DIMS),
        depths=list(DEPTHS),
        drop_path_rate=0.2,
        ssm_d_state=1,
        ssm_ratio=1.0,
        ssm_conv_bias=False,
        forward_type="v05_noz",
        downsample_version="v3",
        patchembed_version="v2",
        norm_layer="LN2D",
    ).eval()


def on_cpu(
    form: Any,
    x: torch.Tensor,
    in_channel_first: bool = True,
    out_channel_first: bool = True,
    one_by_one: bool = False,
    scans: int = 0,
    force_torch: bool = False,
) -> torch.Tensor:
    """Their scan or merge in plain torch, without the CUDA device they open around it."""
    return form.apply(x, in_channel_first, out_channel_first, one_by_one, scans)


def stand_in() -> None:
    """Empty modules for what is not installed."""
    wanted = {
        "timm.models.layers": {"DropPath": DropPath, "trunc_normal_": torch.nn.init.trunc_normal_},
        "fvcore.nn": dict.fromkeys(("FlopCountAnalysis", "flop_count_str", "flop_count", "parameter_count")),
        "einops": dict.fromkeys(("rearrange", "repeat", "einsum")),
    }
    for name, content in wanted.items():
        parts = name.split(".")
        if importlib.util.find_spec(parts[0]) is None:
            for depth in range(1, len(parts) + 1):
                sys.modules[".".join(parts[:depth])] = types.ModuleType(".".join(parts[:depth]))
            vars(sys.modules[name]).update(content)


class DropPath(torch.nn.Identity):
    """Nothing is dropped in evaluation."""

    drop_prob = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the golden arrays from a clone of MzeroMiko/VMamba.")
    parser.add_argument("repository", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    model = public_model(asked.repository)
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    model.load_state_dict(draw(shapes))
    x = uniform(INPUT_SEED, (CLIPS, 1, MELS, FRAMES))
    arrays = {"input": x, **answers(model, torch.from_numpy(x)), "shapes": np.array(json.dumps(shapes))}
    np.savez_compressed(asked.out, **arrays)
    for name, array in arrays.items():
        print(name, array.shape, array.dtype, "" if name == "shapes" else f"std {array.std():.3f}")


if __name__ == "__main__":
    main()
