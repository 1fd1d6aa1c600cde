"""`auscult verify`: what is whole passes; one changed digit or row anywhere is found, and the place is named."""

import json
import re
import shutil
from pathlib import Path

import pytest
from cyclopts import App

from auscult.analysis.compare import compare
from auscult.analysis.compare_table import write_comparison
from auscult.analysis.mismatch import json_file_mismatches, text_mismatches
from auscult.analysis.row_checks import with_checks, wrong_checks
from auscult.analysis.study_page import main as make_page
from auscult.analysis.verify import Verified, verify
from auscult.cli.verify import verify as command
from auscult.errors import AuscultError

from .scored_runs import make_docs, make_run, make_study

SKILLS = {"plain": 0.3, "better": 1.5}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two rows and two seeds, and a comparison of its rows."""
    out = make_study(tmp_path_factory.mktemp("verify") / "study", SKILLS)
    write_comparison(out / "compared", compare([out / "plain", out / "better"], base=out / "compared"))
    return out


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "study"))


@pytest.fixture
def docs(whole: Path, tmp_path: Path) -> Path:
    return make_docs(tmp_path / "docs", whole, [whole / "better" / f"s{seed}" for seed in (0, 1)])


def other_digit(text: str, place: int) -> str:
    """The text with the digit at that place one higher; 9 becomes 0."""
    return f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}"


def wrong(folder: Path) -> list[str]:
    return list(map(str, verify(folder).wrong))


def change(file: Path, pattern: str, new: str = "") -> None:
    """Replaces the first text that fits; without `new` its last digit by another."""
    text = file.read_text()
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in {file}"
    file.write_text(text[: found.start()] + new + text[found.end() :] if new else other_digit(text, found.end() - 1))


def test_what_is_whole_passes(whole: Path, docs: Path) -> None:
    found = verify(whole)
    assert found == Verified(checked={"runs": 4, "studies": 1, "comparisons": 1}), found
    assert verify(docs) == Verified(checked={"pages": 1})


@pytest.mark.parametrize(
    ("file", "pattern", "place"),
    [
        ("study.md", r"(?s)\*\*Part intra.*?4-class \| better \| 2 \| \d+\.\d", "row '4-class better', column 'Sp'"),
        ("study.md", r"\| better \| plain \| 2 \| [+-]\d\d?\.\d\d", "column 'Score, difference'"),
        ("study.md", r"\*\*Part inter\*\*: \d", "line"),
        ("study.json", r'"difference": -?0\.\d+', "differences.better plain inter 4-class.difference"),
        ("study.json", r'"train_s": 6', "rows.plain.runs.0.train_s"),
        ("compared/compare.json", r'"p_holm": \d\.\d{4}', "differences.better plain inter 4-class.p_holm"),
        ("compared/compare.json", r'"patient_std": 0\.\d+', "scores.plain inter 4-class.patient_std"),
        ("compared/compare.md", r"95 % interval.*\n.*\n.*?\[[+-]\d", "column '95 % interval'"),
        ("compared/compare.csv", r"inter,grouped,-?0\.\d+", "line 3"),
        ("better/s1/scores.json", r'"Score": 0\.\d+', "parts.inter.scores.4-class.Score"),
        ("better/s1/scores.json", r'"interval_95": \[\s+0\.\d+', "parts.inter.scores.4-class.interval_95[0]"),
        ("better/s1/scores.json", r'"confusion": \[\s+\[\s+\d', "parts.inter.confusion[0][0]"),
        ("better/s1/scores.json", r'"seed": 1', "facts.seed"),
        ("better/s1/report.html", r"<small>\d+ of \d+", "row '4-class icbhi', column 'Sp %'"),
        ("better/s1/report.html", r'class="s\d+">\d+', "column 'normal'"),
        ("better/s1/report.html", r"(?s)recall %.*?recall %.*?crackle</th>.*?\d+ of \d+", "column 'recall %'"),
        ("better/s1/report.html", r'<path d="M\d+', "line"),
        ("study.html", r"(?s)Paired.*?better minus plain.*?[+-]\d\d?\.\d\d", "column 'Score, points'"),
        ("study.html", r"(?s)Part intra.*?<strong>\d+\.\d", "column 'Score %'"),
        ("study.html", r'circle cx="\d+', "line"),
        ("better/s1/report.html", r"(?s)grouped.*grouped.*?number score\">\d+\.\d+", "column 'Score %'"),
    ],
)  # fmt: skip
def test_one_changed_digit_is_found_and_its_place_named(study: Path, file: str, pattern: str, place: str) -> None:
    change(study / file, pattern)
    found = wrong(study)
    assert any(str(study / file) in line and place in line for line in found), found


def test_every_digit_of_a_table_counts(whole: Path) -> None:
    text = (whole / "study.md").read_text()
    for digit in re.finditer(r"\d", text):
        (found,) = text_mismatches("study.md", other_digit(text, digit.start()), text)
        line = text.count("\n", 0, digit.start()) + 1
        assert re.match(rf"line {line}\b", found.place) and found.found != found.expected


def test_every_number_of_a_record_counts(whole: Path) -> None:
    text = (whole / "study.json").read_text()
    known = json.loads(text)
    for digit in re.finditer(r"\d(?=[,\n\]}])", text):
        if text[digit.start() - 1].isdigit():  # not into a number with a zero before it
            assert json_file_mismatches("study.json", other_digit(text, digit.start()), known, text)


def test_a_digit_behind_the_precision_of_a_number_is_found_too(study: Path) -> None:
    file = study / "better" / "s0" / "scores.json"
    file.write_text(re.sub(r'("Score": 0\.\d+)', r"\g<1>0000000000000000001", file.read_text(), count=1))
    assert any("scores.json: line" in line and "found" in line for line in wrong(study / "better"))


def test_a_changed_probability_that_changes_no_decision_is_found(study: Path) -> None:
    file = study / "better" / "s0" / "predictions.csv"
    lines = file.read_text().splitlines(keepends=True)
    cells = lines[30].split(",")
    cells[8] = cells[8][:-1] + ("1" if cells[8][-1] != "1" else "2")
    file.write_text("".join([*lines[:30], ",".join(cells), *lines[31:]]))
    (found,) = wrong(study)
    assert f"{file}: line 31 ({cells[0]}, {cells[4]} s): found check" in found


def test_every_row_of_a_predictions_file_is_held_to_its_check(whole: Path) -> None:
    lines = (whole / "better" / "s0" / "predictions.csv").read_text().splitlines()
    for number in range(1, len(lines)):
        for at in (0, len(lines[number]) // 2, -1):
            other = lines[number][:at] + "x" + lines[number][at:]
            found = [n for n, _, _ in wrong_checks("\n".join([*lines[:number], other, *lines[number + 1 :]]))]
            # a row with a check that was itself changed does not fit the row after it either
            assert found[0] == number + 1 and found[1:] in ([], [number + 2])
        taken_away = [n for n, _, _ in wrong_checks("\n".join([*lines[:number], *lines[number + 1 :]]))]
        assert taken_away == ([number + 1] if number + 1 < len(lines) else [])


def test_rows_that_are_missing_or_moved(study: Path) -> None:
    file = study / "plain" / "s1" / "predictions.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:20] + lines[21:]))
    assert any("line 21 " in line and "taken away" in line for line in wrong(study / "plain"))
    file.write_text("".join(lines[:-1]))
    found = wrong(study)
    assert any(f"{file}: after the last row" in line for line in found)
    assert any("parts.intra.confusion" in line for line in found)
    assert any("study.json: runs" in line and "different cycles" in line for line in found)
    file.write_text("".join([*lines[:5], lines[6], lines[5], *lines[7:]]))
    assert any("line 6 " in line for line in wrong(study / "plain"))
    file.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    assert wrong(study / "plain") == [line for line in wrong(study / "plain") if "the column check" in line] != []


def test_a_row_changed_together_with_its_check_is_still_not_what_was_scored(study: Path) -> None:
    file = study / "plain" / "s0" / "predictions.csv"
    head, *rows = [line.rpartition(",")[0] for line in file.read_text().splitlines()]
    cells = rows[3].split(",")
    cells[8], cells[9] = cells[9], cells[8]
    file.write_text(with_checks("\n".join([head, *rows[:3], ",".join(cells), *rows[4:]])))
    assert any("sha256" in line for line in wrong(study / "plain" / "s0"))


def test_files_of_an_earlier_version(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "old", 0, checks=False)
    found = verify(run)
    assert not found.wrong and len(found.remarks) == 1 and f"auscult evaluate {run}" in found.remarks[0]
    file = run / "predictions.csv"
    text = file.read_text()
    head, row = text.splitlines()[:2]
    said = dict(zip(head.split(","), row.split(","), strict=True))
    other = "wheeze" if said["predicted"] != "wheeze" else "both"
    change(file, f",{said['truth']},{said['predicted']},", f",{said['truth']},{other},")
    (line,) = wrong(run)
    assert f"column predicted: found {other}, expected {said['predicted']}" in line and "line 2 (" in line
    file.write_text(text)
    change(file, rf"{said['truth']},{said['predicted']},0\.", f"{said['truth']},{said['predicted']},1.")
    assert any("sum of the probabilities: found" in line for line in wrong(run))


def test_files_that_are_not_there_or_not_whole(study: Path) -> None:
    run = study / "plain" / "s0"
    text = (run / "scores.json").read_text()
    (run / "scores.json").write_text(text[:-20])
    assert any("cannot be read" in line for line in wrong(run))
    (run / "scores.json").write_text("{}")
    assert any("not what auscult writes" in line for line in wrong(run))
    (run / "scores.json").unlink()
    assert any(str(run / "scores.json") in line and "expected a file" in line for line in wrong(run))
    (run / "predictions.csv").unlink()
    (study / "study.md").unlink()
    found = wrong(study)
    assert any("study.json: rows.plain.runs.0: found" in line and "expected nothing" in line for line in found)
    assert any("study.md: file: found nothing" in line for line in found)
    assert verify(study / "better").wrong == []


def test_a_study_without_a_table_and_a_folder_without_anything(study: Path, tmp_path: Path) -> None:
    for name in ("study.json", "study.md"):
        (study / name).unlink()
    found = verify(study)
    assert not found.wrong and any("no table yet" in remark for remark in found.remarks)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AuscultError, match="nothing to verify"):
        verify(tmp_path / "empty")


@pytest.mark.parametrize(
    ("file", "pattern", "place"),
    [
        ("results.md", r"\| inter \| grouped \| \*\*\d+\.\d\d", "row 'inter grouped', column 'seed 0'"),
        ("results.md", r"4-class \| plain \| 2 \| \d\d\.\d\d", "row '4-class plain', column 'Sp'"),
        ("results/studies/toy.json", r'"normal_correct": \[\d', "normal_correct"),
        ("results/studies/toy.json", r'"Score": 0\.\d+', "rows.plain.runs.0.parts.inter.scores.4-class.Score"),
        ("results/studies/toy.json", r'"interval_95": \[0\.\d+', "scores.4-class.interval_95[0]"),
        ("results/studies/toy.json", r'"confusion": \[\s+\[\d', "confusion, "),
        ("results/toy_run_s1.json", r'"abnormal_correct": \d+', "parts.inter.scores.4-class.abnormal_correct"),
        ("results/toy_run_s1.json", r'"HS": 0\.\d+', "parts.inter.scores.grouped.HS"),
    ],
)
def test_one_changed_digit_of_the_page_or_beside_it(docs: Path, file: str, pattern: str, place: str) -> None:
    change(docs / file, pattern)
    found = wrong(docs)
    assert any(file in line and place in line for line in found), found


def test_a_table_that_the_page_does_not_have(docs: Path) -> None:
    page = docs / "results.md"
    text = page.read_text()
    page.write_text(text.replace("| part | task | seed 0", "| part | seed 0"))
    assert any("the table" in line for line in wrong(docs))
    page.write_text(text.replace("study toy", "study tor"))
    assert any("no place for toy" in line for line in wrong(docs))


def test_a_comparison_stands_in_the_page(whole: Path, docs: Path) -> None:
    record = docs / "results" / "pair" / "compare.json"
    write_comparison(record.parent, compare([docs / "results" / "studies" / "toy.json"], base=record.parent))
    page = docs / "results.md"
    page.write_text(page.read_text() + "<!-- comparison pair -->\n<!-- end -->\n")
    assert any("results.md: line" in line for line in wrong(docs))
    make_page([str(page), str(docs / "results" / "studies" / "toy.json"), str(record)])
    assert not wrong(docs)
    change(page, r"p \(Holm\).*\n.*\n.*?\| 0\.\d+")
    assert any("results.md: line" in line and "column 'p'" in line for line in wrong(docs))


def test_exit_code_and_words(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = App(result_action="return_value", exit_on_error=False, print_error=False)
    app.default(command)
    assert app([str(study)]) == 0
    assert "4 runs, 1 studies, 1 comparisons checked: every figure follows" in capsys.readouterr().out
    change(study / "study.md", r"normal found.*\n.*\n.*?\d+ of \d+")
    assert app([str(study)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"wrong: {study / 'study.md'}: line ") and "1 mismatches" in out[-1]
