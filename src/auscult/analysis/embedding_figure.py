"""The t-SNE of a model's features, for print: 18 cm wide, classes told apart by colour and by mark."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .embedding import Embedding
from .spectral_figure import INCH, LINE_CM, STYLE, TEXT_WIDTH, WIDTH_CM

HEAD_CM, PANEL_CM, AXIS_CM, KEY_ROW_CM = 0.7, 7.9, 0.9, 0.4
KEY_COLUMNS = 2
TITLES = {"device": "device", "site": "site on the chest"}
SIZE = 11.0  # of a mark, in points squared


class Mark(NamedTuple):
    """How the cycles of one class are drawn."""

    colour: str
    shape: str


# Okabe and Ito's colours, the yellow left out and the light ones darkened; the first, of the many, recedes
MARKS = (
    Mark("#9aa2aa", "."),
    Mark("#0072b2", "^"),
    Mark("#c8500a", "s"),
    Mark("#00795a", "v"),
    Mark("#a04a80", "D"),
    Mark("#3aa0dc", "P"),
    Mark("#000000", "X"),
)


@rc_context(STYLE)
def figure(found: Embedding) -> Figure:
    """The same plane twice: by class, and by device or, with one device only, by site on the chest."""
    lines = textwrap.wrap(caption(found), TEXT_WIDTH)
    name, values = found.fact
    by_class = [found.classes[t] for t in found.truth]
    panels = (("true class", by_class, found.classes), (TITLES[name], values, sorted(set(values))))
    key_rows = max(-(-len([n for n in names if n in said]) // KEY_COLUMNS) for _, said, names in panels)
    foot_cm, key_cm = LINE_CM * len(lines) + 0.25, KEY_ROW_CM * key_rows + 0.25
    height_cm = HEAD_CM + PANEL_CM + AXIS_CM + key_cm + foot_cm
    made = Figure(figsize=(WIDTH_CM * INCH, height_cm * INCH))
    bottom = (foot_cm + key_cm + AXIS_CM) / height_cm
    grid = made.add_gridspec(1, 2, left=0.035, right=0.99, bottom=bottom, top=1 - HEAD_CM / height_cm, wspace=0.09)
    for i, (title, said, names) in enumerate(panels):
        axes = made.add_subplot(grid[i])
        scatter(axes, found, said, names)
        axes.set_title(f"{'ab'[i]}  {title}", loc="left", pad=5)
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(-0.02, -AXIS_CM / PANEL_CM + 0.02),
            ncols=KEY_COLUMNS,
            frameon=False,
            handletextpad=0.3,
            labelspacing=0.3,
        )
    made.text(0.01, (foot_cm - 0.05) / height_cm, "\n".join(lines), size=7, va="top", linespacing=1.25)
    return made


def scatter(axes: Axes, found: Embedding, said: Sequence[str], names: Sequence[str]) -> None:
    """One mark a cycle; the rare lie above the many. Distances have no unit, so no numbers stand at the axes."""
    counts = Counter(said)
    marks = {name: MARKS[i % len(MARKS)] for i, name in enumerate(names)}
    labels = np.array(said)
    for name in sorted((n for n in names if counts[n]), key=lambda n: -counts[n]):
        x, y = found.place[labels == name].T
        axes.scatter(
            x,
            y,
            s=SIZE,
            c=marks[name].colour,
            marker=marks[name].shape,
            linewidths=0,
            alpha=0.8,
        )
    for name in names:
        if counts[name]:
            handle = Line2D([], [], color=marks[name].colour, marker=marks[name].shape, linestyle="none", markersize=4)
            handle.set_label(f"{name} ({counts[name]})")
            axes.add_line(handle)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("t-SNE, first axis", labelpad=3)
    axes.set_ylabel("t-SNE, second axis", labelpad=3)
    axes.margins(0.03)


def caption(found: Embedding) -> str:
    """What the figure shows, and what it does not."""
    shares = "; ".join(
        f"{name} {100 * own:.0f} % ({100 * chance:.0f} %)" for name, (own, chance) in found.alike.items()
    )
    wrong = int((found.truth != found.predicted).sum())
    sentences = [
        f"t-SNE of the {found.features} features before the head, standardised, started from their principal "
        f"components (perplexity {found.perplexity:g}, seed {found.seed}); {len(found.cycles)} cycles of "
        f"{len({c.patient for c in found.cycles})} patients, of which the head misses {wrong}.",
        "It keeps neighbours, not distances: sizes of clusters and gaps between them mean nothing.",
        "Nearest neighbour in the features themselves, outside the same recording, that is alike (by chance): "
        f"{shares}." * bool(shares),
        found.facts,
    ]
    return " ".join(filter(None, sentences))
