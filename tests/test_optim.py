import itertools
import math

import pytest
import torch
from torch import nn

from auscult.models import Dass
from auscult.optim import AdamW, Cosine


def test_schedule_of_the_published_recipe() -> None:
    """lr(e) = eta + (lr - eta)(1 + cos(pi e/50))/2, eta = lr/1000, e = 1..50."""
    rate = [5e-5 * Cosine().factor(e, 0, 258, 50) for e in range(50)]
    assert rate[0] == pytest.approx(4.995e-5, rel=1e-4)
    assert rate[24] == pytest.approx(2.5025e-5, rel=1e-9)
    assert rate[49] == pytest.approx(5e-8, rel=1e-9)


def test_by_epoch_it_stands_still_within_an_epoch_and_by_step_it_falls() -> None:
    assert Cosine().factor(3, 0, 100, 10) == Cosine().factor(3, 99, 100, 10)
    steps = [Cosine(every="step").factor(e, s, 10, 4) for e in range(4) for s in range(10)]
    assert all(a > b for a, b in itertools.pairwise(steps))
    assert steps[-1] == pytest.approx(1e-3)


def test_warm_up_rises_to_the_top() -> None:
    rates = [Cosine(every="step", warmup_epochs=2).factor(e, s, 10, 8) for e in range(8) for s in range(10)]
    assert rates[0] == pytest.approx(1 / 20)
    assert max(rates) == rates[19] == pytest.approx(1.0)
    assert all(a < b for a, b in itertools.pairwise(rates[:20]))


def test_a_step_is_that_of_the_formula() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(2.0)
    optimizer = AdamW(lr=0.1, weight_decay=0.01).build(layer)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = 3 * layer.weight.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    # the first Adam step is lr * g/(|g| + eps) whatever the gradient; the decay lr * wd * w comes first
    assert layer.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.01) - 0.1, rel=1e-6)
    assert math.isclose(optimizer.param_groups[0]["eps"], 1e-8)


def test_norms_and_the_scan_s_constants_may_go_without_decay() -> None:
    model = Dass(size="nano").build()
    groups = AdamW(weight_decay=0.05, decay_norms=False).build(model).param_groups
    decayed, bare = ({id(p) for p in g["params"]} for g in groups)
    assert [g["weight_decay"] for g in groups] == [0.05, 0.0]
    named = dict(model.named_parameters())
    assert len(decayed) + len(bare) == len(named)
    assert id(named["layers.0.blocks.0.op.A_logs"]) in bare and id(named["layers.0.blocks.0.op.Ds"]) in bare
    assert id(named["layers.0.blocks.0.norm.weight"]) in bare
    assert id(named["layers.0.blocks.0.mlp.fc1.weight"]) in decayed
    assert len(AdamW().build(model).param_groups) == 1
