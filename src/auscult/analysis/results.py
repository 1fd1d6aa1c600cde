"""What an evaluation leaves: scores.json, predictions.csv, shift.csv, report.html, and words beside the numbers."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import fingerprint
from ..data.bandwidth_store import bandwidths
from ..data.label_maps import DEFAULT
from ..data.material import Bar, Material
from ..data.splits import DEVICE
from ..evaluate import Evaluation, as_json
from ..metrics import Task, patient_confusions
from ..models.weights import Weights
from ..out_of_domain import Domain
from ..runs import Run, read_json, without_nan, write_text
from ..statistics import score_interval
from . import RESEARCH_ONLY
from .domain import cautions, domain_dict
from .row_checks import sha256, with_checks
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
        domain: what lies between the model and the data, where the model has not learned from this data set.
        bandwidth_hz: of the scored recordings, as far as it is known.
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
    domain: Domain | None = None
    bandwidth_hz: dict[str, float] = field(default_factory=dict)

    def where(self, part: str | None = None) -> str:
        """Data set, part and split in words; for a data set that is new to the model they say so."""
        named = [self.stuff.corpus.name, *([f"part {part}"] if part else []), f"{self.stuff.kind} split"]
        if self.domain is not None:
            labels = self.domain.labels
            named += ["out of domain", f"label map {labels.name} version {labels.version}"]
        return ", ".join(named)


def collect(
    run: Run, stuff: Material, weights: Weights, evaluations: list[Evaluation], domain: Domain | None = None
) -> Results:
    """Adds intervals, notes and the run's own records to an evaluation."""
    settings = run.settings()
    intervals = {}
    for e in evaluations:
        for task in stuff.corpus.tasks:
            intervals[e.part, task.name] = score_interval(by_patient(stuff, e, task), task)
    scored = {stuff.corpus.cycles[row].recording for e in evaluations for row in e.rows}
    return Results(
        run=str(run.folder),
        stuff=stuff,
        weights=weights,
        evaluations=tuple(evaluations),
        intervals=intervals,
        notes=tuple(
            notes(stuff, weights, settings)
            if domain is None
            else cautions(stuff, weights, evaluations, domain, settings["partial"])
        ),
        settings=settings,
        environment=read_json(run.folder / "environment.json"),
        history=run.history(),
        domain=domain,
        bandwidth_hz=bandwidths(stuff.corpus, scored, Bar("bandwidth of recordings")) if stuff.heard else {},
    )


def by_patient(stuff: Material, evaluation: Evaluation, task: Task) -> NDArray[np.int64]:
    """Confusion matrix of every patient of a part, as `metrics.task_confusion` makes it. Shape: (P, K, K)."""
    cycles = [stuff.corpus.cycles[row] for row in evaluation.rows]
    truth, names = [c.label for c in cycles], [c.patient for c in cycles]
    return patient_confusions(truth, evaluation.probabilities, names, task)


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
    if stuff.kind.startswith(DEVICE):
        found.append(
            f"Trained without {stuff.kind.removeprefix(DEVICE)}, tested on its cycles of the test part alone: not a "
            f"score on the official test of {corpus.name}."
        )
    if not stuff.heard:
        found.append(f"{settings['recipe']['name']} heard nothing: it knows annotations and file names alone.")
    if settings["partial"] and corpus.missing_audio:
        found.append(partial_note(stuff))
    if weights.facts.get("selection") == "last" and not any(stuff.split.tests.values()):
        found.append(
            "No test recording is here: part validation is patients held out of the training part; they chose nothing, "
            "as the last epoch was taken."
        )
        if weights.recipe["selection"] != "last":
            found.append(
                "Without --selection last, `auscult predict` takes another epoch of this run: the one that is best on "
                "these patients."
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


def write(out: Path, results: Results, extra: str = "") -> Path:
    """Writes scores.json, predictions.csv, shift.csv and report.html; gives the report's place.

    Out of domain they are scores_DATASET.json and so on; with another label map than the default one its name follows.

    Args:
        extra: HTML that the report shows after its parts.
    """
    from .report import page
    from .shift_run import write_run_shift

    predictions = with_checks(predictions_csv(results))
    scores = scores_dict(results) | {"predictions_sha256": sha256(predictions)}
    ending = file_ending(results)
    write_text(out / f"scores{ending}.json", scores_text(scores))
    write_text(out / f"predictions{ending}.csv", predictions)
    shifts = write_run_shift(out, ending).read_text(encoding="utf-8")
    write_text(out / f"report{ending}.html", page(results, shifts, extra))
    return out / f"report{ending}.html"


def file_ending(results: Results) -> str:
    """What the names of the files end with: scores on another data set never take the place of the run's own."""
    if results.domain is None:
        return ""
    name = results.domain.labels.name
    return f"_{results.stuff.corpus.name}" + (f"_{name}" if name != DEFAULT else "")


def scores_dict(results: Results) -> dict[str, Any]:
    """The content of scores.json."""
    found = as_json(results.stuff, results.weights, list(results.evaluations))
    for (part, task), interval in results.intervals.items():
        found["parts"][part]["scores"][task]["interval_95"] = list(interval)
    recipe = {"name": results.weights.recipe["name"], "fingerprint": fingerprint(results.weights.recipe)}
    tasks = [asdict(task) for task in results.stuff.corpus.tasks]
    new = {} if results.domain is None else {"out_of_domain": domain_dict(results.domain)}
    return {"note": RESEARCH_ONLY, "notes": results.notes, "recipe": recipe, "tasks": tasks, **new, **found}


def scores_text(scores: dict[str, Any]) -> str:
    """scores.json as it is written."""
    return json.dumps(without_nan(scores), indent=2, allow_nan=False) + "\n"


def predictions_csv(results: Results) -> str:
    """One row a scored cycle, with all that a report on shifts needs; what is not known is an empty cell."""
    corpus = results.stuff.corpus
    header = ["recording", "patient", "device", "part", "start_s", "end_s", "quality"]
    header += ["site", "age_years", "sex", "bandwidth_hz", "truth", "predicted"]
    quality = results.stuff.quality
    rows: list[list[Any]] = []
    for e in results.evaluations:
        for row, p in zip(e.rows, e.probabilities, strict=True):
            c = corpus.cycles[row]
            score = None if quality is None or np.isnan(quality.scores[row]) else exact(quality.scores[row])
            where = [c.recording, c.patient, c.device, e.part, c.start_s, c.end_s, score]
            about = [c.site, c.age_years, c.sex, results.bandwidth_hz.get(c.recording)]
            said = [corpus.classes[c.label], corpus.classes[int(p.argmax())]]
            rows.append([*where, *about, *said, *map(exact, p)])
    return csv_text([*header, *(f"p_{name}" for name in corpus.classes)], rows)
