"""DASS: the distilled audio state-space model, a VMamba with one state per channel (backbone of Lung-SRAD).

Inside, maps are (B, H, W, C), H along frequency and W along time, from the stem to the head: products, norms and the
scan then work on contiguous channels, and the published 1x1 convolutions are plain matrix products. Parameter names
and shapes are the published ones, so a published checkpoint loads by name.

Source: Bhati et al. 2024, "DASS: Distilled Audio State Space Models"; Liu et al. 2024, "VMamba", block ``v05_noz``.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as compute_again

from ..compute import linear_add, linear_gelu
from ..config import ADDED, spec
from ..errors import unknown
from .scan import choose, ss2d
from .sharing import same_share
from .smoothing import Smoothing, install
from .spec import Backbone, BackboneSpec, DropPath

STATE = 1  # d_state N: one state per channel, so the scan is a first-order recurrence
DIRECTIONS = 4
MLP_RATIO = 4


@dataclass(frozen=True)
class Size:
    """A size of the network.

    Args:
        dims: channels of the four stages.
        depths: blocks of the four stages.
        drop_path: rate of the last block; it rises linearly from 0 in the first.
        start: ``published`` draws linear weights with std 0.02 and leaves torch's start of convolutions, as upstream.
            That suits hundreds of channels; at 32 to 192 every block begins as good as silent.
            ``fan_in`` draws linear weights with std 1/sqrt(inputs) instead (docs/log.md).
    """

    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    drop_path: float
    start: Literal["published", "fan_in"] = "published"


SIZES = {
    "nano": Size((32, 64, 96, 192), (1, 1, 4, 1), 0.05, start="fan_in"),  # ours, for CPUs
    "small": Size((96, 192, 384, 768), (2, 2, 8, 2), 0.2),
    "medium": Size((96, 192, 384, 768), (2, 2, 20, 2), 0.3),
}


@spec("dass")
class Dass(BackboneSpec):
    """DASS of a published size, or `nano`.

    Args:
        size: nano (about 1 M parameters), small (29.5 M) or medium (48.2 M, the one Lung-SRAD uses).
        drop_path: rate of the last block; None takes the size's own (small 0.2, medium 0.3).
        checkpoint: while training keep only what goes into the stem and each half of a block, and compute the inside
            again for the gradients: about a third more time for a third of the memory (docs/performance.md).
        smoothing: spectral-aware regularisation inside chosen blocks (Lung-SRAD); None for none.
    """

    size: str = "small"
    drop_path: float | None = None
    checkpoint: bool = field(default=False, metadata=ADDED)
    smoothing: Smoothing | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise unknown("DASS size", self.size, SIZES)

    def build(self, classes: int | None = None) -> "DASS":
        """The module; with `classes` it carries the published linear head and gives logits instead of features."""
        size = SIZES[self.size]
        rate = size.drop_path if self.drop_path is None else self.drop_path
        model = DASS(size.dims, size.depths, rate, classes, self.checkpoint)
        if size.start == "fan_in":
            model.apply(start_by_fan_in)
        if self.smoothing is not None:
            install(model, self.smoothing)
        return model


class DASS(Backbone):
    """The network. Without `classes` it is a backbone; with `classes` its state dict is the published one, key by key.

    Args:
        dims: channels of the four stages.
        depths: blocks of the four stages.
        drop_path: rate of the last block; block j of n has rate * j / (n - 1).
        classes: K, or None for features of length dims[-1].
        checkpoint: see `Dass`.

    Shape: (B, 1, F, T) -> (B, D), or (B, K) with `classes`. Any F and T from 1; no position embedding.
    """

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        drop_path: float,
        classes: int | None = None,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.features = dims[-1]
        self.checkpoint = checkpoint
        self.patch_embed = stem(dims[0])
        last = max(sum(depths) - 1, 1)
        rates = [drop_path * j / last for j in range(sum(depths))]
        self.layers = nn.ModuleList()
        for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            after = dims[i + 1] if i + 1 < len(dims) else None
            self.layers.append(Stage(dim, [rates.pop(0) for _ in range(depth)], after, checkpoint))
        self.classifier = nn.ModuleDict({"norm": nn.LayerNorm(dims[-1])})
        if classes is not None:
            self.classifier["head"] = nn.Linear(dims[-1], classes)
        self.apply(initialise)

    def patchify(self, x: Float[Tensor, "B 1 F T"]) -> Float[Tensor, "B C H W"]:
        x = x.permute(0, 2, 3, 1)
        again = self.checkpoint and self.training and torch.is_grad_enabled()
        x = compute_again(self.patch_embed, x, use_reentrant=False, **same_share()) if again else self.patch_embed(x)
        return x.permute(0, 3, 1, 2)

    def encode(self, patches: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        x = patches.permute(0, 2, 3, 1)
        for stage in self.layers:
            x = stage(x)
        x = self.classifier["norm"](x).mean(dim=(1, 2))
        return self.classifier["head"](x) if "head" in self.classifier else x


class Conv(nn.Conv2d):
    """A convolution on maps (B, H, W, C); the permuted views cost nothing, memory stays channels-last, weights too."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(
            x.permute(0, 3, 1, 2), self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
        return y.permute(0, 2, 3, 1).contiguous()


def halve(channels: int, out: int) -> Conv:
    """3x3 convolution of stride 2: n -> ceil(n / 2) rows and columns."""
    return Conv(channels, out, kernel_size=3, stride=2, padding=1)


def stem(dim: int) -> nn.Sequential:
    """Patch embedding v2: two halvings, (B, F, T, 1) -> (B, F/4, T/4, C)."""
    return nn.Sequential(
        halve(1, dim // 2),
        nn.Identity(),  # upstream permutes here; the indices are part of the published names
        nn.LayerNorm(dim // 2),
        nn.Identity(),
        nn.GELU(),
        halve(dim // 2, dim),
        nn.Identity(),
        nn.LayerNorm(dim),
    )


class Stage(nn.Module):
    """Blocks at one resolution, then (but for the last stage) a halving to the next stage's channels."""

    def __init__(self, dim: int, rates: list[float], after: int | None, checkpoint: bool = False) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.blocks = nn.Sequential(*(VSSBlock(dim, rate) for rate in rates))
        self.downsample: nn.Module = nn.Identity()
        if after is not None:
            self.downsample = nn.Sequential(nn.Identity(), halve(dim, after), nn.Identity(), nn.LayerNorm(after))

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H2 W2 C2"]:
        again = self.checkpoint and self.training and torch.is_grad_enabled()
        if again:
            choose(x)  # the scan checks itself when first asked for: not within a block, which must repeat itself
        for block in self.blocks.children():
            x = cast(VSSBlock, block).in_halves(x) if again else block(x)
        return self.downsample(x)


class VSSBlock(nn.Module):
    """x + SS2D(LN(x)), then x + MLP(LN(x)). The empty slots here and in `SS2D` are places for smoothing."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.op = SS2D(dim)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim)
        self.block_output = nn.Identity()

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        if self.training:
            x = self.mix_channels(self.mix_positions(x))
        else:  # the sums in the products' last step
            x = self.op(self.norm(x), x)
            x = self.mlp(self.norm2(x), x)
        return self.block_output(x)

    def in_halves(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """`forward` while training, of which only what goes into each half is kept for the gradients."""
        x = compute_again(self.mix_positions, x, use_reentrant=False, **same_share())
        x = compute_again(self.mix_channels, x, use_reentrant=False, **same_share())
        return self.block_output(x)

    def mix_positions(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        return x + self.drop_path(self.op(self.norm(x)))

    def mix_channels(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        return x + self.drop_path(self.mlp(self.norm2(x)))


class MLP(nn.Module):
    """Linear, exact GELU, Linear, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.fc2 = nn.Linear(MLP_RATIO * dim, dim)

    def forward(
        self, x: Float[Tensor, "B H W C"], residual: Float[Tensor, "B H W C"] | None = None
    ) -> Float[Tensor, "B H W C"]:
        """The branch, or `residual` plus the branch."""
        x = linear_gelu(self.fc1, x)
        if residual is None:
            return self.fc2(x)
        return linear_add(self.fc2, x, residual)


class SS2D(nn.Module):
    """The two-dimensional selective scan of VMamba without gate: projections, 3x3 depthwise convolution, scan, norm.

    The four directions share u; their projections to (delta, B, C) are position-wise, so one product feeds all four and
    no rotated copy of the map is made.

    Source: Liu et al. 2024, section 4; discretisation as in the public kernels: exact for A, Euler for B.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        rank = math.ceil(dim / 16)
        self.x_proj_weight = nn.Parameter(torch.empty(DIRECTIONS, rank + 2 * STATE, dim))
        self.dt_projs_weight = nn.Parameter(torch.empty(DIRECTIONS, dim, rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(DIRECTIONS, dim))
        self.A_logs = nn.Parameter(torch.empty(DIRECTIONS * dim, STATE))
        self.Ds = nn.Parameter(torch.empty(DIRECTIONS * dim))
        self.out_norm = nn.LayerNorm(dim)
        self.in_proj = nn.Linear(dim, dim, bias=False)
        self.conv2d = Conv(dim, dim, kernel_size=3, padding=1, groups=dim, bias=False)
        self.out_proj = nn.Linear(dim, dim, bias=False)
        self.merged = nn.Identity()
        self.after_out_norm = nn.Identity()
        self.op_output = nn.Identity()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """VMamba's start: delta log-uniform in [0.001, 0.1] before the input speaks, A = -1, D = 1."""
        bound = self.dt_projs_weight.shape[-1] ** -0.5
        nn.init.uniform_(self.dt_projs_weight, -bound, bound)
        delta = torch.exp(torch.empty_like(self.dt_projs_bias).uniform_(math.log(0.001), math.log(0.1))).clamp_min(1e-4)
        with torch.no_grad():
            self.dt_projs_bias.copy_(delta + torch.log(-torch.expm1(-delta)))  # inverse of softplus
            for weight in self.x_proj_weight:
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5))  # nn.Linear's own default
        nn.init.zeros_(self.A_logs)
        nn.init.ones_(self.Ds)

    def forward(
        self, x: Float[Tensor, "B H W C"], residual: Float[Tensor, "B H W C"] | None = None
    ) -> Float[Tensor, "B H W C"]:
        """The branch, or `residual` plus the branch."""
        dim = x.shape[-1]
        u = self.conv2d(self.in_proj(x))
        u = F.silu(u, inplace=not torch.is_grad_enabled())
        dbc = F.linear(u, self.x_proj_weight.flatten(0, 1)).unflatten(-1, (DIRECTIONS, -1))
        y = ss2d(
            u,
            dbc,
            self.dt_projs_weight.transpose(1, 2),
            self.dt_projs_bias,
            -torch.exp(self.A_logs.float()).view(DIRECTIONS, dim),
            self.Ds.view(DIRECTIONS, dim),
        )
        y = self.after_out_norm(self.out_norm(self.merged(y)))
        if residual is not None and type(self.op_output) is nn.Identity:
            return linear_add(self.out_proj, y, residual)
        y = self.op_output(self.out_proj(y))
        return y if residual is None else residual + y


def initialise(module: nn.Module) -> None:
    """Linear layers: truncated normal of std 0.02, bias 0, as upstream. Convolutions keep torch's default."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def start_by_fan_in(module: nn.Module) -> None:
    """Linear layers: truncated normal of std 1/sqrt(inputs)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
