"""The spectral figures, for print: 18 cm wide, no text below 7 points, readable in grey and by colour-blind eyes."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..runs import replacing
from .figures import GREY
from .spectral import DIRECTIONS, MERGED
from .spectral_layers import ATTENTION, Curve
from .spectral_run import Spectrum

INCH = 1 / 2.54  # of a centimetre
WIDTH_CM, HEAD_CM, ROW_CM, AXIS_CM, LINE_CM = 18.0, 0.7, 2.9, 1.0, 0.315
TEXT_WIDTH = 136  # letters of 7 points that fit into a line
STYLE: dict[Any, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
    "text.parse_math": False,
}
# (version, axis) of the three columns
PANELS = (("paper", "sequence"), ("honest", "time"), ("honest", "frequency"))
TITLES = (
    "as published: map flattened",
    "2-D, along time",
    "2-D, along frequency",
)
AFTER = "#c8500a"  # after the smoothing: an orange darker than the lines' middle, and dashed
FLATTENING = (
    "Artefacts of flattening: peaks at every multiple of the number of rows (grey lines) have the period of one row "
    "and appear for a filter that is smooth on the map too; the column directions, put back in a wrong order where the "
    "map is not square, have theirs at multiples of the number of columns (dotted)."
)
PALE = "#c9ced4"
FLOOR_DB, STEP_DB = -60.0, 10.0
FIRST_BANDS = 4  # the fall from band 0
# Okabe and Ito's colours, told apart by their dashes too
DIRECTION_LINES: dict[str, tuple[str, Any]] = {
    DIRECTIONS[0]: ("#0072b2", "-"),
    DIRECTIONS[2]: ("#0072b2", "--"),
    DIRECTIONS[1]: ("#b35c00", "-."),
    DIRECTIONS[3]: ("#b35c00", ":"),
    MERGED: ("#000000", "-"),
}


class Limits(NamedTuple):
    """Ends of the vertical axes, the same in every row."""

    low_db: float
    high_db: float
    published: float


@rc_context(STYLE)
def layer_figure(spectrum: Spectrum) -> Figure:
    """One row a stage, and one for AST; merged matrices, the chosen layers before and after the smoothing."""
    merged = [c for c in spectrum.curves if c.direction == MERGED]
    groups = list(dict.fromkeys((c.model, c.group) for c in merged))
    figure, rows = canvas(len(groups), caption(spectrum))
    limits = Limits(*db_limits(merged), published_limit(merged))
    for (model, group), axes in zip(groups, rows, strict=True):
        own = [c for c in merged if c.is_of(model=model, group=group)]
        shades = shades_of([c.number for c in own])
        for (version, axis), panel in zip(PANELS, axes, strict=False):
            for curve in own:
                if curve.is_of(version=version, axis=axis, smoothed=False):
                    plot(panel, curve, color=shades[curve.number], linewidth=1.1)
            for curve in own:
                if curve.is_of(version=version, axis=axis, smoothed=True, marked=True):
                    plot(panel, curve, color=AFTER, linewidth=1.0, linestyle=(0, (3, 1.5)))
            dress(panel, own[0], version, limits)
        layer_legend(axes[-1], model, group, own, shades)
    finish(rows)
    return figure


@rc_context(STYLE)
def direction_figure(spectrum: Spectrum) -> Figure:
    """One row a block that the smoothing belongs to: each direction of the scan, and their sum."""
    marked = [c for c in spectrum.curves if c.marked and not c.smoothed and not c.is_of(group=ATTENTION)]
    blocks = sorted({(c.group, c.number) for c in marked})
    figure, rows = canvas(len(blocks), direction_caption(spectrum))
    limits = Limits(*db_limits(marked), published_limit(marked))
    for (group, number), axes in zip(blocks, rows, strict=True):
        own = [c for c in marked if c.is_of(group=group, number=number)]
        for (version, axis), panel in zip(PANELS, axes, strict=False):
            for direction, (colour, dash) in DIRECTION_LINES.items():
                width = 1.5 if direction == MERGED else 1.0
                for curve in own:
                    if curve.is_of(version=version, axis=axis, direction=direction):
                        plot(panel, curve, color=colour, linestyle=dash, linewidth=width)
            dress(panel, own[0], version, limits)
        handles = [Line2D([], [], color=c, linestyle=d, label=name) for name, (c, d) in DIRECTION_LINES.items()]
        legend(axes[-1], f"{own[0].model}\n{group}, block {number}", own[0].shape, handles)
    finish(rows)
    return figure


def has_directions(spectrum: Spectrum) -> bool:
    """Whether there is a scan in it, and so a figure of its directions."""
    return any(c.group != ATTENTION for c in spectrum.curves)


def canvas(rows: int, words: str) -> tuple[Figure, list[list[Axes]]]:
    """A figure with three panels and a place for the legend in each row, and the caption at its foot."""
    lines = textwrap.wrap(words, TEXT_WIDTH)
    foot_cm = LINE_CM * len(lines) + 0.25
    height_cm = HEAD_CM + rows * ROW_CM + AXIS_CM + foot_cm
    figure = Figure(figsize=(WIDTH_CM * INCH, height_cm * INCH))
    grid = figure.add_gridspec(
        rows,
        4,
        width_ratios=(1.35, 1, 1, 0.78),
        left=0.066,
        right=0.995,
        top=1 - HEAD_CM / height_cm,
        bottom=(foot_cm + AXIS_CM) / height_cm,
        wspace=0.34,
        hspace=0.3,
    )
    made = [[figure.add_subplot(grid[i, j]) for j in range(4)] for i in range(rows)]
    figure.text(0.01, (foot_cm - 0.05) / height_cm, "\n".join(lines), size=7, va="top", linespacing=1.25)
    for title, letter, axes in zip(TITLES, "abc", made[0], strict=False):
        axes.set_title(f"{letter}  {title}", loc="left", pad=5)
    return figure, made


def shades_of(numbers: Sequence[int]) -> dict[int, Any]:
    """Layer -> colour, dark to light by depth; the order survives in grey."""
    last = max(numbers)
    return {n: colormaps["cividis"](0.85 * n / last if last else 0.0) for n in set(numbers)}


def plot(panel: Axes, curve: Curve, **style: object) -> None:
    """One curve: bands on the published axis up to half a cycle per token, else cycles per patch."""
    if curve.axis == "sequence":
        shown = min(len(curve.response), curve.tokens // 2 + 1)
        panel.plot(np.arange(shown), curve.drawn[:shown], **style)  # type: ignore[arg-type]
    else:
        few = len(curve.response) <= 5
        panel.plot(curve.frequency, curve.drawn, marker="o" if few else "", markersize=2.5, **style)  # type: ignore[arg-type]


def dress(panel: Axes, curve: Curve, version: str, limits: Limits) -> None:
    """Limits and ticks of a panel of lines; in the published reading the places of its artefacts."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(length=2.5, pad=2)
    if version == "honest":
        panel.set_xlim(0, 0.5)
        panel.set_xticks([0, 0.125, 0.25, 0.375, 0.5], ["0", "", "0.25", "", "0.5"])
        panel.set_ylim(limits.low_db, limits.high_db)
        panel.set_ylabel("dB relative to DC", labelpad=1)
        say_what_is_below(panel, limits.low_db)
        panel.axhline(0, color=PALE, linewidth=0.6, zorder=0)
        return
    last = int(max(np.max(line.get_xdata()) for line in panel.get_lines()))
    for step, dash in zip(curve.shape, ("-", (0, (1, 1.5))), strict=True):
        for band in range(step, last + 1, step):
            panel.axvline(band, color=PALE, linewidth=0.7, linestyle=dash, zorder=0)
    panel.set_xlim(0, max(last, 1))
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.set_ylim(0, limits.published)
    panel.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_ylabel("response, 0 to 1", labelpad=1)


def say_what_is_below(panel: Axes, low: float) -> None:
    """Words in a panel whose lines leave it at once, or have no length."""
    highest = max(np.max(np.asarray(line.get_ydata())[1:], initial=-np.inf) for line in panel.get_lines())
    if highest < low:
        words = f"all below {low:.0f} dB;\nthe highest at {highest:.0f} dB" if np.isfinite(highest) else "one row only"
        panel.text(0.27, low / 2, words, ha="center", size=7)


def db_limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """Round decibels around all that is drawn, down to -60."""
    shown = [c.drawn for c in curves if c.version == "honest" and (c.marked or not c.smoothed)]
    low, high = min(d.min() for d in shown), max(d.max() for d in shown)
    return max(FLOOR_DB, STEP_DB * np.floor(low / STEP_DB)), max(STEP_DB * np.ceil((high - 2) / STEP_DB), 2.0)


def published_limit(curves: Sequence[Curve]) -> float:
    """The published axis ends at 1, the value of band 0; this one above the highest peak behind the first bands."""
    shown = [c for c in curves if c.version == "paper" and (c.marked or not c.smoothed)]
    peak = max(c.drawn[FIRST_BANDS : c.tokens // 2 + 1].max(initial=0) for c in shown)
    return float(min(np.ceil(10 * peak + 0.2) / 10, 1.0))


def layer_legend(place: Axes, model: str, group: str, own: Sequence[Curve], shades: dict[int, Any]) -> None:
    """Which line is which block: all of up to four, else the first, a middle one and the last."""
    numbers = sorted(shades)
    named = numbers if len(numbers) <= 4 else [numbers[0], numbers[len(numbers) // 2], numbers[-1]]
    word = "layer" if group == ATTENTION else "block"
    handles = [Line2D([], [], color=shades[n], linewidth=1.4, label=f"{word} {n}") for n in named]
    marked = sorted({c.number for c in own if c.marked})
    if marked:
        label = f"{word} {' and '.join(map(str, marked))}\nafter smoothing"
        handles.append(Line2D([], [], color=AFTER, linewidth=1.2, linestyle=(0, (3, 1.5)), label=label))
    title = model.replace(", ", "\n") if group == ATTENTION else f"{model}\n{group}"
    legend(place, title, own[0].shape, handles)


def legend(place: Axes, title: str, shape: tuple[int, int], handles: list[Line2D]) -> None:
    """Name of the row, its map, and its lines."""
    place.set_axis_off()
    left = -0.2
    place.text(left, 1.04, title, size=8, weight="bold", va="top", transform=place.transAxes, linespacing=1.1)
    size = f"map {shape[0]} x {shape[1]}"
    place.text(left, 0.73, size, size=7, va="top", color=GREY, transform=place.transAxes)
    place.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left - 0.03, 0.6),
        frameon=False,
        handlelength=2.2,
        handletextpad=0.5,
        labelspacing=0.25,
        borderpad=0,
        borderaxespad=0.2,
    )


def finish(rows: Sequence[Sequence[Axes]]) -> None:
    """What the horizontal axes count, below the lowest row."""
    rows[-1][0].set_xlabel("band k, cycles over the whole sequence")
    for panel in rows[-1][1:3]:
        panel.set_xlabel("cycles per patch")


def caption(spectrum: Spectrum) -> str:
    """What the first figure shows, and what in it is an artefact."""
    attention = any(c.group == ATTENTION for c in spectrum.curves)
    scans = has_directions(spectrum)
    sentences = [
        "Response of each layer's mixing matrix M.",
        f"DASS: the four scan directions of SS2D added, mean over channels, {'with' if spectrum.skip else 'without'} D."
        * scans,
        "AST: attention, mean over heads." * attention,
        "(a) The published reading: the map is laid out in one line, row after row, and the row means of |F M F^-1| "
        "are scaled to [0, 1] (band 0 is 1, the axis is cut below it); the step size Delta is left out, and the lowest "
        "126 bands are shown.",
        FLATTENING,
        "The published figure also took the logarithm of attention, but not of the DASS matrix; here of neither."
        * attention,
        "(b, c) In two dimensions: gain of patterns that vary along time only, along frequency only; with Delta, "
        "diagonal of F M F^-1, relative to DC, the same decibel axis in all rows.",
        smoothing_words(spectrum, scans, attention),
        source(spectrum),
    ]
    return " ".join(filter(None, sentences))


def smoothing_words(spectrum: Spectrum, scans: bool, attention: bool) -> str:
    """What the dashed lines are."""
    s, numbers = spectrum.smoothing, " and ".join(map(str, spectrum.smoothing.blocks))
    kernel = f"Dashed: after a Gaussian smoothing (K={s.kernel}, sigma={s.sigma:g})"
    if not scans:
        return f"{kernel} of layer {numbers}, which AST does not have, for comparison with Lung-SRAD."
    return (
        f"{kernel} of stage {s.stage}, blocks {numbers}, {'with' if spectrum.own else 'without'} which this model was "
        "trained"
        + f"; drawn on the merged scan, where the model has it at {s.at}" * (s.at != "merged")
        + "; on AST's layers of the same numbers for comparison" * attention
        + "."
    )


def direction_caption(spectrum: Spectrum) -> str:
    """What the second figure shows."""
    return (
        "Response of each direction of the scan, and of their sum, before any smoothing, in the blocks that the "
        "smoothing belongs to; panels as in the figure of all layers, on a decibel axis of their own. Relative to DC "
        "each by itself: B and C have signs, so a direction whose DC nearly cancels lies above 0 dB. (a) The published "
        f"reading. {FLATTENING} {source(spectrum)}"
    )


def source(spectrum: Spectrum) -> str:
    """Which clips, which run, which commit."""
    count, named = len(spectrum.clips), "; ".join(spectrum.clips[:2])
    more = f"; and {count - 2} more, listed beside this figure" if count > 2 else ""
    return f"Mean over {count} clip{'s' * (count > 1)} ({named}{more}). {spectrum.facts}"


def save(figure: Figure, stem: Path) -> list[Path]:
    """PNG of 300 dpi and PDF; the same bytes for the same numbers."""
    made = []
    with rc_context(STYLE):
        for ending, about in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            made.append(stem.with_name(f"{stem.name}.{ending}"))
            with replacing(made[-1]) as temporary:
                figure.savefig(temporary, format=ending, dpi=300, metadata=about)
    return made
