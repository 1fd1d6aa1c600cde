"""`auscult download`, `auscult prepare` and `auscult list`."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

Group = Literal["recipes", "datasets", "backbones", "objectives", "optimizers"]
SOME_MISSING = 3


def download(name: str, /, *, to: Path) -> int:
    """Fetches a data set, checks it and unpacks it; a download that was cut goes on where it stopped.

    Args:
        name: of the data set: icbhi.
        to: folder to put it in.
    """
    from ..data.download import download as fetch
    from ..progress import say

    folder = fetch(name, to)
    say(f"{name} is in {folder}; `auscult prepare {name} --data {folder}` checks it")
    return 0


def prepare(
    dataset: str,
    /,
    *,
    data: Path,
    all_: Annotated[bool, Parameter(name="--all", negative="", show_default=False)] = False,
) -> int:
    """Checks a copy of a data set and says what it holds: counts, shared patients, missing audio, bad files.

    Exit code: 0 when every recording is there and can be used, 3 when some are not.

    Args:
        dataset: icbhi, sprsound, own (see docs/own_recordings.md), or synthetic.
        data: folder of the data set.
        all_: name every missing recording and every problem, not just the first.
    """
    from rich.console import Console

    from ..data.describe import check_audio, describe, render
    from ..data.material import read

    corpus = read(dataset, data)
    found = describe(corpus, check_audio(corpus))
    render(found, Console(), full=all_, more=f"`auscult prepare {dataset} --data {data} --all` lists all")
    return SOME_MISSING if found.problems or found.missing else 0


def list_(what: Group | None = None, /) -> int:
    """Says which recipes, data sets, backbones, objectives and optimisers there are.

    Args:
        what: one of them; all without it.
    """
    from rich.console import Console

    from ..data import DATASETS
    from ..models import BACKBONES
    from ..objectives import OBJECTIVES
    from ..optim import OPTIMIZERS
    from ..recipes import RECIPES

    groups: dict[str, dict[str, Any]] = {
        "recipes": dict(RECIPES),
        "datasets": {name: sys.modules[read.__module__] for name, read in DATASETS.items()},
        "backbones": dict(BACKBONES),
        "objectives": dict(OBJECTIVES),
        "optimizers": dict(OPTIMIZERS),
    }
    console = Console()
    for group in [what] if what else groups:
        width = max(map(len, groups[group]))
        console.print(group, style="bold", highlight=False)
        for name, thing in groups[group].items():
            line = f"  {name:{width}}  {first_line(thing)}"
            console.print(line, soft_wrap=True, highlight=False, markup=False)
    return 0


def first_line(thing: Any) -> str:
    """The first line of a docstring."""
    return (thing.__doc__ or "").strip().partition("\n")[0]
