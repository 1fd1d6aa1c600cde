"""The synthetic corpus, by physics: sounds have the widths, tones and bands asked for, and the labels are true."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.config import from_dict, override
from auscult.data import synthetic, synthetic_patients
from auscult.data.synthetic import Synthetic, make, read, recordings
from auscult.data.synthetic_patients import (
    DISEASES,
    Breath,
    add_crackles,
    add_distractors,
    add_wheezes,
    breath_noise,
    draw_patient,
    labels,
)
from auscult.data.synthetic_sounds import (
    COARSE,
    DEVICES,
    FINE,
    CrackleWidths,
    Device,
    bins,
    breath_response,
    crackle,
    friction,
    heart_beat,
    knock,
    shaped_noise,
    through_device,
    voice,
    wheeze,
)
from auscult.errors import AuscultError

SMALL = Synthetic(patients=10, recordings=2, cycles=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("synthetic"), SMALL)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def spectrum(x: np.ndarray, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and power, zero-padded to a grid of 0.25 Hz."""
    size = 4 * rate_hz * max(1, -(-x.size // (4 * rate_hz)))
    return np.fft.rfftfreq(size, 1 / rate_hz), np.abs(np.fft.rfft(x, size)) ** 2


def share(x: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> float:
    hz, power = spectrum(x, rate_hz)
    return float(power[(hz >= low_hz) & (hz <= high_hz)].sum() / power.sum())


# ---- crackles


@pytest.mark.parametrize("widths", [FINE, COARSE, CrackleWidths(initial_s=1e-3, two_cycle_s=8e-3)])
def test_crackle_has_the_widths_asked_for(widths: CrackleWidths) -> None:
    rate_hz = 1_000_000
    x = crackle(rate_hz, widths)
    inside = np.flatnonzero(np.abs(x) > 1e-6)
    crossings = inside[:-1][np.sign(x[inside[:-1]]) != np.sign(x[inside[1:]])] / rate_hz
    assert len(crossings) == 3, "two cycles are four half waves"
    assert crossings[0] == pytest.approx(widths.initial_s, rel=0.01)
    assert inside[-1] / rate_hz == pytest.approx(widths.two_cycle_s, rel=0.01)
    assert np.all(np.diff(np.diff([0.0, *crossings, widths.two_cycle_s])) > 0), "half waves widen"
    assert 0.7 < np.abs(x).max() <= 1


def test_crackle_spectrum_peaks_at_two_cycles_per_duration() -> None:
    peaks = []
    for widths in (FINE, COARSE):
        hz, power = spectrum(crackle(16000, widths), 16000)
        peaks.append(hz[power.argmax()])
    # Two cycles in 5 ms are 400 Hz on average, in 10 ms 200 Hz.
    np.testing.assert_allclose(peaks, [400, 200], rtol=0.15)


def test_crackle_may_begin_between_samples() -> None:
    twice = crackle(16000, FINE)
    shifted = crackle(8000, FINE, offset_s=1 / 16000)
    np.testing.assert_allclose(shifted[1:40], twice[1:79:2], atol=1e-12)
    assert shifted[0] == 0


def test_crackle_refuses_impossible_widths() -> None:
    with pytest.raises(ValueError, match="initial_s < two_cycle_s"):
        crackle(8000, CrackleWidths(initial_s=5e-3, two_cycle_s=5e-3))


# ---- wheezes


@pytest.mark.parametrize(
    ("rate_hz", "tone_hz", "duration_s"), [(4000, 150.0, 0.5), (8000, 437.0, 0.1), (10000, 850.0, 0.9)]
)
def test_wheeze_has_its_tone_and_duration(rate_hz: int, tone_hz: float, duration_s: float) -> None:
    track = np.zeros(2 * rate_hz)
    tone = wheeze(rate_hz, duration_s, tone_hz)
    track[rate_hz // 2 : rate_hz // 2 + tone.size] = tone
    hz, power = spectrum(track, rate_hz)
    assert hz[power.argmax()] == pytest.approx(tone_hz, abs=1.0)
    half = round(rate_hz / tone_hz)  # one period: its RMS is the envelope
    envelope = np.sqrt(np.convolve(track**2, np.ones(half) / half, "same"))
    loud = np.flatnonzero(envelope > 0.05)
    assert (loud[-1] - loud[0]) / rate_hz == pytest.approx(duration_s, abs=0.02)
    assert envelope[rate_hz // 2 + tone.size // 2] == pytest.approx(1.0, abs=0.05)


def test_wheeze_overtones_have_their_amplitudes_and_never_alias() -> None:
    hz, power = spectrum(wheeze(8000, 1.0, 500.0, overtones=(0.5, 0.25)), 8000)
    level = [np.sqrt(power[np.argmin(np.abs(hz - n * 500))]) for n in (1, 2, 3)]
    np.testing.assert_allclose(np.array(level) / level[0], [1, 0.5, 0.25], rtol=0.02)
    bare, above = wheeze(4000, 0.5, 900.0), wheeze(4000, 0.5, 900.0, overtones=(0.0, 0.5))
    np.testing.assert_allclose(above, bare)


def test_wheeze_drifts_as_asked() -> None:
    rate_hz = 8000
    x = wheeze(rate_hz, 1.0, 400.0, drift=0.2)
    ends = []
    for part in (x[: rate_hz // 5], x[-rate_hz // 5 :]):
        hz, power = spectrum(part * np.hanning(part.size), rate_hz)
        ends.append(hz[power.argmax()])
    np.testing.assert_allclose(ends, [400 * 0.92, 400 * 1.08], atol=4)  # drift at the middle of each fifth


# ---- breath, heart, distractors, devices


def test_breath_noise_lies_in_the_band_of_lung_sounds_and_falls_with_frequency() -> None:
    rate_hz = 8000
    x = shaped_noise(rng(), 10 * rate_hz, breath_response(bins(10 * rate_hz, rate_hz), 300.0, 1.8))
    assert share(x, rate_hz, 60, 1000) > 0.95
    octaves = [share(x, rate_hz, f, 2 * f) for f in (200, 400, 800, 1600)]
    assert octaves == sorted(octaves, reverse=True)


def test_inspiration_is_louder_than_expiration_and_the_pause_is_silent() -> None:
    patient = draw_patient(rng(), 301, "train", "Meditron", "Healthy")
    breath = Breath(start_s=0.5, turn_s=1.5, rest_s=2.5, end_s=3.5, label=0)
    x = breath_noise(rng(), patient, [breath], 8000 * 4)
    inspiration, expiration = x[4000:12000].std(), x[12000:20000].std()
    assert inspiration > expiration > 0
    assert not x[:4000].any() and not x[20000:].any()


def test_heart_beat_is_two_low_sounds_a_systole_apart() -> None:
    rate_hz = 4000
    x = heart_beat(rate_hz, 0.32)
    assert share(x, rate_hz, 20, 150) > 0.98
    first, second = x[: rate_hz // 5], x[rate_hz // 5 :]
    gap_s = (rate_hz // 5 + np.abs(second).argmax() - np.abs(first).argmax()) / rate_hz
    assert gap_s == pytest.approx(0.32, abs=0.005)
    assert np.abs(first).max() > np.abs(second).max()


@pytest.mark.parametrize("seed", range(5))
def test_distractors_are_short_bounded_and_finite(seed: int) -> None:
    for sound, longest_s in ((knock, 0.04), (friction, 0.3), (voice, 0.3)):
        x = sound(rng(seed), 8000)
        assert np.isfinite(x).all() and 0.05 < np.abs(x).max() < 5 and x.size / 8000 <= longest_s


def test_distractors_do_not_know_the_class() -> None:
    patient = draw_patient(rng(), 301, "train", "Meditron", "COPD")
    tracks = []
    for label in range(4):
        breath = Breath(start_s=0.0, turn_s=1.0, rest_s=2.0, end_s=2.5, label=label)
        tracks.append(np.zeros(20000))
        add_distractors(rng(7), patient, breath, tracks[-1], 1.0)
    assert tracks[0].any() and all(np.array_equal(tracks[0], t) for t in tracks)


@pytest.mark.parametrize("name", DEVICES)
def test_device_keeps_its_band_and_drops_the_rest(name: str) -> None:
    device = DEVICES[name]
    white = 0.1 * rng().standard_normal(8 * device.rate_hz)
    heard = through_device(rng(1), white, device)
    assert share(heard, device.rate_hz, 1.3 * device.high_hz, device.rate_hz / 2) < 1e-2
    assert share(heard, device.rate_hz, device.low_hz, device.high_hz) > 0.9


@pytest.mark.parametrize("name", DEVICES)
def test_device_gain_corner_and_noise(name: str) -> None:
    device = DEVICES[name]
    quiet = Device(**dataclasses.asdict(device) | {"noise_db": -300.0})
    t = np.arange(2 * device.rate_hz) / device.rate_hz
    gain = [through_device(rng(), np.sin(2 * np.pi * f * t), quiet).std() * 2**0.5 for f in (300, device.high_hz)]
    assert 20 * np.log10(gain[0]) == pytest.approx(device.gain_db, abs=0.2)
    assert gain[1] / gain[0] == pytest.approx(0.5**0.5, rel=0.02)
    alone = through_device(rng(), np.zeros(2 * device.rate_hz), device)
    assert 20 * np.log10(alone.std()) == pytest.approx(device.gain_db + device.noise_db, abs=0.01)


# ---- labels


@pytest.mark.parametrize("seed", range(6))
def test_adventitious_sounds_lie_in_their_phase(seed: int) -> None:
    patient = draw_patient(rng(seed), 301, "train", "Meditron", "COPD")
    breath = Breath(start_s=1.0, turn_s=2.0, rest_s=3.0, end_s=4.0, label=3)
    for adder in (add_crackles, add_wheezes):
        track = np.zeros(8000 * 5)
        adder(rng(seed), patient, breath, track, 0.0)
        heard_s = np.flatnonzero(track) / 8000
        assert heard_s.size and breath.start_s <= heard_s[0] and heard_s[-1] <= breath.rest_s + 0.02
        if adder is add_crackles and patient.widths.two_cycle_s < 7e-3:
            assert heard_s[0] >= 1.5 and heard_s[-1] <= 2.0, "fine crackles come late in inspiration"


def test_labels_say_what_was_put_in() -> None:
    """The same corpus with and without its crackles and wheezes: they differ in the labelled cycles alone.

    A train of crackles is far peakier than a tone: kurtosis 1.5 for a tone, more for one that fills part of the cycle.
    """
    silent = dataclasses.replace(SMALL, adventitious_db=-200.0)
    peaky: dict[int, list[float]] = {0: [], 1: [], 2: [], 3: []}
    for (patient, stem, cycles, x), (_, same, _, y) in zip(recordings(SMALL), recordings(silent), strict=True):
        assert stem == same
        rate_hz = DEVICES[patient.device].rate_hz
        for breath in cycles:
            part = (x - y)[round(breath.start_s * rate_hz) : round(breath.end_s * rate_hz)]
            if breath.label == 0:
                assert np.abs(part).max() < 1e-6
            else:
                assert np.abs(part).max() > 1e-3
                peaky[breath.label].append(float(np.mean(part**4) / np.mean(part**2) ** 2))
    assert min(peaky[1]) > 60 and np.median(peaky[2]) < 20 < np.median(peaky[1])
    assert all(len(peaky[label]) > 3 for label in (1, 2, 3))


def test_both_means_crackles_and_wheezes(monkeypatch: pytest.MonkeyPatch) -> None:
    got: dict[str, list[int]] = {"add_crackles": [], "add_wheezes": []}
    for name, seen in got.items():
        monkeypatch.setattr(synthetic_patients, name, lambda _g, _p, breath, *_, s=seen: s.append(breath.label))
    made = [b.label for _, _, cycles, _ in recordings(SMALL) for b in cycles]
    assert got["add_crackles"] == [label for label in made if label in (1, 3)]
    assert got["add_wheezes"] == [label for label in made if label in (2, 3)]


@pytest.mark.parametrize("disease", DISEASES)
@pytest.mark.parametrize("count", [5, 6, 7, 11, 40])
def test_quotas_follow_the_disease(disease: str, count: int) -> None:
    patient = draw_patient(rng(), 301, "train", "Meditron", disease)
    found = np.bincount(labels(rng(), patient, count), minlength=4)
    assert found.sum() == count
    assert np.abs(found - count * np.array(DISEASES[disease])).max() < 1
    if disease == "COPD":
        assert found.min() >= 1, "the disease dealt first makes sure that both sides have all classes"


# ---- corpus


def test_reader_gives_back_what_was_made(folder: Path) -> None:
    corpus = read(folder)
    made = [(stem, p.part, p.device, b.start_s, b.end_s, b.label) for p, stem, bs, _ in recordings(SMALL) for b in bs]
    found = [(c.recording, c.part, c.device, c.start_s, c.end_s, c.label) for c in corpus.cycles]
    assert sorted(found) == sorted(made) and len(found) == 100
    assert not corpus.problems and set(corpus.audio) == set(corpus.recordings)
    assert corpus.name == "synthetic" and corpus.classes == ("normal", "crackle", "wheeze", "both")
    assert [t.name for t in corpus.tasks] == ["synthetic 4-class", "synthetic 2-class from 4-class"]


def test_patients_stay_on_one_side_with_all_classes_and_devices(folder: Path) -> None:
    corpus = read(folder)
    sides = {part: [c for c in corpus.cycles if c.part == part] for part in ("train", "test")}
    assert not {c.patient for c in sides["train"]} & {c.patient for c in sides["test"]}
    for cycles in sides.values():
        assert {c.label for c in cycles} == {0, 1, 2, 3}
        assert {c.device for c in cycles} == set(DEVICES)


def test_default_proportions_are_roughly_icbhi() -> None:
    """53 % normal, 27 % crackle, 13 % wheeze, 7 % both in ICBHI; here both has 10 % and more."""
    shares = np.mean([list(DISEASES.values())[i % 5] for i in [*range(14), *range(10)]], axis=0)
    np.testing.assert_allclose(shares, [0.53, 0.24, 0.13, 0.105], atol=0.02)


def test_recordings_are_sane(folder: Path) -> None:
    corpus = read(folder)
    for stem, path in corpus.audio.items():
        samples, rate_hz = soundfile.read(path, dtype="int16")
        assert samples.ndim == 1 and rate_hz == DEVICES[stem.split("_")[-1]].rate_hz
        assert 300 < np.abs(samples).max() < 32000, "neither silent nor clipped"
        assert max(c.end_s for c in corpus.cycles if c.recording == stem) <= samples.size / rate_hz
    assert all(1.49 < c.end_s - c.start_s < 4.51 for c in corpus.cycles)


def test_demographics_and_diagnoses_name_every_patient(folder: Path) -> None:
    patients = list(read(folder).patients)
    diagnoses = (folder / synthetic.DIAGNOSES).read_text().splitlines()
    assert diagnoses[0] == "ID,CLASS" and [d.split(",")[0] for d in diagnoses[1:]] == patients
    people = (folder / synthetic.DEMOGRAPHICS).read_text().split("\n")[1:-1]
    assert [p.split()[0] for p in people] == patients and all(len(p.split()) == 6 for p in people)
    assert "No real patient" in (folder / "README.txt").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_settings_same_bytes_and_other_seed_other_bytes(tmp_path: Path) -> None:
    tiny = Synthetic(patients=2, recordings=1, cycles=5)
    first, second = contents(make(tmp_path / "a", tiny)), contents(make(tmp_path / "b", tiny))
    assert first == second and len(first) == 2 * 2 + 5
    other = contents(make(tmp_path / "c", dataclasses.replace(tiny, seed=1)))
    assert not {v for k, v in first.items() if k.endswith(".wav")} & set(other.values())


def test_a_patient_does_not_depend_on_how_many_there_are() -> None:
    few = Synthetic(patients=3, recordings=1, cycles=5, train_fraction=0.7)
    many = dataclasses.replace(few, patients=6)
    waves = [next(recordings(s))[3] for s in (few, many)]
    assert np.array_equal(*waves)


def test_make_replaces_its_own_files_and_leaves_no_stale_recording(tmp_path: Path) -> None:
    make(tmp_path, Synthetic(patients=4, recordings=1, cycles=5))
    make(tmp_path, Synthetic(patients=2, recordings=1, cycles=6))
    assert len(read(tmp_path).recordings) == 2 and len(read(tmp_path).cycles) == 12


# ---- errors


def test_make_never_touches_other_recordings(tmp_path: Path) -> None:
    precious = tmp_path / "ICBHI_final_database" / "101_1b1_Al_sc_Meditron.wav"
    precious.parent.mkdir()
    precious.write_bytes(b"real")
    with pytest.raises(AuscultError, match="not synthetic") as caught:
        make(tmp_path, SMALL)
    assert caught.value.code == "E_DATA" and precious.read_bytes() == b"real"


def test_make_writes_over_nobodys_readme(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("mine")
    with pytest.raises(AuscultError, match=r"README\.txt, which are not synthetic"):
        make(tmp_path, SMALL)
    assert (tmp_path / "README.txt").read_text() == "mine"


def test_make_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuscultError, match="Choose another folder") as caught:
        make(tmp_path / "file" / "corpus", SMALL)
    assert caught.value.code == "E_DISK"


@pytest.mark.parametrize("there", [True, False])
def test_read_says_how_to_make_a_corpus(tmp_path: Path, there: bool) -> None:
    with pytest.raises(AuscultError, match="auscult demo") as caught:
        read(tmp_path if there else tmp_path / "nowhere")
    assert caught.value.code == "E_DATA"


@pytest.mark.parametrize(
    "bad",
    [
        {"patients": 1},
        {"recordings": 0},
        {"recordings": 1, "cycles": 4},
        {"seed": -1},
        {"devices": ()},
        {"train_fraction": 1.0},
        {"distractors": 1.5},
    ],
)
def test_settings_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(AuscultError) as caught:
        from_dict(Synthetic, dict(bad))
    assert caught.value.code == "E_SETTING"


def test_settings_are_saved_and_overridden(folder: Path) -> None:
    assert from_dict(Synthetic, json.loads((folder / synthetic.MARKER).read_text())) == SMALL
    assert override(Synthetic(), ["devices=Meditron,Litt3200"]).devices == ("Meditron", "Litt3200")
    with pytest.raises(AuscultError, match="Did you mean 'Meditron'"):
        Synthetic(devices=("Meditrom",))
