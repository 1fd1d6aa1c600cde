"""From the vector of a clip to one number per class."""

from torch import nn

from ..config import spec
from .spec import HeadSpec


@spec("linear")
class LinearHead(HeadSpec):
    """A plain linear layer; truncated normal of std 0.02, bias 0.

    Args:
        dropout: rate before the layer, while training.
    """

    dropout: float = 0.0

    def build(self, features: int, classes: int) -> nn.Module:
        layer = nn.Linear(features, classes)
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
        return nn.Sequential(nn.Dropout(self.dropout), layer) if self.dropout else layer
