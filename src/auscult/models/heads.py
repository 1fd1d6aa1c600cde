"""From the vector of a clip to one number per class."""

from dataclasses import field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ADDED, spec
from ..errors import AuscultError
from .spec import HeadSpec


@spec("linear")
class LinearHead(HeadSpec):
    """A plain linear layer; truncated normal of std 0.02, bias 0.

    Args:
        dropout: rate before the layer, while training.
        normalise: a batch norm without parameters before the layer. What is common to all clips of a batch then reaches
            neither the logits nor, backwards, the features; without it a small network on few clips first chases the
            class frequencies, and its features become alike for all clips (docs/log.md).
        layer_norm: a layer norm before all else (AST's own head, and that of its lineage).
    """

    dropout: float = 0.0
    normalise: bool = False
    layer_norm: bool = field(default=False, metadata=ADDED)

    def build(self, features: int, classes: int) -> nn.Module:
        layer = nn.Linear(features, classes)
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
        before: list[nn.Module] = [nn.LayerNorm(features)] if self.layer_norm else []
        before += [nn.BatchNorm1d(features, affine=False)] if self.normalise else []
        before += [nn.Dropout(self.dropout)] if self.dropout else []
        return nn.Sequential(*before, layer) if before else layer


@spec("angular")
class AngularHead(HeadSpec):
    """Logits are scale x the cosine of the angle to each class: how long features and weights are does not count.

    Args:
        scale: of the cosines.

    Raises:
        ValueError: a scale that is not positive.

    Source: QLung (arXiv 2606.11915), angular classifier; no bias. Xavier start is our choice.
    """

    scale: float = 37.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale={self.scale} must be more than 0")

    def build(self, features: int, classes: int) -> nn.Module:
        return AngularLayer(features, classes, self.scale)


class AngularLayer(nn.Module):
    """See `AngularHead`. Shape: (B, D) -> (B, K), in fp32 also under autocast."""

    def __init__(self, features: int, classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, features)))

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        return self.scale * cosines(features, self.weight)

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"


def cosines(features: Float[Tensor, "B D"], weight: Float[Tensor, "K D"]) -> Float[Tensor, "B K"]:
    """Cosine of the angle between each clip and each class, in fp32 or better whatever the precision of the step."""
    with torch.autocast(features.device.type, enabled=False):
        exact = torch.promote_types(features.dtype, torch.float32)
        return F.normalize(features.to(exact), dim=1) @ F.normalize(weight.to(exact), dim=1).T


def last_layer(
    head: nn.Module, features: Float[Tensor, "B D"]
) -> tuple[nn.Linear | AngularLayer, Float[Tensor, "B D"]]:
    """The layer of a head that holds a weight for each class, and what reaches it: the head is the one after the other.

    Raises:
        AuscultError: E_SETTING for a head that does not end in such a layer.
    """
    layer = head
    if isinstance(head, nn.Sequential):
        *before, layer = head
        for module in before:
            features = module(features)
    if not isinstance(layer, nn.Linear | AngularLayer):
        raise AuscultError(
            "E_SETTING", f"a margin needs a head that ends in one weight per class, not in {type(layer).__name__}."
        )
    return layer, features
