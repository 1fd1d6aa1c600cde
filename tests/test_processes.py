"""Training by several processes: what one would learn, the same bits each time, and all end when one does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing import spawn

from auscult import launch
from auscult.checkpoint import load_state
from auscult.errors import AuscultError
from auscult.launch import failure, said_by, train_together
from auscult.models.sharing import Share, SharedBatchNorm, drawn, within
from auscult.models.spec import DropPath
from auscult.models.weights import load_weights
from auscult.recipes import recipe
from auscult.runs import Run, write_json
from auscult.train import train

from .small import SETTINGS, small_corpus, small_recipe
from .training_ranks import ALL, FURTHER, REQUIRED, SEED, made, work, wrong

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["AUSCULT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return small_corpus(tmp_path_factory.mktemp("data") / "synthetic")


# ------------------------------------------------------------------------------------------- one process against two


def by_two(names: list[str], corpus: Path, folder: Path) -> dict[str, Run]:
    spawn(work, (names, corpus, folder), nprocs=2)
    return {name: Run(folder / name) for name in names}


def compare(name: str, two: Run, corpus: Path, folder: Path) -> float:
    """Losses, learning rates, scores and weights of one process and of two; gives the largest difference of a loss."""
    one = train(made(name), "synthetic", corpus, folder / "one", seed=SEED)
    apart = 0.0
    assert len(one.history()) == len(two.history()) == 2
    for a, b in zip(one.history(), two.history(), strict=True):
        assert a["loss"].keys() == b["loss"].keys() and a["lr"] == b["lr"]
        assert a.get("validation") == b.get("validation")
        apart = max([apart, *(abs(a["loss"][key] - b["loss"][key]) for key in a["loss"])])
    (first, second) = (load_state(run.checkpoint)["step"] for run in (one, two))
    assert first.keys() == second.keys()
    for key, value in first.items():  # running statistics and Adam's first steps, which only know a sign, among them
        torch.testing.assert_close(second[key], value, rtol=1e-2, atol=2e-3, msg=lambda text, key=key: f"{key}: {text}")
    print(f"{name}: largest difference of a loss {apart:.1e}")
    return apart


@pytest.fixture(scope="module")
def required(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return by_two(list(REQUIRED), corpus, tmp_path_factory.mktemp("required"))


@pytest.mark.slow
@pytest.mark.timeout(600)  # the first waits for both processes
@pytest.mark.parametrize("name", REQUIRED)
def test_two_processes_have_the_losses_of_one(name: str, required: dict, corpus: Path, tmp_path: Path) -> None:
    assert compare(name, required[name], corpus, tmp_path) <= TOLERANCE


@pytest.fixture(scope="module")
def further(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return by_two(list(FURTHER), corpus, tmp_path_factory.mktemp("further"))


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first waits for both processes
@pytest.mark.parametrize("name", FURTHER)
def test_so_do_methods_that_draw_couple_or_count(name: str, further: dict, corpus: Path, tmp_path: Path) -> None:
    assert compare(name, further[name], corpus, tmp_path) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_wrapper_that_is_passed_by_is_noticed(corpus: Path, tmp_path: Path) -> None:
    spawn(wrong, (corpus, tmp_path), nprocs=2)
    said = [(tmp_path / f"said-{rank}").read_text() for rank in (0, 1)]
    assert all("the weights of process 1 are no longer those of process 0" in text for text in said)
    assert not Run(tmp_path / "run").checkpoint.exists(), "a state that is wrong was kept"


# ---------------------------------------------------------------------------------------------------- the command


COMMAND = [sys.executable, "-m", "auscult", "train", "dass_nano", "--dataset", "synthetic", "--seed", str(SEED)]


def started(corpus: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    """`auscult train --processes 2`."""
    command = [*COMMAND, "--data", str(corpus), "--out", str(out), "--processes", "2", "--track", "none", *words]
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def workers(parent: int) -> dict[int, int]:
    """Process number of each rank, from the system's table."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            facts = (folder / "stat").read_text().rpartition(")")[2].split()
            places = dict(line.partition("=")[::2] for line in (folder / "environ").read_text().split("\0"))
        except OSError:  # it has ended, or is another's
            continue
        if int(facts[1]) == parent and "RANK" in places and facts[0] != "Z":
            found[int(places["RANK"])] = int(folder.name)
    return found


def after_an_epoch(run: Run, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 500
    while not run.checkpoint.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_all_and_the_run_goes_on_to_the_same_bits(
    victim: int, corpus: Path, tmp_path: Path
) -> None:
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    process = started(corpus, whole.folder)
    said = process.communicate()[1]  # reads to the end, and closes
    assert process.returncode == 0, said
    process = started(corpus, killed.folder)
    after_an_epoch(killed, process)
    at_work = workers(process.pid)
    assert set(at_work) == {0, 1}
    os.kill(at_work[victim], signal.SIGKILL)
    began = time.monotonic()
    out, said = process.communicate(timeout=60)
    print(f"process {victim} killed: all had ended after {time.monotonic() - began:.2f} s")
    assert process.returncode == 1 and not out
    lines = [line for line in said.splitlines() if "error" in line or "Traceback" in line]
    assert len(lines) == 1 and lines[0].startswith(f"error E_RUN: process {victim} of 2"), said
    assert "exit code -9, SIGKILL" in lines[0] and "--resume goes on" in lines[0]
    assert not any(Path(f"/proc/{number}").exists() for number in at_work.values())
    again = started(corpus, killed.folder, "--resume")
    said = again.communicate()[1]  # reads to the end, and closes
    assert again.returncode == 0, said
    for name in ("last", "validation"):
        one, other = (load_weights(run.weights(name)).state for run in (whole, killed))
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert [r["epoch"] for r in killed.history()] == [1, 2, 3]
    assert [r["loss"] for r in killed.history()] == [r["loss"] for r in whole.history()]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_with_the_one_that_started_them(corpus: Path, tmp_path: Path) -> None:
    process = started(corpus, tmp_path / "run")
    after_an_epoch(Run(tmp_path / "run"), process)
    at_work = workers(process.pid)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{number}").exists() for number in at_work.values()):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_a_process_finds_wrong_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(AuscultError) as caught:
        train_together(small_recipe(), "synthetic", tmp_path / "nothing", tmp_path / "run", 2)
    assert caught.value.code == "E_DATA"


# ------------------------------------------------------------------------------------------------------- the parts


def test_numbers_of_processes_that_cannot_be(tmp_path: Path) -> None:
    for count in (0, 9):
        with pytest.raises(AuscultError, match=f"{count} processes for a batch of 8"):
            train_together(small_recipe(), "synthetic", tmp_path, tmp_path / "run", count)
    with pytest.raises(AuscultError, match="one process trains it"):
        train_together(recipe("shortcut_duration"), "synthetic", tmp_path, tmp_path / "run", 2)


def test_the_one_that_was_killed_is_named_and_not_those_that_missed_it(tmp_path: Path) -> None:
    assert "process 1 of 3 (counted from 0) ended with exit code -9" in str(failure([1, -9, None], tmp_path, tmp_path))
    write_json(said_by(tmp_path, 2), {"code": "E_DISK", "message": "full"})
    assert str(failure([1, None, 1], tmp_path, tmp_path)) == "E_DISK: full"


def test_a_silent_program_is_ended_with_the_one_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, sys, time; sys.exit(7) if os.environ['RANK'] == '1' else time.sleep(100)"
    monkeypatch.setattr(launch, "PROGRAM", (sys.executable, "-c", program))
    began = time.monotonic()
    with pytest.raises(AuscultError, match=r"process 1 of 3 .* ended with exit code 7"):
        train_together(small_recipe(), "synthetic", tmp_path, tmp_path / "run", 3)
    assert time.monotonic() - began < 30


def test_a_share_draws_what_the_whole_batch_would() -> None:
    x, path = torch.randn(6, 3, 2), DropPath(0.5).train()
    torch.manual_seed(0)
    whole, state = path(x), torch.get_rng_state()
    torch.manual_seed(0)
    with within(Share(6, 2, 5)):
        assert torch.equal(path(x[2:5]), whole[2:5])
    assert torch.equal(torch.get_rng_state(), state), "the generators of the processes would drift apart"
    assert drawn(3, torch.zeros).shape == (3,)


def test_a_shared_batch_norm_over_one_process_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)
    plain, shared = torch.nn.BatchNorm2d(3), SharedBatchNorm(3)
    x = (5 + 2 * torch.randn(4, 3, 5, 2)).requires_grad_()
    weight = torch.randn(4, 3, 5, 2)
    expected: Any = torch.autograd.grad((plain(x) * weight).sum(), [x, plain.weight, plain.bias])
    with within(Share(4, 0, 4)):
        found: Any = torch.autograd.grad((shared(x) * weight).sum(), [x, shared.weight, shared.bias])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(shared.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_every_named_case_can_be_made() -> None:
    assert all(made(name).epochs == 2 for name in ALL)
