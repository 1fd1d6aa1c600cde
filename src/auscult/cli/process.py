"""Settings of the whole process, made by the commands and never by the library."""

import ctypes
import ctypes.util
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEEP_BELOW = 2**30


def prepare_process() -> None:
    """Makes this process quick at arithmetic on the processor: memory first, then the route of matrix products."""
    prepare_memory()
    from ..compute import tune  # not at the top: torch reads the setting of large pages when it first allocates

    tune()


def prepare_memory() -> None:
    """The part of `prepare_process` that comes before a model is loaded, and is all where that one needs no torch."""
    keep_freed_memory()
    use_large_pages()


def keep_freed_memory() -> None:
    """Lets glibc keep freed blocks up to 1 GiB instead of returning them to the system after every layer.

    Activations of tens of megabytes are allocated and freed in every step; each fresh page costs a page fault, which in
    a virtual machine is slower than the arithmetic on it.
    """
    set_malloc(M_MMAP_THRESHOLD, KEEP_BELOW)
    set_malloc(M_TRIM_THRESHOLD, 2**31 - 1)


def set_malloc(parameter: int, value: int) -> None:
    """A parameter of glibc's allocator; other C libraries are left alone."""
    if not sys.platform.startswith("linux") or not ctypes.util.find_library("c"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(parameter, value)


def use_large_pages() -> None:
    """Asks torch to ask Linux for large pages, unless the user has said otherwise."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
