"""Data sets of labelled breathing cycles: one file and one line here for each.

Another data set = a module with `read(folder) -> Corpus`, and its line in `DATASETS`.
"""

from collections.abc import Callable
from pathlib import Path

from . import icbhi, own, pooled, sprsound, synthetic
from .cycles import Corpus, Cycle, Problem

Reader = Callable[[Path], Corpus]

DATASETS: dict[str, Reader] = {
    "icbhi": icbhi.read,
    "own": own.read,
    "pooled": pooled.read,
    "sprsound": sprsound.read,
    "synthetic": synthetic.read,
}

__all__ = ["DATASETS", "Corpus", "Cycle", "Problem", "Reader"]
