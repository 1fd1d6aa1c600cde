"""Where a Score comes from: recall of every class, and the Score by audio quality and by duration of the cycle.

Made from scores.json and predictions.csv of scored runs: no audio, no network. Runs of one recipe with several seeds
are one system, whose numbers are means over the seeds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AuscultError, unknown
from ..metrics import Task, in_task_classes, patient_confusions, task_confusion
from ..runs import read_json, write_text
from ..statistics import (
    multiplicities,
    percentile_ends,
    resampled,
    resampled_scores,
    task_counts,
    whole_scores,
    wilson,
)
from .compare import about_recipe, runs_in, with_own_names
from .spreadsheet import csv_text
from .study_counts import Scored, read_predictions
from .verify_run import tasks_of

GROUPS = 10  # deciles
RESAMPLES = 2000
FEW = 10  # normal or abnormal cycles, below which a Score has no interval worth drawing
HEADER = ("system", "seeds", "part", "task", "by", "group", "from", "to", "cycles", "normal", "abnormal")
MEASURES = ("measure", "value", "std_over_seeds", "low_95", "high_95")


@dataclass(frozen=True, kw_only=True)
class System:
    """Runs of one recipe, scored on the same cycles.

    Args:
        name: of the recipe.
        seeds: one a run.
        runs: predictions of one part, one a seed.
    """

    name: str
    seeds: tuple[int, ...]
    runs: tuple[Scored, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One number of one system at some of the cycles, as a fraction of 1.

    Args:
        by: ``class``, ``quality`` or ``duration``.
        group: name of the class; or number of the tenth, 1 for the lowest.
        ends: lowest and highest value in the group; NaN for a class.
        counts: cycles, normal ones, abnormal ones.
        measure: ``recall``, ``Sp``, ``Se`` or ``Score``.
        value: mean over the seeds; NaN where there is no such cycle.
        spread: standard deviation (n - 1) over the seeds; NaN with one.
        interval: 95 %: Wilson's for a recall, Sp and Se; of a Score from resampled patients, NaN where it is of `few`.
    """

    system: str
    by: str
    group: str
    ends: tuple[float, float]
    counts: tuple[int, int, int]
    measure: str
    value: float
    spread: float
    interval: tuple[float, float]

    @property
    def few(self) -> bool:
        """A Score of fewer than `FEW` normal or abnormal cycles."""
        return self.measure == "Score" and min(self.counts[1:]) < FEW


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """What the figure shows and the table holds.

    Args:
        where: data set, split and part in words.
        remarks: what could not be shown, and why.
    """

    where: str
    part: str
    task: Task
    systems: tuple[System, ...]
    lines: tuple[Line, ...]
    remarks: tuple[str, ...]

    def of(self, system: str, by: str, measure: str) -> list[Line]:
        """The lines of a panel."""
        return [line for line in self.lines if (line.system, line.by, line.measure) == (system, by, measure)]


def breakdown(
    inputs: Sequence[Path], *, part: str | None = None, task: str | None = None, on: str | None = None
) -> Breakdown:
    """The breakdown of scored runs, side by side.

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
    systems = tuple(gathered(told, ending, wanted))
    lines, remarks = measured(systems, tasks[chosen])
    new = f", out of domain, label map {first['out_of_domain']['label_map']['name']}" if on else ""
    where = f"{first['dataset']}, {first['split']} split{new}, part {wanted}"
    return Breakdown(where=where, part=wanted, task=tasks[chosen], systems=systems, lines=lines, remarks=remarks)


def gathered(told: dict[Path, dict[str, Any]], ending: str, part: str) -> Iterator[System]:
    """The systems, in the order of their first run.

    Raises:
        AuscultError: E_RUN for runs that were scored on other cycles than the first.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    cycles = None
    for run, scores in told.items():
        parts = read_predictions(run / f"predictions{ending}.csv", scores["classes"])
        same = part in parts and (cycles is None or (parts[part].key, parts[part].truth.tolist()) == cycles)
        if not same:
            raise AuscultError(
                "E_RUN",
                f"{run} and {next(iter(told))} were scored on other cycles; `auscult evaluate` both on the same.",
            )
        cycles = parts[part].key, parts[part].truth.tolist()
        about = about_recipe(run, scores)
        mark = (about["fingerprint"], scores["facts"]["selection"])
        row = rows.setdefault(mark, about | {"seeds": [], "runs": []})
        row["seeds"].append(scores["facts"]["seed"])
        row["runs"].append(parts[part])
    for row in with_own_names(rows):
        yield System(name=row["name"], seeds=tuple(row["seeds"]), runs=tuple(row["runs"]))


def measured(systems: Sequence[System], task: Task) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """Every line of every system, and remarks on what is missing."""
    lines = [line for system in systems for line in class_lines(system, task)]
    remarks = []
    all_runs = [scored for system in systems for scored in system.runs]
    qualities = [scored.quality for scored in all_runs if np.isfinite(scored.quality).any()]
    values = {"duration": all_runs[0].duration_s}
    if qualities:
        values = {"quality": qualities[0], **values}
    else:
        remarks.append(
            "predictions.csv has no audio quality, as written by an earlier version or for a model that hears nothing: "
            "no Score by quality; `auscult evaluate` writes it anew."
        )
    for by, value in values.items():
        lines += [line for system in systems for line in group_lines(system, task, by, value)]
    return tuple(lines), tuple(remarks)


def class_lines(system: System, task: Task) -> Iterator[Line]:
    """The recall of every class of the task."""
    matrices = [in_task_classes(task_confusion(s.truth, s.probabilities, task), task) for s in system.runs]
    for i, name in enumerate(task.classes):
        n = int(matrices[0][i].sum())
        recalls = np.array([k[i, i] / n if n else np.nan for k in matrices])
        value = float(recalls.mean())
        yield Line(
            system=system.name,
            by="class",
            group=name,
            ends=(np.nan, np.nan),
            counts=(n, n if i == 0 else 0, 0 if i == 0 else n),
            measure="recall",
            value=value,
            spread=deviation(recalls),
            interval=wilson(value * n, n),
        )


def group_lines(system: System, task: Task, by: str, value: NDArray[np.float64]) -> Iterator[Line]:
    """Score, Sp and Se of the task in each tenth of the cycles, from the lowest value to the highest."""
    for number, rows in enumerate(tenths(value), start=1):
        counts = np.stack([patient_counts(scored, rows, task) for scored in system.runs])
        ends = float(value[rows].min()), float(value[rows].max())
        sides = counts.sum(axis=2)
        normal, abnormal = int(sides[0, 1]), int(sides[0, 3])
        found = {
            "Score": whole_scores(counts, task.formula),
            "Sp": sides[:, 0] / normal if normal else np.full(len(sides), np.nan),
            "Se": sides[:, 2] / abnormal if abnormal else np.full(len(sides), np.nan),
        }
        intervals = {
            "Score": score_ends(counts, task.formula) if min(normal, abnormal) >= FEW else (np.nan, np.nan),
            "Sp": wilson(float(sides[:, 0].mean()), normal),
            "Se": wilson(float(sides[:, 2].mean()), abnormal),
        }
        for measure, values in found.items():
            yield Line(
                system=system.name,
                by=by,
                group=str(number),
                ends=ends,
                counts=(len(rows), normal, abnormal),
                measure=measure,
                value=float(values.mean()),
                spread=deviation(values),
                interval=intervals[measure],
            )


def tenths(value: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Rows in ten groups of equal size, from the lowest value to the highest; NaN belongs to none.

    >>> [rows.tolist() for rows in tenths(np.array([3.0, np.nan, 1.0, 2.0]))]
    [[2], [3], [0]]
    """
    ordered = np.argsort(value, kind="stable")[: np.isfinite(value).sum()]
    return [rows for rows in np.array_split(ordered, GROUPS) if len(rows)]


def patient_counts(scored: Scored, rows: NDArray[np.int64], task: Task) -> NDArray[np.int64]:
    """(4, P) counts of some cycles; see `statistics.task_counts`."""
    p, truth, patient = scored.probabilities[rows], scored.truth[rows], scored.patient[rows]
    return task_counts(patient_confusions(truth, p, patient, task), task)


def score_ends(counts: NDArray[np.int64], formula: str) -> tuple[float, float]:
    """95 % interval of the mean Score over the seeds, patients resampled; (S, 4, P) counts.

    A tenth of the cycles may have few patients with abnormal ones: a resample that draws none of them has no Score.
    """
    if counts.shape[2] < 2:
        return float("nan"), float("nan")
    times = multiplicities(counts.shape[2], RESAMPLES, 0)
    both_sides = (resampled(counts[0, 1::2], times) > 0).all(axis=0)
    return percentile_ends(resampled_scores(counts, formula, times[both_sides]).mean(axis=0), 0.95)


def deviation(values: NDArray[np.float64]) -> float:
    """Standard deviation (n - 1); NaN with one value."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def table(found: Breakdown) -> str:
    """Every line as CSV; percentages stay fractions, an empty cell has no value."""
    seeds = {system.name: " ".join(map(str, system.seeds)) for system in found.systems}

    def cells(line: Line) -> list[Any]:
        what = [line.system, seeds[line.system], found.part, found.task.name, line.by, line.group]
        numbers = [*map(shown, line.ends), *line.counts, line.measure]
        return [*what, *numbers, *map(shown, (line.value, line.spread, *line.interval))]

    return csv_text([*HEADER, *MEASURES], map(cells, found.lines))


def shown(value: float) -> float | str:
    """Six digits; nothing for NaN."""
    return "" if np.isnan(value) else float(f"{value:.6g}")


def write(out: Path, found: Breakdown) -> list[Path]:
    """Writes the figure as PNG and PDF, its caption, and the table; gives their places."""
    from .breakdown_figure import caption, figure
    from .spectral_figure import save

    made = save(figure(found), out / "breakdown")
    write_text(out / "breakdown.md", f"{caption(found)}\n")
    write_text(out / "breakdown.csv", table(found))
    return [*made, out / "breakdown.md", out / "breakdown.csv"]
