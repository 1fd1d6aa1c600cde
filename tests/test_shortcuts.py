"""Baselines that hear nothing, and plain trees: the numbers they see, the trees they keep, and one protocol for all."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from auscult.analysis.results import collect, write
from auscult.analysis.study_files import score
from auscult.analysis.study_record import record
from auscult.cli.evaluation import evaluate as evaluate_command
from auscult.config import from_dict, override, to_dict
from auscult.data import icbhi, synthetic
from auscult.data.columns import STATISTICS, Facts, LogmelStatistics
from auscult.data.cycles import Corpus, Cycle
from auscult.data.store import features
from auscult.errors import AuscultError
from auscult.evaluate import evaluate, load_model
from auscult.models.trees import Forest, Trees
from auscult.models.weights import load_weights
from auscult.predict import load
from auscult.recipes import RecipeSpec, TableRecipe, recipe
from auscult.recipes.studies import study
from auscult.runs import Run
from auscult.signal import io
from auscult.signal.clip import Clip
from auscult.study import finished, plan, run_folder, run_study
from auscult.table import by_round, grow, numbers, planted
from auscult.train import train

from .small import small_corpus

SHORTCUTS = ("shortcut_duration", "shortcut_device", "shortcut_demographics", "shortcut_all")
CLIP = Clip(sample_rate=4000, length_s=0.6, n_mels=16)
QUICK = ("epochs=3", "validation=0.3", "classifier.leaf_cycles=2")


def small_table(name: str = "shortcut_all", *settings: str) -> TableRecipe:
    return override(recipe(name), [*QUICK, *settings])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("data") / "synthetic")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def deaf(data: Path, tmp_path: Path) -> Path:
    """The corpus without a single recording."""
    folder = Path(shutil.copytree(data, tmp_path / "deaf"))
    for file in folder.rglob("*.wav"):
        file.unlink()
    return folder


def boosted(labels: list[int], seed: int = 0) -> tuple[Any, np.ndarray, np.ndarray]:
    """A fitted booster of scikit-learn on numbers of which some are not known."""
    g = np.random.default_rng(seed)
    y = g.choice(labels, size=300)
    x = (g.normal(size=(300, 4)) + y[:, None] * [1.0, 0.5, 0.0, 0.0]).astype(np.float32)
    x[g.random(x.shape) < 0.15] = np.nan
    booster = HistGradientBoostingClassifier(max_iter=7, max_leaf_nodes=6, early_stopping=False, min_samples_leaf=3)
    return booster.fit(x, y), x, y


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 2, 3], [1, 3]])
def test_our_trees_say_what_those_of_scikit_learn_say(labels: list[int]) -> None:
    booster, x, _ = boosted(labels)
    p = by_round(planted(booster, Forest(7, 4, 6), 4), x)
    for number, said in enumerate(booster.staged_predict_proba(x)):
        expected = np.zeros((300, 4))
        expected[:, labels] = said
        assert np.allclose(p[:, number], expected, atol=1e-6)
    assert (p[:, :, sorted({0, 1, 2, 3} - set(labels))] == 0).all(), "a class that was never seen"


def slow(forest: Forest, row: np.ndarray) -> list[float]:
    """Logits of one cycle, node by node."""
    logits = forest.start.tolist()
    for number in range(forest.value.shape[0]):
        for label in range(forest.value.shape[1]):
            column, left, right = (
                getattr(forest, name)[number, label].tolist() for name in ("column", "left", "right")
            )
            at = 0
            while left[at] != at:
                value = float(row[column[at]])
                unknown, threshold = forest.unknown_left[number, label, at], forest.threshold[number, label, at]
                goes_left = bool(unknown) if np.isnan(value) else value <= float(threshold)
                at = left[at] if goes_left else right[at]
            logits[label] += float(forest.value[number, label, at])
    return logits


def test_trees_are_walked_node_by_node() -> None:
    booster, x, _ = boosted([0, 1, 2, 3], seed=1)
    forest = planted(booster, Forest(7, 4, 6), 4)
    found = forest(torch.from_numpy(x[:20, None]))
    assert torch.allclose(found, torch.tensor([slow(forest, row) for row in x[:20]], dtype=torch.float64), atol=1e-12)
    kept = Forest(7, 4, 6)
    kept.load_state_dict(forest.keep(3))
    rows = torch.from_numpy(x[:, None])
    assert torch.allclose(kept(rows), forest.after_rounds(rows)[:, 2]) and not torch.allclose(kept(rows), forest(rows))
    with pytest.raises(AuscultError, match="fitted on 4 columns, these cycles have 3"):
        forest(rows[:, :, :3])


def cycle(**said: Any) -> Cycle:
    known = {"recording": "r", "patient": "1", "device": "d", "site": "Al", "start_s": 1.0, "end_s": 3.5, "label": 0}
    return Cycle(**(known | {"part": "train"} | said))


def corpus_of(*cycles: Cycle) -> Corpus:
    return Corpus(
        name="toy",
        classes=icbhi.CLASSES,
        cycles=cycles,
        audio={},
        recordings={"r": "train"},
        tasks=icbhi.TASKS,
        test_parts=("test",),
    )


def test_what_a_shortcut_sees() -> None:
    there = corpus_of(cycle(age_years=0.25, sex="female"), cycle(device="e", sex="male", end_s=2.0), cycle(site="Tc"))
    every = Facts(facts=("duration", "device", "site", "age", "sex"))
    expected = {
        "duration": [2.5, 1.0, 2.5],
        "device=d": [1, 0, 1],
        "device=e": [0, 1, 0],
        "site=Al": [1, 1, 0],
        "site=Tc": [0, 0, 1],
        "age": [0.25, np.nan, np.nan],
        "sex=female": [1, 0, 0],
        "sex=male": [0, 1, 0],
    }
    assert every.names(there) == tuple(expected)
    assert np.array_equal(every.rows(there).T, list(expected.values()), equal_nan=True)
    assert Facts(facts=("device",)).names(there) == ("device=d", "device=e")
    for facts in ((), ("age", "age")):
        with pytest.raises(ValueError, match="at least one is needed, each once"):
            Facts(facts=facts)


@pytest.mark.parametrize("name", SHORTCUTS)
def test_a_shortcut_hears_nothing(name: str, deaf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def heard(*_: Any, **__: Any) -> None:
        raise AssertionError("a shortcut opened a recording")

    for opener in ("auscult.signal.io.load", "auscult.signal.io.decode", "soundfile.SoundFile"):
        monkeypatch.setattr(opener, heard)
    run = train(small_table(name), "synthetic", deaf, tmp_path / "run")
    write(run.folder, collect(run, *evaluate(run)))
    rows = (run.folder / "predictions.csv").read_text().splitlines()
    tested = sum(c.part == "test" for c in synthetic.read(deaf).cycles)
    assert len(rows) == 1 + tested and tested > 10
    scores = json.loads((run.folder / "scores.json").read_text())
    assert f"{name} heard nothing: it knows annotations and file names alone." in scores["notes"]
    assert scores["facts"]["columns"] == list(small_table(name).columns.names(synthetic.read(deaf)))


def test_partial_leaves_out_the_cycles_that_a_network_could_not_hear(deaf: Path, data: Path, tmp_path: Path) -> None:
    some = sorted(data.rglob("*.wav"))[::2]
    for file in some:
        shutil.copy(file, deaf / file.relative_to(data))
    whole, heard = (small_table().material("synthetic", deaf, partial=partial) for partial in (False, True))
    assert len(whole.corpus.cycles) == 36 and {c.recording for c in heard.corpus.cycles} == {f.stem for f in some}


def test_statistics_are_of_the_cycle_without_its_repetitions(data: Path) -> None:
    columns = LogmelStatistics(clip=CLIP)
    corpus = synthetic.read(data)
    rows = columns.rows(corpus, features(corpus, CLIP))
    assert rows.shape == (36, len(columns.names(corpus))) and np.array_equal(rows, rows.astype(np.float32))
    there = min(corpus.cycles, key=lambda c: c.duration_s)
    faded = CLIP.fade_recording(io.load(corpus.audio[there.recording], CLIP.sample_rate).waveform)
    alone = faded[int(there.start_s * 4000) : int(there.end_s * 4000)][: CLIP.samples]
    x = CLIP.fbank(torch.from_numpy(alone)[None])[0].numpy()
    expected = [x.mean(0), x.std(0), *(np.percentile(x, q, axis=0) for q in (10, 25, 50, 75, 90))]
    found = rows[corpus.cycles.index(there)]
    assert len(expected) == len(STATISTICS)
    assert np.allclose(found[:-1], np.concatenate(expected), atol=0.02), "fp16 of the store"
    assert found[-1] == np.float32(there.duration_s)
    assert LogmelStatistics(clip=CLIP, duration=False).rows(corpus, features(corpus, CLIP)).shape == (36, 16 * 7)
    with pytest.raises(ValueError, match="cyclic is needed"):
        LogmelStatistics(clip=replace(CLIP, pad="zero"))


def quick_trees(*settings: str) -> TableRecipe:
    return replace(small_table("trees_logmel", *settings), columns=LogmelStatistics(clip=CLIP))


def test_a_run_leaves_the_files_of_a_run(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(quick_trees(), "synthetic", data, tmp_path / "run", seed=3)
    assert evaluate_command(run.folder) == 0 and "synthetic 4-class" in capsys.readouterr().out
    names = {"recipe.json", "environment.json", "metrics.jsonl", "weights", "scores.json", "predictions.csv"}
    assert {f.name for f in run.folder.iterdir()} == names | {"report.html", "shift.csv"}
    assert from_dict(RecipeSpec, run.settings()["recipe"]) == quick_trees()
    history = run.history()
    assert [r["epoch"] for r in history] == [1, 2, 3]
    losses = [r["loss"]["cross_entropy"] for r in history]
    assert losses == sorted(losses, reverse=True) and losses[0] < np.log(4) * 1.2
    best = max(history, key=lambda r: r["validation"]["synthetic 4-class"]["Score"])["epoch"]
    assert load_weights(run.weights("validation")).facts["epoch"] == best
    assert load_weights(run.weights("last")).facts["epoch"] == 3
    assert json.loads((run.folder / "scores.json").read_text())["facts"]["selection"] == "last"
    for ask in (load_model, load):
        with pytest.raises(
            AuscultError, match=r"holds the baseline trees_logmel.*needs the cycles of a data set"
        ) as error:
            ask(run.folder)
        assert error.value.code == "E_SETTING"


def test_the_scores_of_a_round_are_those_of_its_weights(data: Path, tmp_path: Path) -> None:
    settings = small_table("shortcut_all", "selection=best_on_test", "also_best_on_test=true")
    run = train(settings, "synthetic", data, tmp_path / "run")
    for selection in ("last", "best_on_test", "validation"):
        _, weights, (found,) = evaluate(run, selection=selection)
        logged = run.history()[weights.facts["epoch"] - 1]["test"]["test"]
        assert {s.task: s.Score for s in found.scores} == {task: s["Score"] for task, s in logged.items()}


def test_a_stopped_run_begins_again_and_ends_the_same(data: Path, tmp_path: Path) -> None:
    whole = train(small_table(), "synthetic", data, tmp_path / "whole")
    stopped = Run(Path(shutil.copytree(whole.folder, tmp_path / "stopped")))
    shutil.rmtree(stopped.folder / "weights")
    stopped.rewind(2)
    train(small_table(), "synthetic", data, stopped.folder, resume=True)
    assert [r["epoch"] for r in stopped.history()] == [1, 2, 3]
    state, again = (load_weights(run.weights("last")).state for run in (whole, stopped))
    assert state.keys() == again.keys() and all(torch.equal(state[n], again[n]) for n in state)


def test_a_seed_matters_only_where_something_is_drawn(data: Path) -> None:
    def values(settings: TableRecipe, seed: int) -> torch.Tensor:
        return grow(settings, settings.material("synthetic", data), seed).threshold

    assert torch.equal(values(small_table(), 0), values(small_table(), 1))
    drawn = small_table("shortcut_all", "classifier.columns_share=0.3")
    assert torch.equal(values(drawn, 0), values(drawn, 0)) and not torch.equal(values(drawn, 0), values(drawn, 1))


def test_weighting_is_that_of_the_networks(data: Path) -> None:
    counts = {}
    for weighting in ("none", "inverse"):
        settings = small_table("shortcut_device", f"weighting={weighting}", "classifier.learning_rate=0.001")
        stuff = settings.material("synthetic", data)
        counts[weighting] = by_round(grow(settings, stuff, 0), numbers(stuff, "train")[0])[0, -1]
    share = np.array(stuff.counts("train")) / len(stuff.split.train)
    assert np.allclose(counts["none"], share, atol=0.02), "the first guess is the share of a class"
    assert np.allclose(counts["inverse"], 0.25, atol=0.02)


def test_what_cannot_be_fitted(data: Path) -> None:
    stuff = small_table().material("synthetic", data)
    alike = [row for row in stuff.split.train if stuff.corpus.cycles[row].label == 0]
    with pytest.raises(AuscultError, match="are of one class; two are needed"):
        grow(small_table(), replace(stuff, split=replace(stuff.split, train=alike)), 0)
    for settings in ("classifier.leaves=1", "classifier.columns_share=0", "epochs=0", "validation=1"):
        with pytest.raises(AuscultError, match="E_SETTING"):
            small_table("shortcut_all", settings)
    assert Trees().build(2, 4).value.shape == (2, 4, 15)


def test_a_study_compares_them_with_each_other(data: Path, tmp_path: Path) -> None:
    planned = plan(study(["shortcut_duration", "shortcut_device"]), "synthetic", 2, QUICK)
    outcomes = run_study(planned, data, tmp_path, score, lambda outcome: None)
    assert [o.what for o in outcomes] == ["trained"] * 4, [o.message for o in outcomes]
    assert all(finished(run_folder(tmp_path, row.name, seed)) for seed, row in planned.in_order())
    assert {o.what for o in run_study(planned, data, tmp_path, score, lambda outcome: None)} == {"kept"}
    known = record(tmp_path)
    assert [row["name"] for row in known["rows"]] == ["shortcut_duration", "shortcut_device"]
    assert known["rows"][0]["recipe"] == to_dict(planned.rows[0].recipe) and known["differences"]


@pytest.mark.data
@pytest.mark.parametrize(("name", "least"), [("shortcut_duration", 0.38), ("shortcut_all", 0.40)])
def test_shortcuts_on_all_of_icbhi(data_dir: Path, tmp_path: Path, name: str, least: float) -> None:
    run = train(override(recipe(name), ["validation=0"]), "icbhi", data_dir / "icbhi", tmp_path / "run")
    stuff, _, (found,) = evaluate(run)
    assert (len(stuff.split.train), len(found.rows)) == (4142, 2756) and len(stuff.corpus.missing_audio) > 800
    assert found.scores[0].Score > least
    assert {c.sex for c in stuff.corpus.cycles} == {"male", "female", None}


@pytest.mark.data
def test_duration_alone_on_sprsound(data_dir: Path, tmp_path: Path) -> None:
    run = train(recipe("shortcut_duration"), "sprsound", data_dir / "sprsound", tmp_path / "run")
    _, _, made = evaluate(run)
    found = {(e.part, s.task): s.Score for e in made for s in e.scores}
    assert found["inter", "SPRSound task 1-1"] > 0.7 and len(made[0].rows) == 1429
