"""Weights on disk: one safetensors file that says what model it is and carries a checksum of its numbers."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..checkpoint import save_tensors
from ..errors import AuscultError
from ..tensorfile import read_header
from ..version import __version__

FORMAT = "1"
MAX_CLASSES = 1000


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
    head = read_header(path).words
    if head.get("format") != FORMAT:
        raise AuscultError("E_RUN", f"{path} has weights format {head.get('format')!r}; this version reads {FORMAT!r}.")
    recipe, classes, facts = _told(path, head)
    state = read_tensors(path)
    if digest(state) != head.get("sha256"):
        raise AuscultError("E_RUN", f"{path} is damaged: its numbers do not fit their sha256. Copy or train it again.")
    broken = [name for name, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise AuscultError("E_RUN", f"{path} holds NaN or Inf in {', '.join(broken[:3])}; that training went astray.")
    return Weights(state=state, recipe=recipe, classes=classes, facts=facts)


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


def _told(path: Path, head: dict[str, str]) -> tuple[dict[str, Any], tuple[str, ...], dict[str, Any]]:
    """Recipe, classes and facts of the header, if they are what they must be."""
    try:
        recipe, classes, facts = (json.loads(head[name]) for name in ("recipe", "classes", "facts"))
    except (KeyError, ValueError, RecursionError) as error:
        raise AuscultError("E_RUN", f"{path} has no recipe, classes and facts that can be read: {error}.") from error
    names = classes if isinstance(classes, list) else []
    fine = names and all(isinstance(name, str) and name.isprintable() and name for name in names)
    if not (fine and len(set(names)) == len(names) <= MAX_CLASSES):
        raise AuscultError("E_RUN", f"{path} has the classes {classes!r:.100}; 1 to {MAX_CLASSES} names are needed.")
    if not (isinstance(recipe, dict) and isinstance(facts, dict)):
        raise AuscultError("E_RUN", f"{path} has a recipe or facts that are no settings by name.")
    return recipe, tuple(names), facts


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
