"""Prediction without torch: every layer and the whole network against torch, which models it takes, what it imports."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn
from torch.nn import functional as F

import auscult
from auscult.errors import AuscultError
from auscult.light import arithmetic, scan
from auscult.light import network as light
from auscult.light.dass import Dass, shapes
from auscult.models import LinearHead, dass
from auscult.models.scan import reference
from auscult.models.weights import load_weights, save_weights
from auscult.network import TorchNetwork, load_network
from auscult.predict import load
from auscult.recipes import Recipe
from auscult.signal.clip import Clip
from auscult.signal.spectrogram import Input
from auscult.weightsfile import read_told

from .small import small_weights


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(found: np.ndarray, expected: torch.Tensor, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=atol, rtol=1e-5)


@pytest.mark.parametrize("size", [(2, 7, 10, 8), (1, 1, 1, 4), (3, 40, 33, 32)])
def test_layers_are_those_of_torch(size: tuple[int, ...]) -> None:
    x, channels = draw(*size), size[-1]
    wide, back, bias = draw(24, channels, seed=1), draw(channels, 24, seed=2), draw(24, seed=3)
    scale, shift = draw(channels, seed=4), draw(channels, seed=5)
    assert_close(arithmetic.linear(x.numpy(), wide.numpy(), bias.numpy()), F.linear(x, wide, bias))
    norm = F.layer_norm(x, (channels,), scale, shift)
    assert_close(arithmetic.layer_norm(x.numpy(), scale.numpy(), shift.numpy()), norm)
    inside = (wide.numpy(), bias.numpy()), (back.numpy(), shift.numpy())
    assert_close(arithmetic.mlp(x.numpy(), *inside), F.linear(F.gelu(F.linear(x, wide, bias)), back, shift), 5e-5)
    one = draw(channels, 1, 3, 3, seed=6)
    expected = F.conv2d(x.permute(0, 3, 1, 2), one, padding=1, groups=channels).permute(0, 2, 3, 1)
    assert_close(arithmetic.depthwise(x.numpy(), one.numpy()), expected)
    conv = draw(12, channels, 3, 3, seed=7)
    expected = F.conv2d(x.permute(0, 3, 1, 2), conv, bias[:12], stride=2, padding=1).permute(0, 2, 3, 1)
    assert_close(arithmetic.halved(x.numpy(), conv.numpy(), bias[:12].numpy()), expected, 5e-5)


def test_functions_hold_from_end_to_end() -> None:
    x = torch.cat([torch.linspace(-200, 200, 4001), torch.linspace(-9, 9, 4001)])
    for ours, torch_s in ((arithmetic.gelu_, F.gelu), (arithmetic.silu, F.silu), (arithmetic.softplus_, F.softplus)):
        np.testing.assert_allclose(ours(x.numpy().copy()), torch_s(x).numpy(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 4, 6), (1, 2, 13), (2, 16, 100), (1, 3, 331)])
def test_the_scan_is_its_definition(size: tuple[int, int, int]) -> None:
    dim, rank = 6, 2
    u, x = draw(*size, dim), draw(*size, 4, rank + 2, seed=1)
    weight, bias, skip = draw(4, rank, dim, seed=2), draw(4, dim, seed=3), draw(4, dim, seed=4)
    decay = -draw(4, dim, seed=5).exp()
    expected = reference.scan(*(t.double() for t in (u, x, weight, bias, decay, skip))).float()
    found = scan.ss2d(*(t.numpy() for t in (u, x, weight, bias, decay, skip)))
    assert_close(found, expected, 1e-5 * float(expected.abs().max()))


def awake(model: nn.Module) -> None:
    """Every parameter and statistic at a place of its own: a start of zeros and ones would hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    for name, t in model.state_dict().items():
        if t.is_floating_point():
            moved = t + 0.1 * torch.randn(t.shape, generator=generator)
            t.copy_(moved.abs() + 0.1 if name.endswith("running_var") else moved)


def test_the_network_is_that_of_torch() -> None:
    torch.manual_seed(0)
    model = dass.Dass(size="nano").build().eval()
    awake(model)
    size = dass.SIZES["nano"]
    tensors = {name: t.numpy() for name, t in model.state_dict().items()}
    assert {name: t.shape for name, t in tensors.items()} == shapes(size.dims, size.depths)
    for frames in (1, 37, 198):
        x = draw(2, 1, 64, frames)
        with torch.inference_mode():
            assert_close(Dass(tensors, size.depths)(x[:, 0].numpy()), model(x), 1e-4)


@pytest.fixture(scope="module", params=["mel", "clip", "audioset"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of clips of 1 s that is nowhere at its start."""
    made = tmp_path_factory.mktemp("light") / "m.safetensors"
    small_weights(made, "clip.length_s=1.0", f"input.normalise={request.param}")
    weights = load_weights(made)
    module = nn.Module()
    for name, t in weights.state.items():
        module.register_buffer(name.replace(".", "/"), t)
    awake(module)
    save_weights(made, weights)
    return made


def test_logits_and_features_are_those_of_torch(file: Path) -> None:
    told = read_told(file)
    assert light.takes(told)
    ours, torch_s = light.LightNetwork(file, told), load_network(file, None, "cpu", "fp32")
    clips = np.random.default_rng(0).normal(0, 0.1, (3, 8000)).astype(np.float32)
    clips[2, 2000:] = 0  # digital silence, on the floor of the filterbank
    stored = torch_s.features(clips)
    mine = ours.features(clips)
    assert mine.dtype == stored.dtype and mine.shape == stored.shape
    step = np.spacing(np.abs(stored))
    assert (np.abs(mine.astype(np.float32) - stored) <= 1.01 * step).all()
    np.testing.assert_allclose(ours.logits(stored), torch_s.logits(stored), atol=2e-4)
    assert np.abs(torch_s.logits(stored)).max() > 0.05


def test_filterbanks_are_those_of_torch() -> None:
    """Above the rounding of both FFTs: some 78 dB below a frame's loudest bin."""
    sound = np.random.default_rng(0).normal(0, 0.2, 5000).astype(np.float32)
    for clip in (Clip(sample_rate=8000, n_mels=64, amplitude="int16"), Clip(), Clip(sample_rate=44100, n_mels=40)):
        np.testing.assert_allclose(clip.log_mel(sound[None]), clip.fbank(torch.from_numpy(sound)[None]), atol=1e-3)
    with pytest.raises(ValueError, match="one frame needs 200"):
        Clip(sample_rate=8000).log_mel(sound[None, :199])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sound") / "x.wav"
    noise = np.random.default_rng(0).normal(0, 0.1, 70 * 8000)
    soundfile.write(made, noise * np.sin(np.pi * np.arange(len(noise)) / 24000) ** 2, 8000)
    return made


@pytest.mark.parametrize("how", ["segment", "windows", "whole"])
def test_predictions_are_those_of_torch(file: Path, sound: Path, how: str) -> None:
    ours, torch_s = load(file), load(file, device="cpu")
    assert isinstance(ours.network, light.LightNetwork) and isinstance(torch_s.network, TorchNetwork)
    a, b = (model.predict(sound, how=how) for model in (ours, torch_s))  # type: ignore[arg-type]
    assert [(c.start_s, c.end_s) for c in a.cycles] == [(c.start_s, c.end_s) for c in b.cycles] and a.cycles
    for one, other in zip(a.cycles, b.cycles, strict=True):
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=1e-3)
    assert a.verdict == b.verdict and ours.sha256 == torch_s.sha256


def test_torch_is_there_for_whoever_looks_inside(file: Path) -> None:
    model = load(file)
    stored = np.random.default_rng(0).normal(0, 1, (1, 98, 64)).astype(np.float16)
    with torch.inference_mode():
        expected = torch.softmax(model.classifier(torch.from_numpy(stored).float()), dim=-1)
    np.testing.assert_allclose(model.classify(stored), expected, atol=1e-4)


OTHERS = {
    "frames": ("input.frames=64",),
    "smoothing": ("backbone.smoothing=gaussian",),
    "head": ("head=angular",),
    "dropout": ("head.dropout=0.1",),
    "batch norm": ("head.normalise=true",),
    "backbone": ("backbone=cnn6",),
}


@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS)
def test_other_models_are_for_torch(tmp_path: Path, settings: tuple[str, ...]) -> None:
    made = small_weights(tmp_path / "m.safetensors", *settings)
    assert not light.takes(read_told(made)) and isinstance(load(made).network, TorchNetwork)


def test_torch_is_taken_where_it_is_asked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load(file, precision="bf16").network, TorchNetwork)
    monkeypatch.setenv("AUSCULT_SCAN", "reference")
    assert isinstance(load(file).network, TorchNetwork)


@pytest.mark.parametrize(
    ("part", "spec"), [("recipe", Recipe), ("backbone", dass.Dass), ("head", LinearHead), ("input", Input)]
)
def test_every_setting_is_known(part: str, spec: type) -> None:
    """A new one is put into the list once it is clear what it means without torch."""
    assert light.SETTINGS[part] == {"kind", *(f.name for f in dataclasses.fields(spec))}


def rewritten(file: Path, out: Path, **changes: object) -> Path:
    """The file with another header; its numbers stay."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + length])
    head["__metadata__"] |= {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()
    }
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    out.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return out


def test_what_a_stranger_may_have_written(file: Path, tmp_path: Path) -> None:
    """Numbers that were changed are refused; a recipe that cannot be is left to torch, whose errors say why."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(data)
    with pytest.raises(AuscultError, match="damaged"):
        load(tmp_path / "flipped.safetensors")
    told = read_told(file)
    clip = {"kind": "clip", "sample_rate": 3}
    head = told.recipe["head"] | {"scale": 2.0}
    changes = {"backbone": None}, {"clip": clip}, {"head": head}, {"exec": "rm"}
    for recipe in ({}, {"kind": "recipe"}, *(told.recipe | change for change in changes)):
        odd = rewritten(file, tmp_path / "odd.safetensors", recipe=recipe)
        assert not light.takes(read_told(odd))
        with pytest.raises(AuscultError):
            load(odd)
    weights = load_weights(file)
    weights.state["head.bias"][0] = torch.nan
    save_weights(tmp_path / "nan.safetensors", weights)
    with pytest.raises(AuscultError, match=r"NaN or Inf in head\.bias"):
        load(tmp_path / "nan.safetensors")
    weights.state["head.bias"] = torch.zeros(4, dtype=torch.float64)
    save_weights(tmp_path / "double.safetensors", weights)
    assert not light.takes(read_told(tmp_path / "double.safetensors"))


ALONE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "scipy", "numba"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from auscult.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


def alone(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """A command where torch is not installed."""
    return subprocess.run([sys.executable, "-c", ALONE, *map(str, words)], capture_output=True, text=True, check=False)


def test_predictions_do_without_torch(sound: Path, tmp_path: Path) -> None:
    """Also with a worker process, whose own modules are not held back here: it says the same bytes."""
    for out, options in (("r1", ()), ("r2", ("--workers", "1"))):
        done = alone("predict", sound, "--out", tmp_path / out, *options)
        assert done.returncode == 0 and "recording quality" in done.stdout, done.stderr
    tables = [(tmp_path / name / "predictions.csv").read_bytes() for name in ("r1", "r2")]
    assert tables[0] == tables[1] and len(tables[0].splitlines()) > 2
    done = alone("segment", sound)
    assert done.returncode == 0 and len(done.stdout.splitlines()) > 5, done.stderr


def test_what_needs_torch_says_so(sound: Path, tmp_path: Path) -> None:
    data = ("--dataset", "synthetic", "--data", tmp_path)
    for words in (("train", "dass_nano", *data), ("predict", sound, "--precision", "bf16", "--out", tmp_path / "r")):
        done = alone(*words)
        assert done.returncode == 2 and "this command needs torch; install it with: pip" in done.stderr, done.stderr


@pytest.mark.parametrize("module", ["auscult.web.app", "auscult.web.analysis", "auscult.cli.worker"])
def test_the_page_starts_without_torch(module: str) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_package_loads_light() -> None:
    assert isinstance(auscult.load().network, light.LightNetwork)
