"""Learning from another model's probabilities: a small network from random weights hears what a large one thinks.

`auscult teach RUN... --out FILE` writes the probabilities; the teacher itself is not needed in training. With
``--windows N`` it speaks of unlabelled windows around the training cycles too (`data.windows`), and the student hears
them beside the cycles.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Batch
from ..config import spec
from ..data.cycles import UNLABELLED, Cycle
from ..data.windows import Windows
from ..errors import AuscultError
from .cross_entropy import CrossEntropy
from .spec import FeatureObjective, FeatureObjectiveSpec

ADVICE = "`auscult teach RUN... --out FILE` makes it, on the same data set as this training."


@spec("distil")
class Distil(FeatureObjectiveSpec):
    """``(1 - weight) * CE + weight * temperature^2 * KL(teacher || student)``, both softened by the temperature.

    The cross-entropy is that of the labelled clips of a batch, times their share of it; the other term is of all that
    the teacher speaks of. Inside `PatchMix`, whose contrast asks for labels, the windows of a file are left out.

    Args:
        teacher: file of the teacher's probabilities; a relative name is looked up from where the training starts.
        weight: share of the teacher, 0 to 1.
        temperature: logits of both are divided by it.
        cross_entropy: with the labels.

    Raises:
        ValueError: a share or temperature out of range.

    Source: Hinton, Vinyals & Dean 2015, section 2; windows: Beyer et al. 2022, section 3.
    """

    teacher: str = "teacher.safetensors"
    weight: float = 0.8
    temperature: float = 2.0
    cross_entropy: CrossEntropy = CrossEntropy()

    def __post_init__(self) -> None:
        if not (0 <= self.weight <= 1 and self.temperature > 0):
            raise ValueError(f"weight={self.weight}, temperature={self.temperature}; 0 to 1, and above 0, are needed")

    def extra_cycles(self, cycles: Sequence[Cycle]) -> tuple[Cycle, ...]:
        """The windows in the teacher's file.

        Raises:
            AuscultError: E_SETTING for a file that was made of other cycles.
        """
        held = load_teacher(Path(self.teacher))
        if held.windows is None:
            return ()
        known = [cycle.label for cycle in cycles]
        if held.labels.tolist() != [*known, *[UNLABELLED] * len(held.windows)]:
            raise other_cycles(self.teacher)
        return held.windows.cycles(cycles)

    def build(self, features: int, counts: Sequence[int], devices: int = 1) -> "DistilObjective":
        p, labels, _ = load_teacher(Path(self.teacher))
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
        ce = self._labelled(head, features, batch)
        known = ~taught.isnan().any(dim=1)
        student = F.log_softmax(head(features).float()[known] / s.temperature, dim=1)
        teacher = F.log_softmax(taught[known].clamp_min(1e-8).log() / s.temperature, dim=1)
        apart = (teacher.exp() * (teacher - student)).sum(dim=1)
        return {"ce": (1 - s.weight) * ce, "distil": s.weight * s.temperature**2 * apart.sum() / len(batch)}

    def _labelled(self, head: nn.Module, features: Float[Tensor, "B D"], batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy of the labelled clips, times their share of the batch; 0 where there are none."""
        known = batch.label != UNLABELLED
        if bool(known.all()):
            return self.cross_entropy.losses(head, features, batch)["ce"]
        if not bool(known.any()):
            return torch.zeros((), device=features.device)
        held = {f.name: getattr(batch, f.name) for f in fields(batch)}
        own = replace(batch, **{name: fact[known] for name, fact in held.items() if fact is not None})
        return self.cross_entropy.losses(head, features[known], own)["ce"] * len(own) / len(batch)

    def _taught(self, batch: Batch) -> Float[Tensor, "B K"]:
        if int(batch.index.max()) >= len(self.labels) or not torch.equal(self.labels[batch.index], batch.label):
            raise other_cycles(self.settings.teacher)
        return self.probabilities[batch.index]


class Teacher(NamedTuple):
    """What a teacher's file holds: N rows, those of the data set's cycles and then those of the windows.

    Args:
        probabilities: (N, K), NaN where there are none.
        labels: (N,), `UNLABELLED` for windows.
        windows: None where the file has none.
    """

    probabilities: Tensor
    labels: Tensor
    windows: Windows | None


def load_teacher(path: Path) -> Teacher:
    """Reads what `auscult teach` has written.

    Raises:
        AuscultError: E_SETTING for a file that is missing or of another kind.
    """
    try:
        held = load_file(path)
        p, labels = held["probabilities"], held["labels"]
        if "window_row" not in held:
            return Teacher(p, labels, None)
        windows = Windows(rows=held["window_row"].numpy(), times=held["window_times"].numpy())
        windows.check(len(labels) - len(windows))
        return Teacher(p, labels, windows)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise AuscultError("E_SETTING", f"objective.teacher={str(path)!r} cannot be used: {error}. {ADVICE}") from error


def other_cycles(teacher: str) -> AuscultError:
    """The error for a file whose labels are not those of the data set."""
    return AuscultError("E_SETTING", f"{teacher} was made of other cycles than these. {ADVICE}")
