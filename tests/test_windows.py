"""Windows around training cycles: where they lie, whose they are, what the student makes of them, and a whole round."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from auscult.batch import Batch
from auscult.checkpoint import save_tensors
from auscult.config import override
from auscult.data.cycles import UNLABELLED, Cycle
from auscult.data.windows import SHORTEST_S, windows_around
from auscult.errors import AuscultError
from auscult.evaluate import evaluate, load_trained, probabilities
from auscult.models.weights import load_weights
from auscult.objectives import DAT, SGSCL, CrossEntropy, Distil, PatchMix, PatchMixCE
from auscult.recipes import Recipe
from auscult.runs import Run
from auscult.teach import teach
from auscult.train import train

from .small import small_corpus, small_recipe


def cycle(recording: str, start_s: float, end_s: float, label: int = 0) -> Cycle:
    where = {"recording": recording, "patient": recording[0], "device": "d", "site": "s", "part": "train"}
    return Cycle(**where, start_s=start_s, end_s=end_s, label=label)


CYCLES = [cycle("a1", 0.1, 2.1), cycle("a1", 2.1, 5.1, 2), cycle("b1", 0, 0.05), cycle("c1", 1, 1.4, 1)]


def test_windows_lie_around_their_cycle_and_inside_what_is_annotated() -> None:
    found = windows_around(CYCLES, [0, 1, 3], 400, seed=5)
    own = found.cycles(CYCLES)
    assert found.rows.tolist() == [row for row in (0, 1, 3) for _ in range(400)]
    assert {(c.recording, c.patient, c.label, c.part) for c in own} == {
        ("a1", "a", UNLABELLED, "train"),
        ("c1", "c", UNLABELLED, "train"),
    }
    for row, one in zip(found.rows.tolist(), own, strict=True):
        whole, last = CYCLES[row], {"a1": 5.1, "c1": 1.4}[CYCLES[row].recording]
        assert 0 <= one.start_s < one.end_s <= last and one.duration_s >= SHORTEST_S - 1e-9
        assert abs(one.start_s - whole.start_s) <= whole.duration_s / 2 + 1e-4
        assert one.duration_s <= 1.5 * whole.duration_s + 1e-4
    lengths = np.log([c.duration_s / 2 for c in own[:400] if c.start_s > 0])  # those of row 0 that nothing has cut
    assert lengths.min() < math.log(0.55) and lengths.max() > math.log(1.45)
    assert lengths.mean() == pytest.approx((math.log(0.5) + math.log(1.5)) / 2, abs=0.06)  # uniform in the logarithm


def test_the_same_seed_draws_the_same_windows_and_what_is_too_short_has_none() -> None:
    one, two, other = (windows_around(CYCLES, [0, 2, 3], 3, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.times, two.times) and not np.array_equal(one.times, other.times)
    assert one.rows.tolist() == [0] * 3 + [3] * 3  # 50 ms cannot be stretched to 200
    assert len(windows_around(CYCLES, [0, 1], 0)) == 0 == len(windows_around(CYCLES, [2], 5))


TEACHER = torch.tensor([[0.7, 0.2, 0.1], [math.nan] * 3, [0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three cycles, labelled 0, 1 and 2, the second without a teacher, and two windows."""
    path, labels = tmp_path / "teacher.safetensors", torch.tensor([0, 1, 2, -1, -1])
    windows = {"window_row": torch.tensor([0, 2]), "window_times": torch.tensor([[0.0, 1], [2, 4]]).double()}
    save_file({"probabilities": TEACHER, "labels": labels, **windows}, path)
    return path


def batch(index: list[int], label: list[int]) -> Batch:
    zeros = torch.zeros(len(index), dtype=torch.int64)
    fbank = torch.zeros(len(index), 2, 2)
    return Batch(fbank=fbank, label=torch.tensor(label), patient=zeros, device=zeros, index=torch.tensor(index))


def test_a_window_counts_with_its_teacher_alone(file: Path) -> None:
    """By hand: the cross-entropy is the sum over labelled clips over B, and so is the divergence over taught ones."""
    torch.manual_seed(0)
    settings = Distil(teacher=str(file), weight=0.6, temperature=3.0, cross_entropy=CrossEntropy(label_smoothing=0.1))
    head, features = nn.Linear(4, 3), torch.randn(4, 4, requires_grad=True)
    found = settings.build(4, [1, 1, 1]).losses(head, features, batch([2, 3, 1, 4], [2, -1, 1, -1]))
    twin, ce, apart = features.detach().clone().requires_grad_(), torch.zeros(()), torch.zeros(())
    for place, (row, label) in enumerate([(2, 2), (3, None), (1, 1), (4, None)]):
        logits = head(twin[place])
        if label is not None:
            log_p = logits - logits.exp().sum().log()
            ce = ce - 0.9 * log_p[label] - 0.1 * log_p.mean()
        if row != 1:
            t, s = TEACHER[row] ** (1 / 3), (logits / 3).exp()
            t, s = t / t.sum(), s / s.sum()
            apart = apart + (t * (t / s).log()).sum()
    assert found["ce"].item() == pytest.approx(0.4 * ce.item() / 4, rel=1e-5)
    assert found["distil"].item() == pytest.approx(0.6 * 9 * apart.item() / 4, rel=1e-5)
    (found["ce"] + found["distil"]).backward()
    (0.4 * ce / 4 + 0.6 * 9 * apart / 4).backward()
    assert features.grad is not None and twin.grad is not None
    assert torch.allclose(features.grad, twin.grad, rtol=1e-4, atol=1e-7)


def test_a_batch_of_windows_alone_has_no_cross_entropy(file: Path) -> None:
    head, features = nn.Linear(4, 3), torch.randn(2, 4)
    found = Distil(teacher=str(file)).build(4, [1, 1, 1]).losses(head, features, batch([4, 3], [-1, -1]))
    (found["ce"] + found["distil"]).backward()
    assert found["ce"] == 0 < found["distil"] and head.weight.grad is not None
    assert head.weight.grad.isfinite().all() and head.weight.grad.abs().max() > 0


def test_whose_windows_they_are(file: Path) -> None:
    cycles = [cycle("a1", 0, 1), cycle("a1", 1, 2, 1), cycle("c1", 2, 4, 2)]
    own = Distil(teacher=str(file))
    expected = (replace(cycles[0], label=-1), replace(cycles[2], label=-1))
    assert own.extra_cycles(cycles) == expected
    for outer in (PatchMixCE(cross_entropy=own), SGSCL(cross_entropy=own), DAT(cross_entropy=own)):
        assert outer.extra_cycles(cycles) == expected
    assert PatchMix(cross_entropy=own).extra_cycles(cycles) == CrossEntropy().extra_cycles(cycles) == ()
    for others in (cycles[:2], [*cycles, cycles[0]], [replace(cycles[0], label=3), *cycles[1:]]):
        with pytest.raises(AuscultError, match="other cycles"):
            own.extra_cycles(others)


@pytest.mark.parametrize(
    "broken",
    [
        {"window_row": torch.tensor([0, 3])},
        {"window_row": torch.tensor([-1, 0])},
        {"window_row": torch.tensor([], dtype=torch.int64), "window_times": torch.zeros(0, 2)},
        {"window_times": torch.zeros(3, 2).double()},
        {"window_times": torch.tensor([[0.0, 1], [2, math.nan]]).double()},
        {"window_times": torch.tensor([[0.0, 1], [2, 1]]).double()},
    ],
)
def test_windows_that_cannot_be(file: Path, broken: dict[str, torch.Tensor]) -> None:
    save_file(load_file(file) | broken, file)
    with pytest.raises(AuscultError, match="cannot be used"):
        Distil(teacher=str(file)).extra_cycles(CYCLES[:3])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a trained run, its teacher's file without windows, and one with two around each cycle."""
    folder = tmp_path_factory.mktemp("windows")
    os.environ["AUSCULT_CACHE"] = str(folder / "cache")
    data = small_corpus(folder / "data")
    run = train(small_recipe("epochs=1"), "synthetic", data, folder / "teacher", seed=0)
    teach([run], folder / "plain.safetensors")
    told = teach([run], folder / "windows.safetensors", windows=2)
    assert told["windows"] == 2 * told["taught"]
    return folder


def student(place: Path, *settings: str) -> Recipe:
    made = replace(small_recipe(), name="student", objective=Distil(teacher=str(place / "windows.safetensors")))
    return override(made, list(settings))


def test_the_file_without_windows_is_what_it_was(place: Path) -> None:
    """Byte for byte that of the version before windows, written out here."""
    run = Run(place / "teacher")
    model, _ = load_trained(run)
    stuff = small_recipe().material("synthetic", place / "data")
    p = np.full((len(stuff.corpus.cycles), 4), np.nan)
    p[stuff.split.train] = probabilities(model, stuff.dataset("train"))
    labels = torch.tensor([c.label for c in stuff.corpus.cycles])
    held = {"probabilities": torch.from_numpy(p).float(), "labels": labels}
    save_tensors(place / "twin.safetensors", held, {"dataset": "synthetic", "runs": str(run.folder)})
    assert (place / "twin.safetensors").read_bytes() == (place / "plain.safetensors").read_bytes()


def test_the_file(place: Path) -> None:
    plain, held = (load_file(place / f"{name}.safetensors") for name in ("plain", "windows"))
    cycles = len(plain["labels"])
    assert sorted(plain) == ["labels", "probabilities"]
    assert torch.equal(held["labels"][:cycles], plain["labels"]) and (held["labels"][cycles:] == -1).all()
    assert torch.allclose(held["probabilities"][:cycles], plain["probabilities"], atol=1e-6, equal_nan=True)
    spoken = held["probabilities"][cycles:]
    assert len(spoken) == len(held["window_row"]) and torch.allclose(spoken.sum(dim=1), torch.ones(len(spoken)))
    own = plain["probabilities"][held["window_row"]]
    assert own.isfinite().all() and (own - spoken).abs().max() > 1e-4  # another cut, another opinion
    with pytest.raises(AuscultError, match="windows=-1"):
        teach([Run(place / "teacher")], place / "none", windows=-1)
    assert not (place / "none").exists()


def test_nobody_who_is_held_out_or_tested_is_heard(place: Path) -> None:
    for settings in ((), ("validation=0.6",)):  # the second holds out one whom the teacher has heard
        recipe = student(place, *settings)
        stuff = recipe.material("synthetic", place / "data", training=True)
        alone = recipe.material("synthetic", place / "data")
        split, cycles, before = stuff.split, stuff.corpus.cycles, len(alone.corpus.cycles)
        assert (split.validation, split.tests) == (alone.split.validation, alone.split.tests)
        assert split.train[: len(alone.split.train)] == alone.split.train and cycles[:before] == alone.corpus.cycles
        more = split.train[len(alone.split.train) :]
        kept_out = {cycles[row].patient for rows in (split.validation, *split.tests.values()) for row in rows}
        trained = {cycles[row].patient for row in alone.split.train}
        assert more and {cycles[row].patient for row in more} <= trained and not trained & kept_out
        assert len(more) < len(cycles) - before or not settings
        assert stuff.counts("train") == alone.counts("train") and sum(stuff.counts("train")) == len(alone.split.train)
        row = split.validation[0]
        assert np.allclose(stuff.features.row(row), alone.features.row(row), atol=0.01)


def test_a_student_hears_them_and_resumes_to_the_same_bits(place: Path) -> None:
    recipe, data = student(place), place / "data"
    whole = train(recipe, "synthetic", data, place / "whole", seed=0)
    train(override(recipe, ["epochs=1"]), "synthetic", data, place / "cut", seed=0)
    cut = Run(place / "cut")
    text = whole.recipe_file.read_text()
    cut.recipe_file.write_text(text)  # as if it had been stopped after one of the three epochs
    resumed = train(recipe, "synthetic", data, cut.folder, seed=0, resume=True)
    one, two = (load_weights(run.weights("last")).state for run in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    _, _, scored = evaluate(whole)
    assert all(len(e.rows) == e.confusion.sum() > 0 for e in scored)
    plain = replace(recipe, objective=Distil(teacher=str(place / "plain.safetensors")))
    other = train(plain, "synthetic", data, place / "plain", seed=0)
    assert any(not torch.equal(one[name], tensor) for name, tensor in load_weights(other.weights("last")).state.items())


def test_what_draws_by_class_is_refused(place: Path) -> None:
    with pytest.raises(AuscultError, match="sampler=shuffle"):
        train(student(place, "sampler=balanced"), "synthetic", place / "data", place / "balanced")
    assert not (place / "balanced").exists()
