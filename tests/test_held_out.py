"""Where no test recording is there, held-out patients are scored, but only by weights that they have not chosen."""

from pathlib import Path

import pytest

from auscult.analysis.results import collect
from auscult.errors import AuscultError
from auscult.evaluate import evaluate
from auscult.train import train

from .small import small_corpus, small_recipe


@pytest.fixture
def without_test_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    data = small_corpus(tmp_path / "data")
    from auscult.data.material import read

    corpus = read("synthetic", data)
    for stem, part in corpus.recordings.items():
        if part != corpus.train_part:
            corpus.audio[stem].unlink()
    return data


def test_the_last_epoch_is_scored_on_held_out_patients(without_test_audio: Path, tmp_path: Path) -> None:
    recipe = small_recipe("epochs=1", "selection=last")
    run = train(recipe, "synthetic", without_test_audio, tmp_path / "run", partial=True)
    stuff, weights, found = evaluate(run)
    assert [e.part for e in found] == ["validation"] and found[0].rows == stuff.split.validation
    assert "held out" in " ".join(collect(run, stuff, weights, found).notes)


def test_an_epoch_they_chose_is_not(without_test_audio: Path, tmp_path: Path) -> None:
    run = train(small_recipe("epochs=1"), "synthetic", without_test_audio, tmp_path / "run", partial=True)
    with pytest.raises(AuscultError, match="--selection last"):
        evaluate(run)
    assert [e.part for e in evaluate(run, selection="last")[2]] == ["validation"]


def test_patients_that_moved_to_the_test_are_no_test_of_who_heard_them(tmp_path: Path) -> None:
    run = train(small_recipe("epochs=1"), "synthetic", small_corpus(tmp_path / "data"), tmp_path / "run")
    with pytest.raises(AuscultError, match="--set split=strict"):
        evaluate(run, split="strict")
