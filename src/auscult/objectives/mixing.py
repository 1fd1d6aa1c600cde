"""How patches of two clips become one map: a band of columns, a band of rows, or patches picked at random.

One draw holds for the whole batch: one ratio, one partner for each clip, one place.

Source: Lung-SRAD (Shridhar et al. 2026), section 3.5.1, equations 6 and 7; Patch-Mix (Bae et al. 2023), section 3.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Axis = Literal["time", "freq", "token"]


@dataclass(frozen=True)
class Mix:
    """What one draw decides.

    Args:
        partner: the clip whose patches come in, for each clip of the batch: a permutation.
        where: rows and columns that are replaced, as an index of the last two axes of a map.
        kept: share of the patches that stay, lambda, after the width was rounded to whole patches.
    """

    partner: Int[Tensor, "B"]
    where: tuple[slice | Tensor, slice | Tensor]
    kept: float


def draw(axis: Axis, clips: int, rows: int, columns: int, beta: float, rng: np.random.Generator) -> Mix:
    """Draws ratio, partners and place of a mix.

    The ratio is drawn from Beta(beta, beta). A band takes floor(n (1 - ratio)) of the n rows or columns, and begins
    anywhere it fits with equal chance (our choice: the paper says only that the segment is consecutive). ``token``
    takes floor(rows columns (1 - ratio)) patches of the grid, in any order, as Patch-Mix does for a transformer.

    Args:
        axis: ``time`` replaces columns, ``freq`` rows, ``token`` single patches.
        clips: B.
        rows: H of the map.
        columns: W of the map.
        beta: of the symmetric Beta distribution; 1 is uniform.
        rng: where the draws come from.

    Source: the ratio after rounding as in the public code of Patch-Mix CL, ``patch_mix``.
    """
    size = {"time": columns, "freq": rows, "token": rows * columns}[axis]
    replaced = int(size * (1 - rng.beta(beta, beta)))
    partner = torch.from_numpy(rng.permutation(clips))
    where: tuple[slice | Tensor, slice | Tensor]
    if axis == "token":
        place = torch.from_numpy(rng.permutation(size)[:replaced])
        where = (place // columns, place % columns)
    else:
        start = int(rng.integers(size - replaced + 1))
        band = slice(start, start + replaced)
        where = (slice(None), band) if axis == "time" else (band, slice(None))
    return Mix(partner, where, kept=1 - replaced / size)


def mixed(patches: Float[Tensor, "B C H W"], mixes: Sequence[Mix]) -> Float[Tensor, "N C H W"]:
    """The batch once per mix, N = B x mixes, the first mix first. Gradients flow to both clips of a pair.

    Each map is copied once and only the replaced patches are written again; memory keeps its order.
    """
    views = torch.cat([patches] * len(mixes))
    stack = views.unflatten(0, (len(mixes), -1))
    for i, mix in enumerate(mixes):
        partner = mix.partner.to(patches.device)
        stack[i][:, :, *mix.where] = patches[:, :, *mix.where][partner]
    return views
