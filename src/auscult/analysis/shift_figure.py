"""The figure of a shift report, for print: 18 cm wide, readable in grey and by colour-blind eyes."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .sharpness_figure import KEY_CM, LOOKS, Look
from .shift import KINDS, MIN_CYCLES, MIN_PATIENTS, Line, Shift, System
from .spectral_figure import INCH, LINE_CM, PALE, STYLE, TEXT_WIDTH, WIDTH_CM

HEAD_CM, AXIS_CM = 0.7, 1.0
ROW_CM, MORE_CM = 0.33, 0.14  # of a group, and of each system beyond the first
MEASURES = {"Sp": "a  Sp, normal cycles", "Se": "b  Se, abnormal cycles", "Score": "c  Score"}
SECTIONS = {"all": "", "class": "true class"} | KINDS
UNITS = {"quality": "", "duration": " s"}
SHARE = 0.7  # of a row that the marks of several systems take


@dataclass(frozen=True)
class Row:
    """A row of the figure: the heading of a section, or a group with its lines of every system and measure."""

    y: float
    label: str
    lines: tuple[Line, ...] = ()


@rc_context(STYLE)
def figure(found: Shift) -> Figure:
    """Sp, Se and Score of all cycles, of each class and of each group; filled where a group is unlike its rest."""
    rows = rows_of(found)
    words = textwrap.wrap(caption(found), TEXT_WIDTH)
    foot_cm, key_cm = LINE_CM * len(words) + 0.25, KEY_CM * len(found.systems) + 0.2
    body_cm = (ROW_CM + MORE_CM * (len(found.systems) - 1)) * len(rows)
    height_cm = key_cm + HEAD_CM + body_cm + AXIS_CM + foot_cm
    made = Figure(figsize=(WIDTH_CM * INCH, height_cm * INCH))
    bottom, top = (foot_cm + AXIS_CM) / height_cm, (foot_cm + AXIS_CM + body_cm) / height_cm
    grid = made.add_gridspec(1, 3, left=0.34, right=0.98, bottom=bottom, top=top, wspace=0.08)
    panels = [made.add_subplot(grid[i]) for i in range(3)]
    for panel, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        dress(panel, rows, title)
        for place, (system, look) in enumerate(zip(found.systems, looks(found.systems), strict=True)):
            marks(panel, rows, measure, system.name, SHARE * ((place + 0.5) / len(found.systems) - 0.5), look)
    name_rows(panels[0], rows)
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, markersize=4, label=key(system))
        for system, look in zip(found.systems, looks(found.systems), strict=True)
    ]
    made.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1), frameon=False, handlelength=2.4)
    made.text(0.01, (foot_cm - 0.05) / height_cm, "\n".join(words), size=7, va="top", linespacing=1.25)
    return made


def rows_of(found: Shift) -> list[Row]:
    """Sections one below the other; a kind of one group alone has no rest and no section."""
    rows: list[Row] = []
    for by, title in SECTIONS.items():
        own = [line for line in found.lines if line.by == by]
        names = list(dict.fromkeys(line.group for line in own))
        if by != "all" and len(names) < 2:
            continue
        low, high = own[0].ends[0], own[-1].ends[1]
        span = f", {low:.2f} to {high:.2f}{UNITS[by]}" if by in UNITS else ""
        rows += [Row(len(rows), f"{title}{span}")] * bool(title)
        for name in names:
            rows.append(Row(len(rows), name, tuple(line for line in own if line.group == name)))
    return rows


def name_rows(panel: Axes, rows: Sequence[Row]) -> None:
    """Left of the rows: name of the group, its cycles and its patients, in three columns; headings bold."""
    place, columns = panel.get_yaxis_transform(), (-0.36, -0.04)
    for text, x in zip(("cycles", "patients"), columns, strict=True):
        panel.text(x, -1, text, transform=place, ha="right", va="center", size=7)
    for row in rows:
        weight = "normal" if row.lines else "bold"
        panel.text(-1.6, row.y, row.label, transform=place, va="center", size=7, weight=weight)
        for x, count in zip(columns, row.lines[0].counts[:2] if row.lines else (), strict=False):
            panel.text(x, row.y, str(count), transform=place, ha="right", va="center", size=7)


def dress(panel: Axes, rows: Sequence[Row], title: str) -> None:
    """Title, limits and pale lines of a panel."""
    panel.set_title(title, loc="left", pad=4)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_yticks([])
    panel.set_xlim(-3, 103)
    panel.set_xticks([0, 25, 50, 75, 100])
    panel.set_xlabel("%")
    panel.tick_params(length=2.5, pad=2)
    panel.grid(axis="x", color=PALE, linewidth=0.5)
    panel.set_axisbelow(True)
    for row in rows:
        if not row.lines and row.y:
            panel.axhline(row.y - 0.5, color=PALE, linewidth=0.8)


def marks(panel: Axes, rows: Sequence[Row], measure: str, system: str, shift: float, look: Look) -> None:
    """The marks and bars of one system in %, its value on all cycles as a thin line; filled where a group is unlike."""
    own = [(row.y + shift, line) for row in rows for line in row.lines if line.system == system]
    own = [(y, line) for y, line in own if panel_of(line) == measure and not np.isnan(line.value)]
    bars = [(y, *line.interval) for y, line in own if not np.isnan(line.interval[0])]
    y, low, high = np.array(bars).reshape(-1, 3).T
    panel.hlines(y, 100 * low, 100 * high, color=look.colour, linewidth=0.9)
    for filled in (True, False):
        some = [(y, line.value) for y, line in own if (line.flagged or line.by == "all") == filled]
        y, value = np.array(some).reshape(-1, 2).T
        inside = look.colour if filled else "white"
        style: dict[str, Any] = {
            "color": look.colour,
            "markerfacecolor": inside,
            "markersize": 3.6,
            "linestyle": "none",
        }
        panel.plot(100 * value, y, marker=look.marker, **style)
    for _, line in own:
        if line.by == "all":
            panel.axvline(100 * line.value, color=look.colour, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)


def panel_of(line: Line) -> str:
    """The measure whose panel a line stands in: the recall of normal cycles is Sp, that of any other class is Se's."""
    if line.by != "class":
        return line.measure
    return "Sp" if line.counts[2] else "Se"


def looks(systems: Sequence[System]) -> list[Look]:
    """One for each system; from the seventh on they come again."""
    return [LOOKS[i % len(LOOKS)] for i in range(len(systems))]


def key(system: System) -> str:
    """A line of the legend."""
    seeds = ", ".join(map(str, system.seeds))
    return f"{system.name}   (seed {seeds})" if len(system.seeds) == 1 else f"{system.name}   (mean of seeds {seeds})"


def caption(found: Shift) -> str:
    """What the figure shows, and how far its intervals may be trusted."""
    first = found.systems[0].runs[0]
    several = any(len(system.seeds) > 1 for system in found.systems)
    compared = [line for line in found.lines if not np.isnan(line.difference_interval[0])]
    flagged = sum(line.flagged for line in compared)
    alone = [
        KINDS[by].removeprefix("tenth by ") if by in UNITS else f"{KINDS[by]} {lines[0].group}"
        for by in KINDS
        if len(lines := found.of(found.systems[0].name, by, "Score")) == 1
    ]
    sentences = [
        f"{found.where}: {len(first.truth)} cycles of {len(set(first.patient.tolist()))} patients; "
        f"task {found.task.name}.",
        "Marks are means over seeds." * several,
        f"All cycles are of one {' and one '.join(alone)}." if alone else "",
        "Tenths: cycles in ten groups of equal size, 1 the lowest; equal values stay together.",
        "Bars: 95 % intervals, patients resampled; of a class in (a) and (b) Wilson's for that many cycles, which is "
        "too narrow, as cycles of one patient resemble each other. Dotted: all cycles.",
        "Filled: unlike all other cycles whose value is known: the 95 % interval of the difference leaves 0 out. That "
        f"holds for {flagged} of {len(compared)} differences; by chance one in twenty would. Hollow too, as untested, "
        f"where either side has fewer than {MIN_CYCLES} such cycles or {MIN_PATIENTS} patients. Groups overlap in what "
        "they share: a device is used on some ages and sites.",
        *found.remarks,
    ]
    return " ".join(s for s in sentences if s)
