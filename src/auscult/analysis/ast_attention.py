"""The attention of a trained AST at one clip."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ..models.ast import AST


def attentions(backbone: AST, x: Float[Tensor, "1 1 F T"]) -> list[Float[Tensor, "heads L L"]]:
    """The attention of every layer: rows are the tokens that look, columns those that are looked at.

    Two tokens come first (class, distillation), then the patches, row after row of the map.
    """
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        seen.append(output[1][0])

    hooks = [layer.get_submodule("attention").register_forward_hook(keep) for layer in backbone.layers]
    try:
        with eager(backbone):
            backbone(x)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@contextmanager
def eager(backbone: AST) -> Iterator[None]:
    """Attention computed step by step, the only way that gives its weights."""
    config: Any = backbone.layers[0].get_submodule("attention").config  # one for all layers
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before
