"""Floor 2: how it is minimised. An optimiser is one file here and one line in `OPTIMIZERS`."""

from .adam import Adam
from .adamw import AdamW
from .moving_average import moving_average
from .sam import Sam
from .schedule import Cosine
from .spec import OptimizerSpec

OPTIMIZERS: dict[str, type[OptimizerSpec]] = {"adamw": AdamW, "adam": Adam, "sam": Sam}

__all__ = ["OPTIMIZERS", "Adam", "AdamW", "Cosine", "OptimizerSpec", "Sam", "moving_average"]
