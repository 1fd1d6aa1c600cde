"""How far a score may be trusted: intervals that resample patients, not cycles.

Cycles of one patient resemble each other; an interval that treats them as independent is too narrow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .metrics import Task, in_task_classes


def score_interval(
    by_patient: NDArray[np.int64], task: Task, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a task's Score over patients.

    Args:
        by_patient: (P, K, K) confusion matrices as `metrics.task_confusion` makes them, one a patient.
        level: coverage asked for.

    Returns:
        Lower and upper end as fractions of 1; both NaN with fewer than two patients or one side without cycles.

    Source: Efron & Tibshirani 1993, chapter 13, with the patient as the unit that is drawn.
    """
    if len(by_patient) < 2:
        return float("nan"), float("nan")
    counts = task_counts(by_patient, task)
    if not counts[1].sum() or not counts[3].sum():
        return float("nan"), float("nan")

    def score(drawn: NDArray[np.intp], axis: int = -1) -> NDArray[np.float64]:
        sums = counts[:, drawn].sum(axis=axis)
        return _score(sums, task.formula)

    patients = np.arange(len(by_patient))
    found = stats.bootstrap(
        (patients,),
        score,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def task_counts(by_patient: NDArray[np.int64], task: Task) -> NDArray[np.int64]:
    """Normal cycles found, normal cycles, abnormal cycles found and abnormal cycles of every patient. Shape: (4, P).

    Args:
        by_patient: (P, K, K) confusion matrices as `metrics.task_confusion` makes them, one a patient.
    """
    grouped = np.stack([in_task_classes(k, task) for k in by_patient])
    return np.stack(
        [
            grouped[:, 0, 0],
            grouped[:, 0].sum(axis=1),
            np.trace(grouped[:, 1:, 1:], axis1=1, axis2=2),
            grouped[:, 1:].sum(axis=(1, 2)),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Score of one system minus that of another on the same cycles, as fractions of 1.

    Args:
        difference: of the Scores' means over seeds.
        low: lower end of the interval over patients; NaN where there is none.
        high: upper end.
        seed_std: standard deviation (n - 1) over seeds of the difference seed by seed; NaN with one seed.
        seeds: how many seeds both systems have.
    """

    difference: float
    low: float
    high: float
    seed_std: float
    seeds: int


def paired_difference(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    formula: str,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Paired:
    """Score of `second` minus Score of `first`, with a percentile bootstrap interval over patients.

    Each resample draws the patients once for both systems and all their seeds, scores every seed, and takes the
    difference of the two means. So the interval says what other patients would change, not what other seeds would;
    that is `Paired.seed_std`.

    Args:
        first: (S, 4, P) counts as `task_counts` gives them, one a seed.
        second: the same seeds and patients.
        formula: of the Score, see `metrics.Task`.
        level: coverage asked for.

    Raises:
        ValueError: other shapes, or other cycles.

    Source: Efron & Tibshirani 1993, chapters 8 and 13, with the patient as the unit that is drawn.
    """
    if first.shape != second.shape or first.ndim != 3 or first.shape[1] != 4 or not len(first):
        raise ValueError(f"counts of shape {first.shape} and {second.shape}; two equal (S, 4, P) are needed")
    if not (np.array_equal(first[:, 1::2], second[:, 1::2]) and (first[:, 1::2] == first[:1, 1::2]).all()):
        raise ValueError("the systems, or their seeds, were scored on different cycles")
    nan = float("nan")
    normal, abnormal = first[0, 1].sum(), first[0, 3].sum()
    if not normal or not abnormal:
        return Paired(difference=nan, low=nan, high=nan, seed_std=nan, seeds=len(first))
    by_seed = _score(second.sum(axis=2).T, formula) - _score(first.sum(axis=2).T, formula)
    low, high = nan, nan
    if first.shape[2] > 1:
        times = multiplicities(first.shape[2], resamples, seed)
        means = [_score((counts @ times.T).swapaxes(0, 1), formula).mean(axis=0) for counts in (first, second)]
        low, high = np.quantile(means[1] - means[0], [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Paired(
        difference=float(by_seed.mean()),
        low=low,
        high=high,
        seed_std=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else nan,
        seeds=len(by_seed),
    )


def multiplicities(patients: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each patient is drawn in each resample, with replacement. Shape: (R, P).

    >>> multiplicities(5, 3, seed=0).sum(axis=1).tolist()
    [5, 5, 5]
    """
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=resamples)


def _score(sums: NDArray[np.int64], formula: str) -> NDArray[np.float64]:
    """Score from (normal correct, normal, abnormal correct, abnormal); a resample without one side counts it as 0."""
    sp, se = sums[0] / np.maximum(sums[1], 1), sums[2] / np.maximum(sums[3], 1)
    average = (sp + se) / 2
    if formula == "icbhi":
        return average
    harmonic = 2 * sp * se / np.maximum(sp + se, 1e-12)
    return (average + harmonic) / 2
