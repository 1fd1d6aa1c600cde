"""AdamW: runs the closure once a step."""

import torch
from torch import nn

from ..config import spec
from .spec import OptimizerSpec


@spec("adamw")
class AdamW(OptimizerSpec):
    """Adam with decoupled weight decay.

    Args:
        lr: learning rate at the top of the schedule (Lung-SRAD: 5e-5 for fine-tuning).
        weight_decay: decay per step in units of lr (Lung-SRAD: 1e-6).
        decay_norms: False leaves norms, biases and the scan's A and D without decay, as upstream VMamba trains from
            scratch; True has the single parameter group of the fine-tuning code.

    Source: Loshchilov & Hutter 2019.
    """

    lr: float = 5e-5
    weight_decay: float = 1e-6
    beta1: float = 0.9
    beta2: float = 0.999
    decay_norms: bool = True

    def build(self, module: nn.Module) -> torch.optim.AdamW:
        return torch.optim.AdamW(self.groups(module), lr=self.lr, betas=(self.beta1, self.beta2), eps=1e-8)

    def groups(self, module: nn.Module) -> list[dict]:
        """Parameter groups: those that decay, and those that do not."""
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        bare = [p for name, p in named if not self.decay_norms and (p.ndim <= 1 or name.endswith("A_logs"))]
        skipped = {id(p) for p in bare}
        decayed = [p for _, p in named if id(p) not in skipped]
        both = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": bare, "weight_decay": 0.0},
        ]
        return [g for g in both if g["params"]]
