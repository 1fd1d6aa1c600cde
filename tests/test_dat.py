"""Domain-adversarial training: the sign and the schedule of the reversed gradient, and the losses by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from auscult.errors import AuscultError
from auscult.models import LinearHead
from auscult.objectives import DAT
from auscult.objectives.dat import DATObjective, reverse_gradient

from .toys import COUNTS, Model, batch


def build(**settings: object) -> DATObjective:
    torch.manual_seed(5)
    return DAT(**settings).build(10, COUNTS, 2)  # type: ignore[arg-type]


def test_the_gradient_changes_its_sign_and_nothing_else_changes() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    y = reverse_gradient(x, 0.25)
    assert torch.equal(y, x)
    (gradient,) = torch.autograd.grad((y**2).sum(), x)
    assert torch.allclose(gradient, -0.25 * 2 * x.detach())


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.5, 0.999])
def test_the_strength_rises_from_0_to_1(progress: float) -> None:
    objective = build()
    objective.progress = progress
    assert objective.strength == pytest.approx(math.tanh(5 * progress))  # the same curve, written otherwise
    assert build(ramp=False).strength == 1.0


@pytest.mark.parametrize("progress", [0.0, 0.3])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_losses_and_gradients_by_hand(progress: float, alpha: float) -> None:
    """Head: the gradient of alpha CE. Backbone: that of the class loss minus strength x alpha x that of the device."""
    objective, model, again, b = build(alpha=alpha), Model(), Model(), batch()
    objective.progress = progress
    found = objective(model, b)
    features = again.backbone(again.front(b.fbank))
    ce = F.cross_entropy(again.head(features), b.label)
    device = alpha * F.cross_entropy(objective.device_head(features), b.device)
    assert list(found) == ["ce", "device"]
    assert [v.item() for v in found.values()] == pytest.approx([ce.item(), device.item()], rel=1e-6)
    sum(found.values()).backward()
    head = list(objective.device_head.parameters())
    for p, e in zip(head, torch.autograd.grad(device, head, retain_graph=True), strict=True):
        assert p.grad is not None and torch.allclose(p.grad, e, atol=1e-7) and e.abs().max() > 1e-4
    body = list(again.backbone.parameters())
    of_class = torch.autograd.grad(ce, body, retain_graph=True)
    of_device = torch.autograd.grad(device, body)
    for p, c, d in zip(model.backbone.parameters(), of_class, of_device, strict=True):
        assert p.grad is not None and torch.allclose(p.grad, c - math.tanh(5 * progress) * d, atol=1e-7)
        assert d.abs().max() > 1e-4


def test_the_head_learns_the_devices_and_the_features_forget_them() -> None:
    """A gradient step on the backbone alone raises the device loss; one on the device head alone lowers it."""
    for part, sign in (("backbone", 1), ("head", -1)):
        objective, model = build(ramp=False), Model()

        def loss(objective: DATObjective = objective, model: Model = model) -> torch.Tensor:
            model.front.calls = 0
            return objective(model, batch())["device"]

        chosen = model.backbone if part == "backbone" else objective.device_head
        optimizer, before = torch.optim.SGD(chosen.parameters(), lr=1.0), loss()
        before.backward()
        optimizer.step()
        assert sign * (loss().item() - before.item()) > 1e-5


def test_one_device_cannot_be_adapted_and_the_head_can_be_ast_s() -> None:
    with pytest.raises(AuscultError, match=r"E_SETTING.*dat tells devices apart.*has 1.*Train on icbhi"):
        DAT().build(10, COUNTS, 1)
    head = build(device_head=LinearHead(layer_norm=True)).device_head
    assert [type(m).__name__ for m in head] == ["LayerNorm", "Linear"] and head[1].out_features == 2
    with pytest.raises(ValueError, match="alpha=-1"):
        DAT(alpha=-1.0)
