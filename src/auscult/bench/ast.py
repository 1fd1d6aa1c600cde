"""The rival: the Audio Spectrogram Transformer of the transformers package, base size, random weights.

Source: Gong et al. 2021, "AST: Audio Spectrogram Transformer"; Hugging Face transformers, `ASTModel`.
"""

import importlib.util

import torch
from torch import Tensor, nn

from ..errors import AuscultError
from .setting import MELS

LAYERS, PATCH, STRIDE = 12, 16, 10


class AST(nn.Module):
    """`ASTModel` behind the interface of our backbones. Shape: (B, 1, F, T) -> (B, 768).

    Args:
        frames: T; its position embedding fits one length only.
        layers: of the encoder; 12 is the published number.
    """

    def __init__(self, frames: int, layers: int = LAYERS) -> None:
        super().__init__()
        check(frames)
        from transformers import ASTConfig, ASTModel

        torch.manual_seed(0)
        self.model = ASTModel(ASTConfig(max_length=frames, num_mel_bins=MELS, num_hidden_layers=layers))

    def patchify(self, x: Tensor) -> Tensor:
        """Its patches overlap: mixing happens on the spectrogram, (B, 1, F, T) as it came."""
        return x

    def encode(self, x: Tensor) -> Tensor:
        return self.model(x.squeeze(1).transpose(1, 2)).pooler_output

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)


def check(frames: int) -> None:
    """Whether AST can be built for so many frames.

    Raises:
        AuscultError: E_SETTING when transformers is missing, or a clip is shorter than a patch.
    """
    if importlib.util.find_spec("transformers") is None:
        raise AuscultError("E_SETTING", "--ast needs transformers; install it with: pip install transformers")
    if frames < PATCH:
        raise AuscultError("E_SETTING", f"--ast: {frames} frames; a patch of AST needs {PATCH}. Give longer clips.")


def tokens(frames: int) -> int:
    """Length of its sequence: patches of 16 x 16 every 10, and two tokens of its own.

    >>> tokens(798)
    950
    """
    return ((MELS - PATCH) // STRIDE + 1) * ((frames - PATCH) // STRIDE + 1) + 2
