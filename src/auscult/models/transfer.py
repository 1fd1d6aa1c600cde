"""Puts the weights of another project's checkpoint into a backbone: names and shapes mapped, everything accounted for.

Every tensor of the file and every parameter of the backbone ends in exactly one list of the `Report`.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AuscultError
from ..progress import say
from .convert import read_checkpoint, sha256
from .dass import DASS

ENOUGH = 0.95
SHOWN = 5
PREFIXES = ("module.", "v.", "dass.", "backbone.")  # DataParallel, the DASS class, its Hugging Face class, ours
HEADS = ("classifier.head.", "head.", "front.")
STEM = "patch_embed.0.weight"
# From the Hugging Face copies of DASS (modeling_dass.py) and the one-file vmamba.py to the names of the checkpoints.
DASS_NAMES = (
    (r"^patch_embeddings\.projection\.0\.", "patch_embed.0."),
    (r"^patch_embeddings\.projection\.1\.", "patch_embed.2."),
    (r"^patch_embeddings\.projection\.3\.", "patch_embed.5."),
    (r"^patch_embeddings\.projection\.4\.", "patch_embed.7."),
    (r"\.downsample\.down\.", ".downsample.1."),
    (r"\.downsample\.norm\.", ".downsample.3."),
    (r"\.(x_proj|dt_projs)\.weight$", r".\1_weight"),
    (r"^norm\.", "classifier.norm."),
    (r"^head\.", "classifier.head."),
)
NAMES: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {DASS: DASS_NAMES}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a checkpoint gave to a backbone.

    Args:
        source: the file.
        matched: parameters it filled.
        missing: parameters it has not; they keep their start.
        unexpected: tensors of the file that the backbone has no use for.
        misfits: parameters it has in a shape or type that does not fit; they count as missing too.
        dropped: the classifier head of the task it was trained for.
        reshaped: matched after a change of shape, each with both shapes.
        share: fraction of the backbone's numbers that are matched, without its head.
        sha256: of the file; empty where none was read.
    """

    source: str
    sha256: str = ""
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misfits: tuple[str, ...]
    dropped: tuple[str, ...]
    reshaped: tuple[str, ...]
    share: float

    def text(self) -> str:
        """One line a list: its length and first entries."""
        whole = len(self.matched) + len(self.missing)
        lines = [
            f"{self.source}: {len(self.matched)} of {whole} tensors of the backbone, {self.share:.1%} of its numbers"
        ]
        for name in ("missing", "unexpected", "misfits", "dropped", "reshaped"):
            entries = getattr(self, name)
            lines.append(f"  {name} {len(entries)}{': ' + first(entries) if entries else ''}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def require(self, allow_partial: bool = False) -> None:
        """Refuses a file that fills less than 95 % of the backbone, or nothing.

        Raises:
            AuscultError: E_RUN; says what was found.
        """
        if self.matched and (allow_partial or self.share >= ENOUGH):
            return
        missing = first(m for m in self.missing if not any(x.startswith(f"{m} ") for x in self.misfits))
        found = [
            f"wrong shape: {first(self.misfits)}" if self.misfits else "",
            f"missing: {missing}" if missing else "",
            f"in the file but not in the backbone: {first(self.unexpected)}" if self.unexpected else "",
        ]
        advice = "Take a checkpoint of this backbone and size."
        if self.matched:
            advice += " To use this one all the same: partial_weights=true in the recipe, --allow-partial for a check."
        raise AuscultError(
            "E_RUN",
            f"{self.source} fills {self.share:.1%} of the backbone, {ENOUGH:.0%} are needed; "
            f"{'; '.join(part for part in found if part)}. {advice}",
        )


def first(names: Iterable[str]) -> str:
    """The first few of many names.

    >>> first("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    names = list(names)
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def load_backbone(model: nn.Module, source: Path, *, allow_partial: bool = False) -> Report:
    """Fills a backbone from a checkpoint and says what was matched, missing and unexpected.

    1x1 convolutions (O, I, 1, 1) become linear weights (O, I); the stem of a network for colour images is summed over
    its three channels, which is what that network answers to a grey image; the head of the file's own task is dropped.

    Args:
        model: the backbone; unchanged when the file is refused.
        source: a checkpoint; see `read_checkpoint`.
        allow_partial: take a file that fills less than 95 % of the backbone.

    Raises:
        AuscultError: E_RUN.

    Source: stem and head as in the code of Bhati et al. 2024 (DASS), src/models/ast_models.py.
    """
    report, state = compare(model, read_checkpoint(source), str(source))
    say(report.text())
    report.require(allow_partial)
    report = replace(report, sha256=sha256(source))
    for name in report.matched:
        if not torch.isfinite(state[name]).all():
            raise AuscultError("E_RUN", f"{source} is damaged: {name} holds NaN or infinity.")
    model.load_state_dict(model.state_dict() | state)
    return report


def compare(model: nn.Module, found: dict[str, Tensor], source: str) -> tuple[Report, dict[str, Tensor]]:
    """What `load_backbone` would do: the report, and the tensors under our names in our shapes.

    Raises:
        AuscultError: E_RUN when two tensors of the file have the same name for us.
    """
    want = model.state_dict()
    state: dict[str, Tensor] = {}
    unexpected, misfits, dropped, reshaped = [], [], [], []
    for published, tensor in found.items():
        name, shape = rename(published, type(model)), tuple(tensor.shape)
        if name in state:
            raise AuscultError("E_RUN", f"{source} has {name} twice; the second is called {published}.")
        target = want.get(name)
        fitted = None if target is None else fit(name, tensor, tuple(target.shape))
        if target is not None and fitted is not None:
            state[name] = fitted.to(target.dtype)
            if shape != tuple(target.shape):
                reshaped.append(f"{name} {shape} -> {tuple(target.shape)}")
        elif name.startswith(HEADS):
            dropped.append(f"{name} {shape}")
        elif target is not None:
            kind = "" if tensor.is_floating_point() else f" of {tensor.dtype}"
            misfits.append(f"{name} {shape}{kind} instead of {tuple(target.shape)}")
        else:
            unexpected.append(published)
    body = [name for name in want if not name.startswith(HEADS)]
    share = sum(want[n].numel() for n in body if n in state) / max(sum(want[n].numel() for n in body), 1)
    report = Report(
        source=source,
        matched=tuple(n for n in want if n in state),
        missing=tuple(n for n in want if n not in state),
        unexpected=tuple(unexpected),
        misfits=tuple(misfits),
        dropped=tuple(dropped),
        reshaped=tuple(reshaped),
        share=share,
    )
    return report, state


def rename(name: str, kind: type[nn.Module]) -> str:
    """The name that a tensor of a published checkpoint has in a backbone of this class.

    >>> rename("module.v.layers.0.blocks.1.op.Ds", DASS), rename("dass.layers.0.downsample.down.bias", DASS)
    ('layers.0.blocks.1.op.Ds', 'layers.0.downsample.1.bias')
    """
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    for pattern, ours in NAMES.get(kind, ()):
        name = re.sub(pattern, ours, name)
    return name


def fit(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """`tensor` in our shape, or None where it is another thing."""
    have = tuple(tensor.shape)
    if not tensor.is_floating_point():
        return None
    if have == shape:
        return tensor
    if len(have) == 4 and have == (*shape, 1, 1):
        return tensor.reshape(shape)  # a 1x1 convolution is a linear layer
    if name.endswith(("x_proj_weight", "dt_projs_weight")) and have == (shape[0] * shape[1], *shape[2:]):
        return tensor.reshape(shape)  # four directions in one grouped layer
    if name == STEM and have[1:2] == (3,) and (have[0], 1, *have[2:]) == shape:
        return tensor.sum(dim=1, keepdim=True)
    return None
