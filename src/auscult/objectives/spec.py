"""What a recipe may name as its objective."""

from collections.abc import Sequence
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from ..batch import Batch
from ..data.cycles import Cycle
from ..errors import AuscultError
from ..models import Classifier
from ..signal.quality import Quality


class ObjectiveSpec:
    """Base of every objective spec. `build(features, counts)` makes an `Objective`."""

    @property
    def quality_asked(self) -> Quality | None:
        """How the audio quality in `Batch.quality` is to be scored; None where it is not looked at."""
        return None

    def extra_cycles(self, cycles: Sequence[Cycle]) -> tuple[Cycle, ...]:
        """Cycles to train on beside those of the data set; they may be `UNLABELLED`, so few objectives can have any.

        Args:
            cycles: all those of the data set; the new ones get the rows behind them.
        """
        return ()

    def build(self, features: int, counts: Sequence[int], devices: int = 1) -> "Objective":
        """An objective for a model with features of length `features`.

        Args:
            features: D.
            counts: labelled training cycles of each class.
            devices: stethoscopes and microphones in the data set, for objectives that look at `Batch.device`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no build()")


class Objective(nn.Module):
    """What is minimised. It may own a projector or class weights; the loop adds its losses and logs each by name.

    Attributes:
        progress: share of the training that is done, in [0, 1); the loop sets it before each step.
    """

    progress: float = 0.0

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named scalar losses of one batch, for instance ``{"ce": ..., "time": ...}``."""
        raise NotImplementedError(f"{type(self).__name__} has no forward()")


class FeatureObjectiveSpec(ObjectiveSpec):
    """An objective that looks at the features of the clips as they are. Methods that mix clips take one of these for
    the clean clips, so that a margin and a mix compose."""

    def build(self, features: int, counts: Sequence[int], devices: int = 1) -> "FeatureObjective":
        raise NotImplementedError(f"{type(self).__name__} has no build()")


class FeatureObjective(Objective):
    """See `FeatureObjectiveSpec`."""

    def losses(self, head: nn.Module, features: Float[Tensor, "B D"], batch: Batch) -> dict[str, Tensor]:
        """Named losses, from features that are there already.

        Args:
            head: of the classifier; features to logits.
            batch: whose features they are, in the same order.
        """
        raise NotImplementedError(f"{type(self).__name__} has no losses()")

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        parts = cast(Classifier, model)
        return self.losses(parts.head, parts.backbone(parts.front(batch.fbank)), batch)


def need_devices(method: str, devices: int) -> None:
    """Raises AuscultError E_SETTING where all cycles come from one device."""
    if devices < 2:
        raise AuscultError(
            "E_SETTING",
            f"{method} tells devices apart, and this data set has {devices}; two or more are needed. "
            "Train on icbhi, or choose another objective.",
        )
