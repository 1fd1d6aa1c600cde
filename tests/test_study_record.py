"""The record of a study: its table follows from its integers, and its integers from the predictions of its runs."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.analysis.spreadsheet import csv_text, exact
from auscult.analysis.study_counts import Scored, count_patients
from auscult.analysis.study_files import score, write_study
from auscult.analysis.study_record import dumps, record
from auscult.analysis.study_table import markdown
from auscult.analysis.verify import Verified, verify
from auscult.analysis.verify_docs import wrong_record
from auscult.errors import AuscultError
from auscult.metrics import Task, confusion_matrix, scores, task_confusion
from auscult.recipes.studies import TABLE_2_IS, study
from auscult.runs import Run
from auscult.study import plan, run_study

from .small import SETTINGS, small_corpus

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
    assert not list(map(str, wrong_record("study.json", dumps(known))))


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


def test_what_an_evaluation_and_a_study_write_passes_verify(out: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(out, tmp_path / "copy"))
    write_study(folder)
    assert verify(folder) == Verified(checked={"runs": 2, "selections and splits": 2, "studies": 1})
    scored = folder / "dass_nano" / "s0" / "scores.json"
    scored.write_text(scored.read_text().replace('"epoch": 1', '"epoch": 2'))
    assert any("facts.epoch: found 2, expected 1" in str(found) for found in verify(folder).wrong)


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
    places = [found.place for found in wrong_record("study.json", dumps(known))]
    assert any("rows.dass_nano.runs.0.parts.test.scores.synthetic 4-class.normal_correct" in place for place in places)


def first_row(out: Path) -> dict[str, str]:
    """The first row of the predictions of the first run."""
    head, row = (out / "dass_nano" / "s0" / "predictions.csv").read_text().splitlines()[:2]
    return dict(zip(head.split(","), row.split(","), strict=True))


def test_predictions_that_disagree_with_the_scores_are_refused(out: Path, tmp_path: Path) -> None:
    said = first_row(out)
    other = "wheeze" if said["predicted"] != "wheeze" else "both"
    folder = changed(out, tmp_path, f",{said['truth']},{said['predicted']},", f",{said['truth']},{other},")
    with pytest.raises(AuscultError, match="do not agree on part test: line 2 predicts a class that is not the most"):
        record(folder)


def test_runs_on_different_cycles_are_not_compared(out: Path, tmp_path: Path) -> None:
    said = list(first_row(out).values())
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
        probabilities=np.array(p, dtype=np.float32),
        line=np.arange(len(p)) + 2,
        duration_s=np.ones(len(p)),
        **{name: np.full(len(p), np.nan) for name in ("quality", "age_years", "bandwidth_hz")},
        **{name: np.full(len(p), "") for name in ("device", "site", "sex")},
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
        told["normal_correct"] += 1
        with pytest.raises(AuscultError, match=f"{task.name}, normal cycles found"):
            count_patients(Run("r"), "test", cycles, part, task)


def test_probabilities_are_written_so_that_every_decision_can_be_made_again() -> None:
    bits = np.random.default_rng(0).integers(0, np.float32(1).view(np.int32), 20_000, dtype=np.int32)
    values = np.concatenate([bits.view(np.float32), np.float32([0, 1, 1e-45])])
    written = csv_text(["p"], [[exact(v)] for v in values]).splitlines()[1:]
    assert np.array_equal(np.array(written).astype(np.float32), values)


def test_lists_of_numbers_stand_on_one_line() -> None:
    value = {"a": [[1, 2], [3, 4]], "b": [0.5, None], "c": ["[ 1,", "2 ]"], "d": [], "e": [-1e-05]}
    assert json.loads(dumps(value)) == value
    for line in ("[1, 2]", '"b": [0.5, null]', '"e": [-1e-05]'):
        assert line in dumps(value)
