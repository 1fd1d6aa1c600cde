"""Scores of found breathing cycles: matching against brute force, fairness of windows, the real margin, commands."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.analysis import segmentation
from auscult.analysis.segmentation import (
    BY_F1,
    BY_IOU,
    SEGMENTED,
    Annotated,
    annotated,
    best_lengths,
    bridged,
    counts,
    matched,
    measures,
    overlaps,
    score,
    windows_of,
)
from auscult.cli.app import run
from auscult.cli.segment import segment as command
from auscult.data import Corpus, icbhi
from auscult.errors import AuscultError
from auscult.signal import breathing

from .test_segment import breaths

times = st.lists(st.integers(0, 40), unique=True, max_size=6).map(lambda t: np.array(sorted(t)) / 4)


def span(cycles: list[tuple[float, float]], length_s: float) -> Annotated:
    sound = np.zeros(4000, np.float32)
    of: dict[str, object] = {"recording": "r", "patient": "101", "part": "train", "unseen": 1}
    return Annotated(**of, waveform=sound, sample_rate=4000, cycles=tuple(cycles), length_s=length_s)  # type: ignore[arg-type]


def most_pairs(truth: np.ndarray, found: np.ndarray) -> int:
    """By trying every assignment."""
    few, many = sorted((truth, found), key=len)
    tried = permutations(range(len(many)), len(few))
    return max(sum(abs(t - many[i]) <= 0.5 for t, i in zip(few, order, strict=True)) for order in tried)


@settings(max_examples=60, deadline=None)
@given(times, times)
def test_matching_finds_the_most_pairs(truth: np.ndarray, found: np.ndarray) -> None:
    assert matched(truth, found) == most_pairs(truth, found)


def test_overlaps_pair_one_to_one() -> None:
    truth = [(0.0, 2.0), (2.0, 4.0)]
    assert overlaps(truth, [(0.0, 4.0)]).tolist() == [0.5, 0.0]
    assert overlaps(truth, [(0.0, 2.0), (2.5, 4.0)]).tolist() == [1.0, 0.75]
    assert overlaps(truth, []).tolist() == [0, 0] and overlaps([], truth).tolist() == []


def test_counts_leave_out_what_an_end_gives_away() -> None:
    one = span([(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)], 6.0)
    found = [(0.3, 2.4), (2.4, 5.0), (5.0, 5.7), (5.7, 6.0)]
    hit, truth, there, iou, cycles = counts(one, found)
    assert (hit, truth, there, cycles) == (1, 2, 2, 3)
    assert iou == pytest.approx(1.7 / 2.4 + 1.6 / 3.0 + 0.7 / 2.0)
    assert measures(counts(one, list(one.cycles))).tolist() == [1, 1, 1, 1]
    assert measures(counts(one, [])).tolist() == [0, 0, 0, 0]


def test_windows_end_with_the_recording() -> None:
    assert windows_of(2.0)(span([(0, 5)], 5.0)) == [(0, 2), (2, 4), (4, 5)]
    assert windows_of(2.5)(span([(0, 5)], 5.0)) == [(0, 2.5), (2.5, 5)]


def test_bridging_takes_out_the_click_and_nothing_else() -> None:
    clean = np.sin(np.arange(4000) / 50).astype(np.float32) + 2
    cut = clean.copy()
    cut[1999:2001] = 0
    np.testing.assert_allclose(bridged(cut, [0.5], 4000), clean, atol=1e-3)
    np.testing.assert_array_equal(bridged(cut, [0.7], 4000), cut)  # no join there
    silence = np.zeros(4000, np.float32)
    np.testing.assert_array_equal(bridged(silence, [0.5], 4000), silence)


def test_windows_are_chosen_on_other_folds() -> None:
    """Patients of fold 1 would like 1.0 s, all others 2.0 s: fold 1 gets 2.0 s all the same."""
    people = ["101", "102", "103", "106"]
    every = {length: np.tile([[0.0], [10], [10], [0], [10]], 4) for length in segmentation.LENGTHS_S}
    every[1.0][0, [0, 3]] = 10
    every[2.0][0, [1, 2]] = 10
    chosen = best_lengths(every, people, 2)
    assert chosen[1] == 2.0 and chosen[2] == 1.0


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Six patients, breathing as annotated; silence before the first cycle."""
    database = tmp_path / "icbhi" / "ICBHI_final_database"
    database.mkdir(parents=True)
    names = []
    for patient in range(101, 107):
        starts = 1.0 + np.arange(0, 16.1, 2 + 0.1 * (patient - 101))
        sound = breaths(starts, 18.5, seed=patient)
        sound[:4000] = 0
        names.append(f"{patient}_1b1_Al_sc_Meditron")
        soundfile.write(database / f"{names[-1]}.wav", sound, 4000)
        rows = [f"{a:.3f}\t{b:.3f}\t0\t0\n" for a, b in zip(starts, [*starts[1:], 18.5], strict=True)]
        (database / f"{names[-1]}.txt").write_text("".join(rows))
    (tmp_path / "icbhi" / "ICBHI_challenge_train_test.txt").write_text("".join(f"{n}\ttrain\n" for n in names))
    return icbhi.read_folder(tmp_path / "icbhi")


def test_only_the_annotated_span_is_heard(corpus: Corpus) -> None:
    found = list(annotated(corpus))
    assert [one.unseen for one in found] == [1, 2, 3, 4, 0, 1]
    assert all(one.cycles[0][0] == 0 and len(one.waveform) == round(17.5 * 4000) for one in found)


def test_score_of_synthetic_breaths(corpus: Corpus, tmp_path: Path) -> None:
    found = score(corpus, "train", resamples=100)
    best = found.line(SEGMENTED)
    assert best.difference is None and best.values[2] > 0.8
    for line in (found.line(BY_F1), found.line(BY_IOU)):
        assert line.difference is not None
        np.testing.assert_allclose(line.values - best.values, line.difference[0])
        assert (line.difference[1] <= line.difference[0]).all() and (line.difference[0] <= line.difference[2]).all()
    rows = segmentation.write(tmp_path / "out", [found]).read_text().splitlines()
    assert len(rows) == 1 + 4 * len(found.lines)
    with pytest.raises(AuscultError, match="no annotated recording of part test"):
        score(corpus, "test")


@pytest.mark.data
def test_margin_over_windows_on_unseen_patients(data_dir: Path) -> None:
    found = score(icbhi.read(data_dir / "icbhi"), "train", resamples=500)
    assert (found.recordings, found.patients) == (92, 41)
    best = found.line(SEGMENTED)
    assert best.values[2] > 0.74 and best.values[3] > 0.74
    for system in (BY_F1, BY_IOU):
        difference = found.line(system).difference
        assert difference is not None and (difference[2, 2:] < -0.15).all(), system  # upper ends: F1 and overlap


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "a.wav", breaths(np.arange(1, 10, 2.5), 12), 4000)
    soundfile.write(folder / "b.wav", np.zeros(48000), 4000)
    return folder


def test_prints_start_and_end(recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(recordings / "a.wav") == 0
    rows = [list(map(float, line.split("\t"))) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) >= 4 and all(end > start for start, end in rows)


def test_writes_a_file_for_each(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    (recordings / "c.wav").write_text("no sound")
    assert command(recordings, out=out) == 3
    assert sorted(p.name for p in out.iterdir()) == ["a.txt", "b.txt"] and (out / "b.txt").read_text() == ""
    said = capsys.readouterr()
    assert said.out == "" and "b.wav: no breathing cycle" in said.err and "E_FORMAT" in said.err
    assert command(recordings, out=tmp_path / "csv", format="csv") == 3
    lines = (tmp_path / "csv" / "cycles.csv").read_text().splitlines()
    assert lines[0] == "recording,start_s,end_s" and len(lines) == 1 + len((out / "a.txt").read_text().splitlines())


def test_refuses_what_would_collide(recordings: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    (twin / "a.wav").write_bytes((recordings / "a.wav").read_bytes())
    with pytest.raises(AuscultError, match=r"would both be a\.txt"):
        command(recordings, twin, out=tmp_path / "out")
    with pytest.raises(AuscultError, match="no recording given"):
        command()


def test_fit_needs_all_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyse", "segmentation", "icbhi", "--data", str(tmp_path), "--fit", "x"]) == 2
    assert "all three" in capsys.readouterr().err


def test_fitting_again_gives_the_same_network(corpus: Corpus) -> None:
    from auscult.analysis.segmentation_fit import examples, fit_one

    some = examples(corpus)[:2]
    (one, loss), (two, again) = (fit_one(some, some, "test", epochs=3, seed=0) for _ in range(2))
    assert loss == again < 0.7
    assert all((a == b).all() for a, b in zip(one.arrays(), two.arrays(), strict=True))


def test_a_saved_network_is_the_one_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [np.full((breathing.FOLDS, 2), place / 4, np.float32) for place in range(12)]
    monkeypatch.setattr(breathing, "FILE", tmp_path / "w.safetensors")
    breathing.save_networks(breathing.FILE, layers)
    assert all((a == b).all() for a, b in zip(breathing.networks.__wrapped__(), layers, strict=True))
