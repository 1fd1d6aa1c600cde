"""The whole folder of hostile sounds through one `auscult predict`, and some of them through the page."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import auscult
from auscult.analysis.spreadsheet import printable
from auscult.errors import AuscultError, Code
from auscult.signal.io import Told, blocks
from auscult.web.worker import ProcessWorker, command

from ..web_parts import page, tiny_weights, until, upload
from . import OK
from .predicting import RESET
from .sound_files import refused, sounds, special, write

LONG = ("70 s at 384 kHz.flac", "ten minutes of silence.flac", "sparse 256 MiB.wav")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="makes pipes and links")


def test_there_are_enough_of_them() -> None:
    made = [*refused(), *special()]
    assert len({one.name for one in made}) == len(made) >= 100
    assert len(get_args(Code)) <= 12 and {code for one in made for code in one.answers} - {OK} <= set(get_args(Code))


def test_every_sound_is_decoded_or_refused(tmp_path: Path) -> None:
    for path, one in write(tmp_path / "s", [s for s in sounds() if s.name not in LONG]).items():
        try:
            assert sum(map(len, blocks(path, Told())))
            found = OK
        except AuscultError as error:
            assert error.message.isprintable()
            found = error.code
        assert found in one.answers, (one.name, found)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not RESET.exists(), reason="only Linux sets the peak of a process back")
def test_one_prediction_over_the_whole_folder(tmp_path: Path) -> None:
    model, out, costs = tiny_weights(tmp_path / "tiny.safetensors"), tmp_path / "out", tmp_path / "costs.json"
    made = write(tmp_path / "s", sounds())
    assert len(made) >= 150
    words = [sys.executable, "-m", "tests.hostile.predicting", *map(str, (tmp_path / "s", model, out, costs))]
    root = Path(__file__).parents[2]
    done = subprocess.run(words, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, timeout=590)
    assert done.returncode == 3 and b"Traceback" not in done.stderr + done.stdout
    found = {row[0]: OK for row in rows(out / "recordings.csv")} | {row[0]: row[1] for row in rows(out / "errors.csv")}
    wrong = {p: (found.get(p), one.answers) for p, one in _shown(made).items() if found.get(p) not in one.answers}
    assert not wrong and len(found) == len(made)
    each = json.loads(costs.read_text())
    assert len(each) == len(made)
    assert max(cost["seconds"] for cost in each) < 10, max(each, key=lambda cost: cost["seconds"])
    assert max(cost["waited"] for cost in each) < 60  # on a busy machine; a pipe would take for ever
    assert max(cost["more_mb"] for cost in each) < 500, max(each, key=lambda cost: cost["more_mb"])


def _shown(made: dict) -> dict:
    """By the path as a table shows it."""
    return {next(csv.reader([_cell(printable(path))])).pop(): one for path, one in made.items()}


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def rows(path: Path) -> list[list[str]]:
    """The rows of a table without its head."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_uploads_get_the_same_answers(tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path / "tiny.safetensors")
    some = [one for one in sounds() if isinstance(one.content, bytes) and one.name not in LONG][::9]
    model = auscult.load(weights, device="cpu")
    with page(model, tmp_path / "state", start=lambda: ProcessWorker(command(weights))) as client:
        for one in some:
            assert isinstance(one.content, bytes)
            answer = client.post(
                "/api/recordings", params={"name": "a.wav"}, content=one.content,
                headers={"content-type": "application/octet-stream"},
            )  # fmt: skip
            if answer.status_code != 202:
                assert answer.json()["code"] in one.answers, (one.name, answer.text)
                continue
            told = until(client, answer.json()["id"], "done", "failed")
            found = OK if told["state"] == "done" else told["error"]["code"]
            assert found in one.answers, (one.name, told["error"])
            assert str(tmp_path) not in json.dumps(told["error"])
        assert upload(client, b"x")  # it still answers
