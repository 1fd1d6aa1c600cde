"""Patch-Mix with cross-entropy: a mixed clip has the labels of both, in the shares of the mix.

Only the mixed clips are looked at; there is no clean pass, no projector and no contrast.

Source: Bae et al., Patch-Mix CL (2023), row "Patch-Mix (CE)" of its tables; public code, ``PatchMixLoss``.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..batch import Batch
from ..config import spec
from ..data.cycles import Cycle
from ..models import Classifier
from ..signal.quality import Quality
from .cross_entropy import CrossEntropy
from .mixing import Axis, Mix, draw, mixed
from .spec import FeatureObjectiveSpec, Objective, ObjectiveSpec


@spec("patch_mix_ce")
class PatchMixCE(ObjectiveSpec):
    """``kept * CE(own label) + (1 - kept) * CE(partner's label)``, on mixed clips.

    Args:
        axis: ``token`` replaces patches picked at random, as in the paper; ``time`` columns, ``freq`` rows.
        beta: the ratio of a mix is drawn from Beta(beta, beta); 1 is uniform.
        cross_entropy: the loss of a clip with one label, or another objective that takes features as they are.

    Raises:
        ValueError: beta not positive.
    """

    axis: Axis = "token"
    beta: float = 1.0
    cross_entropy: FeatureObjectiveSpec = CrossEntropy()

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta={self.beta} must be more than 0")

    @property
    def quality_asked(self) -> Quality | None:
        return self.cross_entropy.quality_asked

    def extra_cycles(self, cycles: Sequence[Cycle]) -> tuple[Cycle, ...]:
        return self.cross_entropy.extra_cycles(cycles)

    def build(self, features: int, counts: Sequence[int], devices: int = 1) -> "PatchMixCEObjective":
        return PatchMixCEObjective(self, features, counts, devices)


class PatchMixCEObjective(Objective):
    """See `PatchMixCE`. The losses are those of `cross_entropy`, under their own names."""

    def __init__(self, settings: PatchMixCE, features: int, counts: Sequence[int], devices: int) -> None:
        super().__init__()
        self.settings = settings
        self.cross_entropy = settings.cross_entropy.build(features, counts, devices)

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        parts = cast(Classifier, model)
        patches = parts.backbone.patchify(parts.front(batch.fbank))
        mix = self.draw_mix(patches)
        features = parts.backbone.encode(mixed(patches, [mix]))
        # the head runs twice: an objective may need more of it than its logits
        own = self.cross_entropy.losses(parts.head, features, batch)
        other = self.cross_entropy.losses(parts.head, features, facts_of(batch, mix.partner))
        return {name: mix.kept * own[name] + (1 - mix.kept) * other[name] for name in own}

    def draw_mix(self, patches: Float[Tensor, "B C H W"]) -> Mix:
        """One draw for the batch, on the CPU, from torch's global generator, which the loop seeds."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        clips, _, rows, columns = patches.shape
        return draw(self.settings.axis, clips, rows, columns, self.settings.beta, rng)


def facts_of(batch: Batch, partner: Int[Tensor, "B"]) -> Batch:
    """`batch` with everything but the sound, labels first of all, taken from the partners."""
    partner = partner.to(batch.label.device)
    facts = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "fbank"}
    return replace(batch, **{name: fact[partner] for name, fact in facts.items() if fact is not None})
