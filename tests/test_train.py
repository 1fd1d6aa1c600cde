"""The loop: it learns, it is repeatable, it survives kill -9, and it says what is wrong before it spends time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from auscult.errors import AuscultError
from auscult.evaluate import as_json, evaluate, load_model
from auscult.models.weights import load_weights
from auscult.runs import Run
from auscult.train import Trainer, train

from .small import SETTINGS, small_corpus, small_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["AUSCULT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return small_corpus(tmp_path_factory.mktemp("data") / "synthetic")


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nobody stopped."""
    return train(small_recipe(), "synthetic", corpus, tmp_path_factory.mktemp("runs") / "whole", seed=3)


def same(one: Run, two: Run, selection: str) -> bool:
    a, b = load_weights(one.weights(selection)).state, load_weights(two.weights(selection)).state
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_run_folder_tells_everything(whole: Run, corpus: Path) -> None:
    settings = whole.settings()
    assert settings["dataset"] == "synthetic" and settings["seed"] == 3
    assert settings["data"] == str(corpus.resolve())
    records = whole.history()
    assert [r["epoch"] for r in records] == [1, 2, 3]
    assert all(r["loss"]["ce"] > 0 and "synthetic 4-class" in r["validation"] for r in records)
    assert not any("test" in r for r in records), "the test set was looked at while training"
    best = max(records, key=lambda r: r["validation"]["synthetic 4-class"]["Score"])
    chosen = load_weights(whole.weights("validation"))
    assert chosen.facts["epoch"] == best["epoch"] and chosen.facts["selection"] == "validation"
    assert json.loads((whole.folder / "environment.json").read_text())["versions"]["torch"]


def test_same_seed_same_bits_other_seed_other_bits(whole: Run, corpus: Path, tmp_path: Path) -> None:
    again = train(small_recipe(), "synthetic", corpus, tmp_path / "again", seed=3)
    assert same(whole, again, "last") and same(whole, again, "validation")
    other = train(small_recipe(), "synthetic", corpus, tmp_path / "other", seed=4)
    assert not same(whole, other, "last")


def test_kill_9_in_the_middle_of_an_epoch_and_resume_gives_the_same_bits(
    whole: Run, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "auscult", "train", "dass_nano", "--dataset", "synthetic", "--seed", "3"]
    command += ["--data", str(corpus), "--out", str(out)]
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    # the command would tune memory and products for this machine; this process, to which it is compared, does not
    plain = os.environ | {"AUSCULT_MATMUL": "default", "THP_MEM_ALLOC_ENABLE": "0"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=plain)
    checkpoint, deadline = Run(out).checkpoint, time.monotonic() + 90
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)  # into the next epoch
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[1].decode()
    assert process.returncode == -signal.SIGKILL, said
    done = [r["epoch"] for r in Run(out).history()]
    assert 1 <= len(done) < 3, said
    resumed = train(small_recipe(), "synthetic", corpus, out, seed=3, resume=True)
    assert same(whole, resumed, "last") and same(whole, resumed, "validation")
    assert [r["epoch"] for r in resumed.history()] == [1, 2, 3]


def test_a_start_killed_before_its_first_checkpoint_leaves_no_line_twice(
    whole: Run, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "early"
    train(small_recipe("epochs=1"), "synthetic", corpus, out, seed=3)
    Run(out).checkpoint.unlink()  # as if killed between the line in the log and the checkpoint
    train(small_recipe("epochs=1"), "synthetic", corpus, out, seed=3, resume=True)
    assert [r["epoch"] for r in Run(out).history()] == [1]


def test_resuming_a_finished_run_changes_nothing(whole: Run, corpus: Path) -> None:
    before = whole.weights("last").read_bytes()
    train(small_recipe(), "synthetic", corpus, whole.folder, seed=3, resume=True)
    assert whole.weights("last").read_bytes() == before


def test_a_folder_that_holds_a_run_is_not_overwritten(whole: Run, corpus: Path) -> None:
    with pytest.raises(AuscultError, match="--resume"):
        train(small_recipe(), "synthetic", corpus, whole.folder, seed=3)
    with pytest.raises(AuscultError, match="seed: it has 3, asked is 4"):
        train(small_recipe(), "synthetic", corpus, whole.folder, seed=4, resume=True)


def test_a_folder_of_other_things_is_not_used(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(AuscultError, match="not empty"):
        train(small_recipe(), "synthetic", corpus, tmp_path)


def test_a_start_that_was_cut_short_can_be_made_again(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{}")
    (tmp_path / ".recipe.json.123.tmp").write_text("{")
    run = train(small_recipe("epochs=1"), "synthetic", corpus, tmp_path)
    assert run.exists and "versions" in json.loads((tmp_path / "environment.json").read_text())


def test_the_wait_for_the_loader_is_logged(whole: Run) -> None:
    assert all(0 <= r["wait_s"] < r["seconds"] for r in whole.history())


BUCKETS = ("clip.buckets_s=[0.2,0.4,0.6]", "batch_size=4", "epochs=2")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with its cycles cut to 0.1 to 0.7 s: no breath, but of every length."""
    folder = small_corpus(tmp_path_factory.mktemp("short") / "synthetic")
    for number, file in enumerate(sorted(folder.rglob("*_sc_*.txt"))):
        rows = [line.split("\t") for line in file.read_text().splitlines()]
        for i, row in enumerate(rows):
            row[1] = f"{float(row[0]) + 0.1 + 0.1 * ((i + number) % 7):.3f}"
        file.write_text("".join("\t".join(row) + "\n" for row in rows))
    return folder


def test_a_run_in_buckets_is_resumable_and_evaluated_in_order(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(small_recipe(*BUCKETS), "synthetic", short, tmp_path / "run", seed=1)
    whole_epoch = Trainer.train_epoch

    def stopped(self: Trainer) -> dict[str, float]:
        if self.epoch == 1:
            raise KeyboardInterrupt
        return whole_epoch(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "train_epoch", stopped)
        train(small_recipe(*BUCKETS), "synthetic", short, tmp_path / "again", seed=1)
    again = train(small_recipe(*BUCKETS), "synthetic", short, tmp_path / "again", seed=1, resume=True)
    assert same(run, again, "last")
    stuff, _, (found,) = evaluate(run)
    model, _ = load_model(run)
    assert len(set(stuff.features.frames[found.rows].tolist())) == 3
    for row, p in zip(found.rows, found.probabilities, strict=True):
        fbank = torch.from_numpy(stuff.features.row(row).copy()).float()[None]
        with torch.inference_mode():
            assert torch.softmax(model(fbank), dim=-1)[0].tolist() == pytest.approx(p.tolist(), abs=1e-5)


def test_best_on_test_is_measured_and_labelled(corpus: Path, tmp_path: Path) -> None:
    settings = ("selection=best_on_test", "epochs=2")
    run = train(small_recipe(*settings), "synthetic", corpus, tmp_path / "r")
    assert all("test" in r["test"] for r in run.history())
    assert load_weights(run.weights("best_on_test")).facts["selection"] == "best_on_test"


def test_best_on_test_can_be_kept_beside_the_honest_choice(corpus: Path, tmp_path: Path, whole: Run) -> None:
    run = train(small_recipe("also_best_on_test=true"), "synthetic", corpus, tmp_path / "r", seed=3)
    records = run.history()
    best = max(records, key=lambda r: r["test"]["test"]["synthetic 4-class"]["Score"])
    kept = load_weights(run.weights("best_on_test")).facts
    assert (kept["epoch"], kept["selection"]) == (best["epoch"], "best_on_test")
    one, other = (load_weights(r.weights("validation")) for r in (run, whole))
    assert one.facts == other.facts and all(torch.equal(one.state[n], other.state[n]) for n in one.state)


def test_bf16_trains_and_its_losses_are_near(corpus: Path, tmp_path: Path, whole: Run) -> None:
    run = train(small_recipe("precision=bf16", "epochs=1"), "synthetic", corpus, tmp_path / "r", seed=3)
    exact = train(small_recipe("epochs=1"), "synthetic", corpus, tmp_path / "e", seed=3)
    assert run.history()[0]["loss"]["ce"] == pytest.approx(exact.history()[0]["loss"]["ce"], rel=0.03)


def test_a_loss_that_explodes_is_said(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match="Lower the learning rate"):
        train(
            small_recipe("optimizer.lr=1e30", "clip_grad=none", "schedule.warmup_epochs=0"),
            "synthetic",
            corpus,
            tmp_path / "r",
        )


def test_it_learns(corpus: Path, tmp_path: Path) -> None:
    """36 cycles can be learnt by heart: without masks the loss falls far below chance."""
    settings = ("epochs=15", "input.specaugment=none", "validation=0", "selection=last")
    run = train(small_recipe(*settings), "synthetic", corpus, tmp_path / "r")
    losses = [r["loss"]["ce"] for r in run.history()]
    assert losses[0] > 1.0 > 2 * losses[-1]


def test_evaluation_of_a_run(whole: Run) -> None:
    stuff, weights, (found,) = evaluate(whole)
    assert found.part == "test" and found.confusion.sum() == len(found.rows) == len(stuff.split.tests["test"])
    assert found.probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    written = json.loads(json.dumps(as_json(stuff, weights, [found])))
    assert written["parts"]["test"]["scores"]["synthetic 4-class"]["normal"] > 0
    model, _ = load_model(whole, "last")
    assert not model.training


def test_a_selection_that_was_not_kept_says_which_were(whole: Run) -> None:
    with pytest.raises(AuscultError, match="there are: last, validation"):
        load_model(whole, "best_on_test")
