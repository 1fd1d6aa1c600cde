"""The ICBHI reader: small folders written here, and the published counts on the real annotations."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from auscult.data import DATASETS, icbhi
from auscult.data.cycles import Cycle, check_against_audio
from auscult.errors import AuscultError

STEMS = {
    "101_1b1_Al_sc_Meditron": "train",
    "102_1b1_Ar_mc_AKGC417L": "train",
    "103_2b2_Tc_mc_LittC2SE": "test",
}
ROWS = "0.000\t1.500\t0\t0\n1.500\t2.250\t1\t0\n2.250\t3.000\t0\t1\n3.000\t3.900\t1\t1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings, two of them with audio."""
    database = tmp_path / "ICBHI_final_database"
    database.mkdir()
    for stem in STEMS:
        (database / f"{stem}.txt").write_text(ROWS)
    tone = np.zeros(4 * 4000, np.float32)
    soundfile.write(database / "101_1b1_Al_sc_Meditron.wav", tone, 4000)
    soundfile.write(database / "103_2b2_Tc_mc_LittC2SE.flac", tone, 4000)
    (tmp_path / "ICBHI_challenge_train_test.txt").write_text("".join(f"{s}\t{p}\n" for s, p in STEMS.items()))
    return tmp_path


def annotation(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "101_1b1_Al_sc_Meditron.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_reads_every_field(folder: Path) -> None:
    corpus = icbhi.read_folder(folder)
    assert len(corpus.cycles) == 12
    assert corpus.cycles[1] == Cycle(
        recording="101_1b1_Al_sc_Meditron",
        patient="101",
        device="Meditron",
        site="Al",
        start_s=1.5,
        end_s=2.25,
        label=1,
        part="train",
    )
    assert [c.label for c in corpus.cycles[:4]] == [0, 1, 2, 3]
    assert corpus.recordings == STEMS
    assert corpus.patients == ["101", "102", "103"]
    assert corpus.devices == ["AKGC417L", "LittC2SE", "Meditron"]
    assert corpus.problems == ()
    assert [task.name for task in corpus.tasks] == ["ICBHI 4-class", "ICBHI 2-class from 4-class"]
    assert corpus.tasks[1].mapping == (0, 1, 1, 1)


def test_audio_is_found_in_any_format_and_may_be_missing(folder: Path) -> None:
    corpus = icbhi.read_folder(folder)
    assert {stem: path.suffix for stem, path in corpus.audio.items()} == {
        "101_1b1_Al_sc_Meditron": ".wav",
        "103_2b2_Tc_mc_LittC2SE": ".flac",
    }
    assert corpus.missing_audio == ["102_1b1_Ar_mc_AKGC417L"]
    there = corpus.with_audio()
    assert {cycle.patient for cycle in there.cycles} == {"101", "103"}
    assert there.missing_audio == corpus.missing_audio


def test_name_and_tasks_may_be_another_corpus(folder: Path) -> None:
    corpus = icbhi.read_folder(folder, name="ward", tasks=icbhi.TASKS[:1])
    assert (corpus.name, len(corpus.tasks), corpus.published) == ("ward", 1, None)


@pytest.mark.parametrize("layout", ["unpacked here", "audio_and_txt_files", "database itself", "official_split"])
def test_layouts(folder: Path, layout: str) -> None:
    database, split, asked = folder / "ICBHI_final_database", folder / "ICBHI_challenge_train_test.txt", folder
    if layout == "unpacked here":
        for path in database.iterdir():
            path.rename(folder / path.name)
        database.rmdir()
        (folder / "filename_differences.txt").write_text("'101_1b1_Al_sc_AKGC417L'\n")
    elif layout == "audio_and_txt_files":
        database.rename(folder / "audio_and_txt_files")
    elif layout == "database itself":
        asked = database
    else:
        split.rename(folder / "official_split.txt")
    assert len(icbhi.read_folder(asked).cycles) == 12


def test_hidden_files_are_no_recordings(folder: Path) -> None:
    (folder / "ICBHI_final_database" / "._101_1b1_Al_sc_Meditron.txt").write_bytes(b"\x00\x05")
    (folder / "ICBHI_final_database" / "._101_1b1_Al_sc_Meditron.wav").write_bytes(b"\x00\x05")
    corpus = icbhi.read_folder(folder)
    assert (len(corpus.cycles), corpus.problems) == (12, ())


def test_old_device_name_matches_the_official_one_and_nothing_is_renamed(folder: Path) -> None:
    database = folder / "ICBHI_final_database"
    for suffix in (".txt", ".wav"):
        (database / f"101_1b1_Al_sc_Meditron{suffix}").rename(database / f"101_1b1_Al_sc_AKGC417L{suffix}")
    before = sorted(p.name for p in database.iterdir())
    corpus = icbhi.read_folder(folder)
    assert corpus.cycles[0].recording == "101_1b1_Al_sc_Meditron"
    assert corpus.cycles[0].device == "Meditron"
    assert corpus.audio["101_1b1_Al_sc_Meditron"].name == "101_1b1_Al_sc_AKGC417L.wav"
    assert sorted(p.name for p in database.iterdir()) == before


def test_only_the_old_names_of_meditron_recordings_match() -> None:
    assert icbhi.match(["1_a_b_c_LittC2SE"], ["1_a_b_c_AKGC417L"]) == {}
    assert icbhi.match(["1_a_b_c_Meditron"], ["1_a_b_c_Litt3200"]) == {}
    assert icbhi.match(["1_a_b_c_Meditron"], ["1_a_b_c_AKGC417L", "1_a_b_c_LittC2SE"]) == {}


def test_names_that_do_not_match_are_refused(folder: Path) -> None:
    database = folder / "ICBHI_final_database"
    (database / "102_1b1_Ar_mc_AKGC417L.txt").rename(database / "109_1b1_Ar_mc_AKGC417L.txt")
    with pytest.raises(AuscultError, match="1 of 3 recordings have no annotation") as error:
        icbhi.read_folder(folder)
    assert error.value.code == "E_DATA"
    assert "102_1b1_Ar_mc_AKGC417L" in error.value.message
    assert "109_1b1_Ar_mc_AKGC417L" in error.value.message


def test_audio_outside_the_split_is_a_problem(folder: Path) -> None:
    database = folder / "ICBHI_final_database"
    shutil.copy(database / "101_1b1_Al_sc_Meditron.wav", database / "notes.wav")
    (problem,) = icbhi.read_folder(folder).problems
    assert (problem.code, Path(problem.path).name) == ("E_DATA", "notes.wav")


def test_one_bad_annotation_is_skipped_and_reported(folder: Path) -> None:
    bad = folder / "ICBHI_final_database" / "102_1b1_Ar_mc_AKGC417L.txt"
    bad.write_text("0.0\t1.0\t2\t0\n")
    corpus = icbhi.read_folder(folder)
    assert {cycle.patient for cycle in corpus.cycles} == {"101", "103"}
    (problem,) = corpus.problems
    assert (problem.path, problem.code) == (str(bad), "E_ANNOTATION")
    assert len(corpus.recordings) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no cycle"),
        ("\n\n", "no cycle"),
        ("0.0\t1.0\t0\n", "line 1: 3 columns"),
        ("0.0\t1.0\t0\t0\t0\n", "line 1: 5 columns"),
        ("0.0 1.0 0 0\n", "line 1: 1 columns"),
        ("0.0\t1.0\t0\t0\n\n1.0\t2.0\t0\t0\n", "line 2: 1 columns"),
        ("0,036\t0,579\t0\t0\n", "line 1: start '0,036' has a comma"),
        ("0.0\tend\t0\t0\n", "line 1: end 'end' is no number"),
        ("nan\t1.0\t0\t0\n", "start 'nan' is no number"),
        ("0.0\tinf\t0\t0\n", "end 'inf' is no number"),
        ("0.0\t" + "9" * 400 + "\t0\t0\n", "is no number"),
        ("0.0\t1_0\t0\t0\n", "end '1_0' is no number"),
        ("0.0\t٣\t0\t0\n", "is no number"),
        ("-0.5\t1.0\t0\t0\n", "start '-0.5' is negative"),
        ("1.0\t1.0\t0\t0\n", "line 1: start 1 s, end 1 s"),
        ("2.0\t1.0\t0\t0\n", "start must be before end"),
        ("0.0\t1.0\t0\t0\n0.9\t2.0\t0\t0\n", "line 2: start 0.9 s is before the end of line 1, 1 s"),
        ("1.0\t2.0\t0\t0\n0.0\t1.0\t0\t0\n", "line 2: start 0 s is before the start of line 1"),
        ("0.0\t1.0\t0\t0\n0.0\t1.0\t0\t1\n", "line 2: repeats line 1"),
        ("0.0\t1.0\t2\t0\n", "crackle is '2'; it must be 0 or 1"),
        ("0.0\t1.0\t0\t-1\n", "wheeze is '-1'"),
        ("0.0\t1.0\t0\t1.0\n", "wheeze is '1.0'"),
        (b"0.0\t1.0\t0\t\xff\n", "byte 10 is no UTF-8"),
        (b"\xff\xfe0\x00", "byte 0 is no UTF-8"),
    ],
)
def test_bad_annotations_name_file_line_and_value(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = annotation(tmp_path, content)
    with pytest.raises(AuscultError) as error:
        icbhi.read_annotation(path)
    assert error.value.code == "E_ANNOTATION"
    assert said in error.value.message
    assert path.name in error.value.message


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf0.0\t1.0\t0\t0\n1.0\t2.0\t0\t1\n",
        b"0.0\t1.0\t0\t0\r\n1.0\t2.0\t0\t1\r\n",
        b"0.0\t1.0\t0\t0\n1.0\t2.0\t0\t1\n\n  \n\r\n",
        b"0\t1\t0\t0\n1\t2.\t0\t1",
        b"0.0\t1.0005\t0\t0\n1.0\t2.0\t0\t1\n",  # 0.5 ms of overlap
        b"0.0\t0.5\t0\t0\n1.0\t2.0\t0\t1\n",  # a gap
    ],
)
def test_harmless_variants_are_read(tmp_path: Path, content: bytes) -> None:
    rows = icbhi.read_annotation(annotation(tmp_path, content))
    assert [row[2] for row in rows] == [0, 2]
    assert rows[1][:2] == (1.0, 2.0)


@given(content=st.one_of(st.binary(max_size=60), st.text(alphabet="0123456789.,-+eE\t\n\r nainf\ufeff", max_size=60)))
def test_any_content_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    path = annotation(tmp_path_factory.getbasetemp(), content)
    try:
        rows = icbhi.read_annotation(path)
    except AuscultError as error:
        assert error.code == "E_ANNOTATION"
    else:
        assert all(0 <= start < end < np.inf and label in range(4) for start, end, label in rows)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("101_1b1_Al_sc_Meditron\tvalidation\n", "line 1"),
        ("101_1b1_Al_sc_Meditron\ttrain\nMeditron\ttest\n", "line 2"),
        (
            "101_1b1_Al_sc_Meditron\ttrain\n101_1b1_Al_sc_Meditron\ttest\n",
            "line 2: 101_1b1_Al_sc_Meditron is there twice",
        ),
        ("", "names no recording"),
    ],
)
def test_bad_split_files_are_refused(folder: Path, content: str, said: str) -> None:
    (folder / "ICBHI_challenge_train_test.txt").write_text(content)
    with pytest.raises(AuscultError, match="E_DATA") as error:
        icbhi.read_folder(folder)
    assert said in error.value.message


def test_missing_folder_or_other_layout_says_what_to_do(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "empty" / "cats.wav").touch()
    (folder / "ICBHI_challenge_train_test.txt").rename(folder / "split.csv")
    for place, said in (
        (folder / "nowhere", "does not exist"),
        (folder / "empty", "found cats.wav"),
        (folder / "split.csv", "is not a folder"),
        (folder, "no icbhi split file"),
    ):
        with pytest.raises(AuscultError) as error:
            icbhi.read(place)
        assert error.value.code == "E_DATA"
        assert said in error.value.message
        assert "auscult download icbhi" in error.value.message


def test_the_published_reader_wants_all_920(folder: Path) -> None:
    with pytest.raises(AuscultError, match="holds 3 ICBHI recordings; there are 920"):
        icbhi.read(folder)


def test_cycles_may_end_50_ms_after_the_audio(folder: Path) -> None:
    cycles = icbhi.read_folder(folder).cycles[:4]
    check_against_audio(cycles, 3.86)
    with pytest.raises(AuscultError, match=r"E_ANNOTATION.*ends at 3\.9 s"):
        check_against_audio(cycles, 3.84)


def test_every_data_set_has_a_reader() -> None:
    assert {"icbhi", "pooled", "sprsound", "synthetic"} <= DATASETS.keys()


PEOPLE = "\n101 3 F NA 19 99\n102 0.75 M NA 9.8 73\n103 NA NA NA NA NA\n"


def test_age_and_sex_of_the_patients(folder: Path) -> None:
    assert {(c.age_years, c.sex) for c in icbhi.read_folder(folder).cycles} == {(None, None)}, "no table, nothing known"
    table = folder / "ICBHI_Challenge_demographic_information.txt"
    table.write_text(PEOPLE)
    corpus = icbhi.read_folder(folder)
    assert corpus.problems == ()
    said = {c.patient: (c.age_years, c.sex) for c in corpus.cycles}
    assert said == {"101": (3.0, "female"), "102": (0.75, "male"), "103": (None, None)}
    table.write_text(PEOPLE.replace("102 0.75", "104 0.75"))
    assert {c.age_years for c in icbhi.read_folder(folder).cycles if c.patient == "102"} == {None}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("101 3 F", "101 3 W", "line 2: '101 3 W NA 19 99' cannot be read"),
        ("101 3 F", "101 three F", "line 2: age 'three' is no number"),
        ("103 NA NA", "101 NA NA", "line 4: patient 101 is there twice"),
        ("102 0.75 M NA 9.8 73", "102", "line 3: '102' cannot be read"),
    ],
)
def test_a_bad_table_of_patients_is_told_and_not_used(folder: Path, old: str, new: str, said: str) -> None:
    table = folder / "ICBHI_Challenge_demographic_information.txt"
    table.write_text(PEOPLE.replace(old, new))
    corpus = icbhi.read_folder(folder)
    (problem,) = corpus.problems
    assert problem.path == str(table) and said in problem.message and problem.code == "E_ANNOTATION"
    assert len(corpus.cycles) == 12 and {c.sex for c in corpus.cycles} == {None}


@pytest.mark.data
def test_published_counts(data_dir: Path) -> None:
    corpus = icbhi.read(data_dir / "icbhi")
    assert corpus.problems == ()
    parts = list(corpus.recordings.values())
    assert (parts.count("train"), parts.count("test")) == (539, 381)
    labels = {part: [c.label for c in corpus.cycles if c.part == part] for part in ("train", "test")}
    assert np.bincount(labels["train"]).tolist() == [2063, 1215, 501, 363]
    assert np.bincount(labels["test"]).tolist() == [1579, 649, 385, 143]
    assert len(corpus.patients) == 126
    lengths = np.array([c.duration_s for c in corpus.cycles])
    assert [(lengths > s).sum() for s in (5, 8, 10)] == [234, 15, 2]
    assert lengths.max() == pytest.approx(16.16, abs=0.01)
    people = {c.patient: (c.age_years, c.sex) for c in corpus.cycles}
    sexes = [sex for _, sex in people.values()]
    assert (sexes.count("male"), sexes.count("female"), people["223"]) == (79, 46, (None, None))
    assert people["102"] == (0.75, "female") and max(age for age, _ in people.values() if age) == 93


@pytest.mark.data
def test_the_91_old_names_of_the_data_set_are_matched(data_dir: Path) -> None:
    lines = (data_dir / "icbhi" / "filename_differences.txt").read_text().split()
    old = [line.strip("'") for line in lines]
    official = icbhi.read(data_dir / "icbhi").recordings
    renamed = {stem.rpartition("_")[0] + "_Meditron": stem for stem in old}
    on_disk = [renamed.get(stem, stem) for stem in official]
    assert len(renamed) == 91
    assert icbhi.match(official, on_disk) == dict(zip(official, on_disk, strict=True))
