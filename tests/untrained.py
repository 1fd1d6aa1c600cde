"""Run folders of untrained models: what `auscult train` would leave, without training."""

from pathlib import Path

import torch

from auscult.config import to_dict
from auscult.models.weights import Weights, save_weights
from auscult.recipes import Recipe
from auscult.runs import Run, write_json

FOUR = ("normal", "crackle", "wheeze", "both")


def untrained_run(
    folder: Path, recipe: Recipe, data: Path, classes: tuple[str, ...] = FOUR, dataset: str = "synthetic", seed: int = 0
) -> Run:
    """A run of `recipe`, whose selection is ``last``, with random weights."""
    run = Run(folder)
    asked = {"recipe": to_dict(recipe), "dataset": dataset, "seed": seed, "partial": False, "data": str(data)}
    write_json(run.recipe_file, asked)
    write_json(run.folder / "environment.json", {"commit": "abc123", "auscult": "0", "python": "3", "versions": {}})
    torch.manual_seed(seed)
    facts = {"dataset": dataset, "seed": seed, "epoch": 1, "selection": "last"}
    state = recipe.build_model(len(classes)).state_dict()
    save_weights(run.weights("last"), Weights(state=state, recipe=to_dict(recipe), classes=classes, facts=facts))
    return run
