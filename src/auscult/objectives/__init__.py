"""Floor 2: what is minimised. A method is one file here and one line in `OBJECTIVES`."""

from .cross_entropy import CrossEntropy
from .dat import DAT
from .distil import Distil
from .patch_mix import PatchMix
from .patch_mix_ce import PatchMixCE
from .qlung import QLung
from .sg_scl import SGSCL
from .spec import FeatureObjective, FeatureObjectiveSpec, Objective, ObjectiveSpec

OBJECTIVES: dict[str, type[ObjectiveSpec]] = {
    "cross_entropy": CrossEntropy,
    "patch_mix": PatchMix,
    "patch_mix_ce": PatchMixCE,
    "qlung": QLung,
    "sg_scl": SGSCL,
    "dat": DAT,
    "distil": Distil,
}

__all__ = [
    "DAT",
    "OBJECTIVES",
    "SGSCL",
    "CrossEntropy",
    "Distil",
    "FeatureObjective",
    "FeatureObjectiveSpec",
    "Objective",
    "ObjectiveSpec",
    "PatchMix",
    "PatchMixCE",
    "QLung",
]
