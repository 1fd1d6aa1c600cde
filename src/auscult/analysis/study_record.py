"""A study as one JSON record: what was asked, where it ran, every integer, and what follows from the integers.

`record` reads a study's folder, no audio. `conclusions` is a pure function of the integers in it, so that a stored
record can be checked: mean, spread over seeds and interval over patients, and the paired differences between rows. All
that is of each run's own selection and split; `views` of the record hold what other selections and splits would say.
Records of an earlier version have no views and no interval of the mean, and stay as they are.
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
from ..runs import read_json, without_nan
from ..statistics import mean_interval, paired_difference
from . import RESEARCH_ONLY
from .study_reader import COUNTS, Reader, finished_runs
from .study_views import views

RESAMPLES = 2000
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
    rows, environments, notes = [], [], alike_note(plan)
    for row in plan["rows"]:
        runs = finished_runs(out, plan, row)
        for run in runs.values():
            environments.append(read_json(run.folder / "environment.json"))
            notes += read_json(run.folder / "scores.json")["notes"]
        rows.append(row | {"runs": {seed: reader.read(run) for seed, run in runs.items()}})
    known = {
        "note": RESEARCH_ONLY,
        "notes": list(dict.fromkeys(notes)),
        **{k: plan[k] for k in ("study", "dataset", "seeds", "partial", "paper", "command", "classes", "tasks")},
        "where": where(environments),
        "parts": reader.parts,
        "rows": rows,
        "views": views(out, plan, rows, reader),
    }
    return known | conclusions(known)


def alike_note(plan: dict[str, Any]) -> list[str]:
    """A sentence for a data set whose splits are all the same; nothing else."""
    if not plan.get("splits_alike"):
        return []
    return [f"The splits official, clean and strict of {plan['dataset']} are the same: it is shown once."]


def where(environments: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Commits, hardware and versions of all runs, each once."""
    lines = {
        "commit": [e["commit"] or f"version {e['auscult']}" for e in environments],
        "hardware": [f"{e['gpu'] or e['processor']}, {e['cores']} cores, {e['threads']} threads" for e in environments],
        "python": [f"{e['python']}, torch {e['versions']['torch']}" for e in environments],
    }
    return {name: sorted(set(found)) for name, found in lines.items()}


def conclusions(known: dict[str, Any]) -> dict[str, Any]:
    """`summary` and `differences` of a record, and the summaries of its views, from its integers alone."""
    lines = [(part, task) for part in known["parts"] for task in known["tasks"]]
    rows = known["rows"]
    summary = [summarise(row, part, task["name"]) for part, task in lines for row in rows]
    # against the row above, and against the first
    pairs = [(i, j) for i in range(1, len(rows)) for j in dict.fromkeys((i - 1, 0))]
    differences = [compare(known, rows[i], rows[j], part, task) for part, task in lines for i, j in pairs]
    made: dict[str, Any] = {"summary": summary, "differences": [line for line in differences if line["seeds"]]}
    if "views" in known:
        ends = [interval(known, row, part, task) for part, task in lines for row in rows]
        made["summary"] = [line | {"interval_95": pair} for line, pair in zip(summary, ends, strict=True)]
        made["views"] = [view | {"summary": view_summary(known, view)} for view in known["views"]]
    return without_nan(made)


def view_summary(known: dict[str, Any], view: dict[str, Any]) -> list[dict[str, Any]]:
    """`summarise` of every part, task and row of a view."""
    parts = view.get("parts", known["parts"])
    return [summarise(row, part, task["name"]) for part in parts for task in known["tasks"] for row in view["rows"]]


def interval(known: dict[str, Any], row: dict[str, Any], part: str, task: dict[str, Any]) -> list[float] | None:
    """95 % interval over patients of the mean Score of a row; None without a run."""
    if not row["runs"]:
        return None
    by_seed = [counts(known, run, part, task["name"]) for run in row["runs"].values()]
    return list(mean_interval(np.stack(by_seed), task["formula"], resamples=RESAMPLES))


def summarise(row: dict[str, Any], part: str, task: str) -> dict[str, Any]:
    """Mean and standard deviation (n - 1) over the seeds of a row that are finished; None where there is none."""
    found = [run["parts"][part]["scores"][task] for run in row["runs"].values()]
    line: dict[str, Any] = {"row": row["name"], "part": part, "task": task, "seeds": len(found)}
    for name in MEASURES:
        values = [math.nan if score[name] is None else score[name] for score in found]
        mean = statistics.mean(values) if values else None
        line[name] = [mean, statistics.stdev(values) if len(values) > 1 else None]
    return line


def as_before(known: dict[str, Any]) -> dict[str, Any]:
    """The same record as an earlier version wrote it, to be held against a file that has no views."""
    old = {name: value for name, value in known.items() if name != "views"}
    return old | conclusions(old)


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
