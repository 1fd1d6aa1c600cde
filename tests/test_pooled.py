"""ICBHI and SPRSound as one: nothing is lost, nobody changes sides, the classes are those of the label map."""

from pathlib import Path

import pytest

from auscult.data import icbhi, pooled, sprsound
from auscult.errors import AuscultError

pytestmark = pytest.mark.data


def test_every_cycle_of_both(data_dir: Path) -> None:
    made, one, two = pooled.read(data_dir), sprsound.read(data_dir / "sprsound"), icbhi.read(data_dir / "icbhi")
    assert len(made.cycles) == len(one.cycles) + len(two.cycles)
    assert made.audio == one.audio | two.audio and len(made.recordings) == len(one.recordings) + len(two.recordings)
    counts = {part: [0] * 4 for part in made.parts}
    for cycle in made.cycles:
        counts[cycle.part][cycle.label] += 1
    assert counts["inter"] == [1040, 83, 305, 1]  # 305 wheezes; 3 coarse and 80 fine crackles
    assert counts["icbhi_test"] == [1579, 649, 385, 143]
    assert counts["train"] == [5159 + 2063, 49 + 912 + 1215, 39 + 452 + 15 + 501, 30 + 363]


def test_patients_stay_on_their_side(data_dir: Path) -> None:
    made = pooled.read(data_dir)
    assert not made.shared_patients("inter")
    assert made.shared_patients("icbhi_test") == {"icbhi 156", "icbhi 218"}
    apart = [sprsound.read(data_dir / "sprsound"), icbhi.read(data_dir / "icbhi")]
    assert len(made.patients) == sum(len(corpus.patients) for corpus in apart)


def test_a_folder_without_the_two(tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match="sprsound"):
        pooled.read(tmp_path)
