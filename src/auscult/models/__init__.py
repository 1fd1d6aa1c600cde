"""Floor 1: what learns. A backbone is one file here and one line in `BACKBONES`."""

from .adapters import Adapter, AdapterSpec, Lora
from .ast import Ast
from .classifier import Classifier
from .cnn6 import Cnn6
from .dass import Dass
from .heads import AngularHead, LinearHead
from .mobilenet import MobileNet
from .smoothing import Smoothing
from .spec import Backbone, BackboneSpec, HeadSpec, parameter_count

BACKBONES: dict[str, type[BackboneSpec]] = {"dass": Dass, "ast": Ast, "cnn6": Cnn6, "mobilenet": MobileNet}
HEADS: dict[str, type[HeadSpec]] = {"linear": LinearHead, "angular": AngularHead}

__all__ = [
    "BACKBONES",
    "HEADS",
    "Adapter",
    "AdapterSpec",
    "AngularHead",
    "Ast",
    "Backbone",
    "BackboneSpec",
    "Classifier",
    "Cnn6",
    "Dass",
    "HeadSpec",
    "LinearHead",
    "Lora",
    "MobileNet",
    "Smoothing",
    "parameter_count",
]
