"""`auscult compare`: which of some trained systems is better, and whether this test set can tell."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import AuscultError


def compare(
    *runs: Path,
    task: str | None = None,
    part: str | None = None,
    all_: Annotated[bool, Parameter(name="--all", negative="", show_default=False)] = False,
    out: Path | None = None,
) -> int:
    """Compares scored runs patient by patient; needs their scores.json and predictions.csv, no audio.

    Runs of one recipe with several seeds are one system. Each system is compared with the first: difference, interval,
    p-value with Holm's correction, spread over seeds and patients, smallest difference that can be resolved.

    Args:
        runs: run folders, folders of them such as a study's, or one study.json.
        task: only this task.
        part: only this test part.
        all_: compare all pairs, not only each with the first.
        out: folder for compare.json, compare.csv and compare.md.
    """
    from rich.console import Console

    from ..analysis.compare import Scope
    from ..analysis.compare import compare as compare_runs
    from ..analysis.compare_table import print_comparison, write_comparison
    from ..progress import say

    if not runs:
        raise AuscultError("E_SETTING", "name the runs to compare: `auscult compare RUN RUN`, or a folder of runs.")
    known = compare_runs(runs, Scope(task=task, part=part, all=all_), out or Path())
    print_comparison(known, Console())
    if out is not None:
        write_comparison(out, known)
        say(f"comparison: {out / 'compare.md'}, every number behind it: {out / 'compare.json'}")
    return 0
