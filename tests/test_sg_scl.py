"""SG-SCL against explicit loops, values and gradients; and which gradients there are."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auscult.errors import AuscultError
from auscult.objectives import SGSCL
from auscult.objectives.sg_scl import SGSCLObjective, supervised_contrast

from .toys import COUNTS, Model, batch


def contrast_slowly(views: Tensor, group: list[int], tau: float) -> Tensor:
    """Anchor by anchor, positive by positive."""
    total = torch.zeros((), dtype=views.dtype)
    for i in range(len(views)):
        cosine = {j: views[i] @ v / (views[i].norm() * v.norm()) for j, v in enumerate(views) if j != i}
        denominator = torch.stack([torch.exp(c / tau) for c in cosine.values()]).sum()
        positives = [j for j in cosine if group[j] == group[i]]
        for j in positives:
            total = total - torch.log(torch.exp(cosine[j] / tau) / denominator) / len(positives)
    return total / len(views)


def test_two_pairs_by_hand() -> None:
    """Each anchor: cosine 1 to its positive, 0 to both others; tau 1/2: log((e^2 + 2) / e^2)."""
    views = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
    found = supervised_contrast(views, torch.tensor([4, 4, 7, 7]), tau=0.5)
    assert found.item() == pytest.approx(math.log((math.exp(2) + 2) / math.exp(2)))


@pytest.mark.parametrize("group", [[0, 1, 0, 1, 0, 1], [0, 0, 0, 2, 2, 0], [1, 1, 1, 1, 1, 1]])
def test_contrast_and_its_gradient_by_a_loop(group: list[int]) -> None:
    views = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = supervised_contrast(views, torch.tensor(group), 0.06)
    expected = contrast_slowly(views, group, 0.06)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    one, other = (torch.autograd.grad(loss, views)[0] for loss in (found, expected))
    assert torch.allclose(one, other, atol=1e-9) and one.isfinite().all()


def build(**settings: object) -> SGSCLObjective:
    torch.manual_seed(5)
    return SGSCL(**settings).build(10, COUNTS, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("detach", ["second", "none"])
def test_losses_and_gradients_by_two_plain_passes(detach: str) -> None:
    objective, model, again, b = build(detach=detach, weight=0.7), Model(), Model(), batch()
    found = objective(model, b)
    assert list(found) == ["ce", "device"] and model.front.calls == 2
    features = [again.backbone(again.front(b.fbank)) for _ in range(2)]
    ce = F.cross_entropy(again.head(features[0]), b.label)
    first, second = objective.projector(features[0]), objective.projector(features[1])
    views = torch.cat([first, second.detach() if detach == "second" else second])
    expected = 0.7 * contrast_slowly(views, b.device.tolist() * 2, 0.06)
    assert found["ce"].item() == pytest.approx(ce.item(), rel=1e-6)
    assert found["device"].item() == pytest.approx(expected.item(), rel=1e-4)
    mine, theirs = ([*m.parameters(), *objective.projector.parameters()] for m in (model, again))
    gradients = torch.autograd.grad(sum(found.values()), mine)
    for g, e in zip(gradients, torch.autograd.grad(ce + expected, theirs), strict=True):
        assert torch.allclose(g, e, atol=2e-5)
    assert all(g.abs().max() > 1e-6 for g in gradients[:4]), "every part of the backbone learns"


def test_the_second_view_has_no_graph_when_it_is_detached() -> None:
    for detach, expected in (("second", [True, False]), ("none", [True, True])):
        objective, model, seen = build(detach=detach), Model(), []
        model.backbone.register_forward_hook(lambda m, x, y, seen=seen: seen.append(y.requires_grad))
        objective(model, batch())
        assert seen == expected
    with torch.no_grad():
        assert not build(detach="none")(Model(), batch())["device"].requires_grad


def test_in_bf16_the_weights_learn_though_the_second_view_has_no_graph() -> None:
    objective, model = build(), Model()
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective(model, batch())
    assert {v.dtype for v in losses.values()} == {torch.float32}
    losses["device"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.backbone.parameters())


def test_what_cannot_be_contrasted() -> None:
    with pytest.raises(AuscultError, match=r"E_SETTING.*sg_scl tells devices apart.*has 1"):
        SGSCL().build(10, COUNTS)
    with pytest.raises(AuscultError, match="drop_last=true"):
        build()(Model(), batch(1))
    for wrong in ({"tau": 0.0}, {"weight": -1.0}):
        with pytest.raises(ValueError, match=r"tau=.*weight="):
            SGSCL(**wrong)
