"""Patch-Mix contrast: a clip mixed with another must look like both, in the shares of the mix.

Cross-entropy on the clean clips, plus one contrast for each way of mixing. The clean pass and one pass over all mixed
views share the front end and the patch embedding, which run once.

Source: Lung-SRAD (Shridhar et al. 2026), section 3.5, equations 8 to 10; Patch-Mix CL (Bae et al. 2023), section 3.2.
"""

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Batch
from ..config import spec
from ..errors import AuscultError
from ..models import Backbone, Classifier
from ..signal.quality import Quality
from .cross_entropy import CrossEntropy
from .mixing import Axis, Mix, draw, mixed
from .spec import FeatureObjectiveSpec, Objective, ObjectiveSpec


@spec("patch_mix")
class PatchMix(ObjectiveSpec):
    """Cross-entropy plus Patch-Mix contrast.

    Args:
        axes: each is one mixed view and one contrast: ``time`` and ``freq`` for Lung-SRAD, ``token`` for the mix of
            Patch-Mix CL.
        weights: of the contrasts, one per axis; none is 1 for each.
        tau: temperature of the contrast.
        beta: the ratio of a mix is drawn from Beta(beta, beta); 1 is uniform.
        negatives: ``all`` contrasts with every clip of the batch; ``different_label`` leaves out those of the anchor's
            class, but for itself and its partner.
        target: ``paper`` projects both sides and stops the gradient at the mixed one, so that the clean clip moves.
            ``released`` is the public code, the other way round: the clean side is neither projected nor moved,
            gradients flow through the mixed view.
        train_projector: False freezes the projector at its start. None is what each side did: trained with ``paper``,
            frozen with ``released``, whose optimiser never got it.
        cross_entropy: the loss on the clean clips; cross-entropy, or another objective that takes features as they
            are (`FeatureObjectiveSpec`), for instance a margin.

    Raises:
        ValueError: no axis, one named twice, a weight too many or too few, tau or beta not positive.
    """

    axes: tuple[Axis, ...] = ("time", "freq")
    weights: tuple[float, ...] | None = None
    tau: float = 0.2
    beta: float = 1.0
    negatives: Literal["all", "different_label"] = "all"
    target: Literal["paper", "released"] = "paper"
    train_projector: bool | None = None
    cross_entropy: FeatureObjectiveSpec = CrossEntropy()

    def __post_init__(self) -> None:
        if not self.axes or len(set(self.axes)) < len(self.axes):
            raise ValueError(f"axes={self.axes}; one or more of time, freq and token, each once")
        if self.weights is not None and len(self.weights) != len(self.axes):
            raise ValueError(f"weights={self.weights}; one for each of axes={','.join(self.axes)} is needed")
        if not (self.tau > 0 and self.beta > 0):
            raise ValueError(f"tau={self.tau} and beta={self.beta} must both be more than 0")

    @property
    def quality_asked(self) -> Quality | None:
        return self.cross_entropy.quality_asked

    def build(self, features: int, counts: Sequence[int], devices: int = 1) -> "PatchMixObjective":
        return PatchMixObjective(self, features, counts)


def projector(features: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, Linear; as wide inside and after as before (768 for DASS small and medium)."""
    return nn.Sequential(
        nn.Linear(features, features), nn.BatchNorm1d(features), nn.ReLU(), nn.Linear(features, features)
    )


class PatchMixObjective(Objective):
    """See `PatchMix`. The losses are ``ce`` and the weighted contrasts, each under the name of its axis."""

    def __init__(self, settings: PatchMix, features: int, counts: Sequence[int]) -> None:
        super().__init__()
        self.settings = settings
        self.cross_entropy = settings.cross_entropy.build(features, counts)
        self.projector = projector(features)
        trained = settings.target == "paper" if settings.train_projector is None else settings.train_projector
        self.projector.requires_grad_(trained)

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Raises AuscultError E_SETTING for a batch of one clip: there is nothing to mix it with."""
        if len(batch) < 2:
            raise AuscultError(
                "E_SETTING", "patch_mix needs two clips or more in a batch; raise batch_size or set drop_last=true."
            )
        parts = cast(Classifier, model)
        patches = parts.backbone.patchify(parts.front(batch.fbank))
        features = parts.backbone.encode(patches)
        losses = self.cross_entropy.losses(parts.head, features, batch)
        mixes = self.draw_mixes(patches)
        anchors, keys = self.both_sides(parts.backbone, patches, features, mixes)
        values = self.contrasts(anchors, keys, batch.label, mixes)
        weights = self.settings.weights or (1.0,) * len(mixes)
        return losses | {axis: w * v for axis, w, v in zip(self.settings.axes, weights, values, strict=True)}

    def draw_mixes(self, patches: Float[Tensor, "B C H W"]) -> list[Mix]:
        """One independent draw for each axis, on the CPU, from torch's global generator, which the loop seeds."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        clips, _, rows, columns = patches.shape
        return [draw(axis, clips, rows, columns, self.settings.beta, rng) for axis in self.settings.axes]

    def both_sides(
        self,
        backbone: Backbone,
        patches: Float[Tensor, "B C H W"],
        features: Float[Tensor, "B D"],
        mixes: Sequence[Mix],
    ) -> tuple[Float[Tensor, "V B D"], Float[Tensor, "B D"]]:
        """The mixed side, V views, and the clean side; the gradient is stopped where `target` says."""
        if self.settings.target == "released":
            return self.project_views(backbone, patches, mixes), features.detach()
        keys = self.projector(features)  # first: autocast keeps the weights it casts, and would keep them without graph
        with torch.no_grad():
            return self.project_views(backbone, patches, mixes), keys

    def project_views(
        self, backbone: Backbone, patches: Float[Tensor, "B C H W"], mixes: Sequence[Mix]
    ) -> Float[Tensor, "V B D"]:
        """Mixes, one pass of the backbone over all views, then the projector; its batch norm sees a view at a time."""
        encoded = backbone.encode(mixed(patches, mixes)).unflatten(0, (len(mixes), -1))
        return torch.stack([self.projector(view) for view in encoded])

    def contrasts(
        self,
        anchors: Float[Tensor, "V B D"],
        keys: Float[Tensor, "B D"],
        label: Int[Tensor, "B"],
        mixes: Sequence[Mix],
    ) -> Float[Tensor, "V"]:
        """The contrast of each view, in fp32 whatever the precision of the step."""
        partner = torch.stack([mix.partner for mix in mixes]).to(keys.device)
        kept = torch.tensor([mix.kept for mix in mixes], device=keys.device)
        allowed = different(label, partner) if self.settings.negatives == "different_label" else None
        with torch.autocast(keys.device.type, enabled=False):
            return contrast(anchors.float(), keys.float(), partner, kept, self.settings.tau, allowed)


def contrast(
    anchors: Float[Tensor, "V B D"],
    keys: Float[Tensor, "B D"],
    partner: Int[Tensor, "V B"],
    kept: Float[Tensor, "V"],
    tau: float,
    allowed: Bool[Tensor, "V B B"] | None = None,
) -> Float[Tensor, "V"]:
    """-(kept log p(own clip) + (1 - kept) log p(partner)), mean over the clips of a view; p is softmax of cosine / tau.

    >>> two = torch.eye(2)  # with kept = 1 it is InfoNCE: log(1 + exp(-1 / tau))
    >>> contrast(two[None], two, torch.tensor([[1, 0]]), torch.ones(1), tau=1.0)
    tensor([0.3133])

    Args:
        anchors: mixed side, not normalised.
        keys: clean side, not normalised.
        partner: the clip each was mixed with.
        kept: share of its own patches in each view.
        allowed: pairs that count in the denominator; own clip and partner must be among them. None is all.

    Source: Lung-SRAD, equation 9; Patch-Mix CL, equation 3.
    """
    similarity = F.normalize(anchors, dim=-1) @ F.normalize(keys, dim=-1).T / tau
    if allowed is not None:
        similarity = similarity.masked_fill(~allowed, -torch.inf)
    log_p = similarity.log_softmax(dim=-1)
    own = log_p.diagonal(dim1=1, dim2=2).mean(dim=1)
    other = log_p.gather(2, partner[:, :, None]).mean(dim=(1, 2))
    return -(kept * own + (1 - kept) * other)


def different(label: Int[Tensor, "B"], partner: Int[Tensor, "V B"]) -> Bool[Tensor, "V B B"]:
    """Pairs of different classes, and each clip with itself and with its partner."""
    clips = torch.arange(len(label), device=label.device)
    return (label[:, None] != label) | (clips[:, None] == clips) | (partner[:, :, None] == clips)
