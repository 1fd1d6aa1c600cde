"""Every recipe in small: two processes see the gradient of one, and it learns for a step. JSON makes it again."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.multiprocessing import spawn

from auscult.config import from_dict, to_dict
from auscult.recipes import RECIPES, Recipe, RecipeSpec, recipe
from auscult.train import Step

from .ranks import NETWORKS, SMALL, batch, couples, distinct, gradients, small, step, work


@pytest.mark.parametrize("name", RECIPES)
def test_json_makes_a_recipe_again(name: str) -> None:
    made = recipe(name)
    assert made.name == name and from_dict(RecipeSpec, json.loads(json.dumps(to_dict(made)))) == made


@pytest.mark.parametrize("name", NETWORKS)
def test_every_backbone_has_a_small_form(name: str) -> None:
    kind = to_dict(recipe(name))["backbone"]["kind"]
    assert kind in SMALL, f"say in tests/ranks.py how {kind} becomes small"
    assert from_dict(RecipeSpec, json.loads(json.dumps(to_dict(small(name))))) == small(name)


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    """Gradients of every recipe, as either of two processes holds them; started once for all."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    spawn(work, (distinct(), folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.timeout(300)  # the first waits for both processes
@pytest.mark.parametrize("name", distinct())
def test_two_ranks_have_the_gradient_of_one_process_and_a_step_moves_what_learns(name: str, on_two_ranks: list) -> None:
    made = small(name)
    both = step(made)
    compare(on_two_ranks, name, expected(both, made))
    learn(both.train(), made)


def expected(both: Step, made: Recipe) -> dict[str, Tensor]:
    """The gradient of the whole batch; where the objective couples its clips, the mean of those of the two halves."""
    if not couples(made):
        return copied(gradients(both, batch(), 0))
    first, second = (copied(gradients(both, batch(slice(4 * rank, 4 * rank + 4)), rank)) for rank in (0, 1))
    return {key: (first[key] + second[key]) / 2 for key in first}


def copied(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: g.clone() for name, g in found.items()}


def compare(on_two_ranks: list, name: str, one_process: dict[str, Tensor]) -> None:
    first, second = (found[name] for found in on_two_ranks)
    assert list(first) == list(one_process)
    whole = torch.stack([g.norm() for g in one_process.values()]).norm()
    assert whole > 0
    for key, g in one_process.items():
        assert torch.equal(first[key], second[key]), f"the ranks differ in {key}"
        assert (first[key] - g).norm() <= 1e-3 * g.norm() + 1e-6 * whole, key


def learn(both: Step, made: Recipe) -> None:
    """One step of the recipe's own optimiser."""
    optimizer = made.optimizer.build(both)
    before = {n: p.detach().clone() for n, p in both.named_parameters()}

    def closure() -> Tensor:
        optimizer.zero_grad()
        losses = both(batch())
        assert losses and all(v.ndim == 0 and torch.isfinite(v) for v in losses.values())
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        return total

    optimizer.step(closure)  # type: ignore[arg-type]
    moved = {n for n, p in both.named_parameters() if not torch.equal(p, before[n])}
    assert moved <= {n for n, p in both.named_parameters() if p.requires_grad}
    assert moved >= {n for n, p in both.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert any(n.startswith("model.head") for n in moved) and any(n.startswith("model.backbone") for n in moved)
