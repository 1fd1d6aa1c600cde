"""Splits: no patient on both sides, the sizes asked for, and the published numbers on the real annotations."""

from pathlib import Path

import numpy as np
import pytest

from auscult.data import icbhi, sprsound
from auscult.data.cycles import Corpus, Cycle
from auscult.data.splits import Split, split
from auscult.errors import AuscultError


def cycle(patient: str, part: str, label: int = 0, index: int = 0) -> Cycle:
    stem = f"{patient}_{part}"
    return Cycle(
        recording=stem, patient=patient, device="d", site="Al", start_s=index, end_s=index + 1, label=label, part=part
    )


def corpus(cycles: list[Cycle], tests: tuple[str, ...] = ("test",), seen: tuple[str, ...] = ()) -> Corpus:
    return Corpus(
        name="toy",
        classes=icbhi.CLASSES,
        cycles=tuple(cycles),
        audio={},
        recordings={c.recording: c.part for c in cycles},
        tasks=icbhi.TASKS,
        test_parts=tests,
        seen_parts=seen,
    )


@pytest.fixture(scope="module")
def ward() -> Corpus:
    """40 training patients of 5 to 30 cycles, each with class habits of their own; p00 and p01 are also in test."""
    generator = np.random.default_rng(7)
    rows = []
    for p in range(40):
        habits = generator.dirichlet([2, 1, 0.5, 0.3])
        rows += [cycle(f"p{p:02}", "train", int(generator.choice(4, p=habits)), i) for i in range(5 + p * 7 % 26)]
    for p in ("p00", "p01", "q00", "q01"):
        rows += [cycle(p, "test", i % 4, i) for i in range(6)]
    return corpus(rows)


def patients(corpus: Corpus, rows: list[int]) -> set[str]:
    return {corpus.cycles[row].patient for row in rows}


def proportions(corpus: Corpus, rows: list[int]) -> np.ndarray:
    return np.bincount([corpus.cycles[row].label for row in rows], minlength=4) / len(rows)


def test_official_keeps_every_cycle_in_its_part(ward: Corpus) -> None:
    made = split(ward, validation=0)
    assert made.validation == []
    assert {ward.cycles[row].part for row in made.train} == {"train"}
    assert sorted(made.train + made.tests["test"]) == list(range(len(ward.cycles)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_validation_is_whole_patients_of_about_the_asked_share(ward: Corpus, seed: int, share: float) -> None:
    made, whole = split(ward, validation=share, seed=seed), split(ward, validation=0).train
    assert patients(ward, made.validation).isdisjoint(patients(ward, made.train))
    assert sorted(made.train + made.validation) == whole
    assert len(made.validation) / len(whole) == pytest.approx(share, abs=0.02)
    assert np.abs(proportions(ward, made.validation) - proportions(ward, whole)).max() < 0.06


def test_the_draw_follows_the_classes_not_only_the_size(ward: Corpus) -> None:
    """Patients drawn by size alone miss the class proportions by more than the stratified draw does."""
    whole = split(ward, validation=0).train
    blind = corpus([cycle(c.patient, c.part, 0, int(c.start_s)) for c in ward.cycles])
    miss = {"classes": 0.0, "size": 0.0}
    for seed in range(5):
        for name, source in (("classes", ward), ("size", blind)):
            rows = split(source, seed=seed).validation
            miss[name] += float(np.abs(proportions(ward, rows) - proportions(ward, whole)).max())
    assert miss["classes"] < 0.7 * miss["size"]


def test_seed_decides(ward: Corpus) -> None:
    assert split(ward, seed=3) == split(ward, seed=3)
    assert patients(ward, split(ward, seed=3).validation) != patients(ward, split(ward, seed=4).validation)


def test_order_of_the_cycles_does_not_matter(ward: Corpus) -> None:
    turned = corpus(list(ward.cycles[::-1]))
    assert patients(turned, split(turned).validation) == patients(ward, split(ward).validation)


def test_clean_drops_shared_patients_from_the_test(ward: Corpus) -> None:
    made, official = split(ward, "clean", 0), split(ward, "official", 0)
    assert made.train == official.train
    assert patients(ward, made.tests["test"]) == {"q00", "q01"}


@pytest.mark.parametrize("validation", [0, 0.2])
def test_strict_moves_shared_patients_to_the_test(ward: Corpus, validation: float) -> None:
    made, official = split(ward, "strict", validation), split(ward, "official", 0)
    moved = [row for row in official.train if ward.cycles[row].patient in ("p00", "p01")]
    assert made.tests == {"test": sorted([*official.tests["test"], *moved])} and moved
    assert patients(ward, made.train + made.validation).isdisjoint({"p00", "p01"})
    assert len(patients(ward, made.train + made.validation)) == 38


@pytest.mark.parametrize("kind", ["clean", "strict"])
def test_a_part_of_seen_patients_stays_as_it_is(kind: str) -> None:
    rows = [cycle(p, "train", i % 4, i) for p in "abc" for i in range(8)]
    rows += [cycle("a", "intra", 1, i) for i in range(3)] + [cycle("b", "inter", 1, i) for i in range(2)]
    made = split(corpus(rows, ("inter", "intra"), seen=("intra",)), kind, 0)  # type: ignore[arg-type]
    assert len(made.tests["intra"]) == 3
    assert len(made.tests["inter"]) == (0 if kind == "clean" else 10)
    assert len(made.train) == (24 if kind == "clean" else 16)


def test_shared_patients_are_known_without_their_audio() -> None:
    """The test recording of patient a is not here; strict moves the training cycles of a all the same."""
    rows = [cycle(p, "train", i % 4, i) for p in "ab" for i in range(4)]
    here = corpus([*rows, cycle("a", "test"), cycle("c", "test")])
    here = Corpus(
        **(vars(here) | {"recording_patients": {"a_train": "a", "b_train": "b", "a_test": "a", "c_test": "c"}})
    )
    without = Corpus(**(vars(here) | {"audio": {"a_train": Path("a.wav"), "b_train": Path("b.wav")}})).with_audio()
    made = split(without, "strict", 0)
    assert patients(without, made.train) == {"b"}
    assert patients(without, made.tests["test"]) == {"a"}


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(ward: Corpus, share: float) -> None:
    with pytest.raises(AuscultError, match=r"E_SETTING: validation=.*0 to below 1"):
        split(ward, validation=share)


def test_unknown_kind_and_negative_seed_are_refused(ward: Corpus) -> None:
    with pytest.raises(AuscultError, match=r"E_SETTING.*Did you mean 'strict'"):
        split(ward, "stric")  # type: ignore[arg-type]
    with pytest.raises(AuscultError, match="E_SETTING: seed=-1"):
        split(ward, seed=-1)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_patients_to_hold_one_out(count: int) -> None:
    rows = [cycle(f"p{p}", "train", i % 4, i) for p in range(count) for i in range(10)]
    with pytest.raises(AuscultError, match=r"E_SETTING.*no whole patient"):
        split(corpus(rows))
    assert split(corpus(rows), validation=0) == Split(train=list(range(10 * count)), validation=[], tests={"test": []})


@pytest.mark.data
def test_icbhi_numbers(data_dir: Path) -> None:
    corpus = icbhi.read(data_dir / "icbhi")
    sizes = {kind: split(corpus, kind, 0) for kind in ("official", "clean", "strict")}
    assert {k: (len(s.train), len(s.tests["test"])) for k, s in sizes.items()} == {
        "official": (4142, 2756),
        "clean": (4142, 2636),
        "strict": (4025, 2873),
    }
    assert corpus.shared_patients("test") == {"156", "218"}
    dropped = set(sizes["official"].tests["test"]) - set(sizes["clean"].tests["test"])
    labels = {p: [corpus.cycles[i].label for i in dropped if corpus.cycles[i].patient == p] for p in ("156", "218")}
    assert np.bincount(labels["156"]).tolist() == [8, 14, 6, 33]
    assert np.bincount(labels["218"]).tolist() == [11, 18, 6, 24]


@pytest.mark.data
def test_validation_of_icbhi(data_dir: Path) -> None:
    corpus = icbhi.read(data_dir / "icbhi")
    whole = split(corpus, validation=0).train
    for seed in range(3):
        made = split(corpus, validation=0.2, seed=seed)
        assert patients(corpus, made.validation).isdisjoint(patients(corpus, made.train))
        assert len(made.validation) / len(whole) == pytest.approx(0.2, abs=0.015)
        assert np.abs(proportions(corpus, made.validation) - proportions(corpus, whole)).max() < 0.05


@pytest.mark.data
@pytest.mark.parametrize("kind", ["official", "clean", "strict"])
def test_sprsound_has_one_split(data_dir: Path, kind: str) -> None:
    made = split(sprsound.read(data_dir / "sprsound"), kind, 0)  # type: ignore[arg-type]
    assert (len(made.train), len(made.tests["inter"]), len(made.tests["intra"])) == (6656, 1429, 1004)
