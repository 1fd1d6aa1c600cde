"""Attention of an AST beside the spectrograms it looks at, for print: 18 cm wide, one row a class."""

import textwrap

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..signal.mel import mel_row
from .attention import Attention, Example, edges, settings_of
from .spectral_figure import INCH, LINE_CM, STYLE, TEXT_WIDTH, WIDTH_CM

HEAD_CM, ROW_CM, GAP_CM, AXIS_CM, BAR_CM = 1.0, 2.1, 0.75, 1.1, 1.15
TICKS_HZ = (100.0, 300.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)
TITLES = ("input of the network", "attention, last layer", "attention, all layers")
CUT = 99.5  # percentile of the attention where its colours end


@rc_context(STYLE)
def figure(found: Attention) -> Figure:
    """Spectrogram, last layer, all layers; the same colours in a column, time and frequency the same in a row."""
    lines = textwrap.wrap(caption(found), TEXT_WIDTH)
    foot_cm = LINE_CM * len(lines) + 0.25
    rows = len(found.examples)
    body_cm = rows * (ROW_CM + GAP_CM) - GAP_CM
    height_cm = HEAD_CM + body_cm + AXIS_CM + BAR_CM + foot_cm
    made = Figure(figsize=(WIDTH_CM * INCH, height_cm * INCH))
    bottom, top = (foot_cm + BAR_CM + AXIS_CM) / height_cm, 1 - HEAD_CM / height_cm
    grid = made.add_gridspec(
        rows, 3, left=0.075, right=0.965, bottom=bottom, top=top, wspace=0.08, hspace=GAP_CM / ROW_CM
    )
    limits = colour_limits(found)
    for i, example in enumerate(found.examples):
        panels = [made.add_subplot(grid[i, j]) for j in range(3)]
        drawn = [draw(panels[j], found, example, j, limits[j]) for j in range(3)]
        panels[0].set_title(words(example), loc="left", pad=3, size=7)
        panels[0].set_ylabel("Hz" if found.recipe.clip.filterbank == "kaldi" else "mel bin", labelpad=1)
        for panel in panels[1:]:
            panel.set_yticklabels([])
        if i < rows - 1:
            for panel in panels:
                panel.set_xticklabels([])
        else:
            for panel in panels:
                panel.set_xlabel("time in s", labelpad=1)
            for panel, image, label in zip(panels, drawn, ("normalised log energy", *["times even"] * 2), strict=True):
                x0, width = panel.get_position().x0, panel.get_position().width
                bar = made.add_axes((x0 + 0.1 * width, (foot_cm + 0.75) / height_cm, 0.8 * width, 0.16 / height_cm))
                made.colorbar(image, cax=bar, orientation="horizontal")
                bar.set_xlabel(label, labelpad=1)
                bar.tick_params(length=2, pad=1)
    for j, title in enumerate(TITLES):
        x = 0.075 + j * (0.965 - 0.075 + 0.0275) / 3
        made.text(x, 1 - 0.3 / height_cm, f"{'abc'[j]}  {title}", size=8, va="center")
    made.text(0.01, (foot_cm - 0.05) / height_cm, "\n".join(lines), size=7, va="top", linespacing=1.25)
    return made


def draw(panel: Axes, found: Attention, example: Example, which: int, limits: tuple[float, float]) -> QuadMesh:
    """One map over time and frequency; a line where the cycle ends and its repetition begins."""
    rows, columns = example.spectrogram.shape
    if which == 0:
        x, y = np.arange(columns + 1) * found.frame_s, np.arange(rows + 1)
        values, colours = example.spectrogram, "magma"
    else:
        stride = settings_of(found).stride
        values = (example.last, example.rollout)[which - 1]
        x, y = edges(values.shape[1], stride) * found.frame_s, edges(values.shape[0], stride)
        colours = "cividis"
    image = panel.pcolormesh(x, y, values, cmap=colours, vmin=limits[0], vmax=limits[1], rasterized=True)
    panel.set_xlim(0, columns * found.frame_s)
    panel.set_ylim(0, rows)
    duration_s = example.cycle.duration_s
    if duration_s < columns * found.frame_s:
        panel.axvline(duration_s, color="white", linewidth=0.8, linestyle=(0, (3, 2)))
    clip = found.recipe.clip
    if clip.filterbank == "kaldi":
        shown = [hz for hz in TICKS_HZ if 0 <= mel_row(hz, clip.sample_rate, clip.n_mels) <= rows]
        panel.set_yticks([mel_row(hz, clip.sample_rate, clip.n_mels) for hz in shown], [f"{hz:g}" for hz in shown])
    panel.tick_params(length=2, pad=1.5)
    panel.set_facecolor("#d8dce0")  # at the edges no patch has its centre
    return image


def colour_limits(found: Attention) -> list[tuple[float, float]]:
    """Ends of the colours of each column."""

    def ends(values: list[NDArray[np.float32]], low: float | None = None) -> tuple[float, float]:
        every = np.concatenate([v.ravel() for v in values])
        return float(np.percentile(every, 100 - CUT)) if low is None else low, float(np.percentile(every, CUT))

    spectrograms = [e.spectrogram for e in found.examples]
    return [
        ends(spectrograms),
        *(ends([getattr(e, name) for e in found.examples], 0.0) for name in ("last", "rollout")),
    ]


def words(example: Example) -> str:
    """What stands above a row."""
    wrong = "" if example.predicted == example.truth else f", taken for {example.predicted}"
    return f"{example.truth}: p = {example.p:.2f}{wrong}"


def caption(found: Attention) -> str:
    """What the figure shows, and what attention is not."""
    readers = "all tokens" if settings_of(found).pooling == "mean" else "the class and the distillation token"
    own = [100 * e.own for e in found.examples]
    sentences = [
        "For each class the cycle that the model is surest of.",
        f"Attention from {readers}, whose mean the head reads, to each patch, mean over heads; 1 is an even spread "
        f"over all tokens. In the last layer {min(own):.1f} to {max(own):.1f} % of it goes to the two tokens that are "
        "no patch.",
        "All layers: attention rollout, where each layer is half attention and half its residual path.",
        f"Patches of 16 x 16 overlap, so a cell is drawn around the centre of each; colours end at the {CUT:g} % "
        "quantile.",
        "Dashed: the end of the cycle, which is repeated to fill the clip." * (found.recipe.clip.pad == "cyclic"),
        "Attention shows what is mixed, not why a class is chosen.",
        found.facts,
    ]
    return " ".join(filter(None, sentences))
