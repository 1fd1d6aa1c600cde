"""Who was right about what: the counts of every patient and task, from predictions.csv and scores.json of a run."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AuscultError
from ..metrics import Task, confusion_matrix
from ..runs import Run

HALF_DIGIT = 0.5e-4 * (1 + 1e-6)  # probabilities are written with four decimals


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The cycles of one part, in the order of recording and time.

    Args:
        key: recording and start of each cycle.
        patient: of each cycle.
        truth: (N,) index of the class.
        predicted: (N,) index of the most probable class.
        probabilities: (N, K) as written.
    """

    key: list[tuple[str, float]]
    patient: NDArray[np.str_]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64]


def read_predictions(file: Path, classes: list[str]) -> dict[str, Scored]:
    """The parts of a predictions.csv.

    Raises:
        AuscultError: E_RUN for a file that `auscult evaluate` has not written, or for other classes.
    """
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            lines = list(csv.DictReader(handle))
        parts: dict[str, list[dict[str, str]]] = {}
        for line in sorted(lines, key=lambda line: (line["recording"], float(line["start_s"]))):
            parts.setdefault(line["part"], []).append(line)
        return {part: _scored(found, classes) for part, found in parts.items()}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise AuscultError(
            "E_RUN", f"{file} cannot be read ({error!r}); `auscult evaluate {file.parent}` writes it anew."
        ) from error


def _scored(lines: list[dict[str, str]], classes: list[str]) -> Scored:
    return Scored(
        key=[(line["recording"], float(line["start_s"])) for line in lines],
        patient=np.array([line["patient"] for line in lines]),
        truth=np.array([classes.index(line["truth"]) for line in lines]),
        predicted=np.array([classes.index(line["predicted"]) for line in lines]),
        probabilities=np.array([[float(line[f"p_{name}"]) for name in classes] for line in lines]),
    )


def count_patients(run: Run, part: str, scored: Scored, found: dict[str, Any], task: Task) -> NDArray[np.int64]:
    """Normal found, normal, abnormal found, abnormal of every patient, in the order of their names. Shape: (4, P).

    Args:
        run: for the error.
        found: the part in scores.json, whose integers have to come out.

    Raises:
        AuscultError: E_RUN when the two files of the run do not agree.
    """
    if confusion_matrix(scored.truth, scored.predicted, len(task.mapping)).tolist() != found["confusion"]:
        raise disagreement(run, part, "their confusion matrices differ")
    abnormal = np.asarray(task.mapping)[scored.truth] != 0
    correct, margin = decisions(scored, task)
    told = found["scores"][task.name]
    for side, name in ((~abnormal, "normal"), (abnormal, "abnormal")):
        if not settle(correct, margin, side, told[f"{name}_correct"]):
            raise disagreement(
                run, part, f"{task.name}, {name} cycles found: {correct[side].sum()} and {told[f'{name}_correct']}"
            )
    _, patient = np.unique(scored.patient, return_inverse=True)
    sides = (~abnormal & correct, ~abnormal, abnormal & correct, abnormal)
    return np.stack([np.bincount(patient[side], minlength=patient.max() + 1) for side in sides])


def decisions(scored: Scored, task: Task) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each cycle is right in a task, and how far its decision is from a tie; (N,) each."""
    mapping = np.asarray(task.mapping)
    if task.decide == "class":
        correct = mapping[scored.predicted] == mapping[scored.truth]
        return correct, np.full(len(correct), np.inf)
    grouped = scored.probabilities @ np.eye(len(task.classes))[mapping]
    best = np.sort(grouped, axis=1)
    return grouped.argmax(axis=1) == mapping[scored.truth], (best[:, -1] - best[:, -2]) / len(mapping)


def settle(correct: NDArray[np.bool_], margin: NDArray[np.float64], side: NDArray[np.bool_], wanted: int) -> bool:
    """Makes the cycles of a side that are right as many as `wanted`; False where rounding cannot explain the rest.

    Written with four decimals, a cycle next to a tie may fall to the other side; scores.json was made before rounding
    and knows how many did. Changes `correct` in place, the nearest to a tie first.
    """
    excess = int(correct[side].sum()) - wanted
    doubtful = np.flatnonzero(side & (margin <= HALF_DIGIT) & (correct == (excess > 0)))
    if abs(excess) > len(doubtful):
        return False
    nearest = doubtful[np.argsort(margin[doubtful], kind="stable")][: abs(excess)]
    correct[nearest] = ~correct[nearest]
    return True


def disagreement(run: Run, part: str, what: str) -> AuscultError:
    """The error for two files of a run that tell different things."""
    return AuscultError(
        "E_RUN",
        f"predictions.csv and scores.json of {run.folder} do not agree on part {part}: {what}. "
        f"`auscult evaluate {run.folder}` writes both anew.",
    )
