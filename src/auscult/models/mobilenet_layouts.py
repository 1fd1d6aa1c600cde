"""The layout in which EfficientAT's MobileNetV3 is published, as the names of ours.

Source: the released checkpoints (mn04_as_mAP_432.pt and its like) and models/mn/model.py of the public code.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from .layouts import PREFIXES, Given, rename

NAMES = (
    (r"^features\.", "layers."),
    (r"\.conc_se_layers\.0\.", "."),  # of squeeze-excitations along several axes at once, the channels alone
    (r"^classifier\.2\.", "embedding."),
    (r"^classifier\.5\.", "head."),
)


def translate(model: nn.Module, found: dict[str, Tensor]) -> Iterator[Given]:
    """The tensors of a file for a `MobileNetV3`; shapes are the same."""
    for published, tensor in found.items():
        yield Given(published, rename(published, PREFIXES, NAMES), tensor)
