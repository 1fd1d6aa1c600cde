"""The model card: its numbers are those of the files, and every item of TRIPOD+AI is filled or named as missing."""

import re
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from cyclopts import App

from auscult.analysis.card import card, tally
from auscult.analysis.results import Results, write
from auscult.cli.card import card as command
from auscult.data.material import read
from auscult.errors import AuscultError
from auscult.runs import Run, read_json

from .reported import make_results

# Collins et al. 2024, BMJ 385:e078378, the checklist
CHECKLIST = """1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17
18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    found = make_results(tmp_path_factory.mktemp("card"))
    write(Path(found.run), found)
    return found


@pytest.fixture
def run(results: Results, tmp_path: Path) -> Run:
    return Run(shutil.copytree(results.run, tmp_path / "run"))


def test_every_item_is_filled_or_named_as_missing(run: Run) -> None:
    text = card(run)
    filled, missing = text.split("## What this card cannot say")
    in_brackets = {item for found in re.findall(r"\[([\d\w, ]+)\]", filled) for item in found.split(", ")}
    named = {item for line in re.findall(r"^\* ([\d\w, ]+):", missing, re.MULTILINE) for item in line.split(", ")}
    assert sorted(in_brackets | named) == sorted(CHECKLIST.split())
    assert not in_brackets & named
    assert "Research use only, not a medical device" in text


def test_its_numbers_are_those_of_the_files(run: Run, results: Results) -> None:
    text = card(run)
    scores = read_json(run.folder / "scores.json")["parts"]["test"]["scores"]["synthetic 4-class"]
    said = f"| synthetic 4-class | {100 * scores['Sp']:.2f} ({scores['normal_correct']}/{scores['normal']}) |"
    assert said in text and f"| {100 * scores['Score']:.2f} |" in text
    assert sha256((run.folder / "weights" / "last.safetensors").read_bytes()).hexdigest() in text
    corpus = read("synthetic", Path(run.settings()["data"]))
    for part in corpus.parts:
        cycles = [c for c in corpus.cycles if c.part == part]
        counts = " / ".join(str(sum(c.label == k for c in cycles)) for k in range(4))
        patients, recordings = len({c.patient for c in cycles}), len({c.recording for c in cycles})
        assert f"| {part} | {patients} | {recordings} | {len(cycles)} | {counts} |" in text
    assert '"name": "dass_nano"' in text and results.notes[0] in text


def test_groups_come_from_shift_csv(run: Run) -> None:
    devices = sorted({line.split(",")[2] for line in (run.folder / "predictions.csv").read_text().splitlines()[1:]})
    assert all(f"| test | device: {device} |" in card(run) for device in devices)
    (run.folder / "shift.csv").unlink()
    assert "Not known: the run has no shift.csv" in card(run)


def test_without_the_data_set_it_says_what_it_does_not_know(run: Run, tmp_path: Path) -> None:
    text = card(run, tmp_path / "moved")
    assert "The folder of the data set is not here" in text and "* 20a, 20b, 20c: those of the training part" in text
    assert re.search(r"\| test \| \d+ \| \d+ \| \d+ / \d+ / \d+ / \d+ \|", text)


def test_the_command(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = App(result_action="return_value", exit_on_error=False, print_error=False)
    app.default(command)
    assert app([str(run.folder)]) == 0 == app([str(run.folder), "--out", str(tmp_path / "card.md")])
    assert (run.folder / "model_card.md").read_text() == (tmp_path / "card.md").read_text() == card(run)
    (run.folder / "scores.json").unlink()
    with pytest.raises(AuscultError, match=r"E_RUN.*auscult evaluate"):
        app([str(run.folder)])
    assert tally([]) == ""
