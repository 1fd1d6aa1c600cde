"""Tensors on disk: safetensors files that are the same bytes for the same content, and the state of a training in one.

Files are written here: the library puts the words in an order that changes from process to process, so equal weights
would be different files; and it writes to a name of its own, which a kill leaves behind for ever.

Source: safetensors, "Format": 8 bytes of length, a JSON header, the tensors one after another without gaps.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import AuscultError
from .runs import replacing
from .version import __version__

NAMES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
}
ALIGN = 8  # bytes; of the header's length, so that the tensors, largest numbers first, are aligned too


def write_tensors(file: BinaryIO, tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> None:
    """Writes a safetensors file; the same tensors and words give the same bytes, whatever their order.

    Tensors that share memory are stored each for itself. One at a time is copied off its device.

    Raises:
        TypeError: a tensor is of a type that the format does not know.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES or tensor.layout is not torch.strided:
            raise TypeError(f"{name} is a tensor of {tensor.dtype}, {tensor.layout}; safetensors does not know that")
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    head: dict[str, Any] = {"__metadata__": {key: words[key] for key in sorted(words)}}
    end = 0
    for name in order:
        tensor, start = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        head[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGN)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        real = torch.view_as_real(flat).reshape(-1) if flat.is_complex() else flat
        file.write(real.view(torch.uint8).numpy().data)


def pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` with every tensor moved to `tensors` and a JSON-ready mark left in its place."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[pack(k, tensors), pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [pack(v, tensors) for v in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `pack`; tuples come back as lists."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "dict" in value:
        return {unpack(k, tensors): unpack(v, tensors) for k, v in value["dict"]}
    return [unpack(v, tensors) for v in value["list"]]


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes nested dicts and lists of tensors, numbers and strings to one safetensors file."""
    tensors: dict[str, Tensor] = {}
    tree = pack(state, tensors)
    save_tensors(path, tensors, {"auscult": __version__, "tree": json.dumps(tree)})


def save_tensors(path: Path, tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> None:
    """Writes a safetensors file, so that it is either the old one or the whole new one; equal content, equal bytes."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        write_tensors(file, tensors, words)


def load_state(path: Path) -> dict[str, Any]:
    """Reads what `save_state` wrote.

    Raises:
        AuscultError: E_RUN for a missing, cut or foreign file.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            head = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118  (no iterator)
        return unpack(json.loads(head["tree"]), tensors)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise AuscultError(
            "E_RUN", f"{path} is no checkpoint of auscult: {error}. Train again, or delete it."
        ) from error
