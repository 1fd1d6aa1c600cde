"""Who was right about what: the counts of every patient and task, from predictions.csv of a run.

The file holds probabilities that read back as the same float32, so every decision is made again from them.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AuscultError
from ..metrics import Task, confusion_matrix, patient_confusions
from ..runs import Run
from ..statistics import task_counts

NUMBERS = ("quality", "age_years", "bandwidth_hz")  # columns that a file may lack
NAMES = ("device", "site", "sex")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The cycles of one part, in the order of recording and time.

    Args:
        key: recording and start of each cycle.
        patient: of each cycle.
        truth: (N,) index of the class.
        predicted: (N,) index of the class that the file names.
        probabilities: (N, K).
        line: (N,) the line of the file.
        duration_s: (N,) length of each cycle.
        quality: (N,) audio quality; NaN where the file has none, as below.
        device: of each cycle; empty where the file has none, as below.
        site: on the chest.
        sex: of the patient.
        age_years: of the patient.
        bandwidth_hz: of the recording.
    """

    key: list[tuple[str, float]]
    patient: NDArray[np.str_]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    line: NDArray[np.int64]
    duration_s: NDArray[np.float64]
    quality: NDArray[np.float64]
    device: NDArray[np.str_]
    site: NDArray[np.str_]
    sex: NDArray[np.str_]
    age_years: NDArray[np.float64]
    bandwidth_hz: NDArray[np.float64]


def read_predictions(file: Path, classes: list[str]) -> dict[str, Scored]:
    """The parts of a predictions.csv.

    Raises:
        AuscultError: E_RUN for a file that `auscult evaluate` has not written, or for other classes.
    """
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            rows = [(number, row) for number, row in enumerate(csv.DictReader(handle), start=2)]
        parts: dict[str, list[tuple[int, dict[str, str]]]] = {}
        for number, row in sorted(rows, key=lambda found: (found[1]["recording"], float(found[1]["start_s"]))):
            parts.setdefault(row["part"], []).append((number, row))
        return {part: _scored(found, classes) for part, found in parts.items()}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise AuscultError(
            "E_RUN", f"{file} cannot be read ({error!r}); `auscult evaluate {file.parent}` writes it anew."
        ) from error


def _scored(found: list[tuple[int, dict[str, str]]], classes: list[str]) -> Scored:
    rows = [row for _, row in found]
    return Scored(
        key=[(row["recording"], float(row["start_s"])) for row in rows],
        patient=np.array([row["patient"] for row in rows]),
        truth=np.array([classes.index(row["truth"]) for row in rows]),
        predicted=np.array([classes.index(row["predicted"]) for row in rows]),
        probabilities=np.array([[row[f"p_{name}"] for name in classes] for row in rows]).astype(np.float32),
        line=np.array([number for number, _ in found]),
        duration_s=np.array([float(row["end_s"]) - float(row["start_s"]) for row in rows]),
        **{name: np.array([float(row.get(name) or "nan") for row in rows]) for name in NUMBERS},
        **{name: np.array([row.get(name) or "" for row in rows]) for name in NAMES},
    )


def patient_counts(scored: Scored, task: Task) -> NDArray[np.int64]:
    """Normal found, normal, abnormal found, abnormal of every patient, in the order of their names. Shape: (4, P)."""
    return task_counts(patient_confusions(scored.truth, scored.probabilities, scored.patient, task), task)


def count_patients(run: Run, part: str, scored: Scored, found: dict[str, Any], task: Task) -> NDArray[np.int64]:
    """`patient_counts`, held to what scores.json says.

    Args:
        run: for the error.
        found: the part in scores.json, whose integers have to come out.

    Raises:
        AuscultError: E_RUN when the two files of the run do not agree.
    """
    wrong = np.flatnonzero(scored.probabilities.argmax(axis=1) != scored.predicted)
    if len(wrong):
        raise disagreement(run, part, f"line {scored.line[wrong[0]]} predicts a class that is not the most probable")
    if confusion_matrix(scored.truth, scored.predicted, len(task.mapping)).tolist() != found["confusion"]:
        raise disagreement(run, part, "their confusion matrices differ")
    counts, told = patient_counts(scored, task), found["scores"][task.name]
    for row, side in ((0, "normal"), (2, "abnormal")):
        made, said = int(counts[row].sum()), told[f"{side}_correct"]
        if made != said:
            raise disagreement(run, part, f"{task.name}, {side} cycles found: {made} and {said}")
    return counts


def disagreement(run: Run, part: str, what: str) -> AuscultError:
    """The error for two files of a run that tell different things."""
    return AuscultError(
        "E_RUN",
        f"predictions.csv and scores.json of {run.folder} do not agree on part {part}: {what}. "
        f"`auscult evaluate {run.folder}` writes both anew.",
    )
