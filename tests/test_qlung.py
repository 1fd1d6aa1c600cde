"""QLung's recipes: each row is its method and nothing else, and the document points at things that exist."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

import auscult
from auscult.config import from_dict, to_dict
from auscult.models import AngularHead
from auscult.objectives import CrossEntropy, PatchMix, QLung
from auscult.objectives.margins import Dfam, FixedMargin, MarginSpec, QualityMargin
from auscult.optim import Sam
from auscult.recipes import RECIPES, Recipe, recipe

PACKAGE = Path(auscult.__file__).parent
DOC = PACKAGE.parents[1] / "docs" / "papers" / "qlung.md"
ROWS: dict[str, tuple[MarginSpec, bool]] = {
    "qlung_fixed": (FixedMargin(), False),
    "qlung_quality": (QualityMargin(), False),
    "qlung_imbalance": (Dfam(), False),
    "qlung": (Dfam(), True),
}


@pytest.mark.parametrize(("ending", "first"), [("", "qlung_ce"), ("_dass_nano", "dass_nano")])
@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_ablation_is_its_method_and_nothing_else(row: str, ending: str, first: str) -> None:
    made, base, (margin, angular) = recipe(row + ending), recipe(first), ROWS[row]
    assert made.name == row + ending
    assert made.objective == QLung(margin=margin, weight=0.4, scale=15.0, cross_entropy=base.objective)
    assert isinstance(made.head, AngularHead) == angular
    assert replace(made, name=base.name, objective=base.objective, head=base.head) == base
    assert from_dict(Recipe, to_dict(made)) == made


def test_constants_of_the_paper() -> None:
    made = recipe("qlung")
    assert isinstance(made.objective, QLung) and isinstance(made.objective.margin, Dfam)
    margin, scored = made.objective.margin, made.objective.quality_asked
    assert scored is not None and (scored.alpha, scored.beta) == (0.7, 0.3)
    assert (margin.gamma, margin.by_quality.kappa, margin.by_class.target) == (0.5, 0.5, 0.2)
    assert isinstance(made.head, AngularHead) and made.head.scale == 37
    assert (made.epochs, made.batch_size, made.clip.length_s, made.clip.n_mels) == (50, 8, 8.0, 128)
    assert (made.optimizer.lr, made.moving_average, made.weights) == (5e-5, 0.5, "ast_audioset")
    assert to_dict(made.optimizer)["kind"] == "adam" and recipe("qlung_ce").objective == CrossEntropy()


@pytest.mark.parametrize("ending", ["", "_nano"])
@pytest.mark.parametrize(
    ("parts", "margin", "sam"), [("qlung", True, False), ("sam", False, True), ("qlung_sam", 1, 1)]
)
def test_combinations_change_what_they_name(parts: str, margin: bool, sam: bool, ending: str) -> None:
    made, base = recipe(f"lung_srad_{parts}{ending}"), recipe(f"lung_srad{ending}")
    assert isinstance(made.objective, PatchMix) and isinstance(base.objective, PatchMix)
    plain = base.objective.cross_entropy
    assert made.objective.cross_entropy == (QLung(cross_entropy=plain) if margin else plain)
    assert (made.objective.quality_asked is not None) == bool(margin) == isinstance(made.head, AngularHead)
    assert made.optimizer == (Sam(base=base.optimizer) if sam else base.optimizer)
    objective = replace(made.objective, cross_entropy=plain)
    assert objective == base.objective
    assert replace(made, name=base.name, objective=objective, head=base.head, optimizer=base.optimizer) == base


def symbols(file: Path) -> set[str]:
    """Names at the top of a file, and those of methods behind their class."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            found |= {f"{node.name}.{sub.name}" for sub in node.body if isinstance(sub, ast.FunctionDef)}
    return found


def test_the_document_points_at_things_that_exist() -> None:
    text = DOC.read_text()
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", text)
    assert len(named) > 20
    assert not [f"{file}:{symbol}" for file, symbol in named if symbol not in symbols(PACKAGE / file)]
    assert set(re.findall(r"auscult train (\w+)", text)) <= set(RECIPES)
    assert len(text.splitlines()) < 150


def test_the_document_s_constants_are_those_of_the_recipe() -> None:
    rows = [line.strip("|").split("|") for line in DOC.read_text().splitlines() if line.startswith("|")]
    data = to_dict(recipe("qlung"), every=True)
    found = 0
    for _, value, setting, *_ in (row for row in rows if len(row) == 4):
        name = re.match(r" `([a-z_.]+)`", setting)
        number = re.match(r" ([\d.e-]+)", value)
        if name and number and "margin.h" not in name[1] and "largest" not in name[1]:
            node = data
            for part in name[1].split("."):
                node = node[part]
            assert node == pytest.approx(float(number[1])), name[1]
            found += 1
    assert found >= 8
