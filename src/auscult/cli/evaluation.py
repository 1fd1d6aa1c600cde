"""`auscult evaluate`: a run's named scores, on stdout and in files."""

from pathlib import Path
from typing import Literal

from .process import prepare_process


def evaluate(
    run: Path,
    /,
    *,
    data: Path | None = None,
    selection: Literal["last", "validation", "best_on_test"] | None = None,
    split: Literal["official", "clean", "strict"] | None = None,
    out: Path | None = None,
) -> int:
    """Scores a run on the test parts of its data set, and writes scores.json, predictions.csv and report.html.

    Args:
        run: a run folder.
        data: folder of the data set, if it has moved since training.
        selection: which epoch's weights; the recipe's own choice without it.
        split: another split than the recipe's; clean drops the test cycles of shared patients.
        out: folder for the three files; the run folder without it.
    """
    import matplotlib  # noqa: F401  (the report needs it: better said now than after the work)
    from rich.console import Console

    from ..analysis.results import collect, write
    from ..analysis.tables import print_results
    from ..evaluate import evaluate as score
    from ..predict import default_device
    from ..progress import say
    from ..runs import Run

    prepare_process()
    source = Run(run)
    stuff, weights, evaluations = score(source, data=data, selection=selection, split=split, device=default_device())
    results = collect(source, stuff, weights, evaluations)
    print_results(results, Console())
    report = write(out or run, results)
    say(f"report: {report}")
    return 0
