"""In which order the cycles of an epoch are seen."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Positions of an epoch, the same for the same (seed, epoch), so that a resumed run sees what it would have seen.

    Args:
        labels: class of each position.
        kind: ``shuffle`` sees each position once; ``balanced`` draws len(labels) positions with replacement, weight
            1/n_class each (the weighted random sampling of SAM-AST).
        seed: the run's seed.
    """

    def __init__(self, labels: Sequence[int], kind: Literal["shuffle", "balanced"], seed: int) -> None:
        self.labels = torch.as_tensor(labels)
        self.kind = kind
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the 0-based epoch whose order is given next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        if self.kind == "shuffle":
            order = torch.randperm(len(self.labels), generator=generator)
        else:
            weight = 1.0 / torch.bincount(self.labels).clamp_min(1)[self.labels].double()
            order = torch.multinomial(weight, len(self.labels), replacement=True, generator=generator)
        return iter(order.tolist())
