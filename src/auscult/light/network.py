"""From stored filterbanks to logits without torch, for the models that are simple enough: a small DASS, a linear head.

Which models these are, `takes` says from the file's header alone; every other one is for torch.
"""

import re
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Float16, Float32
from safetensors import SafetensorError, safe_open

from ..config import from_dict
from ..errors import AuscultError
from ..signal.clip import Clip
from ..signal.mel import AUDIOSET_MEAN, AUDIOSET_STD, MIN_STD
from ..weightsfile import Told, astray, damaged, digest
from .arithmetic import linear
from .dass import Dass, shapes

LARGEST = 4_000_000  # parameters; a larger network is quicker in torch, which then weighs little
EPS = 1e-5  # of torch's BatchNorm
MEL = ("weight", "bias", "running_mean", "running_var")
STEPS = "front.mel.num_batches_tracked"
SETTINGS = {
    "recipe": {
        *("kind", "name", "clip", "input", "backbone", "weights", "partial_weights", "head", "objective", "optimizer"),
        *("schedule", "epochs", "batch_size", "sampler", "drop_last", "precision", "clip_grad", "split", "validation"),
        *("validation_seed", "selection", "selection_task", "moving_average", "also_best_on_test", "compile"),
    },
    "backbone": {"kind", "size", "drop_path", "checkpoint", "smoothing"},
    "head": {"kind", "dropout", "normalise", "layer_norm"},
    "input": {"kind", "normalise", "frames", "specaugment", "fit", "augment"},
}
"""Those that are known here; a file with another one, which may change what the network does, is for torch."""
TORCH = {"float32": "torch.float32", "int64": "torch.int64"}
Array = np.ndarray


class LightNetwork:
    """The network of a weights file.

    Args:
        path: a file that `takes` takes.
        told: its words.

    Raises:
        AuscultError: E_RUN for numbers that were changed, or are none (NaN).
    """

    device = "cpu"
    precision: Literal["fp32"] = "fp32"
    batch = 4  # clips at once: their largest map stays in the cache
    one_length = None

    def __init__(self, path: Path, told: Told) -> None:
        tensors = read_arrays(path)
        named = ((name, TORCH[str(t.dtype)], t.shape, t.tobytes()) for name, t in sorted(tensors.items()))
        if digest(named) != told.sha256:
            raise damaged(path)
        broken = [name for name, t in tensors.items() if not np.isfinite(t).all()]
        if broken:
            raise astray(path, broken)
        self.clip = from_dict(Clip, told.recipe["clip"])
        self.rule = told.recipe["input"]["normalise"]
        self.mel = [tensors[f"front.mel.{name}"] for name in MEL] if self.rule == "mel" else []
        self.head = tensors["head.weight"], tensors["head.bias"]
        own = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
        self.backbone = Dass(own, layout(told)[1])

    def features(self, clips: Float32[Array, "B S"]) -> Float16[Array, "B T F"]:
        """The filterbanks of clips, as `data.store` keeps them."""
        return self.clip.log_mel(clips).astype(np.float16)

    def logits(self, stored: Float16[Array, "B T F"]) -> Float32[Array, "B K"]:
        """One number a class."""
        x = self.normalise(stored.astype(np.float32))
        return linear(self.backbone(np.ascontiguousarray(x.transpose(0, 2, 1))), *self.head)

    def normalise(self, fbank: Float[Array, "B T F"]) -> Float[Array, "B T F"]:
        """See `signal.spectrogram.Input`."""
        if self.rule == "mel":
            weight, bias, mean, variance = self.mel
            scale = weight / np.sqrt(variance + np.float32(EPS))
            return fbank * scale + (bias - mean * scale)
        if self.rule == "audioset":
            return (fbank - np.float32(AUDIOSET_MEAN)) / np.float32(2 * AUDIOSET_STD)
        spread = fbank.std(axis=(1, 2), ddof=1, keepdims=True)
        return (fbank - fbank.mean(axis=(1, 2), keepdims=True)) / (2 * np.maximum(spread, np.float32(MIN_STD)))


def takes(told: Told) -> bool:
    """Whether a file holds what `LightNetwork` computes: every tensor of it, in its shape, and no other.

    A recipe that cannot be is for torch too, whose errors say why.
    """
    try:
        single = all(kind == ("I64" if name == STEPS else "F32") for name, kind in told.kinds.items())
        return single and _plain(told) and told.shapes == expected(told)
    except (AuscultError, LookupError, TypeError, ValueError, AttributeError):
        return False


def _plain(told: Told) -> bool:
    recipe = told.recipe
    backbone, head, front = recipe["backbone"], recipe["head"], recipe["input"]
    return (
        all(SETTINGS[part] >= told.keys() for part, told in ({"recipe": recipe} | recipe).items() if part in SETTINGS)
        and recipe["kind"] == "recipe"
        and backbone["kind"] == "dass"
        and backbone.get("smoothing") is None
        and head["kind"] == "linear"
        and not (head["dropout"] or head["normalise"] or head.get("layer_norm", False))
        and front["normalise"] in ("clip", "audioset", "mel")
        and front["frames"] is None
        and from_dict(Clip, recipe["clip"]).filterbank == "kaldi"
        and sum(int(np.prod(shape)) for shape in told.shapes.values()) <= LARGEST
    )


def expected(told: Told) -> dict[str, tuple[int, ...]]:
    """The tensors that a file with these words should hold."""
    dims, depths = layout(told)
    clip, classes = from_dict(Clip, told.recipe["clip"]), len(told.classes)
    made = {f"backbone.{name}": shape for name, shape in shapes(dims, depths).items()}
    made |= {"head.weight": (classes, dims[-1]), "head.bias": (classes,)}
    if told.recipe["input"]["normalise"] == "mel":
        made |= {f"front.mel.{name}": (clip.n_mels,) for name in MEL} | {STEPS: ()}
    return made


def layout(told: Told) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels and blocks of every stage, from the names and shapes of its tensors.

    Raises:
        ValueError: there are none.
    """
    found: dict[int, dict[int, int]] = {}
    for name, shape in told.shapes.items():
        place = re.fullmatch(r"backbone\.layers\.(\d)\.blocks\.(\d{1,2})\.norm\.weight", name)
        if place and len(shape) == 1:
            found.setdefault(int(place[1]), {})[int(place[2])] = shape[0]
    if not found or sorted(found) != list(range(len(found))):
        raise ValueError("no stages")
    stages = [found[stage] for stage in sorted(found)]
    return tuple(stage[min(stage)] for stage in stages), tuple(len(stage) for stage in stages)


def read_arrays(path: Path) -> dict[str, Array]:
    """The tensors of a file, those of fp32 and int64.

    Raises:
        AuscultError: E_RUN.
    """
    try:
        with safe_open(path, framework="numpy") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118  (no iterator)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise AuscultError("E_RUN", f"{path} is no weights file: {error}.") from error
