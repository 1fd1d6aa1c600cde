"""How clean a breathing cycle sounds, without a reference: tonal and loud is good, noise-like and faint is poor.

Source: QLung (arXiv 2606.11915), audio quality score. The paper gives the sum and its two weights; window, scales and
sample rate are derived, and each choice below is a setting or a named constant.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view

from ..config import spec
from .pad import zero

SAMPLE_RATE = 16_000  # Hz, of every cycle that is measured
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms every 10 ms, as the filterbank
BINS = FFT // 2 + 1
BLOCK = 1024  # frames transformed at once: an hour of sound costs no more memory than ten seconds


@spec("quality")
class Quality:
    """The audio quality score AQS = clip(1 - alpha H + beta R, 0, 1): H spectral entropy, R loudness, both in [0, 1].

    With the published weights it lies between 1 - alpha = 0.3 and 1.

    Args:
        alpha: weight of the entropy.
        beta: weight of the loudness.
        entropy: ``psd`` is the entropy of the mean power spectrum of a cycle; ``frames`` the mean of the entropies of
            its frames.
        rms: ``minmax`` places the RMS of a cycle between two percentiles of the training cycles; ``raw`` takes it as it
            is, cut at 1: on stethoscope recordings near 0, so the score is 1 - alpha H.
        low: percentile of the training cycles that counts as 0.
        high: percentile that counts as 1.

    Raises:
        ValueError: a negative weight, or percentiles that are not 0 <= low < high <= 100.
    """

    alpha: float = 0.7
    beta: float = 0.3
    entropy: Literal["psd", "frames"] = "psd"
    rms: Literal["minmax", "raw"] = "minmax"
    low: float = 1.0
    high: float = 99.0

    def __post_init__(self) -> None:
        if not (0 <= self.alpha < math.inf and 0 <= self.beta < math.inf):
            raise ValueError(f"alpha={self.alpha} and beta={self.beta} must both be 0 or more")
        if not 0 <= self.low < self.high <= 100:
            raise ValueError(f"low={self.low} and high={self.high}; 0 <= low < high <= 100 is needed")


def spectral_entropy(cycle: Float[np.ndarray, "S"]) -> dict[str, float]:
    """Spectral entropy of a cycle in both readings of `Quality`, as a share of ln 257.

    White noise has 1.00 (0.92 by ``frames``), a pure tone 0.20, the width of the window. Power spectra of Hann windows
    of 25 ms every 10 ms; samples behind the last whole window do not count. A cycle shorter than a window stands in
    the middle of one. Silence has no spectrum: it counts as 1, the noisiest.

    A recording sampled at 8 kHz (SPRSound) has nothing in the upper 128 of its 257 bins, so its entropy ends at
    ln 129 / ln 257 = 0.876 instead of 1, and its score begins about 0.09 higher. Within one data set the order of
    the cycles stays what it was; scores of data sets of different rates cannot be compared.

    Args:
        cycle: samples at 16 kHz, neither repeated nor padded.

    Raises:
        ValueError: no sample.
    """
    if len(cycle) < WINDOW:
        cycle = zero(cycle, WINDOW)
    frames = sliding_window_view(cycle, WINDOW)[::HOP]
    window = np.hanning(WINDOW + 1)[:-1]
    total, sums = np.zeros(BINS), 0.0
    for first in range(0, len(frames), BLOCK):
        power = np.abs(np.fft.rfft(frames[first : first + BLOCK] * window, FFT)) ** 2
        total += power.sum(axis=0)
        sums += float(entropy(power).sum())
    return {"psd": float(entropy(total[None])[0]), "frames": sums / len(frames)}


def entropy(power: Float[np.ndarray, "N bins"]) -> Float[np.ndarray, "N"]:
    """-sum p ln p / ln K of each row of K powers, p being its shares; 1 for a row of zeros.

    >>> entropy(np.array([[1.0, 1.0, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    array([0.5, 0. , 1. ])
    """
    whole = power.sum(axis=1, keepdims=True)
    p = np.divide(power, whole, out=np.full_like(power, 1 / power.shape[1]), where=whole > 0)
    terms = p * np.log(p, out=np.zeros_like(p), where=p > 0)
    return np.abs(terms.sum(axis=1)) / math.log(power.shape[1])  # abs: 0, not -0


def rms(cycle: Float[np.ndarray, "S"]) -> float:
    """Root of the mean square of a cycle; full scale is 1.

    >>> rms(np.array([0.5, -0.5, 0.5, -0.5]))
    0.5
    """
    return math.sqrt(np.mean(np.square(cycle, dtype=np.float64)))


def rms_range(values: Float[np.ndarray, "N"], settings: Quality) -> tuple[float, float]:
    """The two percentiles between which loudness is placed; those of the training cycles."""
    low, high = np.percentile(values, [settings.low, settings.high])
    return float(low), float(high)


def audio_quality(
    entropy: Float[np.ndarray, "N"],
    rms: Float[np.ndarray, "N"],
    rms_range: tuple[float, float],
    settings: Quality,
) -> Float[np.ndarray, "N"]:
    """The audio quality score of cycles, in [0, 1]; NaN where a measure is.

    >>> audio_quality(np.array([0.5, 0.5, 1.0]), np.array([0.01, 0.03, 0.05]), (0.01, 0.05), Quality()).round(2)
    array([0.65, 0.8 , 0.6 ])

    Args:
        entropy: by the reading of `settings`.
        rms: root of the mean square.
        rms_range: what counts as 0 and as 1 with ``rms="minmax"``; where both are equal, no cycle is louder than 0.

    Source: QLung, audio quality score.
    """
    low, high = (0.0, 1.0) if settings.rms == "raw" else rms_range
    place = (rms - low) / (high - low) if high > low else 0 * rms
    loudness = np.clip(place, 0, 1)
    return np.clip(1 - settings.alpha * entropy + settings.beta * loudness, 0, 1)
