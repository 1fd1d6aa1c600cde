"""What a recipe may name as its optimiser."""

from torch import nn
from torch.optim import Optimizer


class OptimizerSpec:
    """Base of every optimiser spec. The loop always calls ``optimizer.step(closure)``."""

    lr: float

    def build(self, module: nn.Module) -> Optimizer:
        """An optimiser over every parameter of `module` that learns."""
        raise NotImplementedError(f"{type(self).__name__} has no build()")
