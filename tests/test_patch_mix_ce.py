"""Patch-Mix with cross-entropy against a loop over clips, values and gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auscult.config import from_dict, to_dict
from auscult.errors import AuscultError
from auscult.objectives import CrossEntropy, PatchMixCE
from auscult.objectives.cross_entropy import class_weights
from auscult.objectives.mixing import Axis, Mix, draw
from auscult.objectives.patch_mix_ce import facts_of

from .toys import COUNTS, Model, batch


def slowly(model: Model, mix: Mix, weight: Tensor) -> Tensor:
    """A clip at a time: every patch from the clip or its partner, both labels, weighted as torch weights a batch."""
    b = batch()
    patches = model.backbone.patchify(model.front(b.fbank))
    mask = torch.zeros(patches.shape[2:], dtype=torch.bool)
    mask[mix.where] = True
    assert mix.kept == pytest.approx(1 - mask.float().mean().item())
    total = torch.zeros(())
    for i, j in enumerate(mix.partner.tolist()):
        one = torch.where(mask, patches[j], patches[i])[None]
        p = F.log_softmax(model.head(model.backbone.encode(one))[0], dim=0)
        for label, share in ((b.label[i], mix.kept), (b.label[j], 1 - mix.kept)):
            total = total - share * weight[label] * p[label]
    return total / weight[b.label].sum()


@pytest.mark.parametrize("axis", ["token", "time", "freq"])
@pytest.mark.parametrize("weighting", ["none", "inverse"])
def test_loss_and_gradients_by_a_loop(axis: Axis, weighting: str) -> None:
    settings = from_dict(PatchMixCE, {"axis": axis, "cross_entropy": {"kind": "cross_entropy", "weighting": weighting}})
    objective, mix = settings.build(10, COUNTS), draw(axis, 6, 8, 6, 1.0, np.random.default_rng(1))
    assert 0 < mix.kept < 1
    objective.draw_mix = lambda patches: mix  # type: ignore[method-assign]
    model = Model()
    found = objective(model, batch())
    assert list(found) == ["ce"] and model.front.calls == 1
    gradients = torch.autograd.grad(found["ce"], list(model.parameters()))
    again = Model()
    expected = slowly(again, mix, class_weights(COUNTS, settings.cross_entropy.weighting))
    assert found["ce"].item() == pytest.approx(expected.item(), rel=1e-5)
    for g, e in zip(gradients, torch.autograd.grad(expected, list(again.parameters())), strict=True):
        assert torch.allclose(g, e, atol=1e-6)


def test_all_kept_is_plain_cross_entropy() -> None:
    objective = PatchMixCE().build(10, COUNTS)
    nothing = torch.zeros(0, dtype=torch.int64)
    objective.draw_mix = lambda patches: Mix(torch.arange(6).flip(0), (nothing, nothing), 1.0)  # type: ignore
    plain = CrossEntropy().build(10, COUNTS)(Model(), batch())
    assert objective(Model(), batch())["ce"].item() == pytest.approx(plain["ce"].item(), rel=1e-6)


def test_partners_bring_all_their_facts_and_no_sound() -> None:
    b, partner = batch(), torch.tensor([3, 0, 1, 2, 5, 4])
    found = facts_of(b, partner)
    assert torch.equal(found.fbank, b.fbank)
    assert found.index.tolist() == partner.tolist() and found.label.tolist() == (partner % 3).tolist()
    assert found.quality is not None and b.quality is not None and torch.equal(found.quality, b.quality[partner])


def test_draws_follow_the_seed_and_the_settings() -> None:
    patches, kept = torch.zeros(6, 5, 8, 6), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        kept.append(PatchMixCE().build(10, COUNTS).draw_mix(patches))
    assert torch.equal(kept[0].partner, kept[1].partner) and kept[0].kept == kept[1].kept
    assert not torch.equal(kept[0].partner, kept[2].partner)
    narrow = PatchMixCE(beta=1000.0).build(10, COUNTS).draw_mix(torch.zeros(6, 5, 100, 100))
    assert narrow.kept == pytest.approx(0.5, abs=0.06)
    assert to_dict(PatchMixCE())["axis"] == "token"
    with pytest.raises(AuscultError, match="beta=0"):
        from_dict(PatchMixCE, {"beta": 0})
