"""What stands under a file's own name is whole: temporary names, leftovers, the bytes of weights and stores."""

import errno
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from auscult.checkpoint import NAMES, save_tensors
from auscult.cli.app import run as command
from auscult.data import store
from auscult.errors import AuscultError
from auscult.runs import Run, file_sha256, replacing, scores_in, sweep, write_json, write_text
from auscult.study import claimed
from auscult.tensorfile import read_header

POSIX = pytest.mark.skipif(os.name != "posix", reason="forks")


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed(work: Any) -> None:
    """Does some work in a process that ends by SIGKILL in the midst of it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def write_half(file: Path) -> None:
    with replacing(file) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


@POSIX
def test_what_a_kill_leaves_is_used_by_the_next_write(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_text(file, "old")
    killed(lambda: write_half(file))
    assert file.read_text() == "old" and (tmp_path / ".a.json.tmp").read_text() == "half"
    write_text(file, "n")
    assert file.read_text() == "n" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


@POSIX
def test_leftovers_of_stores_that_nobody_makes_again_are_swept(tmp_path: Path) -> None:
    killed(lambda: write_half(tmp_path / "a.npy"))
    with replacing(tmp_path / "b.npy") as mine:
        mine.write_text("whole")
        sweep(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == [mine.name]
    assert (tmp_path / "b.npy").read_text() == "whole"


@POSIX
def test_two_who_write_one_file_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with replacing(file) as one:
        one.write_text("one")
        with replacing(file) as two:
            two.write_text("two")
        assert one != two and file.read_text() == "two"
        write_text(file, "three")  # its temporary name is free again
    assert file.read_text() == "one" and len(list(tmp_path.iterdir())) == 1


def test_a_write_that_fails_leaves_no_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def every_type() -> dict[str, torch.Tensor]:
    numbers = torch.arange(6).reshape(2, 3)
    made = {str(dtype): numbers.to(dtype) for dtype in NAMES}
    return made | {"scalar": torch.tensor(2.5), "none": torch.zeros(0, 4), "turned": torch.ones(3, 2).t()}


def test_a_weights_file_is_what_the_library_reads(tmp_path: Path) -> None:
    made, file = every_type(), tmp_path / "a.safetensors"
    save_tensors(file, made, {"b": "2", "a": "1"})
    assert read_header(file).words == {"a": "1", "b": "2"}
    back = load_file(file)
    assert back.keys() == made.keys()
    for name, tensor in made.items():
        assert back[name].dtype == tensor.dtype and back[name].shape == tensor.shape
        same = back[name].contiguous().reshape(-1).view(torch.uint8), tensor.contiguous().reshape(-1).view(torch.uint8)
        assert torch.equal(*same), name


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    words, made = {name: name * 2 for name in "zyxabc"}, every_type()
    save_tensors(tmp_path / "a", made, words)
    save_tensors(tmp_path / "b", dict(reversed(made.items())), dict(reversed(words.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    save_file(made | {"turned": made["turned"].contiguous()}, tmp_path / "c")
    ours, theirs = ((tmp_path / name).read_bytes() for name in "ac")
    end = len(ours) - sum(t.numel() * t.element_size() for t in made.values())
    assert len(ours[end:]) == len(theirs) - (8 + int.from_bytes(theirs[:8], "little")) and end % 8 == 0


@POSIX
def test_a_weights_file_can_be_read_by_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_tensors(tmp_path / "a", {"w": torch.ones(2)}, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_what_safetensors_cannot_hold_is_an_error(tmp_path: Path) -> None:
    for tensor in (torch.zeros(2, dtype=torch.complex128), torch.eye(2).to_sparse()):
        with pytest.raises(TypeError, match="does not know"):
            save_tensors(tmp_path / "a", {"w": tensor}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(3, 4, 2), (12, 2)])
def test_a_store_has_the_bytes_of_numpy(
    tmp_path: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BLOCK", 7)
    rows = np.random.default_rng(0).normal(size=(8, 2)).astype(store.DTYPE)
    slow = np.lib.format.open_memmap(tmp_path / "slow.npy", mode="w+", dtype=store.DTYPE, shape=shape)
    slow.reshape(-1, 2)[8:12], slow.reshape(-1, 2)[0:4] = rows[:4], rows[4:]
    slow.flush()
    with (tmp_path / "fast.npy").open("wb") as file:
        write = store._reserved(file, shape)
        write(8, rows[:4])
        write(0, rows[4:])
    assert (tmp_path / "fast.npy").read_bytes() == (tmp_path / "slow.npy").read_bytes()


def test_a_full_disk_under_the_log_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    run.log({"epoch": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AuscultError, match=r"metrics\.jsonl: No space left") as caught:
        run.log({"epoch": 2})
    assert caught.value.code == "E_DISK"


def test_a_full_disk_under_the_lock_of_a_study_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", full)
    with pytest.raises(AuscultError, match=r"s0\.lock: No space left"), claimed(tmp_path / "s0.lock"):
        pass


def test_scores_beside_the_predictions_of_another_evaluation_are_none(tmp_path: Path) -> None:
    assert scores_in(tmp_path) is None
    predictions = tmp_path / "predictions.csv"
    write_text(predictions, "a\n")
    write_json(tmp_path / "scores.json", {"predictions_sha256": file_sha256(predictions)})
    assert scores_in(tmp_path)
    write_text(predictions, "b\n")
    assert scores_in(tmp_path) is None
    write_json(tmp_path / "scores.json", {"of": "an earlier version"})
    assert scores_in(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk of Linux")
def test_a_full_disk_under_stdout_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as there:
        monkeypatch.setattr(sys, "stdout", there)
        assert command(["list", "datasets"]) == 1
        monkeypatch.undo()
    said = capsys.readouterr().err
    assert said.startswith("error E_DISK: cannot write what this command prints") and said.count("\n") == 1
