"""What is in a dictionary is built, trained for a step, saved, loaded and documented, with no new test to write."""

import ast
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import auscult
from auscult.batch import Batch
from auscult.config import SPECS, from_dict, to_dict
from auscult.data import DATASETS
from auscult.models import BACKBONES, HEADS, BackboneSpec
from auscult.models.weights import Weights, load_into, load_weights, save_weights
from auscult.objectives import OBJECTIVES
from auscult.optim import OPTIMIZERS
from auscult.recipes import RECIPES, TableRecipe, recipe

COUNTS = [5, 3, 2, 1]
SMALLEST: dict[str, BackboneSpec] = {
    "dass": BACKBONES["dass"](size="nano"),  # type: ignore[call-arg]
    "ast": BACKBONES["ast"](size="nano", frames=60, n_mels=64),  # type: ignore[call-arg]
    "cnn6": BACKBONES["cnn6"](width=4),  # type: ignore[call-arg]
    "mobilenet": BACKBONES["mobilenet"](size="mn01"),  # type: ignore[call-arg]
}
TABLES = {"backbones": BACKBONES, "heads": HEADS, "objectives": OBJECTIVES, "optimizers": OPTIMIZERS}


def batch() -> Batch:
    g = torch.Generator().manual_seed(0)
    label = torch.tensor([0, 1, 2, 3])
    fbank, quality = torch.randn(4, 60, 64, generator=g), torch.full((4,), 0.5)
    return Batch(fbank=fbank, label=label, patient=label, device=label, index=label, quality=quality)


@pytest.mark.parametrize(("table", "name"), [(t, n) for t, entries in TABLES.items() for n in entries])
def test_a_name_in_a_table_is_the_name_in_saved_recipes(table: str, name: str) -> None:
    made = TABLES[table][name]
    assert SPECS[name] is made
    assert to_dict(made())["kind"] == name and from_dict(made, to_dict(made())) == made()
    assert len(made.__doc__ or "") > 20


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_has_its_two_verbs(name: str) -> None:
    assert name in SMALLEST, f"add the smallest {name} to SMALLEST in {Path(__file__).name}"
    model = SMALLEST[name].build().eval()
    x = torch.randn(2, 1, 64, 60)
    with torch.no_grad():
        assert model.encode(model.patchify(x)).shape == (2, model.features)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_takes_a_step_with_every_optimizer(
    objective: str, optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)  # where the default `distil` looks for its teacher
    save_file({"probabilities": torch.full((4, 4), 0.25), "labels": batch().label}, "teacher.safetensors")
    settings = from_dict(type(recipe("dass_nano")), {**to_dict(recipe("dass_nano")), "name": "test"})
    model = settings.build_model(4)
    criterion = OBJECTIVES[objective]().build(model.backbone.features, COUNTS, devices=4)
    both = torch.nn.ModuleList([model, criterion])
    algorithm = OPTIMIZERS[optimizer]().build(both)
    before = {n: p.clone() for n, p in model.named_parameters()}

    def closure() -> torch.Tensor:
        algorithm.zero_grad()
        losses = criterion(model, batch())
        assert losses and all(v.ndim == 0 and torch.isfinite(v) for v in losses.values())
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        return total

    algorithm.step(closure)
    assert all(not torch.equal(p, before[n]) for n, p in model.named_parameters() if p.requires_grad)
    file = tmp_path / "w.safetensors"
    facts = {"seed": 0}
    save_weights(file, Weights(state=model.state_dict(), recipe=to_dict(settings), classes=tuple("abcd"), facts=facts))
    back = load_weights(file)
    again = from_dict(type(settings), back.recipe).build_model(4)
    load_into(again, back.state, "w")
    with torch.no_grad():
        assert torch.equal(model.eval()(batch().fbank), again.eval()(batch().fbank))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds_its_model(name: str) -> None:
    with torch.device("meta"):
        model = recipe(name).build_model(4)
    numbers = sum(p.numel() for p in (*model.parameters(), *model.buffers()))
    assert numbers > (1e4 if isinstance(recipe(name), TableRecipe) else 1e5)
    assert RECIPES[name].__doc__


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_is_documented(name: str) -> None:
    assert len(inspect.getmodule(DATASETS[name]).__doc__ or "") > 40  # type: ignore[union-attr]


def public(tree: ast.AST) -> list[ast.FunctionDef | ast.ClassDef]:
    found = [n for n in getattr(tree, "body", []) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return [n for n in found if not n.name.startswith("_")]


@pytest.mark.parametrize("file", sorted(Path(auscult.__file__).parent.rglob("*.py")), ids=lambda f: f.stem)
def test_every_public_name_has_a_docstring(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert not tree.body or ast.get_docstring(tree) or file.name == "version.py", "the file says nothing about itself"
    bare = [n.name for n in public(tree) if not ast.get_docstring(n)]
    assert not bare, f"without a docstring: {bare}"


def test_closures_are_typed() -> None:
    """The tables hold classes that can be called without arguments: a recipe names them by kind alone."""
    makers: list[Callable[[], object]] = [made for table in TABLES.values() for made in table.values()]
    assert all(made() for made in makers)
