"""Where the spread of a Score comes from, seeds or patients, and the smallest difference that it leaves visible.

Source: Bouthillier et al. 2021, "Accounting for Variance in Machine Learning Benchmarks", for the parts; Miller 2024,
"Adding Error Bars to Evals" (arXiv 2411.00640), power analysis, for the smallest difference, patients as clusters.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .statistics import multiplicities, p_value, percentile_ends, resampled_differences, resampled_scores, whole_scores


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The Score of one system, as fractions of 1.

    Args:
        mean: over seeds.
        seed_std: standard deviation (n - 1) over seeds on the whole test set; NaN with one seed.
        patient_std: standard deviation of the Score of one run when patients are resampled: root of the mean over
            seeds of that variance; NaN where patients cannot be resampled.
        seeds: how many.
    """

    mean: float
    seed_std: float
    patient_std: float
    seeds: int


def spread(counts: NDArray[np.int64], formula: str, resamples: int = 2000, seed: int = 0) -> Spread:
    """Seed variance and patient variance of the Score of one run.

    The first holds the patients fixed and looks at other seeds; the second holds the seeds fixed and draws the patients
    anew with replacement.

    Args:
        counts: (S, 4, P) as `statistics.task_counts` gives them, one a seed.
        formula: of the Score, see `metrics.Task`.
    """
    by_seed, patients = whole_scores(counts, formula), counts.shape[2]
    can = patients > 1 and not math.isnan(by_seed[0])
    drawn = resampled_scores(counts, formula, multiplicities(patients, resamples, seed)) if can else None
    return Spread(
        mean=float(by_seed.mean()),
        seed_std=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else math.nan,
        patient_std=math.nan if drawn is None else float(np.sqrt(drawn.var(axis=1, ddof=1).mean())),
        seeds=len(by_seed),
    )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Score of one system minus that of another on the same cycles, as fractions of 1.

    Args:
        difference: of the Scores' means over seeds.
        low: lower end of the interval over patients; NaN where there is none.
        high: upper end.
        p: two-sided, over patients, for these trained systems; see `statistics.p_value`.
        patient_std: standard deviation of the difference over resamples of the patients.
        seed_error: standard error of the difference from the seeds; NaN where a system has one seed.
        resolvable: see `resolvable`; without the seeds where a system has one seed only.
    """

    difference: float
    low: float
    high: float
    p: float
    patient_std: float
    seed_error: float
    resolvable: float


def difference(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    formula: str,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Score of `second` minus Score of `first`, paired by patient; the seeds of the two are taken as independent.

    Args:
        first: (S, 4, P) counts as `statistics.task_counts` gives them, one a seed.
        second: (T, 4, P) of the same patients and cycles.
        formula: of the Score, see `metrics.Task`.
        level: coverage of the interval, and of the test behind `resolvable`.

    Raises:
        ValueError: other shapes, or other cycles.
    """
    drawn = resampled_differences(first, second, formula, resamples, seed)
    scores = [whole_scores(system, formula) for system in (first, second)]
    patient_std = float(drawn.std(ddof=1)) if len(drawn) else math.nan
    seeds = seed_error(*scores)  # unknown with one seed
    low, high = percentile_ends(drawn, level)
    return Difference(
        difference=float(scores[1].mean() - scores[0].mean()),
        low=low,
        high=high,
        p=p_value(drawn),
        patient_std=patient_std,
        seed_error=seeds,
        resolvable=resolvable(patient_std, 0.0 if math.isnan(seeds) else seeds, level=level),
    )


def seed_error(*scores: NDArray[np.float64]) -> float:
    """Standard error from the seeds of a difference of two means: sqrt(s1^2 / n1 + s2^2 / n2); NaN with a single seed.

    >>> round(seed_error(np.array([0.0, 2.0]), np.array([1.0, 1.0])), 3)
    1.0
    """
    if any(len(one) < 2 for one in scores):
        return math.nan
    return math.sqrt(sum(float(one.var(ddof=1)) / len(one) for one in scores))


def resolvable(patient_std: float, seed_error: float, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest true difference that a two-sided test finds with that power.

    (z(1 - (1 - level) / 2) + z(power)) sqrt(patient_std^2 + seed_error^2): 2.80 standard errors at 95 % and 80 %.

    Args:
        patient_std: of the paired difference, over resamples of the patients.
        seed_error: of the same difference, from the seeds: with n seeds each, sqrt((s1^2 + s2^2) / n).

    >>> round(resolvable(0.03, 0.04), 4)
    0.1401

    Source: Miller 2024, power analysis, solved for the difference; Cohen 1988 for the normal approximation.
    """
    normal = NormalDist()
    return (normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)) * math.hypot(patient_std, seed_error)
