"""The processes of one training: how they meet, who is the first, and whether they still agree.

Their number and places come from the environment, as torchrun and `launch` set it: RANK, LOCAL_RANK, WORLD_SIZE. Where
they meet is AUSCULT_MEETING, or what torchrun says.
"""

import contextlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from .errors import AuscultError
from .progress import be_silent

T = TypeVar("T")
MEETING = "AUSCULT_MEETING"
STEP_LIMIT = timedelta(minutes=10)  # for a process that hangs; one that ends is seen at once by those who started it
START_LIMIT = timedelta(days=7)  # while the first makes features
_started: list[Any] = []


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def first() -> bool:
    """Whether this is the one that speaks and writes."""
    return rank() == 0


@contextlib.contextmanager
def met() -> Iterator[None]:
    """Meets the others, if the environment names any; alone it does nothing. All but the first are silent from now on.

    Raises:
        AuscultError: E_SETTING for more processes on this machine than it has GPUs, if it has any.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or distributed.is_initialized():
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:
        check_gpus(int(os.environ.get("LOCAL_RANK", "0")) + 1)
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    own = int(os.environ["RANK"])
    meeting = os.environ.get(MEETING, "env://")
    store, _, _ = next(distributed.rendezvous(meeting, own, size, timeout=STEP_LIMIT))
    distributed.init_process_group(
        "nccl" if cuda else "gloo", store=store, rank=own, world_size=size, timeout=STEP_LIMIT
    )
    _started.append(store)
    if own:
        be_silent()
    try:
        yield
    finally:
        _started.pop()
        distributed.destroy_process_group()


def check_gpus(processes: int) -> None:
    """Refuses more processes than there are GPUs; without any they share the processor.

    Raises:
        AuscultError: E_SETTING.
    """
    there = torch.cuda.device_count()
    if there and processes > there:
        raise AuscultError(
            "E_SETTING", f"{processes} processes were asked for and this machine has {there} GPU; each needs its own."
        )


def first_then_others(work: Callable[[], T]) -> T:
    """What `work` gives, run by the first process and then, once that is done, by each of the others."""
    if count() == 1 or not _started:
        return work()
    if first():
        made = work()
        _started[-1].set("first/done", "1")
        return made
    _started[-1].wait(["first/done"], START_LIMIT)
    return work()


def check_agreement(weights: Iterable[Tensor]) -> None:
    """Compares the weights of all processes, bit for bit, by their checksums.

    Raises:
        AuscultError: E_RUN when they differ: gradients were not averaged as they should, or a machine miscounts.
    """
    if count() == 1:
        return
    found, device = 0, torch.device("cpu")
    for w in weights:
        device = w.device
        found = zlib.crc32(w.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes(), found)
    mine = torch.tensor([found], dtype=torch.int64, device=device)
    all_of_them = [torch.empty_like(mine) for _ in range(count())]
    distributed.all_gather(all_of_them, mine)
    others = [r for r, sum_ in enumerate(all_of_them) if int(sum_) != int(all_of_them[0])]
    if others:
        raise AuscultError(
            "E_RUN",
            f"the weights of process {others[0]} are no longer those of process 0, so what follows would be wrong; the "
            "last checkpoint is from before that. Go on from it with --resume; if it comes again, report it.",
        )
