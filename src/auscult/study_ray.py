"""The runs of a study as tasks of Ray: any number at once, on one machine or many, with a table equal to `study`'s.

The study's folder is all the state there is. A task is `study.one_run`: it claims the run, goes on from its last whole
epoch, and leaves what is done alone. So a task whose process died is simply begun again, and so is a study.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .errors import AuscultError, Code
from .runs import Run
from .study import Outcome, Plan, PlannedRow, View, one_run, run_folder, whole

RETRIES = 3  # of a run whose process died
LOOK_EVERY_S = 1.0
Key = tuple[str, int]  # row, seed


def carry_out_by_ray(
    ray: Any,
    plan: Plan,
    data: Path,
    out: Path,
    score: Callable[[Run, View], object],
    tell: Callable[[Outcome], object],
    prepare: Callable[[], object],
) -> list[Outcome]:
    """`study.carry_out` by the machines of a cluster; they see `data` and `out` under the same names.

    Args:
        ray: joined to the cluster; see `cluster.local`.
        score, prepare: of a module that the other processes can import.
        prepare: called in a process before its work.

    Raises:
        AuscultError: as `study.carry_out`; runs in work are ended, and are gone on with by the same command.
    """
    share = share_of_a_run(ray.nodes(), torch.get_num_threads())
    work = ray.remote(max_retries=RETRIES, **share)(bring_to_end)
    given = ray.put((plan, data.absolute(), out.absolute(), score, prepare, share["num_cpus"]))
    outcomes: dict[Key, Outcome] = {}
    waiting: dict[Any, Key] = {}
    for seed, row in plan.in_order():
        key = row.name, seed
        if kept(plan, row, run_folder(out, *key)):
            outcomes[key] = Outcome(row=row.name, seed=seed, what="kept")
            tell(outcomes[key])
        else:
            waiting[work.remote(given, *key)] = key
    begun = Begun(out, list(waiting.values()))
    try:
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=LOOK_EVERY_S)
            for key in begun.new():
                tell(Outcome(row=key[0], seed=key[1], what="started"))
            for task in done:
                key = waiting.pop(task)
                outcomes[key] = outcome_of(ray, task, key)
                tell(outcomes[key])
    finally:
        for task in waiting:
            ray.cancel(task, force=True)
    return [outcomes[row.name, seed] for seed, row in plan.in_order()]


def share_of_a_run(nodes: Sequence[Mapping[str, Any]], threads: int) -> dict[str, int]:
    """What a run is given: a GPU, and its part of the cores; without GPUs as many cores as torch has threads here.

    Args:
        nodes: as `ray.nodes()` has them.
        threads: of this process; OMP_NUM_THREADS sets it.

    >>> share_of_a_run([{"Alive": True, "Resources": {"CPU": 16.0, "GPU": 4.0}}], 8)
    {'num_cpus': 4, 'num_gpus': 1}
    >>> share_of_a_run([{"Alive": True, "Resources": {"CPU": 16.0}}], 8)
    {'num_cpus': 8, 'num_gpus': 0}
    """
    there = [node["Resources"] for node in nodes if node["Alive"]]
    with_gpu = [r["CPU"] / r["GPU"] for r in there if r.get("GPU", 0) >= 1]
    if with_gpu:
        return {"num_cpus": max(1, int(min(with_gpu))), "num_gpus": 1}
    return {"num_cpus": max(1, min(threads, max(int(r.get("CPU", 0)) for r in there))), "num_gpus": 0}


def kept(plan: Plan, row: PlannedRow, run: Run) -> bool:
    """Whether nothing is left to do for a run; one with a damaged file is left to the task, which says so."""
    try:
        return whole(plan, row, run)
    except AuscultError:
        return False


def bring_to_end(given: tuple[Any, ...], name: str, seed: int) -> Outcome | tuple[Code, str]:
    """The task: one run of a study; what would stop them all is given, not raised."""
    plan, data, out, score, prepare, cores = given
    row = next(row for _, row in plan.in_order() if row.name == name)
    try:
        prepare()
        torch.set_num_threads(cores)
        return one_run(plan, row, seed, data, run_folder(out, name, seed), score, lambda outcome: None)
    except AuscultError as error:
        return error.code, error.message


def outcome_of(ray: Any, task: Any, key: Key) -> Outcome:
    """What became of a run whose task is over.

    Raises:
        AuscultError: what no run would survive.
    """
    try:
        found = ray.get(task)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        said = f"its process died {RETRIES + 1} times, the last time so: {str(error).splitlines()[0]}"
        return Outcome(row=key[0], seed=key[1], what="failed", message=f"E_RUN: {said}")
    if not isinstance(found, Outcome):
        raise AuscultError(*found)
    return found


class Begun:
    """Which runs have been begun, seen by their locks: the processes that claim them tell nobody.

    Args:
        keys: runs that nobody has told about.
    """

    def __init__(self, out: Path, keys: list[Key]) -> None:
        self.locks = {key: run_folder(out, *key).folder.with_name(f"s{key[1]}.lock") for key in keys}
        self.before = {key: claimed_at(lock) for key, lock in self.locks.items()}

    def new(self) -> list[Key]:
        """Those begun since the last look."""
        found = [key for key, lock in self.locks.items() if claimed_at(lock) != self.before[key]]
        for key in found:
            del self.locks[key]
        return found


def claimed_at(lock: Path) -> float:
    """When a process last wrote its number into a lock; 0 for none."""
    try:
        return lock.stat().st_mtime
    except FileNotFoundError:
        return 0.0
