"""front end -> backbone -> head: the same three objects in training, evaluation, prediction and export."""

from jaxtyping import Float
from torch import Tensor, nn

from .spec import Backbone


class Classifier(nn.Module):
    """A model as the rest of the package sees it.

    Args:
        front: stored fbank (B, T, F) to network input (B, 1, F, T): normalisation, SpecAugment, stretch.
        backbone: (B, 1, F, T) to features (B, D).
        head: (B, D) to logits (B, K).

    Shape: (B, T, F) -> (B, K).
    """

    def __init__(self, front: nn.Module, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.front = front
        self.backbone = backbone
        self.head = head

    def forward(self, fbank: Float[Tensor, "B T F"]) -> Float[Tensor, "B K"]:
        return self.head(self.backbone(self.front(fbank)))
