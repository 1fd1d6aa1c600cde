"""Temperature, ECE, thresholds, risk-coverage and ROC by hand and against sklearn; the command on a tiny run."""

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from sklearn.metrics import roc_auc_score, roc_curve

import auscult
from auscult.analysis.calibration_figure import figure
from auscult.analysis.calibration_run import Measured, calibrate, share_interval
from auscult.calibration import (
    Calibration,
    abstention,
    auroc,
    cuts,
    fit_temperature,
    log_loss,
    operating_point,
    rates,
    read_calibration,
    reliability,
    risk_coverage,
    roc,
    scaled,
    write_calibration,
)
from auscult.errors import AuscultError
from auscult.evaluate import evaluate
from auscult.runs import Run
from auscult.statistics import multiplicities
from auscult.train import train

from .small import small_corpus, small_recipe


def drawn(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and classes that are drawn from them: calibrated by construction."""
    generator = np.random.default_rng(seed)
    p = scaled(generator.dirichlet(np.ones(classes), n), 1.0)
    return p, (p.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1)


def test_a_known_temperature_is_recovered() -> None:
    p, truth = drawn(20000, 4)
    for temperature in (0.5, 1.0, 3.0):
        told = scaled(p, 1 / temperature)  # logits `temperature` times too large
        assert fit_temperature(told, truth) == pytest.approx(temperature, rel=0.03)


def test_the_temperature_has_the_least_loss_of_a_fine_grid() -> None:
    p, truth = drawn(300, 3, seed=1)
    told = scaled(p, 0.4)
    best = fit_temperature(told, truth)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 2000))
    losses = [log_loss(scaled(told, float(t)), truth) for t in grid]
    assert log_loss(scaled(told, best), truth) <= min(losses) + 1e-12
    assert best == pytest.approx(grid[int(np.argmin(losses))], rel=0.01)
    sure = np.eye(2, dtype=np.float32)[truth % 2]
    assert 0.05 <= fit_temperature(sure * 0.9 + 0.05, truth % 2) < 0.1, "all right: as sharp as the range allows"
    assert math.isfinite(log_loss(scaled(sure, 1.0), 1 - truth % 2)), "a probability of 0 that came true"


def test_scaled_is_the_softmax_of_divided_logits() -> None:
    z = np.random.default_rng(0).normal(size=(5, 4))
    softmax = lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)  # noqa: E731
    assert scaled(softmax(z), 2.5) == pytest.approx(softmax(z / 2.5)) and scaled(softmax(z), 1) == pytest.approx(
        softmax(z)
    )


def test_ece_by_hand() -> None:
    """Four cycles: two in the bin (0.6, 0.667], one right; one at 0.9, right; one at 1, wrong."""
    p = np.array([[0.62, 0.38], [0.36, 0.64], [0.9, 0.1], [0.0, 1.0]])
    bins = reliability(p, np.array([0, 0, 0, 0]))
    assert bins.count.tolist() == [2, 1, 1] and bins.accuracy.tolist() == [0.5, 1.0, 0.0]
    assert bins.confidence == pytest.approx([0.63, 0.9, 1.0])
    assert bins.error == pytest.approx((2 * 0.13 + 0.1 + 1.0) / 4)
    halves = reliability(p, np.array([0, 0, 0, 0]), "mass", 2)
    assert halves.count.tolist() == [2, 2] and halves.error == pytest.approx((0.13 + 0.45) / 2)
    edge = reliability(np.array([[2 / 3, 1 / 3], [0.7, 0.3]]), np.array([0, 0]), bins=3)
    assert edge.count.tolist() == [1, 1], "a confidence of 2/3 is in the bin that ends there"
    p, truth = drawn(30000, 3)
    assert reliability(p, truth).error < 0.01 < 0.05 < reliability(scaled(p, 0.5), truth).error


def test_the_threshold_reaches_the_sensitivity_with_the_highest_specificity() -> None:
    generator = np.random.default_rng(0)
    for n in (5, 40, 200):
        score, abnormal = generator.integers(0, 30, n) / 31, np.arange(n) % 3 == 0
        for target in (0.01, 0.5, 0.8, 0.9, 1.0):
            for side, own in (("Se", 0), ("Sp", 1)):
                threshold = operating_point(score, abnormal, target, side)
                found = rates(score, abnormal, threshold)
                every = [rates(score, abnormal, t) for t in np.linspace(0, 1, 400)]
                assert found[own] >= target
                assert found[1 - own] == max(r[1 - own] for r in every if r[own] >= target)
    abnormal = np.array([True] * 10 + [False] * 10)
    assert rates(np.arange(20) / 20, abnormal, operating_point(np.arange(20) / 20, abnormal, 0.9))[0] == 0.9


def test_a_threshold_is_between_scores() -> None:
    score = np.array([0.1, 0.2, 0.2, 0.8])
    assert cuts(score) == pytest.approx([0, 0.15, 0.5, 0.9])
    for wrong in (0.0, 1.1):
        with pytest.raises(ValueError, match="above 0, at most 1"):
            operating_point(score, score > 0.5, wrong)
    with pytest.raises(ValueError, match="both are needed"):
        operating_point(score, score > 0, 0.9)


def test_risk_and_coverage_by_hand() -> None:
    curve = risk_coverage(np.array([0.6, 0.9, 0.8, 0.8, 0.5]), np.array([True, True, False, True, False]))
    assert curve.confidence.tolist() == [0.9, 0.8, 0.6, 0.5]
    assert curve.coverage == pytest.approx([0.2, 0.6, 0.8, 1.0])
    assert curve.risk == pytest.approx([0, 1 / 3, 1 / 4, 2 / 5])
    assert curve.aurc == pytest.approx((0 + 0.5 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    assert abstention(curve, 0.3) == pytest.approx(0.55) and abstention(curve, 0.1) == pytest.approx(0.85)
    assert abstention(curve, 0.4) == 0.0, "all are kept"
    assert abstention(risk_coverage(np.array([0.9, 0.8]), np.array([False, True])), 0.3) is None
    generator = np.random.default_rng(0)
    confidence, right = generator.random(500), generator.random(500) < 0.7
    order = np.argsort(-confidence)
    slow = np.mean([(~right[order[:n]]).mean() for n in range(1, 501)])
    assert risk_coverage(confidence, right).aurc == pytest.approx(slow)


def test_roc_against_sklearn() -> None:
    generator = np.random.default_rng(0)
    for n in (10, 300):
        positive = np.arange(n) % 3 == 0
        score = (generator.integers(0, 15, n) + 5 * positive) / 25
        false, true = roc(score, positive)
        theirs = roc_curve(positive, score, drop_intermediate=False)
        assert false == pytest.approx(theirs[0]) and true == pytest.approx(theirs[1])
        patient = np.array([f"p{i}" for i in generator.integers(0, 6, n)])
        times = multiplicities(len(np.unique(patient)), 20, 0)
        area, again = auroc(score, positive, patient, times)
        assert area == pytest.approx(roc_auc_score(positive, score))
        weight = times[:, np.unique(patient, return_inverse=True)[1]]
        slow = [
            roc_auc_score(positive, score, sample_weight=w) for w in weight if w[positive].any() and w[~positive].any()
        ]
        assert again == pytest.approx(slow)
    area, again = auroc(score, score < 0, patient, times)
    assert math.isnan(area) and not len(again)


def test_the_interval_of_a_share_by_a_loop() -> None:
    generator = np.random.default_rng(0)
    owner = generator.integers(0, 7, 60)
    found, there = generator.random(60) < 0.6, generator.random(60) < 0.5
    times = multiplicities(7, 400, 0)
    slow = []
    for row in times:
        rows = np.concatenate([np.repeat(np.flatnonzero(owner == i), k) for i, k in enumerate(row)])
        slow.append(found[rows][there[rows]].mean())
    assert share_interval(found, there, owner, times) == pytest.approx(np.percentile(slow, [2.5, 97.5]))


# ---------------------------------------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("calibration")
    return train(small_recipe("epochs=2"), "synthetic", small_corpus(folder / "data"), folder / "run")


@pytest.fixture(scope="module")
def found(run: Run) -> Measured:
    return calibrate(run)


def test_what_was_chosen_follows_from_the_validation_patients(run: Run, found: Measured) -> None:
    stuff, _, (own,) = evaluate(run, parts=("validation",))
    truth = np.array([stuff.corpus.cycles[row].label for row in own.rows])
    chosen, part = found.calibration, found.parts[0]
    assert [p.part for p in found.parts] == ["validation", "test"] and part.cycles == len(truth)
    assert chosen.temperature == fit_temperature(own.probabilities, truth)
    q = scaled(own.probabilities.astype(np.float64), chosen.temperature)
    assert part.point == rates(1 - q[:, 0], truth > 0, chosen.threshold) and part.point[0] >= 0.9
    assert part.loss[1] <= part.loss[0] + 1e-9
    assert found.remarks and "slightly optimistic" in found.remarks[0], "validation chose the epoch too"


def test_the_command_and_what_prediction_makes_of_it(run: Run, tmp_path: Path) -> None:
    from auscult.cli.analysis import calibration as command

    copy = Path(shutil.copytree(run.folder, tmp_path / "run"))
    assert command(copy, specificity=0.5, out=tmp_path / "out") == 0
    names = {"calibration.md", "calibration.pdf", "calibration.png", "reliability.csv", "roc.csv", "risk_coverage.csv"}
    assert {f.name for f in (tmp_path / "out").iterdir()} == names
    told = json.loads((copy / "calibration.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in JSON"))
    assert told["format"] == 1 and told["measured"]["parts"]["validation"]["operating_point"]["Sp"]["value"] >= 0.5
    risks = list(csv.DictReader((tmp_path / "out" / "risk_coverage.csv").read_text().splitlines()))
    last = [float(r["risk"]) for r in risks if r["part"] == "test"][-1]
    assert last == told["measured"]["parts"]["test"]["risk"]

    plain, model = (auscult.load(copy, device="cpu", calibrated=on) for on in (False, None))
    audio = next((Path(run.settings()["data"])).rglob("*.wav"))
    before, after = (m.predict(audio, cycles=[(0.0, 0.5), (0.5, 1.1)]) for m in (plain, model))
    p, q = (np.array([list(c.probabilities.values()) for c in made.cycles]) for made in (before, after))
    assert q == pytest.approx(scaled(p, told["temperature"]), abs=2e-4) and after.header()[-1] == "abnormal"
    assert all(c.abnormal == (1 - c.probabilities["normal"] >= told["threshold"]) for c in after.cycles)
    assert all(c.abnormal is None for c in before.cycles) and "abnormal" not in before.header()
    assert [len(row) for row in after.rows()] == [len(after.header())] * 2
    with pytest.raises(AuscultError, match="belongs to other weights"):
        auscult.load(copy, device="cpu", calibrated=True, selection="last")
    assert not auscult.load(copy, device="cpu", selection="last").calibrated


def test_the_figure_is_readable_in_print(found: Measured) -> None:
    drawn_figure = figure(found)
    FigureCanvasAgg(drawn_figure).draw()
    texts = [t for t in drawn_figure.findobj(Text) if t.get_text()]
    assert min(t.get_fontsize() for t in texts) >= 7
    for t in texts:
        box = t.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= drawn_figure.bbox.x1 and 0 <= box.y0 <= box.y1 <= drawn_figure.bbox.y1, t
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in drawn_figure.axes)
    never = replace(found, calibration=replace(found.calibration, confidence=None))
    assert "no confidence was chosen" in figure(never).texts[0].get_text().replace("\n", " ")


def test_errors_say_what_to_do(run: Run, tmp_path: Path) -> None:
    from auscult.cli.analysis import calibration as command

    with pytest.raises(AuscultError, match="give one"):
        command(run.folder, sensitivity=0.9, specificity=0.9)
    with pytest.raises(AuscultError, match=r"--sensitivity 90; a share"):
        calibrate(run, target=90)
    copy = Path(shutil.copytree(run.folder, tmp_path / "run"))
    asked: Callable[[], object] = lambda: read_calibration(copy, "x")  # noqa: E731
    with pytest.raises(AuscultError, match="does not exist; `auscult analyse calibration"):
        asked()
    chosen = Calibration(temperature=1.5, threshold=0.3, confidence=None, selection="last", weights_sha256="x")
    write_calibration(copy, chosen, {})
    assert asked() == chosen
    (copy / "calibration.json").write_text("[]")
    with pytest.raises(AuscultError, match="no calibration of format 1"):
        asked()
    settings = json.loads(run.recipe_file.read_text())
    settings["recipe"]["validation"] = 0
    (copy / "recipe.json").write_text(json.dumps(settings))
    with pytest.raises(AuscultError, match="held out no patients"):
        calibrate(Run(copy))
