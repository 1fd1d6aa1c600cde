"""Shift reports of scored runs: of one run for every part and task, of several side by side for one of each."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AuscultError, unknown
from ..metrics import Task
from ..runs import read_json, write_text
from .compare import about_recipe, runs_in, with_own_names
from .shift import Line, Shift, System, measured
from .spreadsheet import csv_text
from .study_counts import Scored, read_predictions
from .verify_run import tasks_of

GROUP = ("by", "group", "from", "to", "cycles", "patients", "normal", "abnormal")
VALUE = ("measure", "value", "std_over_seeds", "low_95", "high_95")
DIFFERENCE = ("rest", "difference", "difference_low_95", "difference_high_95", "flagged")
HEADER = ("system", "seeds", "part", "task", *GROUP, *VALUE, *DIFFERENCE)


def shift(inputs: Sequence[Path], *, part: str | None = None, task: str | None = None, on: str | None = None) -> Shift:
    """The shift report of scored runs, side by side.

    Args:
        inputs: run folders, or folders that hold run folders.
        part: which part; the first that was scored without it.
        task: name of the task; the one of most classes without it.
        on: ending of the files of another data set: ``sprsound`` for scores_sprsound.json.

    Raises:
        AuscultError: E_RUN for runs without these files or scored on other cycles; E_SETTING for an unknown part or
            task.
    """
    ending = f"_{on}" if on else ""
    folders = list(dict.fromkeys(run for path in inputs for run in runs_in(path, f"scores{ending}.json")))
    told = {run: read_json(run / f"scores{ending}.json") for run in folders}
    first = told[folders[0]]
    tasks = {t.name: t for t in tasks_of(first)}
    chosen = task or max(tasks, key=lambda name: len(tasks[name].classes))
    wanted = part or next(iter(first["parts"]))
    for kind, name, there in (("task", chosen, tasks), ("part", wanted, first["parts"])):
        if name not in there:
            raise unknown(kind, name, there)
    return of_systems(tuple(gathered(told, ending, wanted)), first, wanted, tasks[chosen])


def of_systems(systems: tuple[System, ...], told: dict[str, Any], part: str, task: Task) -> Shift:
    """The report of systems on one part and task.

    Args:
        told: scores.json of one of their runs.
    """
    new = told.get("out_of_domain")
    words = f", out of domain, label map {new['label_map']['name']}" if new else ""
    where = f"{told['dataset']}, {told['split']} split{words}, part {part}"
    lines, remarks = measured(systems, task)
    return Shift(where=where, part=part, task=task, systems=systems, lines=lines, remarks=remarks)


def gathered(told: dict[Path, dict[str, Any]], ending: str, part: str) -> Iterator[System]:
    """The systems, in the order of their first run.

    Raises:
        AuscultError: E_RUN for runs that were scored on other cycles than the first.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    first: Scored | None = None
    for run, scores in told.items():
        scored = read_predictions(run / f"predictions{ending}.csv", scores["classes"]).get(part)
        first = first or scored
        if scored is None or first is None or (scored.key, scored.truth.tolist()) != (first.key, first.truth.tolist()):
            raise AuscultError(
                "E_RUN",
                f"{run} and {next(iter(told))} were scored on other cycles; `auscult evaluate` both on the same.",
            )
        about = about_recipe(run, scores)
        mark = (about["fingerprint"], scores["facts"]["selection"])
        row = rows.setdefault(mark, about | {"seeds": [], "runs": []})
        row["seeds"].append(scores["facts"]["seed"])
        row["runs"].append(scored)
    for row in with_own_names(rows):
        yield System(name=row["name"], seeds=tuple(row["seeds"]), runs=tuple(row["runs"]))


def run_shifts(told: dict[str, Any], parts: dict[str, Scored]) -> Iterator[Shift]:
    """The report of one run on every part and task.

    Args:
        told: its scores.json.
        parts: its predictions.csv.
    """
    name, seeds = told["recipe"]["name"], (int(told["facts"]["seed"]),)
    for part, scored in parts.items():
        for task in tasks_of(told):
            yield of_systems((System(name=name, seeds=seeds, runs=(scored,)),), told, part, task)


def write_run_shift(out: Path, ending: str = "") -> Path:
    """Writes shift.csv beside the scores and predictions of a run, made of these two alone; gives its place."""
    told = read_json(out / f"scores{ending}.json")
    parts = read_predictions(out / f"predictions{ending}.csv", told["classes"])
    file = out / f"shift{ending}.csv"
    write_text(file, table(run_shifts(told, parts)))
    return file


def table(shifts: Iterator[Shift] | Sequence[Shift]) -> str:
    """Every line as CSV; shares of 1, an empty cell has no value, ``flagged`` is yes or empty."""
    return csv_text(HEADER, [cells(found, line) for found in shifts for line in found.lines])


def cells(found: Shift, line: Line) -> list[Any]:
    """One row of shift.csv."""
    seeds = next(" ".join(map(str, s.seeds)) for s in found.systems if s.name == line.system)
    what = [line.system, seeds, found.part, found.task.name, line.by, line.group]
    numbers = [*map(shown, line.ends), *line.counts, line.measure]
    value = [line.value, line.spread, *line.interval, line.rest, line.difference, *line.difference_interval]
    return [*what, *numbers, *map(shown, value), "yes" if line.flagged else ""]


def shown(value: float) -> float | str:
    """Six digits; nothing for NaN."""
    return "" if np.isnan(value) else float(f"{value:.6g}")


def write(out: Path, found: Shift) -> list[Path]:
    """Writes the figure as PNG and PDF, its caption, and the table; gives their places."""
    from .shift_figure import caption, figure
    from .spectral_figure import save

    made = save(figure(found), out / "shift")
    write_text(out / "shift.md", f"{caption(found)}\n")
    write_text(out / "shift.csv", table([found]))
    return [*made, out / "shift.md", out / "shift.csv"]
