"""Columns of a study side by side, the cells of them: the selections of the epoch, and the splits.

The main table is of each row's own choice; these say what another would have said. Means and deviations as there.
"""

from typing import Any

from ..study import SELECTIONS
from .results import BEST_ON_TEST
from .tables import spread

Cells = tuple[list[str], list[list[str]]]  # head, lines
ABOUT_SELECTIONS = (
    "Score at the epoch of each selection; the one that a recipe chooses by, which the tables above are of, in bold. "
    f"best_on_test is the {BEST_ON_TEST}, and is no estimate of the Score on unseen patients."
)
ABOUT_SPLITS = (
    "Score of the same runs on the test of each split. clean leaves the test cycles of patients on both sides out. "
    "strict moves their training cycles to the test, so its rows were trained anew, without them."
)


def marked(selection: str) -> str:
    """What stands behind every number whose epoch was chosen on the test set; nothing behind others.

    >>> marked("best_on_test"), marked("validation")
    (' (literature protocol)', '')
    """
    return f" ({BEST_ON_TEST.partition(':')[0]})" if selection == "best_on_test" else ""


def names(known: dict[str, Any]) -> dict[str, str]:
    """Row -> what it is called in tables: its name, marked where its own epoch was chosen on the test set."""
    return {row["name"]: row["name"] + marked(row["recipe"]["selection"]) for row in known["rows"]}


def selections(known: dict[str, Any], part: str, task: str) -> Cells:
    """Head and lines of the table row x selection; no line where no run was scored by another selection than its own.

    Records without views have none.
    """
    own = {row["name"]: row["recipe"]["selection"] for row in known["rows"]}
    found = {(own[line["row"]], line["row"]): line for line in of_place(known["summary"], part, task)}
    alone = len(found)
    for view in known.get("views", ()):
        if view["selection"] is not None:
            there = [line for line in of_place(view["summary"], part, task) if line["seeds"]]  # the others are its own
            found |= {(view["selection"], line["row"]): line for line in there}
    found = {place: line for place, line in found.items() if line["seeds"]}
    shown = [name for name in SELECTIONS if any(name == selection for selection, _ in found)]
    lines = []
    for row, choice in own.items() if len(found) > alone else ():
        cells = [cell(found.get((name, row)), found.get((choice, row))) for name in shown]
        lines.append([row, *(f"**{c}**" if name == choice else c for name, c in zip(shown, cells, strict=True))])
    return ["row", *(name + marked(name) for name in shown)], lines


def splits(known: dict[str, Any], part: str, task: str) -> Cells:
    """Head and lines of the table row x split; no line where only one split was scored."""
    views = [view for view in known.get("views", ()) if view["split"] is not None and part in view["parts"]]
    official = [row["name"] for row in known["rows"] if row["recipe"]["split"] == "official"]
    own = {line["row"]: line for line in of_place(known["summary"], part, task) if line["row"] in official}
    columns = {view["split"]: {line["row"]: line for line in of_place(view["summary"], part, task)} for view in views}
    head, lines = ["row", "official", *columns], []
    for row, shown in names(known).items() if views else ():
        cells = [cell(column.get(row), own.get(row)) for column in (own, *columns.values())]
        lines.append([shown, *cells])
    return head, lines


def split_sizes(known: dict[str, Any], part: str) -> str:
    """``official 2756 cycles of 49 patients, clean ...``."""
    views = [view for view in known.get("views", ()) if view["split"] is not None and part in view["parts"]]
    sizes = {"official": known["parts"][part]} | {view["split"]: view["parts"][part] for view in views}
    return ", ".join(f"{name} {size['cycles']} cycles of {size['patients']} patients" for name, size in sizes.items())


def of_place(lines: list[dict[str, Any]], part: str, task: str) -> list[dict[str, Any]]:
    """The lines of one part and task."""
    return [line for line in lines if (line["part"], line["task"]) == (part, task)]


def cell(line: dict[str, Any] | None, own: dict[str, Any] | None) -> str:
    """Mean and deviation of the Score; the number of seeds too where it is not that of the main table."""
    if line is None or not line["seeds"]:
        return "-"
    fewer = own is not None and own["seeds"] != line["seeds"]
    return spread(line["Score"]) + (f" ({line['seeds']} of {own['seeds']} seeds)" if fewer and own else "")
