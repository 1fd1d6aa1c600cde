"""Floor 1: what learns. A backbone is one file here and one line in `BACKBONES`."""

from .classifier import Classifier
from .dass import Dass
from .heads import LinearHead
from .smoothing import Smoothing
from .spec import Backbone, BackboneSpec, HeadSpec, parameter_count

BACKBONES: dict[str, type[BackboneSpec]] = {"dass": Dass}
HEADS: dict[str, type[HeadSpec]] = {"linear": LinearHead}

__all__ = [
    "BACKBONES",
    "HEADS",
    "Backbone",
    "BackboneSpec",
    "Classifier",
    "Dass",
    "HeadSpec",
    "LinearHead",
    "Smoothing",
    "parameter_count",
]
