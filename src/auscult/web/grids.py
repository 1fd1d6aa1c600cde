"""What the page draws: peaks of the waveform, and the spectrogram made by the filterbank that the model sees.

A picture asks for a stretch and a width in pixels; work and memory follow the width, not the length of the recording.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from ..signal.clip import Clip
from ..signal.mel import LOW_HZ, frame_hop, frame_size
from .listening import FULL, STEP, Sound

MOST_COLUMNS = 4096
SPARSE_S = 0.1  # a column longer than this is drawn from one piece in its middle, not from all its frames
PIECE_FRAMES = 6  # of that piece
SAMPLED = 400  # pieces that fix the scale of brightness
QUANTILES = (0.05, 0.998)  # of the log energies: drawn black and white
LEAST_RANGE = 3.0  # nepers of power, 13 dB: silence stays dark instead of becoming noise


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A picture over time and frequency.

    Args:
        values: 0 to 255; row 0 is the highest frequency.
        low_hz: lower edge of the last row; rows are evenly spaced in mel.
        high_hz: upper edge of row 0.
        start_s: left edge.
        end_s: right edge.
    """

    values: UInt8[np.ndarray, "F W"]
    low_hz: float
    high_hz: float
    start_s: float
    end_s: float

    def headers(self) -> dict[str, str]:
        """What goes with the bytes."""
        height, width = self.values.shape
        told = {"Height": height, "Width": width, "Scale": "mel", "Low-Hz": self.low_hz, "High-Hz": self.high_hz}
        return {f"X-{k}": str(v) for k, v in (told | {"Start": self.start_s, "End": self.end_s}).items()}


def peaks(sound: Sound, start_s: float, end_s: float | None, width: int) -> dict[str, object]:
    """Lowest and highest sample of each of `width` columns (fewer where there are fewer samples), in [-1, 1]."""
    first, last = sound.span(start_s, end_s)
    width = min(width, last - first)
    edges = np.linspace(first, last, width + 1).astype(np.int64)
    if (last - first) / width >= 16 * STEP:  # the outline is off by a sixteenth of a column at most
        rows, edges = sound.outline(), edges // STEP
        low, high = (rows[edges[0] : edges[-1] + 1, side] for side in (0, 1))
        scale = 1 / FULL
    else:
        low = high = sound.read(first, last)
        scale = 1.0
    starts = edges[:-1] - edges[0]
    found = {"low": np.minimum.reduceat(low, starts) * scale, "high": np.maximum.reduceat(high, starts) * scale}
    told = {name: np.clip(values, -1, 1).round(4).tolist() for name, values in found.items()}
    return {"start": first / sound.rate, "end": last / sound.rate, **told}


def spectrogram(
    sound: Sound, clip: Clip, scale: tuple[float, float], start_s: float, end_s: float | None, width: int
) -> Grid:
    """The log-mel filterbank of a stretch in `width` columns.

    Args:
        clip: of the model.
        scale: log energies that are drawn as 0 and 255; see `brightness`.
    """
    first, last = sound.span(start_s, end_s)
    edges = np.linspace(first, last, width + 1)
    columns = _sparse if (last - first) / width > SPARSE_S * sound.rate else _dense
    drawn = (columns(sound, clip, edges) - scale[0]) / (scale[1] - scale[0])
    values = (255 * drawn.clip(0, 1)).round().astype(np.uint8)
    return grid(values, clip, first / sound.rate, last / sound.rate)


def grid(values: UInt8[np.ndarray, "W F"], clip: Clip, start_s: float, end_s: float) -> Grid:
    """Columns of a filterbank of `clip` as a picture."""
    low_hz, high_hz = band(clip)
    turned = np.ascontiguousarray(values.T[::-1])
    return Grid(values=turned, low_hz=low_hz, high_hz=high_hz, start_s=round(start_s, 6), end_s=round(end_s, 6))


def band(clip: Clip) -> tuple[float, float]:
    """Edges in Hz of the picture of a filterbank: half a row outside the centres of its outermost filters."""
    ends = np.array([LOW_HZ, clip.sample_rate / 2])
    if clip.filterbank == "efficientat":
        from ..signal import efficientat  # needs torch, which Kaldi's filterbank does without

        ends = np.array([efficientat.LOW_HZ, efficientat.HIGH_HZ])
    low, high = 1127.0 * np.log1p(ends / 700.0)
    half = (high - low) / (clip.n_mels + 1) / 2
    edges = 700.0 * np.expm1(np.array([low + half, high - half]) / 1127.0)
    return round(float(edges[0]), 3), round(float(edges[1]), 3)


def brightness(sound: Sound, clip: Clip) -> tuple[float, float]:
    """Log energies to draw as 0 and 255: one scale for the whole recording, from pieces all over it."""
    edges = np.linspace(0, sound.samples, SAMPLED + 1)
    low, high = np.quantile(_sparse(sound, clip, edges), QUANTILES)
    return float(low), float(max(high, low + LEAST_RANGE))


def _sparse(sound: Sound, clip: Clip, edges: Float[np.ndarray, "edges"]) -> Float[np.ndarray, "W F"]:
    """Columns from the mean of a few frames in the middle of each."""
    length = frame_size(sound.rate) + (PIECE_FRAMES - 1) * frame_hop(sound.rate)
    middle = (edges[:-1] + edges[1:]) / 2 - length / 2
    starts = middle.clip(0, max(0, sound.samples - length)).astype(np.int64)
    return clip.log_mel(sound.pieces(starts, length)).mean(axis=1)


def _dense(sound: Sound, clip: Clip, edges: Float[np.ndarray, "edges"]) -> Float[np.ndarray, "W F"]:
    """Columns from the mean of all frames whose middle lies in them, or from the nearest frame."""
    size, hop = frame_size(sound.rate), frame_hop(sound.rate)
    ahead = size // 2 if clip.filterbank == "kaldi" else 0  # from the first sample read to the middle of frame 0
    # from a multiple of the step on, the frames are those of the whole recording; with a margin that is not drawn
    last = min(sound.samples, int(edges[-1]) + 2 * size)
    first = max(0, min(int(edges[0]) - 2 * size, last - 2 * size)) // hop * hop
    frames = clip.log_mel(sound.read(first, last)[None])[0]
    places = ((edges - first - ahead) / hop + 0.5).astype(np.int64).clip(0, len(frames))  # frames before each edge
    begin = places[:-1].clip(0, len(frames) - 1)
    behind = np.maximum(places[1:], begin + 1)
    total = np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(frames, axis=0, dtype=np.float64)])
    return (total[behind] - total[begin]) / (behind - begin)[:, None]
