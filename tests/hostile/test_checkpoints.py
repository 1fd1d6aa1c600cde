"""Checkpoints from strangers: refused by a code, nothing runs, nothing large is allocated."""

from pathlib import Path

import pytest

import auscult
from auscult.cli.app import run
from auscult.errors import AuscultError
from auscult.models.convert import convert

from ..web_parts import tiny_weights
from . import OK
from .checkpoints import pickles, weights_files
from .predicting import RESET, memory_mb

LINUX = RESET.exists()


def answer(file: Path) -> str:
    try:
        auscult.load(file, device="cpu")
    except AuscultError as error:
        assert error.message and "Traceback" not in error.message
        return error.code
    return OK


@pytest.mark.slow
def test_every_weights_file_gets_its_answer(tmp_path: Path) -> None:
    good = tiny_weights(tmp_path / "good.safetensors")
    assert answer(good) == OK
    if LINUX:
        RESET.write_text("5")
    before = memory_mb("VmRSS") if LINUX else 0
    seen: dict[str, str] = {}
    for number, case in enumerate(weights_files(good, tmp_path)):
        file = tmp_path / f"{number}.safetensors"
        file.write_bytes(case.content)
        found = answer(file)
        assert found == case.answer, (case.name, found)
        seen[case.name] = found
    assert len(seen) >= 60
    assert not LINUX or memory_mb("VmHWM") - before < 500


def test_a_weights_file_that_is_a_pipe_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights at all")
    for name in ("pipe", "text"):
        code = run(
            ["predict", "x.wav", "--model", str(tmp_path / f"{name}.safetensors"), "--out", str(tmp_path / "out")]
        )
        said = capsys.readouterr().err
        assert code == 1 and "E_RUN" in said and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_pickle_gets_its_answer_and_none_runs(tmp_path: Path) -> None:
    ran, out = tmp_path / "ran", tmp_path / "out.safetensors"
    for case in list(pickles(tmp_path, ran)):
        file = tmp_path / "case.pth"
        file.write_bytes(case.content)
        out.unlink(missing_ok=True)
        try:
            convert(file, out)
            found = OK
        except AuscultError as error:
            found = error.code
        assert found == case.answer, (case.name, found)
        assert out.exists() == (found == OK) and not ran.exists()
