"""A study: one table however often it was stopped, however many processes made it, and never from another's runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from auscult.analysis.study_files import score, write_study
from auscult.analysis.study_record import record
from auscult.cli.study import study as command
from auscult.config import override
from auscult.errors import AuscultError
from auscult.recipes import RECIPES, recipe
from auscult.recipes.studies import ENDINGS, STUDIES, study
from auscult.runs import Run
from auscult.study import Outcome, Plan, claimed, differences, finished, plan, run_folder, run_study
from auscult.train import Trainer

from .processes import start_study, wait_until
from .small import SETTINGS, small_corpus

NAMES = ("dass_nano", "dass_smooth_nano")
LAID_OVER = (*SETTINGS, "epochs=1")
HOLD = """
import fcntl, sys, time
lock = open(sys.argv[1], "a")
fcntl.flock(lock, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["AUSCULT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return small_corpus(tmp_path_factory.mktemp("data") / "synthetic")


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan(study(NAMES), "synthetic", 2, LAID_OVER)


@pytest.fixture(scope="module")
def whole(corpus: Path, planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two rows and two seeds that nobody stopped."""
    out = tmp_path_factory.mktemp("studies") / "whole"
    assert [o.what for o in go(planned, corpus, out)] == ["trained"] * 4
    write_study(out)
    return out


def go(planned: Plan, corpus: Path, out: Path) -> list[Outcome]:
    return run_study(planned, corpus, out, score, lambda outcome: None)


def what(outcomes: list[Outcome]) -> dict[str, str]:
    return {f"{o.row} s{o.seed}": o.what for o in outcomes}


def table(out: Path) -> dict[str, Any]:
    """The record of a study without what depends on the hour and the machine."""
    known = record(out)
    for row in known["rows"]:
        for run in row["runs"].values():
            del run["train_s"]
    return {key: value for key, value in known.items() if key not in ("where", "command")}


def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def cli(*words: str) -> int:
    app = App(result_action="return_value", exit_on_error=False, print_error=False)
    app.default(command)
    return app(words)


def test_all_rows_of_a_seed_come_before_the_next_seed(planned: Plan) -> None:
    assert [(seed, row.name) for seed, row in planned.in_order()] == [(s, n) for s in (0, 1) for n in NAMES]


def test_finished_runs_are_kept(whole: Path, planned: Plan, corpus: Path) -> None:
    weights = run_folder(whole, "dass_nano", 0).weights("last")
    before, content = weights.stat().st_mtime_ns, (whole / "study.json").read_text()
    assert set(what(go(planned, corpus, whole)).values()) == {"kept"}
    write_study(whole)
    assert weights.stat().st_mtime_ns == before and (whole / "study.json").read_text() == content


def test_a_stopped_study_ends_with_the_same_table(
    whole: Path, planned: Plan, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copy(whole, tmp_path)
    shutil.rmtree(out / "dass_smooth_nano" / "s0")
    (out / "dass_nano" / "s1" / "predictions.csv").unlink()  # trained, not scored
    (out / "dass_smooth_nano" / "s0.lock").write_bytes(b"\xff no number")

    def stopped(self: Trainer) -> dict[str, float]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "train_epoch", stopped)
        go(planned, corpus, out)
    assert run_folder(out, "dass_smooth_nano", 0).exists and not finished(run_folder(out, "dass_smooth_nano", 0))
    assert [line["seeds"] for line in record(out)["summary"]] == [1, 1] * 2, "the table shows what is there"
    assert not record(out)["differences"], "the rows have no seed in common"
    made = what(go(planned, corpus, out))
    again = {"dass_smooth_nano s0": "trained", "dass_nano s1": "trained"}
    assert made == dict.fromkeys((f"{n} s{s}" for s in (0, 1) for n in NAMES), "kept") | again
    assert table(out) == table(whole)


def test_scores_of_another_epoch_are_not_those_of_the_study(whole: Path, tmp_path: Path) -> None:
    run = run_folder(copy(whole, tmp_path), "dass_nano", 0)
    assert finished(run)
    scores = json.loads((run.folder / "scores.json").read_text())
    scores["facts"]["selection"] = "last"
    (run.folder / "scores.json").write_text(json.dumps(scores))
    assert not finished(run)


def test_a_folder_with_another_run_is_refused_before_any_training(whole: Path, corpus: Path, tmp_path: Path) -> None:
    out = copy(whole, tmp_path)
    shutil.rmtree(out / "dass_nano" / "s0")
    other = plan(study(NAMES), "synthetic", 2, [*LAID_OVER, "epochs=2"])
    with pytest.raises(AuscultError, match=r"holds another run: recipe.epochs is 1, asked is 2\. Choose"):
        go(other, corpus, out)
    assert not (out / "dass_nano" / "s0").exists()
    assert differences({"a": {"b": 1}}, {"a": {"c": 1}}) == ["a.c is None, asked is 1", "a.b is 1, asked is None"]


def test_a_run_that_fails_is_told_and_the_others_go_on(
    corpus: Path, planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(recipe: Any, *_: Any, **__: Any) -> None:
        if recipe.name == "dass_nano":
            raise AuscultError("E_RUN", "loss became nan")

    monkeypatch.setattr("auscult.study.train", fails)
    outcomes = run_study(planned, corpus, tmp_path / "a", lambda run, view: None, lambda outcome: None)
    assert [o.what for o in outcomes] == ["failed", "trained"] * 2 and "became nan" in outcomes[0].message
    monkeypatch.setattr("auscult.study.finished", lambda run: False)
    monkeypatch.setattr("auscult.analysis.study_files.main_scores", lambda run: [])
    monkeypatch.setattr("auscult.analysis.study_files.score", lambda run, view: None)
    words = ["--dataset", "synthetic", "--data", str(corpus), "--out", str(tmp_path / "b")]
    assert cli(*NAMES, *words) == 3
    said = capsys.readouterr()
    assert "dass_nano s0 failed: E_RUN: loss became nan" in said.err and "no run is finished yet" in said.out


def test_what_no_run_would_survive_ends_the_study(
    corpus: Path, planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise AuscultError("E_DISK", "no space")

    monkeypatch.setattr("auscult.study.train", full)
    with pytest.raises(AuscultError, match="no space"):
        go(planned, corpus, tmp_path / "out")
    with pytest.raises(AuscultError, match="does not exist"):
        go(planned, tmp_path / "nowhere", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    lock = tmp_path / "row" / "s0.lock"
    with claimed(lock) as mine:
        assert mine and lock.read_text() == f"{os.getpid()}\n"
        with claimed(lock) as again:
            assert not again
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline()
    with claimed(lock) as mine:
        assert not mine
    other.send_signal(signal.SIGKILL)
    other.communicate()
    lock.write_text(f"{other.pid}\n")
    with claimed(lock) as mine:
        assert mine


def test_two_processes_share_a_study(whole: Path, planned: Plan, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    words = [*NAMES, "--dataset", "synthetic", "--data", str(corpus), "--seeds", "2", "--out", str(out)]
    words += [word for setting in LAID_OVER for word in ("--set", setting)]
    other = start_study(*words)
    wait_until((out / "dass_nano" / "s0" / "recipe.json").exists, other)
    ours = what(go(planned, corpus, out))
    shown, said = other.communicate()
    assert other.returncode == 0, said
    assert "trained" in ours.values() and "dass_nano s0 trained" in said
    for name in ours:
        assert (ours[name] == "trained") != (f"{name} trained" in said), "trained by both, or by none"
    runs = [Run(file.parent) for file in out.rglob("recipe.json")]
    assert len(runs) == 4 and all(len(run.history()) == 1 for run in runs)
    assert table(out) == table(whole) and "Score" in shown


def test_the_table_needs_no_data(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy(whole, tmp_path)
    (out / "study.json").unlink()
    assert cli(*NAMES, "--table", "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert "4 of 4 runs finished" in said and "synthetic 4-class" in said and "[low, high]" in said
    assert (out / "study.json").read_text() == (whole / "study.json").read_text()
    with pytest.raises(AuscultError, match="holds the study dass_nano-dass_smooth_nano, asked is lung_srad_tau"):
        cli("lung_srad_tau", "--table", "--out", str(out))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AuscultError, match="studies/lung_srad_table2_nano holds no study"):
        cli("lung_srad_table2", "--size", "nano", "--table")
    with pytest.raises(AuscultError, match="--data"):
        cli("lung_srad_table2")


@pytest.mark.parametrize("size", ENDINGS)
@pytest.mark.parametrize("name", [name for name in STUDIES if name.startswith("lung_srad")])
def test_every_study_of_lung_srad_can_be_planned(name: str, size: Any) -> None:
    made = study([name], size)
    assert made.name == name + ENDINGS[size] and len({row.name for row in made.rows}) == len(made.rows) >= 4
    rows = plan(made, "sprsound", 3, ["epochs=2"]).rows
    assert len({str(replace(row.recipe, name="")) for row in rows}) == len(rows)
    for row, asked in zip(rows, made.rows, strict=True):
        assert row.recipe == override(recipe(asked.recipe), [*asked.settings, "epochs=2"])
        assert row.recipe.backbone.size == size
    if name != "lung_srad_table2":
        assert recipe("lung_srad" + ENDINGS[size]) in [row.recipe for row in plan(made, "sprsound", 1).rows]


def test_a_setting_for_one_row() -> None:
    """Trees count rounds where networks count epochs: what is laid over one leaves the other as it was."""
    settings = ["validation=0.1", "dass_nano:epochs=2", "dass_nano:clip.length_s=2"]
    network, trees = plan(study(["dass_nano", "trees_logmel"]), "sprsound", 1, settings, splits=["strict"]).rows
    assert network.recipe == override(recipe("dass_nano"), ["validation=0.1", "epochs=2", "clip.length_s=2"])
    assert trees.recipe == override(recipe("trees_logmel"), ["validation=0.1"])
    with pytest.raises(AuscultError, match="trees_logmel"):
        plan(study(["dass_nano", "trees_logmel"]), "sprsound", 1, ["trees:epochs=2"])


def test_the_table_of_the_paper() -> None:
    rows = study(["lung_srad_table2"]).rows
    expected = ["dass", "dass_smooth", "dass_smooth_astmix", "dass_smooth_freq", "dass_smooth_time", "lung_srad"]
    assert [row.name for row in rows] == [row.recipe for row in rows] == expected
    for row in rows:
        said = RECIPES[row.recipe].__doc__ or ""
        assert (f"{row.paper:.2f}" in said) if row.paper else ("could not be recovered" in said)


@pytest.mark.parametrize(
    ("names", "size", "said"),
    [
        ([], None, "name a study"),
        (["lung_srad_tabel2"], None, "Did you mean 'lung_srad_table2'"),
        (["das_nano"], None, "Did you mean 'dass_nano'"),
        (["lung_srad_tau", "dass_nano"], None, "name it alone"),
        (["dass_nano", "dass_nano"], None, "named twice"),
        (["dass"], "nano", "recipes have it in their name"),
    ],
)
def test_names_that_make_no_study(names: list[str], size: Any, said: str) -> None:
    with pytest.raises(AuscultError, match=said):
        study(names, size)
    with pytest.raises(AuscultError, match="seeds=0"):
        plan(study(["dass_nano"]), "sprsound", 0)
