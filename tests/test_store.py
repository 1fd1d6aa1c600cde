"""The feature store: one length or several, each cycle's own features, keys that stay what they were."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from auscult.config import fingerprint
from auscult.data.cycles import Corpus, Cycle
from auscult.data.store import Features, features, frames, key
from auscult.errors import AuscultError
from auscult.metrics import Task
from auscult.signal.clip import Clip

RATE = 8000
LENGTHS_S = (0.4, 1.7, 0.9, 0.5, 1.0, 3.0)
ONE = Clip(sample_rate=RATE, length_s=2.0, n_mels=24)
SEVERAL = replace(ONE, buckets_s=(0.5, 1.0, 2.0))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))


def corpus(folder: Path, recordings: int = 2) -> Corpus:
    """Noise of 8 s, cut into six cycles a recording, the recordings taking turns in the table."""
    stems = [f"r{i}" for i in range(recordings)]
    for seed, stem in enumerate(stems):
        soundfile.write(folder / f"{stem}.wav", np.random.default_rng(seed).normal(0, 0.1, 8 * RATE), RATE)
    starts = np.cumsum([0.0, *LENGTHS_S])
    cycles = tuple(
        Cycle(
            recording=stem,
            patient=stem,
            device="d",
            site="s",
            start_s=float(start),
            end_s=float(start + length_s),
            label=i % 2,
            part="train",
        )
        for i, (start, length_s) in enumerate(zip(starts, LENGTHS_S, strict=False))
        for stem in stems
    )
    return Corpus(
        name="noise",
        classes=("a", "b"),
        cycles=cycles,
        audio={stem: folder / f"{stem}.wav" for stem in stems},
        recordings=dict.fromkeys(stems, "train"),
        tasks=(Task(name="t", classes=("a", "b"), mapping=(0, 1)),),
        test_parts=("test",),
    )


def alone(corpus: Corpus, row: int, clip: Clip) -> np.ndarray:
    """The feature of one cycle, made by itself."""
    cycle = corpus.cycles[row]
    waveform = clip.fade_recording(soundfile.read(corpus.audio[cycle.recording], dtype="float32")[0])
    cut = clip.cut(waveform, cycle.start_s, cycle.end_s)
    return clip.fbank(torch.from_numpy(cut)[None])[0].numpy()


@pytest.mark.parametrize("clip", [ONE, SEVERAL], ids=["one length", "buckets"])
def test_every_row_is_the_feature_of_its_cycle(tmp_path: Path, clip: Clip) -> None:
    noise = corpus(tmp_path)
    for found in (features(noise, clip), features(noise, clip)):  # made, then found
        assert found.usable.all() and not found.problems and len(found.frames) == len(noise.cycles)
        for row in range(len(noise.cycles)):
            np.testing.assert_allclose(found.row(row), alone(noise, row, clip), atol=0.01)


def test_buckets_waste_no_disk(tmp_path: Path) -> None:
    noise = corpus(tmp_path)
    one, several = features(noise, ONE), features(noise, SEVERAL)
    expected = [SEVERAL.frames_of(round(s * RATE)) for s in (0.5, 2.0, 1.0, 0.5, 1.0, 2.0) for _ in range(2)]
    assert several.frames.tolist() == frames(noise, SEVERAL).tolist() == expected
    assert several.fbank.shape == (sum(expected), 24) and len(set(one.frames.tolist())) == 1
    assert several.file.stat().st_size < 0.65 * one.file.stat().st_size


def test_reading_gives_a_copy_of_cycles_of_one_length(tmp_path: Path) -> None:
    found = features(corpus(tmp_path), SEVERAL)
    made = found.read([7, 0, 0])
    assert made.dtype == torch.float16 and made.shape == (3, SEVERAL.frames_of(RATE // 2), 24)
    assert np.array_equal(made[0].numpy(), found.row(7)) and torch.equal(made[1], made[2])
    made.zero_()
    assert found.row(7).any()
    with pytest.raises(ValueError, match="cannot share a batch"):
        found.read([0, 2])


def test_a_store_of_one_length_keeps_its_key_and_its_three_axes(tmp_path: Path) -> None:
    """What was stored before there were buckets is found again."""
    noise = corpus(tmp_path)
    settings = {name: value for name, value in asdict(ONE).items() if name not in ("buckets_s", "filterbank")}
    files = {stem: [p.name, p.stat().st_size, p.stat().st_mtime_ns] for stem, p in noise.audio.items()}
    cycles = [[c.recording, c.start_s, c.end_s] for c in noise.cycles]
    made_by = {"front_end": 1, "dtype": "float16", "clip": {"kind": "clip", **settings}}
    assert key(noise, ONE) == fingerprint({**made_by, "files": files, "cycles": cycles}, length=20)
    assert key(noise, SEVERAL) != key(noise, ONE)
    assert np.load(features(noise, ONE).file).shape == (len(noise.cycles), ONE.frames, 24)


@pytest.mark.parametrize("clip", [ONE, SEVERAL], ids=["one length", "buckets"])
def test_a_bad_recording_leaves_the_others_where_they_are(tmp_path: Path, clip: Clip) -> None:
    noise = corpus(tmp_path, recordings=3)
    noise.audio["r1"].write_text("no sound")
    found: Features = features(noise, clip)
    assert [p.code for p in found.problems] == ["E_FORMAT"]
    for row, cycle in enumerate(noise.cycles):
        assert found.usable[row] == (cycle.recording != "r1") == found.row(row).any()
    np.testing.assert_allclose(found.row(17), alone(noise, 17, clip), atol=0.01)


def test_no_recording_at_all_is_an_error(tmp_path: Path) -> None:
    noise = corpus(tmp_path, recordings=1)
    noise.audio["r0"].write_text("no sound")
    with pytest.raises(AuscultError, match="no recording of noise can be used") as caught:
        features(noise, SEVERAL)
    assert caught.value.code == "E_DATA"
