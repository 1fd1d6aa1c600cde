"""Resumed predictions: nothing is lost, nothing done twice, whatever a kill has left; formats land beside nothing."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.cli import journal as module
from auscult.cli.app import run
from auscult.cli.inputs import mirrored
from auscult.cli.journal import Journal, content_hash
from auscult.errors import AuscultError
from auscult.formats import read

from .small import small_weights

ASKED = {"model": "m"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_weights(tmp_path_factory.mktemp("model") / "tiny.safetensors", "clip.length_s=0.7", "clip.n_mels=32")


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    (folder / "deep").mkdir(parents=True)
    for number in range(4):
        noise = np.random.default_rng(number).normal(0, 0.1, 16000)
        soundfile.write(folder / ("deep" if number % 2 else "") / f"{number}.wav", noise, 8000)
    (folder / "bad.wav").write_text("no sound")
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def line(name: str, sha256: str) -> dict[str, object]:
    return {"recording": name, "sha256": sha256, "error": ["E_FORMAT", "x"]}


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    journal = Journal(tmp_path, ASKED, resume=False)
    for name in "ab":
        journal.add(line(name, "1"))
    journal.close()
    whole = journal.path.read_bytes()
    for cut in range(len(whole)):
        journal.path.write_bytes(whole[:cut])
        again = Journal(tmp_path, ASKED, resume=True)
        ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
        kept = sum(end <= cut for end in ends[1:])
        assert [again.done(Path(name), "1") for name in "ab"] == [kept >= 1, kept == 2]
        again.add(line("c", "2"))
        again.close()
        assert [told["recording"] for told in again.lines([("c", "2"), ("a", "1")])] == ["c", "a"][: 1 + (kept >= 1)]


def test_another_job_is_not_gone_on_with(tmp_path: Path) -> None:
    Journal(tmp_path, ASKED, resume=False).close()
    with pytest.raises(AuscultError, match="model: 'm' there, 'other' now"):
        Journal(tmp_path, {"model": "other"}, resume=True)


def test_a_full_disk_leaves_the_lines_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, ASKED, resume=False)
    journal.add(line("a", "1"))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(AuscultError, match=r"No space left.*--resume goes on"):
        journal.add(line("b", "1"))
    monkeypatch.undo()
    journal.close()
    again = Journal(tmp_path, ASKED, resume=True)
    assert again.done(Path("a"), "1") and not again.done(Path("b"), "1")
    again.close()


def test_another_annotation_is_another_recording(
    weights: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its breaths are others: what was made of the old ones is not kept."""
    (sounds / "0.txt").write_text("0.1\t0.9\t0\t0\n")
    call = ["predict", "--model", str(weights), str(sounds / "0.wav"), "--out", str(tmp_path / "r")]
    assert run(call) == 0
    assert [r["end_s"] for r in rows(tmp_path / "r" / "predictions.csv")] == ["0.9"]
    (sounds / "0.txt").write_text("0.1\t1.2\t0\t0\n")
    assert run([*call, "--resume"]) == 0
    assert [r["end_s"] for r in rows(tmp_path / "r" / "predictions.csv")] == ["1.2"]
    capsys.readouterr()
    assert run([*call, "--resume"]) == 0
    assert "1 of 1 recordings were done before" in capsys.readouterr().err


def test_what_is_no_file_is_never_done(tmp_path: Path) -> None:
    assert content_hash(tmp_path) == content_hash(tmp_path / "none") == ""
    os.mkfifo(tmp_path / "pipe.wav")
    assert content_hash(tmp_path / "pipe.wav") == ""


def test_resume_goes_by_content(
    weights: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["predict", "--model", str(weights), str(sounds), "--cycles", "windows", "--out", str(tmp_path / "r")]
    assert run(call) == 3
    before = (tmp_path / "r" / "predictions.csv").read_text()
    assert run(call) == 2  # there is something
    capsys.readouterr()
    assert run([*call, "--resume"]) == 3
    assert "5 of 5 recordings were done before" in capsys.readouterr().err
    assert (tmp_path / "r" / "predictions.csv").read_text() == before
    soundfile.write(sounds / "0.wav", np.random.default_rng(9).normal(0, 0.1, 16000), 8000)
    assert run([*call, "--resume"]) == 3
    assert "4 of 5 recordings were done before" in capsys.readouterr().err
    after = (tmp_path / "r" / "predictions.csv").read_text()
    assert after != before and len(after.splitlines()) == len(before.splitlines())
    assert run([*call[:-3], "segment", "--out", str(tmp_path / "r"), "--resume"]) == 2
    assert "another job (cycles: 'windows' there, 'segment' now)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_job_resumes_without_loss_or_doubling(weights: Path, sounds: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "auscult", "predict", "--model", str(weights), str(sounds), "--cycles", "windows"]
    assert subprocess.run([*words, "--out", str(tmp_path / "whole")], capture_output=True).returncode == 3
    out, quiet = tmp_path / "killed", subprocess.DEVNULL
    for moment in np.random.default_rng(0).uniform(1.0, 6.0, 6):
        job = subprocess.Popen([*words, "--out", str(out), "--resume"], stderr=quiet, stdout=quiet)
        time.sleep(float(moment))
        job.send_signal(signal.SIGKILL)
        job.wait()
    assert subprocess.run([*words, "--out", str(out), "--resume"], capture_output=True).returncode == 3
    for name in ("predictions.csv", "recordings.csv", "errors.csv"):
        assert (out / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_every_format_is_there_and_reads_back(weights: Path, sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    formats = "csv,json,jsonl,icbhi,audacity,raven,textgrid"
    call = [
        "predict",
        "--model",
        str(weights),
        str(sounds),
        "--cycles",
        "windows",
        "--format",
        formats,
        "--out",
        str(out),
    ]
    assert run(call) == 3
    made = rows(out / "predictions.csv")
    times = [(float(r["start_s"]), float(r["end_s"])) for r in made if r["recording"].endswith("1.wav")]
    for kind, ending in (
        ("icbhi", ".icbhi.txt"),
        ("audacity", ".audacity.txt"),
        ("raven", ".raven.txt"),
        ("textgrid", ".TextGrid"),
    ):
        found = read(kind, out / "annotations" / "deep" / f"1{ending}")
        assert [(row.start_s, row.end_s) for row in found] == times
    lines = [json.loads(text) for text in (out / "predictions.jsonl").read_text().splitlines()]
    assert lines == json.loads((out / "predictions.json").read_text())["predictions"] and len(lines) == 4
    assert sorted(p.name for p in sounds.rglob("*")) == ["0.wav", "1.wav", "2.wav", "3.wav", "bad.wav", "deep"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_stdout_pipes(
    weights: Path, sounds: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sounds)
    call = ["predict", "--model", str(weights), ".", "--cycles", "windows", "--format", kind, "--out", "-"]
    assert run(call) == 3
    out = capsys.readouterr().out.splitlines()
    if kind == "csv":
        assert len(list(csv.DictReader(out))) == 4 * 2
    else:
        assert [("error" in json.loads(text)) for text in out].count(True) == 1 and len(out) == 5
    assert not (sounds / "results").exists()
    assert run([*call[:-4], "--format", "raven", "--out", "-"]) == 2


def test_files_of_one_name_get_places_of_their_own() -> None:
    found = mirrored([Path("x/a.wav"), Path("x/b/a.wav"), Path("x/b/a.flac")])
    assert [str(p) for p in found] == ["a", "b/a", "b/a-2"]
    assert mirrored([]) == []
    long = mirrored([Path("é" * 120 + "a.wav"), Path("é" * 120 + "b.wav")])
    assert [str(p) for p in long] == ["é" * 110, "é" * 110 + "-2"]
