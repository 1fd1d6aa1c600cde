"""The local page's recordings: what is heard and drawn is what the model got, and a review is never lost."""

import io
import json
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fastapi.testclient import TestClient

import auscult
from auscult import formats
from auscult.errors import AuscultError
from auscult.predict import Model
from auscult.signal.io import load
from auscult.web import grids
from auscult.web.analysis import doubt
from auscult.web.listening import STEP, Sound, make

from .web_parts import RATE, breath, page, tiny_weights, until, upload


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return auscult.load(tiny_weights(tmp_path_factory.mktemp("model") / "tiny.safetensors"), device="cpu")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return breath(tmp_path_factory.mktemp("sound") / "a.wav", 6.0)


@pytest.fixture(scope="module")
def shared(model: Model, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, str]]:
    """A client and the id of an analysed recording; tests only look."""
    with page(model, tmp_path_factory.mktemp("state")) as client:
        id = upload(client, file.read_bytes(), "patient 7.wav")
        until(client, id, "done")
        yield client, f"/api/recordings/{id}"


def test_info(shared: tuple[TestClient, str], model: Model) -> None:
    told = shared[0].get("/api/info").json()
    assert told["note"] == "Research use only, not a medical device." and told["folder"] is False
    assert told["model"]["classes"] == ["normal", "crackle", "wheeze", "both"] and told["threshold"] is None
    assert told["model"]["sha256"] == model.sha256 and told["model"]["clip_s"] == 1.0 and ".wav" in told["suffixes"]


def test_a_recording_is_told_as_python_tells_it(shared: tuple[TestClient, str], model: Model, file: Path) -> None:
    client, address = shared
    told = client.get(address).json()
    expected = model.predict(file)
    assert told["prediction"] == json.loads(json.dumps(expected.to_dict() | {"recording": "patient 7.wav"}))
    assert told["verdict"]["kind"] == expected.verdict.kind and told["said"] == expected.said
    assert (told["duration_s"], told["native_rate_hz"]) == (6.0, 8000)
    assert told["bandwidth_hz"] == expected.bandwidth_hz and told["breaths"] == len(expected.cycles) > 0
    (row,) = client.get("/api/recordings").json()["recordings"]
    assert row["verdict"] == expected.verdict.kind and row["state"] == "done" and not row["reviewed"]
    assert "/" not in json.dumps(told).replace("1/", "")


def test_audio_is_plain_wav_in_ranges(shared: tuple[TestClient, str], file: Path) -> None:
    client, address = shared
    whole = client.get(f"{address}/audio")
    assert whole.headers["content-type"] == "audio/wav" and whole.headers["cache-control"] == "no-store"
    with wave.open(io.BytesIO(whole.content)) as told:
        assert (told.getnchannels(), told.getsampwidth(), told.getframerate()) == (1, 2, RATE)
    heard = soundfile.read(io.BytesIO(whole.content), dtype="float32")[0]
    np.testing.assert_allclose(heard, load(file, RATE).waveform, atol=2**-15)
    some = client.get(f"{address}/audio", headers={"range": "bytes=100-299"})
    assert some.status_code == 206 and some.content == whole.content[100:300]
    assert some.headers["content-range"] == f"bytes 100-299/{len(whole.content)}"
    assert client.get(f"{address}/audio", headers={"range": f"bytes={10**9}-"}).status_code == 416


def test_a_float_file_past_full_scale_is_made_quieter_not_clipped(tmp_path: Path) -> None:
    loud = 5 * np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE).astype(np.float32)
    soundfile.write(tmp_path / "loud.wav", loud, RATE, "FLOAT")
    assert make(tmp_path / "loud.wav", tmp_path / "work", RATE) == 1.0
    np.testing.assert_allclose(Sound(tmp_path / "work").read(0, RATE), loud / 5, atol=1e-3)


def test_a_full_disk_is_said(file: Path, tmp_path: Path) -> None:
    (tmp_path / "work" / "listen.wav").mkdir(parents=True)  # what cannot be written, whoever asks
    with pytest.raises(AuscultError, match="free space") as caught:
        make(file, tmp_path / "work", RATE)
    assert caught.value.code == "E_DISK"


@pytest.fixture(scope="module")
def long_sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Two minutes with a length that nothing divides, at another rate: several blocks, a rest, resampled."""
    folder = tmp_path_factory.mktemp("long")
    make(breath(folder / "long.wav", 120.0071, 11025), folder / "work", RATE)
    return Sound(folder / "work")


def test_the_outline_is_the_slow_one(long_sound: Sound) -> None:
    samples = soundfile.read(long_sound.file, dtype="int16")[0]
    slow = [[part.min(), part.max()] for part in np.split(samples, range(STEP, len(samples), STEP))]
    assert np.array_equal(long_sound.outline(), slow)


@pytest.mark.parametrize(
    ("start_s", "end_s", "width"),
    [(0.0, None, 7), (0.0, None, 100), (3.0, 3.5, 50), (1.0, 90.0, 3), (119.9, 500.0, 20)],
)
def test_peaks_are_the_slow_ones(long_sound: Sound, start_s: float, end_s: float | None, width: int) -> None:
    told: Any = grids.peaks(long_sound, start_s, end_s, width)
    first, last = long_sound.span(start_s, end_s)
    assert (told["start"], told["end"]) == (first / RATE, last / RATE) and len(told["low"]) == width
    edges = np.linspace(first, last, width + 1).astype(int)
    coarse = STEP if (last - first) / width >= 16 * STEP else 0
    samples = soundfile.read(long_sound.file, dtype="float32")[0]
    for column, (low, high) in enumerate(zip(told["low"], told["high"], strict=True)):
        wide = samples[max(0, edges[column] - coarse) : edges[column + 1] + coarse]
        narrow = samples[edges[column] + coarse : max(edges[column] + coarse + 1, edges[column + 1] - coarse)]
        assert wide.min() - 1e-4 <= low <= narrow.min() + 1e-4
        assert narrow.max() - 1e-4 <= high <= wide.max() + 1e-4


def test_a_close_spectrogram_is_the_models_filterbank(long_sound: Sound, model: Model) -> None:
    """Columns of 10 ms around the middles of the frames: each is one frame."""
    samples = soundfile.read(long_sound.file, dtype="float32")[0]
    fbank = model.clip.fbank(torch.from_numpy(samples[None]))[0].numpy()
    low, high = grids.brightness(long_sound, model.clip)
    start_s, columns = 50.0, 100
    drawn = grids.spectrogram(
        long_sound, model.clip, (low, high), start_s + 0.0075, start_s + 0.0075 + 0.01 * columns, columns
    )
    expected = np.round(255 * ((fbank[5000 : 5000 + columns] - low) / (high - low)).clip(0, 1))
    assert drawn.values.shape == (32, columns)
    assert np.abs(drawn.values[::-1].T.astype(float) - expected).max() <= 1
    assert 50 < drawn.values.mean() < 200


def test_a_far_spectrogram_is_the_mean_of_the_close_one(long_sound: Sound, model: Model) -> None:
    scale = grids.brightness(long_sound, model.clip)
    far = grids.spectrogram(long_sound, model.clip, scale, 0.0, 120.0, 400).values.astype(float)
    close = grids.spectrogram(long_sound, model.clip, scale, 0.0, 40.0, 4000).values.astype(float)
    assert np.abs(far[:, :133].mean(axis=1) - close[:, :3990].mean(axis=1)).max() < 8
    assert np.corrcoef(far[:, :133].mean(axis=0), close[:, :3990].reshape(32, 133, 30).mean(axis=(0, 2)))[0, 1] > 0.9


@pytest.mark.parametrize("width", [5, 300])
def test_a_tone_stands_in_the_row_of_its_frequency(tmp_path: Path, model: Model, width: int) -> None:
    soundfile.write(tmp_path / "t.wav", 0.5 * np.sin(2 * np.pi * 600 * np.arange(3 * RATE) / RATE), RATE)
    make(tmp_path / "t.wav", tmp_path / "work", RATE)
    drawn = grids.spectrogram(Sound(tmp_path / "work"), model.clip, (-20.0, 40.0), 0.0, None, width)
    low, high = (1127 * np.log1p(hz / 700) for hz in (drawn.low_hz, drawn.high_hz))
    row = (high - 1127 * np.log1p(600 / 700)) / (high - low) * 32
    assert abs(np.median(drawn.values.argmax(axis=0)) + 0.5 - row) <= 1


def test_pictures_over_http(shared: tuple[TestClient, str]) -> None:
    client, address = shared
    answer = client.get(f"{address}/spectrogram", params={"start": 5.5, "end": 99, "width": 40})
    assert (answer.headers["x-height"], answer.headers["x-width"], answer.headers["x-scale"]) == ("32", "40", "mel")
    assert (float(answer.headers["x-start"]), float(answer.headers["x-end"])) == (5.5, 6.0)
    assert len(answer.content) == 32 * 40
    breath = client.get(address).json()["prediction"]["cycles"][1]
    found = client.get(f"{address}/saliency", params={"breath": 1})
    assert (float(found.headers["x-start"]), float(found.headers["x-end"])) == (breath["start_s"], breath["end_s"])
    shape = int(found.headers["x-height"]), int(found.headers["x-width"])
    assert shape[0] == 32 and abs(shape[1] - 100 * (breath["end_s"] - breath["start_s"])) <= 1
    assert max(found.content) == 255 and len(found.content) == shape[0] * shape[1]
    same = client.get(f"{address}/saliency", params={"start": breath["start_s"], "end": breath["end_s"]})
    assert same.content == found.content


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("peaks?width=0", 422, "E_SETTING"),
        ("peaks?width=4097", 422, "E_SETTING"),
        ("peaks?start=nan", 422, "E_SETTING"),
        ("spectrogram?end=-1", 422, "E_SETTING"),
        ("spectrogram?start=inf", 422, "E_SETTING"),
        ("saliency?breath=999", 404, "E_NOT_FOUND"),
        ("saliency?breath=-1", 422, "E_SETTING"),
        ("export?format=exe", 422, "E_SETTING"),
        ("export", 422, "E_SETTING"),
    ],
)
def test_values_that_are_not_allowed(shared: tuple[TestClient, str], path: str, status: int, code: str) -> None:
    answer = shared[0].get(f"{shared[1]}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "E_EMPTY"),
        (b"not a sound", "E_FORMAT"),
        (b"RIFF\xff\xff\xff\xffWAVE", "E_FORMAT"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "E_FORMAT"),
    ],
)
def test_a_bad_file_fails_by_itself(model: Model, file: Path, tmp_path: Path, content: bytes, code: str) -> None:
    with page(model, tmp_path) as client:
        id, good = upload(client, content, "bad.wav"), upload(client, file.read_bytes())
        told = until(client, id, "failed")
        assert told["error"]["code"] == code and told["prediction"] is None
        assert "bad.wav" in told["error"]["message"] and "/" not in told["error"]["message"]
        for path in ("audio", "peaks", "spectrogram", "saliency?breath=0", "review", "export?format=raven"):
            answer = client.get(f"/api/recordings/{id}/{path}")
            assert (answer.status_code, answer.json()["code"]) == (409, "E_NOT_READY")
        until(client, good, "done")


def reviewed(told: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A review with its first breath changed."""
    first, *others = told["breaths"]
    return told | {"breaths": [first | {"status": "changed"} | changes, *others]}


def test_a_review_is_kept_in_versions(model: Model, file: Path, tmp_path: Path) -> None:
    with page(model, tmp_path) as client:
        id = upload(client, file.read_bytes())
        told = until(client, id, "done")
        address = f"/api/recordings/{id}/review"
        begun = client.get(address).json()
        assert begun["version"] == 0 and {b["status"] for b in begun["breaths"]} == {"unseen"}
        assert [b["label"] for b in begun["breaths"]] == [c["label"] for c in told["prediction"]["cycles"]]
        first = client.put(address, json=reviewed(begun, label="both") | {"notes": "loud"})
        assert first.status_code == 200 and first.json()["version"] == 1
        assert client.get(address).json() == first.json()
        second = client.put(address, json=reviewed(begun, label="wheeze"))
        assert (second.status_code, second.json()["code"]) == (409, "E_CONFLICT")
        assert client.get(address).json()["breaths"][0]["label"] == "both"
        assert client.get(f"/api/recordings/{id}").json()["seen"] == 1
        done = [b | {"status": "accepted"} for b in reversed(first.json()["breaths"])]
        third = client.put(address, json={"version": 1, "breaths": done, "notes": ""}).json()
        assert third["version"] == 2 and third["breaths"] == done[::-1]
        assert client.get(f"/api/recordings/{id}").json()["reviewed"] is True
        assert client.delete(address).status_code == 204
        assert client.get(address).json() == begun
        assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "change",
    [
        {"label": "lion"},
        {"end_s": 7.0},
        {"start_s": 3.0, "end_s": 3.0},
        {"start_s": -1.0},
        {"end_s": "NaN"},
        {"status": "done"},
        {"path": "/etc/passwd"},
        {"label": "x" * 10_000},
    ],
)
def test_a_review_that_makes_no_sense_is_refused(
    model: Model, shared: tuple[TestClient, str], change: dict[str, Any]
) -> None:
    client, address = shared
    begun = client.get(f"{address}/review").json()
    answer = client.put(f"{address}/review", json=reviewed(begun, **change))
    assert answer.status_code == 422 and answer.json()["code"] in ("E_SETTING", "E_ANNOTATION")
    assert client.get(f"{address}/review").json() == begun


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"version": 0, "breaths": [], "notes": NaN}', b"[" * 100_000])
def test_a_review_that_is_no_json_is_refused(shared: tuple[TestClient, str], body: bytes) -> None:
    client, address = shared
    answer = client.put(f"{address}/review", content=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500 and set(answer.json()) == {"code", "message"}


def test_a_review_survives_the_server(model: Model, file: Path, tmp_path: Path) -> None:
    """It is found by the sound, whatever the file is called now; no name is on the disk."""
    with page(model, tmp_path) as client:
        id = upload(client, file.read_bytes(), "patient Smith.wav")
        until(client, id, "done")
        saved = reviewed(client.get(f"/api/recordings/{id}/review").json(), start_s=0.05, label="both")
        stored = client.put(f"/api/recordings/{id}/review", json=saved).json()
    assert not any("Smith" in f.name or b"Smith" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    with page(model, tmp_path) as client:
        again, other = upload(client, file.read_bytes(), "copy.wav"), upload(client, file.read_bytes()[:-2], "x.wav")
        assert until(client, again, "done")["seen"] == 1 and until(client, other, "done")["seen"] == 0
        assert client.get(f"/api/recordings/{again}/review").json() == stored


def test_a_folder_shows_what_was_reviewed_before_it_is_analysed(model: Model, file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(file, folder / "a.wav")
    (folder / "a.txt").write_text("0.5\t2.0\t1\t0\n2.0\t4.0\t0\t1\n")
    for attempt in range(2):
        with page(model, tmp_path / "state", folder=folder) as client:
            (row,) = client.get("/api/recordings").json()["recordings"]
            address = f"/api/recordings/{row['id']}"
            assert row["state"] == "waiting" and row["reviewed"] is (attempt == 1)
            assert client.delete(address).json()["code"] == "E_READ_ONLY"
            assert client.post(f"{address}/analyse").status_code == 202
            told = until(client, row["id"], "done")
            assert told["prediction"]["cycles_from"] == "annotation" and str(folder) not in json.dumps(told)
            review = client.get(f"{address}/review").json()
            accepted = [b | {"status": "accepted"} for b in review["breaths"]]
            assert client.put(f"{address}/review", json=review | {"breaths": accepted}).status_code == 200
    assert sorted(p.name for p in folder.iterdir()) == ["a.txt", "a.wav"]


def test_an_error_names_no_folder_of_this_machine(
    model: Model, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(file, tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("0.5\t2.0\t1\t7\n")
    with page(model, tmp_path / "state", folder=Path()) as client:
        (row,) = client.get("/api/recordings").json()["recordings"]
        client.post(f"/api/recordings/{row['id']}/analyse")
        error = until(client, row["id"], "failed")["error"]
    assert error["code"] == "E_ANNOTATION" and error["message"].startswith(".../a.txt") and "0 or 1" in error["message"]


def test_a_damaged_review_is_said(model: Model, file: Path, tmp_path: Path) -> None:
    with page(model, tmp_path) as client:
        id = upload(client, file.read_bytes())
        until(client, id, "done")
        review = client.get(f"/api/recordings/{id}/review").json()
        client.put(f"/api/recordings/{id}/review", json=review)
        (stored,) = tmp_path.rglob("*.json")
    stored.write_text('{"version": "x"}')
    with page(model, tmp_path) as client:
        id = upload(client, file.read_bytes())
        assert until(client, id, "done")["error"]["code"] == "E_RUN"
        answer = client.get(f"/api/recordings/{id}/review")
        assert (answer.status_code, answer.json()["code"]) == (422, "E_RUN")
        assert str(tmp_path) not in answer.text


@pytest.mark.parametrize("kind", ["icbhi", "audacity", "raven", "textgrid"])
def test_exports_read_back(model: Model, file: Path, tmp_path: Path, kind: formats.Kind) -> None:
    with page(model, tmp_path / "state") as client:
        id = upload(client, file.read_bytes(), 'patient \N{LATIN SMALL LETTER E WITH ACUTE}".wav')
        until(client, id, "done")
        address = f"/api/recordings/{id}"
        review = client.get(f"{address}/review").json()
        predicted = client.get(f"{address}/export", params={"format": kind})
        saved = {"version": 0, "breaths": [review["breaths"][0] | {"status": "changed", "label": "both"}], "notes": ""}
        client.put(f"{address}/review", json=saved)
        answer = client.get(f"{address}/export", params={"format": kind})
    assert len(predicted.text.splitlines()) > len(answer.text.splitlines())
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    named = answer.headers["content-disposition"]
    assert named.startswith('attachment; filename="patient __') and "filename*=UTF-8''patient%20%C3%A9%22" in named
    (tmp_path / f"a{formats.ENDINGS[kind]}").write_bytes(answer.content)
    (row,) = formats.read(kind, tmp_path / f"a{formats.ENDINGS[kind]}")
    first = saved["breaths"][0]
    assert (row.start_s, row.end_s, row.label) == (first["start_s"], first["end_s"], "both")


def test_doubt_is_zero_when_sure_and_one_when_nothing_is_said() -> None:
    sure, none = np.eye(4)[[0, 1]], np.full((3, 4), 0.25)
    assert [doubt(sure, False), doubt(none, False), doubt(sure, True), doubt(none, True)] == [0.0, 0.5, 0.5, 1.0]
    assert doubt(np.zeros((0, 4)), True) == 1.0
