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
        label: class index in the data set's own classes; -1 (`data.cycles.UNLABELLED`) for a window that the objective
            has brought.
        patient: patient index within the data set.
        device: device index within the data set.
        index: row of the cycle table, so that a prediction finds its cycle again.
        quality: audio quality score in [0, 1] (`signal.quality`), a constant; None where nothing asked for it.
    """

    fbank: Float[Tensor, "B T F"]
    label: Int[Tensor, "B"]
    patient: Int[Tensor, "B"]
    device: Int[Tensor, "B"]
    index: Int[Tensor, "B"]
    quality: Float[Tensor, "B"] | None = None

    def __len__(self) -> int:
        return self.label.shape[0]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: t.to(device, non_blocking=True) for n, t in held.items() if t is not None})
