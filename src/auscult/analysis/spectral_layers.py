"""The layers of DASS and of AST as mixing matrices, and their response curves averaged over clips.

Source: Lung-SRAD (Shridhar et al. 2026), section 3.3; Gong et al. 2021, "AST: Audio Spectrogram Transformer".
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import AuscultError
from ..models.dass import DASS, SS2D
from ..models.smoothing import Smoothing
from .spectral import HONEST, MERGED, PAPER, Mixing, Reading, mixing_matrices, parameters_of, read, scaled, smooth

SPECIAL = 2  # AST puts its class and distillation tokens before the patches
ATTENTION = "all layers"  # the group of an AST
SMOOTHED = "smoothed "  # before the name of a matrix
# What is measured. `paper` has the steps of the published figure but one: the logarithm it took of attention alone.
# `paper_log` takes it, here of both models. `flattened` is honest but for the flattening: the artefact by itself.
VERSIONS: dict[str, tuple[Mixing, Reading]] = {
    "honest": HONEST,
    "flattened": (Mixing(), Reading(flatten=True)),
    "paper": PAPER,
    "paper_log": (PAPER[0], replace(PAPER[1], log=True)),
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer at one clip.

    Args:
        model: as it is to be named.
        group: what shares a panel: a stage, or all layers of AST.
        number: of the layer within its group, from 0.
        shape: H and W of its map.
        matrices: direction -> matrix; attention has no direction and takes no notice of `Mixing`.
        smoothed: whether the smoothing sits here, or would.
        special: tokens before the map.
    """

    model: str
    group: str
    number: int
    shape: tuple[int, int]
    matrices: Callable[[Mixing], dict[str, Tensor]]
    smoothed: bool
    special: int = 0


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A response over frequency.

    Args:
        tokens: length of the axis: W for ``time``, H for ``frequency``, the whole line for ``sequence``.
        shape: H and W of the map.
        marked: the layer is one of those the smoothing belongs to.
        response: magnitude, mean over clips; entry k belongs to k cycles over the axis.
    """

    model: str
    group: str
    number: int
    direction: str
    smoothed: bool
    version: str
    axis: str
    tokens: int
    shape: tuple[int, int]
    marked: bool
    response: NDArray[np.float64]

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Cycles per patch."""
        return np.arange(len(self.response)) / self.tokens

    @property
    def drawn(self) -> NDArray[np.float64]:
        """The response on the scale of its version, the same for both models."""
        return scaled(self.response, VERSIONS[self.version][1].scale)

    def is_of(self, **wanted: Any) -> bool:
        """Whether its fields have these values."""
        return all(getattr(self, name) == value for name, value in wanted.items())


def smoothing_of(backbone: DASS, settings: Smoothing | None) -> Smoothing:
    """The smoothing to draw: the model's own, or Lung-SRAD's, as far as the model has its blocks."""
    wanted = settings or Smoothing()
    depths = [len(list(stage.get_submodule("blocks").children())) for stage in backbone.layers]
    stage = min(wanted.stage, len(depths) - 1)
    there = tuple(b for b in wanted.blocks if b < depths[stage])
    return replace(wanted, stage=stage, blocks=there or (depths[stage] - 1,))


def dass_layers(backbone: DASS, x: Float[Tensor, "1 1 F T"], smoothing: Smoothing, name: str) -> list[Layer]:
    """Every block of DASS at one clip: its four scans, with the step sizes, B and C that this clip gives them."""
    seen: list[tuple[int, int, SS2D, Tensor]] = []

    def keep(stage: int, number: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda op, arguments: seen.append((stage, number, op, arguments[0]))  # type: ignore[arg-type]

    hooks = []
    for i, stage in enumerate(backbone.layers):
        for j, block in enumerate(stage.get_submodule("blocks").children()):
            hooks.append(block.get_submodule("op").register_forward_pre_hook(keep(i, j)))
    try:
        backbone(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        Layer(
            model=name,
            group=f"stage {i}",
            number=j,
            shape=(entering.shape[1], entering.shape[2]),
            matrices=_scans(op, entering),
            smoothed=i == smoothing.stage and j in smoothing.blocks,
        )
        for i, j, op, entering in seen
    ]


def _scans(op: SS2D, entering: Tensor) -> Callable[[Mixing], dict[str, Tensor]]:
    return lambda mixing: mixing_matrices(parameters_of(op, entering), mixing)


def random_ast(frames: int, mels: int = 128) -> Any:
    """AST-base of the transformers package for clips of so many frames, with random weights.

    Raises:
        AuscultError: E_SETTING when transformers is not installed.
    """
    if find_spec("transformers") is None:
        raise AuscultError("E_SETTING", "AST needs transformers; install it with: pip install 'auscult[bench]'")
    from transformers import ASTConfig, ASTModel

    torch.manual_seed(0)
    config = ASTConfig(max_length=frames, num_mel_bins=mels)
    config._attn_implementation = "eager"  # the only one that gives its weights
    return ASTModel(config).eval()


def ast_layers(model: Any, x: Float[Tensor, "1 T F"], smoothing: Smoothing, name: str) -> list[Layer]:
    """Every layer of an `ASTModel` of the transformers package at one clip, with eager attention."""
    config = model.config
    mels, frames = config.num_mel_bins, config.max_length
    rows = (mels - config.patch_size) // config.frequency_stride + 1
    columns = (frames - config.patch_size) // config.time_stride + 1
    attentions = model(x, output_attentions=True).attentions
    return attention_layers([attention[0] for attention in attentions], (rows, columns), smoothing, name)


def attention_layers(
    attentions: Sequence[Float[Tensor, "heads L L"]], shape: tuple[int, int], smoothing: Smoothing, name: str
) -> list[Layer]:
    """Every layer of an AST from its attention at one clip, mean over heads.

    Args:
        shape: H and W of the map of patches.
        smoothing: AST has none; its layers with the numbers of the smoothed blocks are drawn with it for comparison.
    """
    return [
        Layer(
            model=name,
            group=ATTENTION,
            number=i,
            shape=shape,
            matrices=_heads(attention.mean(0)),
            smoothed=i in smoothing.blocks,
            special=SPECIAL,
        )
        for i, attention in enumerate(attentions)
    ]


def _heads(attention: Tensor) -> Callable[[Mixing], dict[str, Tensor]]:
    return lambda _: {MERGED: attention}


def measure(clips: Iterable[Sequence[Layer]], smoothing: Smoothing, skip: bool = False) -> list[Curve]:
    """All curves: every layer, version and direction, and the merged matrix after the smoothing; means over clips.

    Args:
        clips: the layers at each clip; maps of one layer must have one shape.
        skip: D belongs to the matrix.
    """
    found: dict[tuple[Any, ...], Curve] = {}
    count = 0
    for layers in clips:
        count += 1
        for layer in layers:
            for curve in curves(layer, smoothing, skip):
                key = (curve.model, curve.group, curve.number, curve.direction, curve.smoothed, curve.version)
                before = found.get((*key, curve.axis))
                total = curve.response if before is None else before.response + curve.response
                found[(*key, curve.axis)] = replace(curve, response=total)
    return [replace(curve, response=curve.response / count) for curve in found.values()]


def curves(layer: Layer, smoothing: Smoothing, skip: bool) -> list[Curve]:
    """The curves of a layer at one clip; 8192 places, the first stage of a published size, take a minute and 4 GB."""
    found: list[Curve] = []
    formed: dict[Mixing, dict[str, Tensor]] = {}
    for version, (mixing, reading) in VERSIONS.items():
        wanted = replace(mixing, skip=skip)
        if wanted not in formed:
            formed = {wanted: with_smoothed(layer, layer.matrices(wanted), smoothing)}  # one set at a time in memory
        for direction, matrix in formed[wanted].items():
            if reading.log and not direction.endswith(MERGED):
                continue  # the logarithm is there for the comparison with attention, which has no directions
            tokens = len(matrix) - (0 if reading.special else layer.special)
            for axis, response in read(matrix, layer.shape, reading, layer.special).items():
                found.append(
                    Curve(
                        model=layer.model,
                        group=layer.group,
                        number=layer.number,
                        direction=direction.removeprefix(SMOOTHED),
                        smoothed=direction.startswith(SMOOTHED),
                        version=version,
                        axis=axis,
                        tokens={"sequence": tokens, "time": layer.shape[1], "frequency": layer.shape[0]}[axis],
                        shape=layer.shape,
                        marked=layer.smoothed,
                        response=response,
                    )
                )
    return found


def with_smoothed(layer: Layer, matrices: dict[str, Tensor], smoothing: Smoothing) -> dict[str, Tensor]:
    """The matrices, and the merged one after the smoothing."""
    return matrices | {SMOOTHED + MERGED: smooth(matrices[MERGED], layer.shape, smoothing, layer.special)}
