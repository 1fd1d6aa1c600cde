"""From a recording to a clip, and from a filterbank to the input of a network."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from auscult.config import fingerprint, from_dict, override, to_dict
from auscult.errors import AuscultError
from auscult.signal.clip import Clip
from auscult.signal.specaugment import SpecAugment
from auscult.signal.spectrogram import Input

RATE = 16000


def recording(seconds: float = 20.0) -> np.ndarray:
    """Its value is its own sample number, from 1."""
    return np.arange(1, int(seconds * RATE) + 1, dtype=np.float32)


def test_eight_seconds_are_128000_samples_and_798_frames() -> None:
    assert (Clip().samples, Clip().frames) == (128000, 798)
    assert (Clip(length_s=5.0).frames, Clip(length_s=10.0).frames) == (498, 998)
    assert Clip().fbank(torch.zeros(3, 128000)).shape == (3, 798, 128)
    assert Clip(sample_rate=8000, n_mels=40).fbank(torch.zeros(1, 64000)).shape == (1, 798, 40)


def test_the_recording_fades_over_1000_samples() -> None:
    ones = np.ones(5 * RATE, np.float32)
    faded = Clip().fade_recording(ones)
    assert faded[0] == 0 and faded[-1] == 0 and np.all(faded[1000:-1000] == 1)
    assert faded[500] == pytest.approx(500 / 999)
    assert np.all(ones == 1)
    assert np.array_equal(Clip(recording_fade_s=0.0).fade_recording(ones), ones)


def test_a_short_cycle_is_cut_by_truncation_repeated_and_faded() -> None:
    clip = Clip().cut(recording(), 1.00005, 3.00009)  # samples 16000.8 and 48001.44
    assert clip.shape == (128000,) and clip.dtype == np.float32
    assert clip[0] == 16001 and clip[32000] == 48001 and clip[32001] == 16001
    whole = Clip(tail_fade_s=0.0).cut(recording(), 1.00005, 3.00009)
    assert np.array_equal(clip[:127000], whole[:127000])
    assert clip[-1] == 0
    assert clip[-500] / whole[-500] == pytest.approx(0.4995, abs=1e-5)


def test_a_long_cycle_keeps_its_beginning_without_a_fade() -> None:
    assert np.array_equal(Clip().cut(recording(), 2.0, 18.0), recording()[32000:160000])


def test_a_cycle_past_the_end_stops_there() -> None:
    clip = Clip(tail_fade_s=0.0).cut(recording(), 19.0, 1e308)
    assert np.array_equal(clip[:16000], recording()[-16000:]) and clip[16000] == clip[0]


def test_zero_padding_centres_the_cycle_without_a_fade() -> None:
    clip = Clip(pad="zero").cut(recording(), 1.0, 3.0)
    assert np.array_equal(np.flatnonzero(clip), np.arange(48000, 80000))
    assert np.array_equal(clip[48000:80000], recording()[16000:48000])


def test_cut_returns_a_copy() -> None:
    source = recording()
    Clip().cut(source, 0.0, 16.0)[:] = 0
    assert source[0] == 1


@pytest.mark.parametrize(
    ("start", "end"), [(2.0, 2.0), (3.0, 2.0), (-1.0, 2.0), (float("nan"), 2.0), (1.0, float("inf")), (20.0, 21.0)]
)
def test_impossible_times_are_refused(start: float, end: float) -> None:
    with pytest.raises(AuscultError, match=f"E_ANNOTATION: a cycle from {start}"):
        Clip().cut(recording(), start, end)


def test_times_that_hold_no_sample_are_refused() -> None:
    with pytest.raises(AuscultError, match=r"holds no sample of a recording of 20\.000 s"):
        Clip().cut(recording(), 1.000001, 1.000002)


@pytest.mark.parametrize(
    "change", ["length_s=0.01", "length_s=nan", "sample_rate=10", "n_mels=0", "tail_fade_s=-1", "recording_fade_s=inf"]
)
def test_impossible_settings_are_refused(change: str) -> None:
    with pytest.raises(AuscultError, match=f"E_SETTING.*{change.split('=')[0]}"):
        override(Clip(), [change])


def test_every_setting_of_a_clip_changes_its_fingerprint() -> None:
    changes = ["sample_rate=8000", "length_s=5", "pad=zero", "recording_fade_s=0", "tail_fade_s=0", "n_mels=64"]
    changes += ["amplitude=int16", "buckets_s=[2,8]", "filterbank=efficientat"]
    assert len(changes) == len(fields(Clip))
    clip = Clip(sample_rate=32000)
    assert len({fingerprint(clip)} | {fingerprint(override(clip, [c])) for c in changes}) == len(changes) + 1


# --- buckets ---

BUCKETS = Clip(buckets_s=(2.0, 4.0, 8.0))


@pytest.mark.parametrize("pad", ["cyclic", "zero"])
@pytest.mark.parametrize(("length_s", "bucket_s"), [(0.3, 2.0), (2.0, 2.0), (2.5, 4.0), (7.0, 8.0), (12.0, 8.0)])
def test_a_cycle_fills_the_shortest_bucket_that_holds_it(pad: str, length_s: float, bucket_s: float) -> None:
    """As a clip of that one length would."""
    buckets, one = override(BUCKETS, [f"pad={pad}"]), Clip(length_s=bucket_s, pad=pad)  # type: ignore[arg-type]
    cut = buckets.cut(recording(), 1.0, 1.0 + length_s)
    assert np.array_equal(cut, one.cut(recording(), 1.0, 1.0 + length_s))
    assert len(cut) == buckets.bucket(1.0, 1.0 + length_s) == one.samples
    assert buckets.frames_of(len(cut)) == one.frames


def test_one_sample_more_needs_the_next_bucket() -> None:
    assert BUCKETS.bucket(0.0, 2.0) == 32000 and BUCKETS.bucket(0.0, 2.0 + 1.5 / RATE) == 64000


def test_the_bucket_follows_from_the_annotation_alone() -> None:
    """Also where the recording ends earlier, so that a store knows its rows before it reads audio."""
    assert len(BUCKETS.cut(recording(), 19.0, 22.5)) == BUCKETS.bucket(19.0, 22.5) == 64000
    assert BUCKETS.bucket(0.0, 1e308) == BUCKETS.samples == 128000
    with pytest.raises(AuscultError, match="0 <= start < end"):
        BUCKETS.bucket(3.0, 2.0)


def test_cycles_are_sorted_into_buckets() -> None:
    times = [(0.0, 3.0), (0.0, 1.0), (1.0, 9.0), (2.0, 6.0), (0.0, 20.0)]
    assert BUCKETS.by_bucket(times) == [[1], [0, 3], [2, 4]]
    assert Clip().by_bucket(times) == [[0, 1, 2, 3, 4]] and Clip().by_bucket([]) == []


@pytest.mark.parametrize("buckets", ["[2,4]", "[4,2,8]", "[2,2,8]", "[0.01,8]", "[nan,8]", "[-1,8]", "[8,inf]"])
def test_impossible_buckets_are_refused(buckets: str) -> None:
    with pytest.raises(AuscultError, match=r"E_SETTING.*buckets_s=.*the last one length_s=8"):
        override(Clip(), [f"buckets_s={buckets}"])


def test_without_buckets_settings_and_fingerprint_are_what_they_were_before_there_were_any() -> None:
    assert fingerprint(Clip()) == "9b44c246411f"
    assert "buckets_s" not in to_dict(Clip()) and to_dict(BUCKETS)["buckets_s"] == [2.0, 4.0, 8.0]
    assert from_dict(Clip, to_dict(Clip())) == Clip() and from_dict(Clip, to_dict(BUCKETS)) == BUCKETS


# --- the input of a network ---


def spectrogram(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 798, 128, generator=torch.Generator().manual_seed(seed)) * 3 - 7


def test_clip_normalisation_leaves_mean_0_and_deviation_one_half() -> None:
    x = Input().build().eval()(spectrogram())
    assert x.shape == (4, 1, 128, 798)
    assert torch.allclose(x.mean(dim=(1, 2, 3)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(x.std(dim=(1, 2, 3)), torch.full((4,), 0.5), atol=1e-5)
    fbank = spectrogram()
    std, mean = torch.std_mean(fbank, dim=(1, 2), keepdim=True)
    assert torch.allclose(x[:, 0].transpose(1, 2), (fbank - mean) / (2 * std), atol=1e-5)


def test_clip_normalisation_is_the_unbiased_one() -> None:
    tiny = torch.tensor([[[0.0, 2.0]]])  # unbiased deviation sqrt(2), biased 1
    assert Input().build().eval()(tiny).flatten().tolist() == pytest.approx([-0.3535534, 0.3535534])


def test_audioset_turns_a_row_of_zeros_into_046703() -> None:
    x = Input(normalise="audioset").build().eval()(torch.zeros(1, 3, 128))
    assert torch.allclose(x, torch.tensor(0.46703), atol=5e-6)


def test_rows_are_frequencies_and_columns_are_frames() -> None:
    fbank = spectrogram()
    x = Input(normalise="audioset").build().eval()(fbank)
    assert x[2, 0, 5, 700].item() == pytest.approx((fbank[2, 700, 5].item() + 4.2677393) / 9.1379948, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, -15.942385, 3.3])
def test_a_constant_clip_is_finite(value: float) -> None:
    x = Input(frames=1024).build().eval()(torch.full((2, 798, 128), value))
    assert torch.all(x.isfinite()) and x.abs().max() < 0.1


def test_the_stretch_interpolates_time_and_leaves_frequency() -> None:
    ramp = torch.arange(798.0)[None, :, None] * torch.ones(1, 1, 128) + 1000 * torch.arange(128.0)
    x = Input(normalise="audioset", frames=1024).build().eval()(ramp)[0, 0] * (2 * 4.5689974) - 4.2677393
    assert x.shape == (128, 1024)
    place = ((torch.arange(1024.0) + 0.5) * 798 / 1024 - 0.5).clamp(0, 797)  # centres of pixels, not corners
    assert torch.allclose(x[0], place, atol=1e-2)
    assert torch.allclose(x[100], place + 100000, atol=0.1)


def test_no_stretch_where_the_frames_fit() -> None:
    assert torch.equal(Input(frames=798).build().eval()(spectrogram()), Input().build().eval()(spectrogram()))


def test_masks_in_training_only_after_normalisation_and_before_the_stretch() -> None:
    masks = SpecAugment(gate="always")
    module = Input(frames=1024, specaugment=masks).build()
    fbank, seed = spectrogram(), 4
    normal = Input(specaugment=None).build()(fbank)[:, 0].transpose(1, 2)
    masked = masks(normal, torch.Generator().manual_seed(seed))
    expected = torch.nn.functional.interpolate(masked.transpose(1, 2)[:, None], (128, 1024), mode="bilinear")
    assert torch.allclose(module.train()(fbank, torch.Generator().manual_seed(seed)), expected, atol=1e-6)
    assert torch.equal(module.eval()(fbank), Input(frames=1024, specaugment=None).build().train()(fbank))


def test_the_stored_filterbank_is_never_written_to() -> None:
    fbank = spectrogram()
    module = Input(specaugment=SpecAugment(gate="always")).build().train()
    for _ in range(3):
        module(fbank)
    assert torch.equal(fbank, spectrogram())


def test_input_settings() -> None:
    assert override(Input(), ["specaugment=none", "frames=1024"]) == Input(specaugment=None, frames=1024)
    assert from_dict(Input, to_dict(Input())) == Input()
    assert override(Input(), ["specaugment.masks=1"]).specaugment == SpecAugment(masks=1)
    assert not list(Input().build().parameters()) and not Input().build().state_dict()
    assert "frames=1024" in repr(Input(frames=1024).build())
    with pytest.raises(AuscultError, match="frames=0"):
        override(Input(), ["frames=0"])


def test_mel_normalisation_takes_the_mean_spectrum_away_and_is_kept_with_the_weights() -> None:
    torch.manual_seed(0)
    spectrum = torch.linspace(-12.0, 9.0, 64)
    fbank = spectrum + 0.5 * torch.randn(8, 100, 64)
    module = Input(normalise="mel", specaugment=None).build(Clip(n_mels=64)).train()
    x = module(fbank)[:, 0].detach()
    assert x.mean(dim=(0, 2)).numpy() == pytest.approx(0.0, abs=1e-4)
    assert x.std(dim=(0, 2)).numpy() == pytest.approx(1.0, abs=0.01)
    for _ in range(200):
        module(fbank)
    again = Input(normalise="mel").build(Clip(n_mels=64)).eval()
    again.load_state_dict(module.state_dict())
    assert torch.allclose(again(fbank)[:, 0], x, atol=0.02)


def test_full_scale_of_int16_lifts_quiet_sounds_over_the_floor() -> None:
    """A tone at -80 dB: on the unit scale most bins lie on the floor, on Kaldi's scale they lie 2 ln 32768 above."""
    tone = torch.from_numpy(1e-4 * np.sin(2 * np.pi * 300 * np.arange(16000) / 16000)).float()[None]
    unit, kaldi = Clip(length_s=1.0).fbank(tone), Clip(length_s=1.0, amplitude="int16").fbank(tone)
    floor = unit.min()
    assert (unit == floor).float().mean() > 0.5
    above = unit > floor + 3
    assert (kaldi - unit)[above].numpy() == pytest.approx(2 * np.log(32768), abs=0.01)
