import math

import numpy as np
import pytest

from auscult.metrics import Task, scores
from auscult.statistics import score_interval

TASK = Task(name="t", classes=("normal", "abnormal"), mapping=(0, 1))
OFFICIAL = Task(name="t", classes=("normal", "abnormal"), mapping=(0, 1), formula="sprsound")


def patients(rng: np.random.Generator, n: int, cycles: int) -> np.ndarray:
    """Every patient has an accuracy of his own: cycles of one patient agree more than cycles of two."""
    skill = rng.beta(3, 1.5, size=n)
    k = np.zeros((n, 2, 2), dtype=np.int64)
    k[:, 0, 0], k[:, 1, 1] = rng.binomial(cycles, skill), rng.binomial(cycles, skill)
    k[:, 0, 1], k[:, 1, 0] = cycles - k[:, 0, 0], cycles - k[:, 1, 1]
    return k


@pytest.mark.parametrize("task", [TASK, OFFICIAL])
def test_interval_holds_the_score_and_is_repeatable(task: Task) -> None:
    k = patients(np.random.default_rng(1), 30, 20)
    low, high = score_interval(k, task)
    assert low < scores(k.sum(axis=0), task).Score < high
    assert (low, high) == score_interval(k, task)


def test_patients_not_cycles_are_drawn() -> None:
    """Ten times the cycles of the same patients must not make the interval three times narrower."""
    rng = np.random.default_rng(2)
    k = patients(rng, 25, 20)
    few, many = score_interval(k, TASK), score_interval(10 * k, TASK)
    assert many == pytest.approx(few)
    assert few[1] - few[0] > 0.05


def test_coverage_is_near_the_level() -> None:
    rng = np.random.default_rng(3)
    truth = 3 / 4.5
    hits = sum(
        low <= truth <= high
        for low, high in (score_interval(patients(rng, 40, 15), TASK, resamples=400) for _ in range(150))
    )
    assert 0.87 <= hits / 150 <= 0.99


def test_no_interval_without_two_patients_or_two_sides() -> None:
    assert all(math.isnan(v) for v in score_interval(np.ones((1, 2, 2), dtype=np.int64), TASK))
    normal_only = np.array([[[5, 1], [0, 0]], [[4, 2], [0, 0]]])
    assert all(math.isnan(v) for v in score_interval(normal_only, TASK))
