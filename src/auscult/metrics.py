"""Confusion matrix -> named scores. Nothing else in the package computes a score.

There are five things the literature calls "ICBHI score"; here every score carries the name of its task, its formula and
the integers behind it, so that it can be checked by hand.

Source: Rocha et al. 2019 (ICBHI); Zhang et al. 2022 (SPRSound, BioCAS challenge).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True)
class Task:
    """A question asked of the same predictions: which classes are told apart, and which formula scores them.

    Args:
        name: what is printed beside the score, for instance ``ICBHI 4-class``.
        classes: names of the task's classes; the first is normal.
        mapping: for each class of the data set, the class of this task.
        formula: ``icbhi`` gives Score = (Se + Sp) / 2; ``sprsound`` gives Score = (AS + HS) / 2.
        decide: ``class`` takes the most probable class of the data set and then its group, as the literature derives
            two classes from four. ``group`` adds the probabilities of a group first: an event that is surely
            adventitious, but maybe a wheeze and maybe a crackle, is then adventitious.
    """

    name: str
    classes: tuple[str, ...]
    mapping: tuple[int, ...]
    formula: Literal["icbhi", "sprsound"] = "icbhi"
    decide: Literal["class", "group"] = "class"

    @property
    def key(self) -> str:
        """The name as a key of JSON files: ``icbhi_4_class``."""
        return self.name.lower().replace("-", "_").replace(" ", "_")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Sensitivity, specificity and Score of one task as fractions of 1, with the counts they were made of.

    ``AS`` and ``HS`` (average and harmonic score) are set for the SPRSound formula only.
    """

    task: str
    formula: str
    Se: float
    Sp: float
    Score: float
    abnormal_correct: int
    abnormal: int
    normal_correct: int
    normal: int
    AS: float | None = None
    HS: float | None = None


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts K[i, j] of cycles of class i predicted as class j. Shape: (classes, classes).

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], classes=2).tolist()
    [[1, 1], [0, 1]]

    Raises:
        ValueError: unequal lengths, or a label outside 0 .. classes - 1.
    """
    t, p = np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if t.shape != p.shape or t.ndim != 1:
        raise ValueError(f"truth has shape {t.shape} and predicted {p.shape}; two equal lists are needed")
    for name, labels in (("truth", t), ("predicted", p)):
        if labels.size and (labels.min() < 0 or labels.max() >= classes):
            raise ValueError(f"{name} holds a label outside 0..{classes - 1}: {labels.min()}..{labels.max()}")
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes)


def regroup(confusion: NDArray[np.int64], mapping: tuple[int, ...]) -> NDArray[np.int64]:
    """Confusion matrices (..., K, K) of a coarser task: rows and columns of the same group are added.

    >>> regroup(np.array([[5, 1, 0], [1, 3, 2], [0, 1, 4]]), (0, 1, 1)).tolist()
    [[5, 1], [1, 10]]
    """
    if len(mapping) != confusion.shape[-1]:
        raise ValueError(f"the mapping names {len(mapping)} classes, the confusion matrix has {confusion.shape[-1]}")
    member = np.eye(max(mapping) + 1, dtype=np.int64)[list(mapping)]
    return member.T @ confusion @ member


def task_confusion(truth: ArrayLike, probabilities: NDArray[np.floating], task: Task) -> NDArray[np.int64]:
    """The confusion matrix that `scores` takes for this task, from probabilities over the data set's own classes.

    Args:
        truth: (N,) labels of the data set.
        probabilities: (N, K).

    >>> surely_abnormal = np.array([[0.4, 0.3, 0.3]])
    >>> two = Task(name="two", classes=("normal", "abnormal"), mapping=(0, 1, 1), decide="group")
    >>> task_confusion([1], surely_abnormal, two).tolist()
    [[0, 0], [0, 1]]
    """
    return confusion_matrix(*task_labels(truth, probabilities, task))


def patient_confusions(
    truth: ArrayLike, probabilities: NDArray[np.floating], patient: ArrayLike, task: Task
) -> NDArray[np.int64]:
    """`task_confusion` of every patient, in the order of their names. Shape: (P, K, K).

    Args:
        patient: (N,) names.
    """
    t, said, k = task_labels(truth, probabilities, task)
    names, owner = np.unique(np.asarray(patient), return_inverse=True)
    confusion_matrix(t, said, k)  # it says which label is wrong
    return np.bincount((owner * k + t) * k + said, minlength=len(names) * k * k).reshape(-1, k, k)


def task_labels(
    truth: ArrayLike, probabilities: NDArray[np.floating], task: Task
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Truth and decision of every cycle, and how many classes they are of: the data set's, or the task's with groups.

    Groups are added in double precision, so that the order of adding cannot change a decision.
    """
    t, p = np.asarray(truth, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if task.decide == "class":
        return t, p.argmax(axis=1), len(task.mapping)
    mapping = np.asarray(task.mapping)
    return mapping[t], (p @ np.eye(len(task.classes))[mapping]).argmax(axis=1), len(task.classes)


def in_task_classes(confusion: NDArray[np.int64], task: Task) -> NDArray[np.int64]:
    """Matrices (..., K, K) made by `task_confusion`, over the classes of the task."""
    k = np.asarray(confusion, dtype=np.int64)
    return regroup(k, task.mapping) if task.decide == "class" else k


def scores(confusion: NDArray[np.int64], task: Task) -> Scores:
    """The scores of `task` from its confusion matrix, rows = truth; see `task_confusion`.

    Se is pooled over abnormal cycles, exact class required; it is not a mean of per-class recalls. A side without any
    cycle has no recall: it is NaN, and so is the Score.

    Source: ICBHI: Rocha et al. 2019; SPRSound: AS = (Se + Sp)/2, HS = 2 Se Sp/(Se + Sp), Score = (AS + HS)/2.
    """
    k = in_task_classes(confusion, task)
    normal, abnormal = int(k[0].sum()), int(k[1:].sum())
    normal_correct, abnormal_correct = int(k[0, 0]), int(np.trace(k[1:, 1:]))
    sp = normal_correct / normal if normal else float("nan")
    se = abnormal_correct / abnormal if abnormal else float("nan")
    average = (se + sp) / 2
    harmonic = 2 * se * sp / (se + sp) if se + sp != 0 else 0.0
    official = task.formula == "sprsound"
    return Scores(
        task=task.name,
        formula=task.formula,
        Se=se,
        Sp=sp,
        Score=(average + harmonic) / 2 if official else average,
        abnormal_correct=abnormal_correct,
        abnormal=abnormal,
        normal_correct=normal_correct,
        normal=normal,
        AS=average if official else None,
        HS=harmonic if official else None,
    )
