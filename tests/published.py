"""A tiny checkpoint in every layout in which weights of this family are published."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from auscult.models.dass import DASS

from .golden.make_vmamba import DEPTHS, DIMS, draw

GOLDEN = np.load(Path(__file__).parent / "golden" / "vmamba.npz")
SHAPES = {name: tuple(shape) for name, shape in json.loads(str(GOLDEN["shapes"])).items()}
ONE_BY_ONE = ("in_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")


def tiny(classes: int | None = None) -> DASS:
    torch.manual_seed(5)
    return DASS(DIMS, DEPTHS, 0.2, classes).eval()


def plain() -> dict[str, Tensor]:
    """The names and shapes are those of the public model's own state dict."""
    return draw(SHAPES)


def as_dass(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As DASS publishes: DataParallel names, 1x1 convolutions."""
    shaped = {n: t[:, :, None, None] if n.endswith(ONE_BY_ONE) else t for n, t in state.items()}
    return {f"module.v.{n}": t for n, t in shaped.items()}


def as_vmamba(state: dict[str, Tensor]) -> dict[str, object]:
    """As VMamba publishes: under ``model``, for colour images, beside other things."""
    stem = state["patch_embed.0.weight"]
    colour = torch.cat([0.5 * stem, 0.25 * stem, 0.25 * stem], dim=1)
    return {"model": state | {"patch_embed.0.weight": colour}, "epoch": 264, "max_accuracy": 82.6}


def as_hub(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the Hugging Face copies of DASS: other names, the four directions in one matrix."""
    found = {}
    for name, t in state.items():
        for published, here in zip("0257", "0134", strict=True):
            name = name.replace(f"patch_embed.{published}.", f"patch_embeddings.projection.{here}.")
        name = name.replace("downsample.1.", "downsample.down.").replace("downsample.3.", "downsample.norm.")
        if name.endswith(("x_proj_weight", "dt_projs_weight")):
            name, t = name.replace("_weight", ".weight"), t.flatten(0, 1)
        name = name.replace("classifier.", "")
        found[name if name.startswith("head.") else f"dass.{name}"] = t
    return found


def saved(state: object, file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file({n: t.contiguous() for n, t in state.items()}, file)  # type: ignore[attr-defined]
    else:
        torch.save(state, file)
    return file


LAYOUTS: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "bare": (lambda state: state, "a.pth"),
    "dass": (as_dass, "a.pth"),
    "dass safetensors": (as_dass, "a.safetensors"),
    "lightning": (lambda state: {"state_dict": as_dass(state), "epoch": 3}, "a.ckpt"),
    "vmamba": (as_vmamba, "a.pth"),
    "hub": (as_hub, "a.safetensors"),
}
