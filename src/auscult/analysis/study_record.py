"""A study as one JSON record: what was asked, where it ran, every integer, and what follows from the integers.

`record` reads a study's folder, no audio. `conclusions` is a pure function of the integers in it, so that a stored
record can be checked: mean and spread over seeds, and the paired differences between rows.
"""

import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AuscultError
from ..metrics import Task
from ..runs import Run, read_json
from ..statistics import paired_difference
from ..study import check_same, finished, run_folder
from . import RESEARCH_ONLY
from .results import without_nan
from .study_counts import Scored, count_patients, read_predictions

RESAMPLES = 2000
COUNTS = ("normal_correct", "normal", "abnormal_correct", "abnormal")
MEASURES = ("Sp", "Se", "Score")


def record(out: Path) -> dict[str, Any]:
    """Everything about the study in a folder, from its plan and its finished runs.

    Raises:
        AuscultError: E_RUN when the folder holds no study, when files of a run disagree, or when two runs were scored
            on different cycles.
    """
    if not (out / "plan.json").exists():
        raise AuscultError("E_RUN", f"{out} holds no study; `auscult study` makes one there with --out {out}.")
    plan = read_json(out / "plan.json")
    tasks = [Task(**{**t, "classes": tuple(t["classes"]), "mapping": tuple(t["mapping"])}) for t in plan["tasks"]]
    reader = Reader(plan["classes"], tasks)
    rows, environments, notes = [], [], list[str]()
    for row in plan["rows"]:
        runs = {}
        for seed in range(plan["seeds"]):
            run = run_folder(out, row["name"], seed)
            asked = {"recipe": row["recipe"], "seed": seed, "dataset": plan["dataset"], "partial": plan["partial"]}
            check_same(run, asked)
            if finished(run):
                runs[str(seed)] = reader.read(run)
                environments.append(read_json(run.folder / "environment.json"))
                notes += read_json(run.folder / "scores.json")["notes"]
        rows.append(row | {"runs": runs})
    known = {
        "note": RESEARCH_ONLY,
        "notes": list(dict.fromkeys(notes)),
        **{k: plan[k] for k in ("study", "dataset", "seeds", "partial", "paper", "command", "classes", "tasks")},
        "where": where(environments),
        "parts": reader.parts,
        "rows": rows,
    }
    return known | conclusions(known)


def where(environments: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Commits, hardware and versions of all runs, each once."""
    lines = {
        "commit": [e["commit"] or f"version {e['auscult']}" for e in environments],
        "hardware": [f"{e['gpu'] or e['processor']}, {e['cores']} cores, {e['threads']} threads" for e in environments],
        "python": [f"{e['python']}, torch {e['versions']['torch']}" for e in environments],
    }
    return {name: sorted(set(found)) for name, found in lines.items()}


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
        return facts | {"train_s": round(sum(r["seconds"] for r in run.history()), 1), "parts": parts}

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


def conclusions(known: dict[str, Any]) -> dict[str, Any]:
    """`summary` and `differences` of a record, from its integers alone."""
    lines = [(part, task) for part in known["parts"] for task in known["tasks"]]
    rows = known["rows"]
    summary = [summarise(row, part, task["name"]) for part, task in lines for row in rows]
    # against the row above, and against the first
    pairs = [(i, j) for i in range(1, len(rows)) for j in dict.fromkeys((i - 1, 0))]
    differences = [compare(known, rows[i], rows[j], part, task) for part, task in lines for i, j in pairs]
    return without_nan({"summary": summary, "differences": [line for line in differences if line["seeds"]]})


def summarise(row: dict[str, Any], part: str, task: str) -> dict[str, Any]:
    """Mean and standard deviation (n - 1) over the seeds of a row that are finished; None where there is none."""
    found = [run["parts"][part]["scores"][task] for run in row["runs"].values()]
    line: dict[str, Any] = {"row": row["name"], "part": part, "task": task, "seeds": len(found)}
    for name in MEASURES:
        values = [math.nan if score[name] is None else score[name] for score in found]
        mean = statistics.mean(values) if values else None
        line[name] = [mean, statistics.stdev(values) if len(values) > 1 else None]
    return line


def compare(
    known: dict[str, Any], row: dict[str, Any], against: dict[str, Any], part: str, task: dict[str, Any]
) -> dict[str, Any]:
    """Score of a row minus that of another, over the seeds that both have."""
    seeds = [seed for seed in row["runs"] if seed in against["runs"]]
    line = {"row": row["name"], "against": against["name"], "part": part, "task": task["name"], "seeds": len(seeds)}
    if not seeds:
        return line
    first, second = (
        np.stack([counts(known, one["runs"][seed], part, task["name"]) for seed in seeds]) for one in (against, row)
    )
    found = paired_difference(first, second, task["formula"], resamples=RESAMPLES)
    ends = [found.low, found.high]
    return line | {"difference": found.difference, "interval_95": ends, "std_over_seeds": found.seed_std}


def counts(known: dict[str, Any], run: dict[str, Any], part: str, task: str) -> NDArray[np.int64]:
    """The counts of every patient that `paired_difference` takes. Shape: (4, P)."""
    either = run["parts"][part]["by_patient"][task] | known["parts"][part]["by_patient"][task]
    return np.array([either[name] for name in COUNTS])


def dumps(value: Any) -> str:
    r"""JSON with each list of numbers on one line.

    >>> print(dumps({"confusion": [[1, 2], [3, 4]]}), end="")
    {
     "confusion": [
      [1, 2],
      [3, 4]
     ]
    }
    """
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    return re.sub(r"\[\n(?:[\s\d.,eE+-]|null)+\]", lambda found: f"[{' '.join(found[0][1:-1].split())}]", text) + "\n"
