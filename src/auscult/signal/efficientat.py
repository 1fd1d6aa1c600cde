"""The log-mel front end of EfficientAT, for networks that start from its AudioSet weights; at 32 kHz only.

Other than Kaldi's filterbank (`fbank.py`): the pre-emphasis runs over the whole waveform and takes one sample from it;
frames stand around every 320th sample from the first on, with the waveform mirrored at its ends; no DC removal; filters
from 0 Hz to 15 kHz; the floor is added instead of being a bound. While training, the authors also move the ends of the
filters by chance (up to 10 Hz and 1 kHz). Stored features cannot move: they are the authors' at evaluation.

Source: Schmid et al. 2023 (EfficientAT), section 3.1; models/preprocess.py of the public code.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from .fbank import framewise, mel_energies
from .mel import PREEMPHASIS, frame_count, frame_size

SAMPLE_RATE = 32_000
LOW_HZ, HIGH_HZ = 0.0, 15_000.0
FLOOR = 1e-5  # the log of digital silence is -11.51
MEAN, STD = -4.5, 5.0  # of these logs: its networks take (x - MEAN) / STD
HALF = frame_size(SAMPLE_RATE) // 2
SHORTEST = HALF + 2  # samples, of which the pre-emphasis leaves one fewer, enough to mirror half a frame


def mel_frame_count(samples: int) -> int:
    """Frames that so many samples give.

    >>> [mel_frame_count(seconds * 32000) for seconds in (4, 8, 10)]
    [400, 800, 1000]
    """
    return frame_count(samples - 1 + 2 * HALF, SAMPLE_RATE) if samples >= SHORTEST else 0


def log_mel(waveform: Float[Tensor, "B S"], n_mels: int = 128) -> Float[Tensor, "B T F"]:
    """Natural log of mel energies; ``T = mel_frame_count(S)``, ``F = n_mels``.

    Args:
        waveform: at 32 kHz, full scale being 1.

    Raises:
        ValueError: the waveform is shorter than 402 samples.

    >>> log_mel(torch.zeros(2, 128000)).shape
    torch.Size([2, 400, 128])
    """
    samples = waveform.shape[1]
    if samples < SHORTEST:
        raise ValueError(f"{samples} samples at {SAMPLE_RATE} Hz; {SHORTEST} are needed")
    waveform = waveform if waveform.dtype == torch.float64 else waveform.float()
    emphasised = waveform[:, 1:] - PREEMPHASIS * waveform[:, :-1]
    mirrored = F.pad(emphasised, (HALF, HALF), mode="reflect")
    return framewise(mirrored, SAMPLE_RATE, lambda frames: _log_mel(frames, n_mels))


def _log_mel(frames: Tensor, n_mels: int) -> Tensor:
    return (mel_energies(frames, SAMPLE_RATE, n_mels, LOW_HZ, HIGH_HZ) + FLOOR).log()
