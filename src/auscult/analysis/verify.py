"""`auscult verify`: every table of a folder again from its predictions, or from the integers stored beside it.

A folder may hold run folders, studies (plan.json), comparisons (compare.json) and pages of results (results.md with
results/). All that is found is checked.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import AuscultError
from ..runs import Run, read_json
from .compare import Scope, compare
from .compare_table import FILES as COMPARISON
from .compare_table import files as comparison_files
from .mismatch import NOTHING, Mismatch, json_file_mismatches, text_mismatches
from .study_record import as_before, dumps, record
from .study_report import page
from .study_table import markdown
from .verify_docs import verify_page
from .verify_run import home, unreadable, verify_run

MAIN = "<main>"  # before it the style of a page


@dataclass(kw_only=True)
class Verified:
    """What a check of a folder came to.

    Args:
        checked: how many of each kind of thing were made again.
        wrong: what is not what it should be.
        remarks: what could not be checked.
    """

    checked: dict[str, int] = field(default_factory=dict)
    wrong: list[Mismatch] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, kind: str, places: Sequence[Path], check: Callable[[Path], tuple[list[Mismatch], list[str]]]) -> None:
        """Checks several things of a kind; one that cannot be read is wrong, and the others are still looked at."""
        if places:
            self.checked[kind] = len(places)
        for place in places:
            try:
                wrong, remarks = check(place)
            except AuscultError as error:
                wrong, remarks = [unreadable(place, error)], []
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                lost = f"not what auscult writes ({type(error).__name__}: {error})"
                wrong = [Mismatch(file=str(place), place="content", found=lost, expected="files that auscult wrote")]
                remarks = []
            self.wrong += wrong
            self.remarks += remarks


def verify(folder: Path) -> Verified:
    """Checks everything in a folder.

    Raises:
        AuscultError: E_RUN when there is nothing to check.
    """
    found = Verified()
    scored = scored_runs(folder)
    beside = [place for place in scored if place != home(place)]
    found.add("runs", [place for place in scored if place not in beside], lambda place: verify_run(Run(place)))
    found.add("selections and splits", beside, lambda place: verify_run(Run(place)))
    found.add("studies", holders(folder, "plan.json"), verify_study)
    found.add("comparisons", holders(folder, "compare.json"), verify_comparison)
    pages = [page for page in holders(folder, "results.md") if (page / "results").is_dir()]
    found.add("pages", pages, verify_page)
    if not found.checked:
        raise AuscultError(
            "E_RUN", f"{folder} holds no scored run, no study, no comparison and no results.md; nothing to verify."
        )
    return found


def holders(folder: Path, name: str) -> list[Path]:
    """Folders at or below `folder` that hold a file of that name."""
    return sorted(file.parent for file in folder.rglob(name))


def scored_runs(folder: Path) -> list[Path]:
    """Run folders with scores or predictions of them; a folder of `auscult predict` has no truth and is none."""
    scored = {*holders(folder, "scores.json")}
    predicted = {place for place in holders(folder, "predictions.csv") if Run(home(place)).exists}
    return sorted(scored | predicted)


def verify_study(folder: Path) -> tuple[list[Mismatch], list[str]]:
    """A study's files against the record that the runs make, those of an earlier version against what it had."""
    json_file, table_file = folder / "study.json", folder / "study.md"
    if not json_file.is_file() and not table_file.is_file():
        return [], [f"{folder} has no table yet; `auscult study NAME --table --out {folder}` makes it."]
    try:
        known = record(folder)
    except AuscultError as error:
        return [Mismatch(file=str(json_file), place="runs", found=error.message, expected="runs to make it from")], []
    if json_file.is_file() and "views" not in read_json(json_file):
        known = as_before(known)
    texts = {json_file: dumps(known), table_file: markdown(known)}
    wrong = [m for file, text in texts.items() for m in file_mismatches(file, text)]
    return [*wrong, *page_mismatches(folder / "study.html", page(known))], []


def page_mismatches(file: Path, expected: str) -> Iterable[Mismatch]:
    """What a page says against what it should; how it looks is not compared, and a page is not asked for."""
    if not file.is_file():
        return []
    found = file.read_text(encoding="utf-8")
    start = max(found.find(MAIN), 0)
    return text_mismatches(str(file), found[start:], expected[expected.index(MAIN) :], found.count("\n", 0, start) + 1)


def file_mismatches(file: Path, expected: str) -> Iterable[Mismatch]:
    """A file against the text that it should have."""
    if not file.is_file():
        return [Mismatch(file=str(file), place="file", found=NOTHING, expected="a file")]
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".json":
        return text_mismatches(str(file), text, expected)
    return json_file_mismatches(str(file), text, json.loads(expected), expected)


def verify_comparison(folder: Path) -> tuple[list[Mismatch], list[str]]:
    """The files of a comparison against the runs that it names."""
    told = read_json(folder / COMPARISON[0])
    known = compare([folder / path for path in told["inputs"]], Scope(**told["scope"]), folder)
    return [m for name, text in comparison_files(known).items() for m in file_mismatches(folder / name, text)], []
