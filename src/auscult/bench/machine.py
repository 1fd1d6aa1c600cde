"""What this machine is: processor, instruction sets, versions, memory policy."""

import os
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..models.scan import choose
from ..runs import environment
from .setting import Setting, State

VERSIONS = ("torch", "numpy", "numba", "triton", "transformers", "mambapy", "soxr", "soundfile")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "asimd", "sve", "bf16")


def facts(setting: Setting, state: State) -> dict[str, Any]:
    """All that a reader needs to judge a time."""
    here = environment()
    return {
        "processor": here["processor"],
        "cores": here["cores"],
        "instructions": instructions(),
        "gpu": here["gpu"] if setting.device == "cuda" else None,
        "python": here["python"],
        "platform": here["platform"],
        "versions": {name: version for name in VERSIONS if (version := installed(name))},
        "auscult": here["auscult"],
        "commit": here["commit"],
        "date": date.today().isoformat(),
        "threads": torch.get_num_threads(),
        "products": state.products,
        "malloc": malloc_policy(),
        "scan": choose(torch.empty(1, 32, 32, 32, device=setting.device)),
    }


def installed(name: str) -> str | None:
    """The version of a package, None where it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def instructions() -> list[str]:
    """Those instruction sets of this processor that decide how fast it multiplies; empty where the system is silent."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return []
    for line in info.read_text().splitlines():
        if line.startswith(("flags", "Features")):
            there = set(line.partition(":")[2].split())
            return [name for name in INSTRUCTIONS if name in there]
    return []


def malloc_policy() -> str:
    """What the C library does with freed blocks, as `prepare` had it set."""
    if "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {}):
        return "freed blocks up to 1 GiB are kept"
    return "the C library's own"
