"""Floor 2: how it is minimised. An optimiser is one file here and one line in `OPTIMIZERS`."""

from .adamw import AdamW
from .moving_average import moving_average
from .schedule import Cosine
from .spec import OptimizerSpec

OPTIMIZERS: dict[str, type[OptimizerSpec]] = {"adamw": AdamW}

__all__ = ["OPTIMIZERS", "AdamW", "Cosine", "OptimizerSpec", "moving_average"]
