"""By how much the class of a clip must win: angles added to its own angle, or amounts taken from its cosine.

Source: QLung (arXiv 2606.11915), quality margin, log-scale class margin and DFAM; ArcFace (Deng et al. 2019), LDAM (Cao
et al. 2019) and AdaFace (Kim et al. 2022), against which it is set.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..batch import Batch
from ..config import spec
from ..errors import AuscultError
from ..signal.quality import Quality


class MarginSpec:
    """Base of every margin spec. `build(counts)` makes a `Margin`."""

    @property
    def quality_asked(self) -> Quality | None:
        """How audio quality is to be scored; None where the margin does not look at it."""
        return None

    def build(self, counts: Sequence[int]) -> "Margin":
        """A margin for classes with so many training cycles."""
        raise NotImplementedError(f"{type(self).__name__} has no build()")


class Margin(nn.Module):
    """Gives every clip its angle in radians, added to the one to its class, and what is taken from the cosine then."""

    def forward(self, features: Float[Tensor, "B D"], batch: Batch) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        raise NotImplementedError(f"{type(self).__name__} has no forward()")


def check_angle(name: str, value: float) -> None:
    """Refuses a margin that is no angle between 0 and a right one."""
    if not 0 <= value <= math.pi / 2:
        raise ValueError(f"{name}={value}; an angle from 0 to {math.pi / 2:.4f} rad (90 degrees) is needed")


@spec("fixed_margin")
class FixedMargin(MarginSpec):
    """The same angle for every clip.

    Args:
        angle: in radians. QLung does not say its own; 0.3 is the default of its lineage, 0.5 that of ArcFace.

    Source: Deng et al. 2019, ArcFace.
    """

    angle: float = 0.3

    def __post_init__(self) -> None:
        check_angle("angle", self.angle)

    def build(self, counts: Sequence[int]) -> "FixedAngle":
        return FixedAngle(self.angle)


class FixedAngle(Margin):
    """See `FixedMargin`."""

    def __init__(self, angle: float) -> None:
        super().__init__()
        self.angle = angle

    def forward(self, features: Float[Tensor, "B D"], batch: Batch) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        zeros = torch.zeros(len(batch), device=features.device)
        return zeros + self.angle, zeros


@spec("quality_margin")
class QualityMargin(MarginSpec):
    """kappa x audio quality score: the cleaner a clip, the more it must win by.

    Args:
        kappa: the angle of a clip of quality 1, in radians.
        quality: how audio quality is scored.

    Source: QLung, quality margin.
    """

    kappa: float = 0.5
    quality: Quality = Quality()

    def __post_init__(self) -> None:
        check_angle("kappa", self.kappa)

    @property
    def quality_asked(self) -> Quality | None:
        return self.quality

    def build(self, counts: Sequence[int]) -> "QualityAngle":
        return QualityAngle(self.kappa)


class QualityAngle(Margin):
    """See `QualityMargin`."""

    def __init__(self, kappa: float) -> None:
        super().__init__()
        self.kappa = kappa

    def forward(self, features: Float[Tensor, "B D"], batch: Batch) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        """Raises AuscultError E_SETTING for a batch without audio quality."""
        if batch.quality is None:
            raise AuscultError(
                "E_SETTING",
                "the batch has no audio quality, and the margin needs it; make the material with "
                "quality=objective.quality_asked, as `auscult train` does.",
            )
        return self.kappa * batch.quality, torch.zeros_like(batch.quality)


@spec("class_margin")
class ClassMargin(MarginSpec):
    """s (-log n_k / N) with s = target / log K: the rarer a class, the more it must win by.

    Args:
        target: the angle of a class with 1 / K of the training cycles, in radians. One with a single cycle in 6656 gets
            4.5 times that where there are seven classes.

    >>> ClassMargin().angles([2063, 1215, 501, 363])
    tensor([0.1006, 0.1769, 0.3047, 0.3512])

    Source: QLung, log-scale class margin.
    """

    target: float = 0.2

    def __post_init__(self) -> None:
        check_angle("target", self.target)

    def angles(self, counts: Sequence[int]) -> Float[Tensor, "K"]:
        """The angle of each class; 0 for a class without a training cycle, which is nobody's."""
        n = torch.tensor(counts, dtype=torch.float64)
        rarity = -torch.log(n.clamp_min(1) / n.sum())
        return torch.where(n > 0, self.target / math.log(len(counts)) * rarity, 0.0).float()

    def build(self, counts: Sequence[int]) -> "ClassAngle":
        return ClassAngle(self.angles(counts))


class ClassAngle(Margin):
    """See `ClassMargin`."""

    angles: Tensor

    def __init__(self, angles: Float[Tensor, "K"]) -> None:
        super().__init__()
        self.register_buffer("angles", angles, persistent=False)

    def forward(self, features: Float[Tensor, "B D"], batch: Batch) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        own = self.angles[batch.label]
        return own, torch.zeros_like(own)


@spec("dfam")
class Dfam(MarginSpec):
    """Dual-factor adaptive margin: gamma x quality margin + (1 - gamma) x class margin.

    Args:
        gamma: share of the quality margin.
        by_quality: margin of the clip.
        by_class: margin of its class.

    Source: QLung, dual-factor adaptive margin.
    """

    gamma: float = 0.5
    by_quality: QualityMargin = QualityMargin()
    by_class: ClassMargin = ClassMargin()

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma}; a share in [0, 1] is needed")

    @property
    def quality_asked(self) -> Quality | None:
        return self.by_quality.quality_asked

    def build(self, counts: Sequence[int]) -> "DualAngle":
        return DualAngle(self.gamma, self.by_quality.build(counts), self.by_class.build(counts))


class DualAngle(Margin):
    """See `Dfam`."""

    def __init__(self, gamma: float, by_quality: QualityAngle, by_class: ClassAngle) -> None:
        super().__init__()
        self.gamma = gamma
        self.by_quality = by_quality
        self.by_class = by_class

    def forward(self, features: Float[Tensor, "B D"], batch: Batch) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        (of_clip, zeros), (of_class, _) = self.by_quality(features, batch), self.by_class(features, batch)
        return self.gamma * of_clip + (1 - self.gamma) * of_class, zeros


@spec("ldam")
class Ldam(MarginSpec):
    """An amount that grows as n^(-1/4), taken from the cosine itself.

    Args:
        largest: amount of the rarest class; the others follow.

    >>> Ldam().amounts([1000, 100, 10])
    tensor([0.1581, 0.2812, 0.5000])

    Source: Cao et al. 2019, section 3.
    """

    largest: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.largest <= 2:
            raise ValueError(f"largest={self.largest}; a part of the cosine's span, 0 to 2, is needed")

    def amounts(self, counts: Sequence[int]) -> Float[Tensor, "K"]:
        """The amount of each class; 0 for a class without a training cycle, which is nobody's."""
        n = torch.tensor(counts, dtype=torch.float64)
        grown = torch.where(n > 0, n.clamp_min(1) ** -0.25, 0.0)
        return (self.largest * grown / grown.max()).float()

    def build(self, counts: Sequence[int]) -> "ClassAmount":
        return ClassAmount(self.amounts(counts))


class ClassAmount(Margin):
    """See `Ldam`."""

    amounts: Tensor

    def __init__(self, amounts: Float[Tensor, "K"]) -> None:
        super().__init__()
        self.register_buffer("amounts", amounts, persistent=False)

    def forward(self, features: Float[Tensor, "B D"], batch: Batch) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        own = self.amounts[batch.label]
        return torch.zeros_like(own), own


@spec("adaface")
class AdaFace(MarginSpec):
    """Quality read from the features: long ones push hard clips, short ones easy clips.

    With z the length of the features, centred, divided by its deviation / h and cut to [-1, 1], the angle is -m z, and
    m z + m is taken from the cosine.

    Args:
        m: the margin.
        h: share of the deviation; 0.333 keeps about two thirds of the clips inside.
        momentum: share of a batch in the running mean and deviation of the lengths. The paper writes 0.99 for the share
            of the batch, its code takes 0.01.

    Source: Kim et al. 2022, section 3, and the public code.
    """

    m: float = 0.4
    h: float = 0.333
    momentum: float = 0.01

    def __post_init__(self) -> None:
        check_angle("m", self.m)
        if not (self.h > 0 and 0 < self.momentum <= 1):
            raise ValueError(f"h={self.h} must be more than 0 and momentum={self.momentum} in (0, 1]")

    def build(self, counts: Sequence[int]) -> "LengthMargin":
        return LengthMargin(self)


class LengthMargin(Margin):
    """See `AdaFace`. Mean and deviation begin as those of the first batch, and are part of a checkpoint."""

    mean: Tensor
    std: Tensor
    begun: Tensor

    def __init__(self, settings: AdaFace) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def forward(self, features: Float[Tensor, "B D"], batch: Batch) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        length = features.detach().float().norm(dim=1)
        if self.training:
            self.follow(length)
        m, h = self.settings.m, self.settings.h
        z = (h * (length - self.mean) / (self.std + 1e-3)).clamp(-1, 1)
        return -m * z, m * z + m

    def follow(self, length: Float[Tensor, "B"]) -> None:
        """Moves mean and deviation towards those of a batch."""
        share = torch.where(self.begun, self.settings.momentum, 1.0)
        self.mean.lerp_(length.mean(), share)
        self.std.lerp_(length.std(correction=0), share)
        self.begun.fill_(True)
