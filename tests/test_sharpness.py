"""Sharpness against exact Hessians of small networks, and of two short runs."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auscult.analysis import sharpness_run
from auscult.analysis.sharpness import (
    Landscape,
    along,
    filter_normalised,
    hessian_product,
    largest_eigenvalue,
    power_iteration,
)
from auscult.analysis.sharpness_run import (
    Settings,
    Terms,
    around,
    cross_entropy_of,
    flattened,
    labels,
    measure,
    measure_all,
    write,
)
from auscult.batch import Batch
from auscult.cli.app import run as command
from auscult.config import override
from auscult.errors import AuscultError
from auscult.models import Backbone, Classifier
from auscult.objectives import CrossEntropy, PatchMix
from auscult.runs import Run
from auscult.train import train

from .small import small_corpus, small_recipe


def matrix(values: list[float]) -> Tensor:
    """Symmetric, with these eigenvalues."""
    q = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64, generator=generator()))[0]
    return q @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ q.T


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


class Flat(Backbone):
    """(B, 3, 2) to (B, 4)."""

    features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def network() -> tuple[Classifier, Terms]:
    """In float64, with a weighted loss over two batches of unequal size."""
    torch.manual_seed(1)
    model = Classifier(nn.Identity(), Flat(), nn.Linear(4, 3)).double()
    g = generator()
    batches = []
    for n in (5, 8):
        label = torch.randint(0, 3, (n,), generator=g)
        fbank = torch.randn(n, 3, 2, generator=g)
        batches.append(Batch(fbank=fbank, label=label, patient=label, device=label, index=label))
    model.front = Doubled()
    return model, Terms(model, batches, torch.tensor([0.2, 0.3, 0.5]), 0.1)


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


def exact_hessian(model: nn.Module, terms: Callable[[], Iterator[Tensor]]) -> Tensor:
    """By double backward, column by column: the readable twin of the differences."""
    parameters = list(model.parameters())
    slope = torch.autograd.grad(torch.stack(list(terms())).sum(), parameters, create_graph=True)
    flat = torch.cat([s.flatten() for s in slope])
    rows = [torch.autograd.grad(s, parameters, retain_graph=True) for s in flat]
    return torch.stack([torch.cat([r.flatten() for r in row]) for row in rows])


# --- the mathematics ---


def test_terms_are_the_mean_that_training_minimises() -> None:
    model, terms = network()
    fbank, label = (torch.cat([getattr(b, name) for b in terms.batches]) for name in ("fbank", "label"))
    whole = F.cross_entropy(model(fbank), label, terms.weight.double(), label_smoothing=0.1)
    landscape = Landscape(list(model.parameters()), terms)
    assert landscape.loss(landscape.here) == pytest.approx(whole.item(), rel=1e-6)
    assert terms.cycles == 13 and not model.training


def test_a_product_by_differences_is_that_of_double_backward() -> None:
    model, terms = network()
    landscape = Landscape(list(model.parameters()), terms)
    h = exact_hessian(model, terms)
    v = 3 * torch.randn(landscape.here.shape, generator=generator(), dtype=torch.float64)
    found = hessian_product(landscape, v, 1e-2)
    # logits pass through float32 on their way to the loss
    assert (found - h @ v).norm() < 1e-3 * (h @ v).norm()
    far = hessian_product(landscape, v, 1.0)
    assert (far - h @ v).norm() > 10 * (found - h @ v).norm(), "the error grows with the radius"


def test_the_largest_eigenvalue_is_that_of_the_exact_hessian() -> None:
    model, terms = network()
    landscape = Landscape(list(model.parameters()), terms)
    exact = torch.linalg.eigvalsh(exact_hessian(model, terms))
    start = torch.randn(landscape.here.shape, generator=generator(), dtype=torch.float64)
    found = largest_eigenvalue(lambda v: hessian_product(landscape, v, 1e-2), start, products=200, tolerance=1e-5)
    assert found.converged and found.value == pytest.approx(float(exact[-1]), rel=1e-3)
    assert found.residual < 0.05


@pytest.mark.parametrize("values", [[5.0, 1.0, -2.0], [-9.0, 4.0, 1.0, 0.0], [-3.0, -1.0, -0.5], [2.0, 2.0, 2.0]])
def test_a_quadratic_with_known_eigenvalues(values: list[float]) -> None:
    """Also where another is larger in size but negative, where all are, and where all are one."""
    h = matrix(values)
    w = nn.Parameter(torch.randn(len(values), dtype=torch.float64, generator=generator()))
    landscape = Landscape([w], lambda: [0.5 * w @ h @ w])
    start = torch.ones(len(values), dtype=torch.float64)
    found = largest_eigenvalue(lambda v: hessian_product(landscape, v, 0.1), start, products=400, tolerance=1e-12)
    assert found.value == pytest.approx(max(values), abs=1e-6) and found.converged
    assert found.residual < 1e-4


def test_an_iteration_cut_short_says_so() -> None:
    h = matrix([5.0, 4.9, 1.0])
    found = power_iteration(lambda v: h @ v, torch.ones(3, dtype=torch.float64), 0.0, 3, 1e-9)
    assert not found.converged and found.products == 3 and found.residual > 0


def test_a_landscape_leaves_the_weights() -> None:
    model, terms = network()
    before = [p.detach().clone() for p in model.parameters()]
    landscape = Landscape(list(model.parameters()), terms)
    assert landscape.loss(landscape.here + 1) != landscape.loss(landscape.here)
    landscape.gradient(landscape.here - 1)
    fails = Landscape(list(model.parameters()), lambda: [torch.linalg.cholesky(-torch.eye(2)).sum()])
    for look in (fails.loss, fails.gradient):
        with pytest.raises(torch.linalg.LinAlgError):
            look(landscape.here + 1)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_a_parameter_that_the_loss_does_not_use_has_no_slope() -> None:
    used, idle = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([1.0, 1.0]))
    assert Landscape([used, idle], lambda: [used.square().sum()]).gradient(torch.ones(3)).tolist() == [2.0, 0.0, 0.0]


def test_a_random_direction_has_the_length_of_every_filter() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(4, 5))
    module[2].weight.data[0] = 0
    parameters = list(module.parameters())
    direction = filter_normalised(parameters, generator())
    parts = direction.split([p.numel() for p in parameters])
    for p, part in zip(parameters, parts, strict=True):
        if p.ndim < 2:
            assert not part.any()
            continue
        lengths = part.view_as(p).flatten(1).norm(dim=1)
        assert torch.allclose(lengths, p.detach().flatten(1).norm(dim=1), rtol=1e-5)
    assert torch.equal(direction, filter_normalised(parameters, generator()))
    assert not torch.equal(direction, filter_normalised(parameters, torch.Generator().manual_seed(8)))


def test_numbers_of_a_quadratic() -> None:
    """Loss, slope, curvature and rise of w^T H w / 2 are known."""
    h = torch.diag(torch.tensor([4.0, 1.0]))
    w = nn.Parameter(torch.tensor([1.0, 2.0]))
    found = around(Landscape([w], lambda: [0.5 * w @ h @ w]), Settings(rhos=(0.1, 0.5), points=2), "run")
    slope = np.array([4.0, 2.0])
    assert found["loss"] == pytest.approx(4.0) and found["gradient_norm"] == pytest.approx(20**0.5)
    assert found["eigenvalue"].value == pytest.approx(4.0, rel=1e-3)
    for rho, loss in zip((0.1, 0.5), found["uphill"], strict=True):
        at = np.array([1.0, 2.0]) + rho * slope / 20**0.5
        assert loss == pytest.approx(0.5 * (4 * at[0] ** 2 + at[1] ** 2), rel=1e-5)
    assert np.array(found["random"]) == pytest.approx(np.full((5, 5), 4.0)), "a vector has no filters"
    line = Landscape([w], lambda: [0.5 * w @ h @ w])
    assert along(line, torch.tensor([0.0, 1.0]), [-2.0, 0.0]) == pytest.approx([2.0, 4.0])
    with pytest.raises(AuscultError, match="the loss is nan"):
        around(Landscape([w], lambda: [w.sum() * float("nan")]), Settings(), "run")


# --- runs ---


def test_the_loss_is_the_cross_entropy_inside_the_objective() -> None:
    inner = CrossEntropy(weighting="inverse", label_smoothing=0.1)
    assert cross_entropy_of(inner) == cross_entropy_of(PatchMix(cross_entropy=inner)) == inner


def test_settings_of_nothing() -> None:
    for wrong in ({"cycles": 0}, {"reach": 0.0}, {"rhos": ()}, {"radius": -1.0}):
        with pytest.raises(AuscultError, match="1 or more"):
            Settings(**wrong)
    assert Settings(reach=1.0, points=2).distances == [-1.0, -0.5, 0.0, 0.5, 1.0]
    with pytest.raises(AuscultError, match="name one or more run folders"):
        measure_all([], Settings())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Run]]:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUSCULT_CACHE", str(folder / "cache"))
        data = small_corpus(folder / "data")
        plain = small_recipe("epochs=1", "selection=last", "sampler=balanced")
        sam = override(plain, ["optimizer=sam"])
        yield [train(recipe, "synthetic", data, folder / f"r{i}") for i, recipe in enumerate((plain, sam))]


def test_two_runs_compared(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command: every file, and numbers that agree with each other."""
    monkeypatch.setattr(sharpness_run, "Settings", partial(Settings, products=3, points=2))
    folders = [str(run.folder) for run in runs]
    small = ["--cycles", "6", "--directions", "2", "--reach", "0.2"]
    assert command(["analyse", "sharpness", *folders, "--out", str(tmp_path), *small]) == 0
    rows = list(csv.DictReader((tmp_path / "sharpness.csv").read_text().splitlines()))
    assert [r["cycles"] for r in rows] == ["6", "6"] and "rho=0.05" in rows[1]["optimizer"]
    assert all(float(r["gradient_norm"]) > 0 and "sqrt_inverse" in r["loss_is"] for r in rows)
    curves = list(csv.DictReader((tmp_path / "sharpness_curves.csv").read_text().splitlines()))
    assert len(curves) == 2 * (5 + 2 * 5)
    middle = [c for c in curves if c["direction"] == "random" and float(c["distance"]) == 0]
    assert len(middle) == 4 and all(float(c["rise"]) == 0 for c in middle)
    for name in ("sharpness.png", "sharpness.pdf", "sharpness.md"):
        assert (tmp_path / name).stat().st_size > 500
    assert capsys.readouterr().err.count("wrote ") == 5


def test_measured_twice_it_is_the_same_and_seeds_share_a_name(runs: list[Run], tmp_path: Path) -> None:
    settings = Settings(cycles=6, directions=1, points=1, products=2)
    one, two = (measure(runs[0], settings) for _ in range(2))
    assert one == two
    third = measure(runs[1], settings)
    assert labels([one, two]) == ["dass_nano"] * 2
    first, _, last = labels([one, two, third])
    assert first.startswith("dass_nano, optimizer") and "optimizer.rho=0.05" in last
    assert write(tmp_path, [one, replace(third, loss_is="another")], settings)
    text = (tmp_path / "sharpness.md").read_text()
    assert "only with care" in text and "Not converged" in text
    assert dict(flattened({"a": {"b": 1}, "c": [2]})) == {"a.b": 1, "c": [2]}
