"""Probabilities of finished runs for every training cycle, for `objectives.distil` to learn from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .checkpoint import save_tensors
from .config import from_dict
from .errors import AuscultError
from .evaluate import load_trained, probabilities
from .recipes import RecipeSpec
from .runs import Run

SAME = ("dataset", "partial")  # settings of a run that its fellow teachers share, so that all mean the same cycles


def teach(runs: Sequence[Run], out: Path, data: Path | None = None, device: str = "cpu") -> dict[str, int]:
    """Writes the mean probabilities of `runs` for the cycles of their training part.

    The cycles that were held out to choose the epoch stay out: their patients choose the student's epoch too.

    Args:
        data: folder of the data set, when it has moved since training.

    Returns:
        How many cycles the data set has, how many of them are taught, and how many runs teach.

    Raises:
        AuscultError: E_SETTING for no run, or runs that have not learned from the same cycles.
    """
    if not runs:
        raise AuscultError("E_SETTING", "no run named; name one or more finished runs of the data set.")
    first, total = runs[0].settings(), None
    for run in runs:
        settings = run.settings()
        model, weights = load_trained(run)
        recipe = from_dict(RecipeSpec, weights.recipe)
        stuff = recipe.material(settings["dataset"], data or Path(settings["data"]), partial=settings["partial"])
        rows, labels = stuff.split.train, [cycle.label for cycle in stuff.corpus.cycles]
        if total is None:
            total, taught, whole = np.zeros((len(labels), len(weights.classes)), np.float64), rows, labels
        elif rows != taught or labels != whole or any(settings[key] != first[key] for key in SAME):
            raise AuscultError("E_SETTING", f"{run.folder} has learned from other cycles than {runs[0].folder}.")
        total[rows] += probabilities(model.to(device), stuff.dataset("train"), device, show=run.folder.name)
    assert total is not None
    mean = np.full_like(total, np.nan)
    mean[taught] = total[taught] / len(runs)
    held = {"probabilities": torch.from_numpy(mean).float(), "labels": torch.tensor(whole, dtype=torch.int64)}
    about = {"dataset": first["dataset"], "runs": ", ".join(str(run.folder) for run in runs)}
    save_tensors(out, held, about)
    return {"cycles": len(whole), "taught": len(taught), "runs": len(runs)}
