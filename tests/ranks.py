"""Every recipe in small, and its gradients on two processes that learn together; used by test_recipes.py.

The processes import this file, so it knows nothing of pytest.
"""

import os
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

from auscult.batch import Batch
from auscult.recipes import RECIPES, Recipe, recipe
from auscult.train import Step

FRAMES, BINS, CLASSES, DEVICES = 40, 32, 4, 4
NETWORKS = [name for name, made in RECIPES.items() if isinstance(made(), Recipe)]
SMALL: dict[str, dict[str, Any]] = {
    "dass": {"size": "nano"},
    "ast": {"size": "nano", "frames": FRAMES, "n_mels": BINS},
    "cnn6": {"width": 4},
    "mobilenet": {"size": "mn01"},
}
"""What makes the backbone of a recipe the smallest of its kind; its other settings stay."""

COUPLED = ("patch_mix", "patch_mix_ce", "sg_scl", "cnn6", "mobilenet")
"""Objectives that set the clips of a batch against each other, or mix them, and backbones whose batch norms do (in
evaluation, untrained, those let hardly anything through): half a batch is another problem."""


def small(name: str) -> Recipe:
    """The recipe of a network with a small backbone on small maps, and no weights to start from."""
    full = recipe(name)
    assert isinstance(full, Recipe)
    return replace(
        full,
        clip=replace(full.clip, n_mels=BINS),
        input=replace(full.input, frames=None if full.input.frames is None else FRAMES),
        backbone=replace(full.backbone, **SMALL[full.backbone.kind]),  # type: ignore[type-var,attr-defined]
        weights=None,
    )


def distinct() -> list[str]:
    """Of the recipes of networks that do the same in one step on small maps, the first."""
    kinds: dict[tuple[object, ...], str] = {}
    for name in NETWORKS:
        made = small(name)
        kinds.setdefault((made.input, made.backbone, made.head, made.objective, made.optimizer), name)
    return list(kinds.values())


def batch(rows: slice = slice(None)) -> Batch:
    """Eight clips, or some of them; each half has the same classes and the same devices."""
    g = torch.Generator().manual_seed(0)
    fbank, quality = torch.randn(8, FRAMES, BINS, generator=g), torch.rand(8, generator=g)
    i = torch.arange(8)
    facts = {"label": i % 4, "patient": i, "device": (i + i // 4) % 4, "index": i, "quality": quality}
    return Batch(fbank=fbank[rows], **{name: fact[rows] for name, fact in facts.items()})


def step(made: Recipe) -> Step:
    """Model and objective, the same wherever it is called. Half way through the training, where all ramps are up."""
    torch.manual_seed(0)
    model = made.build_model(CLASSES)
    objective = made.objective.build(model.backbone.features, [5, 3, 2, 1], DEVICES)
    objective.progress = 0.5
    # in evaluation there is neither mask nor dropout, and no norm looks at the batch
    return Step(model, objective).train(couples(made))


def couples(made: Recipe) -> bool:
    """The loss of a batch is not the mean of the losses of its halves."""
    return bool({made.objective.kind, made.backbone.kind} & set(COUPLED))  # type: ignore[attr-defined]


def gradients(module: torch.nn.Module, some: Batch, seed: int) -> dict[str, Tensor]:
    """Of the sum of the losses, for every parameter that learns."""
    module.zero_grad()
    torch.manual_seed(seed)
    torch.stack(list(module(some).values())).sum().backward()
    named = {name.removeprefix("module."): p for name, p in module.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in named.values()), "a parameter that learns is not reached by the losses"
    return {name: p.grad for name, p in named.items() if p.grad is not None}


def work(rank: int, names: list[str], folder: Path) -> None:
    """One of two processes: its half of the batch through every recipe; leaves the gradients in `folder`."""
    torch.set_num_threads(1)
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    meeting = f"file://{folder / 'meeting'}"
    init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    half = batch(slice(4 * rank, 4 * rank + 4))
    found = {name: gradients(DistributedDataParallel(step(small(name))), half, rank) for name in names}
    torch.save(found, folder / f"{rank}.pt")
    destroy_process_group()
