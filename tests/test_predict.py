"""Prediction: the same numbers as evaluation, cycles from the right place, files that cannot harm a spreadsheet."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import auscult
from auscult.analysis.spreadsheet import csv_text
from auscult.config import override, to_dict
from auscult.data import icbhi
from auscult.data.cycles import Cycle
from auscult.data.store import recording_features
from auscult.errors import AuscultError
from auscult.models.weights import Weights, save_weights
from auscult.predict import Model, windows
from auscult.recipes import recipe

RATE = 8000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An untrained model of 1 s clips, and a recording of 3.5 s without annotation."""
    where = tmp_path_factory.mktemp("predict")
    torch.manual_seed(0)
    tiny = override(recipe("dass_nano"), ["clip.length_s=1.0"])
    state = tiny.build_model(4).state_dict()
    save_weights(
        where / "tiny.safetensors",
        Weights(state=state, recipe=to_dict(tiny), classes=icbhi.CLASSES, facts={"dataset": "icbhi", "seed": 0}),
    )
    noise = np.random.default_rng(0).normal(0, 0.1, int(3.5 * RATE))
    soundfile.write(where / "breath.wav", noise, RATE)
    yield where
    shutil.rmtree(where)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return auscult.load(folder / "tiny.safetensors", device="cpu")


def test_windows_are_the_clips_length_one_after_another(folder: Path, model: Model) -> None:
    found = model.predict(folder / "breath.wav")
    assert [(c.start_s, c.end_s) for c in found.cycles] == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    assert (found.cycles_from, found.notes) == ("windows", ("last 0.50 s not used",))
    for cycle in found.cycles:
        assert sum(cycle.probabilities.values()) == pytest.approx(1, abs=2e-4)
        assert cycle.label == max(cycle.probabilities, key=cycle.probabilities.__getitem__)


def test_every_second_of_a_recording_is_in_a_window_or_said_to_be_left_out() -> None:
    for duration_s in np.random.default_rng(1).uniform(0.1, 30, 200):
        found, rest_s = windows(float(duration_s), 4.0)
        assert found[0][0] == 0 and found[-1][1] + rest_s == pytest.approx(duration_s)
        assert all(a[1] == b[0] for a, b in pairwise(found))
        assert rest_s < 1 and all(0 < end - start <= 4 + 1e-9 for start, end in found)


def test_probabilities_are_those_of_the_feature_store(folder: Path, model: Model) -> None:
    times = [(0.25, 1.0), (1.0, 3.1)]
    cycles = [
        Cycle(recording="breath", patient="1", device="d", site="s", start_s=a, end_s=b, label=0, part="test")
        for a, b in times
    ]
    stored = torch.from_numpy(recording_features(folder / "breath.wav", cycles, model.clip)).float()
    with torch.inference_mode():
        expected = torch.softmax(model.classifier(stored), dim=-1).numpy()
    found = model.predict(folder / "breath.wav", cycles=times)
    np.testing.assert_allclose([list(c.probabilities.values()) for c in found.cycles], expected, atol=6e-5)
    assert found.cycles_from == "given"


def test_an_annotation_beside_the_recording_is_used(folder: Path, model: Model, tmp_path: Path) -> None:
    shutil.copy(folder / "breath.wav", tmp_path / "breath.wav")
    (tmp_path / "breath.txt").write_text("0.2\t1.4\t0\t1\n1.4\t3.0\t1\t0\n")
    beside = model.predict(tmp_path / "breath.wav")
    elsewhere = model.predict(folder / "breath.wav", annotations=tmp_path)
    assert [(c.start_s, c.end_s) for c in beside.cycles] == [(0.2, 1.4), (1.4, 3.0)]
    assert beside.cycles_from == "annotation" and beside.cycles == elsewhere.cycles


@pytest.mark.parametrize(
    ("rows", "said"), [("0.2\t1.4\t0\t7\n", "must be 0 or 1"), ("0.2\t9.0\t0\t1\n", "ends at 9 s, the audio at 3.5")]
)
def test_an_annotation_that_cannot_be_trusted_is_an_error(
    folder: Path, model: Model, tmp_path: Path, rows: str, said: str
) -> None:
    (tmp_path / "breath.txt").write_text(rows)
    with pytest.raises(AuscultError, match=said) as caught:
        model.predict(folder / "breath.wav", annotations=tmp_path)
    assert caught.value.code == "E_ANNOTATION"


def test_save(folder: Path, model: Model, tmp_path: Path) -> None:
    found = model.predict(folder / "breath.wav")
    found.save(tmp_path / "a.csv")
    found.save(tmp_path / "a.json")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted"] for row in rows] == [c.label for c in found.cycles]
    assert float(rows[0]["p_both"]) == found.cycles[0].probabilities["both"]
    saved = json.loads((tmp_path / "a.json").read_text())
    assert saved["cycles"][1]["probabilities"] == found.cycles[1].probabilities
    assert "Research use only" in saved["note"]
    with pytest.raises(AuscultError, match=r"\.csv or \.json"):
        found.save(tmp_path / "a.xls")


def test_predict_is_a_function_of_the_package_whatever_was_imported_first(folder: Path) -> None:
    assert auscult.predict(folder / "tiny.safetensors", folder / "breath.wav").classes == icbhi.CLASSES


def test_a_missing_model_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match="auscult train") as caught:
        auscult.load(tmp_path / "nothing")
    assert caught.value.code == "E_RUN"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_starts_a_formula(start: str) -> None:
    text = csv_text(["recording", "p"], [[f"{start}1+1.wav", -0.5]])
    _, row = csv.reader(io.StringIO(text, newline=""))
    assert row[0].startswith(("'", "\\")) and row[0].endswith("1+1.wav") and row[1] == "-0.5"
