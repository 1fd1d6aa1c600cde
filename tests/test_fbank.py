"""The batched filterbank against a slow twin, against Kaldi, and against physics."""

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch

from auscult.signal.fbank import CHUNK_SAMPLES, fbank
from auscult.signal.mel import FLOOR, frame_count, frame_hop, frame_size, mel_matrix


def slow_fbank(waveform: np.ndarray, rate: int, n_mels: int) -> np.ndarray:
    """Frame by frame and filter by filter in float64, the way the definition reads."""
    size, hop = rate * 25 // 1000, rate * 10 // 1000
    n_fft = 2
    while n_fft < size:
        n_fft *= 2
    window = [0.5 - 0.5 * np.cos(2 * np.pi * i / (size - 1)) for i in range(size)]
    mel = lambda hz: 1127 * np.log(1 + hz / 700)  # noqa: E731
    step = (mel(rate / 2) - mel(20)) / (n_mels + 1)
    rows = []
    for start in range(0, len(waveform) - size + 1, hop):
        frame = waveform[start : start + size].astype(np.float64)
        frame = frame - frame.mean()
        frame = np.array([frame[i] - 0.97 * frame[max(i - 1, 0)] for i in range(size)]) * window
        power = np.abs(np.fft.fft(frame, n_fft)) ** 2
        row = np.zeros(n_mels)
        for line in range(n_fft // 2):
            place = (mel(line * rate / n_fft) - mel(20)) / step  # filter m peaks at place m + 1
            for m in (int(np.floor(place)) - 1, int(np.floor(place))):
                if place > 0 and 0 <= m < n_mels:
                    row[m] += power[line] * (1 - abs(place - (m + 1)))
        rows.append(np.log(np.maximum(row, np.finfo(np.float32).eps)))
    return np.array(rows)


def kaldi(waveform: np.ndarray, rate: int, n_mels: int) -> np.ndarray:
    """kaldi-native-fbank, C++."""
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hanning"
    options.mel_opts.num_bins = n_mels
    options.use_energy = False
    online = knf.OnlineFbank(options)
    online.accept_waveform(rate, waveform.tolist())
    online.input_finished()
    return np.stack([online.get_frame(i) for i in range(online.num_frames_ready)])


def sound(seed: int, samples: int) -> np.ndarray:
    """Noise with tones, an offset and a random level: what a stethoscope might send."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples)
    tones = sum(np.sin(2 * np.pi * f * t + p) for f, p in rng.uniform(0, 0.5, (3, 2)))
    level = 10 ** rng.uniform(-3, 0)
    return (level * (0.3 * tones + 0.1 * rng.standard_normal(samples)) + rng.normal(0, 0.01)).astype(np.float32)


@pytest.mark.parametrize("seed", range(40))
def test_equals_kaldi(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    waveform = sound(seed, int(rng.integers(400, 20000)))
    ours = fbank(torch.from_numpy(waveform)[None])[0].numpy()
    theirs = kaldi(waveform, 16000, 128)
    assert ours.shape == theirs.shape == (frame_count(len(waveform)), 128)
    error = np.abs(ours - theirs)
    heard = theirs > theirs.max(axis=1, keepdims=True) - 18  # 78 dB; below, the rounding of both FFTs shows
    assert error[heard].max() < 1e-3 and error.max() < 1e-2 and error.mean() < 1e-4
    assert heard.mean() > 0.5


@pytest.mark.parametrize(("rate", "n_mels"), [(4000, 40), (8000, 64), (10000, 80), (22050, 128), (44100, 23)])
def test_equals_kaldi_at_other_rates(rate: int, n_mels: int) -> None:
    waveform = sound(rate, 2 * rate // 5)
    ours = fbank(torch.from_numpy(waveform)[None], rate, n_mels)[0].numpy()
    assert ours == pytest.approx(kaldi(waveform, rate, n_mels), abs=1e-3)


@pytest.mark.parametrize(("rate", "n_mels"), [(16000, 128), (8000, 40), (22050, 64)])
def test_equals_the_slow_twin(rate: int, n_mels: int) -> None:
    waveform = sound(7, rate // 8)
    twin = slow_fbank(waveform, rate, n_mels)
    assert fbank(torch.from_numpy(waveform)[None], rate, n_mels)[0].numpy() == pytest.approx(twin, abs=1e-3)
    double = torch.from_numpy(waveform.astype(np.float64))[None]
    assert fbank(double, rate, n_mels)[0].numpy() == pytest.approx(twin, abs=1e-8)


@pytest.mark.data
def test_equals_kaldi_on_recordings(data_dir) -> None:
    from auscult.signal.io import load

    files = sorted(data_dir.glob("icbhi/**/*.flac"))[::30] + sorted(data_dir.glob("sprsound/train_wav/*.flac"))[::600]
    assert files
    for path in files:
        waveform = load(path).waveform[:80000].copy()
        assert np.abs(fbank(torch.from_numpy(waveform)[None])[0].numpy() - kaldi(waveform, 16000, 128)).max() < 1e-3


def test_frames_of_5_8_and_10_seconds() -> None:
    assert [frame_count(s * 16000) for s in (5, 8, 10)] == [498, 798, 998]
    assert frame_count(399) == 0 and frame_count(400) == 1
    assert fbank(torch.zeros(1, 128000)).shape == (1, 798, 128)


def test_silence_is_the_floor_and_one_filter_is_empty() -> None:
    assert torch.all(fbank(torch.full((1, 4000), 0.25)) == torch.tensor(FLOOR).log())  # the offset is removed
    noise = fbank(torch.randn(1, 16000, generator=torch.Generator().manual_seed(0)))
    assert int((noise == torch.tensor(FLOOR).log()).all(dim=1).sum()) == 1


@pytest.mark.parametrize("hz", [100, 440, 1500, 6000])
def test_a_tone_peaks_where_it_should(hz: int) -> None:
    tone = torch.sin(2 * np.pi * hz * torch.arange(16000, dtype=torch.float64) / 16000)
    mean = fbank(tone[None])[0].mean(dim=0)
    mel = 1127 * np.log1p(np.array([20, hz, 8000]) / 700)
    expected = (mel[1] - mel[0]) / (mel[2] - mel[0]) * 129 - 1
    width = 2 if hz >= 440 else 4  # one FFT line spans several filters at the low end
    assert abs(int(mean.argmax()) - expected) <= width


def test_twice_the_amplitude_adds_log_4() -> None:
    waveform = torch.from_numpy(sound(3, 8000))[None]
    low, high = fbank(waveform), fbank(2 * waveform)
    heard = low > -14
    assert torch.allclose((high - low)[heard], torch.tensor(4.0).log(), atol=1e-3)


def test_a_clip_does_not_depend_on_its_batch() -> None:
    waveforms = torch.from_numpy(np.stack([sound(s, 16000) for s in range(12)]))
    together = fbank(waveforms)
    for i in (0, 5, 11):
        assert torch.allclose(together[i], fbank(waveforms[i : i + 1])[0], atol=1e-4)


def test_a_batch_larger_than_a_chunk_keeps_its_order() -> None:
    samples = CHUNK_SAMPLES // 2 - 7  # two clips a chunk, so five clips are three chunks
    levels = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    base = torch.randn(1, samples, generator=torch.Generator().manual_seed(1))
    loudness = fbank(base * levels[:, None]).mean(dim=(1, 2))
    assert torch.allclose(loudness.diff(), torch.tensor(4.0).log() * 127 / 128, atol=1e-2)


def test_gradient_flows_and_is_right() -> None:
    waveform = torch.from_numpy(sound(5, 4000).astype(np.float64))[None].requires_grad_()
    fbank(waveform).square().sum().backward()
    direction = torch.randn(1, 4000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ahead, behind = (fbank(waveform.detach() + sign * 1e-7 * direction).square().sum() for sign in (1, -1))
    assert float((waveform.grad * direction).sum()) == pytest.approx(float((ahead - behind) / 2e-7), rel=1e-4)
    silence = torch.zeros(2, 800, requires_grad=True)
    fbank(silence).sum().backward()
    assert silence.grad is not None and torch.all(silence.grad == 0)  # not NaN


def test_first_use_under_inference_mode_does_not_poison_training() -> None:
    with torch.inference_mode():
        fbank(torch.randn(1, 3000), 12000, 17)
    waveform = torch.randn(1, 3000, requires_grad=True)
    fbank(waveform, 12000, 17).sum().backward()
    assert waveform.grad is not None and bool(waveform.grad.abs().sum() > 0)


def test_autocast_does_not_lower_the_precision() -> None:
    waveform = torch.from_numpy(sound(9, 8000))[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = fbank(waveform)
    assert cast.dtype == torch.float32 and torch.equal(cast, fbank(waveform))


def test_mel_matrix_tiles_the_spectrum_and_is_read_only() -> None:
    matrix = mel_matrix(16000, 512, 40, 20.0, 8000.0)
    inside = matrix.sum(axis=1)[3:239]  # between the first and the last peak neighbours add up to one
    assert inside == pytest.approx(np.ones_like(inside), abs=1e-9)
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1


def test_less_than_a_frame_is_refused() -> None:
    assert frame_size(22050) == 551 and frame_hop(22050) == 220
    with pytest.raises(ValueError, match="needs 400"):
        fbank(torch.zeros(1, 399))


@pytest.mark.parametrize("samples", [CHUNK_SAMPLES - 1, CHUNK_SAMPLES + 1, 3 * CHUNK_SAMPLES, 2 * CHUNK_SAMPLES + 399])
def test_a_long_waveform_is_worked_on_in_stretches(samples: int) -> None:
    """Every frame is the frame of its own 25 ms, at the seams too."""
    waveform = torch.from_numpy(sound(7, samples))[None]
    whole = fbank(waveform)
    assert whole.shape == (1, frame_count(samples), 128)
    at_seam = frame_count(CHUNK_SAMPLES)
    for first in (0, at_seam - 3, frame_count(samples) - 5):
        part = waveform[:, first * 160 : first * 160 + 4 * 160 + 400]
        few = fbank(part)
        torch.testing.assert_close(whole[:, first : first + few.shape[1]], few, rtol=0, atol=1e-4)


def test_frames_of_long_waveforms_are_those_of_one_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = torch.from_numpy(np.stack([sound(8, 40000), sound(9, 40000)]))
    expected = fbank(waveform)
    monkeypatch.setattr("auscult.signal.fbank.CHUNK_SAMPLES", 3000)
    torch.testing.assert_close(fbank(waveform), expected, rtol=0, atol=1e-5)
