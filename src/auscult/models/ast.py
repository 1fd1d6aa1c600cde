"""AST, the Audio Spectrogram Transformer: overlapping patches of 16 x 16, two tokens of its own, a ViT encoder.

Patch embedding, encoder layers and final norm are those of transformers' `ASTModel`, and so are their names; what lies
between them is here, so that a method can mix patches after their projection and before they get positions.

Source: Gong et al. 2021, "AST: Audio Spectrogram Transformer"; Hugging Face transformers, `ASTModel`.
"""

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import spec
from ..errors import AuscultError, unknown
from .adapters import AdapterSpec
from .ast_positions import OWN, Position
from .spec import Backbone, BackboneSpec

PATCH = 16
MLP_RATIO = 4


@dataclass(frozen=True)
class Size:
    """A size of the network.

    Args:
        features: D, the width of a token.
        layers: of the encoder.
        heads: of each attention.
        start: ``published`` draws weights with std 0.02, ``fan_in`` those of linear layers with std 1/sqrt(inputs).
    """

    features: int
    layers: int
    heads: int
    start: Literal["published", "fan_in"] = "published"


SIZES = {
    "nano": Size(96, 4, 3, start="fan_in"),  # ours, for CPUs
    "tiny": Size(192, 12, 3),
    "small": Size(384, 12, 6),
    "base": Size(768, 12, 12),
}


@spec("ast")
class Ast(BackboneSpec):
    """AST of a published size, or `nano`.

    Args:
        size: nano (0.5 M parameters), tiny (5.6 M), small (21.8 M) or base (86 M, the one with AudioSet weights).
        frames: T of the input: 798 for 8 s, 1024 for AudioSet's own.
        n_mels: F of the input.
        stride: from patch to patch, along both axes; 10 lets them overlap by 6.
        position: where the positions of published weights go on another grid: ``correct``, or scrambled as in the
            ``lineage`` of Patch-Mix CL, whose published scores carry it (see `ast_positions`). A random table has no
            order: for random weights both are one and the same.
        pooling: ``cls_dist`` is the mean of the class and the distillation token after the final norm, AST's own;
            ``mean`` is the mean of all tokens, those two among them (SAM-AST).
        layer_norm_eps: 1e-12 as in transformers; the original code has 1e-6.
        adapter: trains little parts beside the layers and freezes the rest of the backbone; None trains all of it.

    Raises:
        ValueError: an input smaller than a patch, or a stride below 1.
    """

    size: str = "base"
    frames: int = 798
    n_mels: int = 128
    stride: int = 10
    position: Position = "correct"
    pooling: Literal["cls_dist", "mean"] = "cls_dist"
    layer_norm_eps: float = 1e-12
    adapter: AdapterSpec | None = None

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise unknown("AST size", self.size, SIZES)
        if min(self.frames, self.n_mels) < PATCH or self.stride < 1:
            raise ValueError(
                f"frames={self.frames}, n_mels={self.n_mels}, stride={self.stride}; "
                f"a patch needs {PATCH} frames and {PATCH} mel bins, and a stride of 1 or more"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches.

        >>> Ast().grid, Ast(frames=1024).grid
        ((12, 79), (12, 101))
        """
        return patches(self.n_mels, self.stride), patches(self.frames, self.stride)

    def build(self) -> "AST":
        """The module.

        Raises:
            AuscultError: E_SETTING where the transformers package is missing.
        """
        model = AST(self)
        if self.adapter is not None:
            self.adapter.install(model)
        return model


class AST(Backbone):
    """See `Ast`. Shape: (B, 1, F, T) -> (B, D), for F and T of the settings only."""

    any_length = False

    def __init__(self, settings: Ast) -> None:
        super().__init__()
        self.settings = settings
        self.features = SIZES[settings.size].features
        parts = transformer(settings)
        self.embeddings: Any = parts.embeddings
        self.layers: nn.ModuleList = parts.layers
        self.layernorm: nn.LayerNorm = parts.layernorm
        self.reset_parameters(SIZES[settings.size].start)

    def reset_parameters(self, start: Literal["published", "fan_in"]) -> None:
        """Truncated normals, also for tokens and positions; biases 0, norms 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                std = module.weight[0].numel() ** -0.5 if start == "fan_in" else 0.02
                nn.init.trunc_normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        for own in self.embeddings.parameters(recurse=False):
            nn.init.trunc_normal_(own, std=0.02)

    def patchify(self, x: Float[Tensor, "B 1 F T"]) -> Float[Tensor, "B C H W"]:
        """Raises AuscultError E_SETTING for an input that gives another grid of patches."""
        _, _, n_mels, frames = x.shape
        want, stride = self.settings, self.settings.stride
        if (patches(n_mels, stride), patches(frames, stride)) != want.grid:
            raise AuscultError(
                "E_SETTING",
                f"this AST is made for {want.n_mels} mel bins and {want.frames} frames, the input has {n_mels} and "
                f"{frames}; set backbone.n_mels and backbone.frames to those of the clip (clip.n_mels, clip.length_s).",
            )
        return self.embeddings.patch_embeddings.projection(x)

    def encode(self, patches: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        parts = self.embeddings
        own = [token.expand(len(patches), -1, -1) for token in (parts.cls_token, parts.distillation_token)]
        tokens = torch.cat((*own, patches.flatten(2).transpose(1, 2)), dim=1) + parts.position_embeddings
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.layernorm(tokens)
        return tokens.mean(dim=1) if self.settings.pooling == "mean" else tokens[:, :OWN].mean(dim=1)


def patches(length: int, stride: int) -> int:
    """How many patches fit along an axis; what is left over at its end is not seen.

    >>> patches(798, 10), patches(128, 10)
    (79, 12)
    """
    return (length - PATCH) // stride + 1


def transformer(settings: Ast) -> Any:
    """transformers' `ASTModel` of these settings, with the attention of torch.

    Raises:
        AuscultError: E_SETTING where the transformers package is missing.
    """
    if importlib.util.find_spec("transformers") is None:
        raise AuscultError(
            "E_SETTING", "backbone ast needs transformers; install it with: pip install 'auscult[train]'"
        )
    from transformers import ASTConfig, ASTModel

    size = SIZES[settings.size]
    config: dict[str, Any] = {
        "hidden_size": size.features,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": MLP_RATIO * size.features,
        "layer_norm_eps": settings.layer_norm_eps,
        "patch_size": PATCH,
        "frequency_stride": settings.stride,
        "time_stride": settings.stride,
        "max_length": settings.frames,
        "num_mel_bins": settings.n_mels,
        "attn_implementation": "sdpa",
    }
    return ASTModel(ASTConfig(**config))
