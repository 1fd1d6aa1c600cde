"""The description of a copy of a data set: its numbers, its sentences, and the check against the audio."""

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from auscult.data import icbhi, sprsound
from auscult.data.cycles import Corpus, Problem, Published
from auscult.data.describe import Durations, Shared, check_audio, describe, duration_s, render
from auscult.errors import AuscultError

PARTS = {"101_1b1_Al_sc_Meditron": "train", "102_1b1_Ar_mc_AKGC417L": "train", "101_2b2_Tc_mc_Litt3200": "test"}
PUBLISHED = Published(recordings={"train": 2, "test": 1}, cycles={"train": (2, 2, 0, 0), "test": (1, 1, 0, 0)})


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Three recordings of 10 s, each with a normal cycle of 1 s and a crackle of 9 s."""
    database = tmp_path / "ICBHI_final_database"
    database.mkdir()
    for stem in PARTS:
        (database / f"{stem}.txt").write_text("0.0\t1.0\t0\t0\n1.0\t10.0\t1\t0\n")
        soundfile.write(database / f"{stem}.wav", np.zeros(10 * 4000, np.float32), 4000)
    (tmp_path / "official_split.txt").write_text("".join(f"{s}\t{p}\n" for s, p in PARTS.items()))
    return icbhi.read_folder(tmp_path, published=PUBLISHED)


def shown(corpus: Corpus, problems: list[Problem] | None = None, *, terminal: bool = False, full: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system="truecolor" if terminal else None)
    render(describe(corpus, problems or []), console, full=full, more="see the list")
    return out.getvalue()


def test_numbers(corpus: Corpus) -> None:
    d = describe(corpus)
    assert d.recordings == {"train": 2, "test": 1}
    assert d.cycles == {"train": (2, 2, 0, 0), "test": (1, 1, 0, 0)}
    assert d.patients == {"train": 2, "test": 1}
    assert d.by_device["train", "Meditron"] == (1, 1, 0, 0)
    assert d.by_device["test", "Meditron"] == (0, 0, 0, 0)
    assert d.shared["test"] == Shared(patients=("101",), train_cycles=2, test_cycles=2, published_as_seen=False)
    assert d.durations["train"] == Durations(shortest_s=1, mean_s=5, median_s=5, longest_s=9, long=2)
    assert (d.differences, d.missing, d.problems) == ((), (), ())


def test_sentences(corpus: Corpus) -> None:
    text = shown(corpus)
    for sentence in (
        "matches the published counts",
        "1 patient is both in train and in test (101): 2 train and 2 test cycles",
        "audio: all 3 recordings are here",
        "problems: none",
    ):
        assert sentence in text


def test_what_differs_is_said(corpus: Corpus) -> None:
    other = Published(recordings={"train": 2, "test": 2}, cycles={"train": (2, 2, 0, 0), "test": (1, 3, 0, 0)})
    d = describe(replace(corpus, published=other))
    assert d.differences == ("test: 1 recordings, published 2", "test: 1 crackle cycles, published 3")
    assert "differs from the published counts\n  test: 1 recordings" in shown(replace(corpus, published=other))


def test_a_corpus_nobody_published(corpus: Corpus) -> None:
    assert describe(replace(corpus, published=None)).differences is None
    assert "has no published counts" in shown(replace(corpus, published=None))


def test_missing_audio_is_counted_and_named(corpus: Corpus) -> None:
    extra = {f"{i}_1b1_Al_sc_Meditron": "train" for i in range(110, 120)}
    lacking = replace(corpus, recordings=corpus.recordings | extra)
    text = shown(lacking)
    assert "no audio for 10 of 13 recordings" in text
    assert "  114_1b1_Al_sc_Meditron\n  and 5 more; see the list" in text
    everything = shown(lacking, full=True)
    assert all(stem in everything for stem in extra)
    assert "more; see" not in everything


def test_problems_are_listed_by_file_and_code(corpus: Corpus) -> None:
    problems = [Problem(path=f"/d/{i}.txt", code="E_ANNOTATION", message=f"line {i} [bad]") for i in range(6)]
    text = shown(corpus, [*problems, Problem(path="/d/x.wav", code="E_EMPTY", message="no samples")])
    assert "problems: 7 files are not used (6 E_ANNOTATION, 1 E_EMPTY)" in text
    assert "  E_ANNOTATION  /d/4.txt: line 4 [bad]\n  and 2 more; see the list" in text


def test_plain_unless_a_terminal(corpus: Corpus) -> None:
    plain, styled = shown(corpus), shown(corpus, terminal=True)
    assert plain.isascii()
    assert "\x1b[" in styled


def test_a_corpus_without_cycles(corpus: Corpus) -> None:
    empty = replace(corpus, audio={}).with_audio()
    assert describe(empty).durations == {}
    assert "device of all cycles: none" in shown(empty)


def test_good_audio_passes(corpus: Corpus) -> None:
    assert check_audio(corpus) == []


def test_audio_that_ends_too_early_or_cannot_be_read(corpus: Corpus) -> None:
    short, broken, fine = (corpus.audio[stem] for stem in PARTS)
    soundfile.write(short, np.zeros(9 * 4000, np.float32), 4000)
    broken.write_text("no audio")
    soundfile.write(fine, np.zeros(int(9.96 * 4000), np.float32), 4000)
    assert {(Path(p.path), p.code) for p in check_audio(corpus)} == {(short, "E_ANNOTATION"), (broken, "E_FORMAT")}


def test_lengths(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(1000, np.float32), 4000)
    assert duration_s(tmp_path / "a.flac") == 0.25
    soundfile.write(tmp_path / "b.wav", np.zeros(0, np.float32), 4000)
    with pytest.raises(AuscultError, match="E_EMPTY"):
        duration_s(tmp_path / "b.wav")
    with pytest.raises(AuscultError, match="E_NOT_A_FILE"):
        duration_s(tmp_path / "c.wav")


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "d.wav")
    with pytest.raises(AuscultError, match="E_NOT_A_FILE"):
        duration_s(tmp_path / "d.wav")


@pytest.mark.data
def test_icbhi_as_published(data_dir: Path) -> None:
    corpus = icbhi.read(data_dir / "icbhi")
    d = describe(corpus)
    assert d.differences == ()
    assert d.shared["test"] == Shared(
        patients=("156", "218"), train_cycles=117, test_cycles=120, published_as_seen=False
    )
    assert {key: counts for key, counts in d.by_device.items() if sum(counts)} == {
        ("train", "AKGC417L"): (982, 996, 255, 277),
        ("train", "LittC2SE"): (347, 77, 126, 44),
        ("train", "Litt3200"): (11, 3, 19, 8),
        ("train", "Meditron"): (723, 139, 101, 34),
        ("test", "AKGC417L"): (940, 547, 245, 104),
        ("test", "Litt3200"): (325, 26, 93, 17),
        ("test", "Meditron"): (314, 76, 47, 22),
    }
    assert (d.durations["train"].long, d.durations["test"].long) == (10, 5)
    assert "matches the published counts" in shown(corpus)
    assert check_audio(corpus) == []


@pytest.mark.data
def test_sprsound_as_published(data_dir: Path) -> None:
    corpus = sprsound.read(data_dir / "sprsound")
    d = describe(corpus)
    assert d.differences == ()
    assert d.shared["inter"].patients == ()
    assert (len(d.shared["intra"].patients), d.shared["intra"].published_as_seen) == (162, True)
    text = shown(corpus)
    assert "no patient is both in train and in inter" in text
    assert "162 patients are both in train and in intra" in text
    assert "on purpose" in text
    assert check_audio(corpus) == []
