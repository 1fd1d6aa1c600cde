"""How a stored filterbank enters a network: normalise, mask while training, stretch, frequency upwards.

Source: Gong et al., AST (2021), for the AudioSet constants; the Lung-SRAD code for the per-clip rule, the order of the
steps and the stretch to 1024 frames.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..config import spec
from .specaugment import SpecAugment

AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974
MIN_STD = 1e-3  # of natural logs; far below any sound, so only a constant clip meets it


@spec("input")
class Input:
    """From a filterbank to the input of a network. No part of the store: it can change between runs.

    Args:
        normalise: ``"clip"`` uses the mean and (unbiased) standard deviation of each clip, ``"audioset"`` the constants
            of AudioSet. Both divide by *two* standard deviations. ``"mel"`` is a batch norm over each mel bin, learnt
            with the network: the mean spectrum, the same in every clip, is taken away. A small network from random
            weights needs that (docs/log.md); Kong et al., PANNs (2020), begin so too.
        frames: stretch the time axis to so many frames, bilinear; 1024 in Lung-SRAD. None keeps the frames there are.
        specaugment: masks in training, after normalisation and before the stretch; None for none.

    Raises:
        ValueError: `frames` below 1.
    """

    normalise: Literal["clip", "audioset", "mel"] = "clip"
    frames: int | None = None
    specaugment: SpecAugment | None = SpecAugment()

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise ValueError(f"frames={self.frames}; 1 or more, or none, is needed")

    def build(self, n_mels: int = 128) -> "InputModule":
        """The module, for a filterbank of `n_mels` bins; it has parameters only with ``normalise="mel"``."""
        return InputModule(self, n_mels)


class InputModule(nn.Module):
    """See `Input`."""

    def __init__(self, settings: Input, n_mels: int) -> None:
        super().__init__()
        self.settings = settings
        self.mel = nn.BatchNorm1d(n_mels) if settings.normalise == "mel" else None

    def forward(
        self, fbank: Float[Tensor, "B T F"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "B 1 F W"]:
        """The input of a network: rows are frequencies, columns are frames.

        Args:
            fbank: natural logs, as stored.
            generator: source of the masks; torch's global CPU generator without one.
        """
        x = self.normalise(fbank)
        if self.training and self.settings.specaugment is not None:
            x = self.settings.specaugment(x, generator)
        x = x.transpose(1, 2)
        if self.settings.frames is not None:
            # bilinear with as many rows as before is linear in time
            x = F.interpolate(x, self.settings.frames, mode="linear", align_corners=False)
        return x.unsqueeze(1)

    def normalise(self, fbank: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
        """The filterbank by the rule of the settings."""
        if self.mel is not None:
            return self.mel(fbank.transpose(1, 2)).transpose(1, 2)
        return normalise(fbank, "audioset" if self.settings.normalise == "audioset" else "clip")

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return repr(self.settings)


def normalise(fbank: Float[Tensor, "B T F"], rule: Literal["clip", "audioset"]) -> Float[Tensor, "B T F"]:
    """``(x - mean) / (2 std)``. A constant clip becomes zeros under ``"clip"``, where its own deviation is 0.

    >>> normalise(torch.zeros(1, 1, 1), "audioset").item()  # what a row of zeros turns into
    0.46703...
    """
    if rule == "audioset":
        return (fbank - AUDIOSET_MEAN) / (2 * AUDIOSET_STD)
    centred = fbank - fbank.mean(dim=(1, 2), keepdim=True)
    n = fbank.shape[1] * fbank.shape[2]
    variance = centred.square().sum(dim=(1, 2), keepdim=True) / max(1, n - 1)  # five times faster than Tensor.std
    return centred / (2 * variance.sqrt().clamp_min(MIN_STD))
