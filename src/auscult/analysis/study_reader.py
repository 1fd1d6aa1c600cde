"""Reads scored runs for a record: their integers by patient, and that all were scored on the same cycles."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AuscultError
from ..metrics import Task
from ..runs import Run, read_json
from ..study import check_same, finished, run_folder
from .study_counts import Scored, count_patients, read_predictions

COUNTS = ("normal_correct", "normal", "abnormal_correct", "abnormal")


def finished_runs(out: Path, plan: dict[str, Any], row: dict[str, Any]) -> dict[str, Run]:
    """Seed -> run, of the runs of a row that are finished.

    Args:
        plan: plan.json.
        row: one of it.

    Raises:
        AuscultError: E_RUN when a folder holds another run.
    """
    runs = {str(seed): run_folder(out, row["name"], seed) for seed in range(plan["seeds"])}
    same = {"recipe": row["recipe"], "dataset": plan["dataset"], "partial": plan["partial"]}
    for seed, run in runs.items():
        check_same(run, same | {"seed": int(seed)})
    return {seed: run for seed, run in runs.items() if finished(run)}


class Reader:
    """Reads runs, and holds them to the same cycles.

    Args:
        classes: of the data set.
        tasks: of the data set.
    """

    def __init__(self, classes: list[str], tasks: list[Task]) -> None:
        self.classes, self.tasks = classes, tasks
        self.first: tuple[Run, dict[str, Scored]] | None = None
        self.parts: dict[str, Any] = {}

    def read(self, run: Run) -> dict[str, Any]:
        """Epoch, time, confusion matrices, scores and counts by patient of a finished run."""
        found = self.scored(run)
        parts = found.pop("parts")
        return found | {"train_s": round(sum(r["seconds"] for r in run.history()), 1), "parts": parts}

    def scored(self, run: Run) -> dict[str, Any]:
        """The same without the time: what the files of a scored folder say, a run or one of its views."""
        scores = read_json(run.folder / "scores.json")
        found = read_predictions(run.folder / "predictions.csv", self.classes)
        self.same_cycles(run, found)
        parts = {}
        for part, scored in found.items():
            told = scores["parts"][part]
            by_patient = {}
            for task in self.tasks:
                counts = dict(zip(COUNTS, count_patients(run, part, scored, told, task).tolist(), strict=True))
                by_patient[task.name] = {name: counts[name] for name in COUNTS[::2]}
                # how many cycles a patient has is the same in every run
                self.part(part, scored)[task.name] = {name: counts[name] for name in COUNTS[1::2]}
            parts[part] = told | {"by_patient": by_patient}
        facts = {"epoch": scores["facts"]["epoch"], "selection": scores["facts"]["selection"], "split": scores["split"]}
        return facts | {"parts": parts}

    def part(self, part: str, scored: Scored) -> dict[str, Any]:
        """Where the cycles of each patient of a part are kept, by task."""
        patients = len(np.unique(scored.patient))
        made = self.parts.setdefault(part, {"cycles": len(scored.key), "patients": patients, "by_patient": {}})
        return made["by_patient"]

    def same_cycles(self, run: Run, found: dict[str, Scored]) -> None:
        """Refuses to compare what was scored on different cycles."""
        if self.first is None:
            self.first = (run, found)
        other, known = self.first
        same = found.keys() == known.keys() and all(
            a.key == b.key and np.array_equal(a.truth, b.truth) and np.array_equal(a.patient, b.patient)
            for a, b in ((found[part], known[part]) for part in known)
        )
        if not same:
            raise AuscultError(
                "E_RUN",
                f"{run.folder} and {other.folder} were scored on different cycles; `auscult evaluate` with the same "
                "data makes them comparable.",
            )
