"""Training by Ray's workers: the weights of `--processes`, bit for bit, also when a worker is killed on the way."""

import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auscult import cluster
from auscult.cli.process import prepare_process
from auscult.errors import AuscultError
from auscult.launch import train_together
from auscult.models.weights import load_weights
from auscult.runs import Run
from auscult.train_ray import FOLDER, alone, emptied, followed, share_of_a_worker, train_by_ray

from .small import small_corpus, small_recipe

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # of Ray, by Ray
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["AUSCULT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return small_corpus(tmp_path_factory.mktemp("data") / "synthetic")


@pytest.fixture(scope="module")
def ray(corpus: Path) -> Iterator[Any]:
    """Of two cores; the trainings find it begun."""
    with cluster.local(2) as module:
        yield module


class Killer(threading.Thread):
    """Kills one of the workers, once there is a checkpoint."""

    def __init__(self, run: Run) -> None:
        super().__init__(daemon=True)
        self.run_, self.at, self.left, self.listened = run, 0.0, 0, set[str]()
        self.start()

    def run(self) -> None:
        import psutil

        deadline = time.monotonic() + 300
        while not self.run_.checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        children = psutil.Process().children(recursive=True)
        workers = [process for process in children if "RayTrainWorker" in " ".join(process.cmdline())]
        sockets = [c for process in children for c in process.net_connections("tcp") if c.status == "LISTEN"]
        self.listened = {socket.laddr.ip for socket in sockets}
        max(workers, key=lambda process: process.pid).kill()
        self.left = len(self.run_.history())
        self.at = time.monotonic()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_worker_is_no_loss(ray: Any, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, killed = Run(tmp_path / "local"), Run(tmp_path / "ray")
    train_together(small_recipe("epochs=4"), "synthetic", corpus, whole.folder, 2, seed=3, track="none")
    killer = Killer(killed)
    arguments: dict[str, Any] = {"seed": 3, "track": "none", "prepare": prepare_process}
    began = time.monotonic()
    train_by_ray(small_recipe("epochs=4"), "synthetic", corpus, killed.folder, 2, **arguments)
    over = time.monotonic()
    killer.join()
    assert killer.listened == {"127.0.0.1", "::ffff:127.0.0.1"}
    assert 1 <= killer.left < 4, "it was over before a worker was killed"
    said = capsys.readouterr().err.splitlines()
    print(f"{over - began:.1f} s in all, {over - killer.at:.1f} s of them after a worker was killed")
    assert [line.partition("/")[0] for line in said if line.startswith("epoch")] == [
        f"epoch   {n}" for n in (1, 2, 3, 4)
    ]
    assert any(line.startswith(f"resumed {killed.folder} after epoch {killer.left} of 4") for line in said), said
    assert [r["loss"] for r in killed.history()] == [r["loss"] for r in whole.history()]
    for name in ("last", "validation"):
        one, other = (load_weights(run.weights(name)).state for run in (whole, killed))
        assert one.keys() == other.keys() and all(bool((one[key] == other[key]).all()) for key in one)
    assert not (killed.folder / FOLDER).exists()
    with pytest.raises(AuscultError, match="already holds a run; pass --resume"):
        train_by_ray(small_recipe("epochs=4"), "synthetic", corpus, killed.folder, 2, **arguments)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_a_worker_finds_wrong_is_said_once(ray: Any, tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match="does not exist") as caught:
        train_by_ray(small_recipe(), "synthetic", tmp_path / "no", tmp_path / "run", 2, prepare=prepare_process)
    assert caught.value.code == "E_DATA"
    assert not (tmp_path / "run" / FOLDER).exists()


# --------------------------------------------------------------------------------------------------- the parts


def node(**resources: float) -> dict[str, Any]:
    return {"Alive": True, "Resources": resources, "NodeManagerAddress": "127.0.0.1"}


def test_each_worker_has_a_gpu_or_as_many_cores_as_all_can_have() -> None:
    assert share_of_a_worker([node(CPU=16, GPU=4), node(CPU=64)], 4, 1) == {"CPU": 4, "GPU": 1}
    with pytest.raises(AuscultError, match="5 processes were asked for and the cluster has 4 GPU"):
        share_of_a_worker([node(CPU=16, GPU=4), node(CPU=64)], 5, 1)
    assert share_of_a_worker([node(CPU=2)], 2, 2) == {"CPU": 1}
    assert share_of_a_worker([node(CPU=8), node(CPU=4)], 3, 8) == {"CPU": 4}
    assert share_of_a_worker([node(CPU=8), node(CPU=4)], 3, 2) == {"CPU": 2}
    with pytest.raises(AuscultError, match="3 processes were asked for and the cluster has 2 cores"):
        share_of_a_worker([node(CPU=2), {"Alive": False, "Resources": {"CPU": 8.0}}], 3, 8)


def test_a_cluster_of_this_machine_alone() -> None:
    assert alone([node()]) and not alone([node(), node() | {"NodeManagerAddress": "192.0.2.7"}])


def test_lines_that_workers_leave_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with emptied(tmp_path / "a"), followed(tmp_path / "a" / "said"), (tmp_path / "a" / "said").open("a") as file:
        file.write("one\ntwo\n")
    assert capsys.readouterr().err == "one\ntwo\n" and not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(AuscultError, match="E_DISK"), emptied(tmp_path / "file" / "b"):
        pass
