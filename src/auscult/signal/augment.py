"""Louder, softer, noisier: what SAM-AST does to the waveform while training, done to the stored filterbank instead.

Source: Isik et al., SAM-AST (arXiv 2512.22564), public code, ``src/dataset.py``.
"""

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..config import spec
from . import efficientat
from .mel import FLOOR, frame_hop, frame_size

if TYPE_CHECKING:
    from .clip import Clip

ON_FLOOR = math.log(FLOOR) + 0.01  # the store keeps fp16, whose steps are 0.008 there


@spec("gain_noise")
class GainNoise:
    """A random gain, then white noise; each clip has its own draws.

    A gain g adds 2 ln g to a log energy: what the waveform would give, but for what lies on the floor of the
    filterbank. That counts as silence and stays there, though a g above 1 could have lifted it, by 2 ln g at most.

    Noise is drawn as a waveform, and the energies of its filterbank are added to those of the clip. The cross term of
    sound and noise, zero in the mean, is left out: mean energies are those of the waveform route, and their scatter is
    smaller where sound and noise are about equally strong.

    Args:
        gain: g is drawn from U(1 - gain, 1 + gain).
        gain_p: share of the clips that get a gain.
        noise_std: standard deviation of the noise, full scale being 1 whatever `Clip.amplitude` is.
        noise_p: share of the clips that get noise.

    Raises:
        ValueError: a gain outside [0, 1), a negative deviation, a share outside [0, 1].
    """

    gain: float = 0.1
    gain_p: float = 0.5
    noise_std: float = 1e-4
    noise_p: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.gain < 1 and 0 <= self.noise_std < math.inf):
            raise ValueError(f"gain={self.gain} must be in [0, 1), noise_std={self.noise_std} 0 or more")
        if not (0 <= self.gain_p <= 1 and 0 <= self.noise_p <= 1):
            raise ValueError(f"gain_p={self.gain_p} and noise_p={self.noise_p} must be shares in [0, 1]")

    def __call__(
        self, fbank: Float[Tensor, "B T F"], clip: "Clip", generator: torch.Generator | None = None
    ) -> Float[Tensor, "B T F"]:
        """A changed copy of `fbank`, natural logs before normalisation.

        Args:
            clip: how `fbank` was made.
            generator: of all draws; torch's global CPU generator without one, and that of the filterbank's device for
                the noise.
        """
        device = generator.device if generator is not None else torch.device("cpu")
        u = torch.rand(3, len(fbank), generator=generator, device=device)
        gained, noisy = u[0] < self.gain_p, u[1] < self.noise_p
        gain = torch.where(gained, 1 + self.gain * (2 * u[2] - 1), 1.0).to(fbank.device)
        energy = energies(fbank, clip) * gain.square()[:, None, None]
        rows = noisy.nonzero()[:, 0].to(fbank.device)
        energy[rows] += self.noise(len(rows), fbank, clip, generator)
        changed = (gained | noisy).to(fbank.device)
        return torch.where(changed[:, None, None], logs(energy, clip), fbank)

    def noise(
        self, clips: int, fbank: Float[Tensor, "B T F"], clip: "Clip", generator: torch.Generator | None
    ) -> Float[Tensor, "N T F"]:
        """Energies of so many clips of nothing but noise, as long as those of `fbank`."""
        if clips == 0:
            return fbank[:0]
        frames, rate = fbank.shape[1], clip.sample_rate
        drawn_on = generator.device if generator is not None else fbank.device
        waveform = torch.randn(clips, frames * frame_hop(rate) + frame_size(rate), generator=generator, device=drawn_on)
        return energies(clip.fbank(self.noise_std * waveform.to(fbank.device))[:, :frames], clip)


def energies(fbank: Float[Tensor, "B T F"], clip: "Clip") -> Float[Tensor, "B T F"]:
    """Mel energies from their logs, without the floor: a value on it is 0."""
    if clip.filterbank == "efficientat":
        return (fbank.exp() - efficientat.FLOOR).clamp_min(0)
    return fbank.exp().masked_fill(fbank < ON_FLOOR, 0)


def logs(energy: Float[Tensor, "B T F"], clip: "Clip") -> Float[Tensor, "B T F"]:
    """Natural logs of mel energies, with the floor of the filterbank."""
    if clip.filterbank == "efficientat":
        return (energy + efficientat.FLOOR).log()
    return energy.clamp_min(FLOOR).log()
