"""Log-mel filterbank energies, batched and differentiable, equal to Kaldi's.

Settings of the Audio Spectrogram Transformer and of every ICBHI system built on it: frames of 25 ms every 10 ms,
symmetric Hann window, DC removal and pre-emphasis 0.97 per frame, power spectrum, mel filters from 20 Hz to half the
sample rate, natural log, no dither, only whole frames (Kaldi's snip_edges).

Source: Gong et al., AST (2021), section 2.1; Kaldi's feature-window.cc and mel-computations.cc.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .mel import FLOOR, LOW_HZ, PREEMPHASIS, frame_count, frame_hop, frame_size, mel_matrix, window

CHUNK_SAMPLES = 2**18  # two clips of 8 s: the frames in work stay in the cache, and small whatever batch and length


def fbank(waveform: Float[Tensor, "B S"], sample_rate: int = 16000, n_mels: int = 128) -> Float[Tensor, "B T F"]:
    """Natural log of mel energies; ``T = frame_count(S, sample_rate)``, ``F = n_mels``.

    Computed in float32 (float64 for a float64 waveform), under autocast too. Agrees with Kaldi to 1e-3 down to 78 dB
    below the loudest bin of a frame; deeper, the rounding of both FFTs shows. At 16 kHz one of 128 filters lies between
    two FFT lines and is empty: that bin is constant at the log of the floor.

    Raises:
        ValueError: the waveform is shorter than one frame of 25 ms.

    >>> fbank(torch.zeros(2, 128000)).shape
    torch.Size([2, 798, 128])
    """
    samples = waveform.shape[1]
    if samples < frame_size(sample_rate):
        raise ValueError(f"{samples} samples at {sample_rate} Hz; one frame needs {frame_size(sample_rate)}")
    return framewise(waveform, sample_rate, lambda frames: _fbank(frames, sample_rate, n_mels))


def framewise(
    waveform: Float[Tensor, "B S"], sample_rate: int, work: Callable[[Tensor], Tensor]
) -> Float[Tensor, "B T F"]:
    """`work`, (B, T, size) -> (B, T, F), on all whole frames of a waveform, as many at a time as stay in the cache.

    In float32 (float64 for a float64 waveform), under autocast too.
    """
    size, hop = frame_size(sample_rate), frame_hop(sample_rate)
    waveform = waveform if waveform.dtype == torch.float64 else waveform.float()
    with torch.autocast(waveform.device.type, enabled=False):
        limit = CHUNK_SAMPLES if waveform.device.type == "cpu" else 32 * CHUNK_SAMPLES
        rows = [
            torch.cat([work(piece.unfold(1, size, hop)) for piece in _pieces(some, sample_rate, limit)], dim=1)
            for some in waveform.split(max(1, limit // waveform.shape[1]))
        ]
        return torch.cat(rows)


def _pieces(waveform: Tensor, sample_rate: int, limit: int) -> Iterator[Tensor]:
    """Stretches of at most `limit` samples whose frames, one stretch after another, are those of the whole."""
    size, hop = frame_size(sample_rate), frame_hop(sample_rate)
    frames, at_once = frame_count(waveform.shape[1], sample_rate), max(1, frame_count(limit, sample_rate))
    for first in range(0, frames, at_once):
        last = min(first + at_once, frames) - 1
        yield waveform[:, first * hop : last * hop + size]


def _fbank(frames: Tensor, sample_rate: int, n_mels: int) -> Tensor:
    frames = frames - frames.mean(2, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)  # the first sample is its own predecessor
    energies = mel_energies(frames - PREEMPHASIS * before, sample_rate, n_mels, LOW_HZ, sample_rate / 2)
    return energies.clamp_min(FLOOR).log()


def mel_energies(
    frames: Float[Tensor, "B T size"], sample_rate: int, n_mels: int, low_hz: float, high_hz: float
) -> Float[Tensor, "B T F"]:
    """Power under each mel filter of frames seen through a symmetric Hann window."""
    size = frames.shape[2]
    n_fft = 1 << (size - 1).bit_length()
    spectrum = torch.fft.rfft(frames * _tensor(window(size), frames), n_fft)
    power = spectrum.real.square() + spectrum.imag.square()
    return power @ _tensor(mel_matrix(sample_rate, n_fft, n_mels, low_hz, high_hz), frames)


# NumPy arrays are cached, not tensors: a tensor first made under inference_mode or while tracing could not be used
# anywhere else later.
def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.tensor(array, dtype=like.dtype, device=like.device)
