"""`auscult weights`: published checkpoints, listed, fetched, rewritten and checked against a backbone."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

FLAG = Parameter(negative="", show_default=False)

weights = App(name="weights", help="Published weights to start from: list, fetch, convert to safetensors, check.")


@weights.command(name="list")
def list_() -> int:
    """Says which published weights there are, what they are, and which are fetched already."""
    from rich.console import Console

    from ..models.pretrained import PRETRAINED, cached

    console = Console()
    width = max(map(len, PRETRAINED))
    for name, entry in PRETRAINED.items():
        here = "fetched" if cached(name).exists() else f"about {entry.about_mb} MB" if entry.about_mb else "not fetched"
        checksum = f"sha256 {entry.sha256}" if entry.sha256 else "no published sha256, the first download is trusted"
        lines = [
            f"{name:{width}}  {entry.what}",
            f"{'':{width}}  for {entry.backbone} {entry.size}; {here}; {checksum}",
            f"{'':{width}}  {entry.url or f'by hand from {entry.page}'}",
        ]
        for line in lines:
            console.print(line, soft_wrap=True, highlight=False, markup=False)
    return 0


@weights.command
def fetch(name: str, /) -> int:
    """Fetches published weights into the cache; a download that was cut goes on where it stopped.

    Args:
        name: of the weights; `auscult weights list` shows them.
    """
    from ..models.pretrained import fetch_pretrained
    from ..runs import file_sha256

    file = fetch_pretrained(name)
    print(f"{file}  sha256 {file_sha256(file)}")
    return 0


@weights.command
def convert(file: Path, out: Path, /) -> int:
    """Rewrites a checkpoint as safetensors, without running code from it, in a process with limited memory.

    Args:
        file: a checkpoint written by torch.save.
        out: the file to write, ending in .safetensors.
    """
    from ..models.convert import convert as rewrite

    made = rewrite(file, out)
    for name, kind, shape in made.rows:
        print(f"{name}  {kind}  {shape}")
    print(f"read {file}  sha256 {made.source_sha256}")
    print(f"wrote {out}  sha256 {made.sha256}  {len(made.rows)} tensors")
    return 0


@weights.command
def check(
    source: str,
    /,
    *,
    backbone: str | None = None,
    size: str | None = None,
    allow_partial: Annotated[bool, FLAG] = False,
) -> int:
    """Says what of a checkpoint fits a backbone; fails when it fills less than 95 % of it.

    Args:
        source: a checkpoint file, or the name of published weights.
        backbone: kind of the backbone. Published weights know theirs; a file is taken for dass.
        size: of the backbone. Published weights know theirs; for a file it is medium for dass, else the backbone's own.
        allow_partial: do not fail.
    """
    import torch

    from ..config import from_dict
    from ..errors import unknown
    from ..models import BACKBONES
    from ..models.convert import read_checkpoint
    from ..models.pretrained import PRETRAINED, locate
    from ..models.transfer import compare

    if backbone is None:
        backbone = PRETRAINED[source].backbone if source in PRETRAINED else "dass"
        size = size or (PRETRAINED[source].size if source in PRETRAINED else "medium")
    if backbone not in BACKBONES:
        raise unknown("backbone", backbone, BACKBONES)
    spec = from_dict(BACKBONES[backbone], {"size": size} if size else {})
    with torch.device("meta"):  # names and shapes are enough
        model = spec.build()
    report, _ = compare(model, read_checkpoint(locate(source)), source)
    print(report.text())
    report.require(allow_partial)
    return 0
