"""The batch every part of the package passes around, and the legend of axis letters.

B batch · S samples · T frames (10 ms) · F mel bins · H rows (frequency) · W columns (time) · L tokens = H x W ·
C channels · K classes, or the four scan directions inside `models.scan` · D features of a clip
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Labelled breathing cycles, ready for a model.

    Args:
        fbank: log-mel filterbank before normalisation, natural log.
        label: class index in the data set's own classes.
        patient: patient index within the data set.
        device: device index within the data set.
        index: row of the cycle table, so that a prediction finds its cycle again.
    """

    fbank: Float[Tensor, "B T F"]
    label: Int[Tensor, "B"]
    patient: Int[Tensor, "B"]
    device: Int[Tensor, "B"]
    index: Int[Tensor, "B"]

    def __len__(self) -> int:
        return self.label.shape[0]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})
