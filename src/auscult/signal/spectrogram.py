"""How a stored filterbank enters a network: augment, fill, normalise, mask while training, stretch, frequency upwards.

Source: Gong et al., AST (2021), for the AudioSet constants; the Lung-SRAD code for the per-clip rule, the order of the
steps and the stretch to 1024 frames; the feature extractor of AST in transformers for the fill with zeros.
"""

from dataclasses import field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..config import ADDED, spec
from . import efficientat
from .augment import GainNoise
from .clip import Clip
from .mel import AUDIOSET_MEAN, AUDIOSET_STD, MIN_STD
from .specaugment import SpecAugment

MAX_FRAMES = 100_000  # a recipe may come from a stranger, and memory follows


@spec("input")
class Input:
    """From a filterbank to the input of a network. No part of the store: it can change between runs.

    Args:
        normalise: ``"clip"`` uses the mean and (unbiased) standard deviation of each clip, ``"audioset"`` the constants
            of AudioSet. Both divide by *two* standard deviations. ``"mel"`` is a batch norm over each mel bin, learnt
            with the network: the mean spectrum, the same in every clip, is taken away. A small network from random
            weights needs that (docs/log.md); Kong et al., PANNs (2020), begin so too. ``"efficientat"`` is
            ``(x + 4.5) / 5``, what goes with ``Clip(filterbank="efficientat")``.
        frames: bring the time axis to so many frames; 1024 in Lung-SRAD. None keeps the frames there are.
        specaugment: masks in training, after normalisation and fill, before the stretch; None for none.
        fit: how the frames there are become `frames`. ``"stretch"`` interpolates them, bilinear. ``"zero"`` appends
            rows of zeros before normalisation, as AST's feature extractor in transformers does: 226 of 1024 frames
            that are 0.46703 throughout for a clip of 8 s (SAM-AST). ``"repeat"`` appends the clip's own frames from
            its start, again and again. Both keep the first `frames` of a longer clip.
        augment: gain and noise in training, before all else; None for none.

    Raises:
        ValueError: `frames` below 1 or over 100,000, or a `fit` that has no `frames` to reach.
    """

    normalise: Literal["clip", "audioset", "mel", "efficientat"] = "clip"
    frames: int | None = None
    specaugment: SpecAugment | None = SpecAugment()
    fit: Literal["stretch", "zero", "repeat"] = field(default="stretch", metadata=ADDED)
    augment: GainNoise | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        if self.frames is not None and not 1 <= self.frames <= MAX_FRAMES:
            raise ValueError(f"frames={self.frames}; 1 to {MAX_FRAMES}, or none, is needed")
        if self.frames is None and self.fit != "stretch":
            raise ValueError(f"fit={self.fit} fills up to frames=none; set frames, 1024 for instance")

    def build(self, clip: Clip | None = None) -> "InputModule":
        """The module, for filterbanks made as `clip` says; it has parameters only with ``normalise="mel"``."""
        return InputModule(self, clip or Clip())


class InputModule(nn.Module):
    """See `Input`."""

    def __init__(self, settings: Input, clip: Clip) -> None:
        super().__init__()
        self.settings = settings
        self.clip = clip
        self.mel = nn.BatchNorm1d(clip.n_mels) if settings.normalise == "mel" else None

    def forward(
        self, fbank: Float[Tensor, "B T F"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "B 1 F W"]:
        """The input of a network: rows are frequencies, columns are frames.

        Args:
            fbank: natural logs, as stored.
            generator: source of noise and masks; torch's global generators without one.
        """
        settings, x = self.settings, fbank
        if self.training and settings.augment is not None:
            x = settings.augment(x, self.clip, generator)
        if settings.frames is not None and settings.fit != "stretch":
            x = filled(x, settings.frames, settings.fit)
        x = self.normalise(x)
        if self.training and settings.specaugment is not None:
            x = settings.specaugment(x, generator)
        x = x.transpose(1, 2)
        if settings.frames is not None and settings.fit == "stretch":
            # bilinear with as many rows as before is linear in time
            x = F.interpolate(x, settings.frames, mode="linear", align_corners=False)
        return x.unsqueeze(1)

    def normalise(self, fbank: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
        """The filterbank by the rule of the settings."""
        if self.mel is not None:
            return self.mel(fbank.transpose(1, 2)).transpose(1, 2)
        if self.settings.normalise == "efficientat":
            return (fbank - efficientat.MEAN) / efficientat.STD
        return normalise(fbank, "audioset" if self.settings.normalise == "audioset" else "clip")

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return repr(self.settings)


def filled(fbank: Float[Tensor, "B T F"], frames: int, fit: Literal["zero", "repeat"]) -> Float[Tensor, "B {frames} F"]:
    """The first `frames` frames of a clip that goes on with zeros, or with itself from the start.

    >>> filled(torch.tensor([[[1.0], [2.0], [3.0]]]), 5, "repeat").flatten().tolist()
    [1.0, 2.0, 3.0, 1.0, 2.0]
    """
    missing = frames - fbank.shape[1]
    if missing <= 0:
        return fbank[:, :frames]
    if fit == "zero":
        return F.pad(fbank, (0, 0, 0, missing))
    return fbank[:, torch.arange(frames, device=fbank.device) % fbank.shape[1]]


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
