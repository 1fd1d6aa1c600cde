"""Spectral-aware regularisation of Lung-SRAD: a fixed Gaussian over the maps of a few blocks.

Nothing is learnt and nothing is stored: the module takes the place of an `nn.Identity`, so the names in the state dict
stay, and published weights load as before. It is part of the architecture: evaluation blurs too.

Source: Lung-SRAD (Shridhar et al. 2026), section 3.4, equations 4 and 5; constants from the authors' public scripts.
"""

from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import spec
from ..errors import AuscultError

Place = Literal["merged", "after_out_norm", "op_output", "block_output"]


@spec("gaussian")
class Smoothing:
    """A Gaussian over the maps of the chosen blocks of one stage.

    The paper names blocks and kernel; where inside a block the smoothing sits, its constants, and that it stays on in
    evaluation come from the public code, or where that is silent too are choices made here.

    Args:
        kernel: taps K of the kernel, odd.
        sigma: standard deviation in patches of the stage. 3 with 5 taps is nearly a box.
        stage: counted from 0, as the public code counts; 2 is the third, of 384 channels.
        blocks: within the stage, counted from 0.
        at: ``merged`` smooths the sum of the four scan directions before its norm, so what is smoothed is the mixing
            that the paper's spectra show; the norm then takes back the loss at the borders. ``after_out_norm`` sits
            behind that norm, ``op_output`` behind the last projection of the scan's branch, ``block_output`` behind
            the whole block. Our choice: the public call site is lost.

    Raises:
        ValueError: an even kernel, a sigma that is not positive, no block, or a block named twice.
    """

    kernel: int = 5
    sigma: float = 3.0
    stage: int = 2
    blocks: tuple[int, ...] = (2, 3)
    at: Place = "merged"

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel}; an odd number of taps is needed, for instance 5")
        if not self.sigma > 0:
            raise ValueError(f"sigma={self.sigma}; more than 0 is needed, in patches")
        if not self.blocks or len(set(self.blocks)) < len(self.blocks):
            raise ValueError(f"blocks={self.blocks}; one block or more is needed, each named once")

    def build(self, channels: int) -> "GaussianSmoothing":
        """The module for maps of so many channels."""
        return GaussianSmoothing(channels, self.kernel, self.sigma)


def gaussian(taps: int, sigma: float) -> Float[Tensor, "K"]:
    """exp(-i^2 / (2 sigma^2)) at i = -(K-1)/2 ... (K-1)/2, divided by its sum.

    >>> [round(g, 4) for g in gaussian(5, 3.0).tolist()]
    [0.1782, 0.2105, 0.2225, 0.2105, 0.1782]

    Source: Lung-SRAD, equation 4.
    """
    i = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    weight = torch.exp(-i.square() / (2 * sigma**2))
    return (weight / weight.sum()).float()


class GaussianSmoothing(nn.Module):
    """Each channel by itself, first along frequency, then along time; outside of the map are zeros.

    The zeros weaken the borders: with 5 taps and sigma 3 the outermost row keeps 0.611 of a constant, the next 0.822.

    Two depthwise convolutions on the channels-last view are as fast as one of K x K taps at K = 5 and grow with K
    alone. On one core, forward and backward, they took half the time of products with banded matrices and a quarter of
    that of shifting and adding.

    Source: Lung-SRAD, equation 5.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, channels: int, taps: int, sigma: float) -> None:
        super().__init__()
        self.taps, self.sigma = taps, sigma
        kernel = gaussian(taps, sigma).expand(channels, 1, taps)
        self.register_buffer("rows", kernel[..., None].clone(), persistent=False)
        self.register_buffer("columns", kernel[:, :, None].clone(), persistent=False)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        y, channels, margin = x.permute(0, 3, 1, 2), x.shape[-1], self.taps // 2
        y = F.conv2d(y, self.rows.to(y.dtype), padding=(margin, 0), groups=channels)
        y = F.conv2d(y, self.columns.to(y.dtype), padding=(0, margin), groups=channels)
        return y.permute(0, 2, 3, 1)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"kernel={self.taps}, sigma={self.sigma}"


def install(model: nn.Module, smoothing: Smoothing) -> None:
    """Puts the smoothing into the empty slots of `model` that the settings name.

    Args:
        model: with ``layers.STAGE.blocks.BLOCK``; each block has a `norm` over its channels, a slot ``block_output``,
            and in its `op` the three other slots.

    Raises:
        AuscultError: E_SETTING, for a stage or block that this model does not have; says which there are.
        ValueError: a slot is taken.
    """
    for block in chosen(model, smoothing):
        owner = block if smoothing.at == "block_output" else block.get_submodule("op")
        if not isinstance(owner.get_submodule(smoothing.at), nn.Identity):
            raise ValueError(f"the slot {smoothing.at!r} of a {type(owner).__name__} is taken already")
        (channels,) = cast(nn.LayerNorm, block.get_submodule("norm")).normalized_shape
        setattr(owner, smoothing.at, smoothing.build(channels))


def chosen(model: nn.Module, smoothing: Smoothing) -> list[nn.Module]:
    """The blocks that the settings name; see `install`."""
    depths = [len(list(stage.get_submodule("blocks").children())) for stage in model.get_submodule("layers").children()]
    if not 0 <= smoothing.stage < len(depths):
        raise AuscultError("E_SETTING", f"smoothing.stage={smoothing.stage}; stages are 0 to {len(depths) - 1}.")
    depth = depths[smoothing.stage]
    beyond = [b for b in smoothing.blocks if not 0 <= b < depth]
    if beyond:
        raise AuscultError(
            "E_SETTING",
            f"smoothing.blocks={','.join(map(str, smoothing.blocks))}: stage {smoothing.stage} of this model has "
            f"{depth} blocks, 0 to {depth - 1}; its four stages have {', '.join(map(str, depths))}.",
        )
    return [model.get_submodule(f"layers.{smoothing.stage}.blocks.{b}") for b in smoothing.blocks]
