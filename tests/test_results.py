"""Every figure of docs/results.md is that of a stored scores.json, and follows from the counts stored there.

The counts of a task that groups probabilities (SPRSound task 1-1) cannot be had from the confusion matrix; its Score is
checked against its counts alone.
"""

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from auscult.analysis.ledger import table
from auscult.data import icbhi, sprsound
from auscult.metrics import scores

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILES = sorted((DOCS / "results").glob("*_s*.json"))
TASKS = {"sprsound": sprsound.TASKS, "icbhi": icbhi.TASKS}


def experiment(file: Path) -> str:
    return file.stem.rpartition("_s")[0]


@pytest.mark.parametrize("name", sorted({experiment(f) for f in FILES}))
def test_the_tables_are_those_of_the_stored_runs(name: str) -> None:
    groups = {key: list(files) for key, files in groupby(FILES, experiment)}
    made = table([json.loads(f.read_text()) for f in groups[name]])
    assert made in (DOCS / "results.md").read_text(), f"docs/results.md does not hold this table:\n{made}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_stored_score_follows_from_its_counts(file: Path) -> None:
    run = json.loads(file.read_text())
    for part in run["parts"].values():
        k = np.array(part["confusion"])
        for task in TASKS[run["dataset"]]:
            stored = part["scores"][task.name]
            assert stored["normal"] == k[0].sum() and stored["abnormal"] == k[1:].sum()
            se, sp = stored["abnormal_correct"] / stored["abnormal"], stored["normal_correct"] / stored["normal"]
            average, harmonic = (se + sp) / 2, 2 * se * sp / (se + sp)
            assert stored["Score"] == pytest.approx(average if task.formula == "icbhi" else (average + harmonic) / 2)
            if task.decide == "class":
                again = scores(k, task)
                assert (stored["Score"], stored["normal_correct"]) == (again.Score, again.normal_correct)


def test_runs_of_different_kinds_are_not_put_in_one_table() -> None:
    one = {"dataset": "a", "split": "official", "classes": [], "facts": {"selection": "last"}, "parts": {}}
    with pytest.raises(ValueError, match="dataset"):
        table([one, one | {"dataset": "b"}])
    with pytest.raises(ValueError, match="epoch was chosen"):
        table([one, one | {"facts": {"selection": "best_on_test"}}])
