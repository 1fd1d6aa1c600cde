"""How much there is to compute: the maps of each stage, the matrix products of a network, its FLOPs."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.dass import DIRECTIONS, MLP_RATIO, SIZES, STATE
from ..models.scan import force
from .setting import MELS

Product = tuple[int, int, int]  # rows, inner, columns


@dataclass(frozen=True, kw_only=True)
class Map:
    """The map that the blocks of one stage see, and how many blocks there are."""

    rows: int
    columns: int
    channels: int
    rank: int
    depth: int


def maps(size: str, frames: int) -> list[Map]:
    """The maps of the four stages.

    >>> [(m.rows, m.columns, m.channels, m.rank, m.depth) for m in maps("small", 798)]
    [(32, 200, 96, 6, 2), (16, 100, 192, 12, 2), (8, 50, 384, 24, 8), (4, 25, 768, 48, 2)]
    """
    found, rows, columns = [], _halved(MELS, 2), _halved(frames, 2)
    for dim, depth in zip(SIZES[size].dims, SIZES[size].depths, strict=True):
        found.append(Map(rows=rows, columns=columns, channels=dim, rank=math.ceil(dim / 16), depth=depth))
        rows, columns = _halved(rows), _halved(columns)
    return found


def _halved(n: int, times: int = 1) -> int:
    for _ in range(times):
        n = -(-n // 2)
    return n


def products(size: str, frames: int, batch: int) -> list[tuple[int, Product]]:
    """The linear layers of all blocks as (how often, (rows, inner, columns))."""
    found = []
    for m in maps(size, frames):
        rows, dim = batch * m.rows * m.columns, m.channels
        found.append((2 * m.depth, (rows, dim, dim)))  # in_proj and out_proj
        found.append((m.depth, (rows, dim, DIRECTIONS * (m.rank + 2 * STATE))))  # x_proj
        found.append((m.depth, (rows, dim, MLP_RATIO * dim)))
        found.append((m.depth, (rows, MLP_RATIO * dim, dim)))
    return found


def forward_flops(network: nn.Module, frames: int) -> int:
    """FLOPs of all matrix products and convolutions of one clip, a multiply-add counted as two.

    The recurrence of the scan is not counted, the product that makes its step sizes is. Counted in float64 on the CPU,
    where no fused operator hides a product from the counter.
    """
    exact = copy.deepcopy(network).cpu().double().eval()
    clip = torch.zeros(1, 1, MELS, frames, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter, force("chunked"), torch.no_grad():
        exact(clip)
    return int(counter.get_total_flops())


def floor_ms(flops: float, gflops: float) -> float:
    """The time of so many FLOPs at a rate in GFLOP/s: no network of the same products can be faster.

    >>> floor_ms(19.6e9, 490)
    40.0
    """
    return flops / gflops / 1e6
