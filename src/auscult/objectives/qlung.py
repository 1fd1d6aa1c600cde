"""QLung: cross-entropy, and beside it a softmax over cosines in which the class of a clip must win by a margin.

Both read the weights of the one classifier. With `AngularHead` the cross-entropy reads cosines too.

Source: QLung (arXiv 2606.11915, Interspeech 2026); equation by equation in docs/papers/qlung.md.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Batch
from ..config import spec
from ..models.heads import cosines, last_layer
from ..signal.quality import Quality
from .cross_entropy import CrossEntropy, CrossEntropyObjective
from .margins import Dfam, Margin, MarginSpec
from .spec import FeatureObjective, FeatureObjectiveSpec

TINY = 1e-12  # of a squared sine: below the step of float32 beside 1


@spec("qlung")
class QLung(FeatureObjectiveSpec):
    """Cross-entropy + weight x softmax with a margin.

    Args:
        margin: ``dfam`` for the whole method; ``fixed_margin``, ``quality_margin`` and ``class_margin`` for the rows
            that lead to it; ``ldam`` and ``adaface`` to compare with.
        weight: of the loss with the margin.
        scale: of the cosines in it. The head has a scale of its own (`AngularHead`).
        cross_entropy: of the classifier; unweighted, since the paper does not say.

    Raises:
        ValueError: a weight below 0, or a scale that is not positive.
    """

    margin: MarginSpec = Dfam()
    weight: float = 0.4
    scale: float = 15.0
    cross_entropy: CrossEntropy = CrossEntropy()

    def __post_init__(self) -> None:
        if not (0 <= self.weight < math.inf and 0 < self.scale < math.inf):
            raise ValueError(f"weight={self.weight} must be 0 or more, scale={self.scale} more than 0")

    @property
    def quality_asked(self) -> Quality | None:
        return self.margin.quality_asked

    def build(self, features: int, counts: Sequence[int], devices: int = 1) -> "QLungObjective":
        return QLungObjective(self, self.cross_entropy.build(features, counts, devices), self.margin.build(counts))


class QLungObjective(FeatureObjective):
    """See `QLung`. The losses are ``ce`` and the weighted ``margin``."""

    def __init__(self, settings: QLung, cross_entropy: CrossEntropyObjective, margin: Margin) -> None:
        super().__init__()
        self.settings = settings
        self.cross_entropy = cross_entropy
        self.margin = margin

    def losses(self, head: nn.Module, features: Float[Tensor, "B D"], batch: Batch) -> dict[str, Tensor]:
        layer, reached = last_layer(head, features)
        with torch.autocast(features.device.type, enabled=False):
            angle, amount = self.margin(reached, batch)
            loss = margin_loss(cosines(reached, layer.weight), batch.label, angle, amount, self.settings.scale)
        return self.cross_entropy.losses(layer, reached, batch) | {"margin": self.settings.weight * loss}


def margin_loss(
    cosine: Float[Tensor, "B K"],
    label: Int[Tensor, "B"],
    angle: Float[Tensor, "B"],
    amount: Float[Tensor, "B"],
    scale: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of scale x cosines, after the one of the true class was turned by `angle` and lowered by `amount`.

    Args:
        cosine: of each clip and the weights of each class, in [-1, 1].
        angle: in radians; less than 0 makes it easier.

    Source: QLung, L_DFAM; Deng et al. 2019, equation 3.
    """
    own = cosine.gather(1, label[:, None])[:, 0]
    lowered = turned(own, angle) - amount
    return F.cross_entropy(scale * cosine.scatter(1, label[:, None], lowered[:, None].to(cosine.dtype)), label)


def turned(cosine: Float[Tensor, "B"], angle: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
    """cos(theta + angle) from cos theta, without the arc cosine, whose slope is infinite at both ends.

    Past 180 degrees the cosine would rise again; from there on it is cos theta - angle sin(180 degrees - angle), which
    goes on falling with theta. Below 0 degrees, which only an angle less than 0 can reach, it stays 1.

    >>> turned(torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.3, 0.3, 0.3]))
    tensor([ 0.9553, -0.2955, -1.0887])

    Source: the public code of ArcFace, and that of QLung's lineage (AAMSoftmax).
    """
    sine = (1 - cosine.square()).clamp_min(TINY).sqrt()
    plain = cosine * angle.cos() - sine * angle.sin()
    past = (angle > 0) & (cosine <= -angle.cos())
    before = (angle < 0) & (cosine >= angle.cos())
    kept = torch.where(past, cosine - angle * angle.sin(), plain)
    return torch.where(before, torch.ones_like(plain), kept)
