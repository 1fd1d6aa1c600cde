"""The learning rate as a fraction of its top, over the epochs of a run."""

import math
from typing import Literal

from ..config import spec


@spec("cosine")
class Cosine:
    """Half a cosine from 1 down to `floor`.

    Args:
        floor: lr(end) / lr(top); the lineage's 1e-3.
        warmup_epochs: linear rise from 0, before the cosine.
        every: ``epoch`` holds the rate through an epoch e = 1..E at cos(pi e / E), as the lineage's public code does;
            ``step`` moves it smoothly.
    """

    floor: float = 1e-3
    warmup_epochs: float = 0.0
    every: Literal["epoch", "step"] = "epoch"

    def factor(self, epoch: int, step: int, steps: int, epochs: int) -> float:
        """lr / lr(top) at 0-based `step` of `steps` in the 0-based `epoch` of `epochs`.

        >>> [round(5e-5 * Cosine().factor(e - 1, 0, 258, 50), 9) for e in (1, 25, 50)]
        [4.9951e-05, 2.5025e-05, 5e-08]
        """
        smooth = epoch + (step + 1) / steps
        if smooth < self.warmup_epochs:
            return smooth / self.warmup_epochs
        now = epoch + 1 if self.every == "epoch" else smooth
        done = (now - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-9)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2
