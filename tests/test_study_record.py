"""The record of a study: its table follows from its integers, and its integers from the predictions of its runs."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.analysis.study_counts import Scored, count_patients, decisions, settle
from auscult.analysis.study_files import score
from auscult.analysis.study_record import conclusions, dumps, record
from auscult.analysis.study_table import markdown
from auscult.errors import AuscultError
from auscult.metrics import Task, confusion_matrix, scores, task_confusion
from auscult.recipes.studies import TABLE_2_IS, study
from auscult.runs import Run
from auscult.study import plan, run_study

from .small import SETTINGS, small_corpus

DOCS = Path(__file__).resolve().parents[1] / "docs"
STORED = sorted((DOCS / "results" / "studies").glob("*.json"))
GROUP = Task(name="g", classes=("normal", "abnormal"), mapping=(0, 1, 1), decide="group")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two rows, one seed; the paper has a score for the first."""
    os.environ["AUSCULT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    corpus = small_corpus(tmp_path_factory.mktemp("data") / "synthetic")
    made = replace(study(["dass_nano", "dass_smooth_nano"]), name="two", paper=TABLE_2_IS)
    folder = tmp_path_factory.mktemp("studies") / "two"
    planned = plan(made, "synthetic", 1, [*SETTINGS, "epochs=1"], command="auscult study two")
    run_study(planned, corpus, folder, score, lambda outcome: None)
    return folder


def changed(out: Path, tmp_path: Path, old: str, new: str, row: str = "dass_nano") -> Path:
    """A copy of the study with one text in one predictions.csv replaced, once."""
    folder = Path(shutil.copytree(out, tmp_path / "copy"))
    file = folder / row / "s0" / "predictions.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return folder


def check(known: dict[str, Any]) -> None:
    """Every figure of a record follows from the integers of its runs."""
    again = json.loads(dumps(conclusions(known)))
    for name in ("summary", "differences"):
        assert flat(again[name]) == pytest.approx(flat(known[name]), abs=1e-12)
    for row in known["rows"]:
        for run in row["runs"].values():
            for part, found in run["parts"].items():
                for task in known["tasks"]:
                    check_task(known["parts"][part], found, task)


def flat(value: Any, where: str = "") -> dict[str, Any]:
    """Place -> leaf of a JSON value."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {place: leaf for key, inner in items for place, leaf in flat(inner, f"{where}/{key}").items()}
    return {where: value}


def check_task(about: dict[str, Any], found: dict[str, Any], task: dict[str, Any]) -> None:
    """Counts by patient add up to the counts of the part, those give the Score, the confusion matrix gives both."""
    told = found["scores"][task["name"]]
    for side in ("normal", "abnormal"):
        right, there = found["by_patient"][task["name"]][f"{side}_correct"], about["by_patient"][task["name"]][side]
        assert len(right) == len(there) == about["patients"] and all(r <= n for r, n in zip(right, there, strict=True))
        assert (sum(right), sum(there)) == (told[f"{side}_correct"], told[side])
    k = np.array(found["confusion"])
    assert k.sum() == about["cycles"] and (k[0].sum(), k[1:].sum()) == (told["normal"], told["abnormal"])
    se, sp = told["abnormal_correct"] / told["abnormal"], told["normal_correct"] / told["normal"]
    average, harmonic = (se + sp) / 2, 2 * se * sp / (se + sp) if se + sp else 0.0
    assert told["Score"] == pytest.approx(average if task["formula"] == "icbhi" else (average + harmonic) / 2)
    if task["decide"] == "class":
        fields = {**task, "classes": tuple(task["classes"]), "mapping": tuple(task["mapping"])}
        assert scores(k, Task(**fields)).Score == told["Score"]


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.stem)
def test_docs_show_the_stored_study_and_nothing_else(file: Path) -> None:
    known = json.loads(file.read_text())
    check(known)
    assert markdown(known) in (DOCS / "results.md").read_text(), f"docs/results.md does not hold:\n{markdown(known)}"


def test_a_record_holds_all_that_its_table_needs(out: Path) -> None:
    known = json.loads(dumps(record(out)))
    check(known)
    text = markdown(known)
    assert text == markdown(record(out))
    run = known["rows"][0]["runs"]["0"]
    task = run["parts"]["test"]["scores"]["synthetic 4-class"]
    for said in (
        "auscult study two",
        known["where"]["commit"][0],
        known["rows"][1]["fingerprint"],
        f"{task['normal_correct']} of {task['normal']}",
        f"{100 * task['Score']:.2f}",
        "Synthetic sounds",
        "12 cycles of 2 patients",
    ):
        assert said in text
    assert (run["epoch"], known["rows"][0]["recipe"]["epochs"]) == (1, 1)
    assert {(d["row"], d["against"]) for d in known["differences"]} == {("dass_smooth_nano", "dass_nano")}


def test_the_paper_s_scores_have_a_column_of_their_own_that_says_what_they_are(out: Path) -> None:
    known = record(out)
    assert "Score in the paper" in markdown(known) and "not comparable" in markdown(known)
    assert "Score in the paper" not in markdown(known | {"paper": ""})
    known["rows"][0]["paper"] = 61.06
    (line,) = [line for line in markdown(known).splitlines() if "61.06" in line]
    assert line.startswith("| dass_nano |")


def test_a_wrong_integer_is_found(out: Path) -> None:
    known = json.loads(dumps(record(out)))
    known["rows"][0]["runs"]["0"]["parts"]["test"]["by_patient"]["synthetic 4-class"]["normal_correct"][0] += 1
    with pytest.raises(AssertionError):
        check(known)


def test_predictions_that_disagree_with_the_scores_are_refused(out: Path, tmp_path: Path) -> None:
    said = (out / "dass_nano" / "s0" / "predictions.csv").read_text().splitlines()[1].split(",")
    other = "wheeze" if said[7] != "wheeze" else "both"
    folder = changed(out, tmp_path, f",{said[6]},{said[7]},", f",{said[6]},{other},")
    with pytest.raises(AuscultError, match="do not agree on part test: their confusion matrices differ"):
        record(folder)


def test_runs_on_different_cycles_are_not_compared(out: Path, tmp_path: Path) -> None:
    said = (out / "dass_nano" / "s0" / "predictions.csv").read_text().splitlines()[1].split(",")
    folder = changed(out, tmp_path, ",".join(said[:5]), ",".join([*said[:4], "99.5"]))
    with pytest.raises(AuscultError, match="different cycles"):
        record(folder)


def test_a_file_that_is_no_predictions_file(out: Path, tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match="writes it anew"):
        record(changed(out, tmp_path, "start_s", "begin"))


def scored(p: list[list[float]], truth: list[int]) -> Scored:
    return Scored(
        key=[("r", float(i)) for i in range(len(p))],
        patient=np.array(["b", "a", "a", "b"][: len(p)]),
        truth=np.array(truth),
        predicted=np.array(p).argmax(axis=1),
        probabilities=np.array(p),
    )


def test_counts_of_patients_are_those_of_the_metrics() -> None:
    p = [[0.4, 0.3, 0.3], [0.6, 0.2, 0.2], [0.1, 0.2, 0.7], [0.3, 0.5, 0.2]]
    cycles = scored(p, [1, 0, 1, 0])
    for task in (GROUP, Task(name="c", classes=("normal", "x", "y"), mapping=(0, 1, 2))):
        k = task_confusion(cycles.truth, np.array(p), task)
        confusion = confusion_matrix(cycles.truth, cycles.predicted, 3)
        found = scores(k, task)
        told = {"normal_correct": found.normal_correct, "abnormal_correct": found.abnormal_correct}
        part = {"confusion": confusion.tolist(), "scores": {task.name: told}}
        counts = count_patients(Run("r"), "test", cycles, part, task)
        assert counts.sum(axis=1).tolist() == [
            found.normal_correct,
            found.normal,
            found.abnormal_correct,
            found.abnormal,
        ]
        assert counts[1].tolist() == [1, 1] and counts[3].tolist() == [1, 1], "patients in the order of their names"


def test_rounding_explains_a_tie_and_no_more() -> None:
    cycles = scored([[0.5, 0.25, 0.25], [0.49, 0.26, 0.25], [0.5001, 0.2499, 0.25], [0.9, 0.1, 0.0]], [1, 1, 1, 1])
    side = np.ones(4, dtype=bool)
    correct, margin = decisions(cycles, GROUP)
    assert correct.tolist() == [False, True, False, False]
    assert settle(correct, margin, side, 2) and correct.tolist() == [True, True, False, False]
    correct, margin = decisions(cycles, GROUP)
    assert settle(correct, margin, side, 1) and correct.tolist() == [False, True, False, False]
    assert not settle(correct, margin, side, 4) and not settle(correct, margin, side, 0)


def test_lists_of_numbers_stand_on_one_line() -> None:
    value = {"a": [[1, 2], [3, 4]], "b": [0.5, None], "c": ["[ 1,", "2 ]"], "d": [], "e": [-1e-05]}
    assert json.loads(dumps(value)) == value
    for line in ("[1, 2]", '"b": [0.5, null]', '"e": [-1e-05]'):
        assert line in dumps(value)
