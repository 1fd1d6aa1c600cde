"""Runs a C function on torch's own threads.

A second pool of OpenMP threads beside torch's costs more than it gives: the idle threads of one spin for a while, on
the cores that the other needs. So the kernels bring no pool; they are handed to the one that torch has loaded.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch


def on_threads(function: int, data: int, threads: int) -> None:
    """Calls `function(data)` on so many threads at once, this one among them, and returns when all have.

    Args:
        function: address of a C function of one pointer; it does not touch Python.
        data: the pointer.
    """
    if threads == 1:
        _callable(function)(data)
    elif parallel := _gomp():
        parallel(function, data, threads, 0)
    else:
        work = _callable(function)
        with ThreadPoolExecutor(threads - 1) as pool:
            waiting = [pool.submit(work, data) for _ in range(threads - 1)]
            work(data)
            for other in waiting:
                other.result()


@cache
def _callable(function: int) -> Callable[[int], None]:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function)  # lets go of Python's lock while it runs


@cache
def _gomp() -> Callable[..., None] | None:
    """`GOMP_parallel` of the OpenMP library that torch uses, where that is GNU's and can be told; else None."""
    file = _library()
    if file is None:
        return None
    library = ctypes.CDLL(str(file))
    if not hasattr(library, "GOMP_parallel"):
        return None
    library.GOMP_parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    library.GOMP_parallel.restype = None
    return library.GOMP_parallel


def _library() -> Path | None:
    """The OpenMP library beside torch's own: in its folder, or where wheels for other systems put it."""
    package = Path(torch.__file__).parent
    found = [*package.glob("lib/libgomp*.so*"), *package.parent.glob("torch.libs/libgomp*.so*")]
    return found[0] if len(found) == 1 else None
