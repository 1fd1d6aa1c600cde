"""Figures of the report as SVG: confusion matrices and training curves. No window system, no global state."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

# One hue from white to a dark blue: order survives print in grey and colour-blind eyes.
BLUES = LinearSegmentedColormap.from_list("auscult", ["#ffffff", "#c6dbef", "#6baed6", "#2171b5", "#08306b"])
LINES = ("#2171b5", "#d95f02", "#1b7f5c", "#7a3b8f")
DARK, LIGHT, GREY = "#1b1f24", "#ffffff", "#57606a"
STYLE: dict[Any, Any] = {"svg.fonttype": "path", "svg.hashsalt": "auscult", "font.size": 10, "text.parse_math": False}


def confusion_figure(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Counts, and percentages of each row (the truth), as SVG. Colour is the share of the row."""
    total = confusion.sum(axis=1, keepdims=True)
    share = confusion / np.maximum(total, 1)
    k = len(classes)
    side = 1.6 + 0.85 * k
    with rc_context(STYLE):
        figure = Figure(figsize=(side + 0.8, side), layout="constrained")
        axes = figure.subplots()
        axes.pcolormesh(share, cmap=BLUES, vmin=0, vmax=1, edgecolors="#d0d7de", linewidth=0.8)
        for i in range(k):
            for j in range(k):
                colour = readable_on(BLUES(share[i, j]))
                axes.text(j + 0.5, i + 0.42, f"{confusion[i, j]}", ha="center", va="center", color=colour, size=11)
                text = f"{100 * share[i, j]:.0f} %" if total[i, 0] else "-"
                axes.text(j + 0.5, i + 0.70, text, ha="center", va="center", color=colour, size=9)
        names = [name.replace(" ", "\n").replace("+", "+\n") for name in classes]
        axes.set_xticks(np.arange(k) + 0.5, names)
        axes.set_yticks(np.arange(k) + 0.5, [f"{n}\n(n = {t})" for n, t in zip(names, total[:, 0], strict=True)])
        axes.tick_params(length=0)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set_xlabel("predicted class", labelpad=8)
        axes.set_ylabel("true class", labelpad=8)
        axes.spines[:].set_visible(False)
        return svg(figure)


def readable_on(rgba: tuple[float, float, float, float]) -> str:
    """Dark or light text, whichever stands out more on this colour.

    Source: WCAG 2.1, relative luminance and contrast ratio; both texts have equal contrast at a luminance near 0.18.
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgba[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return LIGHT if luminance < 0.18 else DARK


def curves_figure(history: Sequence[dict[str, Any]], task: str, kept: int | None = None) -> str:
    """Loss, and the Score of a task on the parts measured while training, over epochs, as SVG.

    Args:
        history: records of metrics.jsonl.
        task: whose Score.
        kept: epoch of the evaluated weights; marked.
    """
    epochs = [r["epoch"] for r in history]
    scored = score_lines(history, task)
    with rc_context(STYLE):
        figure = Figure(figsize=(9.0 if scored else 4.6, 3.2), layout="constrained")
        panels = figure.subplots(1, 2 if scored else 1, squeeze=False)[0]
        names = list(history[0]["loss"])
        losses = {f"training loss: {name}": [r["loss"].get(name, np.nan) for r in history] for name in names}
        draw(panels[0], epochs, losses, "loss", kept)
        if scored:
            draw(panels[1], epochs, scored, "Score in %", kept)
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
