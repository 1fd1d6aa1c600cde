"""Weighted random sampling of an epoch."""

import numpy as np
import pytest

from auscult.data.sampling import EpochSampler

ICBHI = [2063, 1215, 501, 363]  # training cycles of the official split: normal, crackle, wheeze, both


def drawn(kind: str, epochs: int) -> np.ndarray:
    labels = np.repeat(np.arange(4), ICBHI)
    sampler = EpochSampler(labels.tolist(), kind, seed=0)  # type: ignore[arg-type]
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        found.append(list(sampler))
    return np.array(found)


def test_every_class_is_as_frequent_over_a_hundred_epochs() -> None:
    positions = drawn("balanced", 100)
    assert positions.shape == (100, sum(ICBHI))
    share = np.bincount(np.repeat(np.arange(4), ICBHI)[positions.ravel()]) / positions.size
    assert np.abs(share / 0.25 - 1).max() < 0.01
    often = np.bincount(positions.ravel(), minlength=sum(ICBHI))
    rare, common = often[-363:], often[:2063]  # within a class each cycle is drawn alike: a Poisson count
    assert rare.mean() == pytest.approx(100 * sum(ICBHI) / 4 / 363, rel=0.01)
    assert rare.var() == pytest.approx(rare.mean(), rel=0.25) and common.var() == pytest.approx(common.mean(), rel=0.25)


def test_an_epoch_is_drawn_with_replacement_and_epochs_differ() -> None:
    first, second = drawn("balanced", 2)
    assert len(set(first)) < 0.75 * len(first) and not np.array_equal(first, second)
    assert all(np.array_equal(np.sort(order), np.arange(sum(ICBHI))) for order in drawn("shuffle", 2))
