import pytest
import torch
from torch import nn
from torch.nn import functional as F

from auscult.batch import Batch
from auscult.objectives import CrossEntropy
from auscult.objectives.cross_entropy import class_weights

OFFICIAL = [2063, 1215, 501, 363]


def batch(n: int = 6) -> Batch:
    g = torch.Generator().manual_seed(0)
    label = torch.randint(0, 4, (n,), generator=g)
    zero = torch.zeros(n, dtype=torch.int64)
    return Batch(fbank=torch.randn(n, 5, 4, generator=g), label=label, patient=zero, device=zero, index=zero)


def model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(20, 4)


def test_weights_of_the_ast_baseline() -> None:
    assert class_weights(OFFICIAL, "inverse").tolist() == pytest.approx([0.08001, 0.13585, 0.32945, 0.45470], abs=5e-6)
    assert class_weights(OFFICIAL, "none").tolist() == [0.25] * 4
    mild = class_weights(OFFICIAL, "sqrt_inverse")
    assert (mild[3] / mild[0]).item() == pytest.approx((2063 / 363) ** 0.5)


def test_a_class_without_cycles_weighs_nothing() -> None:
    assert class_weights([4, 0, 1], "inverse").tolist() == pytest.approx([0.2, 0.0, 0.8])


@pytest.mark.parametrize("weighting", ["none", "inverse", "sqrt_inverse"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_against_the_formula(weighting: str, smoothing: float) -> None:
    b, m = batch(), model()
    found = (
        CrossEntropy(weighting=weighting, label_smoothing=smoothing)
        .build(20, OFFICIAL)
        .losses(m, b.fbank.flatten(1), b)
    )
    assert set(found) == {"ce"}
    w = class_weights(OFFICIAL, weighting)  # type: ignore[arg-type]
    logp = torch.log_softmax(m(b.fbank.flatten(1)), dim=1)
    hit = -(w[b.label] * logp[torch.arange(len(b)), b.label]).sum() / w[b.label].sum()
    rest = -(logp * w).sum() / w[b.label].sum() / 4
    assert found["ce"].item() == pytest.approx(((1 - smoothing) * hit + smoothing * rest).item(), rel=1e-5)


def test_unweighted_is_plain_cross_entropy() -> None:
    b, m = batch(), model()
    found = CrossEntropy().build(20, OFFICIAL).losses(m, b.fbank.flatten(1), b)["ce"]
    assert found.item() == pytest.approx(F.cross_entropy(m(b.fbank.flatten(1)), b.label).item(), rel=1e-6)
