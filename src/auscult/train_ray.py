"""Training by the workers of Ray Train: as `launch`, on one machine or many, and begun again by itself when one dies.

Each worker runs `train.train`. The run folder, which all of them see, is the checkpoint: a group that lost a worker is
ended, a new one is made, and it goes on from the last whole epoch to the weights it would have had, bit for bit.
"""

import contextlib
import os
import shutil
import sys
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from . import cluster, ranks
from .config import from_dict, to_dict
from .errors import AuscultError
from .launch import LOOPBACK, said_by
from .progress import say
from .recipes import RecipeSpec
from .runs import Run, read_json, write_json
from .train import check_folder, train

RESTARTS = 3  # of a group that lost a worker
FOLDER = ".ray"  # in the run folder, while it is trained: where the workers meet, and leave what they say
LOOK_EVERY_S = 0.2


def train_by_ray(
    recipe: RecipeSpec,
    dataset: str,
    data: Path,
    out: Path,
    processes: int,
    *,
    seed: int = 0,
    resume: bool = False,
    partial: bool = False,
    track: str | None = None,
    prepare: Callable[[], object],
) -> Run:
    """`launch.train_together` by the workers of a cluster; they see `data` and `out` under the same names.

    Losses and weights are those of `launch.train_together` with as many processes on such machines, whether a worker
    died on the way or not.

    Args:
        prepare: called in every worker before its work; of a module that it can import.

    Raises:
        AuscultError: what a worker raised; E_RUN when workers died more than three times; as `cluster.local`.
    """
    recipe.check_processes(processes)
    run, folder = Run(out.absolute()), out.absolute() / FOLDER
    check_folder(run, {"recipe": to_dict(recipe), "dataset": dataset, "seed": seed, "partial": partial}, resume)
    job = {
        "recipe": to_dict(recipe),
        "dataset": dataset,
        "data": str(data.absolute()),
        "out": str(run.folder),
        "settings": {"seed": seed, "resume": True, "partial": partial, "track": track},  # of a worker begun again
        "command": sys.argv,
        "cwd": str(Path.cwd()),
        "matmul": "onednn" if torch.get_float32_matmul_precision() == "medium" else "default",  # one route for all
    }
    with cluster.local(max(processes, torch.get_num_threads())) as ray, emptied(folder):
        share = share_of_a_worker(ray.nodes(), processes, torch.get_num_threads())
        write_json(folder / "job.json", job | {"threads": share["CPU"], "loopback": alone(ray.nodes())})
        with followed(folder / "said"):
            fit({"folder": str(folder), "prepare": prepare}, processes, share, run)
    return run


def fit(config: dict[str, Any], processes: int, share: dict[str, int], run: Run) -> None:
    """Ray Train from its start to its end; `config` is what `work` is given.

    Raises:
        AuscultError: what a worker raised, or E_RUN.
    """
    os.environ |= {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0", "RAY_CHDIR_TO_TRIAL_DIR": "0"}  # of its ways with workers
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.backend import Backend
    from ray.train.torch import TorchConfig, TorchTrainer

    class SeesGpus(Backend):
        """No process group of Ray's: `ranks.met` makes it, where nobody listens on all addresses."""

        share_cuda_visible_devices = True

    class OwnGroup(TorchConfig):
        """Of `SeesGpus`."""

        backend_cls = SeesGpus
        train_func_context = contextlib.nullcontext

    trainer = TorchTrainer(
        work,
        train_loop_config=config,
        torch_config=OwnGroup(),
        scaling_config=ScalingConfig(
            num_workers=processes, use_gpu="GPU" in share, resources_per_worker=dict(share), placement_strategy="PACK"
        ),
        run_config=RunConfig(
            name="train", storage_path=config["folder"], failure_config=FailureConfig(max_failures=RESTARTS)
        ),
    )
    folder = Path(config["folder"])
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise reason(folder, processes) or given_up(error, run) from error
    if said := reason(folder, processes):
        raise said


def reason(folder: Path, processes: int) -> AuscultError | None:
    """What the first worker that gave a reason has said; None where none did."""
    for rank in range(processes):
        if said_by(folder, rank).exists():
            return AuscultError(**read_json(said_by(folder, rank)))
    return None


def given_up(error: Exception, run: Run) -> AuscultError:
    """What to say when workers have died too often."""
    there = "keeps the whole epochs" if run.checkpoint.exists() else "has no whole epoch yet"
    return AuscultError(
        "E_RUN",
        f"workers ended {RESTARTS + 1} times, the last time so: {cluster.first_line(error)} {run.folder} {there}. "
        f"`auscult train` with the same words, --out {run.folder} and --resume goes on.",
    )


def work(config: dict[str, Any]) -> None:
    """What each worker does, in a process that Ray made for it."""
    folder = Path(config["folder"])
    job = read_json(folder / "job.json")
    rank, count = meet(folder, job)
    if reason(folder, count):  # of a group before this one: it would come again
        return
    config["prepare"]()
    torch.set_num_threads(job["threads"])
    # of depthwise convolutions, whose gradients are laid out another way: DDP copies them, and that is all
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    sys.argv = job["command"]
    with (folder / "said").open("a", buffering=1, encoding="utf-8") as said, contextlib.redirect_stderr(said):
        try:
            recipe = from_dict(RecipeSpec, job["recipe"])
            train(recipe, job["dataset"], Path(job["data"]), Path(job["out"]), **job["settings"])
        except AuscultError as error:
            write_json(said_by(folder, rank), {"code": error.code, "message": error.message})
            raise


def meet(folder: Path, job: dict[str, Any]) -> tuple[int, int]:
    """Tells `ranks.met` where the workers of this group meet; gives this one's place, and how many there are."""
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero

    here = get_context()
    own, count = here.get_world_rank(), here.get_world_size()
    meeting = broadcast_from_rank_zero(f"meeting-{uuid.uuid4().hex}")  # of its own for each group
    if Path(job["cwd"]).is_dir():
        os.chdir(job["cwd"])  # weights may be named from here
    if job["loopback"] and sys.platform in LOOPBACK:
        os.environ["GLOO_SOCKET_IFNAME"] = LOOPBACK[sys.platform]
    places = {"RANK": own, "LOCAL_RANK": here.get_local_rank(), "WORLD_SIZE": count}
    places["LOCAL_WORLD_SIZE"] = here.get_local_world_size()
    os.environ |= {name: str(value) for name, value in places.items()}
    os.environ |= {"AUSCULT_MATMUL": job["matmul"], ranks.MEETING: (folder / meeting).as_uri()}
    return own, count


def share_of_a_worker(nodes: Sequence[Mapping[str, Any]], processes: int, threads: int) -> dict[str, int]:
    """What each worker is given: a GPU and its part of the cores; without GPUs the most cores that all can have.

    Args:
        nodes: as `ray.nodes()` has them.
        threads: the most cores that are wanted for one.

    Raises:
        AuscultError: E_SETTING for more workers than there are GPUs, or cores.

    >>> share_of_a_worker([{"Alive": True, "Resources": {"CPU": 7.0}}] * 2, 4, 8)
    {'CPU': 3}
    """
    there = [node["Resources"] for node in nodes if node["Alive"]]
    with_gpu = [resources for resources in there if resources.get("GPU", 0) >= 1]
    gpus = int(sum(resources["GPU"] for resources in with_gpu))
    cores = [int(resources.get("CPU", 0)) for resources in there]
    if gpus >= processes:
        return {"CPU": max(1, min(int(r["CPU"] / r["GPU"]) for r in with_gpu)), "GPU": 1}
    if gpus or sum(cores) < processes:
        unit = f"{gpus} GPU" if gpus else f"{sum(cores)} cores"
        raise AuscultError("E_SETTING", f"{processes} processes were asked for and the cluster has {unit}.")
    return {"CPU": max(k for k in range(1, max(threads, 1) + 1) if k == 1 or sum(c // k for c in cores) >= processes)}


def alone(nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the cluster is of this machine alone and listens on the loopback address only."""
    return all(node["NodeManagerAddress"] == cluster.LOOPBACK for node in nodes)


@contextlib.contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """An empty folder while the block runs; what another start left there is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise AuscultError("E_DISK", f"cannot make {folder}: {error.strerror}. Choose another --out.") from error
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def followed(file: Path) -> Iterator[None]:
    """Says the lines that come into a file while the block runs."""
    file.touch()
    over = threading.Event()

    def follow() -> None:
        with file.open(encoding="utf-8") as handle:
            while not over.wait(LOOK_EVERY_S):
                for line in handle:
                    say(line.rstrip("\n"))
            for line in handle:
                say(line.rstrip("\n"))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
