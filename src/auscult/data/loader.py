"""From the feature store to batches."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from ..batch import Batch
from .cycles import Corpus
from .sampling import EpochSampler
from .store import Features


class CycleDataset(Dataset[Batch]):
    """Some rows of a corpus with their features; indexing with a list of positions gives a `Batch`.

    A row is read from the memory map, widened to fp32 and so copied: nothing downstream can touch the store.

    Args:
        rows: rows of ``corpus.cycles``, in the order of the positions.
    """

    def __init__(self, corpus: Corpus, features: Features, rows: Sequence[int]) -> None:
        self.features = features
        self.rows = list(rows)
        cycles = [corpus.cycles[row] for row in self.rows]
        patient = {name: i for i, name in enumerate(corpus.patients)}
        device = {name: i for i, name in enumerate(corpus.devices)}
        self.label = torch.tensor([c.label for c in cycles], dtype=torch.int64)
        self.patient = torch.tensor([patient[c.patient] for c in cycles], dtype=torch.int64)
        self.device = torch.tensor([device[c.device] for c in cycles], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: list[int]) -> Batch:
        rows = [self.rows[p] for p in positions]
        return Batch(
            fbank=torch.from_numpy(self.features.fbank[rows]).float(),
            label=self.label[positions],
            patient=self.patient[positions],
            device=self.device[positions],
            index=torch.tensor(rows, dtype=torch.int64),
        )


def train_loader(
    dataset: CycleDataset, batch_size: int, kind: Literal["shuffle", "balanced"], drop_last: bool, seed: int
) -> tuple[DataLoader[Batch], EpochSampler]:
    """Batches of a training epoch, and the sampler whose ``set_epoch`` orders them. A lone short batch is kept."""
    sampler = EpochSampler(dataset.label.tolist(), kind, seed)
    drop = drop_last and len(dataset) > batch_size
    batches = BatchSampler(sampler, batch_size, drop_last=drop)
    return DataLoader(dataset, sampler=batches, batch_size=None), sampler


def eval_loader(dataset: CycleDataset, batch_size: int) -> DataLoader[Batch]:
    """Every position once, in order."""
    batches = BatchSampler(SequentialSampler(dataset), batch_size, drop_last=False)
    return DataLoader(dataset, sampler=batches, batch_size=None)
