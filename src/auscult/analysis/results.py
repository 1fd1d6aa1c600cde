"""What an evaluation leaves: scores.json, predictions.csv, report.html, and the words that stand beside the numbers."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.material import Material
from ..evaluate import Evaluation, as_json
from ..metrics import Task, task_confusion
from ..models.weights import Weights
from ..runs import Run, read_json, write_text
from ..statistics import score_interval
from . import RESEARCH_ONLY
from .spreadsheet import csv_text, exact

BEST_ON_TEST = "literature protocol: epoch chosen on the test set"
SHARED = ("156", "218")  # the two patients on both sides of the official ICBHI split


@dataclass(frozen=True, kw_only=True)
class Results:
    """An evaluation with everything that is printed or written about it.

    Args:
        intervals: (part, task name) -> 95 % interval of the Score, patients resampled; NaN where there is none.
        notes: sentences that must stand beside the scores.
        settings: recipe.json of the run.
        environment: environment.json of the run.
        history: records of metrics.jsonl.
    """

    run: str
    stuff: Material
    weights: Weights
    evaluations: tuple[Evaluation, ...]
    intervals: dict[tuple[str, str], tuple[float, float]]
    notes: tuple[str, ...]
    settings: dict[str, Any]
    environment: dict[str, Any]
    history: list[dict[str, Any]]


def collect(run: Run, stuff: Material, weights: Weights, evaluations: list[Evaluation]) -> Results:
    """Adds intervals, notes and the run's own records to an evaluation."""
    settings = run.settings()
    intervals = {}
    for e in evaluations:
        for task in stuff.corpus.tasks:
            intervals[e.part, task.name] = score_interval(by_patient(stuff, e, task), task)
    return Results(
        run=str(run.folder),
        stuff=stuff,
        weights=weights,
        evaluations=tuple(evaluations),
        intervals=intervals,
        notes=tuple(notes(stuff, weights, settings)),
        settings=settings,
        environment=read_json(run.folder / "environment.json"),
        history=run.history(),
    )


def by_patient(stuff: Material, evaluation: Evaluation, task: Task) -> NDArray[np.int64]:
    """Confusion matrix of every patient of a part, as `metrics.task_confusion` makes it. Shape: (P, K, K)."""
    cycles = [stuff.corpus.cycles[row] for row in evaluation.rows]
    truth, names = np.array([c.label for c in cycles]), np.array([c.patient for c in cycles])
    p = evaluation.probabilities
    return np.stack([task_confusion(truth[names == n], p[names == n], task) for n in np.unique(names)])


def notes(stuff: Material, weights: Weights, settings: dict[str, Any]) -> list[str]:
    """What a reader must know before comparing these scores with others."""
    found = []
    corpus = stuff.corpus
    if weights.facts.get("selection") == "best_on_test":
        found.append(f"{BEST_ON_TEST}; such a score is higher than one on unseen patients would be.")
    if corpus.name == "icbhi" and stuff.kind == "official":
        found.append(
            f"Patients {' and '.join(SHARED)} are on both sides of the official split; --split clean leaves their "
            "test cycles out."
        )
    if settings["partial"] and corpus.missing_audio:
        found.append(partial_note(stuff))
    if weights.facts.get("selection") == "last" and not any(stuff.split.tests.values()):
        found.append(
            "No test recording is here: part validation is patients held out of the training part; they chose nothing, "
            "as the last epoch was taken."
        )
    if corpus.name == "synthetic":
        found.append("Synthetic sounds: these scores say nothing about real lungs.")
    return found


def partial_note(stuff: Material) -> str:
    """How much of the data set a run with --partial has seen."""
    corpus = stuff.corpus
    train = [stem for stem, part in corpus.recordings.items() if part == corpus.train_part]
    here = sum(stem in corpus.audio for stem in train)
    if corpus.name == "icbhi":
        return f"ICBHI-sc, {here} of {len(train)} training recordings: this is not an ICBHI score."
    return f"{here} of {len(train)} training recordings of {corpus.name}: this is not a score on the whole data set."


def write(out: Path, results: Results) -> Path:
    """Writes scores.json, predictions.csv and report.html; gives the report's place."""
    from .report import page

    write_text(out / "scores.json", json.dumps(without_nan(scores_dict(results)), indent=2, allow_nan=False) + "\n")
    write_text(out / "predictions.csv", predictions_csv(results))
    write_text(out / "report.html", page(results))
    return out / "report.html"


def scores_dict(results: Results) -> dict[str, Any]:
    """The content of scores.json."""
    found = as_json(results.stuff, results.weights, list(results.evaluations))
    for (part, task), interval in results.intervals.items():
        found["parts"][part]["scores"][task]["interval_95"] = list(interval)
    return {"note": RESEARCH_ONLY, "notes": results.notes, **found}


def without_nan(value: Any) -> Any:
    """NaN is no JSON: null in its place."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def predictions_csv(results: Results) -> str:
    """One row a scored cycle."""
    corpus = results.stuff.corpus
    header = ["recording", "patient", "device", "part", "start_s", "end_s", "truth", "predicted"]
    rows: list[list[Any]] = []
    for e in results.evaluations:
        for row, p in zip(e.rows, e.probabilities, strict=True):
            c = corpus.cycles[row]
            where = [c.recording, c.patient, c.device, e.part, c.start_s, c.end_s]
            said = [corpus.classes[c.label], corpus.classes[int(p.argmax())]]
            rows.append([*where, *said, *map(exact, p)])
    return csv_text([*header, *(f"p_{name}" for name in corpus.classes)], rows)
