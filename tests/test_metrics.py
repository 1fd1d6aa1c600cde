"""Scores against integer audits of published results and against an independent computation."""

import math

import numpy as np
import pytest

from auscult.metrics import Task, confusion_matrix, regroup, scores, task_confusion

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


def test_against_an_independent_computation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        n = int(rng.integers(2, 60))
        truth, predicted = rng.integers(0, 4, n), rng.integers(0, 4, n)
        if not (truth == 0).any() or not (truth > 0).any():
            continue
        found = scores(confusion_matrix(truth, predicted, 4), FOUR)
        sp = np.mean([p == 0 for t, p in zip(truth, predicted, strict=True) if t == 0])
        se = np.mean([p == t for t, p in zip(truth, predicted, strict=True) if t != 0])
        assert abs(found.Score - (sp + se) / 2) < 1e-12
        two = scores(confusion_matrix(truth, predicted, 4), TWO)
        assert abs(two.Se - np.mean([p != 0 for t, p in zip(truth, predicted, strict=True) if t != 0])) < 1e-12


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
