"""What a recipe may name where it needs a backbone or a head."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .sharing import drawn


class BackboneSpec:
    """Base of every backbone spec. `build()` makes a `Backbone`."""

    def build(self) -> "Backbone":
        raise NotImplementedError(f"{type(self).__name__} has no build()")


class HeadSpec:
    """Base of every head spec. `build(features, classes)` makes a module (B, D) -> (B, K)."""

    def build(self, features: int, classes: int) -> nn.Module:
        raise NotImplementedError(f"{type(self).__name__} has no build()")


class Backbone(nn.Module):
    """Two verbs, so that a method that mixes patches sits between them and never inside a model.

    Attributes:
        features: D, the length of the vector that `encode` gives for a clip.
        any_length: it takes any T. False where the network is tied to one length, for instance by a table of positions.
    """

    features: int
    any_length: bool = True

    def patchify(self, x: Float[Tensor, "B 1 F T"]) -> Float[Tensor, "B C H W"]:
        """Spectrogram to a grid of patch embeddings: H along frequency, W along time."""
        raise NotImplementedError(f"{type(self).__name__} has no patchify()")

    def encode(self, patches: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """Grid of patch embeddings to one vector for the clip."""
        raise NotImplementedError(f"{type(self).__name__} has no encode()")

    def forward(self, x: Float[Tensor, "B 1 F T"]) -> Float[Tensor, "B D"]:
        return self.encode(self.patchify(x))

    def compile_encode(self, backend: str) -> None:
        """From now on `encode`, also when a method calls it by itself, runs through torch.compile."""
        self.encode = torch.compile(self.encode, backend=backend)  # type: ignore[method-assign]


def parameter_count(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


class DropPath(nn.Module):
    """Stochastic depth: while training, drops the whole branch of a clip with probability `rate`, and scales the rest.

    Source: Huang et al. 2016, "Deep networks with stochastic depth".
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"drop path rate {rate} is outside [0, 1)")
        self.rate = rate

    def forward(self, x: Float[Tensor, "B *rest"]) -> Float[Tensor, "B *rest"]:
        if not self.training or self.rate == 0:
            return x
        ones = (1,) * (x.ndim - 1)
        kept = drawn(len(x), lambda rows: torch.rand((rows, *ones), device=x.device)) >= self.rate
        return x * (kept.to(x.dtype) / (1 - self.rate))

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3g}"
