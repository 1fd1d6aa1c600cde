"""How far a score may be trusted: intervals that resample patients, not cycles.

Cycles of one patient resemble each other; an interval that treats them as independent is too narrow.
"""

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
    grouped = np.stack([in_task_classes(k, task) for k in by_patient])
    counts = np.stack(
        [
            grouped[:, 0, 0],
            grouped[:, 0].sum(axis=1),
            np.trace(grouped[:, 1:, 1:], axis1=1, axis2=2),
            grouped[:, 1:].sum(axis=(1, 2)),
        ]
    )
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


def _score(sums: NDArray[np.int64], formula: str) -> NDArray[np.float64]:
    """Score from (normal correct, normal, abnormal correct, abnormal); a resample without one side counts it as 0."""
    sp, se = sums[0] / np.maximum(sums[1], 1), sums[2] / np.maximum(sums[3], 1)
    average = (sp + se) / 2
    if formula == "icbhi":
        return average
    harmonic = 2 * sp * se / np.maximum(sp + se, 1e-12)
    return (average + harmonic) / 2
