"""Systems against each other, from the scores.json and predictions.csv of their runs: no audio, no network.

Runs of one recipe with other seeds are one system. Every pair is compared on the same patients: the difference, its
interval, a p-value corrected for how many pairs there are, and the smallest difference that this test set can resolve.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import fingerprint
from ..errors import AuscultError, unknown
from ..runs import Run, read_json, without_nan
from ..statistics import holm
from ..variance import difference, spread
from . import RESEARCH_ONLY
from .study_reader import Reader
from .study_record import counts
from .verify_run import tasks_of

RESAMPLES = 10_000  # more than for one interval: Holm multiplies the smallest p-value by the number of pairs
DEPTH = 3  # how deep a folder is searched for runs


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What is compared.

    Args:
        task: only this task; None for all.
        part: only this part; None for all.
        all: every pair, not only each system with the first.
    """

    task: str | None = None
    part: str | None = None
    all: bool = False


def compare(inputs: Sequence[Path], scope: Scope = Scope(), base: Path = Path()) -> dict[str, Any]:
    """The record of a comparison, JSON-ready; fractions of 1 throughout.

    Args:
        inputs: run folders, folders that hold run folders, or study.json files.
        base: the folder that the inputs are named from in the record.

    Raises:
        AuscultError: E_RUN when there are no runs, or they were scored on different cycles; E_SETTING for an unknown
            task or part.
    """
    known = from_records(inputs) if any(p.suffix == ".json" for p in inputs) else from_runs(inputs)
    tasks = [task for task in known["tasks"] if scope.task in (None, task["name"])]
    parts = [part for part in known["parts"] if scope.part in (None, part)]
    if not tasks:
        raise unknown("task", str(scope.task), [task["name"] for task in known["tasks"]])
    if not parts:
        raise unknown("part", str(scope.part), known["parts"])
    lines = [(part, task) for part in parts for task in tasks]
    shown = ("dataset", "split", "notes")
    made = {
        "note": RESEARCH_ONLY,
        **{name: known[name] for name in shown},
        "inputs": [Path(os.path.relpath(path, base)).as_posix() for path in inputs],
        "scope": asdict(scope),
        "resamples": RESAMPLES,
        "parts": {part: {k: known["parts"][part][k] for k in ("cycles", "patients")} for part in parts},
        "systems": [{k: row[k] for k in ("name", "recipe", "fingerprint", "seeds")} for row in known["rows"]],
        "scores": [score_line(known, row, part, task) for part, task in lines for row in known["rows"]],
        "differences": [line for part, task in lines for line in difference_lines(known, part, task, scope.all)],
    }
    return without_nan(made)


def score_line(known: dict[str, Any], row: dict[str, Any], part: str, task: dict[str, Any]) -> dict[str, Any]:
    """Mean Score of a system, and how much of its spread is of seeds and how much of patients."""
    found = spread(stacked(known, row, part, task["name"]), task["formula"], RESAMPLES)
    about = {"system": row["name"], "part": part, "task": task["name"], "seeds": found.seeds}
    return about | {"Score": found.mean, "seed_std": found.seed_std, "patient_std": found.patient_std}


def difference_lines(known: dict[str, Any], part: str, task: dict[str, Any], every: bool) -> list[dict[str, Any]]:
    """Each system minus the first, or minus all before it; Holm's correction over these lines."""
    rows = known["rows"]
    pairs = [(i, j) for i in range(1, len(rows)) for j in (range(i) if every else (0,))]
    all_counts = [stacked(known, row, part, task["name"]) for row in rows]
    found = [difference(all_counts[j], all_counts[i], task["formula"], resamples=RESAMPLES) for i, j in pairs]
    lines = []
    for (i, j), d, corrected in zip(pairs, found, holm([d.p for d in found]), strict=True):
        about = {"system": rows[i]["name"], "against": rows[j]["name"], "part": part, "task": task["name"]}
        numbers = {"difference": d.difference, "interval_95": [d.low, d.high], "p": d.p, "p_holm": corrected}
        spreads = {"patient_std": d.patient_std, "seed_error": d.seed_error, "resolvable": d.resolvable}
        lines.append(about | numbers | spreads | {"resolved": abs(d.difference) >= d.resolvable})
    return lines


def stacked(known: dict[str, Any], row: dict[str, Any], part: str, task: str) -> NDArray[np.int64]:
    """Counts of every run of a system. Shape: (S, 4, P)."""
    return np.stack([counts(known, run, part, task) for run in row["runs"].values()])


def from_records(files: Sequence[Path]) -> dict[str, Any]:
    """The finished rows of a study.json as systems.

    Raises:
        AuscultError: E_SETTING for more than one input, E_RUN for another file.
    """
    if len(files) > 1:
        raise AuscultError("E_SETTING", f"{len(files)} inputs; give one study.json alone, or the folders of the runs.")
    known = read_json(files[0])
    if not isinstance(known, dict) or not {"study", "rows", "parts"} <= known.keys():
        raise AuscultError("E_RUN", f"{files[0]} is no study.json; `auscult study` writes one.")
    rows = [
        {"name": row["name"], "recipe": row["recipe"]["name"], "fingerprint": row["fingerprint"]}
        | {"seeds": [int(seed) for seed in row["runs"]], "runs": row["runs"]}
        for row in known["rows"]
        if row["runs"]
    ]
    if not rows:
        raise AuscultError("E_RUN", f"{files[0]} has no finished run; nothing to compare.")
    splits = sorted({run["split"] for row in rows for run in row["runs"].values()})
    return known | {"rows": rows, "split": ", ".join(splits)}


def from_runs(inputs: Sequence[Path]) -> dict[str, Any]:
    """Scored run folders as systems, in the order they are named.

    Raises:
        AuscultError: E_RUN.
    """
    runs = list(dict.fromkeys(run for path in inputs for run in runs_in(path)))
    told = {run: read_json(run / "scores.json") for run in runs}
    first = told[runs[0]]
    for run, scores in told.items():
        for key in ("dataset", "split", "classes"):
            if scores[key] != first[key]:
                raise AuscultError(
                    "E_RUN",
                    f"{run} was scored on {key} {scores[key]}, {runs[0]} on {first[key]}; `auscult evaluate` both on "
                    "the same to compare them.",
                )
    tasks = tasks_of(first)
    reader = Reader(list(first["classes"]), tasks)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        about, facts = about_recipe(run, told[run]), told[run]["facts"]
        row = rows.setdefault((about["fingerprint"], facts["selection"]), about | {"runs": {}, "from": {}})
        seed = str(facts["seed"])
        if seed in row["runs"]:
            raise AuscultError(
                "E_RUN", f"{row['from'][seed]} and {run} are the same recipe with seed {seed}; leave one out."
            )
        row["from"][seed], row["runs"][seed] = run, reader.read(Run(run))
    named = list(with_own_names(rows))
    notes = [note for scores in told.values() for note in scores["notes"]]
    return {
        "dataset": first["dataset"],
        "split": first["split"],
        "notes": list(dict.fromkeys(notes)),
        "tasks": [asdict(task) for task in tasks],
        "parts": reader.parts,
        "rows": [row | {"seeds": [int(seed) for seed in row["runs"]]} for row in named],
    }


def runs_in(path: Path, scores: str = "scores.json") -> list[Path]:
    """The scored runs in a folder: itself, or those below it.

    Args:
        scores: name of the file that a scored run has.

    Raises:
        AuscultError: E_RUN when there is none.
    """
    if (path / scores).is_file():
        return [path.resolve()]
    for depth in range(1, DEPTH + 1):
        found = sorted(file.parent.resolve() for file in path.glob("/".join(["*"] * depth + [scores])))
        if found:
            return study_order(path, found)
    raise AuscultError(
        "E_RUN", f"{path} holds no scored run ({scores}); `auscult evaluate RUN` or `auscult study` scores one."
    )


def study_order(path: Path, runs: list[Path]) -> list[Path]:
    """The runs of a study in the order of its rows, others by their names."""
    names = [row["name"] for row in read_json(path / "plan.json")["rows"]] if (path / "plan.json").is_file() else []
    known = {name: i for i, name in enumerate(names)}
    return sorted(runs, key=lambda run: (known.get(run.parent.name, len(names)), run))


def about_recipe(run: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Name and fingerprint of the recipe of a run; the system has the name of its row where it is one of a study."""
    if "recipe" in told:
        about = dict(told["recipe"])
    else:  # scores.json of an earlier version
        recipe = Run(run).settings()["recipe"]
        about = {"name": recipe["name"], "fingerprint": fingerprint(recipe)}
    name = run.parent.name if (run.parent.parent / "plan.json").is_file() else about["name"]
    return {"name": name, "recipe": about["name"], "fingerprint": about["fingerprint"]}


def with_own_names(rows: dict[tuple[str, str], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows whose names say what tells them apart, where two have the same."""
    names = [row["name"] for row in rows.values()]
    for (mark, selection), row in rows.items():
        more = f" ({selection}, {mark[:6]})" if names.count(row["name"]) > 1 else ""
        yield row | {"name": row["name"] + more}
