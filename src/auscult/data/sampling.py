"""In which order the cycles of an epoch are seen, and which of them share a batch."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch.utils.data import Sampler

BATCHES = 1  # keeps the shuffle of batches apart from the draw of cycles


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


class EpochBatches(Sampler[list[int]]):
    """The epoch of an `EpochSampler` in batches, each of clips of one length.

    Where all clips have one length the batches follow the order of the sampler. Else each length collects its own, and
    the batches are shuffled, again by (seed, epoch): otherwise the short batches of rare lengths would all come last.
    The cycles are those the sampler drew, so ``balanced`` keeps its class probabilities.

    Args:
        sampler: draws the cycles of an epoch.
        frames: length of each position's clip.
        batch_size: cycles in a full batch.
        drop_last: leave out short batches, though never the only batch of a length, whose cycles would then never be
            seen. Of the others the smallest go first, and only while an epoch loses fewer than `batch_size` cycles: no
            more than with one length.
    """

    def __init__(self, sampler: EpochSampler, frames: Sequence[int], batch_size: int, drop_last: bool) -> None:
        self.sampler = sampler
        self.frames = list(frames)
        self.batch_size = batch_size
        self.drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        """Chooses the 0-based epoch whose batches are given next."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches())

    def _batches(self) -> list[list[int]]:
        full: list[list[int]] = []
        collected: dict[int, list[list[int]]] = {}
        for position in self.sampler:
            own = collected.setdefault(self.frames[position], [[]])
            own[-1].append(position)
            if len(own[-1]) == self.batch_size:
                full.append(own[-1])
                own.append([])
        batches = full + self._short(list(collected.values()))
        if len(collected) > 1:
            seed = (self.sampler.seed * 100_003 + self.sampler.epoch) * 2 + BATCHES
            order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed))
            batches = [batches[i] for i in order.tolist()]
        return batches

    def _short(self, collected: list[list[list[int]]]) -> list[list[int]]:
        """The short batches that are kept."""
        alone = [own[0] for own in collected if len(own) == 1]
        others = sorted((own[-1] for own in collected if len(own) > 1 and own[-1]), key=len)
        lost = 0
        while self.drop_last and others and lost + len(others[0]) < self.batch_size:
            lost += len(others.pop(0))
        return alone + others
