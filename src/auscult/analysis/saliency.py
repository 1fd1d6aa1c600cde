"""Which times and frequencies of a breathing cycle speak for a class, on the cycle's own axes.

    model = auscult.load("runs/mine")
    found = saliency(model, "101_1b1_Al_sc_Meditron.wav", 0.036, 0.579)
    found.values, found.times_s, found.frequencies_hz

A short cycle reaches the network repeated to the clip's length. What the repetitions of a moment add is averaged, so
every column of the result is one moment of the cycle. Saliency says what this model used; it is no finding.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..data.store import cycle_features
from ..errors import AuscultError
from ..models import scan
from ..signal import efficientat, io
from ..signal.clip import Clip
from ..signal.mel import LOW_HZ, frame_hop, frame_size, mel_centres
from .attribution import Method, attribution

if TYPE_CHECKING:
    from ..predict import Model

# Standard deviation of the smoothing in frames of 10 ms and in mel bins. Chosen with all else here on validation
# patients of SPRSound (dass_nano, 64 cycles called abnormal), by the area between insertion and deletion. What speaks
# for the class in each cell of the clip, then the mean of the repetitions: 0.455; smoothed by 0.5 it is 0.450, by 1 it
# is 0.407. The mean first: 0.419; absolute values: 0.381; integrated gradients: 0.454; the loudest cells: 0.362; by
# chance: 0.005.
SPREAD = (0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """What speaks for a class in one cycle.

    Args:
        values: (T, F) float32, 0 or more: what a cell adds to the log-odds of the class. 0 where it adds nothing or
            speaks against it, and behind the end of the clip in a cycle that is longer.
        times_s: (T,) middle of each column, seconds from the start of the recording.
        frequencies_hz: (F,) centre of each mel filter.
        start_s: start of the cycle, within the recording.
        end_s: its end, or that of the recording.
        label: the class that is explained.
    """

    values: NDArray[np.float32]
    times_s: NDArray[np.float64]
    frequencies_hz: NDArray[np.float64]
    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Placing:
    """How the frames of a clip lie on the cycle it was made of.

    Args:
        cycle_s: length of the cycle within the recording.
        offset_s: where the cycle begins within the clip; more than 0 with ``pad="zero"``.
        clip_s: length of the clip.
        repeated: the clip goes on with the cycle from its start.
        centres_s: (T,) middle of each frame within the clip.
    """

    cycle_s: float
    offset_s: float
    clip_s: float
    repeated: bool
    centres_s: NDArray[np.float64]

    @property
    def columns_s(self) -> NDArray[np.float64]:
        """Middles of the columns into which the cycle is cut, of one frame's step each or nearly so."""
        step_s = self.centres_s[1] - self.centres_s[0] if len(self.centres_s) > 1 else self.clip_s
        count = max(1, round(self.cycle_s / step_s))
        return (np.arange(count) + 0.5) * self.cycle_s / count

    def to_cycle(self, clip: Float[np.ndarray, "T_clip F"]) -> Float[np.ndarray, "T F"]:
        """Values of the frames at the columns of the cycle: between frames in a straight line, mean of repetitions."""
        columns_s = self.columns_s
        total, times = np.zeros((len(columns_s), clip.shape[1])), np.zeros((len(columns_s), 1))
        repetitions = int(np.ceil(self.clip_s / self.cycle_s)) if self.repeated else 1
        places = np.arange(len(self.centres_s))
        for r in range(repetitions):
            at_s = self.offset_s + r * self.cycle_s + columns_s
            heard = at_s <= self.clip_s
            at = np.interp(at_s[heard], self.centres_s, places)
            low = at.astype(int)
            share = (at - low)[:, None]
            total[heard] += (1 - share) * clip[low] + share * clip[np.minimum(low + 1, len(places) - 1)]
            times[heard] += 1
        return total / np.maximum(times, 1)

    def to_clip(self, cycle: Float[np.ndarray, "T F"]) -> Float[np.ndarray, "T_clip F"]:
        """Values of the columns at the frames of the clip, in every repetition; 0 in frames outside the cycle."""
        at_s = self.centres_s - self.offset_s
        at_s = at_s % self.cycle_s if self.repeated else at_s
        inside = (at_s >= 0) & (at_s < self.cycle_s)
        column = np.clip(at_s / self.cycle_s * len(cycle), 0, len(cycle) - 1).astype(int)
        return np.where(inside[:, None], cycle[column], 0)


def placing(clip: Clip, start_s: float, end_s: float, frames: int, recording_s: float = math.inf) -> Placing:
    """Where the frames that `Clip.fbank` makes of a cycle lie on it.

    Args:
        frames: of the filterbank.
        recording_s: length of the recording; a cycle that runs past it ends there.
    """
    rate, samples = clip.sample_rate, clip.bucket(start_s, end_s)
    first, last = (int(min(time_s, recording_s) * rate) for time_s in (start_s, end_s))
    length = last - first
    padded = clip.pad == "zero" and length < samples
    return Placing(
        cycle_s=length / rate,
        offset_s=(samples - length) // 2 / rate if padded else 0.0,
        clip_s=samples / rate,
        repeated=clip.pad == "cyclic" and length < samples,
        centres_s=frame_centres(clip, frames),
    )


def frame_centres(clip: Clip, frames: int) -> NDArray[np.float64]:
    """Middle of each frame of a filterbank in seconds.

    >>> frame_centres(Clip(), 3).tolist()
    [0.0125, 0.0225, 0.0325]
    """
    around_first = 0.0 if clip.filterbank == "efficientat" else frame_size(clip.sample_rate) / 2
    return (np.arange(frames) * frame_hop(clip.sample_rate) + around_first) / clip.sample_rate


def frequencies(clip: Clip) -> NDArray[np.float64]:
    """Centre of each mel filter in Hz."""
    if clip.filterbank == "efficientat":
        return mel_centres(clip.n_mels, efficientat.LOW_HZ, efficientat.HIGH_HZ)
    return mel_centres(clip.n_mels, LOW_HZ, clip.sample_rate / 2)


def on_cycle(attributed: Float[np.ndarray, "T_clip F"], where: Placing) -> Float[np.ndarray, "T F"]:
    """What speaks for the class in each cell of the cycle: mean of its repetitions, spread a little."""
    mean = where.to_cycle(np.maximum(attributed, 0))
    return gaussian_filter(mean, SPREAD, mode="nearest").astype(np.float32)


def saliency(
    model: "Model",
    recording: str | Path | NDArray[np.float32],
    start_s: float,
    end_s: float,
    class_index: int | None = None,
    method: Method = "gradient",
) -> Saliency:
    """What speaks for a class in one breathing cycle.

    Args:
        recording: an audio file, or its mono samples at ``model.clip.sample_rate``, not faded.
        start_s: start of the cycle within the recording.
        end_s: its end.
        class_index: in ``model.classes``; None takes the class that the model predicts.
        method: ``gradient`` takes one backward pass; the others, of captum, hundreds of passes.

    Raises:
        AuscultError: E_SETTING for a class that is not there, a method unknown or not installed, a model that is no
            network; E_ANNOTATION for times that hold no sample; as `io.load` for a file.
    """
    known = len(model.classes)
    if class_index is not None and not 0 <= class_index < known:
        raise AuscultError("E_SETTING", f"class_index={class_index}; the model has classes 0 to {known - 1}.")
    clip = model.clip
    waveform = recording if isinstance(recording, np.ndarray) else io.load(recording, clip.sample_rate).waveform
    stored = cycle_features(clip.fade_recording(waveform), [(start_s, end_s)], clip)
    fbank = torch.from_numpy(stored).to(model.device).float()
    if class_index is None:
        class_index = int(model.classify(stored).argmax())
    members = torch.zeros(1, known, dtype=torch.bool, device=fbank.device)
    members[0, class_index] = True
    # a network that predicts without torch is small: the scan is not compiled for one breath, which takes seconds
    with scan.prefer("chunked") if model.light else nullcontext():
        found = attribution(model.classifier, fbank, members, method)[0].cpu().numpy()
    recording_s = len(waveform) / clip.sample_rate
    where = placing(clip, start_s, end_s, len(found), recording_s)
    return Saliency(
        values=on_cycle(found, where),
        times_s=start_s + where.columns_s,
        frequencies_hz=frequencies(clip),
        start_s=start_s,
        end_s=start_s + where.cycle_s,
        label=model.classes[class_index],
    )
