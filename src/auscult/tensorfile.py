"""What a safetensors file says of itself, checked against the file before anything is read or allocated.

The file comes from anybody. The library checks its header too; here a pipe is not waited for, a header may have 4 MiB
instead of 100, and a name, a type or a size that cannot be is refused in words, whatever library is installed.

Source: safetensors, "Format": 8 bytes of length, a JSON header, the tensors one after another without gaps.
"""

import json
import math
import stat
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from .errors import AuscultError

MAX_HEADER_BYTES = 2**22  # of the largest published network here, 0.1 MB
MAX_TENSORS = 2**16
MAX_AXES = 8
BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
}
"""Types of a tensor -> bytes of a number."""


class Header(NamedTuple):
    """What a file holds: words by name, and the shape and type (a key of `BYTES`) of every tensor."""

    words: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    kinds: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of a safetensors file, if the file can be what it says.

    Raises:
        AuscultError: E_RUN for a file that is missing, no regular file, cut, or whose header cannot be.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise _refusal(path, "it is no regular file")
        with path.open("rb") as file:
            head = file.read(8)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or not 2 <= length <= status.st_size - 8:
                raise _refusal(
                    path, f"{status.st_size:,} bytes with a header of {length:,}; it is cut, or another format"
                )
            if length > MAX_HEADER_BYTES:
                raise _refusal(path, f"its header has {length:,} bytes; at most {MAX_HEADER_BYTES:,} are allowed")
            told = json.loads(file.read(length).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(path, f"its header cannot be read ({str(error)[:100]})") from error
    if not isinstance(told, dict):
        raise _refusal(path, f"its header is a {type(told).__name__}")
    words = told.pop("__metadata__", {})
    if not (isinstance(words, dict) and all(isinstance(word, str) for word in words.values())):
        raise _refusal(path, "its metadata are no words by name")
    shapes = _checked(path, told, status.st_size - 8 - length)
    return Header(words, shapes, {name: entry["dtype"] for name, entry in told.items()})


def _checked(path: Path, entries: dict[str, Any], size: int) -> dict[str, tuple[int, ...]]:
    """The shapes of tensors that fill `size` bytes without gap or overlap."""
    if len(entries) > MAX_TENSORS:
        raise _refusal(path, f"it names {len(entries):,} tensors; at most {MAX_TENSORS:,} are allowed")
    places, shapes = [], {}
    for name, entry in entries.items():
        told = entry if isinstance(entry, dict) else {}
        kind, shape, offsets = told.get("dtype"), told.get("shape"), told.get("data_offsets")
        if not (isinstance(kind, str) and kind in BYTES and _counts(shape) and _counts(offsets) and len(offsets) == 2):
            raise _refusal(path, f"tensor {name[:60]!r} has no known type, shape and place: {entry!r:.100}")
        if len(shape) > MAX_AXES or offsets[1] - offsets[0] != math.prod(shape) * BYTES[kind]:
            raise _refusal(path, f"tensor {name[:60]!r} of type {kind} and shape {shape!r:.60} lies at {offsets!r:.60}")
        places.append(tuple(offsets))
        shapes[name] = tuple(shape)
    end = 0
    for first, last in sorted(places):
        if first != end:
            raise _refusal(path, f"a tensor begins at byte {first:,} instead of {end:,}")
        end = last
    if end != size:
        raise _refusal(path, f"its tensors have {end:,} bytes, the file has {size:,} for them; it is cut, or changed")
    return shapes


def _counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _refusal(path: Path, what: str) -> AuscultError:
    return AuscultError("E_RUN", f"{path} is no weights file that can be used: {what}. Copy or make it again.")
