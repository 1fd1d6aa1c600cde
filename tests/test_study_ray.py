"""A study whose runs are tasks of Ray: the table of the local one, a killed process is no loss."""

import importlib.util
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auscult import cluster
from auscult.analysis.study_files import score, write_study
from auscult.cli.process import prepare_process
from auscult.cli.study import work
from auscult.errors import AuscultError
from auscult.models.weights import load_weights
from auscult.recipes.studies import study
from auscult.study import Outcome, Plan, begin, claimed, plan, run_folder, run_study
from auscult.study_ray import Begun, bring_to_end, carry_out_by_ray, share_of_a_run

from .small import SETTINGS, small_corpus

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
NAMES = ("dass_nano", "dass_smooth_nano")
FILES = ("scores.json", "predictions.csv")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["AUSCULT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return small_corpus(tmp_path_factory.mktemp("data") / "synthetic")


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan(study(NAMES), "synthetic", 2, SETTINGS)


@pytest.fixture(scope="module")
def ray(corpus: Path) -> Iterator[Any]:
    """Of two cores; the commands find it begun."""
    with cluster.local(2) as module:
        yield module


def kill_after_an_epoch(out: Path, killed: list[int]) -> None:
    """Kills the process that works on the first run, once it has left a checkpoint."""
    run, lock = run_folder(out, NAMES[0], 0), out / NAMES[0] / "s0.lock"
    deadline = time.monotonic() + 200
    while not run.checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.append(int(lock.read_text()))
    os.kill(killed[0], signal.SIGKILL)


def table(out: Path) -> dict[str, Any]:
    """study.json without what depends on the hour and the machine."""
    known = json.loads((out / "study.json").read_text())
    for row in known["rows"]:
        for run in row["runs"].values():
            del run["train_s"]
    return {key: value for key, value in known.items() if key not in ("where", "command")}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tables_and_predictions_are_those_of_the_local_engine(
    ray: Any, corpus: Path, planned: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there, killed = tmp_path / "local", tmp_path / "ray", list[int]()
    prepare_process()
    assert [o.what for o in run_study(planned, corpus, here, score, lambda outcome: None)] == ["trained"] * 4
    write_study(here)
    killer = threading.Thread(target=kill_after_an_epoch, args=(there, killed))
    killer.start()
    outcomes = work(planned, corpus, there, "ray")
    killer.join()
    assert [o.what for o in outcomes] == ["trained"] * 4 and killed and killed[0] != os.getpid()
    said = capsys.readouterr().err
    assert "dass_nano s0 started" in said and "(4 of 4 runs finished" in said
    write_study(there)
    assert table(there) == table(here)
    for name in NAMES:
        for seed in (0, 1):
            one, other = (run_folder(out, name, seed) for out in (here, there))
            assert all((one.folder / f).read_bytes() == (other.folder / f).read_bytes() for f in FILES), (name, seed)
            assert [r["loss"] for r in one.history()] == [r["loss"] for r in other.history()]
            mine, its = (load_weights(run.weights("validation")).state for run in (one, other))
            assert all(bool((mine[key] == its[key]).all()) for key in mine)
    assert [o.what for o in work(planned, corpus, there, "ray")] == ["kept"] * 4


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_happens_to_a_run_there_is_said_here(ray: Any, corpus: Path, planned: Plan, tmp_path: Path) -> None:
    one = plan(study(NAMES[:1]), "synthetic", 1, SETTINGS)
    with claimed(tmp_path / NAMES[0] / "s0.lock"):
        assert carry(ray, one, corpus, tmp_path, prepare_process)[0].what == "elsewhere"
    (died,) = carry(ray, one, corpus, tmp_path, dies)
    assert died.what == "failed" and died.message.startswith("E_RUN: its process died 4 times")
    with pytest.raises(AuscultError, match="no space") as caught:
        carry(ray, planned, corpus, tmp_path, full)
    assert caught.value.code == "E_DISK"
    with pytest.raises(ZeroDivisionError):  # what is wrong in the code is not taken for a run that failed
        carry(ray, planned, corpus, tmp_path, wrong)


def carry(ray: Any, planned: Plan, corpus: Path, out: Path, prepare: Any) -> list[Outcome]:
    return carry_out_by_ray(ray, planned, corpus, out, score, lambda outcome: None, prepare)


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def full() -> None:
    raise AuscultError("E_DISK", "no space")


def wrong() -> None:
    print(1 / 0)


# --------------------------------------------------------------------------------------------------- the parts


def node(**resources: float) -> dict[str, Any]:
    return {"Alive": True, "Resources": resources}


def test_a_run_gets_a_gpu_or_the_threads_of_this_process() -> None:
    assert share_of_a_run([node(CPU=16, GPU=4), node(CPU=6, GPU=3), node(CPU=64)], 1) == {"num_cpus": 2, "num_gpus": 1}
    assert share_of_a_run([node(CPU=2, GPU=8)], 1) == {"num_cpus": 1, "num_gpus": 1}
    assert share_of_a_run([node(CPU=8), node()], 2) == {"num_cpus": 2, "num_gpus": 0}
    gone = {"Alive": False, "Resources": {"CPU": 1.0, "GPU": 1.0}}
    assert share_of_a_run([node(CPU=2), gone], 8) == {"num_cpus": 2, "num_gpus": 0}


def test_a_run_is_seen_to_begin_by_its_lock(tmp_path: Path) -> None:
    keys = [("a", 0), ("strict/a", 0)]
    with claimed(tmp_path / "a" / "s0.lock"):
        pass
    begun = Begun(tmp_path, keys)
    assert begun.new() == []
    os.utime(tmp_path / "a" / "s0.lock", (1, 1))
    with claimed(tmp_path / "strict" / "a" / "s0.lock"):
        assert begun.new() == keys and begun.new() == []


def test_a_task_gives_what_would_stop_all(corpus: Path, planned: Plan, tmp_path: Path) -> None:
    (tmp_path / NAMES[0]).write_text("a file, where a folder is needed")
    begun = begin(planned, corpus, tmp_path / "out")
    given = (begun, corpus, tmp_path, score, lambda: None, 1)
    found = bring_to_end(given, NAMES[0], 0)
    assert isinstance(found, tuple) and found[0] == "E_DISK"
