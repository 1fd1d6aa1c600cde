"""Other people's scans doing the whole job of `ss2d`, from our map and projections to the merged sum.

What each needs beside its scan (its own cross-scan copies, or decay and drive laid out for it) belongs to its time.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv1d, softplus

from ..errors import AuscultError
from . import vmamba


def mambapy() -> Callable[..., Tensor]:
    """The parallel scan of mambapy, the four directions side by side in its batch.

    Raises:
        AuscultError: E_SETTING when the package is missing.

    Source: https://github.com/alxndrTL/mamba.py, `mambapy/pscan.py`.
    """
    if importlib.util.find_spec("mambapy") is None:
        raise AuscultError("E_SETTING", "--mambapy needs mambapy; install it with: pip install mambapy")
    pscan = importlib.import_module("mambapy.pscan").pscan

    def scan(u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor) -> Tensor:
        dtype, rank = u.dtype, dt_weight.shape[1]
        u, x = u.float(), x.float()
        maps = torch.stack([_walk(u, k) for k in range(4)], 1)  # (B, 4, L, D)
        low, b, c = torch.stack([_walk(x[..., k, :], k) for k in range(4)], 1).split((rank, 1, 1), -1)
        delta = softplus(low @ dt_weight + dt_bias[:, None], threshold=100.0)
        decay, drive = torch.exp(delta * A[:, None]), delta * b * maps
        h = pscan(decay.flatten(0, 1)[..., None], drive.flatten(0, 1)[..., None])
        y = c * h.squeeze(-1).unflatten(0, (-1, 4)) + D_skip[:, None] * maps
        return _merge(y, u.shape).to(dtype)

    return scan


def _walk(t: Tensor, k: int) -> Tensor:
    sequence = (t.transpose(1, 2) if k % 2 else t).flatten(1, 2)
    return sequence.flip(1) if k >= 2 else sequence


def _merge(y: Tensor, shape: torch.Size) -> Tensor:
    rows, columns = shape[1:3]
    both = y[:, :2] + y[:, 2:].flip(2)
    return both[:, 0].unflatten(1, (rows, columns)) + both[:, 1].unflatten(1, (columns, rows)).transpose(1, 2)


def public_vmamba(folder: Path) -> Callable[..., Tensor]:
    """VMamba's own cross-scan, selective scan and cross-merge, called as its block `v05` calls them."""
    cross_scan, selective_scan, cross_merge = vmamba.scan_modules(vmamba.load(folder))

    def scan(u: Tensor, x: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D_skip: Tensor) -> Tensor:
        dtype, (samples, rows, columns, channels) = u.dtype, u.shape
        u, x = u.float(), x.float()
        rank, length = dt_weight.shape[1], rows * columns
        copies = cross_scan(u.permute(0, 3, 1, 2).contiguous(), True, True, False, 0)
        along = cross_scan(x.permute(0, 3, 4, 1, 2).contiguous(), True, True, True, 0)
        low, b, c = along.view(samples, 4, -1, length).split((rank, 1, 1), 2)
        weight = dt_weight.transpose(1, 2).reshape(4 * channels, rank, 1)
        delta = conv1d(low.reshape(samples, -1, length), weight, groups=4)
        y = selective_scan(
            copies.view(samples, -1, length),
            delta,
            A.reshape(-1, 1),
            b.contiguous(),
            c.contiguous(),
            D_skip.reshape(-1),
            dt_bias.reshape(-1),
            True,
            True,
        )
        merged = cross_merge(y.view(samples, 4, channels, rows, columns), True, True, False, 0)
        return merged.view(samples, channels, rows, columns).permute(0, 2, 3, 1).to(dtype)

    return scan
