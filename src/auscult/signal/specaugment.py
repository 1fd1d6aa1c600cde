"""SpecAugment: bands of frequencies and stretches of time, overwritten by the mean.

Source: Park et al., SpecAugment (2019), without time warping; sizes and fill of the ``icbhi_ast_sup`` policy in the
code of Bae et al., Patch-Mix (2023).
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..config import spec


class Bands(NamedTuple):
    """Masks along one axis: `start` and `width` in bins or frames. A clip that the gate spares has widths of 0."""

    start: Int[Tensor, "N masks"]
    width: Int[Tensor, "N masks"]


@spec("specaugment")
class SpecAugment:
    """Frequency masks first, then time masks, each filled with the mean of the spectrogram as masked so far.

    Args:
        frequency_mask: widths are int(U(0, frequency_mask)) bins, so 0 to 47 by default. A mask wider than the
            spectrogram covers all of it.
        time_mask: the same in frames of 10 ms.
        masks: this many in frequency and this many in time.
        gate: ``"lineage"`` masks a clip where a standard normal draw is at most 1, with probability 0.841: the public
            code of the Patch-Mix line compares p = 1 with a normal instead of a uniform number. ``"always"`` masks all.
        fill: the mean, or zero.
        share: ``"clip"`` draws for every clip and fills with the clip's mean (Patch-Mix). ``"batch"`` draws once for
            the whole batch and fills with the batch mean (the stethoscope-guided code of Kim et al., 2024).

    Raises:
        ValueError: a negative size or count.
    """

    frequency_mask: int = 48
    time_mask: int = 160
    masks: int = 2
    gate: Literal["lineage", "always"] = "lineage"
    fill: Literal["mean", "zero"] = "mean"
    share: Literal["clip", "batch"] = "clip"

    def __post_init__(self) -> None:
        if min(self.frequency_mask, self.time_mask, self.masks) < 0:
            sizes = f"frequency_mask={self.frequency_mask}, time_mask={self.time_mask}, masks={self.masks}"
            raise ValueError(f"{sizes}; all must be 0 or more")

    def __call__(self, x: Float[Tensor, "B T F"], generator: torch.Generator | None = None) -> Float[Tensor, "B T F"]:
        """A masked copy of `x`. Draws come from `generator`, or from torch's global CPU generator.

        Two ways to the same result: a CPU overwrites slices, five times faster; another device, for which a slice a
        clip would be a hundred kernels, and a gradient go through whole masks.
        """
        clips = 1 if self.share == "batch" else len(x)
        frequency, time = self.draw(clips, x.shape[1], x.shape[2], generator)
        by_slices = x.device.type == "cpu" and not (x.requires_grad and torch.is_grad_enabled())
        return self.by_slices(x, frequency, time) if by_slices else self.by_masks(x, frequency, time)

    def by_masks(self, x: Float[Tensor, "B T F"], frequency: Bands, time: Bands) -> Float[Tensor, "B T F"]:
        """A copy of `x` under these masks, by selections over the whole batch: differentiable, the definition."""
        masked = x.clone()
        for mask in _each(frequency, x.shape[2], x.device):
            masked = torch.where(mask[:, None, :], self._fill(masked), masked)
        for mask in _each(time, x.shape[1], x.device):
            masked = torch.where(mask[:, :, None], self._fill(masked), masked)
        return masked

    def by_slices(self, x: Float[Tensor, "B T F"], frequency: Bands, time: Bands) -> Float[Tensor, "B T F"]:
        """A copy of `x` under these masks, by overwriting rows and columns.

        The means come from sums of bins, then of frames, in which a mask changes what it changes in the map; so the
        map is read twice, however many masks there are.
        """
        masked = x.clone()
        groups = masked[None] if self.share == "batch" else masked[:, None]  # (groups, clips, T, F)
        for axis, bands in ((3, frequency), (2, time)):
            widths = bands.width.tolist()
            for group, starts, sizes, fills in zip(
                groups, bands.start.tolist(), widths, self._fills(groups, bands, axis).tolist(), strict=True
            ):
                for start, width, fill in zip(starts, sizes, fills, strict=True):
                    if width:
                        group.narrow(axis - 1, start, width).fill_(fill)
        return masked

    def _fills(self, groups: Float[Tensor, "N clips T F"], bands: Bands, axis: int) -> Float[Tensor, "N masks"]:
        """What each mask along `axis` is filled with, when one comes after the other."""
        count, size = groups.shape[1:].numel(), groups.shape[axis]
        fills = torch.zeros(bands.start.shape, dtype=torch.float64)
        if self.fill == "zero":
            return fills
        sums = groups.sum(dim=[a for a in (1, 2, 3) if a != axis]).double()  # of each bin, or of each frame
        for number, mask in enumerate(_each(bands, size, sums.device)):
            fills[:, number] = mean = sums.sum(dim=1) / count
            sums = torch.where(mask, mean[:, None] * (count / size), sums)
        return fills

    def draw(self, clips: int, frames: int, bins: int, generator: torch.Generator | None = None) -> tuple[Bands, Bands]:
        """Frequency bands and time bands for so many clips, on the generator's device."""
        device = generator.device if generator is not None else torch.device("cpu")
        gate = torch.randn(clips, 1, generator=generator, device=device) <= 1
        spared = ~gate if self.gate == "lineage" else torch.zeros_like(gate)
        bands = []
        for size, limit in ((bins, self.frequency_mask), (frames, self.time_mask)):
            u = torch.rand(2, clips, self.masks, generator=generator, device=device, dtype=torch.float64)
            width = (u[0] * limit).long().clamp(max=size).masked_fill(spared, 0)
            start = (u[1] * (size - width + 1)).long()
            bands.append(Bands(start, width))
        return bands[0], bands[1]

    def _fill(self, x: Tensor) -> Tensor:
        if self.fill == "zero":
            return x.new_zeros(())
        return x.mean() if self.share == "batch" else x.mean(dim=(1, 2), keepdim=True)


def _each(bands: Bands, size: int, device: torch.device) -> list[Bool[Tensor, "N size"]]:
    """One mask after another as booleans along an axis of `size`."""
    position = torch.arange(size, device=device)
    start, width = bands.start.to(device), bands.width.to(device)
    return [
        (position >= start[:, m, None]) & (position < (start + width)[:, m, None]) for m in range(bands.start.shape[1])
    ]
