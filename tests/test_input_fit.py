"""How 798 frames become 1024: zeros as transformers' feature extractor appends them, or the clip again."""

import warnings

import numpy as np
import pytest
import torch

from auscult.config import fingerprint, override, to_dict
from auscult.errors import AuscultError
from auscult.recipes import recipe
from auscult.signal.clip import Clip
from auscult.signal.fbank import fbank
from auscult.signal.specaugment import SpecAugment
from auscult.signal.spectrogram import Input, filled


def spectrogram(frames: int = 798) -> torch.Tensor:
    return torch.randn(2, frames, 128, generator=torch.Generator().manual_seed(0)) * 3 - 7


def test_zeros_are_226_constant_frames() -> None:
    clip = Clip()
    tone = torch.sin(torch.arange(clip.samples) / 10)[None] * 0.1
    x = Input(normalise="audioset", frames=1024, fit="zero").build().eval()(clip.fbank(tone))[0, 0]
    constant = (x == x[0, -1]).all(dim=0)
    assert x.shape == (128, 1024) and int(constant.sum()) == 226 and constant[798:].all()
    assert x[0, -1].item() == pytest.approx(0.46703, abs=5e-6)


def test_zeros_equal_the_feature_extractor_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    waveform = np.random.default_rng(0).normal(0, 0.1, 128000).astype(np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")  # as in Kaldi
        extractor = transformers.ASTFeatureExtractor()
    theirs = extractor(waveform, sampling_rate=16000, return_tensors="np")["input_values"]
    front = Input(normalise="audioset", frames=1024, fit="zero", specaugment=None).build()
    ours = front(fbank(torch.from_numpy(waveform)[None]))
    assert theirs.shape == (1, 1024, 128)
    assert np.abs(ours[:, 0].transpose(1, 2).numpy() - theirs).max() < 1e-3


def test_repeated_frames_by_a_loop() -> None:
    x = spectrogram(7)
    found = filled(x, 17, "repeat")
    for frame in range(17):
        assert torch.equal(found[:, frame], x[:, frame % 7])


@pytest.mark.parametrize("fit", ["zero", "repeat"])
def test_a_longer_clip_keeps_its_beginning(fit: str) -> None:
    x = spectrogram(50)
    front = Input(normalise="audioset", frames=40, fit=fit, specaugment=None).build()
    assert torch.equal(front(x), Input(normalise="audioset", specaugment=None).build()(x[:, :40]))
    assert torch.equal(filled(x, 50, fit), x)


@pytest.mark.parametrize(("fit", "mean"), [("zero", -7 * 798 / 1024), ("repeat", -7.0)])
def test_the_fill_comes_before_normalisation(fit: str, mean: float) -> None:
    """The mean of a clip is taken over the filled one: zeros move it, the clip's own frames do not."""
    x = spectrogram()
    front = Input(frames=1024, fit=fit, specaugment=None).build()
    assert front(x).mean().item() == pytest.approx(0, abs=1e-5)
    whole = filled(x, 1024, fit)
    assert whole.mean().item() == pytest.approx(mean, abs=0.05)
    std, centre = torch.std_mean(whole, dim=(1, 2), keepdim=True)
    assert torch.allclose(front(x)[:, 0].transpose(1, 2), (whole - centre) / (2 * std), atol=1e-5)


@pytest.mark.parametrize("fit", ["zero", "repeat"])
def test_masks_come_after_the_fill_and_in_training_only(fit: str) -> None:
    masks = SpecAugment(gate="always")
    front = Input(normalise="audioset", frames=1024, fit=fit, specaugment=masks).build()
    plain = front.eval()(spectrogram())
    expected = masks(plain[:, 0].transpose(1, 2), torch.Generator().manual_seed(3))
    masked = front.train()(spectrogram(), torch.Generator().manual_seed(3))
    assert torch.equal(masked[:, 0].transpose(1, 2), expected) and not torch.equal(masked, plain)


def test_old_recipes_stay_what_they_were() -> None:
    assert not {"fit", "augment"} & set(to_dict(Input()))
    assert fingerprint(Input(frames=1024)) == "aab77169f7b6"
    changed = override(recipe("dass_nano"), ["input.frames=400", "input.fit=repeat"])
    assert changed.input.fit == "repeat" and to_dict(changed.input)["fit"] == "repeat"


def test_a_fill_needs_frames_to_reach() -> None:
    with pytest.raises(AuscultError, match=r"fit=zero fills up to frames=none; set frames"):
        override(Input(), ["fit=zero"])
