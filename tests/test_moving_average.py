"""The average of the weights before and after a step, alone and in a run that is broken off and resumed."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from auscult.config import override
from auscult.models.weights import load_weights
from auscult.optim import moving_average
from auscult.recipes import Recipe, recipe
from auscult.train import Trainer, train

from .small import SETTINGS, small_corpus


def steps(rate: float, keep: float, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Five steps of SGD on a parabola; weights, rate and gradients are sums of few powers of two, so nothing rounds."""
    weight = nn.Parameter(torch.tensor([3.0, -1.5, 0.25], dtype=dtype))
    module = nn.ParameterList([weight])
    optimizer = torch.optim.SGD(module.parameters(), lr=rate)
    seen = []
    for _ in range(5):
        with moving_average(module, keep):
            optimizer.zero_grad()
            (weight.square() * torch.tensor([1.0, 2.0, 0.5], dtype=dtype)).sum().backward()
            optimizer.step()
        seen.append(weight.detach().clone())
    return seen


def test_with_sgd_a_half_is_half_the_learning_rate_exactly() -> None:
    assert all(map(torch.equal, steps(0.25, 0.5), steps(0.125, 0.0)))
    assert all(map(torch.equal, steps(0.25, 0.75), steps(0.0625, 0.0)))
    assert not torch.equal(steps(0.25, 0.0)[0], steps(0.25, 0.5)[0])


def test_weights_of_a_step_are_the_mean_and_running_statistics_too() -> None:
    module = nn.BatchNorm1d(2)
    module.weight.requires_grad_(False)
    with moving_average(module, 0.75), torch.no_grad():
        module.bias += 8
        module(torch.tensor([[9.0, 0.0], [11.0, 20.0]]))
    assert module.bias.tolist() == [2.0, 2.0]
    assert module.running_mean.tolist() == pytest.approx([0.25 * 0.1 * 10] * 2)
    assert module.weight.tolist() == [1.0, 1.0] and module.num_batches_tracked == 1


def test_nothing_to_keep_leaves_the_step_alone() -> None:
    layer = nn.Linear(3, 3)
    with moving_average(layer, 0.0), torch.no_grad():
        layer.weight.fill_(0.1)
    assert (layer.weight == 0.1).all()


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ValueError, match=r"a share in \[0, 1\)"):
        Recipe(name="x", moving_average=share)


def small(*settings: str) -> Recipe:
    return override(recipe("lung_srad_nano"), [*SETTINGS, "epochs=2", "moving_average=0.5", *settings])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["AUSCULT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return small_corpus(tmp_path_factory.mktemp("data") / "synthetic")


def test_a_run_that_was_broken_off_ends_with_the_same_bits(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(small(), "synthetic", corpus, tmp_path / "whole", seed=3)
    assert all(set(r["loss"]) == {"ce", "time", "freq"} for r in whole.history())
    checkpoint = Trainer.checkpoint

    def then_stop(self: Trainer) -> None:
        checkpoint(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "checkpoint", then_stop)
    with pytest.raises(KeyboardInterrupt):
        train(small(), "synthetic", corpus, tmp_path / "cut", seed=3)
    monkeypatch.undo()
    resumed = train(small(), "synthetic", corpus, tmp_path / "cut", seed=3, resume=True)
    a, b = (load_weights(run.weights("last")).state for run in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert [r["loss"] for r in whole.history()] == [r["loss"] for r in resumed.history()]
