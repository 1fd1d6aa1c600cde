"""Label maps by hand, probabilities of merged classes, published fractions, and a run scored on another data set."""

import csv
import hashlib
import json
import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from auscult.cli.evaluation import evaluate as command
from auscult.data import DATASETS, icbhi, sprsound, synthetic
from auscult.data.cycles import Corpus
from auscult.data.label_maps import label_map, label_maps
from auscult.data.material import Material
from auscult.data.splits import split
from auscult.errors import AuscultError
from auscult.evaluate import evaluate
from auscult.metrics import scores
from auscult.out_of_domain import MergedClasses, evaluate_on, relabelled
from auscult.runs import Run

from .small import small_corpus, small_recipe
from .untrained import untrained_run

# the version and the sha256 of label_maps.toml: whoever changes a map raises the version, and then this line
CONTENT = ("1", "96ad369abbe70a1d1b4f856a2d90545d3fcbd8bb4bb52c1f756d545c6255f360")
# system, normal events found of 1040, abnormal ones of 389, and Sp, Se, Score as printed in table 2 of QLung
PUBLISHED = [
    ("Patch-Mix CL", 652, 153, (62.69, 39.33, 51.01)),
    ("SG-SCL", 843, 88, (81.06, 22.62, 51.84)),
    ("Audio-CLAP", 735, 163, (70.67, 41.90, 56.29)),
    ("BTS", 702, 153, (67.50, 39.33, 53.42)),
]


def test_the_version_belongs_to_the_content() -> None:
    text = (files("auscult.data") / "label_maps.toml").read_bytes()
    assert (label_map().version, hashlib.sha256(text).hexdigest()) == CONTENT


def test_maps_by_hand() -> None:
    qlung, sdat = label_map("qlung"), label_map("sdat_wheeze")
    assert qlung.places(sprsound.CLASSES, "sprsound") == [0, 2, 2, 2, 1, 1, 3]
    assert qlung.places(icbhi.CLASSES, "icbhi") == [0, 1, 2, 3] and qlung.tasks == icbhi.TASKS
    assert sdat.places(sprsound.CLASSES, "sprsound") == [0, None, 1, None, 0, 0, 1]
    assert sdat.places(icbhi.CLASSES, "icbhi") == [0, 0, 1, 1]
    said = "Rhonchi, Stridor as wheeze; Coarse Crackle, Fine Crackle as crackle; Wheeze+Crackle as both"
    assert qlung.words(sprsound.CLASSES) == said


@pytest.mark.parametrize("name", label_maps())
def test_every_map_names_every_class_of_the_real_data_sets(name: str) -> None:
    for classes in (icbhi.CLASSES, sprsound.CLASSES):
        places = label_map(name).places(classes, "a data set")
        assert places[0] == 0, "normal is the first class"


@pytest.mark.parametrize(("system", "normal", "abnormal", "printed"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_published_fractions(system: str, normal: int, abnormal: int, printed: tuple[float, ...]) -> None:
    """Events 1040/83/305/1; any exact hits give the printed numbers, here all of them among the wheezes."""
    k = np.array([[normal, 1040 - normal, 0, 0], [83, 0, 0, 0], [305 - abnormal, 0, abnormal, 0], [1, 0, 0, 0]])
    found = scores(k, label_map("qlung").tasks[0])
    assert (found.normal, found.abnormal) == (1040, 389)
    assert tuple(round(100 * v, 2) for v in (found.Sp, found.Se, found.Score)) == printed


@pytest.mark.data
def test_events_of_the_real_annotations(data_dir: Path) -> None:
    corpus = sprsound.read(data_dir / "sprsound")
    none: Any = None
    stuff = Material(corpus=corpus, features=none, split=split(corpus, validation=0.0), kind="official")
    mapped = relabelled(stuff, label_map("qlung"))
    assert mapped.counts("inter") == [1040, 83, 305, 1] and mapped.counts("intra") == [688, 189, 124, 3]
    assert mapped.counts("train") == [5159, 961, 506, 30]
    left = relabelled(stuff, label_map("sdat_wheeze"))
    assert left.counts("inter") == [1040 + 83, 306] and sum(left.counts("intra")) == 1004 - 14 - 2


class Said(nn.Module):
    """A model that says what it is told to."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits


def test_probabilities_of_merged_classes_are_sums() -> None:
    logits = 3 * torch.randn(50, 7, dtype=torch.float64)
    p = torch.softmax(logits, dim=-1).numpy()
    for places in ([0, 2, 2, 2, 1, 1, 3], [0, None, 1, None, 0, 0, 1]):
        k = max(place for place in places if place is not None) + 1
        slow = np.zeros((50, k))
        for i, place in enumerate(places):
            if place is not None:
                slow[:, place] += p[:, i]
        slow /= slow.sum(axis=1, keepdims=True)
        fast = torch.softmax(MergedClasses(Said(), places, k)(logits), dim=-1).numpy()
        np.testing.assert_allclose(fast, slow, atol=1e-6)


def test_a_class_that_is_surely_left_out_leaves_no_hole() -> None:
    sure = torch.tensor([[0.0, 900.0, 1.0]])
    found = torch.softmax(MergedClasses(Said(), [0, None, 1], 3)(sure), dim=-1)
    e = math.e
    torch.testing.assert_close(found, torch.tensor([[1 / (1 + e), e / (1 + e), 0.0]]))


def other_corpus(folder: Path) -> Corpus:
    """A synthetic corpus as if it were SPRSound: seven classes, a second test part of patients of the training part."""
    corpus = synthetic.read(folder)
    cycles = tuple(
        replace(c, label=i % 7, part="intra" if c.part == "train" and i % 3 == 0 else c.part)
        for i, c in enumerate(corpus.cycles)
    )
    new = {"name": "other", "classes": sprsound.CLASSES, "tasks": sprsound.TASKS, "published": None}
    return replace(corpus, cycles=cycles, test_parts=("test", "intra"), seen_parts=("intra",), **new)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("domain"))


@pytest.fixture
def run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setitem(DATASETS, "other", other_corpus)
    return untrained_run(tmp_path / "run", small_recipe("selection=last"), folder)


def test_classes_that_are_the_same_give_the_scores_of_the_data_set_itself(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "twin", lambda data: replace(synthetic.read(data), name="twin"))
    *_, (own,) = evaluate(run)
    _, _, (there,), domain = evaluate_on(run, "twin", folder)
    np.testing.assert_array_equal(own.probabilities, there.probabilities)
    assert own.confusion.tolist() == there.confusion.tolist() and domain.trained_on == "synthetic"


def test_a_model_of_seven_classes_is_scored_over_four(folder: Path, tmp_path: Path, run: Run) -> None:
    seven = untrained_run(tmp_path / "7", small_recipe("selection=last"), folder, sprsound.CLASSES, "other")
    *_, (own,) = evaluate(seven, parts=("test",))
    stuff, _, (there,), _ = evaluate_on(seven, "synthetic", folder)
    groups = [[0], [4, 5], [1, 2, 3], [6]]
    p = np.stack([own.probabilities[:, g].sum(axis=1) for g in groups], axis=1)
    np.testing.assert_allclose(there.probabilities, p, atol=1e-6)
    truth = [synthetic.read(folder).cycles[row].label for row in there.rows]
    assert stuff.corpus.tasks == icbhi.TASKS and there.confusion.sum(axis=1).tolist() == np.bincount(truth).tolist()


def test_cycles_that_the_map_leaves_out_are_not_scored(run: Run, folder: Path) -> None:
    corpus = other_corpus(folder)
    stuff, _, (found,), domain = evaluate_on(run, "other", folder, labels="sdat_wheeze")
    left = {row for row, c in enumerate(corpus.cycles) if corpus.classes[c.label] in ("Rhonchi", "Stridor")}
    test = {row for row, c in enumerate(corpus.cycles) if c.part == "test"}
    assert set(found.rows) == test - left and sum(domain.left_out("test").values()) == len(test & left) > 0
    assert {stuff.corpus.cycles[row].label for row in found.rows} == {0, 1}
    assert found.probabilities.shape == (len(found.rows), 2)


def test_the_command_writes_files_of_its_own(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run.folder / "scores.json").write_text("mine")
    assert command(run.folder, on="other", data=folder) == 0
    assert command(run.folder, on="other", data=folder, label_map="sdat_wheeze") == 0
    assert (run.folder / "scores.json").read_text() == "mine"
    told = json.loads((run.folder / "scores_other.json").read_text())
    assert told["out_of_domain"]["label_map"]["name"] == "qlung" and told["out_of_domain"]["trained_on"] == "synthetic"
    assert told["out_of_domain"]["label_map"]["labels"]["Stridor"] == "wheeze"
    assert list(told["parts"]) == ["test"], "intra shares patients with train, so the literature leaves it out"
    rows = list(csv.DictReader((run.folder / "predictions_other.csv").read_text().splitlines()))
    assert {row["truth"] for row in rows} <= set(icbhi.CLASSES) and len(rows) == np.sum(
        told["parts"]["test"]["confusion"]
    )
    assert "label map sdat_wheeze" in (run.folder / "report_other_sdat_wheeze.html").read_text()
    said = " ".join(capsys.readouterr().out.split())
    for words in ("out of domain, label map qlung version 1", "ICBHI 4-class", "ICBHI 2-class from 4-class", "only "):
        assert words in said, words


def test_other_parts_on_request(run: Run, folder: Path) -> None:
    corpus = other_corpus(folder)
    *_, found, _ = evaluate_on(run, "other", folder, parts=("train", "intra"))
    for e in found:
        assert len(e.rows) == sum(c.part == e.part for c in corpus.cycles), "nobody is held out: nothing is chosen"


def test_errors_say_what_to_do(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, arguments in (
        ("was trained on synthetic; leave --on out", {"on": "synthetic", "data": folder}),
        ("no label map named 'qlun'. Did you mean 'qlung'", {"on": "other", "data": folder, "label_map": "qlun"}),
        ("--on other needs --data", {"on": "other"}),
        ("takes no --split", {"on": "other", "data": folder, "split": "clean"}),
        ("need --on", {"partial": True}),
        ("no part named 'inter'", {"on": "other", "data": folder, "part": ("inter",)}),
    ):
        with pytest.raises(AuscultError, match=words):
            command(run.folder, **arguments)
    monkeypatch.setitem(
        DATASETS, "odd", lambda data: replace(other_corpus(data), classes=(*sprsound.CLASSES[:6], "Cough"))
    )
    with pytest.raises(AuscultError, match="does not say what Cough of other"):
        evaluate_on(run, "odd", folder)
