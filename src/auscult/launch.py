"""Training by several processes of this machine, which end together.

Nothing is started again in place: a training that lost a process is over within a second, its last checkpoint is whole,
and ``--resume`` goes on. The processes meet in a file and talk over the loopback address; none listens elsewhere.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from . import ranks
from .config import to_dict
from .errors import AuscultError
from .recipes import RecipeSpec
from .runs import Run, read_json, write_json

PROGRAM = (sys.executable, "-m", "auscult.cli.rank")
LOOK_EVERY_S = 0.1
LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def train_together(
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
) -> Run:
    """`train.train` by so many processes, each with its share of every batch; the arguments are the same.

    The batch, the order of the cycles and every random number are those of one process. Losses and weights differ from
    its by rounding, and are the same bits each time with the same number of processes. Each has a GPU of its own, or
    its share of the cores.

    Raises:
        AuscultError: what a process raised; E_RUN when one ended without a word, by a signal for instance.
    """
    recipe.check_processes(processes)
    ranks.check_gpus(processes)
    job = {
        "recipe": to_dict(recipe),
        "dataset": dataset,
        "data": str(data.absolute()),
        "out": str(out.absolute()),
        "settings": {"seed": seed, "resume": resume, "partial": partial, "track": track},
        "command": sys.argv,
    }
    with tempfile.TemporaryDirectory(prefix="auscult-") as name:
        folder = Path(name)
        write_json(folder / "job.json", job)
        started: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(processes):
                started.append(
                    subprocess.Popen(
                        [*PROGRAM, str(folder)], stdin=subprocess.PIPE, env=environment(rank, processes, folder)
                    )
                )
            watch(started, folder, out)
        finally:
            end(started)
    return Run(out)


def environment(rank: int, processes: int, folder: Path) -> dict[str, str]:
    """The environment of a process: its place, where it meets the others, its share of the cores."""
    route = "onednn" if torch.get_float32_matmul_precision() == "medium" else "default"  # one route for all
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    here: dict[str, Any] = {"OMP_NUM_THREADS": max(1, torch.get_num_threads() // processes)}
    if sys.platform in LOOPBACK:
        here["GLOO_SOCKET_IFNAME"] = LOOPBACK[sys.platform]
    settings = (
        here | dict(os.environ) | places | {"AUSCULT_MATMUL": route, ranks.MEETING: (folder / "meeting").as_uri()}
    )
    return {name: str(value) for name, value in settings.items()}


def watch(processes: list[subprocess.Popen[bytes]], folder: Path, out: Path) -> None:
    """Returns when all have ended well.

    Raises:
        AuscultError: as soon as one has not.
    """
    while True:
        codes = [process.poll() for process in processes]
        if any(codes):
            raise failure(codes, folder, out)
        if None not in codes:
            return
        time.sleep(LOOK_EVERY_S)


def failure(codes: list[int | None], folder: Path, out: Path) -> AuscultError:
    """What the first process said that gave a reason; else which one ended, and how.

    Args:
        codes: exit code of each process, less than 0 for a signal, None while it runs.
    """
    for rank in range(len(codes)):
        said = said_by(folder, rank)
        if codes[rank] and said.exists():
            return AuscultError(**read_json(said))
    rank, code = min(((r, c) for r, c in enumerate(codes) if c), key=lambda found: found[1] > 0)  # signals first
    how = f"exit code {code}" + (f", {signal.Signals(-code).name}" if code < 0 else "")
    there = Run(out).checkpoint.exists()
    return AuscultError(
        "E_RUN",
        f"process {rank} of {len(codes)} (counted from 0) ended with {how}, so the others were ended too; {out} "
        + ("keeps the whole epochs. " if there else "has no whole epoch yet. ")
        + f"`auscult train` with the same words, --out {out} and --resume goes on.",
    )


def said_by(folder: Path, rank: int) -> Path:
    """Where a process leaves the error that it raised."""
    return folder / f"error-{rank}.json"


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ends those that still run, at once: every file they write is whole or not there."""
    for process in processes:
        process.kill()
    for process in processes:
        with process:  # closes the pipe and waits
            pass
