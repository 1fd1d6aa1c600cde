"""Puts the weights of another project's checkpoint into a backbone: names and shapes mapped, everything accounted for.

Every tensor of the file and every parameter of the backbone ends in exactly one list of the `Report`.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AuscultError
from ..progress import say
from ..runs import file_sha256
from . import ast_layouts, dass_layouts, mobilenet_layouts
from .ast import AST
from .convert import read_checkpoint
from .dass import DASS
from .layouts import Translation, by_name
from .mobilenet import MobileNetV3

ENOUGH = 0.95
SHOWN = 5
HEADS = ("classifier.head.", "head.", "front.")
EXTRAS = ("adapters.",)  # ours, that no published file has
TRANSLATIONS: dict[type[nn.Module], Translation] = {
    DASS: dass_layouts.translate,
    AST: ast_layouts.translate,
    MobileNetV3: mobilenet_layouts.translate,
}


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
        reshaped: matched after a change of shape, each with the file's shape and ours.
        share: fraction of the backbone's numbers that are matched, without its head and its adapters.
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

    Names and shapes are brought to ours by the `Translation` of the backbone's class; the head of the file's own task
    is dropped.

    Args:
        model: the backbone; unchanged when the file is refused.
        source: a checkpoint; see `read_checkpoint`.
        allow_partial: take a file that fills less than 95 % of the backbone.

    Raises:
        AuscultError: E_RUN.
    """
    report, state = compare(model, read_checkpoint(source), str(source))
    say(report.text())
    report.require(allow_partial)
    report = replace(report, sha256=file_sha256(source))
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
    for published, name, tensor in TRANSLATIONS.get(type(model), by_name)(model, found):
        if name in state:
            raise AuscultError("E_RUN", f"{source} has {name} twice; the second is called {published}.")
        target, shape = want.get(name), tuple(found[published].shape)
        same_kind = target is not None and tensor.is_floating_point() == target.is_floating_point()
        if target is not None and same_kind and tensor.shape == target.shape:
            state[name] = tensor.to(target.dtype)
            if shape != tuple(target.shape):
                reshaped.append(f"{name} {shape} -> {tuple(target.shape)}")
        elif name.startswith(HEADS):
            dropped.append(f"{name} {shape}")
        elif target is not None:
            kind = "" if same_kind else f" of {tensor.dtype}"
            misfits.append(f"{name} {shape}{kind} instead of {tuple(target.shape)}")
        elif published not in unexpected:  # one tensor may have been cut into several
            unexpected.append(published)
    body = [name for name in want if not name.startswith(HEADS + EXTRAS)]
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
