"""How far up a recording goes: the frequency above which nothing is left but the floor.

A sample rate promises a bandwidth, a recorder often delivers less: filtered in the device, or once stored at a lower
rate and resampled. A network sees the edge, and the edge tells it the device.
"""

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view

WINDOW_S = 0.16
MEDIAN_HZ = 200.0  # a whistle fills 50 Hz of a spectrum with this window
DEPTH_DB = 60.0  # what lies deeper than this below the loudest band cannot be heard beside it
REFERENCE_HZ = 100.0  # the loudest band is sought above: heart, handling and offset are below
STEP = 2.0**-15  # of 16 bit, full scale 1
FLOOR_MARGIN_DB = 6.0  # dither adds 4.8 dB to the noise of rounding
BLOCK = 32  # frames transformed at once: an hour of sound costs no more memory than a minute


def bandwidth(waveform: Float[np.ndarray, "S"], sample_rate: int) -> float | None:
    """The highest frequency whose power is no floor, in Hz; half the sample rate at most.

    Floor is a power density 60 dB or more below the highest above 100 Hz, or less than 6 dB above the rounding noise of
    16 bit, STEP^2 / 12 spread over half the sample rate. Along frequency a running median over 200 Hz counts, so a
    whistle of the electronics does not, and an edge stays where it is; over time the mean, so silence changes nothing.

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
    frequency = np.linspace(0, sample_rate / 2, len(density))
    level = running_median(density[None], 2 * round(MEDIAN_HZ / frequency[1] / 2) + 1)[0]
    loudest = level[frequency >= min(REFERENCE_HZ, sample_rate / 4)].max()
    rounding = STEP**2 / 12 / (sample_rate / 2)
    floor = max(loudest * 10 ** (-DEPTH_DB / 10), rounding * 10 ** (FLOOR_MARGIN_DB / 10))
    above = frequency[level > floor]
    return float(above[-1]) if len(above) else None


def running_median(rows: Float[np.ndarray, "T K"], size: int) -> Float[np.ndarray, "T K"]:
    """The median of `size` neighbours along each row; beyond an end stands its last value.

    As `scipy.ndimage.median_filter` with ``mode="nearest"``, whose import costs a prediction 20 MB.

    Args:
        size: odd.

    >>> running_median(np.array([[0.0, 9.0, 1.0, 2.0]]), 3).tolist()
    [[0.0, 1.0, 2.0, 2.0]]
    """
    padded = np.pad(rows, ((0, 0), (size // 2, size // 2)), mode="edge")
    windows = sliding_window_view(padded, size, axis=1)
    middle = size // 2
    blocks = [windows[first : first + BLOCK] for first in range(0, len(rows), BLOCK)]
    return np.concatenate([np.partition(block, middle, axis=2)[..., middle] for block in blocks])


def power_density(waveform: Float[np.ndarray, "S"], sample_rate: int) -> Float[np.ndarray, "bins"]:
    """Mean power density in 1/Hz of Blackman-Harris windows of 160 ms that overlap by half; full scale is 1.

    A recording shorter than a window is one; samples behind the last whole window do not count.

    Source: Welch 1967; Harris 1978, the 4-term window, whose side lobes are 92 dB down.
    """
    size = min(round(WINDOW_S * sample_rate), len(waveform)) // 2 * 2
    frames = sliding_window_view(waveform, size)[:: size // 2]
    window = blackman_harris(size)
    total = np.zeros(size // 2 + 1)
    for first in range(0, len(frames), BLOCK):
        block = frames[first : first + BLOCK]
        total += (np.abs(np.fft.rfft((block - block.mean(axis=1, keepdims=True)) * window)) ** 2).sum(axis=0)
    return 2 * total / (len(frames) * np.sum(window**2) * sample_rate)


def blackman_harris(size: int) -> Float[np.ndarray, "S"]:
    """The periodic 4-term window; scipy's own costs an import of 47 MB.

    >>> blackman_harris(4).round(5).tolist()
    [6e-05, 0.21747, 1.0, 0.21747]

    Source: Harris 1978, table 1.
    """
    phase = 2 * np.pi * np.arange(size) / size
    return 0.35875 - 0.48829 * np.cos(phase) + 0.14128 * np.cos(2 * phase) - 0.01168 * np.cos(3 * phase)
