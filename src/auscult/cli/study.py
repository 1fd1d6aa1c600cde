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
    splits: str = "official,clean",
    best_on_test: Annotated[bool, FLAG] = False,
    table: Annotated[bool, FLAG] = False,
    engine: Literal["local", "ray"] = "local",
) -> int:
    """Trains and scores rows of recipes with several seeds, and compares them patient by patient.

    The main table is of the epoch that each recipe chooses, on the official split. Beside it stands what the epochs of
    other selections score, and other splits. The same command goes on where it was stopped. Several processes may work
    on one study: each takes the runs that no other has. Exit code: 0, or 3 when a run failed.

    Args:
        names: recipes, or one study: lung_srad_table2, lung_srad_tau, lung_srad_kernel, lung_srad_sigma,
            lung_srad_stage, sam_ablation, qlung_ablation, combinations.
        dataset: icbhi, sprsound, own (see docs/own_recordings.md), or synthetic.
        data: folder of the data set.
        seeds: how many: 0, 1, 2 and so on.
        out: folder of the study; studies/NAME without it.
        size: of the network in a named study; medium without it.
        set_: a setting for every row, KEY=VALUE, or for one, ROW:KEY=VALUE; may be repeated.
        partial: train on the recordings that are there when others have no audio.
        splits: which stand side by side, with commas. clean costs an evaluation of each run; strict trains every row
            once more, without the patients that it moves to the test.
        best_on_test: a column for the epoch that is best on the test set too: the literature protocol, for comparison
            only. Costs an evaluation of the test set after every epoch.
        table: train nothing, make the table of what is finished; needs no data.
        engine: local does one run after the other, ray as many at once as there are GPUs, or as many as have
            OMP_NUM_THREADS cores each, on this machine or on the cluster of RAY_ADDRESS (docs/many_machines.md).
    """
    from ..recipes.studies import study as study_named
    from ..study import SPLITS, plan

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
    kinds = tuple(splits.split(","))
    words += ["--splits", splits] if kinds != SPLITS else []
    words += ["--best-on-test"] if best_on_test else []
    planned = plan(
        chosen,
        dataset,
        seeds,
        set_,
        partial=partial,
        command=shlex.join(words),
        splits=kinds,
        best_on_test=best_on_test,
    )
    outcomes = work(planned, data, folder, engine)
    make_table(folder)
    return SOME_FAILED if any(o.what == "failed" for o in outcomes) else 0


def work(plan: "Plan", data: Path, out: Path, engine: Literal["local", "ray"]) -> "list[Outcome]":
    """Trains and scores what is left of a study: lines for each run on stderr, on a terminal a table of all too."""
    import matplotlib  # noqa: F401  (the reports need it: better said now than after the work)

    from .. import cluster
    from ..analysis.study_files import line, score
    from ..analysis.study_live import Board, live
    from ..progress import say
    from ..study import begin, carry_out
    from ..study_ray import carry_out_by_ray

    prepare_process()
    begun = begin(plan, data, out)
    board = Board(begun, out)

    def tell(outcome: "Outcome") -> None:
        board.tell(outcome)
        say(line(begun, out, outcome))

    try:
        if engine == "local":
            with live(board):
                return carry_out(begun, data, out, score, tell)
        with cluster.local() as ray, live(board):
            return carry_out_by_ray(ray, begun, data, out, score, tell, prepare_process)
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
