"""Trainings by two processes that are left running for several recipes; used by test_processes.py.

The processes import this file, so it knows nothing of pytest.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from auscult.config import override
from auscult.errors import AuscultError
from auscult.ranks import MEETING
from auscult.recipes import Recipe
from auscult.train import Trainer, train

from .ranks import small

SEED = 3
REQUIRED: dict[str, tuple[str, tuple[str, ...]]] = {
    "ce": ("dass_nano", ()),
    "patch_mix": ("lung_srad_nano", ()),
    "sam": ("sam_dass_nano", ()),  # with weighted sampling
    "dfam": ("qlung_imbalance_dass_nano", ()),
}
"""What is promised of every release: a name, the recipe, settings on top of it."""

FURTHER: dict[str, tuple[str, tuple[str, ...]]] = {
    "everything": ("lung_srad_qlung_sam", ("backbone.checkpoint=true", "clip_grad=1")),  # moving average, too
    "odd_batches": ("dass_nano", ("batch_size=3", "drop_last=false")),
    "one_clip": ("dass_nano", ("batch_size=5", "drop_last=false", "validation=0", "selection=last")),
    "patch_mix_ce": ("patch_mix_ce", ()),
    "sg_scl": ("sg_scl_nano", ()),
    "dat": ("dat_nano", ()),
    "adaface": ("qlung_imbalance_dass_nano", ("objective.margin=adaface",)),
    "gain_noise": ("sam_ast", ()),
    "batch_norms": ("mn04", ()),
    "dropout": ("cnn6", ()),
    "lora": ("ast_lora", ()),
}
ALL = REQUIRED | FURTHER


def made(name: str) -> Recipe:
    """A recipe of `ALL` on short clips, for two epochs."""
    base, settings = ALL[name]
    tiny = small(base)
    clip = replace(tiny.clip, length_s=0.415 if tiny.clip.filterbank == "kaldi" else 0.425, buckets_s=())
    return override(replace(tiny, clip=clip, batch_size=8, validation=0.3, epochs=2), settings)


def work(rank: int, names: list[str], corpus: Path, folder: Path) -> None:
    """One of two processes: every training, one after the other."""
    start(rank)
    for name in names:
        os.environ[MEETING] = (folder / f"meeting-{name}").as_uri()
        train(made(name), "synthetic", corpus, folder / name, seed=SEED)


def wrong(rank: int, corpus: Path, folder: Path) -> None:
    """One of two processes that go round the wrapper, as code that reaches into ``ddp.module`` does."""
    start(rank)
    os.environ[MEETING] = (folder / "meeting").as_uri()
    forward: Callable[..., Any] = Trainer.minimise

    def round_the_wrapper(self: Trainer, batch: Any) -> Any:
        self.step = self.accelerator.unwrap_model(self.step)
        return forward(self, batch)

    Trainer.minimise = round_the_wrapper  # type: ignore[method-assign]
    try:
        train(made("ce"), "synthetic", corpus, folder / "run", seed=SEED)
    except AuscultError as error:
        (folder / f"said-{rank}").write_text(str(error))


def start(rank: int) -> None:
    """What `launch` does for a process."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
