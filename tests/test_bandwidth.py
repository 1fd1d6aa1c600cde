"""Bandwidth by physics: noise that is cut at a frequency is found there, whatever the rate and gain of the file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.ndimage import median_filter

from auscult.data import bandwidth_store
from auscult.data.bandwidth_store import bandwidths
from auscult.data.material import read
from auscult.signal import io
from auscult.signal.bandwidth import bandwidth, power_density, running_median

from .small import small_corpus


def noise(rate: int, cut_hz: float, level: float = 0.1, seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    """White noise without anything above `cut_hz`, in steps of 16 bit."""
    size = int(rate * seconds)
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=size))
    spectrum[np.fft.rfftfreq(size, 1 / rate) > cut_hz] = 0
    x = np.fft.irfft(spectrum, size)
    return (np.round(level * x / x.std() * 2**15) / 2**15).astype(np.float32)


@pytest.mark.parametrize("rate", [10000, 16000, 44100])
@pytest.mark.parametrize("cut_hz", [1000.0, 2000.0, 4000.0])
@pytest.mark.parametrize("level", [0.1, 0.003])
def test_noise_that_is_cut_is_found_within_5_percent(rate: int, cut_hz: float, level: float) -> None:
    assert bandwidth(noise(rate, cut_hz, level), rate) == pytest.approx(cut_hz, rel=0.05)


@pytest.mark.parametrize("size", [1, 3, 9, 41])
def test_the_running_median_is_that_of_scipy(size: int) -> None:
    rows = np.random.default_rng(0).normal(size=(70, 23))  # more rows than a block
    expected = median_filter(rows, size=(1, size), mode="nearest")
    assert (running_median(rows, size) == expected).all()


def test_noise_to_the_end_has_half_the_rate_and_silence_none() -> None:
    for rate in (4000, 8000, 44100):
        assert bandwidth(noise(rate, rate), rate) == rate / 2
    assert bandwidth(np.zeros(8000, np.float32), 8000) is None
    assert bandwidth(np.full(8000, 0.25, np.float32), 8000) is None, "a constant is silence"


def test_what_was_stored_at_a_low_rate_shows_at_a_high_one(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(4000, 4000), 4000)
    raised = io.load(tmp_path / "a.wav", 16000).waveform
    assert bandwidth(raised, 16000) == pytest.approx(2000, rel=0.05)


def test_rumble_hum_and_whistles_do_not_count() -> None:
    sound, t = noise(16000, 1500, 0.01), np.arange(64000) / 16000
    for tone_hz, level in ((40, 0.3), (5000, 0.01)):
        heard = (sound + level * np.sin(2 * np.pi * tone_hz * t)).astype(np.float32)
        assert bandwidth(heard, 16000) == pytest.approx(1500, rel=0.05)


def test_a_short_sound_and_a_long_one() -> None:
    assert bandwidth(noise(8000, 1000, seconds=0.1), 8000) == pytest.approx(1000, rel=0.1)
    assert bandwidth(noise(8000, 1000, seconds=60), 8000) == pytest.approx(1000, rel=0.05)


def test_the_density_of_white_noise_is_its_variance_over_the_band() -> None:
    assert power_density(noise(8000, 8000, 0.1, 30), 8000)[5:-5].mean() == pytest.approx(0.1**2 / 4000, rel=0.02)


def test_the_store_measures_each_recording_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    corpus = read("synthetic", small_corpus(tmp_path / "data"))
    stems = sorted(corpus.audio)
    decoded: list[Path] = []
    decode = io.decode
    monkeypatch.setattr(bandwidth_store.io, "decode", lambda path: decoded.append(path) or decode(path))
    some = bandwidths(corpus, stems[:2])
    assert bandwidths(corpus, stems).keys() == set(stems) and len(decoded) == len(stems)
    recording = decode(corpus.audio[stems[0]])
    assert some[stems[0]] == bandwidth(recording.waveform, recording.native_rate)
    corpus.audio[stems[1]].write_text("no sound")
    missing = replace(corpus, audio={k: v for k, v in corpus.audio.items() if k != stems[0]})
    assert bandwidths(missing, stems).keys() == set(stems[2:]), "another file is measured again; none has no bandwidth"
