"""Leaving one device out: nothing of it is learned from, no tested patient is, and its test cycles are all there."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from auscult.analysis.results import collect
from auscult.config import override
from auscult.data import icbhi, sprsound
from auscult.data.cycles import Corpus, Cycle
from auscult.data.splits import split
from auscult.errors import AuscultError
from auscult.evaluate import evaluate
from auscult.recipes import recipe
from auscult.train import train

from .small import small_corpus, small_recipe

ICBHI_DEVICES = {"AKGC417L": (1632, 1836), "Litt3200": (4066, 461), "Meditron": (3132, 459)}
PUBLISHED = {  # normal, crackle, wheeze, both of the test part
    "AKGC417L": (940, 547, 245, 104),
    "Litt3200": (325, 26, 93, 17),
    "Meditron": (314, 76, 47, 22),
}


def corpus(*rows: tuple[str, str, str], tests: tuple[str, ...] = ("test",), seen: tuple[str, ...] = ()) -> Corpus:
    """Cycles of (patient, device, part)."""
    cycles = tuple(
        Cycle(recording=f"{p}{d}{part}", patient=p, device=d, site="Al", start_s=i, end_s=i + 1, label=i % 2, part=part)
        for i, (p, d, part) in enumerate(rows)
    )
    return Corpus(
        name="toy",
        classes=icbhi.CLASSES,
        cycles=cycles,
        audio={},
        recordings={c.recording: c.part for c in cycles},
        tasks=icbhi.TASKS,
        test_parts=tests,
        seen_parts=seen,
    )


WARD = (("a", "x", "train"), ("b", "y", "train"), ("c", "y", "train"), ("a", "y", "train"))
TESTED = (("c", "x", "test"), ("d", "x", "test"), ("d", "y", "test"), ("e", "y", "test"))


def test_a_device_is_left_out_with_the_patients_it_is_tested_on() -> None:
    made = split(corpus(*WARD, *TESTED), "device:x", validation=0)
    assert made.train == [1, 3], "row 0 is of the device, row 2 of a patient who is tested on it"
    assert made.tests == {"test": [4, 5]} and made.validation == []
    other = split(corpus(*WARD, *TESTED), "device:y", validation=0)
    assert (other.train, other.tests) == ([0], {"test": [6, 7]}), "c is tested on the other device only"


def test_patients_of_a_part_of_seen_patients_may_be_trained_on() -> None:
    ward = corpus(*WARD, *TESTED[1:], ("b", "x", "seen"), tests=("test", "seen"), seen=("seen",))
    made = split(ward, "device:x", validation=0)
    assert made.train == [1, 2, 3] and made.tests == {"test": [4], "seen": [7]}


def test_validation_patients_come_from_the_other_devices() -> None:
    rows = [(f"p{i % 9}", "x" if i % 9 < 3 else "y", "train") for i in range(90)]
    made = split(corpus(*rows, ("q", "x", "test")), "device:x", validation=0.3)
    assert len(made.validation) == 20 and len(made.train) == 40
    assert all(i % 9 >= 3 for i in made.train + made.validation)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("device:z", "no device of toy named 'z'"),
        ("device:w", r"no test cycle of toy is from w.*Devices with test cycles: x \(2\), y \(2\)\."),
        ("device:", "no split named 'device:'.*device:NAME"),
        ("devices:x", "no split named 'devices:x'"),
    ],
)
def test_a_device_that_cannot_be_left_out(kind: str, said: str) -> None:
    with pytest.raises(AuscultError, match=said) as error:
        split(corpus(*WARD, ("a", "w", "train"), *TESTED), kind)
    assert error.value.code == "E_SETTING"


def test_a_recipe_names_the_split_and_refuses_another() -> None:
    assert small_recipe("split=device:Meditron").split == "device:Meditron"
    for settings in ("split=strikt", "split=device:"):
        with pytest.raises(AuscultError, match="no split named"):
            small_recipe(settings)


def test_a_run_is_tested_on_a_device_only_if_it_never_heard_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    data = small_corpus(tmp_path / "data")
    there = Counter(c.device for c in icbhi.read_folder(data).cycles if c.part == "test")
    device, cycles = there.most_common()[0]
    settings = override(recipe("shortcut_all"), ["epochs=2", "validation=0"])
    plain = train(settings, "synthetic", data, tmp_path / "plain")
    with pytest.raises(AuscultError, match=f"trained with split=official.*--set split=device:{device}"):
        evaluate(plain, split=f"device:{device}")
    run = train(override(settings, [f"split=device:{device}"]), "synthetic", data, tmp_path / "out")
    stuff, weights, made = evaluate(run)
    assert [len(e.rows) for e in made] == [cycles] and stuff.kind == f"device:{device}"
    assert all(stuff.corpus.cycles[row].device != device for row in stuff.split.train + stuff.split.validation)
    assert any(f"Trained without {device}" in note for note in collect(run, stuff, weights, made).notes)


@pytest.mark.data
@pytest.mark.parametrize("device", ICBHI_DEVICES)
def test_the_devices_of_icbhi(data_dir: Path, device: str) -> None:
    whole = icbhi.read(data_dir / "icbhi")
    made = split(whole, f"device:{device}", validation=0)
    assert (len(made.train), len(made.tests["test"])) == ICBHI_DEVICES[device]
    assert tuple(np.bincount([whole.cycles[row].label for row in made.tests["test"]])) == PUBLISHED[device]
    learned, tested = ({whole.cycles[row].patient for row in rows} for rows in (made.train, made.tests["test"]))
    assert not learned & tested


@pytest.mark.data
def test_data_sets_without_another_device(data_dir: Path) -> None:
    with pytest.raises(AuscultError, match=r"no test cycle of icbhi is from LittC2SE.*AKGC417L \(1836\)"):
        split(icbhi.read(data_dir / "icbhi"), "device:LittC2SE")
    with pytest.raises(AuscultError, match="sprsound has one device, Yunting model II"):
        split(sprsound.read(data_dir / "sprsound"), f"device:{sprsound.DEVICE}")
