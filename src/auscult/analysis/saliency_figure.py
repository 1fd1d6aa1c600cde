"""Saliency over the spectrograms it explains, and its faithfulness, for print: 18 cm wide."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ..signal.clip import Clip
from .faithfulness import STEPS, Curves
from .saliency import frequencies
from .saliency_run import CHANCE, LOUDNESS, Example, Faithfulness, Pointed
from .spectral_figure import INCH, LINE_CM, STYLE, TEXT_WIDTH, WIDTH_CM

HEAD_CM, ROW_CM, GAP_CM, AXIS_CM, CURVE_CM = 0.75, 2.3, 0.65, 0.85, 3.6
LEFT, RIGHT = 0.075, 0.985
TICKS_HZ = (100.0, 300.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)
CUT = 99.5  # percentile of the saliency of a panel where its colour is full
COLOUR, ABNORMAL, NORMAL = "#d95f02", "#b2182b", "#2171b5"
LINES = ("#d95f02", "#7a3b8f", "#1b7f5c", "#4d4d4d", "#9aa2aa")  # up to three methods, the loudness, chance


@rc_context(STYLE)
def figure(found: Faithfulness) -> Figure:
    """A row for each example, a recording with its annotation, and the two curves."""
    lines = textwrap.wrap(caption(found), TEXT_WIDTH)
    foot_cm = LINE_CM * len(lines) + 0.25
    rows = len(found.examples) + (found.example is not None)
    height_cm = HEAD_CM + rows * (ROW_CM + GAP_CM + AXIS_CM) + CURVE_CM + AXIS_CM + foot_cm
    made = Figure(figsize=(WIDTH_CM * INCH, height_cm * INCH))

    def panel(top_cm: float, high_cm: float, left: float, right: float) -> Axes:
        width = RIGHT - LEFT
        box = (LEFT + left * width, 1 - (top_cm + high_cm) / height_cm, (right - left) * width, high_cm / height_cm)
        return made.add_axes(box)

    top_cm = HEAD_CM
    for example in found.examples:
        pair = [panel(top_cm, ROW_CM, *ends) for ends in ((0.0, 0.485), (0.515, 1.0))]
        draw_example(pair, found.clip, example)
        top_cm += ROW_CM + GAP_CM + AXIS_CM
    if found.example is not None:
        draw_recording(panel(top_cm, ROW_CM, 0.0, 1.0), found.clip, found.example)
        top_cm += ROW_CM + GAP_CM + AXIS_CM
    for i, name in enumerate(("deletion", "insertion")):
        draw_curves(panel(top_cm, CURVE_CM, 0.53 * i, 0.53 * i + 0.47), found.curves, name)
    made.text(0.01, (foot_cm - 0.05) / height_cm, "\n".join(lines), size=7, va="top", linespacing=1.25)
    return made


def draw_example(pair: Sequence[Axes], clip: Clip, example: Example) -> None:
    """The spectrogram of a cycle, alone and under its saliency."""
    span = (0.0, example.cycle.duration_s)
    for axes, colours in zip(pair, ("magma", "gray_r"), strict=True):
        spectrogram(axes, clip, example.clip, span, colours)
        axes.set_xlabel("time in the cycle in s", labelpad=1)
    veil(pair[1], example.values, span)
    said = example.predicted if example.predicted == example.truth else f"{example.predicted} (truth: {example.truth})"
    pair[0].set_title(f"{said}, p = {example.p:.2f}: spectrogram", loc="left", pad=3)
    pair[1].set_title(f"what speaks for {example.predicted}", loc="left", pad=3)
    pair[1].set_ylabel("")
    pair[1].set_yticklabels([])


def draw_recording(axes: Axes, clip: Clip, pointed: Pointed) -> None:
    """A recording under its saliency, and above it the annotated cycles."""
    step_s = pointed.seconds[1] - pointed.seconds[0]
    span = (0.0, float(pointed.seconds[-1] + step_s / 2))
    spectrogram(axes, clip, pointed.clip, span, "gray_r")
    veil(axes, pointed.values, span)
    high = pointed.clip.shape[1]
    for cycle in pointed.cycles:
        colour = ABNORMAL if cycle.label else NORMAL
        axes.plot([cycle.start_s, cycle.end_s], [1.035 * high] * 2, color=colour, linewidth=3, clip_on=False)
        axes.axvline(cycle.start_s, color=colour, linewidth=0.5)
        axes.axvline(cycle.end_s, color=colour, linewidth=0.5)
    axes.set_xlabel("time in the recording in s", labelpad=1)
    o = pointed.found
    words = f"a recording: {100 * o.mass:.0f} % of the saliency in {100 * o.time:.0f} % of the time"
    axes.set_title(f"{words}, that of the abnormal cycles", loc="left", pad=7)
    kinds = [Patch(color=ABNORMAL, label="annotated abnormal"), Patch(color=NORMAL, label="annotated normal")]
    axes.legend(
        handles=kinds, loc="upper right", bbox_to_anchor=(1.01, -0.12), ncols=2, frameon=False, handlelength=1.2
    )


def spectrogram(axes: Axes, clip: Clip, sound: NDArray[np.float32], span: tuple[float, float], colours: str) -> None:
    """Log-mel energies (T, F) over time in s and frequency in Hz."""
    low, high = np.percentile(sound, [2, 99.8])
    bins = sound.shape[1]
    axes.imshow(
        sound.T, extent=(*span, 0, bins), origin="lower", aspect="auto", cmap=colours, vmin=low, vmax=high,
        interpolation="nearest", alpha=1.0 if colours == "magma" else 0.75,
    )  # fmt: skip
    centres = frequencies(clip)
    shown = [hz for hz in TICKS_HZ if centres[0] <= hz <= centres[-1]]
    rows = np.interp(shown, centres, np.arange(bins) + 0.5)
    axes.set_yticks(list(rows), [f"{hz:g}" for hz in shown])
    axes.set_ylabel("Hz", labelpad=1)
    axes.tick_params(length=2, pad=1.5)
    axes.set_xlim(*span)
    axes.set_ylim(0, bins)


def veil(axes: Axes, values: NDArray[np.float32], span: tuple[float, float]) -> None:
    """Saliency (T, F) as one colour over what is there, the fuller the more salient."""
    full = float(np.percentile(values, CUT)) or 1.0
    shown = np.empty((values.shape[1], values.shape[0], 4))
    shown[..., :3] = to_rgb(COLOUR)
    shown[..., 3] = np.minimum(values.T / full, 1.0)
    axes.imshow(shown, extent=(*span, 0, values.shape[1]), origin="lower", aspect="auto", interpolation="nearest")


def draw_curves(axes: Axes, found: dict[str, Curves], name: str) -> None:
    """Mean deletion or insertion curve of every order."""
    share = 100 * np.linspace(0, 1, STEPS + 1)
    methods = [order for order in found if order not in (LOUDNESS, CHANCE)]
    colours = dict(zip((*methods, LOUDNESS, CHANCE), (*LINES[: len(methods)], *LINES[-2:]), strict=True))
    for order, curves in found.items():
        dashes = "-" if order in methods else "--" if order == LOUDNESS else ":"
        mean = getattr(curves, name).mean(axis=0)
        axes.plot(share, mean, color=colours[order], linestyle=dashes, linewidth=1.4, label=order.replace("_", " "))
    axes.set_xlabel(f"cells {'replaced' if name == 'deletion' else 'brought back'} in %", labelpad=1)
    axes.set_ylabel("probability of the class" if name == "deletion" else "", labelpad=1)
    axes.set_title(f"{name}: the most salient first", loc="left", pad=3)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 1)
    axes.grid(color="#e5e8eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right" if name == "deletion" else "lower right")


def caption(found: Faithfulness) -> str:
    """What the figure shows, and what it does not."""
    method = next(iter(found.curves))
    cycles = len(found.patients)
    sentences = [
        f"Saliency ({method.replace('_', ' ')}) in orange over the spectrogram, full at its {CUT:g} % quantile: what a "
        "cell adds to the log-odds of the class, mean over the repetitions of the cycle in the clip.",
        "The surest cycle of each of the classes that the model says most often, right or wrong.",
        "Of the recordings that were drawn, one with the most annotated cycles of both kinds, cut into windows and "
        "explained for abnormal against normal." * (found.example is not None),
        f"Curves: mean of {cycles} cycles of {len(set(found.patients))} patients that the model calls abnormal, drawn "
        "by chance; replaced cells get the average sound.",
        "Loudest first: cells that are farthest from the average sound, without asking the model.",
        "Saliency shows what this model used, not what is to be heard.",
        found.facts,
    ]
    return " ".join(filter(None, sentences))
