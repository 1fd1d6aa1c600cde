"""Breathing cycles found by themselves: the search against all series, the network against torch, sounds made here."""

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.errors import AuscultError
from auscult.signal import breathing
from auscult.signal import segment as search
from auscult.signal.breathing import BANDS, FRAME_S, RATE, band_levels, convolve, networks
from auscult.signal.segment import best_series, segment, segment_file, sounding


def breaths(starts_s: np.ndarray, length_s: float, rate: int = RATE, seed: int = 0, noise: float = 0.02) -> np.ndarray:
    """Breath noise: an inspiration at each start, half as long a softer expiration behind it, heart beats below."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(round(length_s * rate)) / rate
    level = np.full(len(seconds), noise)
    for start, end in pairwise([*starts_s, starts_s[-1] + np.diff(starts_s).mean()]):
        place = (seconds - start) / (end - start)
        level += np.sin(np.pi * np.clip(place / 0.4, 0, 1)) + 0.35 * np.sin(np.pi * np.clip((place - 0.45) / 0.3, 0, 1))
    air = np.convolve(rng.normal(size=len(seconds)), np.hanning(rate // 700) / 3, "same")
    beat = np.sin(2 * np.pi * 45 * seconds) * np.exp(-((((seconds % 0.8) - 0.1) / 0.03) ** 2))
    return (0.1 * level * air + 0.1 * beat).astype(np.float32)


def hits(truth: np.ndarray, cycles: list[tuple[float, float]]) -> tuple[float, float]:
    """Share of true starts with a found one within 0.5 s, and the other way round."""
    found = np.array([start for start, _ in cycles])
    apart = np.abs(truth[:, None] - found)
    return float((apart.min(axis=1) <= 0.5).mean()), float((apart.min(axis=0) <= 0.5).mean())


def check_order(cycles: list[tuple[float, float]], length_s: float) -> None:
    flat = [t for cycle in cycles for t in cycle]
    assert flat == sorted(flat)
    assert all(end - start >= search.SHORTEST_S - FRAME_S for start, end in cycles)
    assert not flat or (flat[0] >= 0 and flat[-1] <= length_s + 1e-9)


@pytest.mark.parametrize("period_s", [1.4, 2.5, 4.0])
@pytest.mark.parametrize("rate", [4000, 8000, 44100])
def test_finds_regular_breaths(period_s: float, rate: int) -> None:
    starts = np.arange(0.3 * period_s, 20 - period_s, period_s)
    cycles = segment(breaths(starts, 20, rate), rate)
    check_order(cycles, 20)
    recall, precision = hits(starts, cycles)
    assert recall >= 0.9 and precision >= 0.75, cycles  # the rest before the first breath is a cycle of its own


def test_finds_irregular_breaths() -> None:
    starts = 0.5 + np.cumsum(np.random.default_rng(1).uniform(2.0, 3.5, 9))
    recall, precision = hits(starts, segment(breaths(starts, starts[-1] + 3), RATE))
    assert recall >= 0.85 and precision >= 0.75


def test_cycles_are_contiguous_and_cover_what_breathes() -> None:
    cycles = segment(breaths(np.arange(1, 18, 2.5), 20), RATE)
    assert all(end == start for (_, end), (start, _) in pairwise(cycles))
    assert cycles[-1][1] == 20.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 200), st.floats(0.0, 6.0), st.sampled_from([4000, 11025]))
def test_any_input_gives_cycles_in_order(seed: int, length_s: float, rate: int) -> None:
    rng = np.random.default_rng(seed)
    sound = rng.normal(0, 10 ** rng.uniform(-6, 1), round(length_s * rate)).astype(np.float32)
    sound *= np.abs(np.interp(np.arange(len(sound)), np.linspace(0, max(1, len(sound)), 9), rng.normal(size=9)))
    check_order(segment(sound, rate), len(sound) / rate)


def test_gain_and_offset_change_nothing() -> None:
    sound = breaths(np.arange(1, 18, 2.5), 20)
    assert segment(sound, RATE) == segment(0.25 * sound, RATE) == segment((0.25 * sound + 0.5).astype(np.float32), RATE)


def test_the_same_twice() -> None:
    sound = breaths(np.arange(1, 18, 2.5), 20)
    assert segment(sound, RATE) == segment(sound.copy(), RATE)


@pytest.mark.parametrize("length_s", [0.0, 0.01, 0.5, 0.99])
def test_too_short_is_empty(length_s: float) -> None:
    sound = np.random.default_rng(0).normal(size=round(length_s * RATE)).astype(np.float32)
    assert segment(sound, RATE) == []


@pytest.mark.parametrize("seed", range(5))
def test_silence_and_steady_noise_are_empty(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.1, 20 * RATE).astype(np.float32)
    tone = np.sin(2 * np.pi * (200 + 100 * seed) * np.arange(20 * RATE) / RATE).astype(np.float32)
    assert segment(noise, RATE) == [] and segment(tone, RATE) == []
    assert segment(np.full(20 * RATE, 0.1 * seed, np.float32), RATE) == []


def test_digital_silence_belongs_to_no_cycle() -> None:
    sound = breaths(np.arange(0.5, 18, 2.5), 20)
    silence = np.zeros(5 * RATE, np.float32)
    cycles = segment(np.concatenate([silence, sound, silence, sound]), RATE)
    assert sounding(np.concatenate([silence, sound, silence]), RATE) == [(5 * RATE, 25 * RATE)]
    assert all((start >= 5 and end <= 25) or start >= 30 for start, end in cycles)
    alone = segment(sound, RATE)
    assert cycles == pytest.approx(np.array([(a + by, b + by) for by in (5, 30) for a, b in alone]))


def test_a_rate_above_4_khz_adds_nothing() -> None:
    sound = breaths(np.arange(1, 18, 2.5), 20)
    fine = soxr.resample(sound, RATE, 16000)
    found, expected = (np.array(segment(x, r)) for x, r in ((fine, 16000), (sound, RATE)))
    assert np.abs(found - expected).max() <= 2 * FRAME_S


# -- the search against all series ------------------------------------------------------------------------------------


def all_series(logits: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """The best series by trying every one at every period."""
    count, best = len(logits), (-np.inf, ())
    for period in search.PERIODS_S:
        usual = -0.5 * (np.log(period / search.USUAL_S) / search.USUAL_SPREAD) ** 2
        for size in range(count + 1):
            for series in combinations(range(count), size):
                steps = np.diff(series)
                if (size and (steps < search.SHORTEST).any()) or (steps > search.LONGEST).any():
                    continue
                ends = [series[0], count - series[-1]] if size else [count]
                lengths = [*steps, *(max(end, period / FRAME_S) for end in ends)]
                cost = sum(-0.5 * (np.log(n * FRAME_S / period) / search.SPREAD) ** 2 for n in lengths)
                value = usual + cost + sum(float(logits[i]) - search.THRESHOLD for i in series)
                if value > best[0] + 1e-9:
                    best = (value, series)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_search_is_exact(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SHORTEST", 2)
    monkeypatch.setattr(search, "LONGEST", 7)
    monkeypatch.setattr(search, "PERIODS_S", np.array([0.15, 0.25, 0.4]))
    logits = np.random.default_rng(seed).normal(-1, 2, 11).astype(np.float32)
    assert tuple(best_series(logits)) == all_series(logits)[1]


def test_search_prefers_the_period_that_repeats() -> None:
    """Weak boundaries between strong regular ones are left out, a weak one in its place is taken."""
    logits = np.full(320, -4.0, np.float32)
    logits[10::40] = 2.0
    logits[90], logits[100] = -0.8, -0.8
    logits[50] = -1.5
    assert best_series(logits).tolist() == list(range(10, 320, 40))


# -- the network ------------------------------------------------------------------------------------------------------


def test_convolve_equals_torch() -> None:
    from auscult.analysis.segmentation_fit import Network

    torch.manual_seed(0)
    nets = [Network().eval() for _ in range(2)]
    levels = np.random.default_rng(0).normal(size=(70, BANDS)).astype(np.float32)
    layers = [np.stack(pair) for pair in zip(*(net.arrays() for net in nets), strict=True)]
    with torch.no_grad():
        expected = [net(torch.from_numpy(levels)[None], torch.ones(1, 70))[0].numpy() for net in nets]
    np.testing.assert_allclose(convolve(levels, layers), expected, atol=1e-5)


def test_padding_in_a_batch_changes_nothing() -> None:
    from auscult.analysis.segmentation_fit import Network

    torch.manual_seed(0)
    net, levels = Network().eval(), torch.randn(1, 50, BANDS)
    padded = torch.nn.functional.pad(levels, (0, 0, 0, 30))
    mask = (torch.arange(80) < 50).float()[None]
    with torch.no_grad():
        torch.testing.assert_close(net(padded, mask)[:, :50], net(levels, torch.ones(1, 50)))


def test_levels_say_when_and_where() -> None:
    seconds = np.arange(4 * RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * seconds) * (seconds >= 3) + np.random.default_rng(0).normal(0, 1e-3, len(seconds))
    levels = band_levels(tone.astype(np.float32), RATE)
    assert levels.shape == (4 * RATE // 256, BANDS) and levels.dtype == np.float32
    band = int(np.argmax(levels[-10:].mean(axis=0)))
    edges = np.geomspace(breathing.LOW_HZ, breathing.HIGH_HZ, BANDS + 1)
    assert edges[band] <= 440 < edges[band + 1]
    assert abs(np.argmax(levels[:, band] > 1) * FRAME_S - 3) <= 2 * FRAME_S


def test_each_band_is_the_mean_of_its_bins() -> None:
    weights, hz = breathing._bands(), np.arange(257) * RATE / 512
    edges = np.geomspace(breathing.LOW_HZ, breathing.HIGH_HZ, BANDS + 1)
    for band, (low, high) in enumerate(pairwise(edges)):
        inside = (hz >= low) & (hz < high)
        if not inside.any():
            inside = np.arange(257) == np.abs(hz - np.sqrt(low * high)).argmin()
        np.testing.assert_allclose(weights[:, band], inside / inside.sum())


def test_shipped_weights_are_small_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert breathing.FILE.stat().st_size < 200_000
    assert all(len(layer) == breathing.FOLDS and np.isfinite(layer).all() for layer in networks())
    damaged = bytearray(breathing.FILE.read_bytes())
    damaged[-5] ^= 1
    (tmp_path / "w.safetensors").write_bytes(damaged)
    for file in ("w.safetensors", "missing.safetensors"):
        monkeypatch.setattr(breathing, "FILE", tmp_path / file)
        with pytest.raises(AuscultError) as caught:
            networks.__wrapped__()
        assert caught.value.code == "E_RUN"


# -- files and the command --------------------------------------------------------------------------------------------


def test_a_long_file_goes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = np.arange(1.0, 68, 2.5)
    sound = breaths(starts, 70, 8000)
    soundfile.write(tmp_path / "long.wav", sound, 8000)
    whole = segment_file(tmp_path / "long.wav")
    monkeypatch.setattr(search, "PIECE_S", 25.0)
    pieces = segment_file(tmp_path / "long.wav")
    check_order(pieces, 70)
    assert min(hits(starts, pieces)) > 0.9 and abs(len(pieces) - len(whole)) <= 2
    assert all(end == pytest.approx(start) for (_, end), (start, _) in pairwise(pieces))
