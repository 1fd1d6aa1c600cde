"""The figure that compares the sharpness of runs, for print: 18 cm wide, readable in grey and by colour-blind eyes."""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from .sharpness_run import Settings, Sharpness, labels
from .spectral_figure import INCH, LINE_CM, PALE, STYLE, TEXT_WIDTH, WIDTH_CM

HEAD_CM, PANEL_CM, AXIS_CM, KEY_CM = 0.6, 4.6, 1.1, 0.42


class Look(NamedTuple):
    """How the runs of one recipe are drawn; told apart by dash and marker too."""

    colour: str
    dash: Any
    marker: str


# Okabe and Ito's colours, the light ones darkened
LOOKS = (
    Look("#0072b2", "-", "o"),
    Look("#c8500a", "--", "s"),
    Look("#00795a", "-.", "^"),
    Look("#a04a80", ":", "D"),
    Look("#000000", (0, (5, 1, 1, 1, 1, 1)), "v"),
    Look("#7a6a00", (0, (1, 0.6)), "P"),
)


@rc_context(STYLE)
def figure(found: Sequence[Sharpness], settings: Settings) -> Figure:
    """Largest eigenvalue, rise up the gradient, loss along random directions; one colour a recipe, one line a run."""
    groups = grouped(found)
    lines = textwrap.wrap(caption(found, settings), TEXT_WIDTH)
    foot_cm = LINE_CM * len(lines) + 0.25
    key_cm = KEY_CM * len(groups) + 0.2
    height_cm = key_cm + HEAD_CM + PANEL_CM + AXIS_CM + foot_cm
    made = Figure(figsize=(WIDTH_CM * INCH, height_cm * INCH))
    bottom, top = (foot_cm + AXIS_CM) / height_cm, (foot_cm + AXIS_CM + PANEL_CM) / height_cm
    grid = made.add_gridspec(1, 3, left=0.055, right=0.995, bottom=bottom, top=top, wspace=0.36)
    panels = [made.add_subplot(grid[i]) for i in range(3)]
    eigenvalues(panels[0], groups)
    uphill(panels[1], groups, settings)
    random(panels[2], groups, settings)
    titles = ("largest Hessian eigenvalue", "rise up the gradient", "rise along random directions")
    for panel, letter, title in zip(panels, "abc", titles, strict=True):
        panel.set_title(f"{letter}  {title}", loc="left", pad=5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(length=2.5, pad=2)
        panel.grid(axis="y", color=PALE, linewidth=0.5)
        panel.set_axisbelow(True)
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dash, marker=look.marker, markersize=4, label=key(name, runs))
        for (name, runs), look in zip(groups.items(), looks(groups), strict=True)
    ]
    made.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.05, 1), frameon=False, handlelength=3.2)
    made.text(0.01, (foot_cm - 0.05) / height_cm, "\n".join(lines), size=7, va="top", linespacing=1.25)
    return made


def grouped(found: Sequence[Sharpness]) -> dict[str, list[Sharpness]]:
    """Label -> its runs, in the order given."""
    groups: dict[str, list[Sharpness]] = {}
    for label, one in zip(labels(found), found, strict=True):
        groups.setdefault(label, []).append(one)
    return groups


def looks(groups: dict[str, list[Sharpness]]) -> list[Look]:
    """One for each group; from the seventh on they come again."""
    return [LOOKS[i % len(LOOKS)] for i in range(len(groups))]


def key(name: str, runs: Sequence[Sharpness]) -> str:
    """A line of the legend."""
    seeds = ", ".join(str(one.facts.get("seed")) for one in runs)
    losses = ", ".join(f"{one.loss:.3f}" for one in runs)
    return f"{name}   (seed {seeds}; loss here {losses})"


def eigenvalues(panel: Axes, groups: dict[str, list[Sharpness]]) -> None:
    """A mark a run, a bar at the mean of a recipe; logarithmic where they are far apart."""
    values = [one.eigenvalue.value for runs in groups.values() for one in runs]
    for place, (runs, look) in enumerate(zip(groups.values(), looks(groups), strict=True)):
        own = [one.eigenvalue.value for one in runs]
        spread = 0.12 * (np.arange(len(own)) - (len(own) - 1) / 2)
        panel.plot(place + spread, own, linestyle="none", marker=look.marker, color=look.colour, markersize=5)
        panel.plot([place - 0.32, place + 0.32], [np.mean(own)] * 2, color=look.colour, linewidth=1.4)
        words = f"{np.mean(own):.3g}"
        panel.annotate(words, (place + 0.34, np.mean(own)), (2, 0), textcoords="offset points", va="center", size=7)
    panel.set_xlim(-0.6, len(groups) - 0.15)
    panel.set_xticks([])
    if min(values) > 0 and max(values) > 10 * min(values):
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())  # mathtext is off: its labels would show their source
        panel.margins(y=0.15)
    else:
        panel.set_ylim(min(0, 1.1 * min(values)), 1.18 * max(*values, 0.0) or 1)
        panel.yaxis.set_major_locator(MaxNLocator(5))
    panel.set_xlabel("recipe, as in the key above")


def uphill(panel: Axes, groups: dict[str, list[Sharpness]], settings: Settings) -> None:
    """The rise of the loss over the distance up the gradient."""
    for runs, look in zip(groups.values(), looks(groups), strict=True):
        for one in runs:
            rise = [loss - one.loss for loss in one.uphill]
            panel.plot(
                [0, *settings.rhos],
                [0, *rise],
                color=look.colour,
                linestyle=look.dash,
                marker=look.marker,
                markersize=3,
            )
    panel.set_xlabel("rho, distance up the gradient")
    panel.set_ylabel("L(w + rho g/|g|) - L(w)", labelpad=3)
    panel.set_xlim(left=0)


def random(panel: Axes, groups: dict[str, list[Sharpness]], settings: Settings) -> None:
    """Mean rise of a recipe over its runs and the directions, and the range."""
    for runs, look in zip(groups.values(), looks(groups), strict=True):
        rise = np.concatenate([np.array(one.random) - one.loss for one in runs])
        low, high = rise.min(axis=0), rise.max(axis=0)
        panel.plot(settings.distances, rise.mean(axis=0), color=look.colour, linestyle=look.dash, linewidth=1.4)
        panel.fill_between(settings.distances, low, high, color=look.colour, alpha=0.13, linewidth=0)
    panel.set_xlabel("distance, in lengths of each filter")
    panel.set_ylabel("L(w + a d) - L(w)", labelpad=3)


def caption(found: Sequence[Sharpness], settings: Settings) -> str:
    """What the figure shows, and what it can be compared by."""
    kinds = sorted({one.loss_is for one in found})
    cycles = sorted({one.cycles for one in found})
    doubtful = [one.run for one in found if not one.eigenvalue.converged]
    sentences = [
        f"Training loss of each run around its weights, in evaluation mode, on {' or '.join(map(str, cycles))} of its "
        f"training cycles (seed {settings.seed}): {'; or '.join(kinds)}.",
        "The losses of the runs differ in kind, so their values are comparable only with care." * (len(kinds) > 1),
        "(a) By power iteration; a mark a run, a bar and a number at the mean."
        + f" Not converged: {', '.join(doubtful)}." * bool(doubtful),
        "(b) The worst rise within rho, to first order: what SAM lowers.",
        f"(c) Mean and range over {settings.directions} random directions and the runs of a recipe, each filter as "
        "long as that of the weights (Li et al. 2018).",
        "Curvature grows where weights shrink although the function stays: (a) and (b) compare networks of one kind, "
        "trained alike; (c) allows for the length of the filters.",
    ]
    return " ".join(s for s in sentences if s)
