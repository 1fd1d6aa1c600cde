"""Domain-adversarial training: the features tell the class, and are moved away from telling the device.

Source: Ganin et al., Domain-adversarial training of neural networks (JMLR 2016), equations 9 and 14; its use for
stethoscopes as baseline in Kim et al., Stethoscope-guided supervised contrastive learning (ICASSP 2024), and their
public code.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Batch
from ..config import spec
from ..data.cycles import Cycle
from ..models import Classifier, HeadSpec, LinearHead
from ..signal.quality import Quality
from .cross_entropy import CrossEntropy
from .spec import FeatureObjectiveSpec, Objective, ObjectiveSpec, need_devices


@spec("dat")
class DAT(ObjectiveSpec):
    """Cross-entropy of the class plus that of the device, with reversed gradient into the features.

    The device head learns to tell the devices; the backbone gets its gradient times -strength. Needs a data set of two
    devices or more: ICBHI has four, SPRSound one.

    Args:
        alpha: weight of the device loss, for head and features alike.
        ramp: strength is 2 / (1 + exp(-10 p)) - 1 at share p of the training, from 0 to 1. False is 1 throughout, and
            what the public code does: its p counts epochs where it means shares, and passes 10 with the first step.
        device_head: one layer, as in the code (with a layer norm before it where the backbone is AST).
        cross_entropy: the loss of the class, or another objective that takes features as they are.

    Raises:
        ValueError: a negative alpha.
    """

    alpha: float = 1.0
    ramp: bool = True
    device_head: HeadSpec = LinearHead()
    cross_entropy: FeatureObjectiveSpec = CrossEntropy()

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise ValueError(f"alpha={self.alpha} must be 0 or more")

    @property
    def quality_asked(self) -> Quality | None:
        return self.cross_entropy.quality_asked

    def extra_cycles(self, cycles: Sequence[Cycle]) -> tuple[Cycle, ...]:
        return self.cross_entropy.extra_cycles(cycles)

    def build(self, features: int, counts: Sequence[int], devices: int = 1) -> "DATObjective":
        """Raises AuscultError E_SETTING for a data set of one device."""
        need_devices("dat", devices)
        return DATObjective(self, features, counts, devices)


class DATObjective(Objective):
    """See `DAT`. The losses are those of `cross_entropy` and the weighted ``device`` loss, which the features climb."""

    def __init__(self, settings: DAT, features: int, counts: Sequence[int], devices: int) -> None:
        super().__init__()
        self.settings = settings
        self.cross_entropy = settings.cross_entropy.build(features, counts, devices)
        self.device_head = settings.device_head.build(features, devices)

    @property
    def strength(self) -> float:
        """Of the reversed gradient, at this moment of the training."""
        return 2 / (1 + math.exp(-10 * self.progress)) - 1 if self.settings.ramp else 1.0

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        parts = cast(Classifier, model)
        features = parts.backbone(parts.front(batch.fbank))
        losses = self.cross_entropy.losses(parts.head, features, batch)
        logits = self.device_head(reverse_gradient(features, self.strength)).float()
        return losses | {"device": self.settings.alpha * F.cross_entropy(logits, batch.device)}


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def reverse_gradient(x: Float[Tensor, "*shape"], strength: float) -> Float[Tensor, "*shape"]:
    """`x` as it is; its gradient is multiplied by -strength.

    >>> x = torch.ones(2, requires_grad=True)
    >>> torch.autograd.grad(reverse_gradient(x, 0.5).sum(), x)
    (tensor([-0.5000, -0.5000]),)
    """
    return cast(Tensor, _ReverseGradient.apply(x, strength))
