"""Probabilities of finished runs for every training cycle, for `objectives.distil` to learn from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .checkpoint import save_tensors
from .config import from_dict
from .data.cycles import UNLABELLED
from .data.material import Material, with_cycles
from .data.windows import Windows, windows_around
from .errors import AuscultError
from .evaluate import load_trained, probabilities
from .recipes import Recipe, RecipeSpec
from .runs import Run

SAME = ("dataset", "partial")  # settings of a run that its fellow teachers share, so that all mean the same cycles


def teach(
    runs: Sequence[Run], out: Path, data: Path | None = None, device: str = "cpu", windows: int = 0
) -> dict[str, int]:
    """Writes the mean probabilities of `runs` for the cycles of their training part, and for windows around them.

    The cycles that were held out to choose the epoch stay out: their patients choose the student's epoch too.

    Args:
        data: folder of the data set, when it has moved since training.
        windows: unlabelled windows around each of these cycles (`data.windows`); the file then holds, beside
            ``probabilities`` and ``labels`` of all cycles and windows, ``window_row`` and ``window_times``.

    Returns:
        How many cycles the data set has, how many of them are taught, how many windows, and how many runs teach.

    Raises:
        AuscultError: E_SETTING for no run, or runs that have not learned from the same cycles, or a number of windows
            that cannot be.
    """
    if not runs:
        raise AuscultError("E_SETTING", "no run named; name one or more finished runs of the data set.")
    if windows < 0:
        raise AuscultError("E_SETTING", f"windows={windows}; 0 or more for each cycle is needed, such as 2.")
    first, total = runs[0].settings(), None
    for run in runs:
        settings = run.settings()
        model, weights = load_trained(run)
        recipe = from_dict(RecipeSpec, weights.recipe)
        stuff = recipe.material(settings["dataset"], data or Path(settings["data"]), partial=settings["partial"])
        rows, labels = stuff.split.train, [cycle.label for cycle in stuff.corpus.cycles]
        if total is None:
            taught, whole, drawn = rows, labels, windows_around(stuff.corpus.cycles, rows, windows)
            total = np.zeros((len(labels) + len(drawn), len(weights.classes)), np.float64)
        elif rows != taught or labels != whole or any(settings[key] != first[key] for key in SAME):
            raise AuscultError("E_SETTING", f"{run.folder} has learned from other cycles than {runs[0].folder}.")
        heard = with_windows(stuff, recipe, drawn)
        total[heard.split.train] += probabilities(
            model.to(device), heard.dataset("train"), device, show=run.folder.name
        )
    assert total is not None
    mean = np.full_like(total, np.nan)
    asked = [*taught, *range(len(whole), len(total))]
    mean[asked] = total[asked] / len(runs)
    held = {
        "probabilities": torch.from_numpy(mean).float(),
        "labels": torch.tensor([*whole, *[UNLABELLED] * len(drawn)], dtype=torch.int64),
    }
    if len(drawn):
        held |= {"window_row": torch.from_numpy(drawn.rows), "window_times": torch.from_numpy(drawn.times)}
    about = {"dataset": first["dataset"], "runs": ", ".join(str(run.folder) for run in runs)}
    save_tensors(out, held, about)
    return {"cycles": len(whole), "taught": len(taught), "windows": len(drawn), "runs": len(runs)}


def with_windows(stuff: Material, recipe: RecipeSpec, drawn: Windows) -> Material:
    """The material of a run with windows that its model is asked about.

    Raises:
        AuscultError: E_SETTING for a run that hears no sound, E_DATA where a recording has gone bad meanwhile.
    """
    if not len(drawn):
        return stuff
    if not isinstance(recipe, Recipe):
        raise AuscultError("E_SETTING", f"{recipe.name} hears no sound, so no windows either; leave out --windows.")
    made = with_cycles(stuff, recipe.clip, drawn.cycles(stuff.corpus.cycles))
    if len(made.split.train) != len(stuff.split.train) + len(drawn):
        raise AuscultError(
            "E_DATA", "recordings that could be used before cannot be used now; look at them with `auscult prepare`."
        )
    return made
