"""Audio quality: entropy and loudness of known sounds, the score by hand, the store, its way into batches and runs."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import auscult
from auscult.analysis.results import collect, predictions_csv
from auscult.analysis.spreadsheet import csv_text
from auscult.analysis.study_counts import read_predictions
from auscult.config import to_dict
from auscult.data import quality_store
from auscult.data.cycles import Corpus, Cycle
from auscult.data.loader import CycleDataset, Loader
from auscult.data.material import material
from auscult.data.quality_store import Scale, grade, measured
from auscult.data.store import features
from auscult.errors import AuscultError
from auscult.evaluate import evaluate
from auscult.metrics import Task
from auscult.models.weights import load_weights
from auscult.objectives import PatchMix, QLung
from auscult.objectives.margins import FixedMargin, QualityMargin
from auscult.signal.clip import Clip
from auscult.signal.io import load
from auscult.signal.quality import BLOCK, HOP, Quality, audio_quality, entropy, rms, rms_range, spectral_entropy
from auscult.train import train

from .small import small_corpus, small_recipe

RATE = 16_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))


def noise(seconds: float = 2.0, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.float32)


def tone(hz: float = 440.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(2 * RATE) / RATE).astype(np.float32)


def slow_entropy(cycle: np.ndarray) -> dict[str, float]:
    """Frame by frame and bin by bin, with the discrete Fourier transform written out."""
    window = [0.5 - 0.5 * np.cos(2 * np.pi * i / 400) for i in range(400)]
    basis = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    spectra = []
    for first in range(0, len(cycle) - 399, 160):
        spectra.append(np.abs(basis @ (cycle[first : first + 400].astype(np.float64) * window)) ** 2)

    def of(power: np.ndarray) -> float:
        return -sum(p * np.log(p) for p in power / power.sum() if p > 0) / np.log(257)

    return {"psd": of(np.mean(spectra, axis=0)), "frames": float(np.mean([of(s) for s in spectra]))}


def test_against_the_slow_twin() -> None:
    for cycle in (noise(0.3), tone()[:6001], np.cumsum(noise(0.2))):
        assert spectral_entropy(cycle) == pytest.approx(slow_entropy(cycle), rel=1e-4)


def test_noise_is_near_one_and_a_tone_near_zero() -> None:
    assert spectral_entropy(noise())["psd"] > 0.998
    assert 0.9 < spectral_entropy(noise())["frames"] < 0.95
    assert spectral_entropy(tone())["psd"] < 0.21
    both = spectral_entropy(tone() + noise())["psd"]
    assert spectral_entropy(tone())["psd"] < both < spectral_entropy(noise())["psd"]
    assert spectral_entropy(7 * noise())["psd"] == pytest.approx(spectral_entropy(noise())["psd"])


def test_one_bin_has_no_entropy_and_equal_bins_have_all() -> None:
    np.testing.assert_allclose(entropy(np.array([[0, 3.0, 0, 0], [2.0] * 4, [0.0] * 4])), [0, 1, 1])


def test_short_cycles_and_silence_have_numbers() -> None:
    assert spectral_entropy(np.zeros(800, np.float32)) == pytest.approx({"psd": 1.0, "frames": 1.0})
    for samples in (1, 2, 399, 400):
        found = spectral_entropy(tone()[100 : 100 + samples])
        assert found["psd"] == pytest.approx(found["frames"]) and 0 < found["psd"] <= 1 + 1e-12
    with pytest.raises(ValueError, match="cannot make 400 samples out of 0"):
        spectral_entropy(np.zeros(0, np.float32))


def test_long_cycles_are_measured_in_blocks() -> None:
    cycle = np.concatenate([noise(1), tone()])
    many = np.tile(cycle, 1 + BLOCK * HOP // len(cycle))
    assert len(many) > BLOCK * HOP
    assert spectral_entropy(many)["psd"] == pytest.approx(spectral_entropy(cycle)["psd"], abs=2e-3)


def test_half_the_rate_ends_at_the_entropy_of_half_the_bins(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise()[: 3 * 8000], 8000)
    low = spectral_entropy(load(tmp_path / "a.wav", RATE).waveform)["psd"]
    assert np.log(118) / np.log(257) < low < np.log(129) / np.log(257)


def test_rms() -> None:
    assert rms(tone()) == pytest.approx(0.5**0.5, rel=1e-4)
    assert rms(np.full(9, -0.25, np.float32)) == 0.25 and rms(np.zeros(3, np.float32)) == 0


def test_the_score_by_hand() -> None:
    h, r = np.array([0.4, 0.9, 1.0, 0.0]), np.array([0.03, 0.2, 0.0, 1.0])
    found = audio_quality(h, r, (0.01, 0.05), Quality())
    np.testing.assert_allclose(found, [1 - 0.28 + 0.15, 1 - 0.63 + 0.3, 0.3, 1.0], atol=1e-12)
    raw = audio_quality(h, r, (0.01, 0.05), Quality(rms="raw"))
    np.testing.assert_allclose(raw, [1 - 0.28 + 0.009, 1 - 0.63 + 0.06, 0.3, 1.0], atol=1e-12)
    np.testing.assert_allclose(audio_quality(h, r, (0.05, 0.05), Quality()), 1 - 0.7 * h)
    assert audio_quality(h, r, (0.01, 0.05), Quality(alpha=2.0))[2] == 0
    assert rms_range(np.arange(101.0), Quality()) == (1.0, 99.0)
    for wrong in ({"alpha": -1.0}, {"low": 60.0, "high": 50.0}):
        with pytest.raises(ValueError, match=r"must both be|is needed"):
            Quality(**wrong)


def corpus(folder: Path) -> Corpus:
    """Three recordings of 3 s, louder and louder, two cycles each, the recordings taking turns."""
    for i in range(3):
        soundfile.write(folder / f"r{i}.wav", noise(3, i, 0.05 * (i + 1)), RATE)
    cycles = tuple(
        Cycle(recording=f"r{i}", patient="p", device="d", site="s", start_s=s, end_s=s + 1.2, label=i % 2, part="train")
        for s in (0.1, 1.5)
        for i in range(3)
    )
    return Corpus(
        name="noise",
        classes=("a", "b"),
        cycles=cycles,
        audio={f"r{i}": folder / f"r{i}.wav" for i in range(3)},
        recordings={f"r{i}": "train" for i in range(3)},
        tasks=(Task(name="t", classes=("a", "b"), mapping=(0, 1)),),
        test_parts=("test",),
    )


def test_the_store_measures_once_and_finds_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, decoded = corpus(tmp_path), []
    monkeypatch.setattr(quality_store.io, "load", lambda *a: decoded.append(a[0]) or load(*a))
    first, again = measured(sounds), measured(sounds)
    assert [path.stem for path in decoded] == ["r0", "r1", "r2"], "each recording once, the second time none"
    assert np.array_equal(first.values, again.values) and first.values.shape == (6, 3)
    for row, cycle in enumerate(sounds.cycles):
        whole = load(sounds.audio[cycle.recording], RATE).waveform
        own = whole[int(cycle.start_s * RATE) : int(cycle.end_s * RATE)]
        assert first.values[row].tolist() == [*spectral_entropy(own).values(), rms(own)]
    moved = replace(sounds, cycles=(replace(sounds.cycles[0], end_s=1.0), *sounds.cycles[1:]))
    assert measured(moved).file != first.file


def test_a_bad_recording_is_reported_and_the_others_are_measured(tmp_path: Path) -> None:
    sounds = corpus(tmp_path)
    sounds.audio["r1"].write_text("no sound")
    found = measured(sounds)
    assert [(p.code, Path(p.path).name) for p in found.problems] == [("E_FORMAT", "r1.wav")]
    assert found.usable.tolist() == [c.recording != "r1" for c in sounds.cycles]
    graded = grade(sounds, Quality(), train=[0, 1, 2])
    assert np.isnan(graded.scores).tolist() == (~found.usable).tolist()
    for stem in ("r0", "r2"):
        sounds.audio[stem].write_text("no sound either")
    with pytest.raises(AuscultError, match="no recording of noise can be used"):
        measured(sounds)


def test_only_training_cycles_make_the_scale(tmp_path: Path) -> None:
    sounds = corpus(tmp_path)
    found = measured(sounds).values
    quiet = grade(sounds, Quality(), train=[0, 3])
    assert quiet.scale.rms_range == pytest.approx(np.percentile(found[[0, 3], 2], [1, 99]))
    assert quiet.scale.rms_range[1] < found[2, 2]
    kept = grade(sounds, Scale(settings=Quality(entropy="frames"), rms_range=(0.0, 1.0)), train=[])
    np.testing.assert_allclose(kept.scores, 1 - 0.7 * found[:, 1] + 0.3 * found[:, 2], rtol=1e-6)
    with pytest.raises(AuscultError, match="no training cycle"):
        grade(sounds, Quality(), train=[])


def test_batches_carry_quality_where_it_was_measured(tmp_path: Path) -> None:
    sounds = corpus(tmp_path)
    made = features(sounds, Clip(length_s=0.5, n_mels=16))
    scores = grade(sounds, Quality(), train=[0, 1]).scores
    batch = next(iter(Loader(CycleDataset(sounds, made, [5, 0, 3], scores), [[2, 0]])))
    assert batch.quality is not None and batch.quality.dtype == torch.float32
    assert batch.quality.tolist() == scores[[3, 5]].tolist() and not batch.quality.requires_grad
    bare = CycleDataset(sounds, made, [5, 0, 3])[[0, 1]]
    assert bare.quality is None and bare.to("meta").quality is None and batch.to("meta").quality is not None


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "inside patch_mix"])
def test_training_measures_quality_for_a_margin_that_asks(tmp_path: Path, wrapped: bool) -> None:
    data = small_corpus(tmp_path / "data")
    objective = PatchMix(cross_entropy=QLung()) if wrapped else QLung()
    recipe = replace(small_recipe("epochs=1", "head=angular"), objective=objective)
    run = train(recipe, "synthetic", data, tmp_path / "run")
    assert {"ce", "margin"} <= run.history()[0]["loss"].keys()
    facts = load_weights(run.weights("validation")).facts["quality"]
    stuff = material("synthetic", data, recipe.clip, "official", 0.3, 0, quality=Quality())
    assert stuff.quality is not None and facts == stuff.quality.scale.facts()
    assert facts["settings"] == to_dict(Quality())
    own = measured(stuff.corpus).values[stuff.rows("train"), 2]
    assert facts["rms_range"] == pytest.approx(np.percentile(own, [1, 99]))


@pytest.mark.parametrize("asked", [True, False], ids=["measured in training", "not measured"])
def test_predictions_carry_quality(tmp_path: Path, asked: bool) -> None:
    data = small_corpus(tmp_path / "data")
    recipe = replace(small_recipe("epochs=1"), objective=QLung(margin=QualityMargin() if asked else FixedMargin()))
    run = train(recipe, "synthetic", data, tmp_path / "run")
    stuff, weights, evaluations = evaluate(run, device="cpu")
    text = predictions_csv(collect(run, stuff, weights, evaluations))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert stuff.quality is not None and ("quality" in weights.facts) == asked
    scores = stuff.quality.scores[[row for e in evaluations for row in e.rows]]
    assert [float(line["quality"]) for line in lines] == pytest.approx(scores.tolist())
    first = lines[0]
    audio, interval = stuff.corpus.audio[first["recording"]], (float(first["start_s"]), float(first["end_s"]))
    model = auscult.load(run.folder, device="cpu")
    found = model.predict(audio, cycles=[interval])
    wanted = round(float(first["quality"]), 4) if asked else None
    assert found.cycles[0].quality == wanted == found.to_dict()["cycles"][0]["quality"]
    assert (found.header()[-1] == "quality") == asked and len(found.header()) == len(found.rows()[0])
    old = csv_text([name for name in first if name != "quality"], [[v for k, v in first.items() if k != "quality"]])
    for written in (text, old):  # with the column and without
        (tmp_path / "predictions.csv").write_text(written)
        part = read_predictions(tmp_path / "predictions.csv", list(weights.classes))[first["part"]]
        assert (first["recording"], interval[0]) in part.key


def test_training_without_such_a_margin_measures_nothing(tmp_path: Path) -> None:
    data = small_corpus(tmp_path / "data")
    run = train(small_recipe("epochs=1"), "synthetic", data, tmp_path / "run")
    assert "quality" not in load_weights(run.weights("validation")).facts
    assert not list((tmp_path / "cache").rglob("*quality*"))
