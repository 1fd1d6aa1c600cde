"""Checks a run folder: scores, shifts and report follow from predictions.csv, and no row of that was changed."""

import copy
import csv
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..data import icbhi, sprsound, synthetic
from ..errors import AuscultError
from ..metrics import Scores, Task, confusion_matrix, scores, task_confusion
from ..runs import Run, read_json, without_nan
from ..statistics import counts_interval
from ..study import SELECTIONS
from .mismatch import NOTHING, Mismatch, json_file_mismatches, text_mismatches
from .report_tables import checkable, part_tables, patients_of_classes, shift_rows
from .results import scores_text
from .row_checks import has_checks, sha256, wrong_checks
from .study_counts import Scored, patient_counts, read_predictions

TASKS = {"icbhi": icbhi.TASKS, "sprsound": sprsound.TASKS, "synthetic": synthetic.TASKS}  # of files that name none
SUM_TOLERANCE = 1e-4  # how far the probabilities of a cycle may be from 1
FILES = ("scores.json", "predictions.csv")
NO_CHECKS = "{} has no checks of its rows, as written by an earlier version: a probability that was changed without "
NO_CHECKS += "changing a decision is not found. `auscult evaluate {}` writes it anew."


def verify_run(run: Run) -> tuple[list[Mismatch], list[str]]:
    """What is wrong in the files of a scored run, and what could not be checked."""
    missing = [name for name in FILES if not (run.folder / name).is_file()]
    if missing:
        return [Mismatch(file=str(run.folder / n), place="file", found=NOTHING, expected="a file") for n in missing], []
    scored_file, file = (run.folder / name for name in FILES)
    text, rows = scored_file.read_text(encoding="utf-8"), file.read_text(encoding="utf-8")
    told = read_json(scored_file)
    wrong, remarks = [*changed_rows(file, rows, told)], []
    if not has_checks(rows) and "predictions_sha256" not in told:
        remarks.append(NO_CHECKS.format(file, run.folder))
    try:
        parts = read_predictions(file, told["classes"])
    except AuscultError as error:
        return wrong or [unreadable(file, error)], remarks
    for scored in parts.values():
        wrong += wrong_rows(file, rows, scored, told["classes"])
    made = {part: rescored(scored, tasks_of(told)) for part, scored in parts.items()}
    expected = with_parts(told, made)
    wrong += json_file_mismatches(str(scored_file), text, expected, scores_text(expected))
    wrong += wrong_facts(run, told)
    if (run.folder / "shift.csv").is_file():
        wrong += wrong_shifts(run.folder / "shift.csv", expected, parts)
    if (run.folder / "report.html").is_file():
        wrong += wrong_report(run.folder / "report.html", expected, parts)
    return wrong, remarks


def unreadable(file: Path, error: AuscultError) -> Mismatch:
    """A file that cannot be read at all."""
    return Mismatch(file=str(file), place="file", found=error.message, expected="a file that can be read")


def tasks_of(told: dict[str, Any]) -> list[Task]:
    """The tasks of a scores.json; older files name only their data set.

    Raises:
        AuscultError: E_RUN when it names neither.
    """
    if "tasks" in told:
        return [Task(**{**t, "classes": tuple(t["classes"]), "mapping": tuple(t["mapping"])}) for t in told["tasks"]]
    if told.get("dataset") not in TASKS:
        raise AuscultError(
            "E_RUN", f"scores of {told.get('dataset')!r} do not name their tasks; `auscult evaluate` writes them anew."
        )
    return list(TASKS[told["dataset"]])


def changed_rows(file: Path, text: str, told: dict[str, Any]) -> Iterator[Mismatch]:
    """Rows that do not fit their check, or else a file that is not the one that was scored."""
    broken = list(wrong_checks(text)) if has_checks(text) else []
    for number, written, right in broken:
        yield Mismatch(
            file=str(file),
            place=row_place(text, number),
            found=f"check {written}",
            expected=f"{right}: the row was changed, or one before it was changed, moved or taken away",
        )
    wanted = told.get("predictions_sha256")
    if wanted is not None and not broken and sha256(text) != wanted:
        where = "after the last row, or another evaluation's file" if has_checks(text) else "the column check"
        yield Mismatch(file=str(file), place=where, found=f"sha256 {sha256(text)[:12]}", expected=wanted[:12])


def row_place(text: str, number: int) -> str:
    """A line of predictions.csv for people: its number, recording and start."""
    cells = next(csv.reader([text.splitlines()[number - 1]]))
    return f"line {number} ({', '.join([*cells[:1], *(f'{s} s' for s in cells[4:5])])})"


def wrong_rows(file: Path, text: str, scored: Scored, classes: list[str]) -> Iterator[Mismatch]:
    """Rows whose decision is not that of their probabilities, or whose probabilities are none."""
    best = scored.probabilities.argmax(axis=1)
    for i in np.flatnonzero(best != scored.predicted):
        yield Mismatch(
            file=str(file),
            place=f"{row_place(text, scored.line[i])}, column predicted",
            found=classes[scored.predicted[i]],
            expected=classes[best[i]],
        )
    total = scored.probabilities.astype(np.float64).sum(axis=1)
    for i in np.flatnonzero(~(np.abs(total - 1) <= SUM_TOLERANCE)):
        place = f"{row_place(text, scored.line[i])}, sum of the probabilities"
        yield Mismatch(file=str(file), place=place, found=f"{total[i]:.6f}", expected="1")


def rescored(scored: Scored, tasks: list[Task]) -> dict[str, Any]:
    """Confusion matrix, scores and intervals of a part from its probabilities."""
    classes = scored.probabilities.shape[1]
    made = {}
    for task in tasks:
        found = scores(task_confusion(scored.truth, scored.probabilities, task), task)
        interval = counts_interval(patient_counts(scored, task), task.formula)
        made[task.name] = asdict(found) | {"interval_95": list(interval)}
    confusion = confusion_matrix(scored.truth, scored.probabilities.argmax(axis=1), classes)
    return without_nan({"confusion": confusion.tolist(), "scores": made})


def with_parts(told: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """A scores.json with what was computed again in the place of what it says; what it says besides stays."""
    expected = copy.deepcopy(told)
    parts = expected["parts"] = {part: expected["parts"].get(part, {}) for part in made}
    for part, found in made.items():
        said = parts[part].setdefault("scores", {})
        parts[part]["confusion"] = found["confusion"]
        parts[part]["scores"] = {task: said.get(task, {}) | values for task, values in found["scores"].items()}
    return expected


def home(folder: Path) -> Path:
    """The run folder of a view that `auscult study` has scored; any other folder is its own.

    >>> home(Path("runs/s0/selections/last")).as_posix(), home(Path("runs/s0")).as_posix()
    ('runs/s0', 'runs/s0')
    """
    return folder.parents[1] if folder.parent.name in ("selections", "splits") else folder


def wrong_facts(run: Run, told: dict[str, Any]) -> Iterator[Mismatch]:
    """Seed, epoch and selection that are not those of the weights or of the recipe, where these files are there."""
    facts, file = told["facts"], str(run.folder / FILES[0])
    known: dict[str, Any] = {}
    if home(run.folder) != run.folder:  # its folder says what it is
        name, run = run.folder.name, Run(home(run.folder))
        found, where = (facts["selection"], "facts.selection") if name in SELECTIONS else (told["split"], "split")
        if found != name:
            yield Mismatch(file=file, place=where, found=json.dumps(found), expected=json.dumps(name))
    if run.exists:
        known["seed"] = run.settings()["seed"]
    weights = run.weights(facts["selection"])
    if weights.is_file():
        known |= header_facts(weights)
    for name, value in known.items():
        if name in facts and facts[name] != value:
            yield Mismatch(file=file, place=f"facts.{name}", found=json.dumps(facts[name]), expected=json.dumps(value))


def header_facts(file: Path) -> dict[str, Any]:
    """What a weights file says about itself, without its tensors.

    Raises:
        AuscultError: E_RUN when it is no weights file.
    """
    try:
        with file.open("rb") as handle:
            head = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
        return json.loads(head["__metadata__"]["facts"])
    except (OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise AuscultError("E_RUN", f"{file} is no weights file: {error!r}.") from error


def wrong_shifts(file: Path, expected: dict[str, Any], parts: dict[str, Scored]) -> Iterator[Mismatch]:
    """Lines of shift.csv that do not follow from the predictions."""
    from .shift_run import run_shifts, table  # which takes `tasks_of` from here

    yield from text_mismatches(str(file), file.read_text(encoding="utf-8"), table(run_shifts(expected, parts)))


def wrong_report(file: Path, expected: dict[str, Any], scored: dict[str, Scored]) -> Iterator[Mismatch]:
    """Rows of the tables of report.html that are not those of the scores; earlier versions have fewer tables."""
    page = file.read_text(encoding="utf-8")
    start = 0
    for part, found in expected["parts"].items():
        tables = tables_of(found, expected["classes"], scored[part])
        for place, table in enumerate([*tables, *shift_table(file, part, next(iter(found["scores"])))]):
            wanted = checkable(table)
            there = page.find(wanted[: wanted.index("<tbody>")], start)
            if there < 0 and place == 0:
                yield Mismatch(file=str(file), place=f"part {part}", found="no table of scores", expected="one")
                return
            if there >= 0:
                start = page.find("</tbody>", there) + len("</tbody>")
                yield from text_mismatches(str(file), page[there:start], wanted, page.count("\n", 0, there) + 1)


def tables_of(found: dict[str, Any], classes: list[str], scored: Scored) -> tuple[str, str, str]:
    """The tables of a part as report.html has them."""
    patients = patients_of_classes(scored.truth, scored.patient.tolist(), len(classes))
    return part_tables(
        [said_scores(said) for said in found["scores"].values()],
        {task: tuple(map(_number, said["interval_95"])) for task, said in found["scores"].items()},
        np.array(found["confusion"]),
        classes,
        patients,
    )


def shift_table(file: Path, part: str, task: str) -> list[str]:
    """The table of shifts of a part as report.html has it, from the shift.csv beside it; none without."""
    beside = file.with_name("shift.csv")
    made = shift_rows(beside.read_text(encoding="utf-8"), part, task) if beside.is_file() else ""
    return [made] if made else []


def said_scores(said: dict[str, Any]) -> Scores:
    """The scores of a task from scores.json, where null stands for a number that is not there."""
    means = {"AS", "HS"} if said["formula"] == "icbhi" else set()
    return Scores(**{f.name: said[f.name] if f.name in means else _number(said[f.name]) for f in fields(Scores)})


def _number(value: Any) -> Any:
    return math.nan if value is None else value
