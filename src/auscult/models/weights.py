"""Weights on disk: one safetensors file that says what model it is and carries a checksum of its numbers."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import AuscultError
from ..runs import replacing
from ..version import __version__

FORMAT = "1"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A weights file in memory.

    Args:
        state: the model's state dict.
        recipe: the recipe as a dictionary; it rebuilds the model.
        classes: class names in the order of the logits.
        facts: data set, seed, epoch, selection and the like.
    """

    state: dict[str, Tensor]
    recipe: dict[str, Any]
    classes: tuple[str, ...]
    facts: dict[str, Any]


def digest(state: dict[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes of all tensors, in the order of their names.

    safetensors checks its header but not its data: a flipped bit would load in silence.
    """
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()


def save_weights(path: Path, weights: Weights) -> None:
    """Writes a weights file, atomically."""
    state = {name: t.detach().cpu().contiguous().clone() for name, t in weights.state.items()}
    head = {
        "format": FORMAT,
        "auscult": __version__,
        "recipe": json.dumps(weights.recipe),
        "classes": json.dumps(weights.classes),
        "facts": json.dumps(weights.facts),
        "sha256": digest(state),
    }
    with replacing(path) as temporary:
        save_file(state, temporary, metadata=head)


def load_weights(path: Path) -> Weights:
    """Reads a weights file and checks it.

    Raises:
        AuscultError: E_RUN when it is missing, cut, of another format, or its numbers were changed.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            head = handle.metadata() or {}
            state = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118  (no iterator)
    except (OSError, SafetensorError) as error:
        raise AuscultError("E_RUN", f"{path} is no weights file: {error}.") from error
    if head.get("format") != FORMAT:
        raise AuscultError("E_RUN", f"{path} has weights format {head.get('format')!r}; this version reads {FORMAT!r}.")
    if digest(state) != head["sha256"]:
        raise AuscultError("E_RUN", f"{path} is damaged: its numbers do not fit their sha256. Copy or train it again.")
    return Weights(
        state=state,
        recipe=json.loads(head["recipe"]),
        classes=tuple(json.loads(head["classes"])),
        facts=json.loads(head["facts"]),
    )


def load_into(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Puts `state` into `model`; every key must be there with the right shape.

    Raises:
        AuscultError: E_RUN, with the first keys that do not fit.
    """
    want = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    have = {name: tuple(t.shape) for name, t in state.items()}
    wrong = [f"{n} (missing)" for n in want if n not in have]
    wrong += [f"{n} (unexpected)" for n in have if n not in want]
    wrong += [f"{n} {have[n]} instead of {want[n]}" for n in want if n in have and have[n] != want[n]]
    if wrong:
        raise AuscultError(
            "E_RUN", f"{source} does not fit this model; {len(wrong)} keys differ: {'; '.join(wrong[:10])}."
        )
    model.load_state_dict(state)
