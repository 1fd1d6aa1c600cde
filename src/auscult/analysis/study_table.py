"""The table of a study, as Markdown for docs and as plain columns for the terminal; made from its record alone.

python -m auscult.analysis.study_table docs/results/studies/NAME.json
"""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from ..runs import read_json
from . import RESEARCH_ONLY
from .study_columns import (
    ABOUT_SELECTIONS,
    ABOUT_SPLITS,
    Cells,
    names,
    of_place,
    selections,
    split_sizes,
    splits,
)
from .tables import empty_table, percent, show, spread

READ = (
    "Mean ± standard deviation over seeds, in %. Differences are row minus other row, in points of Score, over the "
    "seeds that both have. [low, high] is the 95 % interval when patients are resampled, the same for both rows, 2000 "
    'times; "± seeds" is the standard deviation of the difference seed by seed.'
)
READ_MEAN = " The interval of a Score is that of the mean of these seeds, patients resampled in the same way."


def markdown(known: dict[str, Any]) -> str:
    """The whole table of a record: facts, rows, scores, differences, then other selections and splits."""
    blocks = [facts(known), rows(known), how_to_read(known)]
    blocks += [f"**Note.** {note}" for note in known["notes"]]
    for part, about in known["parts"].items():
        title = f"**Part {part}**: {about['cycles']} cycles of {about['patients']} patients"
        blocks += [title, scores(known, part), differences(known, part)]
    for part in known["parts"]:
        blocks += side_by_side(known, part)
    return "\n\n".join(block for block in blocks if block) + "\n"


def how_to_read(known: dict[str, Any]) -> str:
    """What the numbers of the main table are; an earlier version had no interval of the mean."""
    return READ + (READ_MEAN if "views" in known else "")


def side_by_side(known: dict[str, Any], part: str) -> list[str]:
    """Tables of the selections and of the splits, each under its title; none of what there is only one of."""
    blocks = []
    by_selection, by_split = (all_tasks(known, part, cells) for cells in (selections, splits))
    if by_selection:
        blocks += [f"**Selections, part {part}.** {ABOUT_SELECTIONS}", by_selection]
    if by_split:
        blocks += [f"**Splits, part {part}**: {split_sizes(known, part)}. {ABOUT_SPLITS}", by_split]
    return blocks


def all_tasks(known: dict[str, Any], part: str, cells: Callable[[dict[str, Any], str, str], Cells]) -> str:
    """One table of the cells of every task; empty without lines."""
    made = [(task["name"], cells(known, part, task["name"])) for task in known["tasks"]]
    lines = [[task, *line] for task, (_, found) in made for line in found]
    return grid(["task", *made[0][1][0]], lines) if lines else ""


def grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(grid(["a", "b"], [["1", "x|y"]]))
    | a | b |
    | --- | --- |
    | 1 | x\\|y |
    """
    cells = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def facts(known: dict[str, Any]) -> str:
    """What was run, and where."""
    partial = ", with the recordings that are there" if known["partial"] else ""
    lines = [
        ["Study", f"`{known['study']}`, {len(known['rows'])} rows"],
        ["Data set", known["dataset"] + partial],
        ["Seeds", ", ".join(map(str, range(known["seeds"])))],
        ["Command", f"`{known['command']}`"],
        ["Commit", ", ".join(known["where"]["commit"])],
        ["Hardware", "; ".join(known["where"]["hardware"])],
        ["Python", "; ".join(known["where"]["python"])],
        ["Finished", finished_runs(known)],
    ]
    return grid(["", ""], lines)


def finished_runs(known: dict[str, Any]) -> str:
    """How many runs there are, of how many."""
    done = sum(len(row["runs"]) for row in known["rows"])
    return f"{done} of {len(known['rows']) * known['seeds']} runs"


def rows(known: dict[str, Any]) -> str:
    """What each row is; the paper's score stands here, apart from ours."""
    with_paper = bool(known["paper"])
    head = ["row", "recipe", "settings", "epochs", "epoch chosen, by seed", "minutes a run"]
    head += [f"Score in the paper ({known['paper']})"] if with_paper else []
    lines, shown = [], names(known)
    for row in known["rows"]:
        runs = row["runs"]
        chosen = ", ".join(f"s{seed}: {run['epoch']}" for seed, run in runs.items()) or "-"
        minutes = ", ".join(f"{run['train_s'] / 60:.0f}" for run in runs.values()) or "-"
        settings = f"`{shlex.join(row['settings'])}`" if row["settings"] else "as it is"
        line = [shown[row["name"]], f"`{row['recipe']['name']}` ({row['fingerprint']})", settings]
        line += [str(row["recipe"]["epochs"]), f"{chosen} (by {row['recipe']['selection']})", minutes]
        lines.append(line + ([f"{row['paper']:.2f}" if row["paper"] else "-"] if with_paper else []))
    return grid(head, lines)


def scores(known: dict[str, Any], part: str) -> str:
    """Scores of a part: a line for each task and row, with the integers of every seed."""
    head = ["task", "row", "seeds", "Sp", "Se", "Score", *(["95 % interval"] if "views" in known else [])]
    head += ["normal found, by seed", "abnormal found, by seed"]
    by_name = {row["name"]: row["runs"].values() for row in known["rows"]}
    lines, shown = [], names(known)
    for line in known["summary"]:
        if line["part"] != part:
            continue
        found = [run["parts"][part]["scores"][line["task"]] for run in by_name[line["row"]]]
        integers = [of_total(found, "normal"), of_total(found, "abnormal")]
        lines.append([line["task"], shown[line["row"]], str(line["seeds"]), *spreads(line), *integers])
    return grid(head, lines)


def spreads(line: dict[str, Any]) -> list[str]:
    """Sp, Se and Score with their deviations, and the interval of the Score where the record has one."""
    made = [spread(line[name]) for name in ("Sp", "Se", "Score")]
    if "interval_95" not in line:
        return made
    low, high = line["interval_95"] or (None, None)
    return [*made, "-" if low is None else f"[{percent(low)}, {percent(high)}]"]


def of_total(found: Sequence[dict[str, Any]], side: str) -> str:
    """``821, 852, 810 of 1040``; a dash without a run."""
    if not found:
        return "-"
    return f"{', '.join(str(score[f'{side}_correct']) for score in found)} of {found[0][side]}"


def differences(known: dict[str, Any], part: str) -> str:
    """Paired differences of a part; empty where no two rows have a seed in common."""
    head = ["task", "row", "minus", "seeds", "Score, difference", "95 % interval", "± seeds"]
    found, shown = [line for line in known["differences"] if line["part"] == part], names(known)
    lines = [
        [line["task"], shown[line["row"]], shown[line["against"]], str(line["seeds"]), *points(line)] for line in found
    ]
    return grid(head, lines) if lines else ""


def points(line: dict[str, Any]) -> list[str]:
    """A difference, its interval and its spread over seeds, in points."""
    low, high = line["interval_95"]
    interval = "-" if low is None else f"[{signed(low)}, {signed(high)}]"
    return [signed(line["difference"]), interval, percent(line["std_over_seeds"])]


def signed(value: float | None) -> str:
    """Points with their sign; no sign on what rounds to nothing.

    >>> signed(0.0123), signed(-0.0123), signed(-1e-9), signed(None)
    ('+1.23', '-1.23', '0.00', '-')
    """
    if value is None:
        return "-"
    return "0.00" if round(100 * value, 2) == 0 else f"{100 * value:+.2f}"


def print_study(known: dict[str, Any], console: Console) -> None:
    """The scores and differences of a record, in columns, then its selections and splits side by side."""
    if not known["parts"]:
        console.print(f"{known['study']}: no run is finished yet", highlight=False, markup=False)
        return
    places = [(part, task["name"]) for part in known["parts"] for task in known["tasks"]]
    for part, task in places:
        print_task(known, part, task, console)
    if any(selections(known, *place)[1] for place in places):
        console.print(ABOUT_SELECTIONS.replace("in bold", "marked *"), highlight=False, markup=False)
        console.print()
    for part, task in places:
        print_columns(f"{known['dataset']}, part {part}, {task}, Score %", selections(known, part, task), console)
    if any(splits(known, *place)[1] for place in places):
        console.print(ABOUT_SPLITS, highlight=False, markup=False)
        console.print()
    for part, task in places:
        print_columns(f"part {part} ({split_sizes(known, part)}), {task}, Score %", splits(known, part, task), console)
    for line in (how_to_read(known), *(f"note: {note}" for note in known["notes"])):
        console.print(line, highlight=False, markup=False)
    if known["paper"]:
        told = ", ".join(f"{row['name']} {row['paper']:.2f}" for row in known["rows"] if row["paper"])
        console.print(f"the paper's Score ({known['paper']}): {told}", highlight=False, markup=False)
    console.print(f"{finished_runs(known)} finished. {RESEARCH_ONLY}", highlight=False, markup=False)


def print_columns(title: str, cells: Cells, console: Console) -> None:
    """One table of columns side by side; nothing without lines."""
    head, lines = cells
    if not lines:
        return
    table = empty_table()
    table.add_column("row", overflow="fold")
    for name in head[1:]:
        table.add_column(escape(name.replace(" (", "\n(")), justify="right", no_wrap=True)
    for line in lines:
        table.add_row(*(escape(f"*{c.strip('*')}" if c.startswith("**") else c) for c in line))
    show(console, title, table)
    console.print()


def print_task(known: dict[str, Any], part: str, task: str, console: Console) -> None:
    """One task on one part."""
    about, shown = known["parts"][part], names(known)
    table = empty_table()
    table.add_column("row", overflow="fold")
    for name in ("seeds", "Sp", "Se", "Score", *(["[low, high]"] if "views" in known else [])):
        table.add_column(escape(name), justify="right", no_wrap=True)
    for line in of_place(known["summary"], part, task):
        table.add_row(escape(shown[line["row"]]), str(line["seeds"]), *map(escape, spreads(line)))
    title = f"{known['dataset']}, part {part} ({about['cycles']} cycles of {about['patients']} patients), {task}, %"
    show(console, title, table)
    console.print()
    found = of_place(known["differences"], part, task)
    if not found:
        return
    table = empty_table()
    for name in ("row", "minus"):
        table.add_column(name, overflow="fold")
    for name in ("Score", "[low, high]", "± seeds"):
        table.add_column(escape(name), justify="right", no_wrap=True)
    for line in found:
        table.add_row(escape(shown[line["row"]]), escape(shown[line["against"]]), *map(escape, points(line)))
    console.print(table)
    console.print()


def main(files: Sequence[str]) -> None:
    """Prints the Markdown of stored records."""
    for file in files:
        print(markdown(read_json(Path(file))), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
