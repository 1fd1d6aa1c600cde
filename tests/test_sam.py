"""SAM against a computation by hand, against its library, interrupted, resumed, and on two processes."""

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from auscult.batch import Batch
from auscult.checkpoint import load_state, save_state
from auscult.config import from_dict, override, to_dict
from auscult.errors import AuscultError
from auscult.models import Backbone, Classifier
from auscult.models.weights import load_weights
from auscult.objectives import CrossEntropy
from auscult.optim import Adam, AdamW, OptimizerSpec, Sam
from auscult.recipes import recipe
from auscult.train import Step, Trainer, train

from .small import small_corpus, small_recipe

BASE = AdamW(lr=0.01, weight_decay=0.1)
COUNTS = [5, 3, 2, 1]


class Sgd(OptimizerSpec):
    """Plain gradient descent: unlike Adam's first step, its step shows the size of the gradient."""

    lr = 0.01

    def build(self, module: nn.Module) -> torch.optim.SGD:
        return torch.optim.SGD(module.parameters(), lr=self.lr)


def network(*middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 8), *middle, nn.Tanh(), nn.Linear(8, 4))


def looker(module: nn.Module, optimizer: torch.optim.Optimizer, seen: list | None = None) -> Callable[[], torch.Tensor]:
    """A closure as the loop has it; notes the weights and the output of every look in `seen`."""
    g = torch.Generator().manual_seed(4)
    dtype = next(module.parameters()).dtype
    x, y = torch.randn(12, 5, generator=g, dtype=dtype), torch.randint(0, 4, (12,), generator=g)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        output = module(x)
        if seen is not None:
            seen.append(([p.detach().clone() for p in module.parameters()], output.detach()))
        loss = nn.functional.cross_entropy(output, y)
        loss.backward()
        return loss

    return closure


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def stepped(module: nn.Module, settings: OptimizerSpec, steps: int = 3) -> list[torch.Tensor]:
    optimizer = settings.build(module)
    closure = looker(module, optimizer)
    for _ in range(steps):
        optimizer.step(closure)
    return weights(module)


# --- by hand ---


def by_hand(w: np.ndarray, x: np.ndarray, y: np.ndarray, rho: float, adaptive: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where the ascent leads, and the gradient there, of mean log(1 + exp(-y x.w)) in float64."""

    def gradient(at: np.ndarray) -> np.ndarray:
        return -(y / (1 + np.exp(y * (x @ at)))) @ x / len(y)

    g = gradient(w)
    e = rho * w**2 * g / np.linalg.norm(w * g) if adaptive else rho * g / np.linalg.norm(g)
    return w + e, gradient(w + e)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_step_is_that_of_a_computation_by_hand(adaptive: bool) -> None:
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(9, 6)), rng.choice([-1.0, 1.0], 9), rng.normal(size=6)
    halves = nn.ParameterList([nn.Parameter(torch.tensor(w[:2])), nn.Parameter(torch.tensor(w[2:]))])  # one norm
    optimizer = Sam(base=Sgd(), rho=0.3, adaptive=adaptive).build(halves)
    visited = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        visited.append(torch.cat(list(halves)).detach().numpy())
        loss = nn.functional.softplus(-torch.tensor(y) * (torch.tensor(x) @ torch.cat(list(halves)))).mean()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    top, gradient = by_hand(w, x, y, 0.3, adaptive)
    assert loss.item() == pytest.approx(np.log1p(np.exp(-y * (x @ w))).mean(), rel=1e-12), "the loss is the first"
    assert len(visited) == 2 and np.array_equal(visited[0], w)
    assert np.abs(visited[1] - top).max() < 1e-7, "the library takes the norm in float32"
    after = torch.cat(list(halves)).detach().numpy()
    assert np.abs(after - (w - Sgd.lr * gradient)).max() < 1e-10
    plain = by_hand(w, x, y, 0.0, False)[1]
    assert np.abs(after - (w - Sgd.lr * plain)).max() > 1e-4, "a plain step would be told apart"


def test_steps_of_the_base_follow_the_second_gradient() -> None:
    """Two steps of AdamW in float64, by hand from the two gradients that were seen at the top."""
    module = network().double()
    before, optimizer, gradients = weights(module), Sam(base=BASE).build(module), []
    optimizer.base_optimizer.register_step_pre_hook(
        lambda *_: gradients.append([p.grad.clone() for p in module.parameters()])
    )
    closure = looker(module, optimizer)
    for _ in range(2):
        optimizer.step(closure)
    for w, found, *g in zip(before, module.parameters(), *gradients, strict=True):
        first, second = torch.zeros_like(w), torch.zeros_like(w)
        for t, grad in enumerate(g, 1):
            w = w * (1 - BASE.lr * BASE.weight_decay)
            first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
            w = w - BASE.lr * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        assert (w - found).abs().max() < 1e-10


@pytest.mark.parametrize("adaptive", [False, True])
def test_against_the_library_by_itself(adaptive: bool) -> None:
    from pytorch_optimizer import SAM

    module = network()
    theirs = SAM(
        module.parameters(), torch.optim.AdamW, rho=0.05, adaptive=adaptive, lr=BASE.lr, weight_decay=BASE.weight_decay
    )
    closure = looker(module, theirs)
    for _ in range(3):
        closure()
        theirs.step(closure)
    ours = stepped(network(), Sam(base=BASE, adaptive=adaptive))
    assert all(map(torch.equal, ours, weights(module)))


# --- rho -> 0 ---


def test_without_a_radius_it_is_the_base() -> None:
    plain = stepped(network(), BASE)
    assert all(map(torch.equal, stepped(network(), Sam(base=BASE, rho=0.0)), plain))
    near = stepped(network().double(), Sam(base=BASE, rho=1e-9))
    far = stepped(network().double(), Sam(base=BASE, rho=0.05))
    exact = stepped(network().double(), BASE)
    assert max(float((a - b).abs().max()) for a, b in zip(near, exact, strict=True)) < 1e-8
    assert max(float((a - b).abs().max()) for a, b in zip(far, exact, strict=True)) > 1e-5


# --- back to the same bits ---


@pytest.mark.parametrize("adaptive", [False, True])
def test_weights_come_back_to_the_same_bits(adaptive: bool) -> None:
    module = network()
    before = weights(module)
    optimizer = Sam(base=replace(BASE, lr=0.0, weight_decay=0.0), rho=10.0, adaptive=adaptive).build(module)
    seen: list = []
    optimizer.step(looker(module, optimizer, seen))
    assert all(map(torch.equal, weights(module), before))
    moved = torch.cat([(a - b).flatten() for a, b in zip(seen[1][0], before, strict=True)])
    assert adaptive or moved.norm().item() == pytest.approx(10.0, rel=1e-5), "it was somewhere else between"


def test_a_look_that_fails_leaves_the_weights() -> None:
    module = network(nn.BatchNorm1d(8))
    optimizer = Sam(base=BASE).build(module)
    closure, looks = looker(module, optimizer), []

    def failing() -> torch.Tensor:
        loss = closure()
        looks.append([b.clone() for b in module.buffers()])
        if len(looks) == 2:
            raise KeyboardInterrupt
        return loss

    before = weights(module)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(failing)
    assert all(map(torch.equal, weights(module), before))
    assert all(map(torch.equal, module.buffers(), looks[0]))
    assert not any(optimizer.state_dict()["state"].values()), "no trace of the ascent is saved"
    optimizer.step(closure)
    assert not any(map(torch.equal, weights(module), before))


def test_a_parameter_without_a_gradient_stays() -> None:
    module = network()
    module.register_parameter("unused", nn.Parameter(torch.ones(3)))
    module[0].bias.requires_grad_(False)
    frozen = module[0].bias.clone()
    with_it, without = stepped(module, Sam(base=BASE)), network()
    without[0].bias.requires_grad_(False)
    assert torch.equal(module.unused, torch.ones(3)) and torch.equal(module[0].bias, frozen)
    kept = [p for n, p in module.named_parameters() if n != "unused"]
    assert all(map(torch.equal, stepped(without, Sam(base=BASE)), kept)) and len(with_it) == len(kept) + 1


# --- masks and statistics ---


def test_masks_are_drawn_alike_or_anew() -> None:
    for same in (True, False):
        module = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 4))
        seen: list = []
        optimizer = Sam(base=BASE, rho=0.0, same_masks=same).build(module)
        closure = looker(module, optimizer, seen)
        torch.manual_seed(0)
        optimizer.step(closure)
        assert torch.equal(seen[0][1], seen[1][1]) is same
        module(torch.ones(12, 5))
        optimizer.step(closure)
        assert not torch.equal(seen[1][1], seen[2][1]), "the next step must not see the masks of this one"


@pytest.mark.parametrize("freeze", [True, False])
def test_running_statistics_see_the_weights_that_stay(freeze: bool) -> None:
    module, plain = network(nn.BatchNorm1d(8)), network(nn.BatchNorm1d(8))
    optimizer = Sam(base=BASE, freeze_statistics=freeze).build(module)
    optimizer.step(looker(module, optimizer))
    base = BASE.build(plain)
    base.step(looker(plain, base))
    same = [torch.equal(a, b) for a, b in zip(module.buffers(), plain.buffers(), strict=True)]
    assert same == [freeze] * 3
    assert module[1].num_batches_tracked == (1 if freeze else 2)


# --- the loop ---


def test_the_rate_the_loop_sets_is_the_base_s() -> None:
    module = network()
    settings = Sam(base=replace(BASE, decay_norms=False))
    optimizer = settings.build(module)
    assert settings.lr == BASE.lr and [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = weights(module)
    optimizer.step(looker(module, optimizer))
    assert all(map(torch.equal, weights(module), before))


def test_saved_and_loaded_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    module = network(nn.BatchNorm1d(8))
    optimizer = Sam(base=BASE).build(module)
    closure = looker(module, optimizer)
    optimizer.step(closure)
    save_state(tmp_path / "state", {"module": module.state_dict(), "optimizer": optimizer.state_dict()})
    again = network(nn.BatchNorm1d(8))
    state, second = load_state(tmp_path / "state"), Sam(base=BASE).build(again)
    again.load_state_dict(state["module"])
    second.load_state_dict(state["optimizer"])
    second.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"] = 0.02
    for _ in range(2):
        optimizer.step(closure)
        second.step(looker(again, second))
    assert all(map(torch.equal, module.state_dict().values(), again.state_dict().values()))


def test_a_run_broken_off_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop as it is: masks, batch norm, clipped gradients, a moving average, bf16."""
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    data = small_corpus(tmp_path / "data")
    settings = small_recipe("epochs=2", "optimizer=sam", "moving_average=0.5", "precision=bf16")
    settings = override(settings, ["optimizer.base.lr=1e-3", "selection=last"])
    whole = train(settings, "synthetic", data, tmp_path / "whole")
    checkpoint = Trainer.checkpoint

    def stop(self: Trainer) -> None:
        checkpoint(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        train(settings, "synthetic", data, tmp_path / "parts")
    monkeypatch.setattr(Trainer, "checkpoint", checkpoint)
    parts = train(settings, "synthetic", data, tmp_path / "parts", resume=True)
    one, two = (load_weights(run.weights("last")).state for run in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)


# --- two processes ---


class Flat(Backbone):
    """(B, 5, 3) to (B, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(15, 6), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def step_module() -> Step:
    torch.manual_seed(0)
    objective = CrossEntropy(label_smoothing=0.1).build(6, COUNTS)
    return Step(Classifier(nn.Identity(), Flat(), nn.Linear(6, 4)), objective)


def after_a_step(module: nn.Module, part: slice) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    fbank, label = torch.randn(8, 5, 3, generator=g)[part], torch.randint(0, 4, (8,), generator=g)[part]
    batch = Batch(fbank=fbank, label=label, patient=label, device=label, index=label)
    optimizer = Sam(base=Sgd(), rho=0.5).build(module)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        total = torch.stack(list(module(batch).values())).sum()
        total.backward()
        return total

    for _ in range(3):
        optimizer.step(closure)
    return weights(module)


def rank(number: int, meeting: Path, results: "multiprocessing.Queue[list[np.ndarray]] | None") -> list[torch.Tensor]:
    limit = timedelta(seconds=60)  # a process that did not start must not keep the other for half an hour
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=number, world_size=2, timeout=limit
    )
    try:
        module = DistributedDataParallel(step_module())
        found = after_a_step(module, slice(4 * number, 4 * number + 4))
        del module  # before its group goes: its end waited for ever for a process that had gone
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()
    if results is not None:
        results.put([w.numpy() for w in found])
    return found


def test_two_processes_take_the_step_of_one(tmp_path: Path) -> None:
    """Each has half of the batch; the ascent follows the gradient of the whole."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    other = context.Process(target=rank, args=(1, tmp_path / "meeting", results), daemon=True)
    other.start()
    ours, theirs = rank(0, tmp_path / "meeting", None), results.get(timeout=60)
    other.join()
    whole, half = after_a_step(step_module(), slice(0, 8)), after_a_step(step_module(), slice(0, 4))
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(ours, theirs, strict=True))
    assert max(float((a - b).abs().max()) for a, b in zip(ours, whole, strict=True)) < 1e-6
    assert max(float((a - b).abs().max()) for a, b in zip(half, whole, strict=True)) > 1e-4


# --- settings, and Adam ---


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"rho=-0.1; a radius of 0 or more"):
        Sam(rho=-0.1)
    with pytest.raises(ValueError, match="sam inside sam"):
        Sam(base=Sam())
    optimizer = Sam().build(network())
    with pytest.raises(AuscultError, match=r"call optimizer.step\(closure\)"):
        optimizer.step()


def test_sam_by_name_is_that_of_sam_ast() -> None:
    made = override(override(recipe("dass_nano"), ["optimizer=sam"]), ["optimizer.rho=0.1", "optimizer.base=adam"])
    assert made.optimizer == Sam(base=Adam(), rho=0.1)
    assert Sam().base == AdamW(lr=1e-5, weight_decay=1e-4) and (Sam().rho, Sam().adaptive) == (0.05, False)
    assert from_dict(OptimizerSpec, to_dict(Sam(base=Adam(lr=1.0)))) == Sam(base=Adam(lr=1.0))


def test_adam_decays_through_the_gradient() -> None:
    """Adam's first step is lr * g / (|g| + eps): with L2 the sign of g + wd w decides, not that of g."""
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(2.0)
    optimizer = Adam(lr=0.1, weight_decay=1.0).build(layer)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -1.5 * layer.weight.sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # g + wd w = -1.5 + 2
    assert layer.weight.item() == pytest.approx(1.9, rel=1e-6)
    assert len(optimizer.param_groups) == 1
