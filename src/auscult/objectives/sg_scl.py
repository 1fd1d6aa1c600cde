"""Stethoscope-guided supervised contrast: two views of a clip, and clips of one device are alike.

Source: Kim et al., Stethoscope-guided supervised contrastive learning (ICASSP 2024), SG-SCL; Khosla et al., Supervised
contrastive learning (2020), equation 2, for the contrast.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Batch
from ..config import spec
from ..data.cycles import Cycle
from ..errors import AuscultError
from ..models import Classifier
from ..signal.quality import Quality
from .cross_entropy import CrossEntropy
from .patch_mix import projector
from .spec import FeatureObjectiveSpec, Objective, ObjectiveSpec, need_devices


@spec("sg_scl")
class SGSCL(ObjectiveSpec):
    """Cross-entropy on the first view plus a contrast over both, whose positives are the clips of the same device.

    The front end runs once for each view, so the masks differ; they are all that does (and dropout, where there is
    any). Needs a data set of two devices or more: ICBHI has four, SPRSound one.

    Args:
        weight: of the contrast.
        tau: temperature.
        detach: ``second`` stops the gradient at the projection of the second view, which then costs no backward pass
            (the released ``project1_project2block``); ``none`` stops none.
        cross_entropy: the loss on the first view, or another objective that takes features as they are.

    Raises:
        ValueError: tau not positive, or a negative weight.
    """

    weight: float = 1.0
    tau: float = 0.06
    detach: Literal["second", "none"] = "second"
    cross_entropy: FeatureObjectiveSpec = CrossEntropy()

    def __post_init__(self) -> None:
        if not (self.tau > 0 and self.weight >= 0):
            raise ValueError(f"tau={self.tau} must be more than 0, weight={self.weight} 0 or more")

    @property
    def quality_asked(self) -> Quality | None:
        return self.cross_entropy.quality_asked

    def extra_cycles(self, cycles: Sequence[Cycle]) -> tuple[Cycle, ...]:
        return self.cross_entropy.extra_cycles(cycles)

    def build(self, features: int, counts: Sequence[int], devices: int = 1) -> "SGSCLObjective":
        """Raises AuscultError E_SETTING for a data set of one device."""
        need_devices("sg_scl", devices)
        return SGSCLObjective(self, features, counts, devices)


class SGSCLObjective(Objective):
    """See `SGSCL`. The losses are those of `cross_entropy` and the weighted ``device`` contrast."""

    def __init__(self, settings: SGSCL, features: int, counts: Sequence[int], devices: int) -> None:
        super().__init__()
        self.settings = settings
        self.cross_entropy = settings.cross_entropy.build(features, counts, devices)
        self.projector = projector(features)

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Raises AuscultError E_SETTING for a batch of one clip: there is nothing to contrast it with."""
        if len(batch) < 2:
            raise AuscultError(
                "E_SETTING", "sg_scl needs two clips or more in a batch; raise batch_size or set drop_last=true."
            )
        parts = cast(Classifier, model)
        features = parts.backbone(parts.front(batch.fbank))
        losses = self.cross_entropy.losses(parts.head, features, batch)
        # with gradient first: autocast keeps the weights it casts, and would keep them without graph
        first = self.projector(features)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.detach == "none"):
            second = self.projector(parts.backbone(parts.front(batch.fbank)))
        views = torch.cat([first, second])
        with torch.autocast(views.device.type, enabled=False):
            contrast = supervised_contrast(views.float(), torch.cat([batch.device, batch.device]), self.settings.tau)
        return losses | {"device": self.settings.weight * contrast}


def supervised_contrast(views: Float[Tensor, "N D"], group: Int[Tensor, "N"], tau: float) -> Float[Tensor, ""]:
    """Mean over anchors of -log p, itself a mean over the others of the anchor's group; p is softmax of cosine / tau.

    A view is never its own positive or negative.

    >>> pair = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # log(1 + 2 exp(-1))
    >>> supervised_contrast(pair, torch.tensor([0, 0, 1, 1]), tau=1.0)
    tensor(0.5514)

    Args:
        views: not normalised.
        group: of each view; every group has two views or more.

    Source: Khosla et al. 2020, equation 2 (L_out); the public code of SG-SCL, ``MetaCL``.
    """
    unit = F.normalize(views, dim=1)
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    log_p = (unit @ unit.T / tau).masked_fill(itself, -torch.inf).log_softmax(dim=1)
    positive = (group[:, None] == group) & ~itself
    return -(log_p.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)).mean()
