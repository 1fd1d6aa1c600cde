"""Patch-Mix against loops over clips, values and gradients, and against what can be said without running it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auscult.batch import Batch
from auscult.errors import AuscultError
from auscult.objectives import CrossEntropy, PatchMix
from auscult.objectives.cross_entropy import class_weights
from auscult.objectives.mixing import Mix, draw
from auscult.objectives.patch_mix import PatchMixObjective, contrast, different

from .toys import COUNTS, Small


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.calls: list[str] = []
        self.front = nn.Identity()
        self.backbone = Small()
        self.head = nn.Linear(10, 4)
        for name in ("patchify", "encode"):
            inner = getattr(self.backbone, name)
            setattr(self.backbone, name, lambda x, inner=inner, name=name: self.calls.append(name) or inner(x))

    def forward(self, fbank: Tensor) -> Tensor:
        raise AssertionError("the objective composes the parts itself: the front end must not run twice")


def batch(n: int = 6) -> Batch:
    g = torch.Generator().manual_seed(0)
    label = torch.arange(n) % 3
    fbank = torch.randn(n, 12, 16, generator=g)
    return Batch(fbank=fbank, label=label, patient=label, device=label, index=label)


class Front(nn.Module):
    def forward(self, fbank: Tensor) -> Tensor:
        return fbank.transpose(1, 2).unsqueeze(1)


def model() -> Model:
    made = Model()
    made.front = Front()
    return made


def build(**settings: object) -> PatchMixObjective:
    torch.manual_seed(5)
    return PatchMix(**settings).build(10, COUNTS)


def contrast_slowly(anchors: Tensor, keys: Tensor, mix: Mix, tau: float, label: Tensor | None = None) -> Tensor:
    """Equation 9, a clip at a time; with labels only other classes, the clip and its partner are in the denominator."""
    total = torch.zeros((), dtype=anchors.dtype)
    for i in range(len(keys)):
        partner = int(mix.partner[i])
        cosine = [anchors[i] @ k / (anchors[i].norm() * k.norm()) for k in keys]
        used = [j for j in range(len(keys)) if label is None or label[j] != label[i] or j in (i, partner)]
        denominator = torch.stack([torch.exp(cosine[j] / tau) for j in used]).sum()
        for j, share in ((i, mix.kept), (partner, 1 - mix.kept)):
            total = total - share * torch.log(torch.exp(cosine[j] / tau) / denominator)
    return total / len(keys)


def test_two_clips_by_hand() -> None:
    """Anchors (1, 0) and (0, 1), keys the same, partners swapped, 3/4 kept, tau 1/2: p(own) = e^2 / (e^2 + 1)."""
    two = torch.eye(2)
    swapped = torch.tensor([[1, 0]])
    own, other = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    found = contrast(3 * two[None], 7 * two, swapped, torch.tensor([0.75]), tau=0.5)
    assert found.tolist() == pytest.approx([0.75 * own + 0.25 * other])
    assert found.tolist() == pytest.approx([0.626928], abs=1e-6)


@pytest.mark.parametrize("by_label", [False, True])
def test_contrast_and_its_gradients_by_a_loop(by_label: bool) -> None:
    anchors = torch.randn(2, 6, 5, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 0, 1, 1, 2, 0])
    mixes = [draw("time", 6, 4, 16, 1.0, rng(1)), draw("freq", 6, 16, 4, 1.0, rng(2))]
    partner, kept = torch.stack([m.partner for m in mixes]), torch.tensor([m.kept for m in mixes])
    allowed = different(label, partner) if by_label else None
    found = contrast(anchors, keys, partner, kept.double(), 0.2, allowed)
    expected = torch.stack(
        [contrast_slowly(a, keys, m, 0.2, label if by_label else None) for a, m in zip(anchors, mixes, strict=True)]
    )
    assert torch.allclose(found, expected, rtol=1e-6)
    gradients = torch.autograd.grad(found.sum(), (anchors, keys))
    assert all(map(torch.allclose, gradients, torch.autograd.grad(expected.sum(), (anchors, keys))))


def test_all_kept_is_plain_infonce() -> None:
    anchors, keys = torch.randn(1, 8, 6), torch.randn(8, 6)
    found = contrast(anchors, keys, torch.randperm(8)[None], torch.ones(1), tau=0.2)
    logits = F.cosine_similarity(anchors[0][:, None], keys[None], dim=2) / 0.2
    assert found.item() == pytest.approx(F.cross_entropy(logits, torch.arange(8)).item(), rel=1e-5)


def test_a_clip_mixed_with_itself_does_not_feel_lambda() -> None:
    anchors, keys, same = torch.randn(3, 8, 6), torch.randn(8, 6), torch.arange(8).expand(3, 8)
    anchors[:] = anchors[0].clone()
    found = contrast(anchors, keys, same, torch.tensor([0.0, 0.3, 1.0]), tau=0.2)
    assert found.tolist() == pytest.approx([found[0].item()] * 3)


def slowly(objective: PatchMixObjective, m: Model, b: Batch, mixes: list[Mix]) -> dict[str, Tensor]:
    """The losses with one pass of the whole model for each view, as the literature's code runs it."""
    s = objective.settings

    def features(mix: Mix | None) -> Tensor:
        patches = m.backbone.patchify(m.front(b.fbank))
        if mix is not None:
            mask = torch.zeros(patches.shape[2:], dtype=torch.bool)
            mask[mix.where] = True
            patches = torch.where(mask, patches[mix.partner], patches)
        return m.backbone.encode(patches)

    clean = features(None)
    weight = class_weights(COUNTS, s.cross_entropy.weighting)
    losses = {"ce": F.cross_entropy(m.head(clean), b.label, weight, label_smoothing=s.cross_entropy.label_smoothing)}
    keys = clean.detach() if s.target == "released" else objective.projector(clean)
    for axis, w, mix in zip(s.axes, s.weights or [1.0] * len(mixes), mixes, strict=True):
        anchors = objective.projector(features(mix))
        if s.target == "paper":
            anchors = anchors.detach()
        label = b.label if s.negatives == "different_label" else None
        losses[axis] = w * contrast_slowly(anchors, keys, mix, s.tau, label)
    return losses


@pytest.mark.parametrize("target", ["paper", "released"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"axes": ("token",), "tau": 0.06},
        {"axes": ("freq", "time", "token"), "weights": (0.5, 2.0, 0.1), "negatives": "different_label"},
        {"train_projector": True, "cross_entropy": CrossEntropy(weighting="inverse", label_smoothing=0.1)},
    ],
)
def test_losses_and_gradients_by_separate_passes(target: str, settings: dict) -> None:
    objective, m, b = build(target=target, **settings), model(), batch()
    mixes = [draw(axis, 6, 8, 6, 1.0, rng(i)) for i, axis in enumerate(objective.settings.axes)]
    objective.draw_mixes = lambda patches: mixes  # type: ignore[method-assign]
    found = objective(m, b)
    assert m.calls == ["patchify", "encode", "encode"], "one clean pass, one for all mixed views"
    learnt = [p for part in (m, objective) for p in part.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(sum(found.values()), learnt, allow_unused=True)
    expected = slowly(objective, m, b, mixes)
    assert list(found) == list(expected) == ["ce", *objective.settings.axes]
    for name in found:
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-4), name
    for g, e in zip(gradients, torch.autograd.grad(sum(expected.values()), learnt, allow_unused=True), strict=True):
        assert (g is None) == (e is None)
        assert g is None or torch.allclose(g, e, atol=1e-5)


def gradients_of_the_contrast(**settings: object) -> SimpleNamespace:
    """Sums of |gradient| of the two contrasts alone: at stem, body and projector, and through each side's features."""
    objective, m = build(**settings), model()
    sides: list[Tensor] = []
    encode = m.backbone.encode

    def watched(patches: Tensor) -> Tensor:
        y = encode(patches)
        if y.requires_grad:
            y.retain_grad()
        sides.append(y)
        return y

    m.backbone.encode = watched  # type: ignore[method-assign]
    losses = objective(m, batch())
    (losses["time"] + losses["freq"]).backward()

    def size(*tensors: Tensor | None) -> float:
        return sum(float(t.abs().sum()) for t in tensors if t is not None)

    parts = {name: size(*(p.grad for p in part.parameters())) for name, part in m.backbone.named_children()}
    clean, views = (side.grad if side.requires_grad else None for side in sides)
    projector = size(*(p.grad for p in objective.projector.parameters()))
    return SimpleNamespace(**parts, clean=size(clean), views=size(views), projector=projector)


def test_released_moves_the_mixed_side_only() -> None:
    seen = gradients_of_the_contrast(target="released")
    assert seen.views > 0 and seen.clean == 0
    assert seen.stem > 0 and seen.body > 0
    assert seen.projector == 0, "it is frozen"
    assert gradients_of_the_contrast(target="released", train_projector=True).projector > 0


def test_paper_moves_the_clean_side_only() -> None:
    seen = gradients_of_the_contrast(target="paper")
    assert seen.clean > 0 and seen.views == 0
    assert seen.stem > 0 and seen.body > 0 and seen.projector > 0
    frozen = gradients_of_the_contrast(target="paper", train_projector=False)
    assert frozen.projector == 0 and frozen.clean > 0


@pytest.mark.parametrize(
    ("target", "asked", "trained"),
    [("paper", None, True), ("paper", False, False), ("released", None, False), ("released", True, True)],
)
def test_whether_the_projector_learns(target: str, asked: bool | None, trained: bool) -> None:
    projector = build(target=target, train_projector=asked).projector
    assert {p.requires_grad for p in projector.parameters()} == {trained}


def test_the_published_projector() -> None:
    projector = PatchMix().build(768, COUNTS).projector
    shapes = {name: tuple(p.shape) for name, p in projector.named_parameters()}
    square = {"0.weight": (768, 768), "0.bias": (768,), "3.weight": (768, 768), "3.bias": (768,)}
    assert shapes == square | {"1.weight": (768,), "1.bias": (768,)}
    assert [type(layer).__name__ for layer in projector] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_draws_follow_torch_s_seed_and_differ_between_axes() -> None:
    patches, objective = torch.zeros(16, 1, 32, 256), build()
    torch.manual_seed(7)
    first, second = objective.draw_mixes(patches), objective.draw_mixes(patches)
    torch.manual_seed(7)
    again = objective.draw_mixes(patches)
    assert [m.kept for m in first] == [m.kept for m in again] != [m.kept for m in second]
    assert all(torch.equal(a.partner, b.partner) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].partner, first[1].partner)


def test_in_bf16_the_contrast_is_still_near() -> None:
    for target in ("paper", "released"):
        objective, m, b = build(target=target), model(), batch()
        torch.manual_seed(1)
        exact = objective(m, b)
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            near = objective(m, b)
        assert {v.dtype for v in near.values()} == {torch.float32}
        assert {k: v.item() for k, v in near.items()} == pytest.approx({k: v.item() for k, v in exact.items()}, rel=0.1)
        sum(near.values()).backward()
        assert all(p.grad is not None for p in m.parameters())


def test_a_batch_of_one_cannot_be_mixed() -> None:
    with pytest.raises(AuscultError, match="drop_last=true"):
        build()(model(), batch(1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"axes": ()}, "one or more"),
        ({"axes": ("time", "time")}, "each once"),
        ({"weights": (1.0,)}, "one for each of axes=time,freq"),
        ({"tau": 0.0}, "more than 0"),
        ({"beta": -1.0}, "more than 0"),
    ],
)
def test_settings_that_mean_nothing(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PatchMix(**settings)
