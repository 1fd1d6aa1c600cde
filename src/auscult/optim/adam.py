"""Adam with L2 regularisation, which the code of the lineage calls "adam"."""

import torch
from torch import nn

from ..config import spec
from .spec import OptimizerSpec


@spec("adam")
class Adam(OptimizerSpec):
    """Adam whose weight decay is added to the gradient, unlike `AdamW`'s; one parameter group.

    Args:
        lr: learning rate at the top of the schedule (Patch-Mix CL and QLung: 5e-5).
        weight_decay: factor of the weights in the gradient (Patch-Mix CL: 1e-6).

    Source: Kingma & Ba 2015; public code of Patch-Mix CL (Bae et al. 2023).
    """

    lr: float = 5e-5
    weight_decay: float = 1e-6
    beta1: float = 0.9
    beta2: float = 0.999

    def build(self, module: nn.Module) -> torch.optim.Adam:
        learning = [p for p in module.parameters() if p.requires_grad]
        betas = (self.beta1, self.beta2)
        return torch.optim.Adam(learning, lr=self.lr, betas=betas, eps=1e-8, weight_decay=self.weight_decay)
