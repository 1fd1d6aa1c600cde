"""How far up a recording goes: the frequency above which nothing is left but the floor.

A sample rate promises a bandwidth, a recorder often delivers less: filtered in the device, or once stored at a lower
rate and resampled. A network sees the edge, and the edge tells it the device.
"""

from math import ceil

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view

BAND_HZ = 25.0  # resolution of the answer
WINDOW_S = 0.16  # four bins of the spectrum in a band
DEPTH_DB = 60.0  # what lies deeper than this below the loudest band cannot be heard beside it
REFERENCE_HZ = 100.0  # the loudest band is sought above: heart, handling and offset are below
STEP = 2.0**-15  # of 16 bit, full scale 1
FLOOR_MARGIN_DB = 6.0  # dither adds 4.8 dB to the noise of rounding
BLOCK = 256  # frames transformed at once: an hour of sound costs no more memory than a minute


def bandwidth(waveform: Float[np.ndarray, "S"], sample_rate: int) -> float | None:
    """The upper edge of the highest band of 25 Hz that is no floor, in Hz; half the sample rate at most.

    A band is floor when its power density is 60 dB or more below that of the loudest band above 100 Hz, or less than
    6 dB above the rounding noise of 16 bit, STEP^2 / 12 spread over half the sample rate. Within a band the median
    counts, so a whistle of the electronics does not; over time the mean, so a silent stretch changes nothing.

    Args:
        waveform: the whole recording at the rate of its file: resampling has an edge of its own.
        sample_rate: of the waveform, in Hz.

    Returns:
        None for silence, where all is floor.

    >>> noise = np.random.default_rng(0).normal(0, 0.1, 80000)
    >>> bandwidth(noise, 8000), bandwidth(0 * noise, 8000)
    (4000.0, None)
    """
    density = power_density(waveform, sample_rate)
    frequency = np.arange(len(density)) * sample_rate / (2 * (len(density) - 1))
    band = np.minimum(frequency // BAND_HZ, ceil(sample_rate / 2 / BAND_HZ) - 1).astype(int)
    starts = np.flatnonzero(np.diff(band, prepend=-1))
    level = np.array([np.median(own) for own in np.split(density, starts[1:])])
    edges = np.minimum((band[starts] + 1) * BAND_HZ, sample_rate / 2)
    loudest = level[edges > min(REFERENCE_HZ, sample_rate / 4)].max()
    rounding = STEP**2 / 12 / (sample_rate / 2)
    floor = max(loudest * 10 ** (-DEPTH_DB / 10), rounding * 10 ** (FLOOR_MARGIN_DB / 10))
    above = edges[level > floor]
    return float(above[-1]) if len(above) else None


def power_density(waveform: Float[np.ndarray, "S"], sample_rate: int) -> Float[np.ndarray, "bins"]:
    """Mean power density in 1/Hz of Hann windows of 160 ms that overlap by half; full scale is 1.

    A recording shorter than a window is one; samples behind the last whole window do not count.

    Source: Welch 1967.
    """
    size = min(round(WINDOW_S * sample_rate), len(waveform)) // 2 * 2
    frames = sliding_window_view(waveform, size)[:: size // 2]
    window = np.hanning(size + 1)[:-1]
    total = np.zeros(size // 2 + 1)
    for first in range(0, len(frames), BLOCK):
        block = frames[first : first + BLOCK]
        total += (np.abs(np.fft.rfft((block - block.mean(axis=1, keepdims=True)) * window)) ** 2).sum(axis=0)
    return 2 * total / (len(frames) * np.sum(window**2) * sample_rate)
