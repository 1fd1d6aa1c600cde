# ruff: noqa: E501
"""At least 40 checkpoints: weights files for `load`, pickles for `convert`, each with the code that it must get."""

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from auscult.models.weights import Weights, load_weights, save_weights
from auscult.tensorfile import MAX_HEADER_BYTES

from . import OK


class Checkpoint(NamedTuple):
    """A file and its answer: `OK` or a code."""

    name: str
    content: bytes
    answer: str


def parts(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def joined(head: Any, data: bytes, size: int | None = None) -> bytes:
    """The inverse of `parts`; `size` is what the file says of its header instead of the truth."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(kind: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> bytes:
    """A file of one tensor of 8 bytes, as it says of itself."""
    return joined({"w": {"dtype": kind, "shape": shape, "data_offsets": offsets}}, bytes(8))


def weights_files(good: Path, folder: Path) -> Iterator[Checkpoint]:
    """What `auscult.load` meets; `good` is a weights file that works, `folder` a place to work in."""
    raw = good.read_bytes()
    head, data = parts(raw)
    yield Checkpoint("good", raw, OK)
    for name, content in _files(raw, head, data).items():
        yield Checkpoint(name, content, "E_RUN")
    whole = load_weights(good)
    for name, changed in _lies(whole):
        save_weights(folder / "made.safetensors", changed)
        yield Checkpoint(name, (folder / "made.safetensors").read_bytes(), "E_RUN")


def _files(raw: bytes, head: dict[str, Any], data: bytes) -> dict[str, bytes]:
    """Files that are cut, changed or none."""
    words, first = head["__metadata__"], next(name for name in head if name != "__metadata__")
    tensors = {name: entry for name, entry in head.items() if name != "__metadata__"}

    def told(**other: str) -> bytes:
        return joined(head | {"__metadata__": words | other}, data)

    def without(name: str) -> bytes:
        return joined(head | {"__metadata__": {k: v for k, v in words.items() if k != name}}, data)

    flipped = bytearray(raw)
    flipped[-5] ^= 1
    return {
        "empty": b"", "seven bytes": raw[:7], "length only": raw[:8], "half a header": raw[: len(raw) // 50],
        "half": raw[: len(raw) // 2], "one byte less": raw[:-1], "one byte more": raw + b"\0", "one bit": bytes(flipped),
        "text": b"not a checkpoint" * 10, "zeros": bytes(1000), "ones": b"\xff" * 1000, "zip": b"PK\x03\x04" + bytes(500),
        "pickle": pickle.dumps({"w": 1}), "header of 2^63": joined(b"{}", b"", 2**63), "header of 2^64": b"\xff" * 8 + b"{}",
        "header too long": joined(b"{" + b" " * MAX_HEADER_BYTES + b"}", b""), "header list": joined([], b""),
        "header deep": joined(b"[" * 100_000, b""), "header latin-1": joined(b'{"\xe9": 1}', b""),
        "entry text": joined({"w": "F32"}, b""), "type unknown": tensor("F1"), "type list": tensor(["F32"]),
        "shape negative": tensor(shape=(-2,)), "shape float": tensor(shape=(2.0,)), "shape true": tensor(shape=(True, 2)),
        "shape huge": tensor(shape=(2**62, 4)), "shape of 2^40 numbers": tensor(shape=(2**40,), offsets=(0, 2**42)),
        "offsets backward": tensor(offsets=(8, 0)), "offsets one": tensor(offsets=(0,)), "offsets past": tensor(offsets=(4, 12)),
        "overlap": joined({n: {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]} for n in "ab"}, bytes(8)),
        "gap": joined({"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}}, bytes(8)),
        "100,000 tensors": joined({str(n): {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)}, b""),
        "no words": joined(tensors, data), "words list": joined(head | {"__metadata__": [1]}, data),
        "word number": joined(head | {"__metadata__": {"format": 1}}, data), "newer format": told(format="2"),
        "no recipe": without("recipe"), "no classes": without("classes"), "no sha256": without("sha256"),
        "other sha256": told(sha256="0" * 64), "recipe text": told(recipe="no json"), "recipe deep": told(recipe="[" * 50_000),
        "classes number": told(classes="4"), "classes none": told(classes="[]"), "classes twice": told(classes='["a", "a"]'),
        "class of control characters": told(classes='["a", "\\u001b[31m"]'), "facts list": told(facts="[]"),
        "other classes": told(classes='["a", "b"]'),
        "key renamed": joined({n.replace(first, "other"): e for n, e in head.items()}, data),
    }  # fmt: skip


def _lies(whole: Weights) -> Iterator[tuple[str, Weights]]:
    """Weights that are whole, and whose recipe or facts cannot be."""

    def made(name: str, **changes: Any) -> tuple[str, Weights]:
        same = {"state": whole.state, "recipe": whole.recipe, "classes": whole.classes, "facts": whole.facts}
        return name, Weights(**(same | changes))

    def recipe(**changes: Any) -> dict[str, Any]:
        return whole.recipe | changes

    name = next(iter(whole.state))
    yield made("nan", state=whole.state | {name: torch.full_like(whole.state[name], torch.nan)})
    yield made("no tensors", state={"w": torch.zeros(1)})
    yield made("other shape", state=whole.state | {name: torch.zeros(3)})
    yield made("recipe empty", recipe={})
    yield made("recipe of no kind", recipe=recipe(kind="os.system"))
    yield made("setting unknown", recipe=recipe(exec="rm"))
    yield made("backbone unknown", recipe=recipe(backbone={"kind": "pickle"}))
    yield made("backbone wide", recipe=recipe(backbone={"kind": "cnn6", "width": 10**9}))
    yield made("backbone negative", recipe=recipe(backbone={"kind": "cnn6", "width": -1}))
    yield made("stride 0", recipe=recipe(backbone={"kind": "ast", "stride": 0}))
    yield made("clip of a year", recipe=recipe(clip=whole.recipe["clip"] | {"length_s": 3e7}))
    yield made("clip of 1e9 bins", recipe=recipe(clip=whole.recipe["clip"] | {"n_mels": 10**9}))
    yield made("input of 1e12 frames", recipe=recipe(input=whole.recipe["input"] | {"frames": 10**12}))
    yield made("thresholds text", facts=whole.facts | {"choice": "high"})
    yield made("thresholds nan", facts=whole.facts | {"choice": {"temperature": 0, "points": [], "unsure": [0, 1]}})
    yield made("quality text", facts=whole.facts | {"quality": "good"})
    yield made("quality range", facts=whole.facts | {"quality": {"settings": {}, "rms_range": [1]}})


class Runs:
    """A pickle that makes a folder when it is loaded without care."""

    def __init__(self, call: Callable[..., object], *words: object) -> None:
        self.call, self.words = call, words

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.words


def pickles(folder: Path, ran: Path) -> Iterator[Checkpoint]:
    """What `auscult weights convert` meets; one that runs makes the folder `ran`."""
    file = folder / "made.pth"

    def saved(name: str, value: object, answer: str = "E_RUN", **how: Any) -> Checkpoint:
        torch.save(value, file, **how)
        return Checkpoint(name, file.read_bytes(), answer)

    state = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}
    yield saved("plain", state, OK)
    yield saved("old format", {"model": state, "epoch": 3}, OK, _use_new_zipfile_serialization=False)
    whole = saved("", state).content
    yield Checkpoint("cut", whole[: len(whole) // 2], "E_RUN")
    yield Checkpoint("turned over", whole[:100] + bytes(200) + whole[300:], "E_RUN")
    yield saved("runs mkdir", {"w": Runs(os.mkdir, str(ran))})
    yield saved("runs eval", {"w": Runs(eval, f"__import__('os').mkdir({str(ran)!r})"), "x": torch.ones(1)})
    yield Checkpoint("runs, bare", pickle.dumps(Runs(os.mkdir, str(ran))), "E_RUN")
    yield saved("asks for terabytes", {"w": torch.zeros(1).expand(2**40)})
    yield saved("no tensors", {"epoch": 1})
    yield saved("a module", torch.nn.Linear(2, 2))
    yield saved("meta tensor", {"w": torch.zeros(2, device="meta")})
    yield saved("sparse tensor", {"w": torch.eye(3).to_sparse()})
    yield Checkpoint("empty", b"", "E_RUN")
