"""The model in the package, and what `export` puts beside the weights of a run."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile

import auscult
from auscult.box import DEFAULT, KEY, MODELS, Choice, OperatingPoint, choice_in, find
from auscult.cli.app import run as command
from auscult.errors import AuscultError
from auscult.export import RISK, band, best, export
from auscult.models import scan
from auscult.models.weights import load_weights
from auscult.runs import Run
from auscult.train import train

from .small import small_corpus, small_recipe

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    return train(small_recipe("epochs=2"), "synthetic", small_corpus(folder / "data"), folder / "run")


def test_the_model_in_the_package_is_small_and_whole() -> None:
    file = find(None)
    assert file == find(DEFAULT) and file.stat().st_size < 5e6
    weights = load_weights(file)  # checks its sha256
    choice = choice_in(weights.facts)
    assert choice is not None and 0 < choice.threshold < 1 and len(choice.points) >= 19
    assert weights.classes == ("normal", "crackle", "wheeze", "both")
    assert weights.recipe["weights"].startswith(
        "runs/nano/"
    )  # its own first training, from random weights; nothing published


def test_its_document_says_its_scores() -> None:
    """docs/model.md is held to the integers that lie in the file."""
    text, parts = (ROOT / "docs" / "model.md").read_text(), load_weights(find(None)).facts["scores"]["parts"]
    for part in ("inter", "intra"):
        for told in parts[part]["scores"].values():
            assert f"{100 * told['Score']:.2f}" in text and f"{told['abnormal_correct']}/{told['abnormal']}" in text
            assert f"{told['normal_correct']}/{told['normal']}" in text
            assert "[" + ", ".join(f"{100 * end:.1f}" for end in told["interval_95"]) + "]" in text


def test_predict_needs_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate = 8000
    t = np.arange(12 * rate) / rate
    noise = np.random.default_rng(0).normal(0, 0.1, len(t)) * np.sin(np.pi * t / 3) ** 2
    soundfile.write(tmp_path / "a.wav", noise, rate)
    assert command(["predict", str(tmp_path / "a.wav"), "--out", str(tmp_path / "results")]) == 0
    out, err = capsys.readouterr()
    assert "recording quality" in out and "Research use only" in err
    told = json.loads((tmp_path / "results" / "run.json").read_text())
    assert told["calibrated"] is True and told["weights"]["file"] == MODELS[DEFAULT]


def test_a_prediction_imports_nothing_that_it_could_do_without(tmp_path: Path) -> None:
    """scipy and the compiler are 110 MB, torch._dynamo is 140: a long recording shall fit a small machine."""
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).normal(0, 0.05, 32000), 8000)
    heavy = ("scipy", "numba", "torch._dynamo", "matplotlib", "pandas")
    program = (
        "import sys, auscult; made = auscult.load(device='cpu').predict(sys.argv[1]); "
        f"print(len(made.cycles), [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.check_output([sys.executable, "-c", program, str(tmp_path / "x.wav")], text=True)
    count, imported = done.strip().split(maxsplit=1)
    assert int(count) > 0 and imported == "[]"


@pytest.mark.parametrize(("asked", "form"), [(None, "chunked"), ("reference", "reference")])
def test_a_light_network_takes_the_scan_in_plain_torch(
    asked: str | None, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = auscult.load(device="cpu"), set[str]()
    choose = scan.choose
    monkeypatch.setattr(scan, "choose", lambda u: seen.add(choose(u)) or choose(u))
    with scan.force(asked) if asked else nullcontext():
        model.classify(np.zeros((1, 32, 64), np.float16))
    assert seen == {form}


def test_export_keeps_the_weights_and_says_how_to_decide(made: Run, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    chosen = export(made, out)
    weights = load_weights(out)
    assert choice_in(weights.facts) == chosen and KEY not in load_weights(made.weights("validation")).facts
    model, plain = auscult.load(out, device="cpu"), auscult.load(out, device="cpu", calibrated=False)
    assert model.calibrated and model.choice == chosen and not plain.calibrated
    assert model.sha256 == auscult.load(made.folder, device="cpu").sha256
    assert chosen.unsure[0] <= chosen.recording <= chosen.unsure[1]
    assert [p.threshold for p in chosen.points] == sorted(p.threshold for p in chosen.points)
    audio = next(Path(made.settings()["data"]).rglob("*.wav"))
    told = model.predict(audio)
    assert all(c.abnormal == (c.p_abnormal >= chosen.threshold - 1e-4) for c in told.cycles if c.abnormal is not None)
    assert told.said in ("normal", "abnormal", "cannot say") and (told.said != "cannot say" or told.why)


def test_the_command(made: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["export", str(made.folder), str(tmp_path / "m.safetensors")]) == 0
    assert "chosen on" in capsys.readouterr().err
    assert command(["export", str(made.folder), str(tmp_path / "m.bin")]) == 2
    other = train(small_recipe("epochs=1", "validation=0", "selection=last"), "synthetic",
                  Path(made.settings()["data"]), tmp_path / "none")  # fmt: skip
    with pytest.raises(AuscultError, match="held out no patients"):
        export(other, tmp_path / "n.safetensors")


def test_a_choice_reads_back() -> None:
    point = OperatingPoint(threshold=0.3, sensitivity=0.9, specificity=0.5)
    choice = Choice(
        temperature=1.5, threshold=0.3, recording=0.4, unsure=(0.3, 0.5), points=(point,), measured={"a": 1}
    )
    assert Choice.from_dict(json.loads(json.dumps(choice.to_dict()))) == choice


def test_nothing_is_said_where_it_would_be_wrong_too_often() -> None:
    """Each word by itself; a little more is said and the risk is not kept."""
    generator = np.random.default_rng(0)
    for overlap in (0.0, 0.2, 0.5, 2.0):
        ill = generator.random(400) < 0.4
        score = np.clip(0.5 + np.where(ill, 0.2, -0.2) + generator.normal(0, overlap / 2, 400), 0.001, 0.999)
        cut = best(score, ill)
        low, high = band(score, ill, cut)
        assert low < cut <= high
        for said, wrong, beyond in ((score <= low, ill, score < cut), (score >= high, ~ill, score >= cut)):
            assert not said.any() or wrong[said].mean() <= RISK
            assert (said == beyond).all() or wrong[beyond].mean() > RISK
    assert band(np.array([0.1, 0.9]), np.array([False, True]), 0.5) == (0.1, 0.9)
    assert band(np.array([0.1, 0.9]), np.array([True, False]), 0.5) == (0.0, 1.0)


def test_a_name_that_is_no_model() -> None:
    with pytest.raises(AuscultError, match="auscult-nano"):
        find("auscult-nan")
