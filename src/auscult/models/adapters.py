"""Fine-tuning a frozen transformer through little parts beside its layers: bottleneck adapters, LoRA.

A part is attached by a forward hook and kept under ``adapters``, so no name of the backbone changes and published
weights load as ever. Each begins silent: the model with it gives what the model without it gives.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import spec


class AdapterSpec:
    """Base of every adapter spec. `install` freezes a backbone and adds the parts that learn in its place."""

    def install(self, model: nn.Module) -> None:
        """Changes `model`, an `AST`, in place."""
        raise NotImplementedError(f"{type(self).__name__} has no install()")


@spec("adapter")
class Adapter(AdapterSpec):
    """Parallel bottleneck adapters: D -> width -> D with a GELU between, on what the attention or the MLP gets.

    Of LungAdapter only the abstract is public (2.83 % of the parameters train), so its layout is ours: in AST base,
    with the norms and the head of AST, 2.42 M numbers train, 2.8 % of the 86.0 M of the backbone.

    Args:
        width: of the bottleneck.
        beside: the sub-layers that have one, in every layer.
        train_norms: leave the backbone's layer norms free.

    Raises:
        ValueError: no width or no place.

    Source: Houlsby et al. 2019; in parallel as in He et al. 2022, "Towards a unified view of parameter-efficient
    transfer learning".
    """

    width: int = 64
    beside: tuple[Literal["attention", "mlp"], ...] = ("attention", "mlp")
    train_norms: bool = True

    def __post_init__(self) -> None:
        if self.width < 1 or not self.beside or len(set(self.beside)) < len(self.beside):
            raise ValueError(f"width={self.width}, beside={self.beside}; 1 or more, and each place once, are needed")

    def install(self, model: nn.Module) -> None:
        """See `AdapterSpec`."""
        freeze(model)
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(self.train_norms)
        model.adapters = nn.ModuleList()
        for layer in layers(model):
            added = nn.ModuleDict({place: Bottleneck(cast(int, model.features), self.width) for place in self.beside})
            for place, branch in added.items():
                attach(branch, cast(nn.Module, getattr(layer, place)))
            model.adapters.append(added)


@spec("lora")
class Lora(AdapterSpec):
    """Low-rank changes of the query and value projections; all else of the backbone is frozen, its norms too.

    Args:
        rank: of the change; 8 is 0.295 M numbers for AST base.
        alpha: the change is scaled by alpha / rank.

    Raises:
        ValueError: rank below 1.

    Source: Hu et al. 2022, "LoRA", section 4.
    """

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank={self.rank}; 1 or more is needed")

    def install(self, model: nn.Module) -> None:
        """See `AdapterSpec`."""
        freeze(model)
        model.adapters = nn.ModuleList()
        for layer in layers(model):
            attention = cast(nn.Module, layer.attention)
            added = nn.ModuleDict()
            for name, linear in (("query", attention.q_proj), ("value", attention.v_proj)):
                added[name] = LowRank(cast(nn.Linear, linear), self.rank, self.alpha / self.rank)
                attach(added[name], cast(nn.Module, linear))
            model.adapters.append(added)


class Bottleneck(nn.Module):
    """Linear, GELU, Linear; the last begins at zero."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(features, width)
        self.up = nn.Linear(width, features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return self.up(F.gelu(self.down(x)))


class LowRank(nn.Module):
    """scale * B A x; B begins at zero."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.a = nn.Linear(linear.in_features, rank, bias=False)
        self.b = nn.Linear(rank, linear.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N E"]:
        return self.scale * self.b(self.a(x))


def freeze(model: nn.Module) -> None:
    """Nothing of `model` learns."""
    model.requires_grad_(False)


def layers(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of its encoder."""
    yield from cast(nn.ModuleList, model.layers)


def attach(branch: nn.Module, target: nn.Module) -> None:
    """From now on `target` gives its own output plus that of `branch` on the same input."""
    target.register_forward_hook(partial(_add, branch))  # a partial, not a closure: a deep copy gets its own branch


def _add(branch: nn.Module, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    more = branch(inputs[0])
    return (output[0] + more, *output[1:]) if isinstance(output, tuple) else output + more
