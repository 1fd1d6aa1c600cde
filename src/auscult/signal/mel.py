"""Frames and mel filters of Kaldi's filterbank, and the filterbank itself in numpy, for whoever does without torch.

`fbank` is the same in torch: batched, differentiable, on any device. Settings and sources are there.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

PREEMPHASIS = 0.97
LOW_HZ = 20.0
FLOOR = float(np.finfo(np.float32).eps)  # 1.19e-7: the log of digital silence is -15.94
AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974  # of these logs over AudioSet (Gong et al. 2021)
MIN_STD = 1e-3  # of natural logs; far below any sound, so only a constant clip meets it
AT_ONCE = 1024  # frames in work: they stay in the cache, and small whatever the recording


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


def log_mel(waveforms: Float[np.ndarray, "B S"], sample_rate: int, n_mels: int) -> Float[np.ndarray, "B T F"]:
    """`fbank.fbank` in numpy; float32.

    Raises:
        ValueError: the waveforms are shorter than one frame of 25 ms.

    >>> log_mel(np.zeros((1, 32000), np.float32), 8000, 64).shape
    (1, 398, 64)
    """
    size, samples = frame_size(sample_rate), waveforms.shape[1]
    if samples < size:
        raise ValueError(f"{samples} samples at {sample_rate} Hz; one frame needs {size}")
    every = np.lib.stride_tricks.sliding_window_view(waveforms.astype(np.float32), size, axis=1)
    frames = every[:, :: frame_hop(sample_rate)]
    made = np.empty((*frames.shape[:2], n_mels), np.float32)
    clips = max(1, AT_ONCE // frames.shape[1])
    for clip in range(0, len(frames), clips):
        for first in range(0, frames.shape[1], AT_ONCE):
            place = slice(clip, clip + clips), slice(first, first + AT_ONCE)
            made[place] = _log_mel(frames[place], sample_rate, n_mels)
    return made


def _log_mel(frames: Float[np.ndarray, "B T size"], sample_rate: int, n_mels: int) -> Float[np.ndarray, "B T F"]:
    size = frames.shape[2]
    frames = frames - frames.mean(axis=2, keepdims=True)
    emphasised = frames.copy()
    emphasised[..., 1:] -= np.float32(PREEMPHASIS) * frames[..., :-1]
    emphasised[..., 0] *= np.float32(1 - PREEMPHASIS)  # the first sample is its own predecessor
    emphasised *= window(size).astype(np.float32)
    n_fft = 1 << (size - 1).bit_length()
    spectrum = np.fft.rfft(emphasised, n_fft)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    filters = mel_matrix(sample_rate, n_fft, n_mels, LOW_HZ, sample_rate / 2)
    energies = power.astype(np.float32) @ filters.astype(np.float32)
    return np.log(np.maximum(energies, np.float32(FLOOR)))


@lru_cache(maxsize=8)
def window(size: int) -> Float[np.ndarray, "size"]:
    """The symmetric Hann window; read-only."""
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
