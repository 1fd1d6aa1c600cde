"""Learning from another model's probabilities: a small network from random weights hears what a large one thinks.

`auscult teach RUN... --out FILE` writes the probabilities; the teacher itself is not needed in training.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Batch
from ..config import spec
from ..errors import AuscultError
from .cross_entropy import CrossEntropy
from .spec import FeatureObjective, FeatureObjectiveSpec

ADVICE = "`auscult teach RUN... --out FILE` makes it, on the same data set as this training."


@spec("distil")
class Distil(FeatureObjectiveSpec):
    """``(1 - weight) * CE + weight * temperature^2 * KL(teacher || student)``, both softened by the temperature.

    Args:
        teacher: file of the teacher's probabilities; a relative name is looked up from where the training starts.
        weight: share of the teacher, 0 to 1.
        temperature: logits of both are divided by it.
        cross_entropy: with the labels.

    Raises:
        ValueError: a share or temperature out of range.

    Source: Hinton, Vinyals & Dean 2015, section 2.
    """

    teacher: str = "teacher.safetensors"
    weight: float = 0.8
    temperature: float = 2.0
    cross_entropy: CrossEntropy = CrossEntropy()

    def __post_init__(self) -> None:
        if not (0 <= self.weight <= 1 and self.temperature > 0):
            raise ValueError(f"weight={self.weight}, temperature={self.temperature}; 0 to 1, and above 0, are needed")

    def build(self, features: int, counts: Sequence[int], devices: int = 1) -> "DistilObjective":
        p, labels = load_teacher(Path(self.teacher))
        if p.shape[1] != len(counts):
            raise AuscultError(
                "E_SETTING", f"{self.teacher} knows {p.shape[1]} classes, the data set {len(counts)}. {ADVICE}"
            )
        return DistilObjective(self, p, labels, self.cross_entropy.build(features, counts, devices))


class DistilObjective(FeatureObjective):
    """See `Distil`; cycles that the teacher has no probabilities of count with their labels alone."""

    probabilities: Tensor
    labels: Tensor

    def __init__(
        self, settings: Distil, p: Float[Tensor, "N K"], labels: Int[Tensor, "N"], cross_entropy: FeatureObjective
    ) -> None:
        super().__init__()
        self.register_buffer("probabilities", p, persistent=False)
        self.register_buffer("labels", labels, persistent=False)
        self.settings, self.cross_entropy = settings, cross_entropy

    def losses(self, head: nn.Module, features: Float[Tensor, "B D"], batch: Batch) -> dict[str, Tensor]:
        s = self.settings
        taught = self._taught(batch)
        ce = self.cross_entropy.losses(head, features, batch)["ce"]
        known = ~taught.isnan().any(dim=1)
        student = F.log_softmax(head(features).float()[known] / s.temperature, dim=1)
        teacher = F.log_softmax(taught[known].clamp_min(1e-8).log() / s.temperature, dim=1)
        apart = (teacher.exp() * (teacher - student)).sum(dim=1)
        return {"ce": (1 - s.weight) * ce, "distil": s.weight * s.temperature**2 * apart.sum() / len(batch)}

    def _taught(self, batch: Batch) -> Float[Tensor, "B K"]:
        if int(batch.index.max()) >= len(self.labels) or not torch.equal(self.labels[batch.index], batch.label):
            raise AuscultError("E_SETTING", f"{self.settings.teacher} was made of other cycles than these. {ADVICE}")
        return self.probabilities[batch.index]


def load_teacher(path: Path) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K), NaN where there are none, and labels (N,) of every cycle of a data set.

    Raises:
        AuscultError: E_SETTING for a file that is missing or of another kind.
    """
    try:
        held = load_file(path)
        return held["probabilities"], held["labels"]
    except (OSError, SafetensorError, KeyError) as error:
        raise AuscultError("E_SETTING", f"objective.teacher={str(path)!r} cannot be used: {error}. {ADVICE}") from error
