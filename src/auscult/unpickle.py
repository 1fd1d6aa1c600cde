"""The one place that reads pickles: a process of its own with limits, started by `models.convert`.

    python -P -m auscult.unpickle CHECKPOINT OUT.safetensors

A .pth file is a pickle, a program in disguise. It is read by torch's restricted unpickler, which builds tensors and
plain containers and refuses everything else; that has been got round twice (CVE-2025-32434, CVE-2026-24747), so no
process that does anything else imports this file (`tests/hostile/test_reachable.py`).
"""

import hashlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import save_tensors
from .errors import AuscultError
from .progress import say

WRAPPERS = ("state_dict", "model")  # Lightning and many others; VMamba
SPARE_BYTES = 1 << 30
CPU_S = 600
# What a cut or crafted file can make the restricted unpickler raise.
UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
)


def main(path: Path, out: Path) -> int:
    """One line of JSON on stdout, the result or the error; gives the exit code."""
    torch.set_num_threads(1)
    try:
        limit(path.stat().st_size)
        print(json.dumps(rewrite(path, out)))
        return 0
    except AuscultError as error:
        print(json.dumps({"code": error.code, "message": error.message}))
    except (MemoryError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        print(json.dumps({"code": "E_RUN", "message": f"{path} does not fit in the memory allowed for it: {reason}."}))
    return 1


def limit(size: int) -> None:
    """Lets this process map four times `size` and 1 GiB more than it has now, write as much, and work ten minutes.

    Only Linux says how much memory it has; where the module `resource` is missing nothing is limited.
    """
    try:
        import resource
    except ImportError:
        return
    more = 4 * size + SPARE_BYTES
    wanted = {resource.RLIMIT_CPU: CPU_S, resource.RLIMIT_FSIZE: more, resource.RLIMIT_CORE: 0}
    statm = Path("/proc/self/statm")
    if statm.exists():
        wanted[resource.RLIMIT_AS] = int(statm.read_text().split()[0]) * resource.getpagesize() + more
    for what, value in wanted.items():
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def rewrite(path: Path, out: Path) -> dict[str, Any]:
    """Writes the tensors of a checkpoint as safetensors; says their names, types and shapes.

    Raises:
        AuscultError: E_RUN for a file that holds anything but tensors and containers, or no tensors; E_DISK.
    """
    state = {name: t.contiguous().clone() for name, t in _unwrap(_pickled(path), path).items()}
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    save_tensors(out, state, {"converted_from": path.name, "source_sha256": digest})
    rows = [[name, str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in state.items()]
    return {"rows": rows, "source_sha256": digest}


def _pickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise AuscultError(
            "E_RUN",
            f"{path} is cut, or holds more than tensors, and loading that could run code, so it is refused ({reason}). "
            "Ask who made it for its state dict alone, best as .safetensors.",
        ) from error
    except UNREADABLE as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise AuscultError("E_RUN", f"{path} cannot be read as a checkpoint: {reason}.") from error


def _unwrap(value: Any, path: Path) -> dict[str, Tensor]:
    """The state dict inside; what lies beside it (epoch, optimiser) stays out and is named."""
    left: list[str] = []
    inner = value
    while isinstance(inner, dict) and (key := next((k for k in WRAPPERS if isinstance(inner.get(k), dict)), None)):
        left += [str(k) for k in inner if k != key]
        inner = inner[key]
    entries = inner if isinstance(inner, dict) else {}
    state = {k: v.detach() for k, v in entries.items() if isinstance(k, str) and _plain(v)}
    left += [str(k) for k in entries if k not in state]
    if not state:
        found = f"{type(value).__name__} with {', '.join(map(str, list(entries)[:5])) or 'nothing usable'}"
        raise AuscultError("E_RUN", f"{path} holds no named tensors: found a {found}. A state dict is needed.")
    if left:
        say(f"{path.name}: left out what is no model tensor: {', '.join(left[:10])}{', ...' if left[10:] else ''}")
    return state


def _plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and not (value.is_quantized or value.is_meta)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
