"""Which spatial frequencies a layer lets through: its mixing matrix, seen in the Fourier domain.

A layer that mixes tokens by a matrix M is a filter; with the Fourier matrix F its response is Lambda = F M F^-1. The
entry (a, b) says how much of frequency b of the input leaves as frequency a. For DASS, M is what the selective scan
does to one channel, averaged over channels; for AST it is the attention, averaged over heads.

Tokens lie on a map of H rows (frequency) and W columns (time). The honest response takes F over both axes of the map
and reads the diagonal: the share of a frequency that stays itself. The published figure does otherwise; each of its
steps is a setting of `Mixing` or `Reading`, all off by default.

Source: Lung-SRAD (Shridhar et al. 2026), section 3.3 and its public notebook; Wang et al. 2022, "Anti-Oversmoothing in
Deep Vision Transformers via the Fourier Domain Analysis", appendix F.2; discretisation of VMamba's kernels.
"""

import math
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..models.dass import SS2D
from ..models.scan.reference import softplus
from ..models.smoothing import Smoothing

DIRECTIONS = ("rows", "columns", "rows reversed", "columns reversed")
MERGED = "merged"
BASE = 32  # positions up to which decays are taken pair by pair; beyond, halves meet in a matrix product
AT_ONCE = 512  # columns of a matrix that are transformed together
LOG_FLOOR = 1e-7  # added before the logarithm in the public notebook
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How the matrix of a selective scan is formed.

    Args:
        delta: the step size multiplies what enters the state, as in the kernels. Published: left out.
        swapped: the two column directions are put back as if the map were W x H; right for square maps alone.
            Published: so.
        clamp: least decay that is divided by; a position whose decay is smaller enters weaker than it does. None, as
            here, never divides by a decay. Published: 1e-20.
        skip: adds D, which moves nothing from one position to another, to the diagonal. Published: left out, as the
            residual path around attention is.
    """

    delta: bool = True
    swapped: bool = False
    clamp: float | None = None
    skip: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a response is read off a matrix.

    Args:
        flatten: F runs over the tokens in one line, row after row, instead of over the two axes of the map. A filter
            that is smooth on the map then has a peak at every multiple of H bands: the period of a row.
        over: ``diagonal`` reads |Lambda_kk|; ``rows`` the mean of |Lambda_k,.|, where what leaves as k may have come
            from any frequency.
        range: the matrix is first moved and scaled to [0, 1]; its least entry becomes a constant added to all others,
            that is, to band 0.
        log: the logarithm of the matrix is analysed, after 1e-7 was added. Needs `range`, or a positive matrix.
        special: AST's two tokens that are no patch stay in the line.
        bands: the first so many bands alone; None for all up to half a cycle per token.
        scale: ``db`` relative to band 0, or ``range``: least 0, greatest 1.

    Raises:
        ValueError: `bands` or `special` without `flatten`: a map has neither a first band nor a place for them.
    """

    flatten: bool = False
    over: Literal["diagonal", "rows"] = "diagonal"
    range: bool = False
    log: bool = False
    special: bool = False
    bands: int | None = None
    scale: Literal["db", "range"] = "db"

    def __post_init__(self) -> None:
        if not self.flatten and (self.bands is not None or self.special):
            raise ValueError("bands and special are settings of the flattened response; set flatten too")


PAPER = (
    Mixing(delta=False, swapped=True, clamp=1e-20),
    Reading(flatten=True, over="rows", range=True, special=True, bands=126, scale="range"),
)
HONEST = (Mixing(), Reading())


@dataclass(frozen=True)
class Scan:
    """What the selective scan of one clip multiplies by; see `auscult.models.scan.ss2d`."""

    delta: Float[Tensor, "4 H W D"]
    B: Float[Tensor, "4 H W"]
    C: Float[Tensor, "4 H W"]
    A: Float[Tensor, "4 D"]
    D: Float[Tensor, "4 D"]

    @property
    def shape(self) -> tuple[int, int]:
        """H and W."""
        return self.delta.shape[1], self.delta.shape[2]


def parameters_of(op: SS2D, x: Float[Tensor, "1 H W C"]) -> Scan:
    """Step sizes, B and C that `op` makes of one clip's map, in places of the map.

    Raises:
        ValueError: more than one clip.
    """
    if len(x) != 1:
        raise ValueError(f"{len(x)} clips; a mixing matrix belongs to one clip")
    u = F.silu(op.conv2d(op.in_proj(x)))[0]
    k, rank = op.x_proj_weight.shape[0], op.dt_projs_weight.shape[-1]
    dbc = torch.einsum("hwc,krc->khwr", u, op.x_proj_weight)
    delta = torch.einsum("khwr,kdr->khwd", dbc[..., :rank], op.dt_projs_weight) + op.dt_projs_bias[:, None, None]
    A, D = -torch.exp(op.A_logs).view(k, -1), op.Ds.view(k, -1)
    return Scan(delta=softplus(delta), B=dbc[..., rank], C=dbc[..., rank + 1], A=A, D=D)


def order(shape: tuple[int, int], k: int) -> Int[Tensor, "L"]:
    """Places of the map (row times W plus column) in the order in which direction k visits them.

    >>> order((2, 3), 1).tolist(), order((2, 3), 2).tolist()
    ([0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0])
    """
    grid = torch.arange(math.prod(shape)).view(shape)
    visited = (grid.T if k % 2 else grid).flatten()
    return visited.flip(0) if k >= 2 else visited


def put_back(shape: tuple[int, int], k: int, swapped: bool = False) -> Int[Tensor, "L"]:
    """For each place of the map, when direction k visits it; `swapped` as the published code believes it."""
    if not (swapped and k % 2):
        return torch.argsort(order(shape, k))
    believed = torch.arange(math.prod(shape)).view(shape).T.flatten()
    return len(believed) - 1 - believed if k >= 2 else believed


def mixing_matrices(scan: Scan, mixing: Mixing) -> dict[str, Float[Tensor, "L L"]]:
    """The matrix of each direction in places of the map, and of their sum: names of `DIRECTIONS`, then `MERGED`.

    Column j is the mean over channels of what the scan makes of a unit impulse at place j.
    """
    found = {}
    for k, name in enumerate(DIRECTIONS):
        when = put_back(scan.shape, k, mixing.swapped)
        found[name] = sequence_matrix(scan, k, mixing)[when][:, when]
    return found | {MERGED: reduce(torch.add, found.values())}


def sequence_matrix(scan: Scan, k: int, mixing: Mixing) -> Float[Tensor, "L L"]:
    """The matrix of direction k in its own order: mean over channels of C_i exp(sum of delta A, j+1..i) delta_j B_j.

    Source: the recurrence of the kernels unrolled, N = 1.
    """
    visited = order(scan.shape, k)
    delta, B, C = (t[k].flatten(0, 1)[visited] for t in (scan.delta, scan.B, scan.C))
    decay = (delta.double() * scan.A[k].double()).cumsum(0)  # logarithm of the decay since the beginning, per channel
    enters = B[:, None] * (delta if mixing.delta else torch.ones_like(delta))
    if mixing.clamp is not None:
        enters = enters * (decay - math.log(mixing.clamp)).clamp(max=0).exp().to(enters.dtype)
    matrix = delta.new_zeros(len(delta), len(delta))
    _fill(matrix, decay, enters / delta.shape[1])
    matrix *= C[:, None]
    if mixing.skip:
        matrix.diagonal().add_(scan.D[k].mean())
    return matrix


def _fill(out: Tensor, decay: Tensor, enters: Tensor) -> None:
    """Adds sum over channels of exp(decay_i - decay_j) enters_j, j <= i, to zeros.

    Between two halves the decay passes through their border, so it is a product of two factors of at most 1, and all
    channels are one matrix product; no L x L matrix per channel, no division by a vanishing decay.
    """
    n, kind = len(decay), enters.dtype
    if n <= BASE:
        pairs = (decay[:, None] - decay).clamp(max=0).exp().to(kind)  # above the diagonal anything: it is dropped
        out.copy_(torch.einsum("ijd,jd->ij", pairs, enters).tril())
        return
    half = n // 2
    border = decay[half - 1]
    left, right = (decay[half:] - border).exp().to(kind), (border - decay[:half]).exp().to(kind)
    torch.matmul(left, (right * enters[:half]).T, out=out[half:, :half])
    _fill(out[:half, :half], decay[:half], enters[:half])
    _fill(out[half:, half:], decay[half:], enters[half:])


def smooth(
    matrix: Float[Tensor, "N N"], shape: tuple[int, int], smoothing: Smoothing, special: int = 0
) -> Float[Tensor, "N N"]:
    """The matrix followed by the smoothing: every column, as a map, goes through the Gaussian.

    Args:
        special: tokens before the map; they are left alone.
    """
    maps = matrix[special:].T.unflatten(1, shape)[..., None].contiguous()
    blurred = smoothing.build(1).to(matrix.dtype)(maps)
    return torch.cat([matrix[:special], blurred.flatten(1).T])


def read(
    matrix: Float[Tensor, "N N"], shape: tuple[int, int], reading: Reading, special: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Magnitude of the response, by axis; entry k belongs to k cycles over the whole axis.

    Args:
        shape: H and W of the map.
        special: tokens before the map; left out but with ``reading.special``.

    Returns:
        ``sequence`` alone where flattened; else ``time`` and ``frequency``: patterns that vary along that axis only.
    """
    if special and not reading.special:
        matrix = matrix[special:, special:]
    if reading.range:
        matrix = (matrix - matrix.min()) / (matrix.max() - matrix.min())
    if reading.log:
        matrix = torch.log(matrix + LOG_FLOOR)
    sizes: Shape = (len(matrix),) if reading.flatten else shape
    bands = reading.bands or (sizes[0] // 2 + 1 if reading.flatten else None)
    if reading.over == "rows":
        response = row_means(matrix, sizes, bands)
    else:
        response = diagonal(matrix, sizes).abs()
    if reading.flatten:
        return {"sequence": response[:bands].double().numpy()}
    rows, columns = (n // 2 + 1 for n in shape)
    return {"time": response[0, :columns].double().numpy(), "frequency": response[:rows, 0].double().numpy()}


def diagonal(matrix: Float[Tensor, "L L"], sizes: Shape) -> Complex[Tensor, "..."]:
    """Lambda_kk at every frequency of an axis (L,) or a map (H, W).

    It is the transform of the mean impulse response: every column with its impulse moved to the origin, round the ends.
    """
    total = torch.zeros(sizes, dtype=torch.float64)
    axes = tuple(range(len(sizes)))
    for column, place in zip(matrix.T.contiguous(), product(*map(range, sizes)), strict=True):
        total += torch.roll(column.view(sizes), tuple(-p for p in place), axes)
    return torch.fft.fftn(total / len(matrix))


def row_means(matrix: Float[Tensor, "L L"], sizes: Shape, bands: int | None = None) -> Float[Tensor, "..."]:
    """Mean of |Lambda_k,.| over all frequencies that come in, for each k that leaves, or for the first `bands`."""
    axes = tuple(range(len(sizes)))
    leaving = [
        torch.fft.fftn(some.reshape(*sizes, -1), dim=axes).flatten(0, -2)[:bands]
        for some in matrix.split(AT_ONCE, dim=1)
    ]
    both = torch.fft.ifftn(torch.cat(leaving, 1).unflatten(1, sizes), dim=tuple(a + 1 for a in axes))
    means = both.abs().flatten(1).mean(1)
    return means if len(sizes) == 1 else means.view(sizes)


def scaled(response: NDArray[np.float64], scale: Literal["db", "range"]) -> NDArray[np.float64]:
    """A response as it is drawn: decibels relative to band 0, or moved and scaled to [0, 1].

    >>> scaled(np.array([2.0, 0.2]), "db").tolist(), scaled(np.array([2.0, 1.0, 0.0]), "range").tolist()
    ([0.0, -20.0], [1.0, 0.5, 0.0])
    """
    if scale == "db":
        tiny = np.finfo(np.float64).tiny
        return 20 * np.log10(np.maximum(response, tiny) / max(response[0], tiny))
    span = response.max() - response.min()
    return (response - response.min()) / (span if span > 0 else 1.0)
