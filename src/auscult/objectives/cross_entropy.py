"""Cross-entropy on the logits, optionally weighted by class frequency, optionally smoothed."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Batch
from ..config import spec
from .spec import FeatureObjective, FeatureObjectiveSpec

Weighting = Literal["none", "inverse", "sqrt_inverse"]


def class_weights(counts: Sequence[int], weighting: Weighting) -> Float[Tensor, "K"]:
    """Weights per class that sum to 1; a class without a training cycle gets 0.

    ``inverse`` is w_c = (N / n_c) / sum_c (N / n_c), the weighted cross-entropy of the AST fine-tuning baseline;
    ``sqrt_inverse`` takes the square root of N / n_c first: milder where the rarest class has a dozen cycles.

    >>> [round(w, 5) for w in class_weights([2063, 1215, 501, 363], "inverse").tolist()]
    [0.08001, 0.13585, 0.32945, 0.4547]

    Source: Bae et al. 2023 (Patch-Mix CL), public code, ``--weighted_loss``.
    """
    n = torch.tensor(counts, dtype=torch.float64)
    if n.sum() == 0:
        raise ValueError("no training cycle in any class")
    power = {"none": 0.0, "sqrt_inverse": -0.5, "inverse": -1.0}[weighting]
    raw = torch.where(n > 0, n.clamp_min(1) ** power, 0.0)
    return (raw / raw.sum()).float()


@spec("cross_entropy")
class CrossEntropy(FeatureObjectiveSpec):
    """Cross-entropy.

    Args:
        weighting: none, inverse or sqrt_inverse class frequency.
        label_smoothing: mass given to the uniform distribution (SAM-AST: 0.1).
    """

    weighting: Weighting = "none"
    label_smoothing: float = 0.0

    def build(self, features: int, counts: Sequence[int], devices: int = 1) -> "CrossEntropyObjective":
        return CrossEntropyObjective(class_weights(counts, self.weighting), self.label_smoothing)


class CrossEntropyObjective(FeatureObjective):
    """Weighted mean of -log p(label), as `torch.nn.functional.cross_entropy` defines it."""

    weight: Tensor

    def __init__(self, weight: Float[Tensor, "K"], label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.label_smoothing = label_smoothing

    def losses(self, head: nn.Module, features: Float[Tensor, "B D"], batch: Batch) -> dict[str, Tensor]:
        logits = head(features).float()
        return {"ce": F.cross_entropy(logits, batch.label, self.weight, label_smoothing=self.label_smoothing)}
