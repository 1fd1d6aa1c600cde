"""CNN6: four blocks of one 5x5 convolution each, the small network of the PANNs.

Source: Kong et al., PANNs (2020), table 2, and its public code, ``Cnn6``. The batch norm of each mel bin with which it
begins there is ``Input(normalise="mel")`` here.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import spec
from .sharing import SharedDropout
from .spec import Backbone, BackboneSpec


@spec("cnn6")
class Cnn6(BackboneSpec):
    """PANNs' CNN6; `patchify` is its first block.

    Args:
        width: channels of the first block, doubled by each of the next three; 64 is published (4.6 M parameters), 16
            is a size for CPUs (0.3 M).
        block_dropout: after each block, while training.
        dropout: of the pooled vector before the fully connected layer, and of the features behind it.

    Raises:
        ValueError: a width below 1 or a rate outside [0, 1).
    """

    width: int = 64
    block_dropout: float = 0.2
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width={self.width}; 1 channel or more is needed")
        if not (0 <= self.block_dropout < 1 and 0 <= self.dropout < 1):
            raise ValueError(f"block_dropout={self.block_dropout} and dropout={self.dropout} must be in [0, 1)")

    def build(self) -> "CNN6":
        return CNN6(self.width, self.block_dropout, self.dropout)


class CNN6(Backbone):
    """The network. Names and shapes of weights are the published ones.

    Shape: (B, 1, F, T) -> (B, 8 width). Any F and T from 1: an axis that is down to one row is not halved again.
    """

    def __init__(self, width: int, block_dropout: float, dropout: float) -> None:
        super().__init__()
        self.features = 8 * width
        self.conv_block1 = Block(1, width, block_dropout)
        self.conv_block2 = Block(width, 2 * width, block_dropout)
        self.conv_block3 = Block(2 * width, 4 * width, block_dropout)
        self.conv_block4 = Block(4 * width, 8 * width, block_dropout)
        self.fc1 = nn.Linear(8 * width, 8 * width)
        self.dropout = SharedDropout(dropout)
        nn.init.xavier_uniform_(self.fc1.weight)
        nn.init.zeros_(self.fc1.bias)

    def patchify(self, x: Float[Tensor, "B 1 F T"]) -> Float[Tensor, "B C H W"]:
        return self.conv_block1(x)

    def encode(self, patches: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        x = self.conv_block4(self.conv_block3(self.conv_block2(patches)))
        x = x.mean(dim=2)  # over frequency
        x = x.amax(dim=2) + x.mean(dim=2)
        return self.dropout(F.relu(self.fc1(self.dropout(x))))


class Block(nn.Module):
    """Convolution, batch norm, ReLU, mean over squares of 2 x 2, dropout."""

    def __init__(self, channels: int, out: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, kernel_size=5, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.dropout = SharedDropout(dropout)
        nn.init.xavier_uniform_(self.conv1.weight)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.dropout(F.avg_pool2d(x, (min(2, x.shape[2]), min(2, x.shape[3]))))
