"""The figure of a breakdown, for print: 18 cm wide, readable in grey and by colour-blind eyes."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .breakdown import FEW, Breakdown, Line, System
from .sharpness_figure import KEY_CM, LOOKS, Look
from .spectral_figure import INCH, LINE_CM, PALE, STYLE, TEXT_WIDTH, WIDTH_CM

HEAD_CM, AXIS_CM, PANEL_CM = 0.8, 1.5, 5.2
AXES = {"quality": "audio quality", "duration": "duration"}
UNITS = {"quality": "", "duration": " s"}
APART = 0.75  # of the place of a class or a tenth, shared by the systems


@rc_context(STYLE)
def figure(found: Breakdown) -> Figure:
    """Recall of each class; Score by audio quality, where it is known; Score by duration."""
    kinds = [by for by in AXES if any(line.by == by for line in found.lines)]
    lines = textwrap.wrap(caption(found), TEXT_WIDTH)
    foot_cm = LINE_CM * len(lines) + 0.25
    key_cm = KEY_CM * len(found.systems) + 0.2
    height_cm = key_cm + HEAD_CM + PANEL_CM + AXIS_CM + foot_cm
    made = Figure(figsize=(WIDTH_CM * INCH, height_cm * INCH))
    bottom, top = (foot_cm + AXIS_CM) / height_cm, (foot_cm + AXIS_CM + PANEL_CM) / height_cm
    left = 0.045 + 0.0067 * max(map(len, class_names(found)))
    grid = made.add_gridspec(1, 1 + len(kinds), left=left, right=0.99, bottom=bottom, top=top, wspace=0.24)
    panels = [made.add_subplot(grid[i]) for i in range(1 + len(kinds))]
    recalls(panels[0], found)
    limits = score_limits(found)
    for panel, by in zip(panels[1:], kinds, strict=True):
        scores(panel, found, by, limits)
    titles = ["recall of each class", *(f"Score by {AXES[by]}" for by in kinds)]
    for panel, letter, title in zip(panels, "abc", titles, strict=False):
        panel.set_title(f"{letter}  {title}", loc="left", pad=5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(length=2.5, pad=2)
        panel.set_axisbelow(True)
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dash, marker=look.marker, markersize=4, label=key(system))
        for system, look in zip(found.systems, looks(found.systems), strict=True)
    ]
    made.legend(handles=handles, loc="upper left", bbox_to_anchor=(left - 0.015, 1), frameon=False, handlelength=3.2)
    made.text(0.01, (foot_cm - 0.05) / height_cm, "\n".join(lines), size=7, va="top", linespacing=1.25)
    return made


def looks(systems: Sequence[System]) -> list[Look]:
    """One for each system; from the seventh on they come again."""
    return [LOOKS[i % len(LOOKS)] for i in range(len(systems))]


def key(system: System) -> str:
    """A line of the legend."""
    seeds = ", ".join(map(str, system.seeds))
    return f"{system.name}   (seed {seeds})" if len(system.seeds) == 1 else f"{system.name}   (mean of seeds {seeds})"


def shift(place: int, of: int) -> float:
    """Where a system stands beside the others, around 0."""
    return APART * ((place + 0.5) / of - 0.5)


def recalls(panel: Axes, found: Breakdown) -> None:
    """A mark a class and system with its interval; the classes from top to bottom, with their cycles."""
    for place, (system, look) in enumerate(zip(found.systems, looks(found.systems), strict=True)):
        own = found.of(system.name, "class", "recall")
        y = np.arange(len(own)) + shift(place, len(found.systems))
        marks(panel, own, y, look, across=True)
    own = found.of(found.systems[0].name, "class", "recall")
    panel.set_yticks(range(len(own)), class_names(found))
    panel.set_ylim(len(own) - 0.5, -0.5)
    for line in range(1, len(own)):
        panel.axhline(line - 0.5, color=PALE, linewidth=0.4)
    panel.set_xlim(-3, 103)
    panel.set_xticks([0, 25, 50, 75, 100])
    panel.grid(axis="x", color=PALE, linewidth=0.5)
    panel.set_xlabel("recall in %")
    panel.set_ylabel("true class (cycles)", labelpad=1)


def class_names(found: Breakdown) -> list[str]:
    """Each class with its number of cycles."""
    return [f"{line.group} ({line.counts[0]})" for line in found.of(found.systems[0].name, "class", "recall")]


def scores(panel: Axes, found: Breakdown, by: str, limits: tuple[float, float]) -> None:
    """The Score in each tenth of the cycles, with its interval."""
    for place, (system, look) in enumerate(zip(found.systems, looks(found.systems), strict=True)):
        own = found.of(system.name, by, "Score")
        x = np.array([int(line.group) for line in own]) + shift(place, len(found.systems))
        marks(panel, own, x, look, across=False)
        panel.plot(x, [100 * line.value for line in own], color=look.colour, linestyle=look.dash, linewidth=1.0)
    own = found.of(found.systems[0].name, by, "Score")
    panel.set_xticks([int(line.group) for line in own], [f"{line.group}\n{line.counts[2]}" for line in own])
    panel.set_xlim(0.4, len(own) + 0.6)
    panel.set_ylim(*limits)
    panel.grid(axis="y", color=PALE, linewidth=0.5)
    low, high = own[0].ends[0], own[-1].ends[1]
    panel.set_xlabel(f"tenth by {AXES[by]}, {low:.2f} to {high:.2f}{UNITS[by]};\nbelow it: its abnormal cycles")
    panel.set_ylabel("Score in %", labelpad=1)


def marks(panel: Axes, own: Sequence[Line], places: np.ndarray, look: Look, *, across: bool) -> None:
    """A mark with a bar for each line that has a value; a bar needs an interval."""
    for line, place in zip(own, places, strict=True):
        if np.isnan(line.value):
            continue
        value, ends = 100 * line.value, [100 * end for end in line.interval]
        x, y = ([value], [place]) if across else ([place], [value])
        face = "white" if line.few else look.colour
        panel.plot(x, y, marker=look.marker, color=look.colour, markersize=3.5, linestyle="none", markerfacecolor=face)
        if not np.isnan(ends).any():
            bar = (ends, [place, place]) if across else ([place, place], ends)
            panel.plot(*bar, color=look.colour, linewidth=0.8)


def score_limits(found: Breakdown) -> tuple[float, float]:
    """Round percentages around all Scores and their intervals, the same for both panels."""
    shown = [100 * v for line in found.lines if line.measure == "Score" for v in (line.value, *line.interval)]
    known = [v for v in shown if not np.isnan(v)]
    if not known:
        return 0.0, 100.0
    return float(10 * np.floor(min(known) / 10)), float(10 * np.ceil(max(known) / 10))


def caption(found: Breakdown) -> str:
    """What the figure shows, and how far its intervals may be trusted."""
    cycles = len(found.systems[0].runs[0].truth)
    patients = len(set(found.systems[0].runs[0].patient.tolist()))
    several = any(len(system.seeds) > 1 for system in found.systems)
    quality = any(line.by == "quality" for line in found.lines)
    letters = ("(b)", "(c)") if quality else ("", "(b)")
    sentences = [
        f"{found.where}: {cycles} cycles of {patients} patients; task {found.task.name}.",
        "Marks are means over seeds." * several,
        "(a) Share of the cycles of each class that are found; bars: 95 % Wilson interval for that many cycles"
        + ", at the mean over seeds" * several
        + ". Cycles of one patient resemble each other, so the truth is wider.",
        f"{letters[0]} The cycles in ten groups of equal size, from the lowest audio quality to the highest." * quality,
        f"{letters[1]} The same by the duration of the cycle. Bars: 95 % interval of the Score, patients resampled. "
        f"White, without a bar: fewer than {FEW} normal or abnormal cycles, so next to nothing is known."
        * any(line.few for line in found.lines),
        "The groups differ in their share of normal cycles; the Score weighs normal and abnormal ones alike.",
        *found.remarks,
    ]
    return " ".join(s for s in sentences if s)
