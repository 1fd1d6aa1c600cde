"""What a weights file says of its model, read and checked without torch: recipe, classes, facts and a checksum.

`models.weights` writes these files, and reads them whole.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import AuscultError
from .tensorfile import read_header

FORMAT = "1"
MAX_CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class Told:
    """The words of a weights file.

    Args:
        recipe: the recipe as a dictionary; it rebuilds the model.
        classes: class names in the order of the logits.
        facts: data set, seed, epoch, selection and the like.
        sha256: of its numbers, as `digest` makes it; empty where the file says nothing.
        shapes: of its tensors, by name.
        kinds: types of its tensors, by name, as safetensors calls them.
    """

    recipe: dict[str, Any]
    classes: tuple[str, ...]
    facts: dict[str, Any]
    sha256: str
    shapes: dict[str, tuple[int, ...]]
    kinds: dict[str, str]


def read_told(path: Path) -> Told:
    """The words of a weights file.

    Raises:
        AuscultError: E_RUN when it is missing, cut, or of another format.
    """
    head = read_header(path)
    found = head.words.get("format")
    if found != FORMAT:
        raise AuscultError("E_RUN", f"{path} has weights format {found!r}; this version reads {FORMAT!r}.")
    recipe, classes, facts = _told(path, head.words)
    return Told(
        recipe=recipe,
        classes=classes,
        facts=facts,
        sha256=head.words.get("sha256", ""),
        shapes=head.shapes,
        kinds=head.kinds,
    )


def digest(tensors: Iterable[tuple[str, str, tuple[int, ...], bytes]]) -> str:
    """sha256 over names, types (as torch prints them), shapes and bytes of tensors, in the order of their names.

    safetensors checks its header but not its data: a flipped bit would load in silence.
    """
    total = hashlib.sha256()
    for name, kind, shape, data in tensors:
        total.update(f"{name} {kind} {shape}\n".encode())
        total.update(data)
    return total.hexdigest()


def damaged(path: Path) -> AuscultError:
    """The error for numbers that do not fit their checksum."""
    return AuscultError("E_RUN", f"{path} is damaged: its numbers do not fit their sha256. Copy or train it again.")


def astray(path: Path, names: list[str]) -> AuscultError:
    """The error for tensors with numbers that are none."""
    return AuscultError("E_RUN", f"{path} holds NaN or Inf in {', '.join(names[:3])}; that training went astray.")


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
