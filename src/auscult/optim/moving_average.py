"""The "moving average" of the lineage: after each step the weights go part of the way back.

Source: public code of Patch-Mix CL (Bae et al. 2023) and its descendants, ``update_moving_average``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def moving_average(module: nn.Module, keep: float) -> Iterator[None]:
    """Around one step of the optimiser: leaves `module` at keep * before + (1 - keep) * after.

    No second model comes of it: the mean becomes the weights, and the next step starts there. So keep = 0.5 halves
    every step, like half the learning rate, and halves the momentum of running statistics; Adam's moments stay as they
    are. Nothing has to be saved but the weights.

    Args:
        keep: share of the weights before the step, in [0, 1); 0 does nothing.
    """
    if keep == 0:
        yield
        return
    both = (*module.parameters(), *module.buffers())
    live = [t.detach() for t in both if t.is_floating_point()]  # not the counters of batch norms
    before = [t.clone() for t in live]
    yield
    torch._foreach_lerp_(live, before, keep)
