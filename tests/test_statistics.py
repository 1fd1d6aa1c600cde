import math

import numpy as np
import pytest
from scipy import stats

from auscult.metrics import Task, confusion_matrix, scores
from auscult.statistics import counts_interval, multiplicities, paired_difference, score_interval, task_counts, wilson

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


OWNER = np.array([0, 0, 1, 1, 2, 2, 2, 3, 3, 3])  # the patient of each cycle
TRUTH = np.array([0, 1, 0, 2, 0, 1, 2, 0, 0, 1])
THREE = Task(name="t", classes=("normal", "a", "b"), mapping=(0, 1, 2))


def counts(predicted: np.ndarray, task: Task = THREE) -> np.ndarray:
    """Counts of every patient, for each seed. Shape: (S, 4, P)."""
    own = [np.flatnonzero(np.equal(OWNER, n)) for n in range(4)]
    made = [np.stack([confusion_matrix(TRUTH[cycles], p[cycles], 3) for cycles in own]) for p in predicted]
    return np.stack([task_counts(by_patient, task) for by_patient in made])


def score_by_cycle(predicted: np.ndarray, times: np.ndarray, formula: str) -> float:
    """The Score of one resample, cycle by cycle: a patient drawn twice has each cycle twice."""
    right, there = [0, 0], [0, 0]
    for patient, truth, said in zip(OWNER, TRUTH, predicted, strict=True):
        for _ in range(times[patient]):
            side = int(truth != 0)
            there[side] += 1
            right[side] += int(truth == said)
    sp, se = (r / n if n else 0.0 for r, n in zip(right, there, strict=True))
    average = (sp + se) / 2
    harmonic = 2 * sp * se / (sp + se) if sp + se else 0.0
    return average if formula == "icbhi" else (average + harmonic) / 2


@pytest.mark.parametrize("formula", ["icbhi", "sprsound"])
def test_paired_difference_equals_its_slow_twin(formula: str) -> None:
    rng = np.random.default_rng(4)
    one, two = rng.integers(0, 3, size=(2, 3, len(TRUTH)))
    found = paired_difference(counts(one), counts(two), formula, resamples=300, seed=7)
    drawn = []
    for times in multiplicities(4, 300, seed=7):
        scored = [[score_by_cycle(p, times, formula) for p in system] for system in (one, two)]
        drawn.append(np.mean(scored[1]) - np.mean(scored[0]))
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist(), abs=1e-12)
    once = np.ones(4, dtype=int)
    by_seed = [score_by_cycle(two[s], once, formula) - score_by_cycle(one[s], once, formula) for s in range(3)]
    assert found.difference == pytest.approx(np.mean(by_seed), abs=1e-12)
    assert found.seed_std == pytest.approx(np.std(by_seed, ddof=1), abs=1e-12) and found.seeds == 3
    back = paired_difference(counts(two), counts(one), formula, resamples=300, seed=7)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), abs=1e-12)


def random_counts(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Counts (..., 4, P) of patients with up to 6 cycles of each side; some have none of one."""
    there = rng.integers(0, 7, (2, shape[-1]))
    right = rng.integers(0, there + 1, (*shape[:-2], 2, shape[-1]))
    both = np.broadcast_to(there, right.shape)
    return np.stack([right[..., 0, :], both[..., 0, :], right[..., 1, :], both[..., 1, :]], axis=-2)


def score_of_sums(counts: np.ndarray, drawn: list[int], formula: str) -> float:
    """The Score of the patients drawn, in plain Python."""
    sums = [sum(side[patient] for patient in drawn) for side in counts.tolist()]
    sp, se = sums[0] / sums[1] if sums[1] else 0.0, sums[2] / sums[3] if sums[3] else 0.0
    average = (sp + se) / 2
    return average if formula == "icbhi" else (average + (2 * sp * se / (sp + se) if sp + se else 0.0)) / 2


def percentile(values: list[float], q: float) -> float:
    """Between the two values on either side of the place q (n - 1), counted from 0."""
    ordered, place = sorted(values), q * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def test_the_interval_equals_plain_loops_on_1000_random_tables() -> None:
    rng = np.random.default_rng(11)
    for table in range(1000):
        formula, patients = ("icbhi", "sprsound")[table % 2], int(rng.integers(2, 7))
        counts = random_counts(rng, (4, patients))
        found = counts_interval(counts, formula, resamples=20, seed=table)
        draws = np.random.default_rng(table).integers(0, patients, (20, patients)).tolist()
        drawn = [score_of_sums(counts, one, formula) for one in draws]
        expected = [percentile(drawn, q) for q in (0.025, 0.975)]
        if not counts[1].sum() or not counts[3].sum():
            expected = [math.nan, math.nan]
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_paired_difference_equals_plain_loops_on_1000_random_tables() -> None:
    rng = np.random.default_rng(12)
    for table in range(1000):
        formula, patients = ("icbhi", "sprsound")[table % 2], int(rng.integers(2, 6))
        counts = random_counts(rng, (4, 4, patients))
        one, two = counts[:2], counts[2:]
        if not counts[0, 1].sum() or not counts[0, 3].sum():
            continue
        found = paired_difference(one, two, formula, resamples=12, seed=table)
        chances = [1 / patients] * patients
        times = np.random.default_rng(table).multinomial(patients, chances, size=12).tolist()
        draws = [[patient for patient, n in enumerate(row) for _ in range(n)] for row in times]
        drawn = [
            sum(score_of_sums(two[s], d, formula) - score_of_sums(one[s], d, formula) for s in (0, 1)) / 2
            for d in draws
        ]
        assert (found.low, found.high) == pytest.approx([percentile(drawn, q) for q in (0.025, 0.975)], abs=1e-12)
        everyone = list(range(patients))
        change = sum(
            score_of_sums(two[s], everyone, formula) - score_of_sums(one[s], everyone, formula) for s in (0, 1)
        )
        assert found.difference == pytest.approx(change / 2, abs=1e-12)


def test_the_interval_is_that_of_scipy() -> None:
    counts = random_counts(np.random.default_rng(13), (4, 30))

    def score(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        sums = counts[:, drawn].sum(axis=axis)
        return (sums[0] / sums[1] + sums[2] / sums[3]) / 2

    rng, options = np.random.default_rng(0), {"n_resamples": 2000, "method": "percentile", "vectorized": True}
    ends = stats.bootstrap((np.arange(30),), score, rng=rng, **options).confidence_interval
    assert counts_interval(counts, "icbhi") == pytest.approx((ends.low, ends.high), abs=1e-12)


def test_equal_predictions_differ_by_nothing() -> None:
    same = counts(np.random.default_rng(5).integers(0, 3, size=(2, len(TRUTH))))
    found = paired_difference(same, same, "icbhi")
    assert (found.difference, found.low, found.high, found.seed_std) == (0, 0, 0, 0)


def test_a_difference_known_by_hand() -> None:
    """Two patients with one normal and one abnormal cycle: the first system is wrong on all of the second's.

    Drawn 0, 1 or 2 times (chances 1/4, 1/2, 1/4), that patient makes a difference of 0, 1/2 or 1.
    """
    wrong_on_one = np.array([[[1, 0], [1, 1], [1, 0], [1, 1]]])
    right = np.ones_like(wrong_on_one)
    found = paired_difference(wrong_on_one, right, "icbhi")
    assert (found.difference, found.low, found.high) == (0.5, 0.0, 1.0) and math.isnan(found.seed_std)
    quartiles = paired_difference(wrong_on_one, right, "icbhi", level=0.4)
    assert (quartiles.low, quartiles.high) == (0.5, 0.5)


def test_seed_by_seed_differences_are_told_apart_from_patients() -> None:
    """One system is better with one seed and worse by as much with the other: no difference, but a spread."""
    good = np.array([[3, 3], [4, 4], [3, 3], [4, 4]])
    bad = np.array([[2, 2], [4, 4], [2, 2], [4, 4]])
    found = paired_difference(np.stack([good, bad]), np.stack([bad, good]), "icbhi")
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert found.seed_std == pytest.approx(0.25 * math.sqrt(2))


def test_what_cannot_be_paired() -> None:
    one = counts(np.zeros((2, len(TRUTH)), dtype=int))
    with pytest.raises(ValueError, match="two equal"):
        paired_difference(one, one[:1], "icbhi")
    other = one.copy()
    other[0, 1, 0] += 1
    with pytest.raises(ValueError, match="different cycles"):
        paired_difference(one, other, "icbhi")
    assert math.isnan(paired_difference(one[:, :, :1], one[:, :, :1], "icbhi").low)
    one[:, 2:] = 0
    assert math.isnan(paired_difference(one, one, "icbhi").difference)


def test_wilson_ends_are_where_the_normal_test_just_rejects() -> None:
    """|p - end| = z sqrt(end (1 - end) / n); 81 of 263: Newcombe 1998, table I, method 3."""
    for k, n in ((3, 10), (81, 263), (0, 20), (9.5, 12)):
        for end in wilson(k, n):
            assert abs(k / n - end) == pytest.approx(1.959964 * (end * (1 - end) / n) ** 0.5, abs=1e-7)
    assert [round(end, 4) for end in wilson(81, 263)] == [0.2553, 0.3662]
    assert wilson(0, 20)[0] == pytest.approx(0) and wilson(20, 20)[1] == pytest.approx(1)
    assert np.isnan(wilson(0, 0)).all()
