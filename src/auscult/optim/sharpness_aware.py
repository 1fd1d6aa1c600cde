"""The optimiser behind `Sam`: pytorch_optimizer's SAM as one ``step(closure)`` that can be interrupted and repeated.

The library climbs, comes back and steps. Its own ``step`` is not used, since it has the first gradient made outside,
draws other masks for the second, lets running statistics see it, and leaves the weights displaced if it fails.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_optimizer import SAM
from torch import Tensor
from torch.optim import Optimizer

from ..errors import AuscultError


class SharpnessAware(SAM):
    """One step: gradient, ascent, gradient, back to the very same bits, step of the base.

    The parameter groups and the state are the base's own, so that a learning rate set here is the base's, and what is
    saved is all there is. The norm of the gradient is one over all parameters, in float32; where gradients are averaged
    over processes each process climbs alike.

    Args:
        base: an optimiser that has taken no step.
        frozen: buffers to put back after the second gradient.
    """

    def __init__(
        self, base: Optimizer, *, rho: float, adaptive: bool, same_masks: bool, frozen: Sequence[Tensor]
    ) -> None:
        made: Any = lambda groups, **settings: base  # the library asks for a class, and calls it  # noqa: E731
        super().__init__(base.param_groups, made, rho=rho, adaptive=adaptive)
        self.same_masks = same_masks
        self.frozen = frozen

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:  # type: ignore[override]
        """Takes one step; gives the loss where it started.

        Args:
            closure: zeroes the gradients, makes them anew, gives the loss; called twice.

        Raises:
            AuscultError: E_SETTING without a closure. What the closure raises passes through, with the weights as
                before the step.
        """
        if closure is None:
            raise AuscultError("E_SETTING", "SAM looks twice a step; call optimizer.step(closure).")
        devices = sorted({p.device.index for g in self.param_groups for p in g["params"] if p.is_cuda})
        with torch.random.fork_rng(devices, enabled=self.same_masks):
            loss = closure()
        self.first_step()
        try:
            self.look_again(closure)
        except BaseException:
            self.go_back()
            raise
        self.second_step()
        return loss

    def look_again(self, closure: Callable[[], Tensor]) -> None:
        """The second gradient; buffers come out of it as they went in."""
        before = [buffer.clone() for buffer in self.frozen]
        try:
            closure()
        finally:
            for buffer, value in zip(self.frozen, before, strict=True):
                buffer.copy_(value)

    @torch.no_grad()
    def go_back(self) -> None:
        """Puts the weights back where they were before the ascent."""
        for group in self.param_groups:
            for p in group["params"]:
                if "old_p" in self.state[p]:
                    p.copy_(self.state[p].pop("old_p"))
