"""From the vector of a clip to one number per class."""

from dataclasses import field

from torch import nn

from ..config import ADDED, spec
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
