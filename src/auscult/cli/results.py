"""What `auscult predict` has found, counted and written: one pass over the journal makes every table."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..analysis import RESEARCH_ONLY
from ..analysis.spreadsheet import csv_lines
from ..scoring import Line
from .inputs import Missing, mirrored
from .journal import Journal

if TYPE_CHECKING:
    from ..predict import Model
    from ..prediction import Prediction

ALL_FAILED, SOME_FAILED = 1, 3
SHOWN = 20
SHOWN_BREATHS = 60  # an hour has a thousand
TABLES = ("csv", "json", "jsonl")


@dataclass(kw_only=True)
class Count:
    """Recordings that came to something, and those that did not; a few of each to show."""

    predictions: int = 0
    breaths: int = 0
    first: "list[Prediction]" = field(default_factory=list)
    errors: list[Missing] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        if not self.errors:
            return 0
        return SOME_FAILED if self.predictions else ALL_FAILED


def tally(line: Line, made: "Prediction | None", count: Count) -> None:
    """Counts a line of the journal."""
    if made is None:
        count.errors.append((line["recording"], *line["error"]))
        return
    count.predictions += 1
    count.breaths += len(made.cycles)
    if len(count.first) < SHOWN:
        count.first.append(made)


def write(
    model: "Model",
    formats: Sequence[str],
    journal: Journal,
    keys: list[tuple[str, str]],
    files: list[Path],
    missing: list[Missing],
    out: Path,
    about: Line,
) -> Count:
    """The files of a results folder, from the journal, in the order of the recordings; each appears whole."""
    from ..prediction import Prediction, header, summary_header, summary_row
    from ..runs import environment, write_json

    count = Count(errors=list(missing))
    everything: list[Line] = []
    with ExitStack() as stack:
        recordings = opened(stack, out / "recordings.csv", summary_header(model.classes))
        columns = header(model.classes, model.scale is not None, model.calibrated)
        predictions = opened(stack, out / "predictions.csv", columns)
        errors = opened(stack, out / "errors.csv", ("recording", "code", "message"))
        jsonl = opened(stack, out / "predictions.jsonl") if "jsonl" in formats else None
        for line in journal.lines(keys):
            made = Prediction.from_dict(line["prediction"]) if "prediction" in line else None
            tally(line, made, count)
            if made is None:
                continue
            recordings.writelines(csv_lines([summary_row(made)]))
            predictions.writelines(csv_lines(made.rows()))
            if jsonl:
                jsonl.write(json.dumps(made.to_dict()) + "\n")
            if "json" in formats:
                everything.append(made.to_dict())
        errors.writelines(csv_lines(count.errors))
    if "json" in formats:
        write_json(out / "predictions.json", {"note": RESEARCH_ONLY, "predictions": everything})
    write_annotations([kind for kind in formats if kind not in TABLES], journal, keys, files, out / "annotations")
    counts = {"recordings": count.predictions, "breaths": count.breaths, "errors": len(count.errors)}
    facts = {"file": model.file.name, "sha256": model.sha256, "classes": model.classes, **model.facts}
    record = about | counts | {"weights": facts, "clip_s": model.clip.length_s}
    write_json(out / "run.json", record | {"environment": environment()})
    return count


def write_annotations(
    kinds: Sequence[str], journal: Journal, keys: list[tuple[str, str]], files: list[Path], folder: Path
) -> None:
    """A file a recording and kind, where there are breaths."""
    from ..formats import ENDINGS
    from ..prediction import Prediction
    from ..runs import write_text

    stems = dict(zip((key[0] for key in keys), mirrored(files), strict=False))
    for line in journal.lines(keys) if kinds else ():
        if "prediction" in line and (made := Prediction.from_dict(line["prediction"])).cycles:
            for kind in kinds:
                write_text(folder / f"{stems[made.recording]}{ENDINGS[kind]}", made.as_text(kind))


def opened(stack: ExitStack, path: Path, columns: Sequence[str] = ()) -> TextIO:
    """A text file that appears, whole, when the stack ends well; a table begins with its columns."""
    from ..runs import replacing

    file = stack.enter_context(stack.enter_context(replacing(path)).open("w", encoding="utf-8", newline=""))
    file.writelines(csv_lines([columns] if columns else []))
    return file


def show(count: Count, out: Path) -> None:
    """What is printed: results on stdout, words about them on stderr."""
    from rich.console import Console

    from ..analysis import tables
    from ..progress import say

    console = Console()
    if count.predictions == 1:
        made = count.first[0]
        first = replace(made, cycles=made.cycles[:SHOWN_BREATHS])
        tables.show(console, made.recording, tables.cycle_table(first))
        if len(made.cycles) > SHOWN_BREATHS:
            console.print(f"the first {SHOWN_BREATHS} of {len(made.cycles)} breaths", highlight=False)
        for line in tables.spoken(count.first[0]):
            console.print(line, highlight=False, markup=False)
    elif count.predictions:
        tables.show(console, "recordings, and their breaths of each class", tables.recording_table(count.first))
    for recording, code, message in count.errors[:SHOWN]:
        say(f"{recording}: {code}: {message}" if recording not in message else f"{code}: {message}")
    more = "" if count.predictions <= SHOWN else f" (the first {SHOWN} are shown)"
    say(f"recordings: {count.predictions}{more}, breaths: {count.breaths}, errors: {len(count.errors)}; all in {out}")
