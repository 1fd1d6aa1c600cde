"""Log-mel filterbank energies, batched and differentiable, equal to Kaldi's.

Settings of the Audio Spectrogram Transformer and of every ICBHI system built on it: frames of 25 ms every 10 ms,
symmetric Hann window, DC removal and pre-emphasis 0.97 per frame, power spectrum, mel filters from 20 Hz to half the
sample rate, natural log, no dither, only whole frames (Kaldi's snip_edges).

Source: Gong et al., AST (2021), section 2.1; Kaldi's feature-window.cc and mel-computations.cc.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

PREEMPHASIS = 0.97
LOW_HZ = 20.0
FLOOR = float(np.finfo(np.float32).eps)  # 1.19e-7: the log of digital silence is -15.94
CHUNK_SAMPLES = 2**18  # two clips of 8 s: the frames in work stay in the cache, and small whatever batch and length


def frame_size(sample_rate: int) -> int:
    """Samples in a frame of 25 ms."""
    return sample_rate * 25 // 1000


def frame_hop(sample_rate: int) -> int:
    """Samples between the starts of two frames, 10 ms."""
    return sample_rate * 10 // 1000


def frame_count(samples: int, sample_rate: int = 16000) -> int:
    """Whole frames in so many samples.

    >>> [frame_count(seconds * 16000) for seconds in (5, 8, 10)]
    [498, 798, 998]
    """
    return max(0, 1 + (samples - frame_size(sample_rate)) // frame_hop(sample_rate))


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
    spectrum = torch.fft.rfft(frames * _tensor(_window(size), frames), n_fft)
    power = spectrum.real.square() + spectrum.imag.square()
    return power @ _tensor(mel_matrix(sample_rate, n_fft, n_mels, low_hz, high_hz), frames)


# NumPy arrays are cached, not tensors: a tensor first made under inference_mode or while tracing could not be used
# anywhere else later.
def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.tensor(array, dtype=like.dtype, device=like.device)


@lru_cache(maxsize=8)
def _window(size: int) -> np.ndarray:
    return _read_only(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1)))


@lru_cache(maxsize=8)
def mel_matrix(
    sample_rate: int, n_fft: int, n_mels: int, low_hz: float, high_hz: float
) -> Float[np.ndarray, "lines F"]:
    """Kaldi's triangular filters: straight lines on the mel scale ``1127 ln(1 + f / 700)``, peak 1.

    Rows are the ``n_fft / 2 + 1`` lines of a real FFT, columns the filters; read-only.
    """
    lines = _mel(np.arange(n_fft // 2 + 1) * sample_rate / n_fft)
    edges = np.linspace(_mel(low_hz), _mel(high_hz), n_mels + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise = (lines[:, None] - left) / (centre - left)
    fall = (right - lines[:, None]) / (right - centre)
    return _read_only(np.maximum(0, np.minimum(rise, fall)))


def mel_centres(n_mels: int, low_hz: float, high_hz: float) -> Float[np.ndarray, "F"]:
    """Centre of each filter of `mel_matrix` in Hz.

    >>> mel_centres(3, 0.0, 4000.0).round().tolist()
    [427.0, 1114.0, 2220.0]
    """
    edges = np.linspace(_mel(low_hz), _mel(high_hz), n_mels + 2)
    return 700.0 * np.expm1(edges[1:-1] / 1127.0)


def mel_row(frequency_hz: float, sample_rate: int = 16000, n_mels: int = 128) -> float:
    """Where a frequency lies among the rows of a filterbank, for axes: row k reaches from k to k + 1.

    >>> round(mel_row(20.0), 3), round(mel_row(8000.0), 3)  # half a row outside: the filters overlap
    (-0.5, 128.5)
    """
    low, high = float(_mel(LOW_HZ)), float(_mel(sample_rate / 2))
    return (float(_mel(frequency_hz)) - low) / (high - low) * (n_mels + 1) - 0.5


def _mel(frequency_hz: float | np.ndarray) -> np.ndarray:
    return np.asarray(1127.0 * np.log1p(np.asarray(frequency_hz) / 700.0))


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
