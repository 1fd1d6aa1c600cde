"""How published checkpoints name and shape their tensors: what the layouts of all backbones have in common.

A backbone whose published files differ from it brings a `Translation` in a file of its own, and a line in
`transfer.TRANSLATIONS`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from torch import Tensor, nn

OURS = "backbone."  # begins every name of a backbone in our own weights files
PREFIXES = ("module.", OURS)  # DataParallel, ours


class Given(NamedTuple):
    """A tensor of a file as a backbone would take it.

    Args:
        published: its name in the file.
        name: the name it has in the backbone; ``head.`` begins what belongs to the task of the file.
        tensor: in the shape of the backbone where that is possible, otherwise as it came.
    """

    published: str
    name: str
    tensor: Tensor


Translation = Callable[[nn.Module, dict[str, Tensor]], Iterable[Given]]


def by_name(model: nn.Module, found: dict[str, Tensor]) -> Iterator[Given]:
    """The `Translation` of a backbone that is published as it is here."""
    for published, tensor in found.items():
        yield Given(published, rename(published), tensor)


def rename(name: str, prefixes: Iterable[str] = PREFIXES, patterns: Iterable[tuple[str, str]] = ()) -> str:
    """`name` without the prefixes, each once and in this order, then with every pattern replaced, in this order.

    >>> rename("module.v.norm.bias", ("module.", "v."), [(r"^norm[.]", "layernorm.")])
    'layernorm.bias'
    """
    for prefix in prefixes:
        name = name.removeprefix(prefix)
    for pattern, ours in patterns:
        name = re.sub(pattern, ours, name)
    return name
