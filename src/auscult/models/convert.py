"""Reads checkpoints of other projects without running code from them, and rewrites them as safetensors.

A .pth file is a pickle, a program in disguise. It is read by torch's restricted unpickler alone, which builds tensors
and plain containers and refuses everything else. `convert` does even that in a process of its own with limited memory.
"""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import AuscultError
from ..progress import say
from ..runs import replacing
from .weights import FORMAT, load_weights

WRAPPERS = ("state_dict", "model")  # Lightning and many others; VMamba
SPARE_BYTES = 1 << 30
TIMEOUT_S = 900.0
CHILD = "from auscult.models.convert import in_child; in_child()"
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
    MemoryError,
)


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a checkpoint was turned into.

    Args:
        rows: name, type and shape of every tensor.
        source_sha256: of the file that was read.
        sha256: of the file that was written.
    """

    rows: tuple[tuple[str, str, tuple[int, ...]], ...]
    source_sha256: str
    sha256: str


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a checkpoint: safetensors, or of `torch.save`, bare or under ``state_dict`` or ``model``.

    Raises:
        AuscultError: E_RUN for a file that is missing, cut, holds anything but tensors and containers, or no tensors.
    """
    if not path.is_file():
        raise AuscultError("E_RUN", f"{path} is not a file; give a checkpoint: .safetensors, or .pth of torch.save.")
    return _safetensors(path) if path.suffix == ".safetensors" else _unwrap(_pickled(path), path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as handle:
            if (handle.metadata() or {}).get("format") == FORMAT:
                return load_weights(path).state  # ours: checks its sha256 too
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118  (no iterator)
    except (OSError, SafetensorError) as error:
        raise AuscultError("E_RUN", f"{path} is no safetensors file, or is cut: {error}.") from error


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
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def convert(path: Path, out: Path) -> Converted:
    """Rewrites a checkpoint as safetensors, names and types unchanged.

    It is read in a process of its own that may take four times the size of the file and 1 GiB (Linux; elsewhere memory
    is not limited), and that never builds anything but tensors.

    Raises:
        AuscultError: E_RUN for a file that cannot be read so, E_SETTING for another ending of `out`, E_DISK.
    """
    if out.suffix != ".safetensors":
        raise AuscultError("E_SETTING", f"cannot write {str(out)!r}; its name must end in .safetensors.")
    if not path.is_file():
        raise AuscultError("E_RUN", f"{path} is not a file; give a checkpoint.")
    command = [sys.executable, "-P", "-c", CHILD, str(path), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise AuscultError("E_RUN", f"{path}: reading took more than {TIMEOUT_S:.0f} s; given up.") from error
    lines = done.stdout.decode(errors="replace").splitlines()
    answer = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    if "code" in answer:
        raise AuscultError(answer["code"], answer["message"])
    if done.returncode or not answer:
        raise AuscultError("E_RUN", f"{path}: the process that read it ended with code {done.returncode}; no result.")
    rows = tuple((name, kind, tuple(shape)) for name, kind, shape in answer["rows"])
    return Converted(rows=rows, source_sha256=answer["source_sha256"], sha256=sha256(out))


def in_child() -> None:
    """The other process of `convert`: one line of JSON on stdout, the result or the error."""
    path, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    try:
        limit_memory(4 * path.stat().st_size + SPARE_BYTES)
        print(json.dumps(_rewrite(path, out)))
    except AuscultError as error:
        print(json.dumps({"code": error.code, "message": error.message}))
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        print(json.dumps({"code": "E_RUN", "message": f"{path} does not fit in the memory allowed for it: {reason}."}))
        sys.exit(1)


def _rewrite(path: Path, out: Path) -> dict[str, Any]:
    state = {name: t.contiguous().clone() for name, t in read_checkpoint(path).items()}
    digest = sha256(path)
    with replacing(out) as temporary:
        save_file(state, temporary, metadata={"converted_from": path.name, "source_sha256": digest})
    rows = [[name, str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in state.items()]
    return {"rows": rows, "source_sha256": digest}


def limit_memory(more: int) -> None:
    """Lets this process map `more` bytes beyond what it has now; only Linux says how much that is."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    import resource

    now = int(statm.read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = now + more if hard == resource.RLIM_INFINITY else min(now + more, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
