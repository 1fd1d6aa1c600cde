"""What a study leaves for people: scores of each run, a line about it, study.json and study.md."""

from pathlib import Path
from typing import Any

from rich.table import Table

from ..evaluate import evaluate
from ..predict import default_device
from ..runs import Run, read_json, write_text
from ..study import Outcome, Plan, finished, run_folder
from .results import collect, write
from .study_record import dumps, record
from .study_table import markdown
from .tables import empty_table, percent


def score(run: Run) -> None:
    """Scores a trained run and writes scores.json, predictions.csv and report.html, as `auscult evaluate` does."""
    write(run.folder, collect(run, *evaluate(run, device=default_device())))


def write_study(out: Path) -> dict[str, Any]:
    """Makes study.json and study.md from the finished runs of a study; gives the record.

    A copy of study.json in docs/results/studies is what docs/results.md is checked against.
    """
    made = record(out)
    write_text(out / "study.json", dumps(made))
    write_text(out / "study.md", markdown(made))
    return made


def line(plan: Plan, out: Path, outcome: Outcome) -> str:
    """One plain line about a run that was just looked at."""
    head = f"{outcome.row} s{outcome.seed} {outcome.what}"
    if outcome.what in ("failed", "elsewhere"):
        return f"{head}: {outcome.message}"
    done = sum(finished(run_folder(out, row.name, seed)) for seed, row in plan.in_order())
    spent = f", {outcome.seconds / 60:.1f} min" if outcome.what == "trained" else ""
    shown = main_scores(run_folder(out, outcome.row, outcome.seed))
    found = "; ".join(f"{part} {task} {score}" for part, task, score in shown)
    return f"{head}: {found} ({done} of {len(plan.in_order())} runs finished{spent})"


def main_scores(run: Run) -> list[tuple[str, str, str]]:
    """Part, task and Score in % of the main task of each part."""
    parts = read_json(run.folder / "scores.json")["parts"]
    firsts = [(part, next(iter(found["scores"].values()))) for part, found in parts.items()]
    return [(part, first["task"], percent(first["Score"])) for part, first in firsts]


def overview(plan: Plan, out: Path) -> Table:
    """Rows x seeds: the main task's Score on the first part of every finished run."""
    table = empty_table()
    table.add_column("row", overflow="fold")
    for seed in range(plan.seeds):
        table.add_column(f"seed {seed}", justify="right", no_wrap=True)
    for row in plan.rows:
        runs = [run_folder(out, row.name, seed) for seed in range(plan.seeds)]
        table.add_row(row.name, *(main_scores(run)[0][2] if finished(run) else "" for run in runs))
    return table
