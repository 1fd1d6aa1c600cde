"""How far a score may be trusted: intervals that resample patients, not cycles, and what several tests together prove.

Cycles of one patient resemble each other; an interval that treats them as independent is too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics import Task, in_task_classes


def score_interval(
    by_patient: NDArray[np.int64], task: Task, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a task's Score over patients; see `counts_interval`.

    Args:
        by_patient: (P, K, K) confusion matrices as `metrics.patient_confusions` makes them, one a patient.
        level: coverage asked for.
    """
    return counts_interval(task_counts(by_patient, task), task.formula, level, resamples, seed)


def counts_interval(
    counts: NDArray[np.int64], formula: str, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a Score over patients: `mean_interval` of one run, its counts (4, P)."""
    return mean_interval(counts[None], formula, level, resamples, seed)


def mean_interval(
    counts: NDArray[np.int64], formula: str, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval over patients of the mean Score of several seeds.

    Each resample draws the patients once for all seeds. So it says what other patients would change, not what other
    seeds would.

    Args:
        counts: (S, 4, P) as `task_counts` gives them, one a seed.
        formula: of the Score, see `metrics.Task`.
        level: coverage asked for.

    Returns:
        Lower and upper end as fractions of 1; both NaN with fewer than two patients or one side without cycles.

    Source: Efron & Tibshirani 1993, chapter 13, with the patient as the unit that is drawn.
    """
    patients = counts.shape[2]
    if patients < 2 or not counts[0, 1].sum() or not counts[0, 3].sum():
        return float("nan"), float("nan")
    drawn = resampled_scores(counts, formula, drawn_patients(patients, resamples, seed)).mean(axis=0)
    return percentile_ends(drawn, level)


@lru_cache(maxsize=8)
def drawn_patients(patients: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each patient is drawn in each resample of an interval: one patient after the other. Shape: (R, P).

    >>> drawn_patients(5, 3, seed=0).sum(axis=1).tolist()
    [5, 5, 5]
    """
    drawn = np.random.default_rng(seed).integers(0, patients, (resamples, patients))
    row = patients * np.arange(resamples)[:, None]
    times = np.bincount((drawn + row).ravel(), minlength=resamples * patients).reshape(resamples, patients)
    return _kept(times)


def resampled(counts: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of counts (..., P) over patients drawn `times` (R, P). Shape: (..., R).

    In double precision the product is fast, and exact for whole numbers as small as these.
    """
    return counts.astype(np.float64) @ times.T.astype(np.float64)


def task_counts(by_patient: NDArray[np.int64], task: Task) -> NDArray[np.int64]:
    """Normal cycles found, normal cycles, abnormal cycles found and abnormal cycles of every patient. Shape: (4, P).

    Args:
        by_patient: (P, K, K) confusion matrices as `metrics.task_confusion` makes them, one a patient.
    """
    grouped = in_task_classes(by_patient, task)
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
    if first.shape != second.shape:
        raise ValueError(f"counts of shape {first.shape} and {second.shape}; two equal (S, 4, P) are needed")
    drawn = resampled_differences(first, second, formula, resamples, seed)
    by_seed = whole_scores(second, formula) - whole_scores(first, formula)
    low, high = percentile_ends(drawn, level)
    return Paired(
        difference=float(by_seed.mean()),
        low=low,
        high=high,
        seed_std=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else float("nan"),
        seeds=len(by_seed),
    )


def resampled_differences(
    first: NDArray[np.int64], second: NDArray[np.int64], formula: str, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Mean Score of `second` over its seeds minus that of `first`, in each resample of the patients. Shape: (R,).

    Args:
        first: (S, 4, P) counts as `task_counts` gives them, one a seed.
        second: (T, 4, P) of the same patients and cycles.

    Returns:
        None of them where there is no interval: with one patient, or one side without cycles.

    Raises:
        ValueError: other shapes, or other cycles.
    """
    if first.ndim != 3 or first.shape[1:] != second.shape[1:] or first.shape[1] != 4 or not len(first) * len(second):
        raise ValueError(f"counts of shape {first.shape} and {second.shape}; (S, 4, P) and (T, 4, P) are needed")
    if any((system[:, 1::2] != first[:1, 1::2]).any() for system in (first, second)):
        raise ValueError("the systems, or their seeds, were scored on different cycles")
    patients = first.shape[2]
    if patients < 2 or not first[0, 1].sum() or not first[0, 3].sum():
        return np.zeros(0)
    times = multiplicities(patients, resamples, seed)
    one, two = (resampled_scores(system, formula, times).mean(axis=0) for system in (first, second))
    return two - one


def resampled_scores(counts: NDArray[np.int64], formula: str, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """The Score of every seed in each resample of the patients: counts (S, 4, P), times (R, P) -> (S, R)."""
    return _score(resampled(counts, times).swapaxes(0, 1), formula)


def whole_scores(counts: NDArray[np.int64], formula: str) -> NDArray[np.float64]:
    """The Score of every seed on all patients; NaN where one side has no cycles. (S, 4, P) -> (S,)."""
    sums = counts.sum(axis=2).T
    return np.where((sums[1] > 0) & (sums[3] > 0), _score(sums, formula), np.nan)


def p_value(drawn: NDArray[np.float64]) -> float:
    """Two-sided p-value of "no difference", from resampled differences: the interval's level at which it meets 0.

    p = 2 min(1 + #(d <= 0), 1 + #(d >= 0)) / (R + 1), at most 1: below 0.05 just where the 95 % percentile interval
    leaves 0 out, up to the grain of R resamples. NaN without resamples.

    >>> p_value(np.array([0.1] * 97 + [-0.1] * 2))
    0.06

    Source: Efron & Tibshirani 1993, section 15.4 (achieved significance level of a bootstrap interval); Davison &
    Hinkley 1997, section 4.2, for the ones.
    """
    if not len(drawn):
        return float("nan")
    tail = 1 + min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return float(min(1.0, 2 * tail / (len(drawn) + 1)))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected so that the chance of any false find among all of them stays below the level.

    The smallest is multiplied by the number of tests m, the next by m - 1 and so on; none is below one before it. A NaN
    is no test and stays NaN.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Source: Holm 1979.
    """
    tests = sorted((value, i) for i, value in enumerate(p) if value == value)
    corrected, largest = [float("nan")] * len(p), 0.0
    for rank, (value, i) in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - rank) * value))
        corrected[i] = largest
    return corrected


def wilson(found: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion, for independent cycles: of `n` cycles, `found` are right.

    Never outside [0, 1], and of some width also where all or none are right. Cycles of one patient resemble each other,
    so the truth is wider. NaN without cycles.

    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]

    Source: Wilson 1927; Newcombe 1998, method 3.
    """
    if not n:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf((1 + level) / 2)
    p, weight = found / n, z * z / n
    middle, half = p + weight / 2, z * (p * (1 - p) / n + weight / (4 * n)) ** 0.5
    return max(0.0, (middle - half) / (1 + weight)), min(1.0, (middle + half) / (1 + weight))


@lru_cache(maxsize=8)
def multiplicities(patients: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each patient is drawn in each resample, with replacement. Shape: (R, P).

    >>> multiplicities(5, 3, seed=0).sum(axis=1).tolist()
    [5, 5, 5]
    """
    chances = np.full(patients, 1 / patients)
    return _kept(np.random.default_rng(seed).multinomial(patients, chances, size=resamples))


def _kept(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draws that are kept for the next score of the same patients; nobody may change them."""
    times.flags.writeable = False
    return times


def percentile_ends(drawn: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Ends of the percentile interval; NaN without resamples.

    Written out, not left to a library, whose rounding changes with its version: stored ends come out to the last bit.

    Source: Hyndman & Fan 1996, definition 7.
    """
    if not len(drawn):
        return float("nan"), float("nan")
    ordered, tail = np.sort(drawn), (1 - level) / 2
    places = [q * len(drawn) + (1 - q) for q in (tail, 1 - tail)]  # counted from 1
    low, high = ((1 - at % 1) * ordered[int(at) - 1] + at % 1 * ordered[min(int(at), len(drawn) - 1)] for at in places)
    return float(low), float(high)


def _score(sums: NDArray[Any], formula: str) -> NDArray[np.float64]:
    """Score from (normal correct, normal, abnormal correct, abnormal); a resample without one side counts it as 0."""
    sp, se = sums[0] / np.maximum(sums[1], 1), sums[2] / np.maximum(sums[3], 1)
    average = (sp + se) / 2
    if formula == "icbhi":
        return average
    harmonic = 2 * sp * se / np.maximum(sp + se, 1e-12)
    return (average + harmonic) / 2
