"""A recording and its breaths as one figure: spectrogram, boxes and P(abnormal) over the same seconds."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import AuscultError
from ..prediction import Prediction
from ..signal import io
from . import RESEARCH_ONLY

MOST_S = 300.0  # wider than this a breath is a line
RATE = 8000
WINDOW, HOP = 512, 160
FLOOR_DB = -70.0
COLOURS = {"normal": "#4a7aa7", "abnormal": "#c8553d"}


def recording_figure(prediction: Prediction, sound: Path) -> Figure:
    """Time in s below, frequency in Hz beside; every breath with its class and probability.

    Raises:
        AuscultError: E_SETTING for a recording over five minutes; as `signal.io.load`.
    """
    if prediction.duration_s > MOST_S:
        raise AuscultError(
            "E_SETTING",
            f"it lasts {prediction.duration_s:.0f} s; a figure takes {MOST_S:.0f} s. `auscult serve` shows it.",
        )
    figure = Figure(figsize=(min(16.0, max(7.0, prediction.duration_s / 2)), 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    draw_spectrogram(above, io.load(sound, RATE).waveform)
    draw_breaths(below, prediction)
    above.set_title(f"{Path(prediction.recording).name}: {prediction.said}", loc="left", fontsize=10)
    figure.text(0.995, 0.995, RESEARCH_ONLY, ha="right", va="top", fontsize=7, color="#57606a")
    return figure


def draw_spectrogram(axes: Axes, waveform: np.ndarray) -> None:
    """Power in dB below the loudest bin."""
    from scipy.signal import stft

    hz, seconds, found = stft(waveform, RATE, nperseg=WINDOW, noverlap=WINDOW - HOP)
    power = 20 * np.log10(np.maximum(np.abs(found), 1e-10))
    axes.pcolormesh(seconds, hz, power - power.max(), vmin=FLOOR_DB, vmax=0, cmap="magma", rasterized=True)
    axes.set_ylim(0, 2000)
    axes.set_ylabel("frequency in Hz")


def draw_breaths(axes: Axes, prediction: Prediction) -> None:
    """A box for each breath, as high as its P(abnormal)."""
    normal = prediction.classes[0]
    for c in prediction.cycles:
        colour = COLOURS["normal" if c.label == normal else "abnormal"]
        whole: dict[str, Any] = {"width": c.end_s - c.start_s, "align": "edge"}
        axes.bar(c.start_s, 1, color="#eef1f4", edgecolor="#8c959f", linewidth=0.8, **whole)
        axes.bar(c.start_s, c.p_abnormal, color=colour, edgecolor="#8c959f", linewidth=0.8, **whole)
        where = (c.start_s + c.end_s) / 2
        axes.text(where, 1.04, f"{c.label}\n{c.probabilities[c.label]:.2f}", ha="center", va="bottom", fontsize=7)
    axes.set_ylim(0, 1.5)
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlim(0, prediction.duration_s)
    axes.set_ylabel("P(abnormal)")
    axes.set_xlabel("time in s")
    axes.spines[["top", "right"]].set_visible(False)
