"""Calibrates a run on its validation patients, chooses its operating point there, and shows both on the test."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..calibration import (
    Bins,
    Calibration,
    RiskCoverage,
    abstention,
    auroc,
    fit_temperature,
    log_loss,
    operating_point,
    rates,
    reliability,
    risk_coverage,
    roc,
    scaled,
    write_calibration,
)
from ..data.material import Material
from ..errors import AuscultError
from ..evaluate import Evaluation, evaluate
from ..models.weights import digest
from ..runs import Run, without_nan, write_text
from ..statistics import multiplicities, percentile_ends
from .shift import MIN_CYCLES, MIN_PATIENTS
from .spreadsheet import csv_text

RESAMPLES = 2000
ABNORMAL = "abnormal"
OWN_PATIENTS = (
    "Validation chose the epoch as well as temperature and thresholds: what is shown on the validation patients is "
    "slightly optimistic. The test patients chose nothing."
)


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """Predicted cycles of one part.

    Args:
        p: (N, K) as the model gives them.
        truth: (N,) class; 0 is normal.
        patient: (N,) names.
    """

    part: str
    p: NDArray[np.float32]
    truth: NDArray[np.int64]
    patient: NDArray[np.str_]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The ROC curve of a class against all others.

    Args:
        name: of the class; ``abnormal`` for all but normal.
        cycles: of the class.
        false: share of the others that is taken for it, see `calibration.roc`.
        true: share of it that is found.
        area: under the curve.
        interval: 95 %, patients resampled; NaN with fewer than 10 cycles or 5 patients of the class.
    """

    name: str
    cycles: int
    false: NDArray[np.float64]
    true: NDArray[np.float64]
    area: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What calibration and thresholds make of one part; ``before`` and ``after`` the temperature.

    Args:
        loss: mean negative log likelihood before, after.
        before: reliability diagrams in bins of equal width and of equal count.
        after: the same.
        point: Se and Sp at the threshold.
        point_intervals: 95 % of both, patients resampled.
        kept: coverage and risk at the confidence from which predictions are kept; None where there is none.
        risks: the risk-coverage curve, after the temperature.
        curves: of ``abnormal`` and every abnormal class that has cycles, after the temperature.
    """

    part: str
    cycles: int
    patients: int
    loss: tuple[float, float]
    before: tuple[Bins, Bins]
    after: tuple[Bins, Bins]
    point: tuple[float, float]
    point_intervals: tuple[tuple[float, float], tuple[float, float]]
    kept: tuple[float, float] | None
    risks: RiskCoverage
    curves: tuple[Curve, ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A calibrated run.

    Args:
        where: data set and split in words.
        side: ``Se`` or ``Sp``, the one that was asked for.
        target: how much of it.
        risk: the share of wrong predictions that may be kept.
        parts: validation, then the test parts.
        remarks: what must stand beside the numbers.
    """

    where: str
    calibration: Calibration
    side: Literal["Se", "Sp"]
    target: float
    risk: float
    parts: tuple[Part, ...]
    remarks: tuple[str, ...]


def calibrate(
    run: Run,
    *,
    side: Literal["Se", "Sp"] = "Se",
    target: float = 0.9,
    risk: float = 0.1,
    data: Path | None = None,
    selection: str | None = None,
    device: str = "cpu",
) -> Measured:
    """Fits temperature and thresholds on the validation patients of a run.

    Args:
        side: whether the operating point has to reach a sensitivity or a specificity.
        target: how much of it.
        risk: share of wrong predictions that abstention may leave.
        data: folder of the data set, when it has moved since training.
        selection: which epoch's weights; None takes the recipe's own choice.

    Raises:
        AuscultError: E_SETTING for a share that is none, or a run that held out no patients; E_RUN, E_DATA.
    """
    for name, value in (("sensitivity" if side == "Se" else "specificity", target), ("risk", risk)):
        if not 0 < value <= 1:
            raise AuscultError("E_SETTING", f"--{name} {value:g}; a share above 0, at most 1, is needed.")
    if not run.settings()["recipe"]["validation"]:
        raise AuscultError(
            "E_SETTING",
            f"{run.folder} held out no patients to choose on; train it with --set validation=0.2, the share of the "
            "training patients that is.",
        )
    stuff, weights, found = evaluate(run, data=data, selection=selection, parts=("validation",), device=device)
    tests = tuple(part for part, rows in stuff.split.tests.items() if rows)
    if tests:
        found += evaluate(run, data=data, selection=selection, parts=tests, device=device)[2]
    own, *others = [cycles_of(stuff, e) for e in found]
    chosen = choose(own, side, target, risk, weights.facts["selection"], digest(weights.state))
    corpus, several = stuff.corpus, weights.facts["selection"] == "validation"
    return Measured(
        where=f"{corpus.name}, {stuff.kind} split, {weights.recipe['name']}, seed {weights.facts['seed']}",
        calibration=chosen,
        side=side,
        target=target,
        risk=risk,
        parts=tuple(part_of(cycles, chosen, corpus.classes) for cycles in (own, *others)),
        remarks=(OWN_PATIENTS,) if several else (),
    )


def cycles_of(stuff: Material, evaluation: Evaluation) -> Cycles:
    """Truth and patients beside the probabilities of a part."""
    cycles = [stuff.corpus.cycles[row] for row in evaluation.rows]
    return Cycles(
        part=evaluation.part,
        p=evaluation.probabilities,
        truth=np.array([c.label for c in cycles]),
        patient=np.array([c.patient for c in cycles]),
    )


def choose(
    own: Cycles, side: Literal["Se", "Sp"], target: float, risk: float, selection: str, weights_sha256: str
) -> Calibration:
    """Temperature and thresholds from the validation cycles.

    Raises:
        AuscultError: E_DATA where they are all normal or all abnormal.
    """
    abnormal = own.truth > 0
    if abnormal.all() or not abnormal.any():
        raise AuscultError(
            "E_DATA",
            f"the validation patients have {abnormal.sum()} abnormal and {(~abnormal).sum()} normal cycles; an "
            "operating point needs both. Hold out more patients: --set validation=0.3.",
        )
    temperature = fit_temperature(own.p, own.truth)
    q = scaled(own.p, temperature)
    return Calibration(
        temperature=temperature,
        threshold=operating_point(1 - q[:, 0], abnormal, target, side),
        confidence=abstention(risk_coverage(q.max(axis=1), q.argmax(axis=1) == own.truth), risk),
        selection=selection,
        weights_sha256=weights_sha256,
    )


def part_of(cycles: Cycles, chosen: Calibration, classes: tuple[str, ...]) -> Part:
    """What temperature and thresholds make of a part."""
    p, truth = cycles.p.astype(np.float64), cycles.truth
    q = scaled(p, chosen.temperature)
    score, confidence, right = 1 - q[:, 0], q.max(axis=1), q.argmax(axis=1) == truth
    kept = None if chosen.confidence is None else confidence >= chosen.confidence
    names, owner = np.unique(cycles.patient, return_inverse=True)
    times = multiplicities(len(names), RESAMPLES, 0)
    said = score >= chosen.threshold
    sides = [share_interval(said == side, (truth > 0) == side, owner, times) for side in (True, False)]
    return Part(
        part=cycles.part,
        cycles=len(truth),
        patients=len(names),
        loss=(log_loss(p, truth), log_loss(q, truth)),
        before=(reliability(p, truth), reliability(p, truth, "mass")),
        after=(reliability(q, truth), reliability(q, truth, "mass")),
        point=rates(score, truth > 0, chosen.threshold),
        point_intervals=(sides[0], sides[1]),
        kept=None if kept is None else (float(kept.mean()), float(1 - right[kept].mean()) if kept.any() else np.nan),
        risks=risk_coverage(confidence, right),
        curves=tuple(curves(q, cycles, classes, times)),
    )


def share_interval(
    found: NDArray[np.bool_], there: NDArray[np.bool_], owner: NDArray[np.int64], times: NDArray[np.int64]
) -> tuple[float, float]:
    """95 % interval of the share of some cycles that is found, patients resampled; NaN with one patient."""
    n, k = (np.bincount(owner[own], minlength=times.shape[1]) for own in (there, there & found))
    whole = times @ n
    return percentile_ends((times @ k)[whole > 0] / whole[whole > 0] if times.shape[1] > 1 else np.zeros(0), 0.95)


def curves(
    q: NDArray[np.float64], cycles: Cycles, classes: tuple[str, ...], times: NDArray[np.int64]
) -> Iterator[Curve]:
    """The ROC curves of a part; that of normal is the one of abnormal, seen from the other side."""
    scores = {ABNORMAL: (1 - q[:, 0], cycles.truth > 0)}
    scores |= {name: (q[:, k], cycles.truth == k) for k, name in enumerate(classes) if k}
    for name, (score, positive) in scores.items():
        if positive.any() and not positive.all():
            area, drawn = auroc(score, positive, cycles.patient, times)
            false, true = roc(score, positive)
            enough = positive.sum() >= MIN_CYCLES and len(np.unique(cycles.patient[positive])) >= MIN_PATIENTS
            interval = percentile_ends(drawn if enough else np.zeros(0), 0.95)
            yield Curve(name=name, cycles=int(positive.sum()), false=false, true=true, area=area, interval=interval)


def about(found: Measured) -> dict[str, Any]:
    """What calibration.json holds under ``measured``."""
    target = {"measure": found.side, "at_least": found.target, "risk_at_most": found.risk}
    parts = {part.part: about_part(part) for part in found.parts}
    return without_nan(
        {"where": found.where, "chosen_on": "validation", **target, "parts": parts, "notes": found.remarks}
    )


def about_part(part: Part) -> dict[str, Any]:
    """The numbers of a part; ``ece`` in 15 bins of equal width, ``ece_equal_counts`` in 15 of equal count."""
    two = (("before", part.before), ("after", part.after))
    return {
        "cycles": part.cycles,
        "patients": part.patients,
        "log_loss": dict(zip(("before", "after"), part.loss, strict=True)),
        "ece": {name: bins[0].error for name, bins in two},
        "ece_equal_counts": {name: bins[1].error for name, bins in two},
        "operating_point": {
            name: {"value": value, "interval_95": interval}
            for name, value, interval in zip(("Se", "Sp"), part.point, part.point_intervals, strict=True)
        },
        "abstention": None if part.kept is None else dict(zip(("coverage", "risk"), part.kept, strict=True)),
        "aurc": part.risks.aurc,
        "risk": float(part.risks.risk[-1]),
        "auroc": {c.name: {"cycles": c.cycles, "value": c.area, "interval_95": c.interval} for c in part.curves},
    }


def tables(found: Measured) -> dict[str, str]:
    """File name -> CSV of what the figure draws, for every part."""
    bins, points, risks = [], [], []
    for part in found.parts:
        for state, pair in (("before", part.before), ("after", part.after)):
            for how, one in zip(("width", "count"), pair, strict=True):
                own = zip(one.count.tolist(), one.confidence.tolist(), one.accuracy.tolist(), strict=True)
                bins += [[part.part, state, how, *row] for row in own]
        for curve in part.curves:
            points += [
                [part.part, curve.name, *row] for row in zip(curve.false.tolist(), curve.true.tolist(), strict=True)
            ]
        r = part.risks
        own = zip(r.coverage.tolist(), r.risk.tolist(), r.confidence.tolist(), strict=True)
        risks += [[part.part, *row] for row in own]
    return {
        "reliability.csv": csv_text(["part", "temperature", "bins_of_equal", "cycles", "confidence", "accuracy"], bins),
        "roc.csv": csv_text(["part", "class", "false_positive_rate", "true_positive_rate"], points),
        "risk_coverage.csv": csv_text(["part", "coverage", "risk", "confidence"], risks),
    }


def write(run: Path, out: Path, found: Measured) -> list[Path]:
    """calibration.json into the run folder, where prediction looks for it; figure, caption and tables into `out`."""
    from .calibration_figure import caption, figure
    from .spectral_figure import save

    made = [write_calibration(run, found.calibration, about(found)), *save(figure(found), out / "calibration")]
    for name, text in {"calibration.md": f"{caption(found)}\n", **tables(found)}.items():
        write_text(out / name, text)
        made.append(out / name)
    return made
