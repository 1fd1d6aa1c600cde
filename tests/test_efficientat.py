"""EfficientAT's front end against a slow twin and physics, and how clips, stores and inputs take it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.config import override
from auscult.data.store import features, frames
from auscult.data.synthetic import read
from auscult.errors import AuscultError
from auscult.signal.clip import Clip
from auscult.signal.efficientat import FLOOR, log_mel, mel_frame_count
from auscult.signal.spectrogram import Input

from .small import small_corpus

CLIP = Clip(sample_rate=32000, length_s=0.5, filterbank="efficientat")


def slow_log_mel(waveform: np.ndarray, n_mels: int) -> np.ndarray:
    """As the authors' code reads, in float64: 1024 samples a frame, the window of 800 in their middle."""
    emphasised = np.array([waveform[i + 1] - 0.97 * waveform[i] for i in range(len(waveform) - 1)])
    mirrored = np.concatenate([emphasised[512:0:-1], emphasised, emphasised[-2:-514:-1]])
    window = np.zeros(1024)
    window[112:912] = [0.5 - 0.5 * np.cos(2 * np.pi * i / 799) for i in range(800)]
    mel = lambda hz: 1127 * np.log(1 + hz / 700)  # noqa: E731
    edges = [m * mel(15000) / (n_mels + 1) for m in range(n_mels + 2)]
    rows = []
    for start in range(0, len(mirrored) - 1023, 320):
        power = np.abs(np.fft.fft(mirrored[start : start + 1024] * window)) ** 2
        row = np.zeros(n_mels)
        for line in range(512):  # the last line, 16 kHz, is in no filter
            place = mel(line * 32000 / 1024)
            for m in range(n_mels):
                left, centre, right = edges[m : m + 3]
                if left < place < right:
                    row[m] += power[line] * min((place - left) / (centre - left), (right - place) / (right - centre))
        rows.append(np.log(row + 1e-5))
    return np.array(rows)


def sound(seed: int, samples: int) -> np.ndarray:
    """Noise with a tone and an offset, at a random level."""
    rng = np.random.default_rng(seed)
    tone = np.sin(2 * np.pi * rng.uniform(0, 0.4) * np.arange(samples))
    return 10 ** rng.uniform(-3, 0) * (0.3 * tone + 0.1 * rng.standard_normal(samples)) + 0.01


@pytest.mark.parametrize(("seed", "samples", "n_mels"), [(0, 1601, 128), (1, 1600, 40), (2, 514, 64), (3, 2240, 23)])
def test_equals_the_slow_twin(seed: int, samples: int, n_mels: int) -> None:
    waveform = sound(seed, samples)
    twin = slow_log_mel(waveform, n_mels)
    ours = log_mel(torch.from_numpy(waveform)[None], n_mels)[0]
    assert ours.dtype == torch.float64 and ours.numpy() == pytest.approx(twin, abs=1e-9)
    assert log_mel(torch.from_numpy(waveform).float()[None], n_mels)[0].numpy() == pytest.approx(twin, abs=1e-3)


@pytest.mark.parametrize("samples", [402, 514, 720, 721, 3200, 3201, 32000])
def test_frames_stand_around_every_320th_sample(samples: int) -> None:
    found = log_mel(torch.zeros(1, samples))
    assert found.shape == (1, mel_frame_count(samples), 128) == (1, 1 + (samples - 1) // 320, 128)
    assert torch.equal(found, torch.full_like(found, np.log(FLOOR)))  # silence


def test_less_than_half_a_frame_is_refused() -> None:
    assert mel_frame_count(401) == mel_frame_count(0) == 0
    with pytest.raises(ValueError, match="401 samples at 32000 Hz; 402"):
        log_mel(torch.zeros(1, 401))


@pytest.mark.parametrize(("hz", "heard"), [(300, True), (14500, True), (15600, False)])
def test_filters_end_at_15_khz(hz: int, heard: bool) -> None:
    tone = torch.sin(2 * np.pi * hz * torch.arange(16000, dtype=torch.float64) / 32000)
    spectrum = log_mel(tone[None])[0, 10:-10].mean(dim=0)
    place = np.log1p(hz / 700) / np.log1p(15000 / 700) * 129 - 1
    assert (abs(int(spectrum.argmax()) - place) <= 1.5 and float(spectrum.max()) > 4) == heard
    assert heard or float(spectrum.max()) < -4


def test_the_gradient_is_right() -> None:
    waveform = torch.from_numpy(sound(5, 3000))[None].requires_grad_()
    log_mel(waveform).square().sum().backward()
    direction = torch.randn(1, 3000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ahead, behind = (log_mel(waveform.detach() + sign * 1e-7 * direction).square().sum() for sign in (1, -1))
    assert waveform.grad is not None
    assert float((waveform.grad * direction).sum()) == pytest.approx(float((ahead - behind) / 2e-7), rel=1e-4)


def test_long_waveforms_and_batches_are_worked_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = torch.from_numpy(np.stack([sound(8, 20001), sound(9, 20001), sound(10, 20001)]))
    whole = log_mel(waveform)
    torch.testing.assert_close(log_mel(waveform[1:2])[0], whole[1], rtol=0, atol=1e-9)
    monkeypatch.setattr("auscult.signal.fbank.CHUNK_SAMPLES", 3000)
    torch.testing.assert_close(log_mel(waveform), whole, rtol=0, atol=1e-9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert log_mel(waveform.float()).dtype == torch.float32


def test_a_clip_counts_its_frames() -> None:
    four = Clip(sample_rate=32000, length_s=4.0, filterbank="efficientat")
    assert four.frames == 400 and four.frames_of(32000) == 100
    for samples in (CLIP.samples, 801, 15999):
        assert CLIP.fbank(torch.zeros(2, samples)).shape == (2, CLIP.frames_of(samples), 128)
    loud = override(CLIP, ["amplitude=int16"]).fbank(torch.ones(1, 3200))
    torch.testing.assert_close(loud, log_mel(32768 * torch.ones(1, 3200)))
    with pytest.raises(AuscultError, match=r"E_SETTING.*filterbank=efficientat needs sample_rate=32000, not 16000"):
        override(Clip(), ["filterbank=efficientat"])
    with pytest.raises(AuscultError, match=r"E_SETTING.*length_s=0\.0125"):
        override(CLIP, ["length_s=0.0125"])


@pytest.mark.parametrize("buckets", ["none", "0.3,0.5"])
def test_a_store_holds_every_frame(buckets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    corpus = read(small_corpus(tmp_path / "data")).with_audio()
    clip = CLIP if buckets == "none" else override(CLIP, [f"buckets_s={buckets}"])
    found = features(corpus, clip)
    assert found.usable.all() and len(found.fbank) == found.frames.sum()
    assert set(frames(corpus, clip).tolist()) <= {30, 50}
    for row in (0, len(corpus.cycles) - 1):
        assert found.row(row).shape == (found.frames[row], 128) and (found.row(row) != 0).all()


def test_its_normalisation() -> None:
    x = torch.tensor([[[-4.5, 0.5], [5.5, -14.5]]])
    module = Input(normalise="efficientat", specaugment=None).build(CLIP)
    assert torch.equal(module(x), torch.tensor([[[[0.0, 2.0], [1.0, -2.0]]]]))
    assert not list(module.parameters())
