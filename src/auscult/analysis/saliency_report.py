"""The figures of faithfulness of one run or several: table, JSON, pictures."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from ..runs import write_json, write_text
from .faithfulness import Mean
from .saliency_run import Faithfulness
from .tables import empty_table

MEASURES = {
    "deletion": "area under deletion",
    "insertion": "area under insertion",
    "gain": "insertion - deletion",
    "gain_over_loudness": "  over the loudest first",
    "mass": "share in abnormal cycles",
    "mass_over_chance": "  over chance",
    "mass_of_cycles": "  of annotated cycles",
    "mass_of_cycles_over_chance": "  over chance",
    "hit": "pointing game",
    "hit_over_chance": "  over chance",
}
LEGEND = (
    "[low, high]: 95 % interval, patients resampled. Areas: less under deletion and more under insertion is better. "
    "Shares: of the saliency that lies in abnormal cycles; by chance it is their share of the time. Pointing game: the "
    "most salient moment lies in one."
)


def table(found: Faithfulness) -> Table:
    """One row a measure, one column an order."""
    made, rows = empty_table(), found.rows()
    made.add_column("measure")
    for name in rows:
        made.add_column(name.replace("_", "\n").replace(" ", "\n"), justify="right", no_wrap=True)
    for key, words in MEASURES.items():
        if any(key in measures for measures in rows.values()):
            made.add_row(words, *(cell(measures.get(key)) for measures in rows.values()))
    return made


def cell(mean: Mean | None) -> str:
    """A mean and its interval in %; nothing where there is none.

    >>> cell(Mean(value=0.5, low=0.25, high=0.75, n=9, patients=3))
    '50.0\\n\\\\[25.0, 75.0]'
    """
    if mean is None:
        return ""
    interval = "" if math.isnan(mean.low) else f"\n\\[{100 * mean.low:.1f}, {100 * mean.high:.1f}]"
    return f"{100 * mean.value:.1f}{interval}"


def write(out: Path, found: Sequence[Faithfulness]) -> list[Path]:
    """Writes saliency.json, and for each run a figure as PNG and PDF and its caption; gives their places."""
    from .saliency_figure import caption, figure
    from .spectral_figure import save

    made = [out / "saliency.json"]
    write_json(made[0], {"note": LEGEND, "runs": [as_dict(one) for one in found]})
    for number, one in enumerate(found, start=1):
        stem = out / ("saliency" if len(found) == 1 else f"saliency_{number}")
        write_text(stem.with_suffix(".md"), f"{caption(one)}\n")
        made += [*save(figure(one), stem), stem.with_suffix(".md")]
    return made


def as_dict(found: Faithfulness) -> dict[str, object]:
    """JSON-ready: facts, every measure with its interval, and the mean curves. Ends of no interval are null."""

    def plain(mean: Mean) -> dict[str, object]:
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(mean).items()}

    return {
        "run": found.run,
        "part": found.part,
        "facts": found.facts,
        "measures": {name: {key: plain(m) for key, m in own.items()} for name, own in found.rows().items()},
        "curves": {
            name: {side: getattr(c, side).mean(axis=0).tolist() for side in ("deletion", "insertion")}
            for name, c in found.curves.items()
        },
    }
