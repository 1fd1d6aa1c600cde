"""Export to ONNX: what onnxruntime makes of the file, what lies in it, and that a wrong one is never left."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

import auscult
from auscult import onnx_export
from auscult.analysis import RESEARCH_ONLY
from auscult.box import KEY, Choice
from auscult.cli.app import run as command
from auscult.config import override, to_dict
from auscult.errors import AuscultError
from auscult.models.scan import force, reference, ss2d
from auscult.models.weights import Weights, load_weights, save_weights
from auscult.onnx_export import LARGEST_ERROR, disagreement, export_onnx, samples
from auscult.predict import Model
from auscult.recipes import recipe

from .small import small_weights
from .test_scan import make

pytest.importorskip("onnxscript", reason="onnx, onnxscript and onnxruntime are not installed")
ort = pytest.importorskip("onnxruntime", reason="onnx, onnxscript and onnxruntime are not installed")

SMALL = ("clip.length_s=0.6", "clip.n_mels=32", "input.specaugment.time_mask=10")


def exported(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """`auscult export` in a process of its own: here shapes are checked at run time, which no tracer can follow."""
    words = [sys.executable, "-W", "error", "-m", "auscult", "export", str(source), str(out)]
    return subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def session(file: Path) -> Any:
    return ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def banks(model: Model, batch: int, frames: int | None = None) -> np.ndarray:
    """float16 values, as the feature store holds them."""
    size = batch, frames or model.clip.frames, model.clip.n_mels
    return np.random.default_rng(batch).normal(-6, 3, size).astype(np.float16)


def agree(reader: Any, model: Model, batch: int, frames: int | None = None) -> None:
    """onnxruntime alone against auscult."""
    stored = banks(model, batch, frames)
    logits, p = reader.run(["logits", "probabilities"], {"fbank": stored.astype(np.float32)})
    with torch.inference_mode(), force("chunked"):
        expected = model.classifier(torch.from_numpy(stored).float()).numpy()
    assert logits.shape == p.shape == (batch, len(model.classes))
    assert np.abs(logits - expected).max() < LARGEST_ERROR and np.ptp(expected) > 0.01
    assert np.abs(p.sum(1) - 1).max() < 1e-6 and np.abs(p - model.classify(stored)).max() < 1e-4


def stirred(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights and statistics away from their start, where networks say the same of everything."""
    generator = torch.Generator().manual_seed(1)
    made = {}
    for name, t in state.items():
        moved = t + 0.05 * torch.randn(t.shape, generator=generator) if t.is_floating_point() else t
        made[name] = moved.abs() + 0.5 if name.endswith("running_var") else moved
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with a temperature, its weights far from their start."""
    file = small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors", *SMALL)
    plain = load_weights(file)
    state = stirred(plain.state)
    facts = plain.facts | {KEY: Choice(temperature=1.7, threshold=0.4).to_dict()}
    save_weights(file, Weights(state=state, recipe=plain.recipe, classes=plain.classes, facts=facts))
    return file


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "small.onnx"
    done = exported(source, out)
    assert done.returncode == 0, done.stderr
    assert "takes any number of frames" in done.stderr and "torchvision" not in done.stderr
    assert [file.name for file in out.parent.iterdir()] == [out.name]
    return out


@pytest.fixture(scope="module")
def reader(made: Path) -> Any:
    return session(made)


@pytest.mark.parametrize(("batch", "frames"), [(1, None), (3, None), (2, 5), (1, 300)])
def test_onnxruntime_says_what_torch_says(source: Path, reader: Any, batch: int, frames: int | None) -> None:
    agree(reader, auscult.load(source, device="cpu"), batch, frames)


def test_the_file_says_what_it_is(source: Path, made: Path, reader: Any) -> None:
    model = auscult.load(source, device="cpu")
    told = reader.get_modelmeta().custom_metadata_map
    assert set(told) == {"auscult", "sha256", "temperature", "note", "recipe", "clip", "classes", "choice", "facts"}
    assert told["sha256"] == model.sha256 and told["note"] == RESEARCH_ONLY and told["auscult"] == auscult.__version__
    assert float(told["temperature"]) == 1.7 and tuple(json.loads(told["classes"])) == model.classes
    assert Choice.from_dict(json.loads(told["choice"])) == model.choice
    clip = json.loads(told["clip"])
    assert clip.pop("frames") == model.clip.frames and clip == to_dict(model.clip)
    assert json.loads(told["recipe"]) == model.recipe
    assert json.loads(told["facts"]) == {name: v for name, v in model.facts.items() if name != KEY}
    content = made.read_bytes()
    assert str(Path(auscult.__file__).parent).encode() not in content and b"site-packages" not in content


def test_the_code_of_the_document_runs(
    source: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, document = auscult.load(source, device="cpu"), Path(__file__).parents[1] / "docs" / "export.md"
    code = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    assert len(code) == 1 and len(document.read_text().splitlines()) <= 60
    soundfile.write(tmp_path / "recording.wav", np.random.default_rng(0).normal(0, 0.1, 32000), 8000)
    (tmp_path / "nano.onnx").symlink_to(made)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code[0], names)
    told = model.predict("recording.wav", [(0.0, 2.1), (2.1, 3.9)])
    expected = [list(cycle.probabilities.values()) for cycle in told.cycles]
    assert np.abs(names["probabilities"] - expected).max() < 2e-4  # told with four decimals
    assert names["frames"] == names["fbank"].shape[1]


@pytest.mark.slow
def test_a_map_too_long_is_refused_by_the_graph(reader: Any) -> None:
    """65,536 positions; 8 rows here."""
    with pytest.raises(Exception, match="Non-zero status"):
        reader.run(["logits"], {"fbank": np.zeros((1, 4 * 8200, 32), np.float32)})


class Scan(nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return ss2d(*inputs)


@pytest.mark.parametrize("shape", [(1, 3, 5, 8, 1), (2, 7, 33, 8, 2), (1, 5, 61, 4, 3)])  # 1, 2 and 3 levels
@pytest.mark.parametrize("kind", ["usual", "extreme"])
def test_the_scan_in_onnx_is_the_scan(shape: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    from auscult.models.scan import cpu, onnx_graph

    assert cpu.forward_op is not None
    inputs = make(shape, *(["extreme"] if kind == "extreme" else []), dtype=torch.float32)
    names = [f"input{i}" for i in range(6)]
    with torch.no_grad(), force("cpu"), onnx_export.undisturbed():
        program = torch.onnx.export(
            Scan().eval(), tuple(inputs), dynamo=True, optimize=False, opset_version=18, verbose=False,
            input_names=names, output_names=["y"],
            custom_translation_table={torch.ops.auscult.ss2d.default: onnx_graph.ss2d},
        )  # fmt: skip
    program.save(str(tmp_path / "scan.onnx"))
    y = session(tmp_path / "scan.onnx").run(["y"], {n: t.numpy() for n, t in zip(names, inputs, strict=True)})[0]
    exact = reference.scan(*(t.double() for t in inputs))
    assert float((torch.from_numpy(y) - exact).abs().max() / exact.abs().max()) < 1e-5


class Written:
    """An `ONNXProgram` that is there already."""

    def __init__(self, file: Path) -> None:
        import onnx_ir

        self.file, self.model = file, onnx_ir.load(file)

    def save(self, path: str, external_data: bool) -> None:
        assert not external_data
        Path(path).write_bytes(self.file.read_bytes())


@pytest.mark.parametrize(("error", "fine"), [(0.99e-4, True), (1.01e-4, False), (np.nan, False)])
def test_a_file_that_is_wrong_is_not_left(
    error: float, fine: bool, source: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "traced", lambda *_: Written(made))
    monkeypatch.setattr(onnx_export, "disagreement", lambda *_: error)
    (tmp_path / "old.onnx").write_bytes(b"old")
    for name in ("new.onnx", "old.onnx"):
        if fine:
            assert export_onnx(source, tmp_path / name).error == error
        else:
            with pytest.raises(AuscultError, match="differ from torch's") as told:
                export_onnx(source, tmp_path / name)
            assert told.value.code == "E_RUN"
    left = {file.name: file.read_bytes() == b"old" for file in tmp_path.iterdir()}
    assert left == ({"old.onnx": False, "new.onnx": False} if fine else {"old.onnx": True})


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, fbank: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.head(fbank.mean(1))
        return logits, logits.softmax(-1)


def test_one_wrong_answer_is_seen_among_many(tmp_path: Path) -> None:
    network, asked = Tiny().eval(), [torch.ones(1, 4, 3), torch.randn(3, 4, 3), torch.randn(1, 9, 3)]
    onnx_export.traced(network, torch.randn(2, 4, 3), True).save(str(tmp_path / "a.onnx"), external_data=False)
    assert disagreement(tmp_path / "a.onnx", network, asked) < 1e-6
    assert np.isnan(disagreement(tmp_path / "a.onnx", network, [*asked[:2], asked[2] * torch.nan]))
    with torch.no_grad():
        network.head.bias[1] -= 0.25
    assert disagreement(tmp_path / "a.onnx", network, asked) == pytest.approx(0.25, abs=1e-5)
    (tmp_path / "b.onnx").write_bytes(b"no graph")
    for file, bank in (("b.onnx", asked[0]), ("a.onnx", torch.ones(1, 4, 5))):
        with pytest.raises(AuscultError, match="cannot run what was made"):
            disagreement(tmp_path / file, network, [bank])


def test_what_both_are_asked(source: Path) -> None:
    model = auscult.load(source, device="cpu")
    asked, frames = samples(model, free=True), model.clip.frames
    assert [t.shape[:2] for t in asked] == [(1, frames), (3, frames), (1, frames // 2 + 9), (1, frames + 37)]
    assert all(t.isfinite().all() for t in asked) and len(samples(model, free=False)) == 2
    assert asked[1].std(dim=(1, 2)).min() > 1 and asked[1].mean() > -12  # sound, not the floor


def test_weights_that_are_none_are_refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = load_weights(source)
    key = next(name for name in plain.state if name.startswith("head.") and name.endswith("bias"))
    broken = plain.state | {key: torch.full_like(plain.state[key], torch.nan)}
    save_weights(
        tmp_path / "nan.safetensors", Weights(state=broken, recipe=plain.recipe, classes=plain.classes, facts={})
    )
    (tmp_path / "garbage.safetensors").write_bytes(b"\xff" * 99)
    for name, said in (("nan.safetensors", "NaN or Inf"), ("garbage.safetensors", "garbage"), ("none", "no model")):
        assert command(["export", str(tmp_path / name), str(tmp_path / "a.onnx")]) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "a.onnx").exists()


def test_what_cannot_be_asked(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "a.onnx")
    assert command(["export", str(source), out, "--data", str(tmp_path)]) == 2
    assert "leave it out for .onnx" in capsys.readouterr().err
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "onnxscript" else find(name, *a))
    assert command(["export", str(source), out]) == 2
    assert "needs onnxscript; install with: pip install 'auscult[onnx]'" in capsys.readouterr().err
    assert not Path(out).exists()


def weights_of(name: str, file: Path, *settings: str) -> Path:
    torch.manual_seed(0)
    made = override(recipe(name), list(settings))
    state = stirred(made.build_model(2).state_dict())
    save_weights(file, Weights(state=state, recipe=to_dict(made), classes=("normal", "abnormal"), facts={"seed": 0}))
    return file


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "settings", "frames"),
    [
        ("ast_nano", (), 398),
        ("mn04", ("clip.length_s=1", "weights=none"), None),
        ("dass_nano", (*SMALL, "input.frames=64", "input.normalise=clip", "head.normalise=true"), 58),
    ],
)
def test_other_networks(name: str, settings: tuple[str, ...], frames: int | None, tmp_path: Path) -> None:
    file = weights_of(name, tmp_path / "a.safetensors", *settings)
    done = exported(file, tmp_path / "a.onnx")
    assert done.returncode == 0 and "onnxruntime" not in done.stderr, done.stderr
    assert (
        f"takes {frames} frames" if frames else "takes any number"
    ) in done.stderr and "not calibrated" in done.stderr
    model = auscult.load(file, device="cpu")
    reader = session(tmp_path / "a.onnx")
    for batch in (1, 3):
        agree(reader, model, batch)
    told = reader.get_modelmeta().custom_metadata_map
    assert told["choice"] == "null" and float(told["temperature"]) == 1
