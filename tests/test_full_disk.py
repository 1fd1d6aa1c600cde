"""A full disk under the page, and under a few writes of each command; `python -m tests.full_disk` has them all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import auscult
from auscult.cli.app import run
from auscult.runs import write_text

from .disk import Disk, full
from .web_parts import page, tiny_weights, until, upload

ROOT = Path(__file__).parents[1]
MOUNTS = hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount") is not None


def test_the_full_disk_of_the_tests_is_full(tmp_path: Path) -> None:
    with full(Disk(tmp_path)) as disk:
        write_text(tmp_path / "a", "old")
    assert disk.used == 4 and not disk.failed  # made, written, synced, renamed
    for room in range(disk.used):
        with (
            full(Disk(tmp_path, room)) as disk,
            pytest.raises(auscult.errors.AuscultError, match="No space left") as caught,
        ):
            write_text(tmp_path / "a", "new" * 10_000)
        assert caught.value.code == "E_DISK" and disk.failed
        assert (tmp_path / "a").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    write_text(tmp_path / "a", "new")


def test_every_write_of_a_segmentation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from .web_parts import breath

    breath(tmp_path / "a.wav", 1.5)
    words = ["segment", str(tmp_path / "a.wav"), "--out", str(tmp_path / "out")]
    room = -1
    code = 1
    while code:
        room += 1
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        capsys.readouterr()
        with full(Disk(tmp_path / "out", room)):
            code = run(words)
        said = capsys.readouterr().err
        assert code == 0 or (code == 1 and said.count("error E_DISK: cannot ") == 1 and str(tmp_path / "out") in said)
    assert room >= 4 and [p.name for p in (tmp_path / "out").iterdir()] == ["a.txt"]


def test_the_page_says_that_its_disk_is_full_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model, state = auscult.load(tiny_weights(tmp_path / "tiny.safetensors"), device="cpu"), tmp_path / "state"
    from .web_parts import RAW, breath

    sound = breath(tmp_path / "a.wav", 2.0).read_bytes()
    with page(model, state) as client:
        whole = upload(client, sound)
        review = until(client, whole, "done", "failed") and client.get(f"/api/recordings/{whole}/review").json()
        assert review["breaths"]
        room, answers = -1, set[str]()
        while "done" not in answers:
            room += 1
            with full(Disk(tmp_path, room)):
                answer = client.post("/api/recordings", params={"name": "a.wav"}, content=sound, headers=RAW)
                if answer.status_code != 202:
                    assert (answer.status_code, answer.json()["code"]) == (507, "E_DISK"), answer.text
                    continue
                told = until(client, answer.json()["id"], "done", "failed")
            answers.add(told["state"])
            assert told["state"] == "done" or told["error"]["code"] == "E_DISK", told["error"]
        assert room > 4 and answers == {"done", "failed"}
        for room in range(20):
            with full(Disk(tmp_path, room)):
                answer = client.put(f"/api/recordings/{whole}/review", json=review)
            if answer.status_code == 200:
                break
            assert (answer.status_code, answer.json()["code"]) == (507, "E_DISK"), answer.text
            assert str(tmp_path) not in answer.text
            assert client.get(f"/api/recordings/{whole}/review").json() == review  # what failed is not half saved
        assert room > 3 and answer.json()["version"] == 1
        assert not [p for p in state.rglob("*") if p.name.endswith(".tmp")]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "words",
    [
        ("tests.kill_train", "--n", os.environ.get("AUSCULT_KILLS", "4")),
        ("tests.kill_commands", "--n", "1"),
        ("tests.full_disk", "--most", "4"),
        pytest.param(
            ("tests.full_disk", "--tmpfs", "--only", "train,export"),
            marks=pytest.mark.skipif(not MOUNTS, reason="mounts"),
        ),
        ("tests.hostile", "--through", "prepare,train"),
    ],
    ids=lambda words: " ".join(words),
)
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks into /proc")
def test_the_long_ones_in_short(words: tuple[str, ...]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
