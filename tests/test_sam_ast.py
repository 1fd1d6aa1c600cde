"""The recipes of SAM-AST, and the document that says where everything is."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import auscult
from auscult.config import from_dict, override, to_dict
from auscult.models import Ast
from auscult.objectives import CrossEntropy
from auscult.optim import Sam
from auscult.recipes import RECIPES, Recipe, recipe
from auscult.recipes.sam_ast import RHOS

from .test_lung_srad import symbols

PACKAGE = Path(auscult.__file__).parent
DOC = PACKAGE.parents[1] / "docs" / "papers" / "sam_ast.md"


def test_a_row_of_the_ablation_is_one_step_from_the_row_before() -> None:
    plain, drawn, flat = (recipe(name) for name in ("ast_ce", "ast_wrs", "sam_ast"))
    assert (plain.sampler, drawn.sampler) == ("shuffle", "balanced")
    assert replace(drawn, name=plain.name, sampler=plain.sampler) == plain
    assert flat.optimizer == Sam(base=drawn.optimizer, rho=0.05)
    assert replace(flat, name=drawn.name, optimizer=drawn.optimizer) == drawn
    right = recipe("sam_ast_correct")
    assert right.input.fit == "repeat" and replace(right, name=flat.name, input=flat.input) == flat


def test_on_dass_nano() -> None:
    base, drawn = recipe("dass_nano"), recipe("wrs_dass_nano")
    assert drawn.objective == CrossEntropy() and drawn.sampler == "balanced"
    assert replace(drawn, name=base.name, objective=base.objective, sampler=base.sampler) == base
    for name, rho, adaptive in (("sam_dass_nano", 0.05, False), ("asam_dass_nano", 0.5, True)):
        made = recipe(name)
        assert made.optimizer == Sam(base=base.optimizer, rho=rho, adaptive=adaptive)
        assert replace(made, name=drawn.name, optimizer=drawn.optimizer) == drawn
    whole = recipe("sam_dass")
    assert replace(whole, name="dass", optimizer=whole.optimizer.base) == recipe("dass")


def test_constants_of_the_public_code() -> None:
    made = recipe("sam_ast")
    assert made.backbone == Ast(size="base", frames=1024, pooling="mean") and made.weights == "ast_audioset"
    assert to_dict(made.optimizer.base)["lr"] == 1e-5 and made.optimizer.base.weight_decay == 1e-4
    assert (made.clip.recording_fade_s, made.clip.tail_fade_s, made.clip.pad, made.clip.samples) == (
        0,
        0,
        "cyclic",
        128000,
    )
    assert {made.schedule.factor(e, s, 10, 20) for e in range(20) for s in range(10)} == {1.0}
    assert made.drop_last is False and made.precision == "fp32" and made.input.specaugment is None


def test_the_constant_frames_of_the_feature_extractor() -> None:
    """226 frames, 22 %, behind the 798 of the clip; repeated in `sam_ast_correct`."""
    fbank = torch.randn(1, 798, 128, generator=torch.Generator().manual_seed(0))
    zeros, repeated = (
        recipe(name).input.build(recipe(name).clip).eval()(fbank)[0, 0] for name in ("sam_ast", "sam_ast_correct")
    )
    assert zeros.shape == repeated.shape == (128, 1024)
    constant = (zeros == zeros[:, -1:]).all(dim=0)
    assert constant.sum() == 226 and constant[798:].all() and zeros[0, -1].item() == pytest.approx(0.46703, abs=5e-6)
    assert torch.equal(repeated[:, :798], zeros[:, :798]) and torch.equal(repeated[:, 798:], repeated[:, :226])
    rows, columns = recipe("sam_ast").backbone.grid
    alone = [c for c in range(columns) if constant[10 * c : 10 * c + 16].all()]
    part = [c for c in range(columns) if constant[10 * c : 10 * c + 16].any() and c not in alone]
    assert (rows * columns, rows * len(alone), rows * len(part)) == (1212, 252, 12)


def test_the_sweep_changes_rho() -> None:
    for name in ("sam_dass_nano", "sam_ast"):
        points = [override(recipe(name), settings) for settings in RHOS]
        assert [p.optimizer.rho for p in points] == [0.01, 0.02, 0.05, 0.1, 0.2] and recipe(name) in points


@pytest.mark.parametrize("name", ["ast_ce", "ast_wrs", "sam_ast", "sam_ast_correct", "sam_dass", "sam_dass_nano"])
def test_a_recipe_says_how_to_run_it_and_comes_back_from_its_json(name: str) -> None:
    assert f"auscult train {name}" in (RECIPES[name].__doc__ or "")
    assert from_dict(Recipe, to_dict(recipe(name))) == recipe(name)


# --- the document ---


def test_the_document_points_at_things_that_exist() -> None:
    text = DOC.read_text()
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", text)
    assert len(named) > 20
    assert not [f"{file}:{symbol}" for file, symbol in named if symbol not in symbols(PACKAGE / file)]
    assert set(re.findall(r"auscult train (\w+)", text)) <= set(RECIPES)
    assert len(text.splitlines()) < 150


def test_the_document_s_constants_are_those_of_the_recipe() -> None:
    rows = [line.strip("|").split("|") for line in DOC.read_text().splitlines() if line.startswith("|")]
    data, found = to_dict(recipe("sam_ast"), every=True), 0
    for _, value, setting, _ in (row for row in rows if len(row) == 4):
        names, numbers = re.findall(r"`([a-z_.]+)`", setting), re.findall(r"\d[\d.e-]*", value)
        for name, number in zip(names, numbers, strict=False):
            node = data
            for part in name.split("."):
                node = node[part]
            if isinstance(node, float | int):
                assert node == pytest.approx(float(number)), name
                found += 1
    assert found >= 14


def test_what_the_published_score_is_made_of() -> None:
    text = DOC.read_text()
    for hits, of, percent in ((1072, 1579, "67.89"), (804, 1177, "68.31")):
        assert f"{hits} / {of}" in text and percent in text and f"{100 * hits / of:.2f}" == percent
    assert f"{50 * (1072 / 1579 + 804 / 1177):.2f}" == "68.10"
