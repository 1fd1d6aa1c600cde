"""Where a breathing cycle may begin: a small network looks at the energy in 16 bands and says so for every frame.

In ICBHI a cycle runs from the start of an inspiration to the start of the next. What marks the start differs: a hiss
that swells, a pause before it, crackles behind it, and heart beats are louder than all of them. So the rule is learned
from annotated cycles, by `auscult.analysis.segmentation_fit`. The network has some ten thousand weights and sees 8 s.

It comes as five networks. Network k has not seen the patients whose number is k modulo 5: those patients can be scored
by it (`fold=k`) although all are used in training. A new recording gets the mean of all five.

Source: the data are Rocha et al. 2019 (ICBHI 2017) and Zhang et al. 2022 (SPRSound), training parts only; dilated
convolutions are those of Yu and Koltun 2016, "Multi-scale context aggregation by dilated convolutions".
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr
from jaxtyping import Float, Float32
from numpy.lib.stride_tricks import sliding_window_view
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import AuscultError

RATE = 4000  # Hz; Meditron recordings of ICBHI have nothing above 2 kHz
WINDOW, HOP = 512, 256  # samples at RATE: 128 ms every 64 ms
FRAME_S = HOP / RATE
LOW_HZ, HIGH_HZ, BANDS = 60.0, 1900.0, 16
FLOOR = 1e-9  # of the recording's mean square
UNIT = 3.0  # of the logarithm of power: 13 dB count as 1
RANGE = (-2.0, 3.0)  # after that
BLOCK = 1024  # frames transformed at once
FOLDS = 5
DILATIONS = (1, 2, 4, 8, 16)
FILE = Path(__file__).with_name("breathing.safetensors")
ADVICE = "Install auscult again."

Network = tuple[np.ndarray, ...]


def fold(patient: str) -> int:
    """Which of the five networks has not seen a patient.

    >>> fold("104"), fold("65058931")
    (4, 1)
    """
    return int(patient) % FOLDS


def band_levels(waveform: Float[np.ndarray, "S"], sample_rate: int) -> Float32[np.ndarray, "T 16"]:
    """Log energy of 16 bands from 60 Hz to 1.9 kHz, about equal steps of pitch, every 64 ms; 1 is 13 dB.

    0 is the band's median over the recording, so neither gain nor the colour of device and room change anything.
    Values are cut at -26 and +39 dB. Frame i stands for the 64 ms from 0.064 i on. Silence is all 0.

    Args:
        waveform: one channel.
        sample_rate: of the waveform, in Hz. Bands above half of it are 0.
    """
    samples = waveform if sample_rate == RATE else soxr.resample(waveform, sample_rate, RATE)
    samples = samples.astype(np.float64) - samples.mean(dtype=np.float64)
    loudness = np.sqrt(np.mean(samples**2))
    frames = len(samples) // HOP
    if not frames or loudness == 0:
        return np.zeros((frames, BANDS), np.float32)
    around = np.pad(samples / loudness, (WINDOW - HOP) // 2)
    views = sliding_window_view(around, WINDOW)[::HOP][:frames]
    levels = np.concatenate([_block_levels(views[first : first + BLOCK]) for first in range(0, frames, BLOCK)])
    return np.clip((levels - np.median(levels, axis=0)) / UNIT, *RANGE).astype(np.float32)


def _block_levels(views: np.ndarray) -> np.ndarray:
    window = np.hanning(WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(views * window)) ** 2 / np.sum(window**2)
    return np.log(power @ _bands() + FLOOR)


@lru_cache(maxsize=1)
def _bands() -> np.ndarray:
    """Weights (bins, 16) that give the mean power of each band; a band without a bin takes the nearest."""
    frequency = np.fft.rfftfreq(WINDOW, 1 / RATE)
    edges = np.geomspace(LOW_HZ, HIGH_HZ, BANDS + 1)
    inside = (frequency[:, None] >= edges[:-1]) & (frequency[:, None] < edges[1:])
    nearest = np.abs(frequency[:, None] - np.sqrt(edges[:-1] * edges[1:])).argmin(axis=0)
    inside[nearest, range(BANDS)] |= ~inside.any(axis=0)
    return inside / inside.sum(axis=0)


def boundary_logits(levels: Float32[np.ndarray, "T 16"], fold: int | None = None) -> Float32[np.ndarray, "T"]:
    """Log odds that a cycle begins at each frame: the mean of the five networks, or of the one named.

    Args:
        levels: as `band_levels` gives them.
        fold: 0 to 4, the network that has not seen the patients of this fold; None takes all.

    Raises:
        AuscultError: E_RUN for a file of weights that is missing or damaged.
    """
    layers = [layer if fold is None else layer[fold : fold + 1] for layer in networks()]
    return convolve(levels, layers).mean(axis=0)


def convolve(
    levels: Float32[np.ndarray, "T 16"], layers: list[Float32[np.ndarray, "N ..."]]
) -> Float32[np.ndarray, "N T"]:
    """What N networks say of the same levels.

    Args:
        layers: weight (N, taps, in, out) and bias (N, out) of each dilated layer, ReLU behind each, a path around each
            but the first; then weight (N, width) and bias (N,) of the sum.
    """
    x = np.broadcast_to(levels, (len(layers[0]), *levels.shape))
    for place, dilation in enumerate(DILATIONS):
        weight, bias = layers[2 * place : 2 * place + 2]
        y = _dilated(x, weight, dilation) + bias[:, None]
        y = np.maximum(y, 0)
        x = y + x if place else y
    return (x @ layers[-2][:, :, None])[:, :, 0] + layers[-1][:, None]


def _dilated(x: np.ndarray, weight: np.ndarray, dilation: int) -> np.ndarray:
    """(N, T, in) -> (N, T, out): each tap is one product; outside the recording is 0."""
    taps, frames = weight.shape[1], x.shape[1]
    reach = dilation * (taps // 2)
    around = np.pad(x, ((0, 0), (reach, reach), (0, 0)))
    return sum(around[:, tap * dilation : tap * dilation + frames] @ weight[:, tap] for tap in range(taps))


@lru_cache(maxsize=1)
def networks() -> Network:
    """The weights of the five networks, as `convolve` takes them.

    Raises:
        AuscultError: E_RUN.
    """
    try:
        with safe_open(FILE, framework="numpy") as handle:
            told = handle.metadata() or {}
            layers = [handle.get_tensor(name) for name in sorted(handle.keys())]
    except (OSError, SafetensorError) as error:
        raise AuscultError("E_RUN", f"{FILE} cannot be read: {error}. {ADVICE}") from error
    if digest(layers) != told.get("sha256"):
        raise AuscultError("E_RUN", f"{FILE} is damaged: its numbers do not fit their sha256. {ADVICE}")
    return tuple(layer.astype(np.float32) for layer in layers)


def digest(layers: list[np.ndarray]) -> str:
    """sha256 over shapes and bytes of the layers."""
    total = hashlib.sha256()
    for layer in layers:
        total.update(f"{layer.dtype} {layer.shape}\n".encode())
        total.update(layer.tobytes())
    return total.hexdigest()


def save_networks(file: Path, layers: list[np.ndarray]) -> None:
    """Writes layers, as `convolve` takes them, in half precision, with their sha256."""
    half = [np.ascontiguousarray(layer, np.float16) for layer in layers]
    named = {f"layer_{place:02d}": layer for place, layer in enumerate(half)}
    save_file(named, file, metadata={"sha256": digest(half)})
