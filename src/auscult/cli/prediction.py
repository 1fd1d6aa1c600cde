"""`auscult predict`: recordings in, tables out; one bad file is a row in errors.csv."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ..analysis import RESEARCH_ONLY
from ..analysis.spreadsheet import csv_lines, printable
from ..errors import AuscultError, unknown
from .inputs import check_out, expand, mirrored
from .journal import Journal, Line, content_hash
from .process import prepare_process

if TYPE_CHECKING:
    from ..predict import Model
    from ..prediction import Prediction

FLAG = Parameter(negative="", show_default=False)
ALL_FAILED, SOME_FAILED = 1, 3
SHOWN = 20
SHOWN_BREATHS = 60  # an hour has a thousand
TABLES = ("csv", "json", "jsonl")
STDOUT = Path("-")
How = Literal["auto", "segment", "windows", "whole"]


@dataclass(kw_only=True)
class Job:
    """What is asked of every recording.

    Args:
        how: where the breaths come from.
        annotations: folder of annotation files.
        formats: what to write.
    """

    model: "Model"
    how: How
    annotations: Path | None
    formats: tuple[str, ...]

    def line(self, file: Path, sha256: str) -> Line:
        """What becomes of one recording, for the journal."""
        told: Line = {"recording": printable(str(file)), "sha256": sha256}
        try:
            made = self.model.predict(file, annotations=self.annotations, how=self.how)
            return told | {"prediction": made.to_dict()}
        except AuscultError as error:
            return told | {"error": [error.code, printable(error.message)]}


@dataclass(kw_only=True)
class Count:
    """Recordings that came to something, and those that did not; a few of each to show."""

    predictions: int = 0
    breaths: int = 0
    first: "list[Prediction]" = field(default_factory=list)
    errors: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        if not self.errors:
            return 0
        return SOME_FAILED if self.predictions else ALL_FAILED


def predict(
    *paths: Path,
    model: str | None = None,
    out: Annotated[Path, Parameter(allow_leading_hyphen=True)] = Path("results"),
    format: str = "csv",
    cycles: How = "auto",
    annotations: Path | None = None,
    selection: Literal["last", "validation", "best_on_test"] | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    calibrated: Annotated[bool | None, Parameter(negative="--uncalibrated", show_default=False)] = None,
    resume: Annotated[bool, FLAG] = False,
    overwrite: Annotated[bool, FLAG] = False,
) -> int:
    """Classifies recordings, breath by breath. Research use only, not a medical device.

    The results folder gets predictions.csv (a row a breath), recordings.csv (a row a recording, with what can be said
    of it as a whole), errors.csv and run.json. Exit code: 0 all well, 1 all failed, 2 usage, 3 some failed.

    Args:
        paths: audio files, folders (searched to the bottom), or patterns such as 'day1/*.wav'.
        model: a name, a run folder or a weights file; the model in the package without it.
        out: the results folder; never beside the recordings. - prints to stdout and leaves no file.
        format: with commas: csv, json, jsonl; icbhi, audacity, raven, textgrid make a file a recording.
        cycles: where the breaths come from: auto takes an annotation file beside the recording (.txt of ICBHI, .json of
            SPRSound), else finds them; segment always finds them; windows cuts windows of the model's clip length;
            whole takes the recording in one pass, 1 s to 1 h.
        annotations: folder of annotation files, instead of those beside the recordings.
        selection: which epoch's weights of a run; the recipe's own choice without it.
        precision: bf16 is quicker where the processor has it; probabilities then differ in the second or third digit.
        calibrated: with the temperature and threshold of the model; without the option where there are any.
        resume: go on with the results in the folder: what is done, by content, is not done again.
        overwrite: replace results that are in the folder.
    """
    formats = checked(paths, format, out, cycles, annotations, resume, overwrite)
    from ..predict import load
    from ..progress import say

    files, missing = expand(paths)
    if out != STDOUT:
        check_out(out, files, overwrite or resume)
    prepare_process(lean=model is None)
    loaded = load(model, selection=selection, precision=precision, calibrated=calibrated)
    if cycles == "whole":
        loaded.check_any_length()
    say(RESEARCH_ONLY)
    job = Job(model=loaded, how=cycles, annotations=annotations, formats=formats)
    if out == STDOUT:
        return to_stdout(job, files, missing)
    return to_folder(job, files, missing, out, resume)


def checked(
    paths: tuple[Path, ...],
    format: str,
    out: Path,
    cycles: How,
    annotations: Path | None,
    resume: bool,
    overwrite: bool,
) -> tuple[str, ...]:
    """The formats, if the options go together.

    Raises:
        AuscultError: E_SETTING.
    """
    from ..formats import WRITERS

    if not paths:
        raise AuscultError("E_SETTING", "no recording given; name audio files or folders.")
    formats = tuple(dict.fromkeys(word.strip() for word in format.split(",")))
    for name in formats:
        if name not in (*TABLES, *WRITERS):
            raise unknown("format", name, (*TABLES, *WRITERS))
    if annotations is not None and not annotations.is_dir():
        raise AuscultError("E_SETTING", f"--annotations {annotations} is not a folder.")
    if annotations is not None and cycles != "auto":
        raise AuscultError(
            "E_SETTING", f"--cycles {cycles} looks at no annotation; leave out --annotations or --cycles."
        )
    if out == STDOUT and (len(formats) > 1 or formats[0] not in TABLES):
        raise AuscultError("E_SETTING", f"--out - prints one of {', '.join(TABLES)}; --format {format} needs a folder.")
    if resume and (overwrite or out == STDOUT):
        raise AuscultError("E_SETTING", "--resume goes on with a results folder; leave out --overwrite, and --out -.")
    return formats


def to_stdout(job: Job, files: list[Path], missing: list[tuple[str, str, str]]) -> int:
    """Data on stdout, one recording after another, and nothing else; errors on stderr too."""
    from ..prediction import Prediction, header
    from ..progress import say

    count, kind, shown = Count(errors=list(missing)), job.formats[0], list[Any]()
    for number, file in enumerate(files):
        line = job.line(file, "")
        made = Prediction.from_dict(line["prediction"]) if "prediction" in line else None
        tally(line, made, count)
        if kind == "jsonl":
            print(json.dumps({key: line[key] for key in line if key != "sha256"}), flush=True)
        elif kind == "json":
            shown += [line["prediction"]] if made else []
        else:
            rows = made.rows() if made else []
            first = [header(job.model.classes, job.model.scale is not None, job.model.calibrated)]
            sys.stdout.writelines(csv_lines(chain(first if number == 0 else [], rows)))
    if kind == "json":
        errors = [dict(zip(("recording", "code", "message"), row, strict=True)) for row in count.errors]
        print(json.dumps({"note": RESEARCH_ONLY, "predictions": shown, "errors": errors}, indent=2))
    for _, code, message in count.errors[:SHOWN]:
        say(f"{code}: {message}")
    return count.exit_code


def to_folder(job: Job, files: list[Path], missing: list[tuple[str, str, str]], out: Path, resume: bool) -> int:
    """Results in a folder; what is done is not lost when a long job is stopped."""
    from ..breaths import annotation_of
    from ..config import fingerprint
    from ..progress import say, track

    asked: Line = {
        "note": RESEARCH_ONLY,
        "model_sha256": job.model.sha256,
        "precision": job.model.precision,
        "calibrated": job.model.calibrated,
        "choice": fingerprint(job.model.choice.to_dict()),
        "cycles": job.how,
        "annotations": str(job.annotations) if job.annotations else None,
    }
    journal = Journal(out, asked, resume)
    keys: list[tuple[str, str]] = []
    started, state, kept = time.perf_counter(), "stopped", 0
    try:
        for file in track(files, "recordings"):
            sha256 = content_hash(file, annotation_of(file, job.annotations) if job.how == "auto" else None)
            if sha256 and journal.done(file, sha256):
                kept += 1
            else:
                journal.add(job.line(file, sha256))
            keys.append((printable(str(file)), sha256))
        state = "finished"
    finally:
        about = asked | {"state": state, "seconds": round(time.perf_counter() - started, 1)}
        count = write(job, journal, keys, files, missing, out, about)
        journal.close()
    if kept:
        say(f"{kept} of {len(files)} recordings were done before")
    show(job, count, out)
    return count.exit_code


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
    job: Job,
    journal: Journal,
    keys: list[tuple[str, str]],
    files: list[Path],
    missing: list[tuple[str, str, str]],
    out: Path,
    about: Line,
) -> Count:
    """The files of a results folder, from the journal, in the order of the recordings; each appears whole."""
    from ..formats import ENDINGS
    from ..prediction import Prediction, header, summary_header, summary_row
    from ..runs import environment, write_json, write_text

    count = Count(errors=list(missing))
    stems = dict(zip((key[0] for key in keys), mirrored(files), strict=False))
    own = [kind for kind in job.formats if kind not in TABLES]

    def predictions(tallied: bool = False) -> "Iterator[Prediction]":
        for line in journal.lines(keys):
            made = Prediction.from_dict(line["prediction"]) if "prediction" in line else None
            if tallied:
                tally(line, made, count)
            if made is not None:
                yield made

    summaries = (summary_row(made) for made in predictions(tallied=True))
    write_lines(out / "recordings.csv", csv_lines(chain([summary_header(job.model.classes)], summaries)))
    columns = header(job.model.classes, job.model.scale is not None, job.model.calibrated)
    rows = chain.from_iterable(made.rows() for made in predictions())
    write_lines(out / "predictions.csv", csv_lines(chain([columns], rows)))
    write_lines(out / "errors.csv", csv_lines(chain([("recording", "code", "message")], count.errors)))
    if "jsonl" in job.formats:
        write_lines(out / "predictions.jsonl", (json.dumps(made.to_dict()) + "\n" for made in predictions()))
    if "json" in job.formats:
        write_json(
            out / "predictions.json", {"note": RESEARCH_ONLY, "predictions": [p.to_dict() for p in predictions()]}
        )
    for made in predictions() if own else ():
        for kind in own:
            place = out / "annotations" / f"{stems[made.recording]}{ENDINGS[kind]}"
            place.parent.mkdir(parents=True, exist_ok=True)
            if made.cycles:
                write_text(place, made.as_text(kind))
    counts = {"recordings": count.predictions, "breaths": count.breaths, "errors": len(count.errors)}
    facts = {"file": job.model.file.name, "sha256": job.model.sha256, "classes": job.model.classes, **job.model.facts}
    record = about | counts | {"weights": facts, "clip_s": job.model.clip.length_s}
    write_json(out / "run.json", record | {"environment": environment()})
    return count


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Text that is made line by line; it appears whole or not at all."""
    from ..runs import replacing

    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


def show(job: Job, count: Count, out: Path) -> None:
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
