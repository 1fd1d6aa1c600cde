"""numpy's matrix products on one thread: those of a breath are too small for more.

OpenBLAS starts a thread a core by itself, and they wait for one another by turning in circles: beside another program
twenty seconds of sound then take four seconds of processor instead of half a second. One thread gives the same bits
whatever the machine has, too.
"""

import sys
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Within the block, in the whole process, OpenBLAS has one thread."""
    return _openblas().limit(limits=1)


@cache
def _openblas() -> ThreadpoolController:
    """The copies of OpenBLAS that are loaded; numpy's is."""
    return ThreadpoolController().select(internal_api="openblas")


def tune_torch() -> None:
    """`compute.tune`, where a model that was loaded has brought torch; for commands, after loading."""
    if "torch" in sys.modules:
        from .compute import tune

        tune()
