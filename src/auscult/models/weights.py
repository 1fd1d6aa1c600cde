"""Weights on disk: one safetensors file that says what model it is and carries a checksum of its numbers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .. import weightsfile
from ..checkpoint import save_tensors
from ..errors import AuscultError
from ..tensorfile import read_header
from ..version import __version__
from ..weightsfile import FORMAT, astray, damaged, read_told


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
    """sha256 of a state dict; see `weightsfile.digest`."""
    ordered = ((name, state[name].detach().cpu().contiguous()) for name in sorted(state))
    return weightsfile.digest((name, str(t.dtype), tuple(t.shape), t.numpy().tobytes()) for name, t in ordered)


def save_weights(path: Path, weights: Weights) -> None:
    """Writes a weights file, atomically."""
    head = {
        "format": FORMAT,
        "auscult": __version__,
        "recipe": json.dumps(weights.recipe),
        "classes": json.dumps(weights.classes),
        "facts": json.dumps(weights.facts),
        "sha256": digest(weights.state),
    }
    save_tensors(path, weights.state, head)


def load_weights(path: Path) -> Weights:
    """Reads a weights file and checks it.

    Raises:
        AuscultError: E_RUN when it is missing, cut, of another format, its numbers were changed, or are none (NaN).
    """
    told = read_told(path)
    state = read_tensors(path)
    if digest(state) != told.sha256:
        raise damaged(path)
    broken = [name for name, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise astray(path, broken)
    return Weights(state=state, recipe=told.recipe, classes=told.classes, facts=told.facts)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, its header checked first.

    Raises:
        AuscultError: E_RUN.
    """
    read_header(path)
    try:
        with safe_open(path, framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118  (no iterator)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise AuscultError("E_RUN", f"{path} is no weights file: {error}.") from error


def load_into(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Puts `state` into `model`; every key must be there with the right shape.

    Raises:
        AuscultError: E_RUN, with the first keys that do not fit.
    """
    check_fits(model, state, source)
    model.load_state_dict(state)


def check_fits(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Refuses a state that is not the model's, key by key; the model may be without memory (device ``meta``).

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
