"""MobileNetV3 for spectrograms as in EfficientAT: the small convolutional network of the AudioSet-trained systems.

MobileNetV3-Large with one input channel, squeeze-excitation over channels with a plain sigmoid, and a last convolution
of six times the channels before it. A clip of any length: its map is averaged over frequency and time.

Source: Schmid et al. 2023, "Efficient large-scale audio tagging via transformer-to-CNN knowledge distillation", and its
public code (EfficientAT); Howard et al. 2019, "Searching for MobileNetV3", table 1.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import spec
from ..errors import unknown
from .spec import Backbone, BackboneSpec

WIDTHS = {"mn01": 0.1, "mn02": 0.2, "mn04": 0.4, "mn05": 0.5, "mn10": 1.0, "mn20": 2.0, "mn30": 3.0, "mn40": 4.0}
STEM = 16  # channels, all of them at width 1
EMBEDDING = 1280
EXPANSION = 6  # of the last convolution


class Row(NamedTuple):
    """One row of table 1: the inverted residual block at width 1."""

    kernel: int
    expanded: int
    out: int
    squeezes: bool
    hardswish: bool
    stride: int


ROWS = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)


@spec("mobilenet")
class MobileNet(BackboneSpec):
    """EfficientAT's MobileNetV3 of a published size.

    Args:
        size: mn01, mn02, mn04, mn05, mn10, mn20, mn30 or mn40: ten times the factor on all channels. mn04 has 0.72 M
            parameters without its AudioSet head, mn10 has 4.2 M.
    """

    size: str = "mn04"

    def __post_init__(self) -> None:
        if self.size not in WIDTHS:
            raise unknown("MobileNet size", self.size, WIDTHS)

    def build(self, classes: int | None = None) -> "MobileNetV3":
        """The module; with `classes` it carries the published linear head and gives logits instead of features."""
        return MobileNetV3(WIDTHS[self.size], classes)


class MobileNetV3(Backbone):
    """The network; every tensor of a published file has its place here (`mobilenet_layouts.py` has the names).

    The features are the published penultimate layer: mean over the map, linear layer, Hardswish. The dropout of 0.2
    that the authors put behind it while training is `LinearHead(dropout=0.2)`.

    Args:
        width: factor on all channels.
        classes: K, or None for features.

    Shape: (B, 1, F, T) -> (B, D), or (B, K) with `classes`; any F and T from 1.
    """

    def __init__(self, width: float, classes: int | None = None) -> None:
        super().__init__()
        self.features = channels(EMBEDDING, width)
        here = channels(STEM, width)
        layers: list[nn.Module] = [convolution(1, here, 3, nn.Hardswish(), stride=2)]
        for row in ROWS:
            layers.append(InvertedResidual(here, row, width))
            here = channels(row.out, width)
        layers.append(convolution(here, EXPANSION * here, 1, nn.Hardswish()))
        self.layers = nn.Sequential(*layers)
        self.embedding = nn.Linear(EXPANSION * here, self.features)
        self.activation = nn.Hardswish()
        self.head = nn.Identity() if classes is None else nn.Linear(self.features, classes)
        self.apply(initialise)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on a processor

    def patchify(self, x: Float[Tensor, "B 1 F T"]) -> Float[Tensor, "B C H W"]:
        """The first convolution; H = F / 2 and W = T / 2, rounded up."""
        return self.layers[0](x)

    def encode(self, patches: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        x = self.layers[1:](patches.contiguous(memory_format=torch.channels_last))
        return self.head(self.activation(self.embedding(x.mean(dim=(2, 3)))))


def channels(at_width_1: int, width: float) -> int:
    """`width` times as many channels, rounded to a multiple of 8, but never by more than a tenth down.

    >>> [channels(n, 0.4) for n in (16, 24, 112, 672, 1280)]
    [8, 16, 48, 272, 512]
    """
    wanted = at_width_1 * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def convolution(
    inputs: int, outputs: int, kernel: int, activation: nn.Module | None, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution that keeps the size (a stride divides it, rounded up), batch norm, and an activation or none."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=0.001, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([] if activation is None else [activation]))


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, weigh the channels (some rows), narrow; plus the input where it fits."""

    def __init__(self, inputs: int, row: Row, width: float) -> None:
        super().__init__()
        wide, outputs = channels(row.expanded, width), channels(row.out, width)
        activation = nn.Hardswish() if row.hardswish else nn.ReLU(inplace=True)
        layers: list[nn.Module] = [convolution(inputs, wide, 1, activation)] if wide != inputs else []
        layers.append(convolution(wide, wide, row.kernel, activation, stride=row.stride, groups=wide))
        layers += [SqueezeExcitation(wide)] if row.squeezes else []
        layers.append(convolution(wide, outputs, 1, None))
        self.block = nn.Sequential(*layers)
        self.adds = row.stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        return x + self.block(x) if self.adds else self.block(x)


class SqueezeExcitation(nn.Module):
    """Weighs each channel by a factor in (0, 1) that a small network finds from the means of all channels.

    Source: Hu et al. 2018, section 3; a sigmoid as there and in EfficientAT, no hard sigmoid as in MobileNetV3.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        squeezed = channels(dim // 4, 1.0)
        self.fc1 = nn.Linear(dim, squeezed)
        self.fc2 = nn.Linear(squeezed, dim)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        scale = self.fc2(self.fc1(x.mean(dim=(2, 3))).relu()).sigmoid()
        return x * scale[:, :, None, None]


def initialise(module: nn.Module) -> None:
    """The authors' start: convolutions normal by fan out, linear layers normal of std 0.01, biases 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
