"""What a recipe may name as its objective."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..batch import Batch


class ObjectiveSpec:
    """Base of every objective spec. `build(features, counts)` makes an `Objective`."""

    def build(self, features: int, counts: Sequence[int]) -> "Objective":
        """An objective for a model with features of length `features`, on training cycles counted per class."""
        raise NotImplementedError(f"{type(self).__name__} has no build()")


class Objective(nn.Module):
    """What is minimised. It may own a projector or class weights; the loop adds its losses and logs each by name."""

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named scalar losses of one batch, for instance ``{"ce": ..., "time": ...}``."""
        raise NotImplementedError(f"{type(self).__name__} has no forward()")
