"""What a Score hides: how it differs between devices, chest sites, ages, sexes, bandwidths, qualities and durations.

Everything follows from the predictions of scored runs. Each group of cycles stands against the rest, the cycles whose
value is known and that are not in it. Runs of one recipe with several seeds are one system: means over the seeds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..metrics import Task, in_task_classes, patient_confusions, task_confusion
from ..statistics import multiplicities, percentile_ends, resampled, resampled_scores, task_counts, wilson
from .study_counts import Scored

TENTHS = 10
RESAMPLES = 2000
MIN_CYCLES, MIN_PATIENTS = 10, 5  # of a side, in a group and in its rest: below, resampled patients say nothing
NAN2 = (float("nan"), float("nan"))
NAMED = ("device", "site", "sex")  # the values of these are groups
Band = tuple[str, float, float]
# Source: ICH E11(R1), ages of children; ICH E7, 65 years; from `low` to below `high`
AGES: tuple[Band, ...] = (
    ("under 2 years", -np.inf, 2.0),
    ("2 to 11 years", 2.0, 12.0),
    ("12 to 17 years", 12.0, 18.0),
    ("18 to 64 years", 18.0, 65.0),
    ("65 years and over", 65.0, np.inf),
)
# above `low` up to `high`: a file of 4 kHz ends at 2 kHz
BANDWIDTHS: tuple[Band, ...] = (
    ("up to 1 kHz", -np.inf, 1000.0),
    ("1 to 2 kHz", 1000.0, 2000.0),
    ("2 to 4 kHz", 2000.0, 4000.0),
    ("over 4 kHz", 4000.0, np.inf),
)
KINDS = {
    "device": "device",
    "site": "chest site",
    "age": "age",
    "sex": "sex",
    "bandwidth": "bandwidth",
    "quality": "tenth by audio quality",
    "duration": "tenth by duration",
}


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
class Group:
    """Some of the cycles of a part.

    Args:
        by: one of `KINDS`, or ``all``.
        name: the value, the band, or the number of the tenth, 1 for the lowest.
        rows: its cycles.
        known: all cycles whose value is known.
        ends: lowest and highest value; NaN where values are names.
    """

    by: str
    name: str
    rows: NDArray[np.int64]
    known: NDArray[np.int64]
    ends: tuple[float, float] = NAN2


@dataclass(frozen=True, kw_only=True)
class Line:
    """One number of one system at some of the cycles, as a fraction of 1.

    Args:
        by: one of `KINDS`, ``class``, or ``all`` for every cycle.
        group: name of the group, or of the true class.
        ends: see `Group`.
        counts: cycles, patients, normal cycles, abnormal ones.
        measure: ``Sp``, ``Se`` or ``Score``; ``recall`` of a class.
        value: mean over the seeds; NaN where there is no such cycle.
        spread: standard deviation (n - 1) over the seeds; NaN with one.
        interval: 95 %, patients resampled; Wilson's for a recall.
        rest: the measure on the rest; NaN where there is none.
        difference: the group minus its rest.
        difference_interval: 95 %, patients resampled, once for both; NaN where either has fewer than 10 cycles or
            5 patients behind the measure.
    """

    system: str
    by: str
    group: str
    ends: tuple[float, float] = NAN2
    counts: tuple[int, int, int, int]
    measure: str
    value: float
    spread: float
    interval: tuple[float, float]
    rest: float = float("nan")
    difference: float = float("nan")
    difference_interval: tuple[float, float] = NAN2

    @property
    def flagged(self) -> bool:
        """Whether the interval of the difference leaves 0 out. By chance one in twenty does."""
        low, high = self.difference_interval
        return low > 0 or high < 0


@dataclass(frozen=True, kw_only=True)
class Shift:
    """The lines of some systems on one part and task.

    Args:
        where: data set, split and part in words.
        remarks: what could not be shown, and why.
    """

    where: str
    part: str
    task: Task
    systems: tuple[System, ...]
    lines: tuple[Line, ...]
    remarks: tuple[str, ...] = field(default=())

    def of(self, system: str, by: str, measure: str) -> list[Line]:
        """The lines of one kind of groups."""
        return [line for line in self.lines if (line.system, line.by, line.measure) == (system, by, measure)]


def measured(systems: Sequence[System], task: Task) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """Every line of every system, and remarks on what is not known."""
    groups, missing = groups_of([scored for system in systems for scored in system.runs])
    every = np.arange(len(systems[0].runs[0].truth))
    whole = Group(by="all", name="all cycles", rows=every, known=every)
    lines = [line for system in systems for line in group_lines(system, whole, task, all_counts(system, every, task))]
    lines += [line for system in systems for line in class_lines(system, task)]
    for by in dict.fromkeys(group.by for group in groups):
        own = [group for group in groups if group.by == by]
        known = [all_counts(system, own[0].known, task) for system in systems]
        for group in own:
            for system, counts in zip(systems, known, strict=True):
                lines += group_lines(system, group, task, counts)
    if not missing:
        return tuple(lines), ()
    return tuple(lines), (
        f"Not known of these cycles: {', '.join(missing)}. The data set does not say, the model hears nothing, or an "
        "earlier version wrote predictions.csv: `auscult evaluate` writes it anew.",
    )


def groups_of(runs: Sequence[Scored]) -> tuple[list[Group], list[str]]:
    """The groups of the cycles that these runs share, and the kinds of which nothing is known.

    A value is taken from the first run whose file has it: one that hears nothing has no quality.
    """
    found: list[Group] = []
    for by in KINDS:
        column = {"age": "age_years", "bandwidth": "bandwidth_hz", "duration": "duration_s"}.get(by, by)
        values = [getattr(scored, column) for scored in runs]
        for value in values:
            if len(made := list(grouped(by, value))):
                found += made
                break
    there = {group.by for group in found}
    return found, [KINDS[by].removeprefix("tenth by ") for by in KINDS if by not in there]


def grouped(by: str, value: NDArray) -> Iterator[Group]:
    """The groups of one kind that have cycles; none where no value is known."""
    if by in NAMED:
        known = np.flatnonzero(value != "")
        for name in np.unique(value[known]):
            yield Group(by=by, name=str(name), rows=np.flatnonzero(value == name), known=known)
        return
    known = np.flatnonzero(np.isfinite(value))
    if by == "age":
        chosen = [(name, np.flatnonzero((value >= low) & (value < high))) for name, low, high in AGES]
    elif by == "bandwidth":
        chosen = [(name, np.flatnonzero((value > low) & (value <= high))) for name, low, high in BANDWIDTHS]
    else:
        chosen = [(str(number), rows) for number, rows in tenths(value).items()]
    for name, rows in chosen:
        if len(rows):
            ends = float(value[rows].min()), float(value[rows].max())
            yield Group(by=by, name=name, rows=rows, known=known, ends=ends)


def tenths(value: NDArray[np.float64]) -> dict[int, NDArray[np.int64]]:
    """Number of a tenth, 1 for the lowest -> its rows, by the share of cycles whose value is lower.

    Equal values stay together, so a tenth may be larger and those after it empty, which are left out; NaN is in none.

    >>> {number: rows.tolist() for number, rows in tenths(np.array([3.0, np.nan, 1.0, 3.0, 2.0])).items()}
    {1: [2], 3: [4], 6: [0, 3]}
    """
    ordered = np.sort(value[np.isfinite(value)])
    number = np.where(np.isfinite(value), TENTHS * np.searchsorted(ordered, value) // max(len(ordered), 1) + 1, 0)
    return {n: np.flatnonzero(number == n) for n in range(1, TENTHS + 1) if (number == n).any()}


def class_lines(system: System, task: Task) -> Iterator[Line]:
    """The recall of every class of the task."""
    matrices = [in_task_classes(task_confusion(s.truth, s.probabilities, task), task) for s in system.runs]
    first = system.runs[0]
    for i, name in enumerate(task.classes):
        n = int(matrices[0][i].sum())
        patients = len(np.unique(first.patient[np.asarray(task.mapping)[first.truth] == i]))
        recalls = np.array([k[i, i] / n if n else np.nan for k in matrices])
        value = float(recalls.mean())
        yield Line(
            system=system.name,
            by="class",
            group=name,
            counts=(n, patients, n if i == 0 else 0, 0 if i == 0 else n),
            measure="recall",
            value=value,
            spread=deviation(recalls),
            interval=wilson(value * n, n),
        )


def group_lines(system: System, group: Group, task: Task, known: NDArray[np.int64]) -> Iterator[Line]:
    """Score, Sp and Se of a group and of its rest.

    Args:
        known: `all_counts` of the cycles whose value is known.
    """
    own = all_counts(system, group.rows, task)
    rest = known - own
    times = multiplicities(own.shape[2], RESAMPLES, 0)
    drawn = [by_measure(counts, task.formula, times) for counts in (own, rest)]
    whole = [by_measure(counts, task.formula, np.ones((1, own.shape[2]), np.int64)) for counts in (own, rest)]
    enough = [resolved(counts[0]) for counts in (own, rest)]
    normal, abnormal = (int(own[0, side].sum()) for side in (1, 3))
    patients = int((own[0, 1::2].sum(axis=0) > 0).sum())
    for measure in ("Score", "Sp", "Se"):
        values, others = (found[measure][:, 0] for found in whole)
        draws, other_draws = (found[measure].mean(axis=0) for found in drawn)
        both = enough[0][measure] and enough[1][measure]
        yield Line(
            system=system.name,
            by=group.by,
            group=group.name,
            ends=group.ends,
            counts=(len(group.rows), patients, normal, abnormal),
            measure=measure,
            value=float(values.mean()),
            spread=deviation(values),
            interval=ends(draws) if patients > 1 else NAN2,
            rest=float(others.mean()),
            difference=float(values.mean() - others.mean()),
            difference_interval=ends(draws - other_draws) if both else NAN2,
        )


def all_counts(system: System, rows: NDArray[np.int64], task: Task) -> NDArray[np.int64]:
    """`patient_counts` of every run. Shape: (S, 4, P)."""
    return np.stack([patient_counts(scored, rows, task) for scored in system.runs])


def patient_counts(scored: Scored, rows: NDArray[np.int64], task: Task) -> NDArray[np.int64]:
    """(4, P) counts of some cycles for all patients of the part; see `statistics.task_counts`."""
    names, owner = np.unique(scored.patient, return_inverse=True)
    made = np.zeros((4, len(names)), np.int64)
    if len(rows):
        k = patient_confusions(scored.truth[rows], scored.probabilities[rows], scored.patient[rows], task)
        made[:, np.unique(owner[rows])] = task_counts(k, task)
    return made


def by_measure(counts: NDArray[np.int64], formula: str, times: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Score, Sp and Se of every seed over patients taken `times` (R, P), each (S, R); NaN where a side has no cycle."""
    sums = resampled(counts, times)
    found, there = sums[:, 0::2], sums[:, 1::2]
    sides = np.divide(found, there, out=np.full(found.shape, np.nan), where=there > 0)
    both = ~np.isnan(sides).any(axis=1)
    return {
        "Score": np.where(both, resampled_scores(counts, formula, times), np.nan),
        "Sp": sides[:, 0],
        "Se": sides[:, 1],
    }


def resolved(counts: NDArray[np.int64]) -> dict[str, bool]:
    """Whether enough cycles and patients stand behind each measure; (4, P) counts."""
    sp, se = (side.sum() >= MIN_CYCLES and (side > 0).sum() >= MIN_PATIENTS for side in counts[1::2])
    return {"Score": bool(sp and se), "Sp": bool(sp), "Se": bool(se)}


def ends(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval from the resamples that have a value: those that drew none of the few patients of a side do not."""
    return percentile_ends(drawn[~np.isnan(drawn)], 0.95)


def deviation(values: NDArray[np.float64]) -> float:
    """Standard deviation (n - 1); NaN with one value."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
