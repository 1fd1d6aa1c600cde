"""The figure of a calibrated run, for print: 18 cm wide, readable in grey and by colour-blind eyes."""

import textwrap
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from ..calibration import BINS, Bins
from .calibration_run import ABNORMAL, Measured, Part
from .sharpness_figure import KEY_CM, LOOKS, Look
from .shift import MIN_CYCLES
from .spectral_figure import INCH, LINE_CM, PALE, STYLE, TEXT_WIDTH, WIDTH_CM
from .tables import empty_table, percent

HEAD_CM, PANEL_CM, AXIS_CM = 0.7, 4.6, 1.05
TICKS = (0, 0.25, 0.5, 0.75, 1)
SEEN = 0.05  # below this coverage the risk is that of a handful of cycles, up to 1
BLACK = Look("#000000", "-", "o")


@rc_context(STYLE)
def figure(found: Measured) -> Figure:
    """Reliability and ROC curves on the first test part, risk against coverage on all parts."""
    part = shown_part(found)
    words = textwrap.wrap(caption(found), TEXT_WIDTH)
    foot_cm = LINE_CM * len(words) + 0.25
    key_cm = KEY_CM * max(len(part.curves) + 1, 2 * len(found.parts) + 1) + 0.1
    height_cm = HEAD_CM + PANEL_CM + AXIS_CM + key_cm + foot_cm
    made = Figure(figsize=(WIDTH_CM * INCH, height_cm * INCH))
    bottom, top = (foot_cm + key_cm + AXIS_CM) / height_cm, 1 - HEAD_CM / height_cm
    grid = made.add_gridspec(1, 3, left=0.065, right=0.99, bottom=bottom, top=top, wspace=0.3)
    panels = [made.add_subplot(grid[i]) for i in range(3)]
    reliabilities(panels[0], part)
    rocs(panels[1], part)
    risks(panels[2], found)
    titles = (f"a  reliability, {part.part}", f"b  ROC, {part.part}", "c  risk and coverage")
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, loc="left", pad=5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(length=2.5, pad=2)
        panel.grid(color=PALE, linewidth=0.5)
        panel.set_axisbelow(True)
        down = -(AXIS_CM - 0.05) / PANEL_CM
        panel.legend(
            loc="upper left", bbox_to_anchor=(-0.16, down), frameon=False, handlelength=2.6, labelspacing=0.3,
            borderaxespad=0,
        )  # fmt: skip
    made.text(0.01, (foot_cm - 0.05) / height_cm, "\n".join(words), size=7, va="top", linespacing=1.25)
    return made


def shown_part(found: Measured) -> Part:
    """The first test part; validation where no test recording is here."""
    return found.parts[min(1, len(found.parts) - 1)]


def reliabilities(panel: Axes, part: Part) -> None:
    """Accuracy against confidence in bins of equal width, before and after; pale bars: the share of cycles after."""
    panel.plot([0, 1], [0, 1], color="black", linewidth=0.6)
    bins = part.after[0]
    place = np.minimum(np.ceil(bins.confidence * BINS), BINS) / BINS - 0.5 / BINS
    panel.bar(place, bins.count / bins.count.sum(), width=1 / BINS, color=PALE, edgecolor="white", linewidth=0.5)
    for name, own, look, filled in (("before", part.before[0], LOOKS[1], False), ("after", bins, LOOKS[0], True)):
        draw_bins(panel, own, look, filled, f"{name}: ECE {own.error:.3f}")
    square(panel, "confidence", "share that is right")


def draw_bins(panel: Axes, bins: Bins, look: Look, filled: bool, label: str) -> None:
    """A mark a bin, joined by a line; small, and not joined, where a bin has fewer than 10 cycles."""
    inside = look.colour if filled else "white"
    looks: dict[str, Any] = {"color": look.colour, "marker": look.marker, "markerfacecolor": inside}
    enough = bins.count >= MIN_CYCLES
    x, y = bins.confidence, bins.accuracy
    panel.plot(x[enough], y[enough], **looks, linestyle=look.dash, markersize=3.6, linewidth=1.0, label=label)
    panel.plot(x[~enough], y[~enough], **looks, linestyle="none", markersize=1.6)


def rocs(panel: Axes, part: Part) -> None:
    """A curve a class, that of all abnormal ones thick, and the operating point on it."""
    panel.plot([0, 1], [0, 1], color=PALE, linewidth=0.8)
    for i, curve in enumerate(curve for curve in part.curves if curve.cycles >= MIN_CYCLES):
        look = BLACK if curve.name == ABNORMAL else LOOKS[(i - 1) % len(LOOKS)]
        width = 1.8 if curve.name == ABNORMAL else 1.0
        low, high = curve.interval
        span = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
        label = f"{curve.name} {curve.area:.2f}{span} ({curve.cycles})"
        panel.plot(curve.false, curve.true, color=look.colour, linestyle=look.dash, linewidth=width, label=label)
    se, sp = part.point
    panel.plot([1 - sp], [se], marker="o", markersize=6, color="black", markerfacecolor="white", markeredgewidth=1.2,
               linestyle="none", label=f"operating point: Se {percent(se)}, Sp {percent(sp)}")  # fmt: skip
    square(panel, "1 - Sp: others taken for it", "share that is found")


def risks(panel: Axes, found: Measured) -> None:
    """Share of wrong predictions against the share that is kept; a mark where the chosen confidence lies."""
    order = (LOOKS[1], LOOKS[0], *LOOKS[2:])
    for i, part in enumerate(found.parts):
        look, r = order[i % len(order)], part.risks
        label = f"{part.part}: AURC {r.aurc:.3f}"
        if part.kept is not None:
            label += f"\nkept {percent(part.kept[0])} %, wrong {percent(part.kept[1])} %"
            panel.plot([part.kept[0]], [part.kept[1]], marker=look.marker, color=look.colour, markersize=5)
        panel.plot(r.coverage, r.risk, color=look.colour, linestyle=look.dash, linewidth=1.1, label=label)
    panel.axhline(found.risk, color="black", linewidth=0.6, linestyle=(0, (1, 2)), label=f"risk {found.risk:g}")
    panel.set_xlim(0, 1)
    panel.set_xticks(TICKS, [f"{t:g}" for t in TICKS])
    highest = max(part.risks.risk[part.risks.coverage >= SEEN].max() for part in found.parts)
    panel.set_ylim(0, min(1.0, 1.1 * max(highest, found.risk)))
    panel.set_xlabel("coverage: share that is kept")
    panel.set_ylabel("risk: share of it that is wrong", labelpad=2)


def square(panel: Axes, across: str, up: str) -> None:
    """Both axes from 0 to 1."""
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(-0.02, 1.02)
    panel.set_xticks(TICKS, [f"{t:g}" for t in TICKS])
    panel.set_yticks(TICKS, [f"{t:g}" for t in TICKS])
    panel.set_xlabel(across)
    panel.set_ylabel(up, labelpad=2)


def caption(found: Measured) -> str:
    """What the figure shows, what was chosen where, and how it may be read."""
    chosen, own = found.calibration, found.parts[0]
    kept = (
        f"The confidence {chosen.confidence:.3f} keeps as many validation cycles as a risk of {found.risk:g} allows."
        if chosen.confidence is not None
        else f"No coverage of the validation cycles has a risk of {found.risk:g} or less: no confidence was chosen."
    )
    parts = ", ".join(f"{p.part} {p.cycles} cycles of {p.patients} patients" for p in found.parts)
    sentences = [
        f"{found.where}: {parts}.",
        f"Temperature {chosen.temperature:.3f}, threshold and confidence were chosen on the {own.patients} validation "
        "patients.",
        "(a) Confidence: probability of the predicted class; 15 bins of equal width, before and after the temperature; "
        f"ECE: mean distance from the diagonal, weighted by cycles. Small marks: fewer than {MIN_CYCLES} cycles. Pale "
        "bars: share of the cycles, after.",
        "(b) Each class against all others, after the temperature: area, 95 % interval (patients resampled), cycles; "
        f"none of fewer than {MIN_CYCLES} cycles. Ring: P(abnormal) from {chosen.threshold:.3f} on counts as abnormal, "
        f"chosen for {found.side} of {found.target:g} on validation, where Se is {percent(own.point[0])} and Sp "
        f"{percent(own.point[1])} %.",
        f"(c) The least confident predictions left out first. {kept}",
        *found.remarks,
    ]
    return " ".join(sentences)


def summary(found: Measured) -> Table:
    """For the terminal: a row a part, shares in %."""
    made = empty_table()
    made.add_column("part")
    for name in ("cycles", "ECE", "after", "Se", "Sp", "kept", "wrong", "AUROC"):
        made.add_column(name, justify="right")
    for part in found.parts:
        ece = (part.before[0].error, part.after[0].error)
        kept = part.kept or (None, None)
        areas = [curve.area for curve in part.curves if curve.name == ABNORMAL]
        made.add_row(part.part, str(part.cycles), *map(percent, (*ece, *part.point, *kept, *areas)))
    return made
