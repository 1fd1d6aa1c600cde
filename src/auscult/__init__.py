"""Respiratory sound classification: crackles and wheezes in stethoscope recordings. Research use only.

Public names, imported when first used, so that ``import auscult`` is instant:

* ``auscult.load(run)`` gives a model with ``predict("breath.wav")``;
* ``auscult.predict(run, "breath.wav")`` is both in one;
* ``auscult.Recipe`` is everything that decides what a run learns.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .predict import load, predict
    from .recipes import Recipe

__all__ = ["Recipe", "__version__", "load", "predict"]


def __getattr__(name: str) -> Any:
    if name in ("load", "predict"):
        # not `from . import predict`, which asks this function first; the module can be called, see there
        module = importlib.import_module(".predict", __name__)
        return module if name == "predict" else module.load
    if name == "Recipe":
        from .recipes import Recipe

        return Recipe
    raise AttributeError(f"module 'auscult' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
