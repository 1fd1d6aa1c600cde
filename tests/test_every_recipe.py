"""Every recipe of a network in small, through the loop: it learns synthetic sounds, and goes on to the same bits."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from auscult.models import AngularHead
from auscult.models.weights import load_weights
from auscult.optim import Adam
from auscult.recipes import Recipe
from auscult.train import Trainer, train

from .ranks import distinct, small
from .small import small_corpus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LENGTH_S = 0.425  # 41 frames by Kaldi's count


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["AUSCULT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return small_corpus(tmp_path_factory.mktemp("data") / "synthetic")


def tiny(name: str, **settings: object) -> Recipe:
    """The recipe on short clips, for a few epochs."""
    made = small(name)
    frames = 40 if made.clip.filterbank == "kaldi" else None
    length_s = 0.415 if frames else LENGTH_S
    clip = replace(made.clip, length_s=length_s, buckets_s=())
    return replace(made, clip=clip, batch_size=8, validation=0.3, **settings)


def apart_from_optimizers() -> list[str]:
    kinds: dict[tuple[object, ...], str] = {}
    for name in distinct():
        made = small(name)
        kinds.setdefault((made.input, made.backbone, made.head, made.objective), name)
    return list(kinds.values())


@pytest.mark.parametrize("name", apart_from_optimizers())
def test_it_learns_synthetic_sounds(name: str, corpus: Path, tmp_path: Path) -> None:
    """At a rate that is high enough for a few steps the loss falls.

    But for that of an adversary, which the features make rise; and logits 37 times a cosine ask for a lower rate.
    """
    rate = 5e-4 if isinstance(small(name).head, AngularHead) else 2e-3
    made = tiny(
        name,
        epochs=8,
        optimizer=Adam(lr=rate),
        moving_average=0.0,
        schedule=replace(small(name).schedule, warmup_epochs=0),
    )
    made = replace(made, input=replace(made.input, specaugment=None))
    records = train(made, "synthetic", corpus, tmp_path / "run").history()
    losses = [sum(value for part, value in r["loss"].items() if part != "device") for r in records]
    assert min(losses[4:]) < losses[0]


@pytest.mark.parametrize("name", distinct())
def test_it_resumes_to_the_same_bits(name: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny(name, epochs=2)
    whole = train(made, "synthetic", corpus, tmp_path / "whole")
    calls = Counter[str]()
    original = Trainer.train_epoch

    def stopped(self: Trainer) -> dict[str, float]:
        calls["epochs"] += 1
        if calls["epochs"] == 2:
            raise KeyboardInterrupt
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(made, "synthetic", corpus, tmp_path / "broken")
    again = train(made, "synthetic", corpus, tmp_path / "broken", resume=True)
    one, other = (load_weights(run.weights("last")).state for run in (whole, again))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
