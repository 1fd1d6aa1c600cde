"""The recipes of Lung-SRAD, and the document that says where everything is."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import auscult
from auscult.batch import Batch
from auscult.config import from_dict, override, to_dict
from auscult.models import Smoothing
from auscult.models.smoothing import GaussianSmoothing
from auscult.objectives import PatchMix
from auscult.optim import moving_average
from auscult.recipes import RECIPES, SWEEPS, Recipe, recipe

PACKAGE = Path(auscult.__file__).parent
DOC = PACKAGE.parents[1] / "docs" / "papers" / "lung_srad.md"
AXES: dict[str, tuple[str, ...]] = {
    "dass": (),
    "dass_smooth": (),
    "dass_smooth_astmix": ("token",),
    "dass_smooth_freq": ("freq",),
    "dass_smooth_time": ("time",),
    "lung_srad": ("time", "freq"),
    "lung_srad_released": ("time", "freq"),
}
ENDINGS = {"": "medium", "_small": "small", "_nano": "nano"}
ALL = [(row, ending) for row in AXES for ending in ENDINGS]


@pytest.mark.parametrize(("row", "ending"), ALL)
def test_a_row_of_the_table_is_its_method_and_nothing_else(row: str, ending: str) -> None:
    made, base = recipe(row + ending), recipe("dass" + ending)
    assert made.name == row + ending
    assert made.backbone.size == ENDINGS[ending]
    assert made.backbone.smoothing == (None if row == "dass" else Smoothing())
    if AXES[row]:
        assert isinstance(made.objective, PatchMix)
        assert made.objective.axes == AXES[row] and made.objective.tau == 0.2
        assert made.objective.target == ("released" if row == "lung_srad_released" else "paper")
        assert made.objective.cross_entropy == base.objective, "the same loss on clean clips in every row"
    else:
        assert made.objective == base.objective
    assert replace(made, name=base.name, backbone=base.backbone, objective=base.objective) == base
    assert from_dict(Recipe, to_dict(made)) == made


def test_constants_of_the_public_scripts() -> None:
    made = recipe("lung_srad")
    assert (made.epochs, made.batch_size, made.moving_average, made.weights) == (50, 16, 0.5, "dass_medium_v2")
    assert (made.optimizer.lr, made.optimizer.weight_decay, made.input.frames) == (5e-5, 1e-6, 1024)
    rates = [made.optimizer.lr * made.schedule.factor(e - 1, 0, 258, made.epochs) for e in (1, 25, 50)]
    assert rates == pytest.approx([4.995e-5, 2.5025e-5, 5e-8], rel=1e-4)
    with torch.device("meta"):
        model = made.build_model(4)
    assert sum(p.numel() for p in model.parameters()) == 48_246_052
    where = [name for name, m in model.named_modules() if isinstance(m, GaussianSmoothing)]
    assert where == ["backbone.layers.2.blocks.2.op.merged", "backbone.layers.2.blocks.3.op.merged"]


@pytest.mark.parametrize("row", AXES)
def test_a_training_step(row: str) -> None:
    """One step at nano size: every loss is a number, everything that learns moves, the average halves the way."""
    torch.manual_seed(0)
    made = recipe(f"{row}_nano")
    model = made.build_model(4)
    objective = made.objective.build(model.backbone.features, [5, 3, 2, 1])
    both = torch.nn.ModuleList([model, objective])
    optimizer = made.optimizer.build(both)
    label = torch.arange(6) % 4
    batch = Batch(fbank=torch.randn(6, 60, 64), label=label, patient=label, device=label, index=label)
    losses = objective(model, batch)
    assert list(losses) == ["ce", *AXES[row]]
    assert all(torch.isfinite(v) and v.ndim == 0 for v in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    before = {name: p.detach().clone() for name, p in both.named_parameters()}
    optimizer.step()
    moved = {name for name, p in both.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in both.named_parameters() if p.requires_grad}
    frozen = {name for name in before if "projector" in name} - moved
    assert len(frozen) == (6 if row == "lung_srad_released" else 0)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["tau", "kernel", "sigma"])
def test_sweeps_fit_every_size_and_hold_the_paper_s_value(name: str, ending: str) -> None:
    points = [override(recipe("lung_srad" + ending), settings) for settings in SWEEPS[name]]
    assert len({str(p) for p in points}) == len(points), "two points are the same"
    assert recipe("lung_srad" + ending) in points


@pytest.mark.parametrize(("base", "name"), [("lung_srad_small", "stage"), ("lung_srad_nano", "stage_nano")])
def test_every_stage_can_be_smoothed(base: str, name: str) -> None:
    """DASS medium has the stages of small, but for a longer third."""
    points = [override(recipe(base), settings) for settings in SWEEPS[name]]
    assert [p.backbone.smoothing.stage for p in points] == [0, 1, 2, 3]
    assert recipe(base) in points
    for point in points:
        with torch.device("meta"):
            model = point.backbone.build()
        found = [m for m in model.layers[point.backbone.smoothing.stage].modules() if isinstance(m, GaussianSmoothing)]
        assert len(found) == len(point.backbone.smoothing.blocks)


def test_sweeps_change_what_they_are_named_after() -> None:
    taus = [override(recipe("lung_srad_nano"), s).objective.tau for s in SWEEPS["tau"]]
    assert taus == sorted(set(taus)) and 0.06 in taus
    kernels = [override(recipe("lung_srad_nano"), s).backbone.smoothing.kernel for s in SWEEPS["kernel"]]
    assert kernels == [3, 5, 7, 9]


def test_a_setting_inside_a_setting() -> None:
    settings = ["objective.cross_entropy.weighting=inverse", "objective.axes=freq", "objective.weights=0.5"]
    changed = override(recipe("lung_srad_nano"), [*settings, "objective.train_projector=false"]).objective
    assert changed.cross_entropy.weighting == "inverse" and changed.axes == ("freq",)
    assert changed.weights == (0.5,) and changed.train_projector is False


def test_every_recipe_says_how_to_run_it() -> None:
    for row, ending in ALL:
        text = RECIPES[row + ending].__doc__ or ""
        assert f"auscult train {row + ending}" in text or row + ending == "dass_nano"
    assert moving_average.__doc__


def symbols(file: Path) -> set[str]:
    """Functions, classes, methods and constants of a file, as ``name`` or ``Class.name``; imported names too."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            found |= {f"{node.name}.{n.name}" for n in inner if isinstance(n, ast.FunctionDef)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def test_the_document_points_at_things_that_exist() -> None:
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", DOC.read_text())
    assert len(named) > 20
    missing = [f"{file}:{symbol}" for file, symbol in named if symbol not in symbols(PACKAGE / file)]
    assert not missing


def test_the_document_s_settings_exist() -> None:
    """The tables with a column ``setting``: each name there is a key of the recipe."""
    lines = DOC.read_text().splitlines()
    names, column = [], None
    for line in lines:
        cells = [c.strip() for c in line.strip("|").split("|")] if line.startswith("|") else []
        if "setting" in cells:
            column = cells.index("setting")
        elif not cells:
            column = None
        elif column is not None:
            names += re.findall(r"`([\w.]+)`", cells[column])
    assert len(names) > 20
    data = to_dict(recipe("lung_srad"), every=True)
    for name in names:
        node = data
        for part in name.split("."):
            assert part in node, f"{name} is no setting of lung_srad"
            node = node[part]


def test_the_document_is_short_and_its_recipes_exist() -> None:
    text = DOC.read_text()
    assert len(text.splitlines()) < 150
    assert set(re.findall(r"auscult train (\w+)", text)) <= set(RECIPES)
