"""Peak memory of one thing, in a process of its own: what a clip costs, and what the first call of the scan costs.

A clip's share is the difference of two batch sizes, so that weights, libraries and workspaces fall out. This file is
also the child process: `python -m auscult.bench.memory JOB` with a job as JSON prints its result as JSON.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..errors import AuscultError

BATCHES, SLOW_BATCHES = (2, 4), (1, 2)
TIMEOUT_S = 1800
WARM_FRAMES = 64


def child(job: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Runs a job in a fresh process and gives what it measured.

    Raises:
        AuscultError: E_RUN when it fails; the end of its stderr is in the message.
    """
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    command = [sys.executable, "-m", __name__, json.dumps(job)]
    where: dict[str, str] = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=where, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise AuscultError("E_RUN", f"{job['task']} took longer than {TIMEOUT_S} s in its own process.") from error
    if done.returncode:
        raise AuscultError("E_RUN", f"{job['task']} failed in its own process: {done.stderr.strip()[-600:]}")
    return json.loads(done.stdout.splitlines()[-1])


def per_clip(
    name: str, task: str, setting: Any, vmamba_folder: Path | None, batches: tuple[int, int] = BATCHES, **options: Any
) -> dict[str, Any]:
    """MB a clip of a network: (peak with the larger batch - peak with the smaller) / difference of the batches.

    Args:
        name: of the network, see `networks`.
        task: ``forward`` or ``train-step``.
        options: passed on to `Network.step`.
    """
    peaks = []
    for batch in batches:
        job: dict[str, Any] = {"task": task, "name": name, "setting": dataclasses.asdict(setting) | {"batch": batch}}
        job |= {"vmamba": str(vmamba_folder) if vmamba_folder else None, "options": options}
        peaks.append(child(job)["peak_mb"])
    share = (peaks[1] - peaks[0]) / (batches[1] - batches[0])
    return {"name": name, "per_clip_mb": share, "batches": list(batches), "peaks_mb": peaks}


def first_calls() -> dict[str, float]:
    """CPU seconds of the scan's first call, forward and backward, with an empty cache of compiled code and again."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"NUMBA_CACHE_DIR": folder}
        first, second = (child({"task": "first-call"}, environment) for _ in range(2))
    return {"empty_cache_s": first["cpu_s"], "cached_s": second["cpu_s"]}


def peak_mb(device: str) -> float:
    """The most memory this process (on a GPU: its tensors) has held so far, in MB (10^6 bytes).

    Linux counts it anew for a fresh program only in VmHWM; getrusage would still show the parent's.
    """
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def forget_peak(device: str) -> None:
    """Starts `peak_mb` anew from what is held now, where the system can do that; elsewhere the old peak stays."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    elif os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """What the child process does."""
    return TASKS[job["task"]](job)


def _network(job: dict[str, Any]) -> dict[str, Any]:
    from . import networks
    from .setting import Setting, prepare

    setting = Setting(**job["setting"])
    prepare(setting)
    network = networks.build(job["name"], setting, Path(job["vmamba"]) if job["vmamba"] else None)
    frames = setting.frames if job["name"] == networks.AST_BASE else min(setting.frames, WARM_FRAMES)
    for x in (networks.clip(setting, batch=1, frames=frames), networks.clip(setting)):
        forget_peak(setting.device)  # importing, building and compiling do not count
        work = network.infer(x) if job["task"] == "forward" else network.step(x, **job["options"])
        work()
    return {"peak_mb": peak_mb(setting.device)}


def _first_call(_: dict[str, Any]) -> dict[str, Any]:
    import torch

    from ..models.scan import ss2d

    shapes = (1, 3, 5, 16), (1, 3, 5, 4, 4), (4, 2, 16), (4, 16), (4, 16), (4, 16)
    inputs = [torch.zeros(s, requires_grad=True) for s in shapes]
    before = time.process_time()
    ss2d(*inputs).sum().backward()
    return {"cpu_s": time.process_time() - before}


TASKS = {"forward": _network, "train-step": _network, "first-call": _first_call}

if __name__ == "__main__":
    print(json.dumps(run_job(json.loads(sys.argv[1]))))
