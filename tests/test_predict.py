"""Prediction: the same numbers as evaluation, cycles from the right place, files that cannot harm a spreadsheet."""

import csv
import io
import json
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import auscult
from auscult.analysis.spreadsheet import csv_text
from auscult.breaths import windows
from auscult.config import override, to_dict
from auscult.data import icbhi
from auscult.data.cycles import Cycle
from auscult.data.store import recording_features
from auscult.errors import AuscultError
from auscult.models.weights import Weights, save_weights
from auscult.predict import Model, load
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
    found = model.predict(folder / "breath.wav", how="windows")
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
    made = recording_features(folder / "breath.wav", cycles, model.clip)
    stored = torch.from_numpy(np.stack(made)).float()
    with torch.inference_mode():
        expected = torch.softmax(model.classifier(stored), dim=-1).numpy()
    found = model.predict(folder / "breath.wav", cycles=times)
    np.testing.assert_allclose([list(c.probabilities.values()) for c in found.cycles], expected, atol=6e-5)
    assert found.cycles_from == "given"


def saved(file: Path, *settings: str) -> Model:
    """An untrained model with these settings."""
    torch.manual_seed(0)
    made = override(recipe("dass_nano"), ["clip.length_s=1.0", *settings])
    state = made.build_model(4).state_dict()
    save_weights(file, Weights(state=state, recipe=to_dict(made), classes=icbhi.CLASSES, facts={}))
    return load(file, device="cpu")


def test_each_cycle_is_predicted_in_its_own_bucket(folder: Path, tmp_path: Path) -> None:
    """In the order they were given, each as it would be alone: 40 cycles, over a batch of one bucket."""
    model = saved(tmp_path / "m.safetensors", "clip.buckets_s=[0.25,0.5,1]")
    lengths = np.random.default_rng(0).uniform(0.1, 1.2, 40)
    times = [(float(i) / 20, float(i) / 20 + float(length_s)) for i, length_s in enumerate(lengths)]
    found = model.predict(folder / "breath.wav", cycles=times)
    assert [(c.start_s, c.end_s) for c in found.cycles] == [(round(a, 4), round(b, 4)) for a, b in times]
    assert len({model.clip.bucket(*t) for t in times}) == 3
    for cycle, interval in zip(found.cycles, times, strict=True):
        (alone,) = model.predict(folder / "breath.wav", cycles=[interval]).cycles
        assert list(cycle.probabilities.values()) == pytest.approx(list(alone.probabilities.values()), abs=2e-4)


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 s of noise that swells, at the model's own rate."""
    file = tmp_path_factory.mktemp("long") / "minute.wav"
    noise = np.random.default_rng(2).normal(0, 0.1, 60 * RATE) * np.linspace(0.1, 1, 60 * RATE)
    soundfile.write(file, noise, RATE)
    return file


def test_a_whole_recording_goes_through_the_network_once(model: Model, minute: Path) -> None:
    """The output is that of the model on the filterbank of the recording, neither cut nor repeated."""
    found = model.predict(minute, cycles="whole")
    (one,) = found.cycles
    assert (one.start_s, one.end_s, found.cycles_from, found.notes) == (0.0, 60.0, "whole", ())
    waveform = model.clip.fade_recording(soundfile.read(minute, dtype="float32")[0])
    fbank = model.clip.fbank(torch.from_numpy(waveform)[None]).half().float()
    assert fbank.shape == (1, 5998, 64)
    with torch.inference_mode():
        expected = torch.softmax(model.classifier(fbank), dim=-1)[0]
    assert list(one.probabilities.values()) == pytest.approx(expected.tolist(), abs=6e-5)
    assert found.rows()[0][3] == "whole" and found.to_dict()["cycles_from"] == "whole"


def test_a_whole_recording_ignores_annotations(folder: Path, model: Model, tmp_path: Path) -> None:
    shutil.copy(folder / "breath.wav", tmp_path / "breath.wav")
    (tmp_path / "breath.txt").write_text("0.2\t1.4\t0\t1\n")
    assert [(c.start_s, c.end_s) for c in model.predict(tmp_path / "breath.wav", cycles="whole").cycles] == [(0.0, 3.5)]


def test_ten_minutes_take_ten_times_one_minute(model: Model, minute: Path, tmp_path: Path) -> None:
    """Not quadratic: the factor would be a hundred. The margin is for a busy machine."""
    sound = soundfile.read(minute, dtype="float32")[0]
    soundfile.write(tmp_path / "long.wav", np.tile(sound, 10), RATE)
    spent = []
    for file in (minute, minute, tmp_path / "long.wav"):
        started = time.process_time()
        (cycle,) = model.predict(file, cycles="whole").cycles
        spent.append(time.process_time() - started)
    assert cycle.end_s == 600.0
    assert spent[2] < 30 * min(spent[:2]) + 1.0


def test_a_recording_too_short_or_too_long_for_one_pass_is_refused(
    folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(7000), RATE)
    with pytest.raises(AuscultError, match=r"lasts 0\.88 s; in one pass 1 s") as caught:
        model.predict(tmp_path / "short.wav", cycles="whole")
    assert caught.value.code == "E_TOO_SHORT"
    monkeypatch.setattr("auscult.breaths.MAX_WHOLE_S", 3.0)
    with pytest.raises(AuscultError, match="one pass takes 3 s at most"):
        model.predict(folder / "breath.wav", cycles="whole")


def test_a_model_of_one_length_says_why_it_takes_no_whole_recording(
    folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stretched = saved(tmp_path / "m.safetensors", "input.frames=128")
    with pytest.raises(AuscultError, match="stretched to 128 frames, which would squeeze") as caught:
        stretched.predict(folder / "breath.wav", cycles="whole")
    assert caught.value.code == "E_SETTING"
    monkeypatch.setattr(type(model.classifier.backbone), "any_length", False)
    with pytest.raises(AuscultError, match="DASS knows one length only"):
        model.predict(folder / "breath.wav", cycles="whole")
    with pytest.raises(ValueError, match="cycles='all'"):
        model.predict(folder / "breath.wav", cycles="all")  # type: ignore[arg-type]


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
    with pytest.raises(AuscultError, match=r"\.csv, \.json or"):
        found.save(tmp_path / "a.xls")


def test_predict_is_a_function_of_the_package_whatever_was_imported_first(folder: Path) -> None:
    assert auscult.predict(folder / "breath.wav", folder / "tiny.safetensors").classes == icbhi.CLASSES


def test_a_missing_model_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match="auscult train") as caught:
        auscult.load(tmp_path / "nothing")
    assert caught.value.code == "E_RUN"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_starts_a_formula(start: str) -> None:
    text = csv_text(["recording", "p"], [[f"{start}1+1.wav", -0.5]])
    _, row = csv.reader(io.StringIO(text, newline=""))
    assert row[0].startswith(("'", "\\")) and row[0].endswith("1+1.wav") and row[1] == "-0.5"
