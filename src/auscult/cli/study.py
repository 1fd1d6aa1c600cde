"""`auscult study`: rows of recipes x seeds, and the table that compares them."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ..errors import AuscultError
from .process import prepare_process

if TYPE_CHECKING:
    from ..study import Outcome, Plan

FLAG = Parameter(negative="", show_default=False)
SOME_FAILED = 3


def study(
    *names: str,
    dataset: str | None = None,
    data: Path | None = None,
    seeds: int = 3,
    out: Path | None = None,
    size: Literal["nano", "small", "medium"] | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    partial: Annotated[bool, FLAG] = False,
    table: Annotated[bool, FLAG] = False,
) -> int:
    """Trains and scores rows of recipes with several seeds, and compares them patient by patient.

    The same command goes on where it was stopped. Several processes may work on one study: each takes the runs that no
    other has. Exit code: 0, or 3 when a run failed.

    Args:
        names: recipes, or one study: lung_srad_table2, lung_srad_tau, lung_srad_kernel, lung_srad_sigma,
            lung_srad_stage, sam_ablation, qlung_ablation, combinations.
        dataset: icbhi, sprsound or synthetic.
        data: folder of the data set.
        seeds: how many: 0, 1, 2 and so on.
        out: folder of the study; studies/NAME without it.
        size: of the network in a named study; medium without it.
        set_: a setting for every row, KEY=VALUE; may be repeated.
        partial: train on the recordings that are there when others have no audio.
        table: train nothing, make the table of what is finished; needs no data.
    """
    from ..recipes.studies import study as study_named
    from ..study import plan

    chosen = study_named(names, size)
    folder = out or Path("studies") / chosen.name
    if table:
        check_name(folder, chosen.name)
        return make_table(folder)
    if dataset is None or data is None:
        raise AuscultError("E_SETTING", "name the data set with --dataset and its folder with --data.")
    words = ["auscult", "study", *names, "--dataset", dataset, "--data", "DIR", "--seeds", str(seeds)]
    words += ["--size", size] if size else []
    words += [word for setting in set_ for word in ("--set", setting)] + (["--partial"] if partial else [])
    planned = plan(chosen, dataset, seeds, set_, partial=partial, command=shlex.join(words))
    outcomes = work(planned, data, folder)
    make_table(folder)
    return SOME_FAILED if any(o.what == "failed" for o in outcomes) else 0


def work(plan: "Plan", data: Path, out: Path) -> "list[Outcome]":
    """Trains and scores what is left of a study, a line for each run on stderr, the grid of scores on a terminal."""
    import matplotlib  # noqa: F401  (the reports need it: better said now than after the work)
    from rich.console import Console

    from ..analysis.study_files import line, overview, score
    from ..progress import say
    from ..study import run_study

    prepare_process()
    console = Console()

    def tell(outcome: "Outcome") -> None:
        say(line(plan, out, outcome))
        if console.is_terminal and outcome.what == "trained":
            console.print(overview(plan, out))

    try:
        return run_study(plan, data, out, score, tell)
    except KeyboardInterrupt:
        say(f"finished runs and whole epochs are kept in {out}; the same command goes on, with --table it shows them")
        raise


def make_table(out: Path) -> int:
    """Prints the table of a study and writes study.json and study.md."""
    from rich.console import Console

    from ..analysis.study_files import write_study
    from ..analysis.study_table import print_study
    from ..progress import say

    print_study(write_study(out), Console())
    say(f"table: {out / 'study.md'}, every number behind it: {out / 'study.json'}")
    return 0


def check_name(out: Path, name: str) -> None:
    """Refuses to show one study under the name of another.

    Raises:
        AuscultError: E_RUN.
    """
    from ..runs import read_json

    if (out / "plan.json").exists() and (there := read_json(out / "plan.json")["study"]) != name:
        raise AuscultError("E_RUN", f"{out} holds the study {there}, asked is {name}; name that one, or another --out.")
