"""What a study leaves for people: scores of each run, a line about it, study.json, .md and .html."""

from pathlib import Path
from typing import Any

from ..evaluate import evaluate
from ..network import default_device
from ..runs import Run, read_json, write_text
from ..study import Outcome, Plan, View, finished, run_folder
from .results import collect, write
from .study_columns import marked
from .study_record import dumps, record
from .study_report import page
from .study_table import markdown
from .tables import percent


def score(run: Run, view: View) -> None:
    """Scores a trained run in one way: scores.json, predictions.csv and report.html, as `auscult evaluate` has them."""
    found = evaluate(run, selection=view.selection, split=view.split, device=default_device())
    write(view.folder, collect(run, *found))


def write_study(out: Path) -> dict[str, Any]:
    """Makes study.json, study.md and study.html from the finished runs of a study; gives the record.

    A copy of study.json in docs/results/studies is what docs/results.md is checked against.
    """
    made = record(out)
    write_text(out / "study.json", dumps(made))
    write_text(out / "study.md", markdown(made))
    write_text(out / "study.html", page(made))
    return made


def line(plan: Plan, out: Path, outcome: Outcome) -> str:
    """One plain line about a run that starts, or was just looked at."""
    head = f"{outcome.row} s{outcome.seed} {outcome.what}"
    if outcome.what in ("failed", "elsewhere"):
        return f"{head}: {outcome.message}"
    done = sum(finished(run_folder(out, row.name, seed)) for seed, row in plan.in_order())
    finished_so_far = f"{done} of {len(plan.in_order())} runs finished"
    if outcome.what == "started":
        return f"{head} ({finished_so_far})"
    spent = "" if outcome.what == "kept" else f", {outcome.seconds / 60:.1f} min"
    run = run_folder(out, outcome.row, outcome.seed)
    chosen = next(row.recipe.selection for _, row in plan.in_order() if row.name == outcome.row)
    found = "; ".join(f"{part} {task} {score}" for part, task, score in main_scores(run))
    return f"{head}: {found}{marked(chosen)} ({finished_so_far}{spent})"


def main_scores(run: Run) -> list[tuple[str, str, str]]:
    """Part, task and Score in % of the main task of each part."""
    parts = read_json(run.folder / "scores.json")["parts"]
    firsts = [(part, next(iter(found["scores"].values()))) for part, found in parts.items()]
    return [(part, first["task"], percent(first["Score"])) for part, first in firsts]
