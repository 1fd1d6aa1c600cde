"""Gain and noise on a stored filterbank against the same on the waveform it was made from."""

import math

import pytest
import torch

from auscult.config import from_dict, override, to_dict
from auscult.errors import AuscultError
from auscult.signal.augment import GainNoise
from auscult.signal.clip import Clip
from auscult.signal.mel import FLOOR
from auscult.signal.spectrogram import Input

CLIPS = [
    Clip(length_s=0.5),
    Clip(length_s=0.5, amplitude="int16"),
    Clip(length_s=0.5, sample_rate=32000, filterbank="efficientat"),
]
GAIN = GainNoise(gain=0.5, gain_p=1.0, noise_p=0.0)
NOISE = GainNoise(gain_p=0.0, noise_p=1.0, noise_std=1e-3)
KINDS = ["unit", "int16", "efficientat"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sounds(clip: Clip, n: int = 1) -> torch.Tensor:
    """A tone over weak noise: bins far above, near and, on the unit scale, under what the augmentation adds."""
    time = torch.arange(clip.samples, dtype=torch.float64) / clip.sample_rate
    tone = 1e-2 * torch.sin(2 * math.pi * 400 * time)
    return tone.expand(n, -1) + 1e-3 * torch.randn(n, clip.samples, generator=generator(9), dtype=torch.float64)


@pytest.mark.parametrize("clip", CLIPS, ids=KINDS)
def test_a_gain_is_that_of_the_waveform(clip: Clip) -> None:
    waveform = sounds(clip, 4).float()
    stored = clip.fbank(waveform)
    found = GAIN(stored, clip, generator(1))
    gain = 1 + 0.5 * (2 * torch.rand(3, 4, generator=generator(1))[2] - 1)
    expected = clip.fbank(gain[:, None] * waveform)
    off_floor = (stored > math.log(FLOOR) + 0.01) & (expected > math.log(FLOOR) + 0.01)
    assert off_floor.float().mean() > 0.5
    torch.testing.assert_close(found[off_floor], expected[off_floor], rtol=0, atol=2e-3)
    if clip.filterbank == "kaldi":
        shift = (2 * gain.log())[:, None, None].expand_as(found)
        torch.testing.assert_close((found - stored)[off_floor], shift[off_floor], rtol=0, atol=1e-4)


def test_what_lies_on_the_floor_stays_there() -> None:
    silence = Clip().fbank(torch.zeros(8, 16000)).half().float()  # as the store gives it back
    found = GAIN(silence, Clip(), generator())
    assert torch.allclose(found, torch.tensor(math.log(FLOOR)))


@pytest.mark.parametrize("clip", CLIPS, ids=KINDS)
def test_noise_has_the_mean_energy_of_the_waveform_route(clip: Clip) -> None:
    """Mean over 400 draws, in bands of 16 bins; both routes scatter by about 1 %."""
    waveform = sounds(clip)
    true = clip.fbank((waveform + 1e-3 * torch.randn(400, clip.samples, generator=generator(2))).float())
    stored = clip.fbank(waveform.float())
    found = NOISE(stored.expand(400, -1, -1), clip, generator(3))

    def bands(x: torch.Tensor) -> torch.Tensor:
        return x.double().exp().mean(dim=(0, 1)).reshape(8, 16).mean(dim=1)

    assert torch.allclose(bands(found) / bands(true), torch.ones(8, dtype=torch.float64), atol=0.05)
    assert (bands(found) / bands(stored)).max() > 1.5, "the noise is not seen"


@pytest.mark.parametrize("clip", CLIPS, ids=KINDS)
def test_noise_on_silence_follows_the_law_of_the_waveform_route(clip: Clip) -> None:
    silence = clip.fbank(torch.zeros(1, clip.samples)).expand(200, -1, -1)
    true = clip.fbank(1e-3 * torch.randn(200, clip.samples, generator=generator(4)))
    found = NOISE(silence, clip, generator(5))
    for q in (0.1, 0.5, 0.9):
        a, b = (x[:, :, 60:].flatten()[::7].quantile(q).item() for x in (found, true))
        assert a == pytest.approx(b, abs=0.03)


def test_shares_and_sizes_of_gains_follow_the_law() -> None:
    stored, clip = torch.zeros(20000, 1, 4), Clip(n_mels=4)
    change = GainNoise(noise_p=0.0)(stored, clip, generator(6))[:, 0, 0]
    assert (change != 0).float().mean().item() == pytest.approx(0.5, abs=0.012)
    gain = (change[change != 0] / 2).exp()
    assert gain.mean().item() == pytest.approx(1.0, abs=2e-3)
    assert gain.min().item() == pytest.approx(0.9, abs=1e-3) and gain.max().item() == pytest.approx(1.1, abs=1e-3)
    noisy = GainNoise(gain_p=0.0, noise_std=1.0)(stored[:2000], clip, generator(7)) != 0
    assert noisy.all(dim=2).float().mean().item() == pytest.approx(0.5, abs=0.04)
    both = GainNoise()(torch.full((4000, 1, 4), -9.0), clip, generator(8))
    assert (both == -9).all(dim=2).float().mean().item() == pytest.approx(0.25, abs=0.025)


def test_clips_that_are_spared_are_bit_equal_and_the_store_is_never_written_to() -> None:
    stored = Clip(length_s=0.5).fbank(sounds(Clip(length_s=0.5), 6).float())
    before = stored.clone()
    assert torch.equal(GainNoise(gain_p=0.0, noise_p=0.0)(stored, Clip(), generator()), before)
    GainNoise(gain_p=1.0, noise_p=1.0)(stored, Clip(), generator())
    assert torch.equal(stored, before)


def test_it_runs_in_training_only_before_normalisation_and_with_the_clip_of_the_recipe() -> None:
    clip = Clip(length_s=0.5, amplitude="int16")
    stored = clip.fbank(sounds(clip, 3).float())
    front = Input(normalise="audioset", specaugment=None, augment=GainNoise(noise_p=1.0)).build(clip)
    plain = Input(normalise="audioset", specaugment=None).build(clip)
    changed = GainNoise(noise_p=1.0)(stored, clip, generator(1))
    assert torch.equal(front.train()(stored, generator(1)), plain(changed))
    assert torch.equal(front.eval()(stored), plain(stored))
    torch.manual_seed(0)
    first = front.train()(stored)
    torch.manual_seed(0)
    assert torch.equal(front(stored), first)


def test_settings() -> None:
    made = override(Input(), ["augment=gain_noise"])
    assert made.augment == GainNoise() and from_dict(Input, to_dict(made)) == made
    assert to_dict(made)["augment"] == {"kind": "gain_noise"} | to_dict(GainNoise())
    for wrong, said in (("gain=1", "gain=1"), ("noise_std=-1", "noise_std=-1"), ("noise_p=2", "noise_p=2")):
        with pytest.raises(AuscultError, match=said):
            override(GainNoise(), [wrong])
