"""Fits the trees of a `TableRecipe`: seconds, so a run that was stopped begins again.

The loop of `train` has no part in it, everything after it has: weights, metrics.jsonl, scores and predictions are made,
read and compared as those of a network.
"""

import math
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray

from .config import to_dict
from .data.material import Material
from .errors import AuscultError
from .evaluate import task_scores
from .models.trees import Forest
from .models.weights import Weights, save_weights
from .objectives.cross_entropy import class_weights
from .progress import say
from .recipes.table import TableRecipe
from .runs import Run
from .train import selection_scores

AT_ONCE = 512  # cycles whose logits after every round are held in memory


def fit(recipe: TableRecipe, stuff: Material, run: Run, seed: int) -> None:
    """Grows the trees on the training cycles and leaves weights and one record a round.

    Raises:
        AuscultError: E_DATA when the training cycles are of one class only.
    """
    started = time.perf_counter()
    forest = grow(recipe, stuff, seed)
    measured = measure(recipe, stuff, forest)
    each = (time.perf_counter() - started) / recipe.epochs
    run.rewind(0)
    for number, record in enumerate(measured, start=1):
        run.log({"epoch": number, **record, "seconds": round(each, 4)})
    for selection, number in chosen(recipe, stuff, measured).items():
        facts = {"dataset": stuff.corpus.name, "seed": seed, "epoch": number, "selection": selection}
        facts |= {"columns": recipe.columns.names(stuff.corpus)}
        state = forest.keep(number)
        save_weights(
            run.weights(selection),
            Weights(state=state, recipe=to_dict(recipe), classes=stuff.corpus.classes, facts=facts),
        )
    say(f"{recipe.epochs} rounds of boosting on {len(stuff.split.train)} cycles, {each * recipe.epochs:.0f} s")


def numbers(stuff: Material, part: str) -> tuple[Float[np.ndarray, "N C"], Int[np.ndarray, "N"]]:
    """Rows of numbers and labels of a part."""
    dataset = stuff.dataset(part)
    return stuff.features.read(dataset.rows).flatten(1).numpy(), dataset.label.numpy()


def grow(recipe: TableRecipe, stuff: Material, seed: int) -> Forest:
    """The fitted trees, as arrays of our own."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, y = numbers(stuff, "train")
    if len(np.unique(y)) < 2:
        raise AuscultError("E_DATA", f"the training cycles of {stuff.corpus.name} are of one class; two are needed.")
    settings = recipe.classifier
    booster = HistGradientBoostingClassifier(
        learning_rate=settings.learning_rate,
        max_iter=recipe.epochs,
        max_leaf_nodes=settings.leaves,
        min_samples_leaf=settings.leaf_cycles,
        max_features=settings.columns_share,
        l2_regularization=settings.l2,
        early_stopping=False,
        random_state=seed,
    )
    booster.fit(x, y, sample_weight=cycle_weights(recipe, stuff, y))
    return planted(booster, recipe.build_model(len(stuff.corpus.classes)), x.shape[1])


def cycle_weights(recipe: TableRecipe, stuff: Material, y: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """Weight of each training cycle in the cross-entropy; 1 on average."""
    weights = class_weights(stuff.counts("train"), recipe.weighting).double().numpy()[y]
    return weights / weights.mean()


def planted(booster: Any, forest: Forest, columns: int) -> Forest:
    """`forest` with the trees of a fitted HistGradientBoostingClassifier.

    scikit-learn knows only the classes it has seen, and of two classes grows trees for the second alone.
    """
    seen, starts = booster.classes_.tolist(), booster._baseline_prediction.ravel().tolist()
    grown = seen[1:] if len(seen) == 2 else seen
    forest.columns.fill_(columns)
    forest.start.fill_(-math.inf)
    forest.start[seen] = 0.0
    forest.start[grown] = torch.tensor(starts, dtype=torch.float64)
    for number, trees in enumerate(booster._predictors):
        for label, tree in zip(grown, trees, strict=True):
            forest.plant(number, label, arrays(tree.nodes))
    return forest


def arrays(nodes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The nodes of a tree of scikit-learn, named as the buffers of `Forest`; a leaf points at itself."""
    leaf, itself = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
    return {
        "column": np.where(leaf, 0, nodes["feature_idx"]),
        "threshold": np.where(leaf, 0.0, nodes["num_threshold"]),
        "left": np.where(leaf, itself, nodes["left"]),
        "right": np.where(leaf, itself, nodes["right"]),
        "unknown_left": nodes["missing_go_to_left"].astype(bool),
        "value": np.where(leaf, nodes["value"], 0.0),
    }


def measure(recipe: TableRecipe, stuff: Material, forest: Forest) -> list[dict[str, Any]]:
    """For every round the loss, the scores on the validation patients and, where asked for, on the test parts."""
    x, y = numbers(stuff, "train")
    p = by_round(forest, x)
    weights = cycle_weights(recipe, stuff, y)
    losses = -(np.log(p[np.arange(len(y)), :, y]) * weights[:, None]).mean(axis=0)
    records: list[dict[str, Any]] = [{"loss": {"cross_entropy": float(loss)}} for loss in losses]
    if stuff.split.validation:
        for record, scores in zip(records, part_scores(stuff, forest, "validation"), strict=True):
            record["validation"] = scores
    if recipe.selection == "best_on_test" or recipe.also_best_on_test:
        found = {part: part_scores(stuff, forest, part) for part, rows in stuff.split.tests.items() if rows}
        for number, record in enumerate(records):
            record["test"] = {part: scores[number] for part, scores in found.items()}
    return records


def part_scores(stuff: Material, forest: Forest, part: str) -> list[dict[str, Any]]:
    """Scores of every task on a part after each round."""
    x, y = numbers(stuff, part)
    p = by_round(forest, x)
    return [{s.task: asdict(s) for s in task_scores(y, p[:, number], stuff.corpus)} for number in range(p.shape[1])]


def by_round(forest: Forest, x: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N R K"]:
    """Class probabilities after each round, in fp32 as `evaluate` has them."""
    with torch.inference_mode():
        logits = [forest.after_rounds(some[:, None]) for some in torch.from_numpy(x).split(AT_ONCE)]
        return torch.softmax(torch.cat(logits).float(), dim=-1).numpy()


def chosen(recipe: TableRecipe, stuff: Material, measured: list[dict[str, Any]]) -> dict[str, int]:
    """Selection -> round whose trees are kept, as `train` keeps epochs: the first of equals."""
    found = [selection_scores(recipe, stuff.corpus, record) for record in measured]
    best = {name: max(range(len(found)), key=lambda i: found[i][name]) + 1 for name in found[0]}
    return {**best, "last": recipe.epochs}
