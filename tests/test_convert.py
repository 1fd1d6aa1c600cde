"""Foreign checkpoints: read without running code, rewritten unchanged, refused when they are none."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from auscult.errors import AuscultError
from auscult.models.convert import convert, read_checkpoint

from .published import as_dass, plain, saved


class Mine:
    """A pickle that makes a folder when it is loaded without care."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    file = saved({"model": Mine(tmp_path / "ran"), "w": torch.zeros(2)}, tmp_path / "evil.pth")
    with pytest.raises(AuscultError, match=r"E_RUN.*refused"):
        convert(file, tmp_path / "out.safetensors")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_file_that_is_no_checkpoint(name: str, tmp_path: Path) -> None:  # more of them: tests/hostile
    (tmp_path / name).write_bytes(b"not a checkpoint")
    with pytest.raises(AuscultError, match="E_RUN"):
        read_checkpoint(tmp_path / name)


def test_a_cut_checkpoint_and_one_without_tensors(tmp_path: Path) -> None:
    whole = saved(plain(), tmp_path / "a.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AuscultError, match="E_RUN"):
        read_checkpoint(tmp_path / "cut.pth")
    with pytest.raises(AuscultError, match="no named tensors: found a dict with epoch"):
        read_checkpoint(saved({"epoch": 3}, tmp_path / "none.pth"))
    with pytest.raises(AuscultError, match="is not a file"):
        read_checkpoint(tmp_path)


def test_convert_keeps_names_types_and_numbers(tmp_path: Path) -> None:
    state = as_dass(plain()) | {"half": torch.ones(3, dtype=torch.bfloat16)}
    file = saved({"model": state, "epoch": 1}, tmp_path / "a.pth")
    out = tmp_path / "b.safetensors"
    made = convert(file, out)
    again = load_file(out)
    assert again.keys() == state.keys() and all(torch.equal(again[n], state[n]) for n in state)
    assert made.source_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert made.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert ("half", "bfloat16", (3,)) in made.rows
    with pytest.raises(AuscultError, match=r"E_SETTING.*\.safetensors"):
        convert(file, tmp_path / "b.pth")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux only")
def test_a_small_file_that_asks_for_terabytes_is_stopped(tmp_path: Path) -> None:
    file = saved({"w": torch.zeros(1).expand(2**40)}, tmp_path / "bomb.pth")
    assert file.stat().st_size < 10_000
    with pytest.raises(AuscultError, match="does not fit in the memory allowed"):
        convert(file, tmp_path / "b.safetensors")
