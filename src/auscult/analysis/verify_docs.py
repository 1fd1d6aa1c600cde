"""Checks a page of results: its tables are those of the stored records, and those follow from their own integers.

The predictions of these runs are not stored with the page. A record of a study has the counts of every patient, so its
scores, intervals and differences are made again from them; scores.json of a single run has its confusion matrices.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ..metrics import Task, scores
from ..statistics import counts_interval
from .compare_table import markdown as comparison_markdown
from .ledger import table
from .mismatch import NOTHING, Mismatch, json_file_mismatches, text_mismatches
from .results import scores_text
from .study_page import put
from .study_record import conclusions, counts, dumps
from .study_table import markdown
from .verify_run import tasks_of


def verify_page(folder: Path) -> tuple[list[Mismatch], list[str]]:
    """results.md against results/studies/*.json, results/*_sSEED.json and comparisons below results/."""
    page, wrong = folder / "results.md", list[Mismatch]()
    text = page.read_text(encoding="utf-8")
    for file in sorted((folder / "results" / "studies").glob("*.json")):
        stored = file.read_text(encoding="utf-8")
        wrong += wrong_record(str(file), stored)
        wrong += wrong_block(page, text, "study", file.stem, markdown(json.loads(stored)))
    for file in sorted((folder / "results").rglob("compare.json")):
        made = comparison_markdown(json.loads(file.read_text(encoding="utf-8")))
        if f"<!-- comparison {file.parent.name} -->" in text:
            wrong += wrong_block(page, text, "comparison", file.parent.name, made)
    runs = sorted((folder / "results").glob("*_s*.json"))
    for file in runs:
        wrong += wrong_scores(str(file), file.read_text(encoding="utf-8"))
    for _, files in groupby(runs, experiment):
        wrong += wrong_table(page, text, table([json.loads(f.read_text(encoding="utf-8")) for f in files]))
    return wrong, []


def experiment(file: Path) -> str:
    """The name before the seed: ``sprsound_dass_nano`` of ``sprsound_dass_nano_s0.json``."""
    return file.stem.rpartition("_s")[0]


def wrong_block(page: Path, text: str, kind: str, name: str, made: str) -> Iterator[Mismatch]:
    """A table of the page, between its own comments, that is not the one its record makes."""
    yield from text_mismatches(str(page), text, put(text, name, made, kind))


def wrong_record(file: str, text: str) -> Iterator[Mismatch]:
    """Figures of a study's record that do not follow from the counts of its patients, or its confusion matrices."""
    known = json.loads(text)
    tasks = tasks_of(known)
    expected = known | {"rows": recounted_rows(known, known, tasks)}
    if "views" in known:
        expected["views"] = [view | {"rows": recounted_rows(known, view, tasks)} for view in known["views"]]
    expected |= conclusions(expected)
    yield from json_file_mismatches(file, text, expected, dumps(expected))
    for view in (known, *known.get("views", ())):
        head = "" if view is known else f"views.{view['selection'] or view['split']}."
        for row in view["rows"]:
            for seed, run in row["runs"].items():
                for part, about in view.get("parts", known["parts"]).items():
                    place = f"{head}rows.{row['name']}.runs.{seed}.parts.{part}"
                    yield from wrong_counts(file, place, about, run["parts"][part], tasks)


def recounted_rows(known: dict[str, Any], view: dict[str, Any], tasks: list[Task]) -> list[dict[str, Any]]:
    """The rows of a record, or of one of its views, with what follows from their counts by patient."""
    of = {"parts": view.get("parts", known["parts"])}
    return [
        row | {"runs": {seed: recounted(of, run, tasks) for seed, run in row["runs"].items()}} for row in view["rows"]
    ]


def recounted(known: dict[str, Any], run: dict[str, Any], tasks: list[Task]) -> dict[str, Any]:
    """A run of a record with the scores and intervals that follow from its counts by patient."""
    parts = {}
    for part, found in run["parts"].items():
        made = {}
        for task in tasks:
            by_patient = counts(known, run, part, task.name)
            low, high = counts_interval(by_patient, task.formula)
            made[task.name] = found["scores"][task.name] | from_counts(by_patient.sum(axis=1).tolist(), task)
            made[task.name]["interval_95"] = [None if np.isnan(end) else end for end in (low, high)]
        parts[part] = found | {"scores": made}
    return run | {"parts": parts}


def from_counts(whole: list[int], task: Task) -> dict[str, Any]:
    """The scores of a task from the four counts: a matrix of two classes has the same."""
    found, there, abnormal_found, abnormal = whole
    two = Task(name=task.name, classes=("normal", "abnormal"), mapping=(0, 1), formula=task.formula)
    k = np.array([[found, there - found], [abnormal - abnormal_found, abnormal_found]])
    return json.loads(scores_text(asdict(scores(k, two))))


def wrong_counts(
    file: str, place: str, about: dict[str, Any], found: dict[str, Any], tasks: list[Task]
) -> Iterator[Mismatch]:
    """Counts of patients that are more than there are, and confusion matrices of other cycles or other scores."""
    k = np.array(found["confusion"])
    yield from _equal(file, f"{place}.confusion, sum", int(k.sum()), about["cycles"])
    for task in tasks:
        told = found["scores"][task.name]
        for name, value in scores_of(k, told, task).items():
            yield from _equal(file, f"{place}.confusion, {task.name} {name}", value, told[name])
        for side in ("normal", "abnormal"):
            right, there = found["by_patient"][task.name][f"{side}_correct"], about["by_patient"][task.name][side]
            where = f"{place}.by_patient.{task.name}.{side}_correct"
            yield from _equal(file, f"{where}, patients", len(right), about["patients"])
            for i, (r, n) in enumerate(zip(right, there, strict=False)):
                if not 0 <= r <= n:
                    yield Mismatch(file=file, place=f"{where}[{i}]", found=str(r), expected=f"0 to {n}")


def wrong_scores(file: str, text: str) -> Iterator[Mismatch]:
    """Scores of a stored scores.json that do not follow from its confusion matrices.

    A task that groups probabilities has decisions of its own, so there only its Score is held to its counts.
    """
    text = text.rstrip("\n") + "\n"
    run, expected = json.loads(text), json.loads(text)
    for part in expected["parts"].values():
        k = np.array(part["confusion"])
        for task in tasks_of(run):
            said = part["scores"][task.name]
            part["scores"][task.name] = said | scores_of(k, said, task)
    layouts = (scores_text(expected), json.dumps(expected, indent=1) + "\n", dumps(expected))
    if text not in layouts:
        yield from min((json_file_mismatches(file, text, expected, layout) for layout in layouts), key=len)


def scores_of(k: np.ndarray, said: dict[str, Any], task: Task) -> dict[str, Any]:
    """The scores of a confusion matrix, or for a task with groups those of its own counts of what was found."""
    if task.decide == "class":
        return json.loads(scores_text(asdict(scores(k, task))))
    whole = [said["normal_correct"], int(k[0].sum()), said["abnormal_correct"], int(k[1:].sum())]
    return from_counts(whole, task)


def wrong_table(page: Path, text: str, made: str) -> list[Mismatch]:
    """The table of single runs, at the place of the page that is most like it."""
    if made in text:
        return []
    lines, wanted = text.splitlines(), made.splitlines()
    starts = [i for i, line in enumerate(lines) if line == wanted[0]]
    if not starts:
        return [Mismatch(file=str(page), place="page", found=NOTHING, expected=f"the table {wanted[0]!r}")]
    near = [lines[i : i + len(wanted)] for i in starts]
    same = [sum(a == b for a, b in zip(block, wanted, strict=False)) for block in near]
    best = same.index(max(same))
    there = "".join(f"{line}\n" for line in near[best])
    return list(text_mismatches(str(page), there, made, starts[best] + 1))


def _equal(file: str, place: str, found: Any, expected: Any) -> Iterator[Mismatch]:
    if found != expected:
        yield Mismatch(file=file, place=place, found=str(found), expected=str(expected))
