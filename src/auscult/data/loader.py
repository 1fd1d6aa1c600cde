"""From the feature store to batches, made ahead of the one who uses them."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..batch import Batch
from .cycles import Corpus
from .sampling import EpochBatches, EpochSampler
from .store import Features

AHEAD = 2  # batches made while one is used: the next, and one more for a page of the store that has to come from disk


class CycleDataset:
    """Some rows of a corpus with their features; indexing with a list of positions gives a `Batch`.

    A row is copied from the memory map: nothing downstream can touch the store.

    Args:
        rows: rows of ``corpus.cycles``, in the order of the positions.
        quality: (N,) audio quality score of every row of the corpus; None where nobody asked for it.
    """

    def __init__(
        self, corpus: Corpus, features: Features, rows: Sequence[int], quality: NDArray[np.float32] | None = None
    ) -> None:
        self.features = features
        self.rows = list(rows)
        cycles = [corpus.cycles[row] for row in self.rows]
        patient = {name: i for i, name in enumerate(corpus.patients)}
        device = {name: i for i, name in enumerate(corpus.devices)}
        self.label = torch.tensor([c.label for c in cycles], dtype=torch.int64)
        self.patient = torch.tensor([patient[c.patient] for c in cycles], dtype=torch.int64)
        self.device = torch.tensor([device[c.device] for c in cycles], dtype=torch.int64)
        self.quality = None if quality is None else torch.from_numpy(quality[self.rows])

    @property
    def frames(self) -> list[int]:
        """Frames of each position's filterbank; those of a batch must be equal."""
        return self.features.frames[self.rows].tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: list[int]) -> Batch:
        return widen(self.read(positions))

    def read(self, positions: list[int], *, pinned: bool = False) -> Batch:
        """The batch as stored, its filterbank in fp16.

        Args:
            pinned: in page-locked memory, from which a GPU copies while the CPU goes on.
        """
        rows = [self.rows[p] for p in positions]

        def held(values: torch.Tensor) -> torch.Tensor:
            return values.pin_memory() if pinned else values

        return Batch(
            fbank=self.features.read(rows, pinned=pinned),
            label=held(self.label[positions]),
            patient=held(self.patient[positions]),
            device=held(self.device[positions]),
            index=held(torch.tensor(rows, dtype=torch.int64)),
            quality=None if self.quality is None else held(self.quality[positions]),
        )


def widen(batch: Batch) -> Batch:
    """The batch with its filterbank in fp32."""
    return replace(batch, fbank=batch.fbank.float())


class Loader:
    """Batches on a device, read one or two ahead by a thread.

    The thread copies from the store and no more: it draws no random number, and it starts no OpenMP team that would
    spin beside the network's own. fp16 goes to the device and is widened there. Iterating again starts again.

    Args:
        dataset: where the cycles come from.
        batches: positions of each batch; asked for anew with every iteration.
        device: where the batches are used.
    """

    def __init__(
        self, dataset: CycleDataset, batches: Sequence[list[int]] | EpochBatches, device: torch.device | str = "cpu"
    ) -> None:
        self.dataset = dataset
        self.batches = batches
        self.device = torch.device(device)
        self.waited_s = 0.0
        """Seconds that the last iteration has waited for batches. A GPU works on meanwhile, so it waited less."""

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        self.waited_s = 0.0
        pinned = self.device.type == "cuda"
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")
        coming: deque[Future[Batch]] = deque()
        try:
            for positions in self.batches:
                coming.append(thread.submit(self.dataset.read, positions, pinned=pinned))
                if len(coming) > AHEAD:
                    yield self._next(coming.popleft())
            while coming:
                yield self._next(coming.popleft())
        finally:
            thread.shutdown(cancel_futures=True)

    def _next(self, batch: Future[Batch]) -> Batch:
        started = time.perf_counter()
        found = batch.result()
        self.waited_s += time.perf_counter() - started
        return widen(found.to(self.device))


def train_loader(
    dataset: CycleDataset,
    batch_size: int,
    kind: Literal["shuffle", "balanced"],
    drop_last: bool,
    seed: int,
    device: torch.device | str = "cpu",
) -> tuple[Loader, EpochBatches]:
    """Batches of a training epoch, and the sampler whose ``set_epoch`` orders them."""
    sampler = EpochSampler(dataset.label.tolist(), kind, seed)
    batches = EpochBatches(sampler, dataset.frames, batch_size, drop_last)
    return Loader(dataset, batches, device), batches


def eval_loader(dataset: CycleDataset, batch_size: int, device: torch.device | str = "cpu") -> Loader:
    """Every position once: in order where all clips have one length, else those of one length together."""
    by_length: dict[int, list[int]] = {}
    for position, frames in enumerate(dataset.frames):
        by_length.setdefault(frames, []).append(position)
    batches = [own[i : i + batch_size] for own in by_length.values() for i in range(0, len(own), batch_size)]
    return Loader(dataset, batches, device)
