"""The verdict by physics and by rates: what is no breathing is refused, breathing with all its sounds is not."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.fft import next_fast_len
from scipy.signal import resample_poly

from auscult.analysis.verdict_fit import boundary_of, logistic
from auscult.analysis.verdict_rates import ANY, NONE, NORMAL, Rate, rates, verdicts
from auscult.cli.app import run
from auscult.config import fingerprint
from auscult.data import synthetic_sounds as sounds
from auscult.data.material import read
from auscult.errors import AuscultError
from auscult.signal import verdict
from auscult.signal.verdict import Boundary, Verdict, clipped_share, fast_length, fitted, judge, measure, short_time

from . import refused_sounds as refused
from .small import small_corpus

RATE = 8000


def breathing(seed: int, seconds: float = 9, floor_db: float = -45) -> np.ndarray:
    """Breaths and heart beats through a stethoscope at 8 kHz, over its own noise."""
    generator = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    hz = sounds.bins(samples, RATE)
    noise = sounds.shaped_noise(generator, samples, sounds.breath_response(hz, 250, 3))
    t = np.arange(samples) / RATE
    phase = t / generator.uniform(1.8, 2.6) % 1
    effort = np.where(phase < 0.4, np.sin(np.pi * phase / 0.4), 0) + 0.6 * np.where(
        (phase > 0.5) & (phase < 0.9), np.sin(np.pi * (phase - 0.5) / 0.4), 0
    )
    track = 0.02 * noise * effort
    for at_s in np.arange(0.1, seconds, 0.55):
        sounds.add(track, sounds.heart_beat(RATE, 0.2), round(at_s * RATE), 0.05)
    floor = sounds.shaped_noise(generator, samples, sounds.breath_response(hz, 400, 2))
    return refused.to_16_bit(track + 0.02 * sounds.decibels(floor_db + 20) * floor)


@pytest.fixture(scope="module")
def judged() -> list[tuple[refused.Sound, Verdict]]:
    """207 sounds to refuse, of seeds that no limit was looked at with."""
    return [(sound, judge(sound.waveform, sound.sample_rate)) for sound in refused.make_all(23, first_seed=500)]


def test_95_percent_of_what_is_no_breathing_is_refused_and_four_fifths_of_every_kind(
    judged: list[tuple[refused.Sound, Verdict]],
) -> None:
    accepted = Counter(sound.kind for sound, said in judged if said.kind == "accept")
    assert len(judged) >= 200 and accepted.total() <= 0.05 * len(judged), accepted
    assert not {kind for kind, n in accepted.items() if n > 4}, accepted
    assert {sound.sample_rate for sound, _ in judged} == set(refused.RATES_HZ)


def test_the_reason_is_the_right_one(judged: list[tuple[refused.Sound, Verdict]]) -> None:
    words = {
        "silence": {"silent"},
        "noise": {"mostly noise"},
        "shaped noise": {"mostly noise"},
        "clipped": {"clipped"},
        "speech": {"speech or music, not breathing"},
        "music": {"speech or music, not breathing"},
    }
    for kind, allowed in words.items():
        of = [said for sound, said in judged if sound.kind == kind]
        assert sum(bool(allowed & set(said.reasons)) for said in of) >= 0.9 * len(of), kind
    assert all(bool(said.reasons) == (said.kind != "accept") for _, said in judged)


def test_the_sounds_are_the_same_each_time_and_differ_by_seed() -> None:
    for kind in ("speech", "music", "clicks"):
        first, again, other = (refused.make(kind, seed, 8000, 1.0).waveform for seed in (1, 1, 2))
        assert np.array_equal(first, again) and not np.array_equal(first, other)
        assert first.dtype == np.float32 and len(first) == 8000 and np.abs(first).max() <= 1


@pytest.mark.parametrize("seed", range(4))
def test_breathing_is_accepted_with_its_wheezes_and_crackles(seed: int) -> None:
    plain, generator = breathing(seed), np.random.default_rng(seed)
    wheezy, crackly = plain.astype(float), plain.astype(float)
    for at_s in np.arange(0.3, 9, 2.2):
        whistle = sounds.wheeze(RATE, 0.8, generator.uniform(200, 600), drift=0.1, overtones=(0.2,))
        sounds.add(wheezy, whistle, round(at_s * RATE), 0.02)
        for _ in range(6):
            place = round((at_s + generator.uniform(0, 0.5)) * RATE)
            sounds.add(crackly, sounds.crackle(RATE, sounds.FINE), place, generator.uniform(0.02, 0.06))
    for name, sound in (("plain", plain), ("wheezy", wheezy), ("crackly", crackly)):
        said = judge(sound.astype(np.float32), RATE)
        assert said.kind == "accept", (name, said)


def test_breathing_that_is_spoilt_is_refused_and_says_why() -> None:
    sound = breathing(0)
    assert judge(np.clip(60 * sound, -0.3, 0.3), RATE).reasons == ("clipped",)
    assert "too quiet" in judge(sound * np.float32(0.02), RATE).reasons
    assert judge(sound[: RATE - 1], RATE).reasons == ("too short",) == judge(sound[:0], RATE).reasons
    assert judge(np.full(RATE * 3, 0.25, np.float32), RATE).reasons == ("silent",)
    mostly = sound.copy()
    mostly[RATE * 2 :] = 0
    assert "mostly silence" in judge(mostly, RATE).reasons
    muffled = np.fft.rfft(sound)
    muffled[np.fft.rfftfreq(len(sound), 1 / RATE) > 300] = 0
    reasons = judge(np.fft.irfft(muffled, len(sound)).astype(np.float32), RATE).reasons
    assert any(words.startswith("nothing above 3") for words in reasons), reasons


def test_a_file_says_the_same_at_any_rate() -> None:
    sound = breathing(1).astype(np.float64)
    here = measure(sound.astype(np.float32), RATE)
    for up, down in ((1, 2), (2, 1), (441, 80), (6, 1)):
        there = measure(resample_poly(sound, up, down).astype(np.float32), RATE * up // down)
        for name in ("level_db", "swing_low_db", "swing_db", "breath_db", "heart_db", "syllable_db"):
            assert there[name] == pytest.approx(here[name], abs=1.0), (name, up, down)
        assert there["colour_db"] == pytest.approx(here["colour_db"], abs=0.25)
        assert there["burst"] == pytest.approx(here["burst"], rel=0.1)


@pytest.mark.parametrize("rate", [4000, 11025, 48000])
@pytest.mark.parametrize("seconds", [2, 8])
def test_noise_of_any_colour_is_steadier_than_the_limit(rate: int, seconds: int) -> None:
    for colour, slope in refused.COLOURS.items():
        noise = refused.level(refused.coloured(np.random.default_rng(seconds), rate * seconds, slope), -20)
        found = measure(refused.to_16_bit(noise), rate)
        assert found["colour_db"] < verdict.STEADY_DB and found["line_share"] < 0.2
        assert colour != "white" or found["burst"] == pytest.approx(3, abs=0.3)


def test_frames_equal_a_slow_readable_twin() -> None:
    sound = breathing(2, 1.5)
    frames = short_time(sound, RATE)
    window = np.hanning(513)[:-1]
    noise = np.random.default_rng(0).standard_normal((4000, 512)) * window
    spectrum = np.fft.rfft(noise)[:, :129]
    spectrum[:, :4] = 0
    square = np.fft.irfft(spectrum) ** 2
    normal = np.mean(np.mean(square**2, axis=1)) / np.mean(square.mean(axis=1)) ** 2  # of windowed noise, about
    for i in range(0, len(frames.power), 17):
        piece = sound[128 * i : 128 * i + 512].astype(float)
        piece = (piece - piece.mean()) * window
        spectrum = np.fft.rfft(piece)[:129]
        density = np.abs(spectrum) ** 2 * 2 / (np.sum(window**2) * RATE)
        assert frames.power[i] == pytest.approx(density, rel=1e-3, abs=density.max() * 1e-6)
        spectrum[:4] = 0  # below 60 Hz
        band = np.fft.irfft(spectrum)
        kurtosis = 3 * np.mean(band**4) / np.mean(band**2) ** 2 / normal
        assert frames.burst[i] == pytest.approx(kurtosis, rel=0.05)
    power = frames.band(0, 2001).mean()
    tone = 0.5 * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)
    assert short_time(tone.astype(np.float32), RATE).band(400, 600).mean() == pytest.approx(0.125, rel=0.01)
    assert 0 < power < np.mean(sound.astype(float) ** 2) * 1.5


def test_a_quick_length_is_that_of_scipy() -> None:
    assert all(fast_length(n) == next_fast_len(n, real=True) for n in range(1, 5000))


def test_a_normalised_tone_is_not_clipped_and_a_cut_one_is() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert clipped_share(tone) < 0.03 and clipped_share(np.clip(2 * tone, -1, 1)) > 0.5


def test_the_kept_boundary_is_guarded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = json.loads((Path(verdict.__file__).parent / "verdict.json").read_text())
    assert kept["fingerprint"] == fingerprint(kept["boundary"]) and kept["measures"] == list(verdict.MEASURES)
    assert fitted().weights.shape == (len(verdict.MEASURES),)
    kept["boundary"]["bias"] += 1
    (tmp_path / "signal").mkdir()
    (tmp_path / "signal" / "verdict.json").write_text(json.dumps(kept))
    monkeypatch.setattr(verdict, "files", lambda package: tmp_path)
    with pytest.raises(AuscultError, match=r"E_RUN.*fingerprint"):
        fitted.__wrapped__()


def test_the_logistic_regression_is_at_its_minimum() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 3)) * [1, 10, 0.1] + [0, 5, -2]
    positive = x[:, 0] + 0.1 * x[:, 1] + generator.normal(size=300) > 1
    weight = generator.uniform(0.5, 2, 300)
    weights, bias = logistic(x, positive, weight)

    def loss(w: np.ndarray, b: float) -> float:
        z = x @ w + b
        ridge = 0.5e-3 * np.sum((w * x.std(axis=0)) ** 2)
        return float(np.average(np.logaddexp(0, z) - positive * z, weights=weight) + ridge)

    best = loss(weights, bias)
    for i, step in enumerate((0.01, 0.001, 0.1)):
        for sign in (-1, 1):
            moved = weights.copy()
            moved[i] += sign * step
            assert loss(moved, bias) > best
    assert loss(weights, bias + 0.01) > best < loss(weights, bias - 0.01)


def test_a_boundary_parts_good_from_poor_and_far_from_near() -> None:
    generator = np.random.default_rng(0)
    middle = np.array([15.0, 10, 9, 17, 22, 4, 1.2])
    x = generator.normal(size=(600, 7)) + middle
    kinds = np.array(["normal"] * 300 + ["abnormal"] * 100 + ["poor"] * 100 + ["other"] * 100)
    x[kinds == "poor", 0] -= 4
    found = boundary_of(x, kinds)
    boundary = Boundary(**{k: np.array(v) if isinstance(v, list) else v for k, v in found.items()})

    def place(row: np.ndarray) -> dict[str, float]:
        measures = dict(zip(verdict.MEASURES, map(float, row), strict=True))
        return boundary.place(measures | {"burst": float(2 ** row[-1])})

    scores = np.array([place(row)["poor_score"] for row in x])
    good = (kinds == "normal") | (kinds == "abnormal")
    assert np.mean(scores[good] > boundary.poor_above) == pytest.approx(0.02, abs=0.005)
    assert np.mean(scores[kinds == "poor"] > boundary.poor_above) > 0.8
    far = middle + np.eye(7)[2] * 9
    assert place(middle)["distance"] < 0.5 and place(far)["distance"] == pytest.approx(9, rel=0.2)


def test_rates_count_each_recording_once_for_every_class_in_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = small_corpus(tmp_path)
    corpus = read("synthetic", folder)
    found = verdicts(corpus)
    assert found.keys() == corpus.audio.keys()
    rows = {(row.part, row.group): row for row in rates(corpus, found)}
    stems = {part: {c.recording for c in corpus.cycles if c.part == part} for part in corpus.parts}
    for part in corpus.parts:
        assert rows[part, ANY].recordings == len(stems[part])
        wheezy = {c.recording for c in corpus.cycles if c.part == part and c.label == 2}
        assert rows[part, f"with {corpus.classes[2]}"].recordings == len(wheezy)
        assert (part, NONE) not in rows
    assert run(["analyse", "verdict", "--dataset", "synthetic", "--data", str(folder)]) == 0
    assert "any annotated breath" in capsys.readouterr().out
    assert run(["analyse", "verdict", "synthetic", "--data", str(folder), "--fit", str(tmp_path / "x.json")]) == 2


def share(rows: list[Rate], parts: tuple[str, ...], *groups: str) -> float:
    """Share accepted of these groups of these parts."""
    kinds = sum((row.kinds for row in rows if row.part in parts and row.group in groups), Counter())
    return kinds["accept"] / kinds.total()


@pytest.mark.data
def test_nine_tenths_of_the_good_recordings_are_accepted_and_wheezes_as_often(data_dir: Path) -> None:
    """A third of the recordings; `auscult analyse verdict` judges all."""
    sprsound = read("sprsound", data_dir / "sprsound")
    test = sorted(stem for stem, part in sprsound.recordings.items() if part != "train")
    sprsound = replace(sprsound, audio={stem: sprsound.audio[stem] for stem in test[::3]})
    rows, both = rates(sprsound, verdicts(sprsound)), ("inter", "intra")
    assert all(share(rows, (part,), ANY) >= 0.9 for part in both)
    musical = share(rows, both, "with Rhonchi", "with Wheeze", "with Stridor")
    assert musical >= share(rows, both, NORMAL) - 0.05
    icbhi = read("icbhi", data_dir / "icbhi")
    icbhi = replace(icbhi, audio={stem: icbhi.audio[stem] for stem in sorted(icbhi.audio)[::3]})
    assert share(rates(icbhi, verdicts(icbhi)), ("train",), ANY) >= 0.9
