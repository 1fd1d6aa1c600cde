"""How far a probability may be trusted, and how a decision is chosen: all of it on patients the test does not know.

Temperature and thresholds are chosen on the validation patients and shown on the test patients as well. Where
validation has chosen the epoch too, calibration on the same patients is slightly optimistic for them; the test is
untouched by both.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from .errors import AuscultError
from .runs import read_json, write_json

BINS = 15
FORMAT = 1  # of calibration.json
FILE = "calibration.json"
TEMPERATURES = (0.05, 20.0)  # beyond these a network is broken, or all of validation is right
TINY = float(np.finfo(np.float32).smallest_subnormal)  # of a float32 probability that came out as 0


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What calibration.json holds for prediction; see `write_calibration` for the file.

    Args:
        temperature: logits are divided by it.
        threshold: a cycle is abnormal where P(abnormal) = 1 - P(normal), after the temperature, is at least this.
        confidence: a prediction whose largest probability, after the temperature, is below it had better be left to a
            listener; None where no such threshold keeps the risk that was asked for.
        selection: which epoch's weights it belongs to: ``last``, ``validation`` or ``best_on_test``.
        weights_sha256: `models.weights.digest` of these weights.
    """

    temperature: float
    threshold: float
    confidence: float | None
    selection: str
    weights_sha256: str


def write_calibration(folder: Path, found: Calibration, about: dict[str, Any]) -> Path:
    """Writes calibration.json: ``format`` 1, the fields of `Calibration`, and under ``measured`` what they achieve."""
    write_json(folder / FILE, {"format": FORMAT, **asdict(found), "measured": about})
    return folder / FILE


def read_calibration(folder: Path, weights_sha256: str) -> Calibration:
    """The calibration in a run folder, which must be that of these weights.

    Raises:
        AuscultError: E_RUN when there is none, or it is of another format or of other weights.
    """
    advice = f"`auscult analyse calibration {folder}` makes it."
    file = folder / FILE
    if not file.is_file():
        raise AuscultError("E_RUN", f"{file} does not exist; {advice}")
    told = read_json(file)
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise AuscultError("E_RUN", f"{file} is no calibration of format {FORMAT}; {advice}")
    if told["weights_sha256"] != weights_sha256:
        raise AuscultError(
            "E_RUN", f"{file} belongs to other weights, those selected by {told['selection']!r}; {advice}"
        )
    return Calibration(**{name: told[name] for name in Calibration.__dataclass_fields__})


def scaled(p: Float[np.ndarray, "N K"], temperature: float) -> Float[np.ndarray, "N K"]:
    """Probabilities whose logits are divided by a temperature, in double precision; above 1 they become milder.

    log p are logits: a softmax does not see a constant that is added to all of them.

    >>> scaled(np.array([[0.8, 0.2]]), 2.0).round(4).tolist()
    [[0.6667, 0.3333]]
    """
    z = np.log(np.maximum(p.astype(np.float64), TINY)) / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def log_loss(p: Float[np.ndarray, "N K"], truth: Int[np.ndarray, "N"]) -> float:
    """Mean negative log likelihood of the true classes, in nats."""
    return float(-np.log(np.maximum(p[np.arange(len(truth)), truth], TINY)).mean())


def fit_temperature(p: Float[np.ndarray, "N K"], truth: Int[np.ndarray, "N"]) -> float:
    """The temperature from 0.05 to 20 with the least negative log likelihood; it is convex in 1 / temperature.

    Raises:
        ValueError: no cycle.

    Source: Guo et al. 2017, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    if not len(truth):
        raise ValueError("no cycle to fit a temperature to")
    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(
        lambda log_t: log_loss(scaled(p, float(np.exp(log_t))), truth),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


@dataclass(frozen=True, kw_only=True)
class Bins:
    """A reliability diagram: cycles in bins of their confidence, the probability of the class they are given.

    Args:
        count: (B,) cycles; bins without any are left out.
        confidence: (B,) mean confidence.
        accuracy: (B,) share that is right.
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error: sum over bins of count / N |accuracy - confidence|."""
        return float(np.sum(self.count * np.abs(self.accuracy - self.confidence)) / self.count.sum())


def reliability(
    p: Float[np.ndarray, "N K"], truth: Int[np.ndarray, "N"], how: Literal["width", "mass"] = "width", bins: int = BINS
) -> Bins:
    """The reliability diagram of the class with the largest probability.

    Args:
        how: ``width``: bin b holds confidences in ((b - 1) / bins, b / bins], as published. ``mass``: bins of equal
            count, in order of confidence, the adaptive form, which leaves no bin to a handful of cycles.
        bins: how many at most.

    Raises:
        ValueError: no cycle.

    Source: Guo et al. 2017, equations 3 to 5; equal counts: Nguyen & O'Connor 2015.
    """
    if not len(truth):
        raise ValueError("no cycle to measure the calibration on")
    confidence, right = p.max(axis=1).astype(np.float64), p.argmax(axis=1) == truth
    if how == "width":
        owner = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        parts = [np.flatnonzero(owner == b) for b in range(bins)]
    else:
        parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    parts = [rows for rows in parts if len(rows)]
    return Bins(
        count=np.array([len(rows) for rows in parts]),
        confidence=np.array([confidence[rows].mean() for rows in parts]),
        accuracy=np.array([right[rows].mean() for rows in parts]),
    )


def cuts(score: Float[np.ndarray, "N"]) -> Float[np.ndarray, "C"]:
    """Every threshold that parts the scores in its own way, ascending: 0, between two neighbours, above all.

    In the middle between two scores, so that rounding elsewhere changes no decision.

    >>> cuts(np.array([0.25, 0.75, 0.25])).tolist()
    [0.0, 0.5, 0.875]
    """
    known = np.unique(score)
    return np.concatenate([[0.0], (known[1:] + known[:-1]) / 2, [(1 + known[-1]) / 2]])


def rates(score: Float[np.ndarray, "N"], abnormal: NDArray[np.bool_], threshold: float) -> tuple[float, float]:
    """Se and Sp of the question normal or abnormal when scores from `threshold` on count as abnormal; NaN without.

    >>> rates(np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, True, False, True]), 0.4)
    (1.0, 0.5)
    """
    said = score >= threshold
    se = said[abnormal].mean() if abnormal.any() else np.nan
    sp = (~said[~abnormal]).mean() if (~abnormal).any() else np.nan
    return float(se), float(sp)


def operating_point(
    score: Float[np.ndarray, "N"], abnormal: NDArray[np.bool_], target: float, side: Literal["Se", "Sp"] = "Se"
) -> float:
    """The threshold that reaches a sensitivity with the highest specificity; or the other way round.

    Args:
        score: P(abnormal) of the validation cycles.
        target: share of the abnormal (``Se``) or normal (``Sp``) cycles that must be found, above 0, at most 1.
        side: which of them.

    Raises:
        ValueError: a target outside (0, 1], or no cycle of one of the sides.
    """
    if not 0 < target <= 1:
        raise ValueError(f"{side}={target}; a share above 0, at most 1, is needed")
    if abnormal.all() or not abnormal.any():
        raise ValueError(f"{abnormal.sum()} abnormal and {(~abnormal).sum()} normal cycles; both are needed")
    found = cuts(score)
    own = np.sort(score[abnormal == (side == "Se")])
    below = np.searchsorted(own, found, side="left") / len(own)  # share of the side that is below the threshold
    if side == "Se":
        return float(found[1 - below >= target - 1e-12][-1])
    return float(found[below >= target - 1e-12][0])


@dataclass(frozen=True, kw_only=True)
class RiskCoverage:
    """What remains wrong when the least confident predictions are left out.

    Args:
        coverage: (M,) share that is kept, ascending to 1; predictions of equal confidence are kept together.
        risk: (M,) share of the kept that is wrong.
        confidence: (M,) the lowest confidence that is kept.
        aurc: mean risk over all N coverages 1/N to 1, ties taken at their mean.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    confidence: NDArray[np.float64]
    aurc: float


def risk_coverage(confidence: Float[np.ndarray, "N"], right: NDArray[np.bool_]) -> RiskCoverage:
    """The risk-coverage curve of predictions ordered by their confidence.

    Raises:
        ValueError: no prediction.

    Source: Geifman & El-Yaniv 2017, section 2; AURC: Geifman et al. 2019.
    """
    if not len(right):
        raise ValueError("no prediction to draw a risk-coverage curve of")
    values, place, count = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = np.bincount(place, weights=~right)
    kept = count.cumsum()
    alike = np.repeat(wrong / count, count)  # every prediction counts as wrong as those tied with it
    return RiskCoverage(
        coverage=kept / len(right),
        risk=wrong.cumsum() / kept,
        confidence=-values,
        aurc=float((alike.cumsum() / np.arange(1, len(right) + 1)).mean()),
    )


def abstention(curve: RiskCoverage, risk: float) -> float | None:
    """The confidence from which predictions are kept, so that as many as possible are and the risk is at most `risk`.

    In the middle between two confidences that occur; 0 keeps all. None where no coverage has so low a risk.
    """
    good = np.flatnonzero(curve.risk <= risk + 1e-12)
    if not len(good):
        return None
    last = good[-1]
    if last + 1 == len(curve.confidence):
        return 0.0
    return float((curve.confidence[last] + curve.confidence[last + 1]) / 2)


def roc(score: Float[np.ndarray, "N"], positive: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the negatives and of the positives whose score is from a threshold on, for falling thresholds, from 0.

    >>> [x.tolist() for x in roc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True]))]
    [[0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0]]
    """
    _, place = np.unique(-score, return_inverse=True)
    steps = [np.bincount(place, weights=own).cumsum() for own in (~positive, positive)]
    false, true = (np.concatenate([[0.0], own / max(own[-1], 1)]) for own in steps)
    return false, true


def auroc(
    score: Float[np.ndarray, "N"], positive: NDArray[np.bool_], patient: NDArray, times: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64]]:
    """Area under the ROC curve, and its value in each resample of the patients.

    The chance that a positive cycle scores above a negative one, half for ties. With W[p, q] the number of such pairs,
    the positive of patient p and the negative of patient q, patients drawn t times have t' W t / (t' n+ t' n-).

    Args:
        patient: (N,) names.
        times: (R, P) how often each patient is drawn, in the order of their names.

    Returns:
        NaN where there is no positive or no negative cycle; resamples without either are left out.

    Source: Hanley & McNeil 1982, the area as a Mann-Whitney statistic; patients drawn as in `statistics`.
    """
    names, owner = np.unique(patient, return_inverse=True)
    if positive.all() or not positive.any():
        return float("nan"), np.zeros(0)
    wins = np.zeros((len(names), len(names)))
    lows, low_owner = score[~positive], owner[~positive]
    for q in range(len(names)):
        other = np.sort(lows[low_owner == q])
        won = np.searchsorted(other, score[positive], "left") + np.searchsorted(other, score[positive], "right")
        wins[:, q] = np.bincount(owner[positive], weights=won / 2, minlength=len(names))
    yes, no = (np.bincount(owner[side], minlength=len(names)) for side in (positive, ~positive))
    t = times.astype(np.float64)
    pairs = (t @ yes) * (t @ no)
    drawn = ((t @ wins) * t).sum(axis=1)
    return float(wins.sum() / (yes.sum() * no.sum())), drawn[pairs > 0] / pairs[pairs > 0]
