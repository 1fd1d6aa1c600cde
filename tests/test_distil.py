"""Distillation: the loss against a twin by hand, cycles without a teacher, files that do not fit, and a whole round."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from auscult.batch import Batch
from auscult.errors import AuscultError
from auscult.objectives import CrossEntropy, Distil
from auscult.runs import Run
from auscult.teach import teach
from auscult.train import train

from .small import small_corpus, small_recipe

TEACHER = torch.tensor([[0.7, 0.2, 0.1], [math.nan] * 3, [0.2, 0.3, 0.5]], dtype=torch.float32)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "teacher.safetensors"
    save_file({"probabilities": TEACHER, "labels": torch.tensor([0, 1, 2])}, path)
    return str(path)


def batch(*index: int, label: tuple[int, ...] | None = None) -> Batch:
    rows = torch.tensor(index)
    zeros = torch.zeros_like(rows)
    labels = rows if label is None else torch.tensor(label)
    return Batch(fbank=torch.zeros(len(index), 2, 2), label=labels, patient=zeros, device=zeros, index=rows)


def test_the_loss_is_that_of_the_formula(file: str) -> None:
    torch.manual_seed(0)
    settings = Distil(teacher=file, weight=0.6, temperature=3.0, cross_entropy=CrossEntropy(label_smoothing=0.1))
    objective = settings.build(4, [1, 1, 1])
    head = nn.Linear(4, 3)
    features = torch.randn(3, 4, requires_grad=True)
    found = objective.losses(head, features, batch(2, 1, 0))
    ce = settings.cross_entropy.build(4, [1, 1, 1]).losses(head, features, batch(2, 1, 0))["ce"]
    logits, total = head(features), 0.0
    for place, row in ((0, 2), (2, 0)):  # row 1 has no teacher
        t = [p ** (1 / 3) for p in TEACHER[row].tolist()]
        t = [p / sum(t) for p in t]
        s = [math.exp(z / 3) for z in logits[place].tolist()]
        s = [q / sum(s) for q in s]
        total += sum(p * math.log(p / q) for p, q in zip(t, s, strict=True))
    assert found["ce"].item() == pytest.approx(0.4 * ce.item())
    assert found["distil"].item() == pytest.approx(0.6 * 9 * total / 3, rel=1e-5)
    found["distil"].backward()
    assert features.grad is not None and features.grad[1].abs().max() == 0 < features.grad[0].abs().max()


def test_a_batch_that_nobody_teaches(file: str) -> None:
    found = Distil(teacher=file).build(4, [1, 1, 1]).losses(nn.Linear(4, 3), torch.randn(1, 4), batch(1))
    assert found["distil"] == 0 and torch.isfinite(found["ce"])


def test_what_does_not_fit_is_refused(file: str, tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match="auscult teach"):
        Distil(teacher=str(tmp_path / "none")).build(4, [1, 1, 1])
    with pytest.raises(AuscultError, match="3 classes, the data set 4"):
        Distil(teacher=file).build(4, [1, 1, 1, 1])
    objective = Distil(teacher=file).build(4, [1, 1, 1])
    for other in (batch(0, label=(1,)), batch(7, label=(0,))):
        with pytest.raises(AuscultError, match="other cycles"):
            objective.losses(nn.Linear(4, 3), torch.randn(1, 4), other)
    with pytest.raises(ValueError, match="weight=2"):
        Distil(weight=2.0)


def test_a_run_teaches_another(tmp_path: Path) -> None:
    data = small_corpus(tmp_path / "data")
    for seed in (0, 1):
        train(small_recipe("epochs=1"), "synthetic", data, tmp_path / f"t{seed}", seed=seed)
    out = tmp_path / "teacher.safetensors"
    told = teach([Run(tmp_path / "t0"), Run(tmp_path / "t1")], out)
    held = load_file(out)
    known = ~held["probabilities"].isnan().any(dim=1)
    assert told == {"cycles": len(known), "taught": int(known.sum()), "windows": 0, "runs": 2} and 0 < told[
        "taught"
    ] < len(known)
    assert torch.allclose(held["probabilities"][known].sum(dim=1), torch.ones(told["taught"]))
    student = replace(small_recipe("epochs=1"), name="student", objective=Distil(teacher=str(out)))
    train(student, "synthetic", data, tmp_path / "student", seed=0)
    train(small_recipe("epochs=1", "validation=0.6"), "synthetic", data, tmp_path / "else", seed=0)
    with pytest.raises(AuscultError, match="other cycles"):
        teach([Run(tmp_path / "t0"), Run(tmp_path / "else")], out)
