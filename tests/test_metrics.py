"""Scores against integer audits of published results and against an independent computation."""

import math
from typing import Literal

import numpy as np
import pytest

from auscult.metrics import Task, confusion_matrix, patient_confusions, regroup, scores, task_confusion

FOUR = Task(name="ICBHI 4-class", classes=("normal", "crackle", "wheeze", "both"), mapping=(0, 1, 2, 3))
TWO = Task(name="ICBHI 2-class from 4-class", classes=("normal", "abnormal"), mapping=(0, 1, 1, 1))
OFFICIAL = Task(name="SPRSound task 1-1", classes=("Normal", "Adventitious"), mapping=(0, 1, 1, 1), formula="sprsound")


def test_published_two_class_result_of_sam_ast() -> None:
    """68.31 / 67.89 / 68.10 are 804 of 1177 and 1072 of 1579: any abnormal class counts for an abnormal cycle."""
    k = np.array([[1072, 300, 150, 57], [200, 300, 100, 49], [100, 85, 150, 50], [73, 20, 20, 30]])
    found = scores(k, TWO)
    assert (found.normal, found.abnormal) == (1579, 1177)
    assert (found.normal_correct, found.abnormal_correct) == (1072, 804)
    assert [round(100 * v, 2) for v in (found.Sp, found.Se, found.Score)] == [67.89, 68.31, 68.10]
    assert scores(k, FOUR).abnormal_correct == 480  # the four-class question asks for the exact class


def test_published_out_of_domain_result_of_patch_mix() -> None:
    k = np.array([[652, 388, 0, 0], [0, 0, 0, 0], [236, 0, 153, 0], [0, 0, 0, 0]])
    assert round(100 * scores(k, FOUR).Score, 2) == 51.01


def test_floors_of_the_official_test_set() -> None:
    counts = np.array([1579, 649, 385, 143])
    assert scores(np.outer(counts, [1, 0, 0, 0]), FOUR).Score == 0.5
    crackle = scores(np.outer(counts, [0, 1, 0, 0]), FOUR)
    assert round(crackle.Se, 4) == 0.5514 and round(100 * crackle.Score, 1) == 27.6


def test_sprsound_formula() -> None:
    found = scores(np.array([[80, 20, 0, 0], [5, 15, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]), OFFICIAL)
    se, sp = 0.75, 0.8
    assert pytest.approx((se + sp) / 2) == found.AS
    assert pytest.approx(2 * se * sp / (se + sp)) == found.HS
    assert found.Score == pytest.approx(((se + sp) / 2 + 2 * se * sp / (se + sp)) / 2)


def recalls(truth: list[int], predicted: list[int], *, exact: bool) -> tuple[float, float]:
    """Se and Sp cycle by cycle; `exact`: an abnormal cycle counts with its own class only."""
    normal = [p == 0 for t, p in zip(truth, predicted, strict=True) if t == 0]
    abnormal = [p == t if exact else p != 0 for t, p in zip(truth, predicted, strict=True) if t != 0]
    return sum(abnormal) / len(abnormal), sum(normal) / len(normal)


def test_scores_equal_a_count_by_hand_on_10000_random_label_vectors() -> None:
    rng, counted = np.random.default_rng(0), 0
    while counted < 10_000:
        truth, predicted = rng.integers(0, 4, (2, rng.integers(2, 25))).tolist()
        if 0 not in truth or not any(truth):
            continue
        counted += 1
        k = confusion_matrix(truth, predicted, 4)
        for task in (FOUR, TWO, OFFICIAL):
            se, sp = recalls(truth, predicted, exact=task is FOUR)
            found = scores(k, task)
            assert abs(found.Se - se) < 1e-12 and abs(found.Sp - sp) < 1e-12
            average, harmonic = (se + sp) / 2, 2 / (1 / se + 1 / sp) if se and sp else 0.0
            if task is not OFFICIAL:
                assert abs(found.Score - average) < 1e-12 and found.AS is found.HS is None
                continue
            assert found.AS is not None and abs(found.AS - average) < 1e-12
            assert found.HS is not None and abs(found.HS - harmonic) < 1e-12
            assert abs(found.Score - (average + harmonic) / 2) < 1e-12


@pytest.mark.parametrize("decide", ["class", "group"])
def test_the_matrices_of_patients_are_those_of_their_cycles(decide: Literal["class", "group"]) -> None:
    rng = np.random.default_rng(1)
    task = Task(name="t", classes=TWO.classes, mapping=TWO.mapping, decide=decide)
    truth, p = rng.integers(0, 4, 200), rng.dirichlet(np.ones(4), 200).astype(np.float32)
    owner = rng.choice(["c", "a", "b"], 200)
    found = patient_confusions(truth, p, owner, task)
    for k, name in zip(found, "abc", strict=True):
        assert np.array_equal(k, task_confusion(truth[owner == name], p[owner == name], task))
    assert np.array_equal(found.sum(axis=0), task_confusion(truth, p, task))
    with pytest.raises(ValueError, match="label outside"):
        patient_confusions([4], p[:1], ["a"], TWO)


def test_a_side_without_cycles_has_no_score() -> None:
    found = scores(np.diag([5, 0, 0, 0]), FOUR)
    assert found.Sp == 1 and math.isnan(found.Se) and math.isnan(found.Score)
    assert math.isnan(scores(np.diag([5, 0, 0, 0]), OFFICIAL).Score)


@pytest.mark.parametrize(("truth", "predicted"), [([0, 1], [0]), ([0, 4], [0, 0]), ([0, 0], [0, -1])])
def test_wrong_labels_are_errors(truth: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"label outside|equal lists"):
        confusion_matrix(truth, predicted, 4)


def test_regroup_needs_the_right_mapping() -> None:
    with pytest.raises(ValueError, match="names 2 classes"):
        regroup(np.eye(4, dtype=np.int64), (0, 1))


def test_grouping_first_or_last_differ_where_abnormal_classes_share_their_probability() -> None:
    p = np.array([[0.4, 0.3, 0.2, 0.1], [0.6, 0.2, 0.1, 0.1], [0.1, 0.2, 0.6, 0.1]])
    truth = [1, 0, 2]
    grouped = Task(name="t", classes=TWO.classes, mapping=TWO.mapping, decide="group")
    assert task_confusion(truth, p, grouped).tolist() == [[1, 0], [0, 2]]
    assert scores(task_confusion(truth, p, grouped), grouped).Score == 1.0
    assert scores(task_confusion(truth, p, TWO), TWO).Se == 0.5
    assert task_confusion(truth, p, TWO).shape == (4, 4)


def test_with_two_classes_both_ways_agree() -> None:
    rng = np.random.default_rng(5)
    p = rng.dirichlet([1, 1], size=200)
    truth = rng.integers(0, 2, 200)
    plain = Task(name="t", classes=TWO.classes, mapping=(0, 1))
    grouped = Task(name="t", classes=TWO.classes, mapping=(0, 1), decide="group")
    assert scores(task_confusion(truth, p, plain), plain) == scores(task_confusion(truth, p, grouped), grouped)
