"""Sharpness-aware minimisation: runs the closure twice a step, the second time at the worst point nearby."""

import math

from torch import nn
from torch.optim import Optimizer

from ..config import spec
from .adamw import AdamW
from .spec import OptimizerSpec


@spec("sam")
class Sam(OptimizerSpec):
    """SAM, or ASAM, over any other optimiser.

    With g = grad L(w) over all parameters as one vector: e = rho g / |g|, then the base takes its step from w with
    grad L(w + e). ASAM: e = rho w^2 g / |w g|, element by element. Where the loop clips gradients it clips both; the
    losses it logs are those at w + e. Each step costs two.

    Args:
        base: the optimiser that takes the step (SAM-AST: AdamW, 1e-5, 1e-4).
        rho: radius of the neighbourhood; 0 leaves the base's step, at twice its price.
        adaptive: True is ASAM, whose radius follows the size of each weight; its paper's rho is ten times SAM's.
        same_masks: draw dropout, masks and mixes a second time alike, so that only the weights differ between the two
            passes. False draws anew, as the code of SAM-AST does.
        freeze_statistics: leave running statistics, and every other buffer, as the first pass left them: those of the
            second belong to weights that nobody keeps.

    Raises:
        ValueError: a rho that is negative or not finite, or a base that is itself SAM.

    Source: Foret et al. 2021, equation 2 and algorithm 1; Kwon et al. 2021 (ASAM), equation 6; SAM-AST (arXiv
    2512.22564), train.py.
    """

    base: OptimizerSpec = AdamW(lr=1e-5, weight_decay=1e-4)
    rho: float = 0.05
    adaptive: bool = False
    same_masks: bool = True
    freeze_statistics: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rho < math.inf:
            raise ValueError(f"rho={self.rho}; a radius of 0 or more is needed, for instance 0.05")
        if isinstance(self.base, Sam):
            raise ValueError("base=sam inside sam; name an optimiser that looks once, for instance base=adamw")

    @property
    def lr(self) -> float:  # type: ignore[override]  # read only here: it is the base's
        """Learning rate of the base at the top of the schedule."""
        return self.base.lr

    def build(self, module: nn.Module) -> Optimizer:
        from .sharpness_aware import SharpnessAware  # its library takes more than a second to import

        return SharpnessAware(
            self.base.build(module),
            rho=self.rho,
            adaptive=self.adaptive,
            same_masks=self.same_masks,
            frozen=list(module.buffers()) if self.freeze_statistics else [],
        )
