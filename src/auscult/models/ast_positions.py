"""AudioSet's table of positions for another grid of patches: as it should be, and as the lineage has it.

A table (1, 2 + H W, D) holds the class token, the distillation token, then the grid row by row, rows along frequency.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Position = Literal["correct", "lineage"]
OWN = 2  # the positions of the class and the distillation token
ROWS = 12  # 128 mel bins, patches of 16 every 10


def known(table: Tensor) -> bool:
    """Whether this is a table over 12 rows of patches, of any number of columns (101 for AudioSet's 1024 frames)."""
    cells = table.shape[1] - OWN if table.ndim == 3 else 0
    return table.is_floating_point() and table.shape[0] == 1 and cells > 0 and cells % ROWS == 0


def for_grid(table: Float[Tensor, "1 N D"], rows: int, columns: int, position: Position) -> Float[Tensor, "1 N2 D"]:
    """A published table for a network whose patches are `rows` x `columns`.

    ``correct`` keeps the place of every patch: 12 x 79 patches take all 12 rows and the columns 11 to 89 of 101.

    ``lineage`` is what the Patch-Mix line of code does: it names frequency and time the wrong way round when it builds
    the network, so the table is made for a grid of 79 x 12 cells (its rows stretched from 12 to 79, its columns cut to
    the middle 12 of 101) and laid out row by row; but its patches are 12 x 79. Patch (f, t) gets the position of cell
    ((79 f + t) // 12, (79 f + t) % 12).

    Args:
        table: over 12 rows; see `known`.

    Source: Gong et al. 2021, AST, section 2.2 and its code (cut in the middle, or stretch, each axis); Bae et al. 2023
    (Patch-Mix CL), main.py against models/ast.py of the public code.
    """
    grid = table[:, OWN:].unflatten(1, (ROWS, -1)).permute(0, 3, 1, 2).float()
    made = resize(grid, rows, columns) if position == "correct" else resize(grid, columns, rows)
    cells = made.flatten(2).transpose(1, 2).to(table.dtype)
    return torch.cat((table[:, :OWN], cells), dim=1)


def resize(grid: Float[Tensor, "1 D H W"], rows: int, columns: int) -> Float[Tensor, "1 D H2 W2"]:
    """Each axis is cut to its middle where it is too long, and stretched, bilinear, where it is too short."""
    _, _, height, width = grid.shape
    top, left = max(height // 2 - rows // 2, 0), max(width // 2 - columns // 2, 0)
    grid = grid[:, :, top : top + rows, left : left + columns]
    if grid.shape[2:] == (rows, columns):
        return grid
    return F.interpolate(grid, size=(rows, columns), mode="bilinear")
