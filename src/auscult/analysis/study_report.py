"""study.html: the table of a study for people: one file that needs no network, made from the record alone.

It is text to the last mark of its plots, so `auscult verify` makes it again and compares every character.
"""

import math
import re
import shlex
from collections.abc import Sequence
from typing import Any

from ..config import flat
from . import RESEARCH_ONLY
from .markup import Axis, document, folded, listed, number, table, text, warnings
from .study_columns import (
    ABOUT_SELECTIONS,
    ABOUT_SPLITS,
    Cells,
    marked,
    names,
    of_place,
    selections,
    split_sizes,
    splits,
)
from .study_table import finished_runs, how_to_read, of_total, points
from .tables import percent, spread


def page(known: dict[str, Any]) -> str:
    """The page of a record that `study_record.record` made."""
    blocks = [
        warnings([RESEARCH_ONLY]),
        warnings(known["notes"]),
        facts(known),
        "<h2>What was run</h2>",
        rows(known),
        f"<p><small>{text(how_to_read(known))}</small></p>" if known["parts"] else "",
        *(part_section(known, part) for part in known["parts"]),
        origin(known),
    ]
    return document(f"Study {known['study']} on {known['dataset']}", "\n".join(block for block in blocks if block))


def facts(known: dict[str, Any]) -> str:
    """What was run, and where."""
    partial = ", with the recordings that are there" if known["partial"] else ""
    return listed(
        {
            "data set": known["dataset"] + partial,
            "seeds": ", ".join(map(str, range(known["seeds"]))),
            "finished": finished_runs(known),
            "commit": ", ".join(known["where"]["commit"]),
            "hardware": "; ".join(known["where"]["hardware"]),
            "python": "; ".join(known["where"]["python"]),
            "command": known["command"],
        }
    )


def rows(known: dict[str, Any]) -> str:
    """What each row is; the paper's score stands here, apart from ours."""
    head = ["row", "recipe", "settings", "epochs", "epoch chosen, by seed", "minutes a run"]
    head += [f"Score in the paper ({text(known['paper'])})"] if known["paper"] else []
    lines = []
    for row in known["rows"]:
        runs, choice = row["runs"], row["recipe"]["selection"]
        chosen = ", ".join(f"s{seed}: {run['epoch']}" for seed, run in runs.items()) or "-"
        minutes = ", ".join(f"{run['train_s'] / 60:.0f}" for run in runs.values()) or "-"
        settings = f"<code>{text(shlex.join(row['settings']))}</code>" if row["settings"] else "as it is"
        line = [text(row["name"]), f"{text(row['recipe']['name'])}<br><small>{row['fingerprint']}</small>", settings]
        line += [number(str(row["recipe"]["epochs"])), text(f"{chosen} (by {choice}{marked(choice)})"), text(minutes)]
        paper = f"{row['paper']:.2f}" if row["paper"] else "-"
        lines.append(line + ([number(paper)] if known["paper"] else []))
    return table(head, lines, caption="Rows of the study")


def part_section(known: dict[str, Any], part: str) -> str:
    """Scores, differences, selections and splits of a part, task by task."""
    about = known["parts"][part]
    blocks = [f"<h2>Part {text(part)}: {about['cycles']} cycles of {about['patients']} patients</h2>"]
    for task in (task["name"] for task in known["tasks"]):
        blocks += [f"<h3>{text(task)}</h3>", scores(known, part, task), differences(known, part, task)]
        sizes = split_sizes(known, part)
        blocks += [
            side_by_side(selections(known, part, task), f"Selections of the epoch, {task}", ABOUT_SELECTIONS),
            side_by_side(splits(known, part, task), f"Splits, {task}", f"{sizes}. {ABOUT_SPLITS}"),
        ]
    return "\n".join(block for block in blocks if block)


def scores(known: dict[str, Any], part: str, task: str) -> str:
    """Mean and deviation of each row over its seeds, the interval over patients, and every integer."""
    found = of_place(known["summary"], part, task)
    ends = [interval(line.get("interval_95")) for line in found]
    means = [known_or_nan(line["Score"][0]) for line in found]
    axis = Axis.around([*means, *(end for pair in ends for end in pair)], 0.01, zero=False)
    by_name = {row["name"]: row["runs"].values() for row in known["rows"]}
    lines = []
    for line, mean, (low, high) in zip(found, means, ends, strict=True):
        runs = [run["parts"][part]["scores"][task] for run in by_name[line["row"]]]
        sides = zip((line["Sp"], line["Se"]), (of_total(runs, "normal"), of_total(runs, "abnormal")), strict=True)
        cells = [str(line["seeds"]), *(f"{spread(share)}<br><small>{integers}</small>" for share, integers in sides)]
        shown = f"{percent(low)} to {percent(high)}" if math.isfinite(low) else "-"
        cells += [f"<strong>{spread(line['Score'])}</strong>", shown]
        lines.append([text(names(known)[line["row"]]), *map(number, cells), axis.mark(mean, low, high)])
    head = ["row", "seeds", "Sp %<br><small>found, by seed</small>", "Se %<br><small>found, by seed</small>"]
    head += ["Score %", "95 % interval", axis.head()]
    return table(head, lines, caption=f"Scores, {task}, part {part}")


def differences(known: dict[str, Any], part: str, task: str) -> str:
    """A forest plot: each paired difference with its interval; empty where no two rows have a seed in common."""
    found = of_place(known["differences"], part, task)
    if not found:
        return ""
    ends = [interval(line["interval_95"]) for line in found]
    values = [known_or_nan(line["difference"]) for line in found]
    axis = Axis.around([*values, *(end for pair in ends for end in pair)], 0.01)
    lines = []
    for line, value, (low, high) in zip(found, values, ends, strict=True):
        called = f"{names(known)[line['row']]} minus {names(known)[line['against']]}"
        cells = [str(line["seeds"]), *points(line)]
        lines.append([text(called), *map(number, cells), axis.mark(value, low, high)])
    head = ["rows", "seeds", "Score, points", "95 % interval", "± seeds", axis.head()]
    return table(head, lines, caption=f"Paired differences, {task}, part {part}")


def side_by_side(cells: Cells, caption: str, about: str) -> str:
    """A table of several columns of the same score; empty without lines."""
    head, lines = cells
    if not lines:
        return ""
    shown = [[text(line[0]), *map(number, map(bold, line[1:]))] for line in lines]
    return f"{table(list(map(text, head)), shown, caption=caption)}\n<p><small>{bold(about)}</small></p>"


def bold(markdown: str) -> str:
    """Text with ``**words**`` as HTML.

    >>> bold("**50.00** < 60")
    '<strong>50.00</strong> &lt; 60'
    """
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text(markdown))


def interval(ends: Sequence[float | None] | None) -> tuple[float, float]:
    """Both ends; NaN where there is none."""
    low, high = ends or (None, None)
    return known_or_nan(low), known_or_nan(high)


def known_or_nan(value: float | None) -> float:
    """NaN stands for what is not there."""
    return math.nan if value is None else value


def origin(known: dict[str, Any]) -> str:
    """Every setting of every row, folded."""
    made = (
        folded(f"Recipe of {row['name']}: settings as stored", listed(flat(row["recipe"]))) for row in known["rows"]
    )
    return "\n".join(["<h2>Where the numbers come from</h2>", *made])
