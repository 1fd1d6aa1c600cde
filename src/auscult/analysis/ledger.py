"""The tables of docs/results.md, made from the scores.json of the runs they report, so that no figure is typed by hand.

python -m auscult.analysis.ledger docs/results/sprsound_dass_nano_s*.json
"""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def table(runs: Sequence[dict[str, Any]]) -> str:
    """A Markdown table: for each part and task the score of every seed, mean and standard deviation, and the interval.

    Args:
        runs: contents of scores.json, one a seed, of the same recipe and data set.

    Raises:
        ValueError: runs of different data sets, splits or selections.
    """
    for key in ("dataset", "split", "classes"):
        if len({json.dumps(run[key]) for run in runs}) > 1:
            raise ValueError(f"the runs differ in {key}: {[run[key] for run in runs]}")
    if len({run["facts"]["selection"] for run in runs}) > 1:
        raise ValueError("the runs differ in how their epoch was chosen")
    seeds = [f"seed {run['facts']['seed']}" for run in runs]
    head = ["part", "task", *seeds, "Score, mean ± std", "95 % interval of the first seed"]
    rows = []
    for part, found in runs[0]["parts"].items():
        for task, first in found["scores"].items():
            cells = [cell(run["parts"][part]["scores"][task]) for run in runs]
            rows.append([part, task, *cells, spread(runs, part, task), interval(first)])
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"


def cell(score: dict[str, Any]) -> str:
    """Score, with Sp and Se and the integers they were made of."""
    sp = f"Sp {100 * score['Sp']:.2f} ({score['normal_correct']}/{score['normal']})"
    se = f"Se {100 * score['Se']:.2f} ({score['abnormal_correct']}/{score['abnormal']})"
    return f"**{100 * score['Score']:.2f}** {sp} {se}"


def spread(runs: Sequence[dict[str, Any]], part: str, task: str) -> str:
    """Mean and standard deviation (n - 1) over the seeds."""
    values = [100 * run["parts"][part]["scores"][task]["Score"] for run in runs]
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def interval(score: dict[str, Any]) -> str:
    """The interval over patients; a dash where there is none."""
    low, high = score["interval_95"]
    return "–" if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"


def main(files: Sequence[str]) -> None:
    """Prints the table of some scores.json files."""
    print(table([json.loads(Path(f).read_text(encoding="utf-8")) for f in files]), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
