"""Floor 2: what is minimised. A method is one file here and one line in `OBJECTIVES`."""

from .cross_entropy import CrossEntropy
from .spec import Objective, ObjectiveSpec

OBJECTIVES: dict[str, type[ObjectiveSpec]] = {"cross_entropy": CrossEntropy}

__all__ = ["OBJECTIVES", "CrossEntropy", "Objective", "ObjectiveSpec"]
