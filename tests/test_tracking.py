"""Trackers: what they are told, which there are, and that the run does not depend on them."""

import sys
from pathlib import Path

import pytest

from auscult import tracking
from auscult.errors import AuscultError
from auscult.runs import Run, write_json
from auscult.train import train

from .disk import Disk, full
from .small import small_corpus, small_recipe

RECORD = {"epoch": 1, "lr": 0.25, "loss": {"ce": 1.5}, "validation": {"4-class": {"Score": 0.5, "normal": 7}}}


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value) of everything that tensorboard would show."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = accumulator.EventAccumulator(str(folder))
    shown.Reload()
    return {name: [(e.step, e.value) for e in shown.Scalars(name)] for name in shown.Tags()["scalars"]}


def test_tensorboard_shows_what_metrics_jsonl_holds(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    with tracking.tracked(run, "tensorboard"):
        run.log(RECORD)
        run.log(RECORD | {"epoch": 2, "lr": 0.125})
    run.log(RECORD | {"epoch": 3})
    assert read(run.folder / "tensorboard") == {
        "lr": [(1, 0.25), (2, 0.125)],
        "loss/ce": [(1, 1.5), (2, 1.5)],
        "validation/4-class/Score": [(1, 0.5), (2, 0.5)],
    }
    assert len(run.history()) == 3


def test_a_tracker_is_no_part_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    corpus, tiny = small_corpus(tmp_path / "corpus"), small_recipe("epochs=1")
    runs = [train(tiny, "synthetic", corpus, tmp_path / name, track=name) for name in ("none", "tensorboard")]
    assert runs[0].settings() == runs[1].settings()
    assert not (runs[0].folder / "tensorboard").exists()
    assert read(runs[1].folder / "tensorboard")["loss/ce"] == [(1, pytest.approx(runs[0].history()[0]["loss"]["ce"]))]


def test_the_default_is_tensorboard_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    assert tracking.chosen(None) == "tensorboard"
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    assert tracking.chosen(None) == "none" == tracking.chosen("none")


def test_a_tracker_that_cannot_be_used_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AuscultError, match=r"E_SETTING.*'tensorbord'.*'tensorboard'.*comet_ml.*none.*wandb"):
        train(small_recipe(), "synthetic", tmp_path / "no data", tmp_path / "run", track="tensorbord")
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(AuscultError, match=r"E_SETTING.*comet_ml is not installed.*pip install comet-ml"):
        tracking.chosen("comet_ml")
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_fails_on_the_way_is_said_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    with tracking.tracked(run, "tensorboard"):
        run.log(RECORD)
        with full(Disk(run.folder / "tensorboard", 0)):
            run.log(RECORD | {"epoch": 2})
            run.log(RECORD | {"epoch": 3})
    said = capsys.readouterr().err
    assert said.count("the tracker tensorboard stopped: ") == 1 and "No space left" in said and "Traceback" not in said
    assert len(run.history()) == 3 and not run.listeners


def test_a_tracker_that_does_not_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    run = Run(tmp_path)
    write_json(run.recipe_file, {"recipe": {"kind": "recipe", "name": "toy"}})
    with (
        pytest.raises(AuscultError, match="E_SETTING: the tracker wandb does not start"),
        tracking.tracked(run, "wandb"),
    ):
        pass
    assert not run.listeners
