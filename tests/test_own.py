"""One's own recordings: every layout and format is read, one bad file is told, and a run is trained and scored."""

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from auscult.analysis.results import collect
from auscult.analysis.tables import print_results
from auscult.cli.app import run as command
from auscult.data import own, synthetic
from auscult.data.describe import check_audio, describe
from auscult.errors import AuscultError
from auscult.evaluate import evaluate
from auscult.formats import ENDINGS, Row, write
from auscult.out_of_domain import default_parts, evaluate_on
from auscult.train import train

from .small import small_corpus, small_recipe

KINDS = ("icbhi", "audacity", "raven", "textgrid")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic corpus as somebody's own: six patients in sub-folders, each annotated in another format."""
    source = small_corpus(tmp_path_factory.mktemp("made") / "source")
    folder = source.parent / "own"
    corpus = synthetic.read(source)
    for number, stem in enumerate(sorted(corpus.audio)):
        place, kind = folder / f"p{number}", KINDS[number % len(KINDS)]
        place.mkdir(parents=True)
        shutil.copy(corpus.audio[stem], place / "left.wav")
        rows = [Row(c.start_s, c.end_s, corpus.classes[c.label], 0.9) for c in corpus.cycles if c.recording == stem]
        text = write(kind, rows, "left.wav", rows[-1].end_s)
        (place / f"left{'.txt' if number == 0 else ENDINGS[kind]}").write_text(text)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(made, tmp_path / "own"))


def told(folder: Path) -> list[str]:
    return [f"{problem.code} {problem.path}: {problem.message}" for problem in own.read(folder).problems]


# --- reading ---


def test_every_format_is_read_alike(folder: Path, made: Path) -> None:
    corpus, source = own.read(folder), synthetic.read(made.parent / "source")
    assert corpus.problems == () and corpus.missing_audio == []
    assert [c.label for c in corpus.cycles] == [c.label for c in source.cycles]
    assert [(c.start_s, c.end_s) for c in corpus.cycles] == [(c.start_s, c.end_s) for c in source.cycles]
    assert sorted(corpus.recordings) == [f"p{i}/left" for i in range(6)] and corpus.patients == [
        f"p{i}" for i in range(6)
    ]
    assert set(corpus.recordings.values()) == {"train"} and corpus.test_parts == ()
    assert check_audio(corpus) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a_1.txt", "0\t0.5\t1\t0\n"),
        ("a_1.txt", "0.000000\t0.500000\tcrackle 0.83\n"),
        ("a_1.txt", "0\t0.5\tFine Crackle\n\\\t100\t200\n"),
        ("a_1.auscult.icbhi.txt", "0\t0.5\t1\t0\n"),
        ("a_1.audacity.txt", "0\t0.5\tcrackle\n"),
        ("a_1.raven.txt", write("raven", [Row(0, 0.5, "crackle")], "a_1.wav", 1.0)),
        ("a_1.Table.1.selections.txt", write("raven", [Row(0, 0.5, "crackle")], "a_1.wav", 1.0)),
        ("a_1.TextGrid", write("textgrid", [Row(0, 0.5, "crackle")], "a_1.wav", 1.0)),
    ],
)
def test_names_of_annotations(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "a_1.wav").touch()
    (tmp_path / name).write_text(text)
    (tmp_path / "README.txt").write_text("notes\n")
    corpus = own.read(tmp_path)
    (cycle,) = corpus.cycles
    assert (cycle.recording, cycle.patient, cycle.start_s, cycle.end_s, cycle.label) == ("a_1", "a", 0, 0.5, 1)
    assert (cycle.device, cycle.site, cycle.part, cycle.age_years, cycle.sex) == (
        "unknown",
        "unknown",
        "train",
        None,
        None,
    )
    assert corpus.problems == ()


@pytest.mark.parametrize(
    ("name", "patient"), [("bert.wav", "bert"), ("_x.wav", "_x"), ("a/b/c_1.wav", "a"), ("c_1_2.wav", "c")]
)
def test_patients_by_folder_or_stem(tmp_path: Path, name: str, patient: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.with_suffix(".txt").write_text("0\t1\t0\t0\n")
    assert own.read(tmp_path).patients == [patient]


def test_one_wrong_file_is_told_and_skipped(folder: Path) -> None:
    (folder / "p0" / "left.txt").write_text("0\t1\t0\t0\n1\t2\t0\t2\n")
    assert [line for line in told(folder) if "p0/left.txt, line 2: wheeze is '2'; it must be 0 or 1" in line]
    (folder / "p0" / "left.txt").write_text("0\t1\tcough\n")
    assert [line for line in told(folder) if "breath at 0 s: label 'cough'; one of normal, crackle" in line]
    (folder / "p0" / "left.txt").write_text("0,5;1\n")
    assert [line for line in told(folder) if "line 1: '0,5;1' is of no known format" in line]
    (folder / "p0" / "left.TextGrid").write_text("x")
    assert [line for line in told(folder) if "has 2 annotations: left.TextGrid, left.txt. Keep one" in line]
    corpus = own.read(folder)
    assert len(corpus.cycles) == 30 and "p0/left" in corpus.recordings and "p0" not in corpus.patients


def test_what_has_no_partner_is_told(folder: Path) -> None:
    (folder / "p0" / "left.wav").rename(folder / "p0" / "right.wav")
    (folder / "README.txt").write_text("Recorded in spring.\n")
    first, second = told(folder)
    assert "p0/right has no annotation of its name beside it" in first
    assert "left.txt has no recording of its name beside it" in second
    assert len(own.read(folder).recordings) == 5


def test_a_name_that_cannot_be_printed_is_told(folder: Path) -> None:
    (folder / "p0" / "left.wav").rename(folder / "p0" / "le\nft.wav")
    assert "le\\nft.wav: the name holds characters" in told(folder)[0]


@pytest.mark.parametrize("files", [{}, {"a.wav": ""}, {"a.wav": "", "a.txt": "0\t1\n"}, {"a.txt": "0\t1\t0\t0\n"}])
def test_a_folder_without_usable_recordings_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(AuscultError, match=r"E_DATA: no recording in .* can be used.*own_recordings\.md"):
        own.read(tmp_path)
    with pytest.raises(AuscultError, match="does not exist"):
        own.read(tmp_path / "nowhere")


# --- recordings.csv ---

TABLE = "recording,patient,part,device,site,age_years,sex\n" + "".join(
    f"{name},{patient},{part},Littmann,Al,{age},{sex}\n"
    for name, patient, part, age, sex in [
        ("p0/left", "anna", "train", "61", "female"),
        ("p1\\left.wav", "anna", "train", "61", "female"),
        ("p2/left.wav", "", "train", "", ""),
        ("p3/left", "", "train", "0.75", "male"),
        ("p4/left", "", "test", "", ""),
        ("p5/left", "", "test", "", ""),
    ]
)


def test_the_table_says_more(folder: Path) -> None:
    (folder / "recordings.csv").write_text("\ufeff" + TABLE.replace("\n", "\r\n"))
    corpus = own.read(folder)
    assert corpus.problems == () and corpus.test_parts == ("test",)
    assert corpus.patients_of("train") == {"anna", "p2", "p3"} and corpus.patients_of("test") == {"p4", "p5"}
    assert {(c.age_years, c.sex) for c in corpus.cycles if c.patient == "anna"} == {(61.0, "female")}
    assert {(c.device, c.site) for c in corpus.cycles} == {("Littmann", "Al")}
    (folder / "recordings.csv").write_text(TABLE + "p9/left,,train,,,,\n")
    (problem,) = own.read(folder).problems
    assert "line 8: there is no recording 'p9/left'" in problem.message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("recording,patient", "recording,patients", "no column of .*named 'patients'.*Did you mean 'patient'"),
        ("recording,", "site,", "recording is needed, and each once"),
        ("p5/left,,test", "p4/left,,test", "line 7: p4/left is there twice"),
        ("p5/left,,test", "p5/left,,", "line 7: part ''; train or test is needed"),
        ("p5/left,,test", "p5/left,,validation", "line 7: part 'validation'"),
        ("p5/left,,test", "left,,test", "line 7: 'left' may be p0/left or p1/left"),
        ("p5/left,,test,Littmann,Al,,\n", "", "1 recordings have no row, for instance p5/left"),
        ("p5/left,,test,Littmann", "p5/left,,test", "line 7: 6 columns; 7 are needed"),
        ("0.75,male", "0.75,M", "line 5: sex 'M'; male, female or nothing"),
        ("0.75,male", "old,male", "line 5: age_years 'old' is no number"),
        ("p5/left,,test", "p5/left,anna,test", r"1 patients are in train and in test \(anna\)"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused(folder: Path, old: str, new: str, said: str) -> None:
    (folder / "recordings.csv").write_text(TABLE.replace(old, new))
    with pytest.raises(AuscultError, match=said) as error:
        own.read(folder)
    assert "recordings.csv" in error.value.message


# --- from the folder to scores ---


def test_prepare_counts_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["prepare", "own", "--data", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "own: recordings, patients and cycles by class" in text and "problems: none" in text
    lines = {tuple(line.split()) for line in text.splitlines()}
    assert {("recordings", "6"), ("patients", "6"), ("cycles", "36")} <= lines
    counts = describe(own.read(folder)).cycles["train"]
    assert {(name, str(n)) for name, n in zip(own.CLASSES, counts, strict=True)} <= lines
    (folder / "p0" / "left.txt").write_text("bad")
    assert command(["prepare", "own", "--data", str(folder)]) == 3
    assert "problems: 1 files are not used" in capsys.readouterr().out


def test_without_a_test_part_held_out_patients_are_scored(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(small_recipe("epochs=1"), "own", folder, tmp_path / "run")
    assert "own has no test part: the patients held out for validation will be scored" in capsys.readouterr().err
    stuff, weights, found = evaluate(run)
    assert [e.part for e in found] == ["validation"] and weights.facts["selection"] == "last"
    patients = [{stuff.corpus.cycles[row].patient for row in rows} for rows in (found[0].rows, stuff.split.train)]
    assert all(patients) and not patients[0] & patients[1], "nobody is on both sides"
    print_results(collect(run, stuff, weights, found), Console(width=300))
    text = capsys.readouterr().out
    assert "part validation" in text and "patients held out of the training part; they chose nothing" in text
    assert "Without --selection last, `auscult predict` takes another epoch" in text
    with pytest.raises(AuscultError, match=r"own has no test part; nothing can be scored\..*--selection last"):
        evaluate(run, selection="validation")


def test_without_anybody_held_out_nothing_is_scored(folder: Path, tmp_path: Path) -> None:
    run = train(small_recipe("epochs=1", "validation=0", "selection=last"), "own", folder, tmp_path / "run")
    with pytest.raises(AuscultError, match=r"own has no test part; nothing can be scored\. No patient was held out"):
        evaluate(run)


def test_with_a_test_part_it_is_scored(folder: Path, tmp_path: Path) -> None:
    (folder / "recordings.csv").write_text(TABLE)
    run = train(small_recipe("epochs=1"), "own", folder, tmp_path / "run")
    stuff, weights, found = evaluate(run)
    assert [e.part for e in found] == ["test"] and weights.facts["selection"] == "validation"
    assert {stuff.corpus.cycles[row].patient for row in found[0].rows} == {"p4", "p5"}


def test_a_model_of_another_data_set_is_scored_on_all_of_it(folder: Path, made: Path, tmp_path: Path) -> None:
    run = train(small_recipe("epochs=1"), "synthetic", made.parent / "source", tmp_path / "run")
    stuff, _, (found,), _ = evaluate_on(run, "own", folder)
    assert found.part == "train" and len(found.rows) == 36 and default_parts(stuff) == ("train",)
