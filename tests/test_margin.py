"""Margins, the angular classifier, and the loss that joins them: published figures, a slow twin, a foreign library."""

import math
from dataclasses import replace

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from auscult.batch import Batch
from auscult.config import override
from auscult.errors import AuscultError
from auscult.models import AngularHead, LinearHead
from auscult.models.heads import cosines, last_layer
from auscult.objectives import CrossEntropy, PatchMix, QLung
from auscult.objectives.margins import (
    AdaFace,
    ClassMargin,
    Dfam,
    FixedMargin,
    Ldam,
    LengthMargin,
    MarginSpec,
    QualityMargin,
)
from auscult.objectives.qlung import margin_loss, turned
from auscult.recipes import recipe
from auscult.signal.quality import Quality

ICBHI = [2063, 1215, 501, 363]
D, K = 12, 4


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def clips(n: int = 16, quality: float | None = None) -> Batch:
    g = torch.Generator().manual_seed(1)
    label, zero = torch.randint(K, (n,), generator=g), torch.zeros(n, dtype=torch.int64)
    scores = torch.rand(n, generator=g) if quality is None else torch.full((n,), quality)
    fbank = torch.randn(n, 5, 4, generator=g)
    return Batch(fbank=fbank, label=label, patient=zero, device=zero, index=zero, quality=scores)


def features(n: int = 16) -> Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(2))


def angles(margin: MarginSpec, batch: Batch, counts: list[int] = ICBHI) -> Tensor:
    return margin.build(counts)(features(len(batch)), batch)[0]


def of_each_class(quality: float) -> Batch:
    return replace(clips(K, quality), label=torch.arange(K))


def test_class_margins_of_icbhi_are_those_of_the_paper() -> None:
    wanted = torch.tensor([0.1006, 0.1769, 0.3047, 0.3512])
    assert torch.equal(ClassMargin().angles(ICBHI).round(decimals=4), wanted)
    assert torch.allclose(torch.rad2deg(wanted), torch.tensor([5.8, 10.1, 17.5, 20.1]), atol=0.05)
    torch.testing.assert_close(ClassMargin(target=0.3).angles([7] * 9), torch.full((9,), 0.3))


def test_margins_of_both_factors_are_those_of_the_paper() -> None:
    worst, best = (angles(Dfam(), of_each_class(quality)).round(decimals=3) for quality in (0.0, 1.0))
    assert worst.tolist() == pytest.approx([0.050, 0.088, 0.152, 0.176])
    assert best.tolist() == pytest.approx([0.300, 0.338, 0.402, 0.426])
    assert angles(QualityMargin(), of_each_class(0.6)).tolist() == pytest.approx([0.3] * K)


def test_a_class_without_cycles_has_a_finite_margin() -> None:
    assert ClassMargin().angles([10, 0, 5])[1] == 0 and Ldam().amounts([10, 0, 5])[1] == 0
    assert Ldam().amounts([10, 0, 5]).max() == 0.5


@pytest.mark.parametrize("margin", [FixedMargin(angle=0.0), QualityMargin(kappa=0.0), ClassMargin(target=0.0)])
def test_without_margin_and_with_one_scale_both_losses_are_equal(margin: MarginSpec) -> None:
    head = AngularHead(scale=15.0).build(D, K)
    made = QLung(margin=margin, weight=1.0).build(D, ICBHI).losses(head, features(), clips())
    torch.testing.assert_close(made["margin"], made["ce"], rtol=0, atol=1e-6)
    plain = F.cross_entropy(head(features()), clips().label)
    torch.testing.assert_close(CrossEntropy().build(D, ICBHI).losses(head, features(), clips())["ce"], plain)


def arcface(weight: Tensor, x: Tensor, label: Tensor, angle: float, scale: float) -> Tensor:
    """The library's loss; its margin is in degrees, its weights are (D, K)."""
    loss = ArcFaceLoss(num_classes=K, embedding_size=D, margin=math.degrees(angle), scale=scale)
    loss.W = nn.Parameter(weight.detach().T.contiguous())
    return loss(x, label)


@pytest.mark.parametrize(
    ("margin", "angle"),
    [(FixedMargin(angle=0.3), 0.3), (FixedMargin(angle=1.5), 1.5), (QualityMargin(), 0.0), (Dfam(), 0.1)],
    ids=["fixed", "fixed, most clips past 180 degrees", "quality", "both factors"],
)
def test_quality_zero_or_fixed_margin_is_arcface(margin: MarginSpec, angle: float) -> None:
    width = torch.float64 if angle > 1 else torch.float32  # that loss is 23, and 1e-6 of it less than float32's step
    batch, x = clips(quality=0.0), features().to(width).requires_grad_()
    y = x.detach().clone().requires_grad_()
    head = AngularHead().build(D, K).to(width)
    ours = QLung(margin=margin, weight=1.0).build(D, [5, 5, 5, 5]).losses(head, x, batch)["margin"]
    theirs = arcface(head.weight, y, batch.label, angle, 15.0)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    ours.backward(), theirs.backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-6)


def slow(cosine: Tensor, label: Tensor, angle: Tensor, amount: Tensor, scale: float) -> Tensor:
    """`margin_loss` clip by clip, with the angle itself."""
    total = torch.zeros((), dtype=cosine.dtype)
    for row, k, m, less in zip(cosine, label.tolist(), angle, amount, strict=True):
        theta = torch.arccos(row[k])
        if theta + m > math.pi:
            own = row[k] - m * math.sin(math.pi - m)
        else:
            own = torch.cos(torch.clamp(theta + m, min=0))
        e = [torch.exp(scale * (own - less if j == k else c)) for j, c in enumerate(row)]
        total = total - torch.log(e[k] / torch.stack(e).sum())
    return total / len(cosine)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.5), (1.0, 1.5), (-0.4, 0.4)])
def test_against_the_slow_twin(low: float, high: float) -> None:
    g = torch.Generator().manual_seed(3)
    cosine = torch.empty(64, K, dtype=torch.float64).uniform_(-0.999, 0.999, generator=g)
    angle = torch.empty(64, dtype=torch.float64).uniform_(low, high, generator=g)
    amount, label = 0.1 * angle, torch.randint(K, (64,), generator=g)
    ours, theirs = cosine.clone().requires_grad_(), cosine.clone().requires_grad_()
    values = margin_loss(ours, label, angle, amount, 15.0), slow(theirs, label, angle, amount, 15.0)
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
    values[0].backward(), values[1].backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)
    own = cosine.gather(1, label[:, None])[:, 0]
    past = torch.arccos(own) + angle > math.pi
    assert low < 1 or 5 < past.sum() < 60, "both sides of 180 degrees are to be met"


def test_a_turned_cosine_falls_with_the_angle_also_past_180_degrees() -> None:
    theta = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    for m in (0.05, 0.3, 0.8, math.pi / 2):
        value = turned(theta.cos(), torch.full_like(theta, m))
        assert (value.diff() <= 1e-12).all()
        past = theta > math.pi - m
        torch.testing.assert_close(value[past], theta[past].cos() - m * math.sin(math.pi - m))
    assert turned(torch.tensor([0.999]), torch.tensor([-0.4])) == 1


@pytest.mark.parametrize("margin", [FixedMargin(), Dfam(), Ldam(), AdaFace()])
@pytest.mark.parametrize("aligned", [1.0, -1.0])
def test_gradients_are_finite_where_a_clip_lies_on_its_class(margin: MarginSpec, aligned: float) -> None:
    batch = clips(K, quality=1.0)
    head = AngularHead().build(D, K)
    objective = QLung(margin=margin).build(D, ICBHI)
    for width in (torch.float32, torch.bfloat16):
        x = (aligned * head.weight.detach()[batch.label]).to(width).requires_grad_()
        losses = objective.losses(head, x, batch)
        sum(losses.values()).backward()
        assert torch.isfinite(x.grad).all() and torch.isfinite(head.weight.grad).all()
    exact = torch.tensor([1.0, -1.0], requires_grad=True)
    turned(exact, torch.tensor([0.3, 0.3])).sum().backward()
    assert torch.isfinite(exact.grad).all() and (exact.grad > 0).all()


def test_autocast_reaches_neither_cosines_nor_margin() -> None:
    head, objective = AngularHead().build(D, K), QLung().build(D, ICBHI)
    plain = objective.losses(head, features(), clips())
    with torch.autocast("cpu", torch.bfloat16):
        low = objective.losses(head, features(), clips())
        assert head(features()).dtype == torch.float32
    assert all(torch.equal(plain[name], low[name]) for name in plain)


def test_ldam_takes_its_amount_from_the_cosine() -> None:
    amounts = Ldam().amounts(ICBHI)
    assert amounts[3] == 0.5 and amounts[0].item() == pytest.approx(0.5 * (363 / 2063) ** 0.25)
    cosine, label = torch.rand(5, K), torch.tensor([0, 1, 2, 3, 0])
    wanted = F.cross_entropy(15 * (cosine - F.one_hot(label, K) * amounts[label][:, None]), label)
    torch.testing.assert_close(margin_loss(cosine, label, torch.zeros(5), amounts[label], 15.0), wanted)


def test_adaface_by_hand() -> None:
    margin, x, batch = AdaFace().build(ICBHI), features(), clips()
    assert isinstance(margin, LengthMargin)
    angle, amount = margin(x, batch)
    length = x.norm(dim=1)
    z = ((length - length.mean()) / (length.std(correction=0) + 1e-3) * 0.333).clamp(-1, 1)
    torch.testing.assert_close(angle, -0.4 * z)
    torch.testing.assert_close(amount, 0.4 * z + 0.4)
    margin(3 * x, batch)
    torch.testing.assert_close(margin.mean, 0.99 * length.mean() + 0.01 * 3 * length.mean())
    before = margin.mean.clone()
    margin.eval()(5 * x, batch)
    assert torch.equal(margin.mean, before) and "mean" in margin.state_dict()


def test_the_margin_reads_the_weights_of_the_classifier() -> None:
    """Dropout and batch norm before the linear layer are passed once, and what follows them is compared."""
    head = LinearHead(dropout=0.5, normalise=True).build(D, K)
    layer, reached = last_layer(head, features())
    assert layer is head[-1] and int(head[0].num_batches_tracked) == 1
    wanted = F.cosine_similarity(reached[:, None], layer.weight[None], dim=2)
    torch.testing.assert_close(cosines(reached, layer.weight), wanted)
    made = QLung().build(D, ICBHI).losses(head, features(), clips())
    assert int(head[0].num_batches_tracked) == 2
    sum(made.values()).backward()
    assert layer.weight.grad.abs().sum() > 0
    with pytest.raises(AuscultError, match="one weight per class, not in Identity"):
        last_layer(nn.Identity(), features())


def test_an_angular_head_does_not_see_lengths() -> None:
    head, x = AngularHead(scale=20.0).build(D, K), features()
    out = head(x)
    torch.testing.assert_close(out, head(100 * x))
    assert out.abs().max() <= 20 and list(head.state_dict()) == ["weight"]


def test_a_small_network_learns_with_an_angular_head() -> None:
    """Four classes, each loud in a band of its own."""
    settings = override(recipe("qlung_dass_nano"), ["input.specaugment=none"])
    model = settings.build_model(K)
    label, sound = torch.arange(K).repeat(3), torch.randn(3 * K, 16, 64)
    for clip, k in zip(sound, label.tolist(), strict=True):
        clip[:, 16 * k : 16 * (k + 1)] += 3
    batch = Batch(fbank=sound, label=label, patient=label, device=label, index=label, quality=torch.rand(3 * K))
    objective = settings.objective.build(model.backbone.features, ICBHI)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    course = []
    for _ in range(8):
        losses = objective(model, batch)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        course.append({name: float(value.detach()) for name, value in losses.items()})
    assert all(course[-1][name] < 0.2 * course[0][name] for name in ("ce", "margin")), course


def test_quality_is_asked_for_where_a_margin_reads_it() -> None:
    asked = Quality(alpha=0.5)
    by_quality = QualityMargin(quality=asked)
    for objective in (QLung(margin=by_quality), QLung(margin=Dfam(by_quality=by_quality))):
        assert objective.quality_asked == asked == PatchMix(cross_entropy=objective).quality_asked
    for margin in (FixedMargin(), ClassMargin(), Ldam(), AdaFace()):
        assert QLung(margin=margin).quality_asked is None
    assert CrossEntropy().quality_asked is None and PatchMix().quality_asked is None
    with pytest.raises(AuscultError, match="no audio quality") as caught:
        QLung().build(D, ICBHI).losses(AngularHead().build(D, K), features(), replace(clips(), quality=None))
    assert caught.value.code == "E_SETTING"


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedMargin(angle=2.0),
        lambda: QualityMargin(kappa=-0.1),
        lambda: Dfam(gamma=1.5),
        lambda: Ldam(largest=3.0),
        lambda: AdaFace(h=0.0),
        lambda: QLung(scale=0.0),
        lambda: AngularHead(scale=-1.0),
    ],
)
def test_settings_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"needed|must be"):
        make()  # type: ignore[operator]
