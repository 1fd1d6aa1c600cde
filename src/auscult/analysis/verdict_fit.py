"""Fits what `signal/verdict.py` keeps: what good recordings of breathing are like, and what the poor ones lack.

Good are the recordings of both training parts that have annotated breaths; poor are SPRSound's "Poor Quality". The
line is a logistic regression, the distance Mahalanobis'. Both see breathing only: how well sounds of other kinds are
refused is then no memory of the fit.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..config import fingerprint
from ..data.cycles import Corpus
from ..progress import track
from ..signal import io
from ..signal.verdict import MEASURES, RHYTHM_S, measure, refusals, vector

GOOD_REFUSED = 0.02  # of SPRSound's good training recordings, by the line
GOOD_UNLIKE = 0.005  # of all good training recordings, by the distance, before the allowance
NEW_DEVICE = 1.3  # allowance on the distance: with ICBHI left out of the fit it accepts 89 % of ICBHI instead of 68 %
SHARES = {"normal": 0.5, "abnormal": 0.5, "other": 0.2}  # weights in the line; "poor" weighs as much as all three
EDGES = (0.5, 99.5)  # percentiles of the good: beyond them a measure counts as at the edge
RIDGE = 1e-3
STEPS = 25  # Newton's method has long converged
DIGITS = 6


def fit(sprsound: Corpus, icbhi: Corpus) -> dict[str, Any]:
    """What verdict.json holds, from the training parts of both data sets.

    Recordings that the plain limits refuse, or under 5 s, take no part.
    """
    rows = [*known(sprsound), *(("other", x) for _, x in known(icbhi))]
    kinds, x = np.array([kind for kind, _ in rows]), np.array([x for _, x in rows])
    boundary = boundary_of(x, kinds)
    counts = {kind: int(np.sum(kinds == kind)) for kind in (*SHARES, "poor")}
    return {
        "measures": list(MEASURES),
        "boundary": boundary,
        "fingerprint": fingerprint(boundary),
        "made_of": {
            "sprsound train": {k: n for k, n in counts.items() if k != "other"},
            "icbhi train": counts["other"],
        },
    }


def known(corpus: Corpus) -> list[tuple[str, Float[np.ndarray, "M"]]]:
    """Of each training recording what is in it, ``normal``, ``abnormal`` or ``poor``, and its measures in order."""
    breathing = {cycle.recording for cycle in corpus.cycles}
    abnormal = {cycle.recording for cycle in corpus.cycles if cycle.label}
    stems = [stem for stem in sorted(corpus.audio) if corpus.recordings[stem] == corpus.train_part]
    rows = []
    for stem in track(stems, f"measuring {corpus.name}"):
        recording = io.decode(corpus.audio[stem])
        found = measure(recording.waveform, recording.native_rate)
        if not refusals(found) and found["duration_s"] >= RHYTHM_S:
            kind = "abnormal" if stem in abnormal else "normal" if stem in breathing else "poor"
            rows.append((kind, vector(found)))
    return rows


def boundary_of(x: Float[np.ndarray, "N M"], kinds: np.ndarray) -> dict[str, Any]:
    """The fields of `signal.verdict.Boundary`.

    Args:
        x: measures of the recordings.
        kinds: ``normal``, ``abnormal``, ``poor``, and ``other`` for good recordings of the other data set, whose
            devices differ. The distance gives both data sets the same weight.
    """
    poor, other = kinds == "poor", kinds == "other"
    good, first = ~poor, ~poor & ~other
    line, even = np.zeros(len(x)), np.where(other, 1 / max(1, other.sum()), 1 / first.sum())
    for kind, share in (SHARES | {"poor": sum(SHARES.values())}).items():
        line[kinds == kind] = share / max(1, np.sum(kinds == kind))
    edges = np.array([np.percentile(x[rows], EDGES, axis=0) for rows in (first, other) if rows.any()])
    low, high = edges[:, 0].min(axis=0), edges[:, 1].max(axis=0)
    inside = np.clip(x, low, high)
    weights, bias = logistic(inside, poor, line)
    centre = np.average(x[good], axis=0, weights=even[good])
    whitening = np.linalg.cholesky(np.linalg.inv(np.cov(x[good].T, aweights=even[good]))).T
    distance = np.linalg.norm((x[good] - centre) @ whitening.T, axis=1)
    found = {
        "low": low,
        "high": high,
        "weights": weights,
        "bias": bias,
        "poor_above": np.quantile(inside[first] @ weights + bias, 1 - GOOD_REFUSED),
        "centre": centre,
        "whitening": whitening,
        "unlike_above": NEW_DEVICE * np.quantile(distance, 1 - GOOD_UNLIKE),
    }
    return {name: np.round(value, DIGITS).tolist() for name, value in found.items()}


def logistic(
    x: Float[np.ndarray, "N M"], positive: Bool[np.ndarray, "N"], weight: Float[np.ndarray, "N"]
) -> tuple[Float[np.ndarray, "M"], float]:
    """Weights and bias of a logistic regression with a small ridge, by Newton's method on standardised columns."""
    middle, scale = x.mean(axis=0), x.std(axis=0)
    columns = np.column_stack([(x - middle) / scale, np.ones(len(x))])
    weight, ridge = weight / weight.sum(), RIDGE * np.eye(columns.shape[1])
    ridge[-1, -1] = 0
    beta = np.zeros(columns.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-columns @ beta))
        slope = columns.T @ (weight * (p - positive)) + ridge @ beta
        beta -= np.linalg.solve((columns.T * (weight * p * (1 - p))) @ columns + ridge, slope)
    weights = beta[:-1] / scale
    return weights, float(beta[-1] - middle @ weights)
