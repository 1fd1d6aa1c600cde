"""A corpus and a recipe small enough to train in a second; used by the tests of the loop and of the command line."""

from pathlib import Path

import torch

from auscult.config import override, to_dict
from auscult.data import icbhi
from auscult.data.synthetic import Synthetic, make
from auscult.models.weights import Weights, save_weights
from auscult.recipes import Recipe, recipe

SETTINGS = (
    "clip.length_s=0.6",
    "clip.n_mels=32",
    "epochs=3",
    "batch_size=8",
    "validation=0.3",
    "input.specaugment.time_mask=10",
)


def small_corpus(folder: Path) -> Path:
    """Six patients, 36 short cycles of every class."""
    return make(folder, Synthetic(patients=6, recordings=1, cycles=6))


def small_recipe(*settings: str) -> Recipe:
    """`dass_nano` on clips of 0.6 s for three epochs."""
    return override(recipe("dass_nano"), [*SETTINGS, *settings])


def small_weights(file: Path, *settings: str) -> Path:
    """An untrained `dass_nano` of four classes with these settings, as a weights file."""
    torch.manual_seed(0)
    made = override(recipe("dass_nano"), list(settings))
    facts = {"dataset": "icbhi", "seed": 0}
    state = made.build_model(4).state_dict()
    save_weights(file, Weights(state=state, recipe=to_dict(made), classes=icbhi.CLASSES, facts=facts))
    return file
