"""Batches: which cycles, in which order, of one length each, and made ahead without a trace in the numbers."""

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.data.loader import AHEAD, CycleDataset, Loader, eval_loader, train_loader
from auscult.data.sampling import EpochBatches, EpochSampler
from auscult.data.store import features

from .test_store import ONE, SEVERAL, corpus

BATCH = 8
LENGTHS = [100] * 50 + [200] * 21 + [300] * 3 + [400] * 16 + [500] * 12


def sampler(n: int = len(LENGTHS), kind: str = "shuffle", seed: int = 1) -> EpochSampler:
    return EpochSampler([int(i % 5 > 0) for i in range(n)], kind, seed)  # type: ignore[arg-type]


def epoch(drop_last: bool, number: int = 0, lengths: list[int] = LENGTHS, kind: str = "shuffle") -> list[list[int]]:
    batches = EpochBatches(sampler(len(lengths), kind), lengths, BATCH, drop_last)
    batches.set_epoch(number)
    assert len(batches) == len(list(batches))
    return list(batches)


@pytest.mark.parametrize("n", [5, 8, 16, 21])
@pytest.mark.parametrize("drop_last", [True, False])
def test_one_length_follows_the_order_of_the_sampler(n: int, drop_last: bool) -> None:
    """As torch's own BatchSampler does; a lone short batch is kept."""
    expected = torch.utils.data.BatchSampler(sampler(n), BATCH, drop_last=drop_last and n > BATCH)
    assert epoch(drop_last, lengths=[798] * n) == list(expected)


def test_a_batch_holds_one_length_and_every_cycle_comes_once() -> None:
    batches = epoch(drop_last=False)
    assert sorted(i for batch in batches for i in batch) == list(range(len(LENGTHS)))
    assert all(len({LENGTHS[i] for i in batch}) == 1 and len(batch) <= BATCH for batch in batches)
    short = Counter(LENGTHS[batch[0]] for batch in batches if len(batch) < BATCH)
    assert max(short.values()) == 1


def test_drop_last_loses_less_than_a_batch_and_never_a_whole_length() -> None:
    for number in range(5):
        seen = [i for batch in epoch(True, number) for i in batch]
        assert len(LENGTHS) - len(seen) < BATCH and len(set(seen)) == len(seen)
        lost = Counter(LENGTHS[i] for i in set(range(len(LENGTHS))) - set(seen))
        assert lost == {
            100: 2,
            500: 4,
        }  # the short batches have 2, 5, 4 cycles; the three of length 300 are all there are


def test_batches_are_shuffled_by_seed_and_epoch() -> None:
    assert epoch(True, 3) == epoch(True, 3) != epoch(True, 4)
    lengths = [[LENGTHS[batch[0]] for batch in epoch(False, number)] for number in range(20)]
    assert len({tuple(order) for order in lengths}) == 20
    last = Counter(order[-1] for order in lengths)
    assert last[100] > 3 and len(last) > 2, "the rare lengths must not always come last"


def test_balanced_sampling_keeps_the_classes_and_repeats_cycles() -> None:
    lengths = LENGTHS * 10
    drawn = [i for number in range(5) for batch in epoch(False, number, lengths, "balanced") for i in batch]
    assert np.mean([i % 5 > 0 for i in drawn]) == pytest.approx(0.5, abs=0.03)
    assert len(set(drawn)) < len(drawn) == 5 * len(lengths)


# --- the loader ---


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CycleDataset:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    noise = corpus(tmp_path, recordings=4)
    return CycleDataset(noise, features(noise, SEVERAL), rows=list(range(len(noise.cycles)))[::-1])


def test_a_batch_ahead_is_the_batch_read_by_hand(dataset: CycleDataset) -> None:
    loader, order = train_loader(dataset, 4, "shuffle", drop_last=False, seed=0)
    for number in range(2):
        order.set_epoch(number)
        for positions, batch in zip(list(order), loader, strict=True):
            by_hand = dataset[positions]
            assert batch.fbank.dtype == torch.float32 and torch.equal(batch.fbank, by_hand.fbank)
            assert batch.index.tolist() == [dataset.rows[p] for p in positions] == by_hand.index.tolist()
            for name in ("label", "patient", "device"):
                assert torch.equal(getattr(batch, name), getattr(by_hand, name))
            assert np.array_equal(batch.fbank[0].numpy(), dataset.features.row(int(batch.index[0])).astype(np.float32))


def test_loading_draws_nothing_from_the_global_generators(dataset: CycleDataset) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002  (whether anybody draws from it is the question)
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    list(train_loader(dataset, 4, "balanced", drop_last=True, seed=0)[0])
    assert torch.equal(torch.rand(3), expected[0]) and np.array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_evaluation_sees_every_cycle_once_in_order_of_length(dataset: CycleDataset) -> None:
    loader = eval_loader(dataset, 5)
    batches = list(loader)
    assert sorted(i for b in loader.batches for i in b) == list(range(len(dataset)))
    assert [b.index.tolist() for b in batches] == [[dataset.rows[i] for i in b] for b in loader.batches]
    assert len(batches) == len(loader) and {b.fbank.shape[1] for b in batches} == set(dataset.frames)


def test_one_length_is_evaluated_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    noise = corpus(tmp_path)
    loader = eval_loader(CycleDataset(noise, features(noise, ONE), rows=[3, 1, 2]), 2)
    assert [b.index.tolist() for b in loader] == [[3, 1], [2]]


class Slow(CycleDataset):
    """Reads slowly, notes where and how often; breaks at position 99."""

    def __init__(self, source: CycleDataset, seconds: float) -> None:
        self.__dict__.update(source.__dict__)
        self.seconds, self.reads, self.threads = seconds, 0, set[str]()

    def read(self, positions: list[int], *, pinned: bool = False):  # type: ignore[no-untyped-def]
        self.reads += 1
        self.threads.add(threading.current_thread().name)
        if 99 in positions:
            raise OSError("the disk is gone")
        time.sleep(self.seconds)
        return super().read(positions, pinned=pinned)


def test_batches_are_made_while_the_last_one_is_used_and_waiting_is_counted(dataset: CycleDataset) -> None:
    slow = Slow(dataset, 0.02)
    loader = Loader(slow, [[0]] * 6)
    list(loader)  # nothing to do meanwhile: every batch is waited for
    assert 0.1 < loader.waited_s < 1.0
    for _ in loader:
        time.sleep(0.06)
    assert loader.waited_s < 0.1, "only the first batch has to be waited for"
    assert all(name.startswith("loader") for name in slow.threads)


def test_a_loop_that_stops_early_leaves_no_thread_and_reads_no_further(dataset: CycleDataset) -> None:
    slow, before = Slow(dataset, 0.0), threading.active_count()
    iterator = iter(Loader(slow, [[0]] * 50))
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before and slow.reads <= AHEAD + 1


def test_what_breaks_in_the_thread_is_raised_in_the_loop(dataset: CycleDataset) -> None:
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(Loader(Slow(dataset, 0.0), [[0], [1], [99], [2]]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_on_a_gpu_are_the_same(dataset: CycleDataset) -> None:
    batches = [[i] for i in range(len(dataset))]
    for positions, batch in zip(batches, Loader(dataset, batches, "cuda"), strict=True):
        assert batch.fbank.is_cuda and torch.equal(batch.fbank.cpu(), dataset[positions].fbank)
        assert torch.equal(batch.label.cpu(), dataset[positions].label)
