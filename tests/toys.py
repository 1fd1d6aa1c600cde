"""A model small enough to run its objective by hand, and a batch for it."""

import torch
from torch import Tensor, nn

from auscult.batch import Batch
from auscult.models import Backbone

COUNTS = [5, 3, 2, 1]


class Small(Backbone):
    """Convolution, tanh, mean and spread of each channel; (B, C, H, W) all through."""

    features = 10

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 5, 2, stride=2)
        self.body = nn.Conv2d(5, 5, 3, padding=1)

    def patchify(self, x: Tensor) -> Tensor:
        return self.stem(x)

    def encode(self, patches: Tensor) -> Tensor:
        y = torch.tanh(self.body(patches))
        return torch.cat([y.mean(dim=(2, 3)), y.std(dim=(2, 3))], dim=1)


class Front(nn.Module):
    """Adds its number of calls to the map, so that no view equals another."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, fbank: Tensor) -> Tensor:
        self.calls += 1
        return (fbank + 0.3 * self.calls * fbank.cos()).transpose(1, 2).unsqueeze(1)


class Model(nn.Module):
    """Front end, backbone and head; an objective composes them itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.front = Front()
        self.backbone = Small()
        self.head = nn.Linear(10, 4)


def batch(n: int = 6) -> Batch:
    """`n` clips of three classes and two devices."""
    fbank = torch.randn(n, 12, 16, generator=torch.Generator().manual_seed(0))
    i = torch.arange(n)
    return Batch(fbank=fbank, label=i % 3, patient=i, device=i % 2, index=i, quality=i / n)
