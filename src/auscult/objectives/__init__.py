"""Floor 2: what is minimised. A method is one file here and one line in `OBJECTIVES`."""

from .cross_entropy import CrossEntropy
from .patch_mix import PatchMix
from .spec import FeatureObjective, FeatureObjectiveSpec, Objective, ObjectiveSpec

OBJECTIVES: dict[str, type[ObjectiveSpec]] = {"cross_entropy": CrossEntropy, "patch_mix": PatchMix}

__all__ = [
    "OBJECTIVES",
    "CrossEntropy",
    "FeatureObjective",
    "FeatureObjectiveSpec",
    "Objective",
    "ObjectiveSpec",
    "PatchMix",
]
