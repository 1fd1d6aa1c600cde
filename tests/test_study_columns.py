"""A study's columns: other selections and other splits beside the main table, each marked and checked as the rest."""

import io
import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from auscult.analysis.study_columns import selections
from auscult.analysis.study_counts import read_predictions
from auscult.analysis.study_files import score, write_study
from auscult.analysis.study_live import Board, live
from auscult.analysis.study_record import as_before, dumps, record
from auscult.analysis.study_table import markdown, print_study
from auscult.analysis.verify import verify
from auscult.analysis.verify_docs import wrong_record
from auscult.data.material import read
from auscult.data.splits import kinds_apart, split
from auscult.data.synthetic import SPLIT, Synthetic, make
from auscult.errors import AuscultError
from auscult.progress import track
from auscult.recipes.studies import study
from auscult.runs import Run, read_json, write_json, write_text
from auscult.statistics import counts_interval, drawn_patients, mean_interval
from auscult.study import Outcome, Plan, View, finished, other_views, plan, run_folder, run_study

from .processes import start_study, wait_until
from .scored_runs import make_run, make_study
from .small import SETTINGS, small_corpus

NAME = "dass_nano"
LAID_OVER = (*SETTINGS, "epochs=2")
KINDS = ("official", "clean", "strict")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic corpus in which one patient is on both sides."""
    os.environ["AUSCULT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    folder = make(tmp_path_factory.mktemp("data") / "synthetic", Synthetic(patients=8, recordings=2, cycles=5))
    lines = (folder / SPLIT).read_text().splitlines()
    lines[1] = lines[1].replace("train", "test")
    (folder / SPLIT).write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan(study([NAME]), "synthetic", 1, LAID_OVER, splits=KINDS, best_on_test=True)


@pytest.fixture(scope="module")
def whole(corpus: Path, planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one row and one seed with all columns and splits."""
    out = tmp_path_factory.mktemp("studies") / "whole"
    assert [o.what for o in go(planned, corpus, out)] == ["trained"] * 2
    write_study(out)
    return out


def go(planned: Plan, corpus: Path, out: Path) -> list[Outcome]:
    return run_study(planned, corpus, out, score, lambda outcome: None)


def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def without_times(out: Path) -> str:
    """study.json without how long the runs took."""
    return re.sub(r'"train_s": [\d.]+', "", (out / "study.json").read_text())


def view(known: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [v for v in known["views"] if name in (v["selection"], v["split"])]
    return found


def test_every_selection_with_weights_is_scored_in_a_folder_of_its_own(whole: Path) -> None:
    run = run_folder(whole, NAME, 0)
    folders = {run.folder / "selections" / name for name in ("last", "best_on_test")} | {
        run.folder / "splits" / "clean"
    }
    strict = run_folder(whole, f"strict/{NAME}", 0).folder
    assert {file.parent for file in whole.rglob("scores.json")} == folders | {run.folder, strict}
    for folder in folders:
        told, weights = read_json(folder / "scores.json"), read_json(folder / "scores.json")["facts"]
        own = read_json(run.folder / "scores.json")
        assert (folder / "predictions.csv").exists() and (folder / "report.html").exists()
        assert told["recipe"] == own["recipe"] and told["tasks"] == own["tasks"]
        assert weights["selection"] == (folder.name if folder.name != "clean" else "validation")
    assert "literature protocol" in " ".join(
        read_json(run.folder / "selections" / "best_on_test" / "scores.json")["notes"]
    )
    assert read_json(run.folder / "selections" / "last" / "scores.json")["facts"]["epoch"] == 2


def test_the_clean_split_is_the_same_run_without_the_shared_patient(whole: Path, corpus: Path) -> None:
    (shared,) = read("synthetic", corpus).shared_patients("test")
    folder, classes = run_folder(whole, NAME, 0).folder, list(read("synthetic", corpus).classes)
    own = read_predictions(folder / "predictions.csv", classes)["test"]
    clean = read_predictions(folder / "splits" / "clean" / "predictions.csv", classes)["test"]
    rest = own.patient != shared
    assert 0 < (~rest).sum() == 5 and [key for key, keep in zip(own.key, rest, strict=True) if keep] == clean.key
    np.testing.assert_allclose(clean.probabilities, own.probabilities[rest], atol=1e-5)


def test_the_strict_split_has_runs_that_never_heard_the_shared_patient(whole: Path, corpus: Path) -> None:
    run = run_folder(whole, f"strict/{NAME}", 0)
    there = read("synthetic", corpus)
    parts = {kind: split(there, kind, 0).tests["test"] for kind in KINDS}
    assert len(parts["clean"]) + 5 == len(parts["official"]) == len(parts["strict"]) - 5
    recipe = run.settings()["recipe"]
    assert (recipe["split"], recipe.get("also_best_on_test", False)) == ("strict", False)
    known = record(whole)
    assert [known["parts"]["test"]["cycles"], *(view(known, k)["parts"]["test"]["cycles"] for k in KINDS[1:])] == [
        len(parts[kind]) for kind in KINDS
    ]


def test_the_table_has_selections_and_splits_side_by_side(whole: Path) -> None:
    known = record(whole)
    text = markdown(known)
    assert text == (whole / "study.md").read_text()
    assert "| task | row | last | validation | best_on_test (literature protocol) |" in text
    assert "| task | row | official | clean | strict |" in text
    for line in text.splitlines():
        assert "best_on_test" not in line or "literature protocol" in line or "also_best_on_test" in line
    task = known["tasks"][0]["name"]
    expected = [
        [run["parts"]["test"]["scores"][task]["Score"] for run in row["runs"].values()]
        for row in (view(known, "last")["rows"][0], known["rows"][0], view(known, "best_on_test")["rows"][0])
    ]
    last, own, best = (f"{100 * np.mean(scores):.2f}" for scores in expected)
    assert f"| {task} | {NAME} | {last} | **{own}** | {best} |" in text
    clean, strict = (f"{100 * view(known, kind)['summary'][0]['Score'][0]:.2f}" for kind in KINDS[1:])
    assert f"| {task} | {NAME} | {own} | {clean} | {strict} |" in text
    console = Console(record=True, width=100, file=io.StringIO())
    print_study(known, console)
    shown = console.export_text()
    assert re.search(rf"{NAME} +{last} +\*{own} +{best}", shown) and "(literature protocol)" in shown
    assert re.search(rf"{NAME} +{own} +{clean} +{strict}", shown)


def test_verify_checks_them_with_the_rest(whole: Path, tmp_path: Path) -> None:
    out = copy(whole, tmp_path)
    found = verify(out)
    assert not found.wrong and found.checked == {"runs": 2, "selections and splits": 3, "studies": 1}
    scores = out / NAME / "s0" / "selections" / "last" / "scores.json"
    scores.write_text(scores.read_text().replace('"epoch": 2', '"epoch": 1'))
    assert any(str(scores) in str(m) and "facts.epoch" in str(m) for m in verify(out).wrong)
    (out / NAME / "s0" / "splits" / "clean").rename(out / NAME / "s0" / "splits" / "strict")
    assert any('found "clean", expected "strict"' in str(m) for m in verify(out).wrong)


def test_a_wrong_integer_of_a_view_is_found(whole: Path) -> None:
    known = json.loads(dumps(record(whole)))
    assert not list(wrong_record("study.json", dumps(known)))
    for name in ("last", "clean", "strict"):
        changed = json.loads(dumps(known))
        part = view(changed, name)["rows"][0]["runs"]["0"]["parts"]["test"]
        part["by_patient"][known["tasks"][0]["name"]]["normal_correct"][0] += 1
        assert any(name in m.place or "views" in m.place for m in wrong_record("study.json", dumps(changed)))


def test_what_is_missing_is_scored_without_training(
    whole: Path, planned: Plan, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copy(whole, tmp_path)
    shutil.rmtree(out / NAME / "s0" / "selections" / "last")
    (out / NAME / "s0" / "report.html").unlink()
    monkeypatch.setattr("auscult.study.train", lambda *_, **__: pytest.fail("nothing is to be trained"))
    assert [o.what for o in go(planned, corpus, out)] == ["scored", "kept"]
    write_study(out)
    assert (out / "study.json").read_text() == (whole / "study.json").read_text()


def test_a_killed_study_ends_with_the_same_table(whole: Path, planned: Plan, corpus: Path, tmp_path: Path) -> None:
    """Killed once; five times in test_study_killed.py."""
    out = copy(whole, tmp_path)
    shutil.rmtree(out / "strict")
    words = [NAME, "--dataset", "synthetic", "--data", str(corpus), "--seeds", "1", "--out", str(out)]
    words += ["--splits", ",".join(KINDS), "--best-on-test", *(w for s in LAID_OVER for w in ("--set", s))]
    process, run = start_study(*words), run_folder(out, f"strict/{NAME}", 0)
    wait_until(run.checkpoint.exists, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not finished(run)
    assert [o.what for o in go(planned, corpus, out)] == ["kept", "trained"]
    write_study(out)
    assert without_times(out) == without_times(whole)


def test_files_of_an_earlier_epoch_are_not_taken_for_those_of_the_last(
    whole: Path, planned: Plan, corpus: Path, tmp_path: Path
) -> None:
    """Killed after scores.json was written, with the predictions of `auscult evaluate` from before still there."""
    out = copy(whole, tmp_path)
    run = run_folder(out, NAME, 0)
    run.rewind(1)
    seen: list[bool] = []

    def stopped(run: Run, view: View) -> None:
        seen.append((run.folder / "predictions.csv").exists())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(planned, corpus, out, stopped, lambda outcome: None)
    assert seen == [False]


def test_splits_that_are_alike_are_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_corpus(tmp_path / "data")
    assert not kinds_apart(read("synthetic", data))
    monkeypatch.setattr(
        "auscult.study.one_run", lambda plan, row, seed, *_: Outcome(row=row.name, seed=seed, what="kept")
    )
    outcomes = go(plan(study([NAME]), "synthetic", 1, splits=KINDS), data, tmp_path / "out")
    assert [o.row for o in outcomes] == [NAME]
    assert record(tmp_path / "out")["notes"] == [
        "The splits official, clean and strict of synthetic are the same: it is shown once."
    ]


def test_what_a_plan_refuses() -> None:
    for kinds in (("official", "clena"), ("device:x",)):
        with pytest.raises(AuscultError, match="split"):
            plan(study([NAME]), "icbhi", 1, splits=kinds)
    with pytest.raises(AuscultError, match="split=clean of their own"):
        plan(study([NAME]), "icbhi", 1, ["split=clean"], splits=KINDS)
    made = plan(study([NAME]), "icbhi", 1)
    assert made.splits == ("official", "clean") and not made.strict
    assert not made.rows[0].recipe.also_best_on_test


def fake_view(out: Path, name: str, seed: int, selection: str, skill: float) -> None:
    """Scores of another selection in the folder of a faked run."""
    folder = make_run(out / name / f"s{seed}" / "selections" / selection, name, seed, skill)
    told = read_json(folder / "scores.json")
    told["facts"]["selection"] = selection
    write_json(folder / "scores.json", told)
    for file in ("recipe.json", "environment.json", "metrics.jsonl"):
        (folder / file).unlink()


def test_a_column_says_how_many_seeds_it_has(tmp_path: Path) -> None:
    out = make_study(tmp_path / "study", {"plain": 0.3, "better": 1.5})
    for seed in (0, 1):
        fake_view(out, "plain", seed, "validation", 0.5)
    fake_view(out, "better", 0, "validation", 0.5)
    text = markdown(record(out))
    lines = [
        line
        for line in text.splitlines()
        if re.match(r"\| (4-class|grouped) \| (plain|better) \|[^|]*\|[^|]*\|$", line)
    ]
    assert len(lines) == 8, "two rows, tasks and parts"
    for line in lines:
        assert ("(1 of 2 seeds)" in line) == ("better" in line) and line.count("**") == 2


def test_a_row_that_chooses_on_the_test_is_marked_everywhere(tmp_path: Path) -> None:
    out = make_study(tmp_path / "study", {"plain": 0.3, "better": 1.5})
    known = record(out)
    known["rows"][0]["recipe"]["selection"] = "best_on_test"
    for line in markdown(known).splitlines():
        assert not re.search(r"\| plain\b(?! \(literature protocol\))", line)


def test_an_earlier_version_s_record_stays_what_it_was(tmp_path: Path) -> None:
    out = make_study(tmp_path / "study", {"plain": 0.3, "better": 1.5})
    old = as_before(record(out))
    assert "views" not in old and "interval_95" not in old["summary"][0]
    write_text(out / "study.json", dumps(old))
    write_text(out / "study.md", markdown(old))
    (out / "study.html").unlink(missing_ok=True)  # it had none
    assert not verify(out).wrong and not list(wrong_record("old.json", dumps(old)))
    text = markdown(old)
    assert "| Score | normal found" in text and "Selections" not in text and "mean of these seeds" not in text


def test_the_interval_of_the_mean_draws_the_patients_once_for_all_seeds() -> None:
    generator = np.random.default_rng(0)
    for formula in ("icbhi", "sprsound"):
        there = generator.integers(0, 9, (2, 11))
        counts = np.stack([np.stack([generator.integers(0, there[0] + 1), there[0], generator.integers(0, there[1] + 1),
                                     there[1]]) for _ in range(3)])  # fmt: skip
        means = []
        for times in drawn_patients(11, 50, 4):
            scores = []
            for seed in counts:
                nc, n, ac, a = ((seed * times).sum(axis=1)).tolist()
                sp, se = nc / max(n, 1), ac / max(a, 1)
                mean = (sp + se) / 2
                scores.append(mean if formula == "icbhi" else (mean + 2 * sp * se / max(sp + se, 1e-12)) / 2)
            means.append(sum(scores) / 3)
        low, high = mean_interval(counts, formula, resamples=50, seed=4)
        assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1e-12)
        assert mean_interval(counts[:1], formula) == counts_interval(counts[0], formula)
        alone = [counts_interval(seed, formula, resamples=50, seed=4) for seed in counts]
        assert high - low < np.mean([b - a for a, b in alone]), "seeds that differ at random average out"


def test_held_out_patients_in_the_place_of_a_test_leave_nothing_else_to_score(planned: Plan, tmp_path: Path) -> None:
    run = Run(make_run(tmp_path / "run", NAME, 0))
    row = replace(planned.rows[0], recipe=replace(planned.rows[0].recipe, selection="last"))
    (run.folder / "weights").mkdir()
    run.weights("validation").touch()
    told = read_json(run.folder / "scores.json")
    assert [v.selection for v in other_views(planned, row, run)] == ["validation", "last"]
    write_json(run.folder / "scores.json", told | {"parts": {"validation": told["parts"]["inter"]}})
    assert other_views(planned, row, run) == []


def cells(board: Board) -> list[list[str]]:
    return [[str(cell) for cell in column.cells] for column in board.table().columns]


def test_the_board_shows_the_state_of_every_run(tmp_path: Path) -> None:
    made = plan(study([NAME, "dass_smooth_nano"]), "synthetic", 2, ["epochs=3"])
    board = Board(made, tmp_path)
    assert cells(board) == [[NAME, "dass_smooth_nano"], ["waiting"] * 2, ["waiting"] * 2]
    run = run_folder(tmp_path, NAME, 0)
    write_json(run.recipe_file, {"recipe": {"epochs": 3, "selection": "validation", "split": "official"}})
    assert cells(board)[1][0] == "e0/3"
    for epoch, found in ((1, 0.5), (2, 0.625)):
        run.log({"epoch": epoch, "validation": {"synthetic 4-class": {"Score": found}}, "seconds": 1.0})
        assert cells(board)[1][0] == f"e{epoch}/3 {100 * found:.2f}"
    board.tell(Outcome(row=NAME, seed=1, what="failed"))
    run.log({"epoch": 3, "seconds": 1.0})
    assert cells(board)[1:] == [["e3/3", "waiting"], ["failed", "waiting"]]
    facts = {"facts": {"selection": "validation"}, "split": "official", "parts": {"test": {"scores": {}}}}
    facts["parts"]["test"]["scores"] = {"synthetic 4-class": {"task": "synthetic 4-class", "Score": 0.75}}  # type: ignore[index]
    write_json(run.folder / "scores.json", facts)
    (run.folder / "predictions.csv").touch()
    assert cells(board)[1][0] == "75.00"


def test_the_board_is_cheap(whole: Path, planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(planned, whole)
    before = cells(board)
    assert before[0] == [NAME, f"strict/{NAME}"] and all(re.fullmatch(r"\d+\.\d\d", cell) for cell in before[1])
    monkeypatch.setattr(Board, "look", lambda *_: pytest.fail("nothing has changed"))
    assert cells(board) == before


def test_a_terminal_sees_the_board_and_no_bar(
    whole: Path, planned: Plan, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    board = Board(planned, whole)
    with live(board):
        board.tell(Outcome(row=NAME, seed=0, what="started"))
        list(track(range(3), "epoch 1/2"))
        assert board.step == "epoch 1/2: 3 of 3" and board.now == f"{NAME} s0"
        board.tell(Outcome(row=NAME, seed=0, what="trained"))
    said = capfd.readouterr().err
    assert "seed 0" in said and f"strict/{NAME}" in said
    list(track(range(3), "epoch 2/2"))
    assert board.step == ""


def test_rows_that_choose_by_different_epochs_keep_their_own_column() -> None:
    """A view of one selection has an empty line for each row whose own choice that is; it must not hide the row's."""
    rows = [{"name": name, "recipe": {"selection": choice}} for name, choice in (("a", "last"), ("b", "validation"))]

    def lines(**seeds: int) -> list[dict[str, object]]:
        score = [0.5, 0.1]
        return [{"part": "test", "task": "t", "row": row, "seeds": n, "Score": score} for row, n in seeds.items()]

    views = [
        {"selection": "last", "summary": lines(a=0, b=2)},
        {"selection": "validation", "summary": lines(a=2, b=0)},
    ]
    head, found = selections({"rows": rows, "summary": lines(a=2, b=2), "views": views}, "test", "t")
    assert head == ["row", "last", "validation"]
    assert found == [["a", "**50.00 ± 10.00**", "50.00 ± 10.00"], ["b", "50.00 ± 10.00", "**50.00 ± 10.00**"]]
