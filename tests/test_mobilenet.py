"""MobileNetV3 against a twin that knows nothing but a published state dict; published files; the recipes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auscult.config import override
from auscult.errors import AuscultError
from auscult.models import MobileNet
from auscult.models.mobilenet import WIDTHS, MobileNetV3
from auscult.models.transfer import load_backbone
from auscult.recipes import recipe
from auscult.runs import read_json
from auscult.signal import io
from auscult.signal.clip import Clip
from auscult.signal.spectrogram import Input
from auscult.train import train

from .small import small_corpus

CLASSES = 527
HALVES = (0, 2, 4, 7, 13)  # the layers of stride 2
HARD = range(7, 16)  # the blocks with Hardswish; those before have ReLU


def published_name(ours: str) -> str:
    """The name of one of our tensors in EfficientAT's files."""
    renamed = ours.replace("layers.", "features.", 1).replace(".fc", ".conc_se_layers.0.fc")
    return renamed.replace("embedding.", "classifier.2.").replace("head.", "classifier.5.")


def published(size: str, seed: int = 0) -> dict[str, Tensor]:
    """A state dict in EfficientAT's names; every tensor random, batch norms as after some training."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for ours, tensor in MobileNet(size=size).build(CLASSES).state_dict().items():
        if not tensor.is_floating_point():
            made = torch.tensor(7)
        elif tensor.ndim > 1:
            made = torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
        else:
            made = 0.5 + torch.rand(tensor.shape, generator=generator)
        state[published_name(ours)] = made
    return state


class Twin:
    """The network as a function of a published state dict, step by step, in the type of its tensors."""

    def __init__(self, state: dict[str, Tensor], training: bool) -> None:
        self.state, self.training = state, training

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, variance, scale, shift = (
            self.state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        if self.training:
            mean = x.mean(dim=(0, 2, 3), keepdim=True)
            variance = (x - mean).square().mean(dim=(0, 2, 3), keepdim=True)
        return (x - mean) / (variance + 0.001) ** 0.5 * scale + shift

    def convolve(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.0.weight"]
        groups = x.shape[1] if weight.shape[1] == 1 else 1
        x = F.conv2d(x, weight, stride=stride, padding=(weight.shape[2] - 1) // 2, groups=groups)
        return self.norm(x, f"{name}.1")

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def block(self, x: Tensor, number: int) -> Tensor:
        name, y = f"features.{number}.block", x
        stride = 2 if number in HALVES else 1
        parts = sorted({key.split(".")[3] for key in self.state if key.startswith(f"{name}.")}, key=int)
        for part in parts[:-1]:
            path = f"{name}.{part}"
            if f"{path}.conc_se_layers.0.fc1.weight" in self.state:
                squeezed = self.linear(y.mean(dim=(2, 3)), f"{path}.conc_se_layers.0.fc1").clamp_min(0)
                scale = 1 / (1 + torch.exp(-self.linear(squeezed, f"{path}.conc_se_layers.0.fc2")))
                y = y * scale[:, :, None, None]
            else:
                depthwise = self.state[f"{path}.0.weight"].shape[2] > 1
                y = self.convolve(y, path, stride if depthwise else 1)
                y = hard(y) if number in HARD else y.clamp_min(0)
        y = self.convolve(y, f"{name}.{parts[-1]}")
        return x + y if y.shape == x.shape and stride == 1 else y

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        x = hard(self.convolve(x, "features.0", 2))
        for number in range(1, 16):
            x = self.block(x, number)
        x = hard(self.convolve(x, "features.16"))
        features = hard(self.linear(x.mean(dim=(2, 3)), "classifier.2"))
        return features, self.linear(features, "classifier.5")


def hard(x: Tensor) -> Tensor:
    """Hardswish."""
    return x * (x + 3).clamp(0, 6) / 6


def filled(size: str, tmp_path: Path, classes: int | None = CLASSES) -> MobileNetV3:
    file = tmp_path / f"{size}.pt"
    torch.save(published(size), file)
    model = MobileNet(size=size).build(classes)
    report = load_backbone(model, file)
    assert report.share == 1 and not report.missing + report.unexpected + report.misfits + report.reshaped
    assert len(report.matched) + len(report.dropped) == len(published(size)) == {"mn01": 294, "mn04": 312}[size]
    return model


@pytest.fixture(params=["training", "evaluation"])
def mode(request: pytest.FixtureRequest) -> bool:
    return request.param == "training"


@pytest.mark.parametrize("size", ["mn01", pytest.param("mn04", marks=pytest.mark.slow)])
def test_forward_and_every_gradient_equal_the_twin(size: str, mode: bool, tmp_path: Path) -> None:
    model = filled(size, tmp_path).double().train(mode)
    state = {n: t.double().requires_grad_("running" not in n) for n, t in published(size).items() if t.ndim}
    x = torch.randn(3, 1, 65, 47, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits = model(x)
    features, expected = Twin(state, mode)(x)
    assert float(expected.detach().std()) > 0.01
    torch.testing.assert_close(logits, expected, rtol=1e-8, atol=1e-9)
    logits.square().sum().backward()
    expected.square().sum().backward()
    found = {published_name(name): p.grad for name, p in model.named_parameters()}
    largest = max(float(gradient.abs().max()) for gradient in found.values())
    for name, gradient in found.items():  # of shifts that a batch norm takes away again only rounding is left
        torch.testing.assert_close(gradient, state[name].grad, rtol=1e-6, atol=1e-11 * largest, msg=name)
    body = filled(size, tmp_path, None).double().train(mode)
    assert body.features == features.shape[1]
    torch.testing.assert_close(body(x), features.detach(), rtol=1e-8, atol=1e-9)


def test_batch_norms_move_by_a_hundredth(tmp_path: Path) -> None:
    model = filled("mn01", tmp_path).double().train()
    x = torch.randn(4, 1, 32, 32, dtype=torch.float64)
    norm = model.layers[0][1]
    before, y = norm.running_mean.clone(), model.layers[0][0](x)
    model(x)
    torch.testing.assert_close(norm.running_mean, 0.99 * before + 0.01 * y.mean(dim=(0, 2, 3)))
    assert int(norm.num_batches_tracked) == 8


@pytest.mark.parametrize(
    ("size", "millions"), [("mn04", 0.983), ("mn05", 1.43), ("mn10", 4.88), ("mn20", 17.91), ("mn40", 68.43)]
)
def test_sizes_are_the_published_ones(size: str, millions: float) -> None:
    """Parameters with the AudioSet head, from the README of EfficientAT."""
    with torch.device("meta"):
        model = MobileNet(size=size).build(CLASSES)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(AuscultError, match=r"E_SETTING: no MobileNet size named 'mn4'\. Did you mean 'mn40'\?"):
        override(recipe("mn04"), ["backbone.size=mn4"])
    assert all(float(name[2:]) == pytest.approx(10 * width) for name, width in WIDTHS.items())


@pytest.mark.parametrize(("f", "t"), [(1, 1), (128, 400), (40, 37)])
def test_any_height_and_length(f: int, t: int) -> None:
    model = MobileNet(size="mn01").build().eval()
    x = torch.randn(2, 1, f, t)
    with torch.no_grad():
        patches = model.patchify(x)
        assert patches.shape == (2, 8, (f + 1) // 2, (t + 1) // 2)
        torch.testing.assert_close(model.encode(patches.contiguous()), model(x))


def test_a_run_starts_from_the_file_and_its_twin_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    file, data = tmp_path / "mn04.pt", small_corpus(tmp_path / "data")
    torch.save(published("mn04"), file)
    settings = ["clip.length_s=0.3", "clip.n_mels=32", "epochs=1", "batch_size=8", "validation=0.3"]
    for name, weights in (("mn04", str(file)), ("mn04_scratch", "none")):
        run = train(override(recipe(name), [*settings, f"weights={weights}"]), "synthetic", data, tmp_path / name)
        assert run.weights("last").exists()
    kept = read_json(tmp_path / "mn04" / "start.json")
    assert kept["share"] == 1 and len(kept["matched"]) == 310 and not kept["missing"] + kept["unexpected"]
    assert [entry.split()[0] for entry in kept["dropped"]] == ["head.weight", "head.bias"]
    assert not (tmp_path / "mn04_scratch" / "start.json").exists()


def test_the_two_recipes_differ_in_their_start_alone() -> None:
    assert override(recipe("mn04"), ["weights=none", "name=mn04_scratch"]) == recipe("mn04_scratch")


# --- the published file ---


@pytest.fixture(scope="session")
def mn04_file(data_dir: Path) -> Path:
    file = data_dir / "weights" / "mn04_as_mAP_432.pt"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return file


def spectrograms(data_dir: Path, *recordings: str) -> Iterator[Tensor]:
    clip = Clip(sample_rate=32000, filterbank="efficientat")
    module = Input(normalise="efficientat", specaugment=None).build(clip).eval()
    for name in recordings:
        waveform = torch.from_numpy(io.load(next(data_dir.rglob(name)), clip.sample_rate).waveform)
        yield module(clip.fbank(waveform[None]))


@pytest.mark.data
def test_the_published_file_matches_key_by_key(mn04_file: Path) -> None:
    for classes, matched, dropped in ((None, 310, 2), (CLASSES, 312, 0)):
        report = load_backbone(MobileNet().build(classes), mn04_file)
        assert (len(report.matched), len(report.dropped), report.share) == (matched, dropped, 1)
        assert not report.missing + report.unexpected + report.misfits + report.reshaped
    assert report.sha256 == "899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c"


@pytest.mark.data
def test_the_published_network_hears_hearts_and_breath(mn04_file: Path, data_dir: Path) -> None:
    """Front end, network and AudioSet head together: 64 of the 527 classes is heart sounds, 41 is breathing."""
    model = MobileNet().build(CLASSES).eval()
    load_backbone(model, mn04_file)
    names = "64743918_7.0_0_p3_2340.flac", "125_1b1_Tc_sc_Meditron.flac"
    state = {name: tensor.double() for name, tensor in torch.load(mn04_file, weights_only=True).items()}
    for x, expected in zip(spectrograms(data_dir, *names), (64, 41), strict=True):
        with torch.no_grad():
            logits = model(x)
            torch.testing.assert_close(logits.double(), Twin(state, False)(x.double())[1], rtol=1e-4, atol=1e-4)
        assert int(logits.argmax()) == expected
