"""What an evaluation prints and writes: exact tables, labelled scores, a page that runs nothing."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from auscult.analysis.results import Results, by_patient, notes, write
from auscult.analysis.row_checks import sha256
from auscult.analysis.tables import cycle_table, print_results
from auscult.data import sprsound
from auscult.data.material import Material
from auscult.evaluate import Evaluation
from auscult.metrics import Task, scores
from auscult.prediction import PredictedCycle, Prediction
from auscult.signal.verdict import Verdict

from .reported import make_results

CONFUSION = np.array([[70, 20, 5, 5], [10, 30, 5, 5], [3, 2, 14, 1], [1, 4, 2, 3]])
PRINTED = """\
synthetic, part test, official split: cycles by truth (rows) and prediction
truth    normal  crackle  wheeze  both  total
normal       70       20       5     5    100
crackle      10       30       5     5     50
wheeze        3        2      14     1     20
both          1        4       2     3     10

scores in %, part test
task                            formula      Sp     Se         Score
synthetic 4-class               icbhi     70.00  58.75         64.38
                                         70/100  47/80  [60.0, 70.0]
synthetic 2-class from 4-class  icbhi     70.00  82.50         76.25
                                         70/100  66/80
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("report"))


def with_confusion(results: Results, confusion: np.ndarray) -> Results:
    """The same results with a known confusion matrix, and an interval for the main task only."""
    corpus = results.stuff.corpus
    known = replace(
        results.evaluations[0], confusion=confusion, scores=tuple(scores(confusion, task) for task in corpus.tasks)
    )
    return replace(results, evaluations=(known,), intervals={("test", corpus.tasks[0].name): (0.6, 0.7)})


def renamed(results: Results, name: str, kind: str = "official") -> Material:
    return replace(results.stuff, corpus=replace(results.stuff.corpus, name=name), kind=kind)


def text_of(results: Results, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_results(results, console)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def test_the_printed_tables_are_exact(results: Results) -> None:
    assert text_of(with_confusion(results, CONFUSION)).startswith(PRINTED.rstrip())


def test_no_line_is_wider_than_the_terminal(results: Results) -> None:
    corpus = results.stuff.corpus
    names = ("Normal", "Rhonchi", "Wheeze", "Stridor", "Coarse Crackle", "Fine Crackle", "Wheeze+Crackle")
    task = Task(name="SPRSound task 1-2", classes=names, mapping=tuple(range(7)), formula="sprsound")
    confusion = np.full((7, 7), 1234)
    wide = replace(
        results,
        stuff=replace(results.stuff, corpus=replace(corpus, classes=names, tasks=(task,))),
        evaluations=(replace(results.evaluations[0], confusion=confusion, scores=(scores(confusion, task),)),),
        intervals={("test", task.name): (0.123, 0.456)},
    )
    lines = text_of(wide).splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    for name in ("AS", "HS", "Coarse", "Wheeze+", "8638"):
        assert any(name in line for line in lines)


def test_patients_add_up_to_the_part(results: Results) -> None:
    (evaluation,) = results.evaluations
    counted = by_patient(results.stuff, evaluation, results.stuff.corpus.tasks[0])
    assert len(counted) == len({results.stuff.corpus.cycles[row].patient for row in evaluation.rows}) > 1
    np.testing.assert_array_equal(counted.sum(axis=0), evaluation.confusion)


def test_scores_chosen_on_the_test_set_say_so_everywhere(results: Results) -> None:
    facts = results.weights.facts | {"selection": "best_on_test"}
    chosen = replace(results, weights=replace(results.weights, facts=facts))
    chosen = replace(chosen, notes=tuple(notes(chosen.stuff, chosen.weights, chosen.settings)))
    label = "literature protocol: epoch chosen on the test set"
    folder = Path(results.run)
    write(folder / "best", chosen)
    assert label in text_of(chosen)
    assert label in (folder / "best" / "report.html").read_text()
    assert label in (folder / "best" / "scores.json").read_text()
    assert label not in text_of(results)


def test_icbhi_is_never_scored_without_its_caveats(results: Results) -> None:
    official = notes(renamed(results, "icbhi"), results.weights, {"partial": False})
    assert any("156 and 218" in note for note in official)
    assert not notes(renamed(results, "icbhi", "clean"), results.weights, {"partial": False})
    stuff = renamed(results, "icbhi", "clean")
    first = next(iter(stuff.corpus.audio))
    part = replace(stuff, corpus=replace(stuff.corpus, audio={first: stuff.corpus.audio[first]}))
    (said,) = notes(part, results.weights, {"partial": True})
    assert said == "ICBHI-sc, 1 of 2 training recordings: this is not an ICBHI score."


def test_the_files(results: Results, tmp_path: Path) -> None:
    report = write(tmp_path, results)
    assert report == tmp_path / "report.html"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("predictions.csv", "report.html", "scores.json", "shift.csv")
    ]
    saved = json.loads((tmp_path / "scores.json").read_text())
    assert saved["parts"]["test"]["confusion"] == results.evaluations[0].confusion.tolist()
    assert set(saved["parts"]["test"]["scores"]) == {task.name for task in results.stuff.corpus.tasks}
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert lines[0].startswith("recording,patient,device,part,start_s,end_s,quality,")
    assert lines[0].endswith(",check") and saved["predictions_sha256"] == sha256("\n".join([*lines, ""]))
    assert len(lines) == 1 + results.evaluations[0].confusion.sum()


def test_scores_without_cycles_are_null_not_nan(results: Results, tmp_path: Path) -> None:
    only_normal = np.diag([3, 0, 0, 0])
    empty = with_confusion(results, only_normal)
    write(tmp_path, replace(empty, intervals={("test", results.stuff.corpus.tasks[0].name): (np.nan, np.nan)}))
    saved = json.loads((tmp_path / "scores.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in JSON"))
    found = saved["parts"]["test"]["scores"]["synthetic 4-class"]
    assert found["Se"] is None and found["Score"] is None and found["Sp"] == 1


def test_the_report_shows_names_and_runs_none(results: Results, tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    corpus = results.stuff.corpus
    tasks = tuple(replace(task, name=f"{bad} {task.name}") for task in corpus.tasks)
    hostile = replace(corpus, name=bad, classes=(bad, "$x^$", *corpus.classes[2:]), tasks=tasks)
    known = replace(results.evaluations[0], scores=tuple(scores(CONFUSION, t) for t in tasks))
    settings = results.settings | {"recipe": results.settings["recipe"] | {"name": bad}}
    changed = replace(
        results, stuff=replace(results.stuff, corpus=hostile), evaluations=(known,), settings=settings, run=bad,
        notes=(bad,), intervals={},
    )  # fmt: skip
    page = write(tmp_path, changed).read_text()
    assert "<script" not in page and page.count("&lt;script&gt;alert(1)") >= 5


def test_the_report_needs_no_network_and_says_what_it_is_for(results: Results, tmp_path: Path) -> None:
    page = write(tmp_path, with_confusion(results, CONFUSION)).read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "url(" not in page and "@import" not in page
    assert "Research use only, not a medical device" in page
    assert page.count("data:image/svg+xml;base64,") == 1 + page.count("spectrogram of a cycle")
    for number in ("70 of 100", "47 of 80", "64.38", "60.0 to 70.0"):
        assert number in page


def test_an_evaluation_is_the_same_twice(results: Results, tmp_path: Path) -> None:
    first = write(tmp_path / "a", results).read_bytes()
    assert first == write(tmp_path / "b", results).read_bytes()
    assert isinstance(results.evaluations[0], Evaluation)


def test_seven_classes_fit_a_narrow_terminal() -> None:
    names = sprsound.CLASSES
    p = dict(zip(names, (0.05, 0.02, 0.6, 0.01, 0.01, 0.3, 0.01), strict=True))
    cycle = PredictedCycle(start_s=1.25, end_s=3.5, label="Wheeze", probabilities=p)
    given: dict[str, Any] = {
        "duration_s": 9.0,
        "native_rate_hz": 8000,
        "cycles_from": "windows",
        "bandwidth_hz": 4000.0,
    }
    given |= {"verdict": Verdict(kind="accept", reasons=(), measures={}), "said": "abnormal"}
    given["p_abnormal"] = 0.95
    found = Prediction(recording="x.wav", cycles=(cycle,), classes=names, **given)
    console = Console(file=io.StringIO(), width=80)
    console.print(cycle_table(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.splitlines()[-1].split() == ["1.25", "3.50", "Wheeze", "0.60", "Fine", "Crackle", "0.30"]
    assert "…" not in text
