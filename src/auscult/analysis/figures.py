"""Figures of the report as SVG: training curves. No window system, no global state."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

LINES = ("#2171b5", "#d95f02", "#1b7f5c", "#7a3b8f")
GREY = "#57606a"
STYLE: dict[Any, Any] = {"svg.fonttype": "path", "svg.hashsalt": "auscult", "font.size": 10, "text.parse_math": False}


def curve_figures(history: Sequence[dict[str, Any]], task: str, kept: int | None = None) -> list[tuple[str, str]]:
    """What each figure shows, in words, and the figure as SVG: the loss, and the Score of a task where it was measured.

    Each is narrow enough to be read on a telephone.

    Args:
        history: records of metrics.jsonl.
        task: whose Score.
        kept: epoch of the evaluated weights; marked.
    """
    epochs = [r["epoch"] for r in history]
    names = list(history[0]["loss"])
    losses = {f"training loss: {name}": [r["loss"].get(name, np.nan) for r in history] for name in names}
    made = [(in_words(losses, epochs, ""), curve_figure(epochs, losses, "loss", kept))]
    if scored := score_lines(history, task):
        made.append((in_words(scored, epochs, " %"), curve_figure(epochs, scored, "Score in %", kept)))
    return made


def in_words(lines: dict[str, list[float]], epochs: Sequence[int], unit: str) -> str:
    """First and last value of each line, for those who do not see the figure."""
    ends = (f"{name} {v[0]:.3g}{unit} at epoch {epochs[0]}, {v[-1]:.3g}{unit} at the last" for name, v in lines.items())
    return "; ".join(ends)


def curve_figure(epochs: Sequence[int], lines: dict[str, list[float]], label: str, kept: int | None) -> str:
    """Lines over epochs, as SVG."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        draw(figure.subplots(), epochs, lines, label, kept)
        return svg(figure)


def score_lines(history: Sequence[dict[str, Any]], task: str) -> dict[str, list[float]]:
    """Label -> Score in % at each epoch; test parts appear only where they chose the epoch, and say so."""
    found: dict[str, list[float]] = {}
    if all("validation" in r for r in history):
        found[f"validation, {task}"] = [100 * r["validation"][task]["Score"] for r in history]
    if all("test" in r for r in history):
        for part in history[0]["test"]:
            label = f"{part}, {task} (chose the epoch)"
            found[label] = [100 * r["test"][part][task]["Score"] for r in history]
    return found


def draw(axes: Axes, epochs: Sequence[int], lines: dict[str, list[float]], label: str, kept: int | None) -> None:
    """Lines over epochs with both axes labelled."""
    for (name, values), colour in zip(lines.items(), LINES * len(lines), strict=False):
        axes.plot(epochs, values, color=colour, label=name, linewidth=1.6, marker="o", markersize=3)
    if kept is not None:
        axes.axvline(kept, color=GREY, linestyle="--", linewidth=1, label=f"epoch evaluated: {kept}")
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e5e8eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def svg(figure: Figure) -> str:
    """The figure as SVG text, the same for the same numbers."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
