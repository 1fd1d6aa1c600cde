"""A run as one weights file that can speak of recordings: with temperature, thresholds and what they were chosen on.

Everything is chosen on the patients that training held out. The test parts choose nothing; their scores go along.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .box import KEY, Choice, OperatingPoint
from .calibration import cuts, fit_temperature, rates, scaled
from .data.material import Material
from .errors import AuscultError
from .evaluate import Evaluation, evaluate, weights_file
from .models.weights import Weights, load_weights, save_weights
from .predict import Model, load
from .progress import track
from .runs import Run, read_json

POINTS = np.linspace(0.05, 0.95, 19)  # of the slider
RISK = 0.1  # of the validation recordings that are called normal, so many may be wrong; of those called abnormal too


def export(run: Run, out: Path, *, data: Path | None = None, selection: str | None = None) -> Choice:
    """Writes the weights of a run with its choices; gives these.

    Args:
        data: folder of the data set, when it has moved since training.
        selection: which epoch's weights; None takes the recipe's own choice.

    Raises:
        AuscultError: E_RUN, E_DATA; E_SETTING for a run that held out no patients.
    """
    if not run.settings()["recipe"]["validation"]:
        raise AuscultError(
            "E_SETTING", f"{run.folder} held out no patients to choose on; train it with validation=0.2."
        )
    stuff, weights, (found,) = evaluate(run, data=data, selection=selection, parts=("validation",))
    choice = choose(stuff, found, load(run.folder, selection=selection, calibrated=False))
    plain = load_weights(weights_file(run, selection))
    facts = plain.facts | {KEY: choice.to_dict(), "scores": scores_of(run, weights)}
    save_weights(out, Weights(state=plain.state, recipe=plain.recipe, classes=plain.classes, facts=facts))
    return choice


def choose(stuff: Material, found: Evaluation, model: Model) -> Choice:
    """Temperature and thresholds from the held-out patients.

    The threshold of a breath is the one with the highest (Se + Sp) / 2 on their annotated breaths. That of a recording
    is the same on their recordings as `predict` hears them, with breaths found by itself, where its verdict accepts
    them; nothing is said so close to it that the others would be wrong in more than a tenth, or of half of them where
    that is not enough.

    Raises:
        AuscultError: E_DATA where all are normal or all abnormal.
    """
    cycles = [stuff.corpus.cycles[row] for row in found.rows]
    truth = np.array([c.label for c in cycles])
    abnormal = truth > 0
    if abnormal.all() or not abnormal.any():
        raise AuscultError(
            "E_DATA", "the held-out patients have one kind of breath only; hold out more: --set validation=0.3."
        )
    temperature = fit_temperature(found.probabilities, truth)
    score = 1 - scaled(found.probabilities, temperature)[:, 0]
    threshold = best(score, abnormal)
    model.choice = Choice(temperature=temperature, threshold=threshold)
    names = sorted({c.recording for c in cycles})
    ill = np.array([name in {c.recording for c in cycles if c.label} for name in names])
    heard = [model.predict(stuff.corpus.audio[name], how="segment") for name in track(names, "recordings")]
    good = np.array([p.verdict.kind == "accept" and p.p_abnormal is not None for p in heard])
    mean, ill = np.array([p.p_abnormal for p in heard], np.float64)[good], ill[good]
    recording = best(mean, ill) if ill.any() and not ill.all() else threshold
    unsure = band(mean, ill, recording) if len(mean) else (recording, recording)
    said = (mean <= unsure[0]) | (mean >= unsure[1])
    points = []
    for t in (*POINTS, threshold):
        se, sp = rates(score, abnormal, float(t))
        points.append(OperatingPoint(threshold=round(float(t), 4), sensitivity=round(se, 4), specificity=round(sp, 4)))
    se, sp = rates(mean, ill, recording)
    measured: dict[str, Any] = {
        "on": f"patients of {stuff.corpus.name} that training held out",
        "patients": len({c.patient for c in cycles}),
        "breaths": len(cycles),
        "recordings": len(names),
        "recordings_accepted": len(mean),
        "recording_sensitivity": fraction(se),
        "recording_specificity": fraction(sp),
        "said": fraction(said.mean() if len(said) else np.nan),
        "said_right": fraction(((mean >= recording) == ill)[said].mean() if said.any() else np.nan),
    }
    return Choice(
        temperature=temperature,
        threshold=threshold,
        recording=recording,
        unsure=unsure,
        points=tuple(sorted(points, key=lambda point: point.threshold)),
        measured=measured,
    )


def fraction(value: float) -> float | None:
    """Four decimals; None for NaN, which JSON does not know."""
    return None if np.isnan(value) else round(float(value), 4)


def best(score: NDArray[np.float64], abnormal: NDArray[np.bool_]) -> float:
    """The threshold with the highest (Se + Sp) / 2.

    >>> best(np.array([0.0, 0.5, 0.25, 1.0]), np.array([False, False, True, True]))
    0.125
    """
    found = cuts(score)
    return float(found[int(np.argmax([sum(rates(score, abnormal, float(t))) for t in found]))])


def band(score: NDArray[np.float64], abnormal: NDArray[np.bool_], threshold: float) -> tuple[float, float]:
    """Where nothing is said, around a threshold: what lies below and what lies above is wrong as `RISK` allows, each.

    A side that is wrong more often, however little is said of it, says nothing at all: its end is 0, or 1.

    >>> band(np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, False, False, True]), 0.5)
    (0.2, 0.9)
    """
    below, above = score < threshold, score >= threshold
    low = _furthest(score[below], abnormal[below])
    high = _furthest(-score[above], ~abnormal[above])
    return (0.0 if low is None else low, 1.0 if high is None else -high)


def _furthest(score: NDArray[np.float64], wrong: NDArray[np.bool_]) -> float | None:
    """The largest score up to which `RISK` is kept; None where it is nowhere."""
    order = np.argsort(score)
    ends = np.diff(score[order], append=np.inf) > 0  # of equal ones the last counts
    kept = np.flatnonzero(ends & (np.cumsum(wrong[order]) <= RISK * np.arange(1, len(score) + 1)))
    return float(score[order][kept[-1]]) if len(kept) else None


def scores_of(run: Run, weights: Weights) -> dict[str, Any]:
    """The scores that `auscult evaluate` has left in the run folder; none where it has not been scored so."""
    file = run.folder / "scores.json"
    if not file.exists():
        return {}
    told = read_json(file)
    if told["facts"]["selection"] != weights.facts["selection"]:
        return {}
    return {"split": told["split"], "parts": told["parts"]}
