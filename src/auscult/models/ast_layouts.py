"""The layouts in which AST is published: the original code's (a timm DeiT inside) and Hugging Face's.

Source: Gong et al. 2021, AST, src/models/ast_models.py; timm `vit_deit_base_distilled_patch16_384`; Hugging Face
`MIT/ast-finetuned-audioset-10-10-0.4593`, whose names are older than those of the transformers package.
"""

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from .ast import AST
from .ast_positions import for_grid, known
from .layouts import OURS, Given, rename

PREFIXES = ("module.", "v.", "audio_spectrogram_transformer.", OURS)  # DataParallel, the AST class, Hugging Face's
POSITIONS = "embeddings.position_embeddings"
FUSED = ".attn.qkv."
NAMES = (
    (r"^(head|mlp_head|classifier)\.(0|layernorm)\.", "head.0."),
    (r"^(head|mlp_head|classifier)\.(1|dense)\.", "head.1."),
    (r"^head_dist\.", "head.dist."),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^dist_token$", "embeddings.distillation_token"),
    (r"^pos_embed$", POSITIONS),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^(blocks|encoder\.layer)\.", "layers."),
    (r"^norm\.", "layernorm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.(attention\.output\.dense|attn\.proj)\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)


def translate(model: nn.Module, found: dict[str, Tensor]) -> Iterator[Given]:
    """The tensors of a file for an `AST`.

    The fused query, key and value of timm become three; the positions go where the settings of `model` say. Those of
    our own weights, known by the names of their layers, stay as they are: they have their places already.
    """
    settings = cast(AST, model).settings
    ours = any(published.removeprefix(OURS).startswith("layers.") for published in found)
    for published, tensor in found.items():
        name = rename(published, PREFIXES, NAMES)
        if FUSED in name:
            for projection, part in zip("qkv", thirds(tensor), strict=True):
                yield Given(published, name.replace(FUSED, f".attention.{projection}_proj."), part)
        elif name == POSITIONS and not ours and known(tensor):
            yield Given(published, name, for_grid(tensor, *settings.grid, settings.position))
        else:
            yield Given(published, name, tensor)


def thirds(tensor: Tensor) -> tuple[Tensor, ...]:
    """The three equal parts along the first axis; the whole three times, which fits nowhere, if there are none."""
    return tensor.chunk(3) if tensor.ndim and tensor.shape[0] % 3 == 0 else (tensor,) * 3
