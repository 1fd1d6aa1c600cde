"""`auscult predict`: recordings in, tables out; one bad file is a row in errors.csv."""

import json
import os
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ..analysis import RESEARCH_ONLY
from ..analysis.spreadsheet import csv_lines, printable
from ..blas import tune_torch
from ..errors import AuscultError, unknown
from ..scoring import How, Line, Scorer, Scoring, Task
from .inputs import Missing, check_out, expand
from .journal import Journal, content_hash
from .process import prepare_memory
from .results import SHOWN, TABLES, Count, show, tally, write

if TYPE_CHECKING:
    from ..predict import Model

FLAG = Parameter(negative="", show_default=False)
STDOUT = Path("-")
MANY = 16  # recordings from which a process a core, which takes half a second to start, is sooner done than one alone
Engine = Literal["local", "ray"]


@dataclass(kw_only=True)
class Job:
    """What is done with all recordings.

    Args:
        scorer: makes a line of each.
        workers: processes that do it; None for this one, or for all cores of a cluster.
        engine: where they are.
        formats: what to write.
    """

    scorer: Scorer
    workers: int | None
    engine: Engine
    formats: tuple[str, ...]

    @property
    def model(self) -> "Model":
        return self.scorer.model

    def lines(self, tasks: Iterable[Task], in_order: bool = False) -> Generator[Line, None, None]:
        """What becomes of each recording; from workers as it comes, unless asked for in order."""
        if self.engine == "ray":
            from ..ray_workers import ray_workers

            with ray_workers(self.scorer.asked, self.workers, self.model.sha256) as workers:
                yield from workers.lines(tasks, in_order)
        elif self.workers is not None:
            from ..workers import Workers

            with Workers(self.scorer.asked, self.workers, self.model.sha256) as workers:
                yield from workers.lines(tasks, in_order)
        else:
            yield from (self.scorer.line(*task) for task in tasks)


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
    workers: int | None = None,
    engine: Engine = "local",
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
        workers: this many processes share the recordings; each has one thread, so that results are the same with any
            number of them. A recording that ends a process costs itself only. Without the option: one a core for 16
            recordings or more, by a model that needs no torch (80 MB a process), else this process alone; with
            --engine ray every core of the cluster.
        engine: ray has the workers on the machines of the Ray cluster that RAY_ADDRESS names, or of one that is
            started on this machine alone.
        resume: go on with the results in the folder: what is done, by content, is not done again.
        overwrite: replace results that are in the folder.
    """
    formats = checked(paths, format, out, cycles, annotations, workers, resume, overwrite)
    from ..progress import say

    files, missing = expand(paths)
    if out != STDOUT:
        check_out(out, files, overwrite or resume)
    prepare_memory()
    scorer = Scoring(
        model=model,
        selection=selection,
        precision=precision,
        calibrated=calibrated,
        how=cycles,
        annotations=str(annotations) if annotations else None,
    ).build()
    tune_torch()
    say(RESEARCH_ONLY)
    if workers is None and engine == "local" and scorer.model.light and len(files) >= MANY:
        workers = cores()
    job = Job(scorer=scorer, workers=workers, engine=engine, formats=formats)
    if out == STDOUT:
        return to_stdout(job, files, missing)
    return to_folder(job, files, missing, out, resume)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checked(
    paths: tuple[Path, ...],
    format: str,
    out: Path,
    cycles: How,
    annotations: Path | None,
    workers: int | None,
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
    if workers is not None and workers < 1:
        raise AuscultError("E_SETTING", f"--workers {workers}: 1 or more processes; leave it out to do without.")
    if out == STDOUT and (len(formats) > 1 or formats[0] not in TABLES):
        raise AuscultError("E_SETTING", f"--out - prints one of {', '.join(TABLES)}; --format {format} needs a folder.")
    if resume and (overwrite or out == STDOUT):
        raise AuscultError("E_SETTING", "--resume goes on with a results folder; leave out --overwrite, and --out -.")
    return formats


def to_stdout(job: Job, files: list[Path], missing: list[Missing]) -> int:
    """Data on stdout, one recording after another, and nothing else; errors on stderr too."""
    from ..prediction import Prediction, header
    from ..progress import say

    count, kind, shown = Count(errors=list(missing)), job.formats[0], list[Any]()
    if kind == "csv" and files:
        sys.stdout.writelines(csv_lines([header(job.model.classes, job.model.scale is not None, job.model.calibrated)]))
    with closing(job.lines(((file, "") for file in files), in_order=True)) as lines:
        for line in lines:
            made = Prediction.from_dict(line["prediction"]) if "prediction" in line else None
            tally(line, made, count)
            if kind == "jsonl":
                print(json.dumps({key: line[key] for key in line if key != "sha256"}), flush=True)
            elif kind == "json":
                shown += [line["prediction"]] if made else []
            elif made:
                sys.stdout.writelines(csv_lines(made.rows()))
    if kind == "json":
        errors = [dict(zip(("recording", "code", "message"), row, strict=True)) for row in count.errors]
        print(json.dumps({"note": RESEARCH_ONLY, "predictions": shown, "errors": errors}, indent=2))
    for _, code, message in count.errors[:SHOWN]:
        say(f"{code}: {message}")
    return count.exit_code


def to_folder(job: Job, files: list[Path], missing: list[Missing], out: Path, resume: bool) -> int:
    """Results in a folder; what is done is not lost when a long job is stopped."""
    from ..breaths import annotation_of
    from ..config import fingerprint
    from ..progress import say, track

    scoring = job.scorer.asked
    asked: Line = {
        "note": RESEARCH_ONLY,
        "model_sha256": job.model.sha256,
        "precision": job.model.precision,
        "calibrated": job.model.calibrated,
        "choice": fingerprint(job.model.choice.to_dict()),
        "cycles": scoring.how,
        "annotations": scoring.annotations,
    }
    journal = Journal(out, asked, resume)
    keys: list[tuple[str, str]] = []
    started, state, kept = time.perf_counter(), "stopped", 0

    def tasks() -> Generator[Task, None, None]:
        nonlocal kept
        annotations = Path(scoring.annotations) if scoring.annotations else None
        for file in track(files, "recordings"):
            sha256 = content_hash(file, annotation_of(file, annotations) if scoring.how == "auto" else None)
            keys.append((printable(str(file)), sha256))
            if sha256 and journal.done(file, sha256):
                kept += 1
            else:
                yield file, sha256

    try:
        with closing(tasks()) as todo, closing(job.lines(todo)) as lines:
            for line in lines:
                journal.add(line)
        state = "finished"
    finally:
        about = asked | {"state": state, "seconds": round(time.perf_counter() - started, 1)}
        count = write(job.model, job.formats, journal, keys, files, missing, out, about)
        journal.close()
    if kept:
        say(f"{kept} of {len(files)} recordings were done before")
    show(count, out)
    return count.exit_code
