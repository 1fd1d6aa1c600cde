"""`auscult predict`: recordings in, tables out; one bad file is a row in errors.csv."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ..analysis import RESEARCH_ONLY
from ..analysis.spreadsheet import csv_text, printable
from ..errors import AuscultError
from .inputs import check_out, expand
from .process import prepare_process

if TYPE_CHECKING:
    from ..predict import Model, Prediction

FLAG = Parameter(negative="", show_default=False)
ALL_FAILED, SOME_FAILED = 1, 3
SHOWN = 20
WINDOWS = (
    "Recordings without annotated breathing cycles, {n} of {all}: they are cut into windows of {length:g} s, one after "
    "another. A window may hold more than one breath, or none; automatic breath detection is not built yet."
)


@dataclass(kw_only=True)
class Results:
    """What came of every input: a prediction, or a row (path, code, message)."""

    predictions: "list[Prediction]" = field(default_factory=list)
    errors: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        if not self.errors:
            return 0
        return SOME_FAILED if self.predictions else ALL_FAILED


def predict(
    run: Path,
    /,
    *paths: Path,
    out: Path = Path("results"),
    format: Literal["csv", "json"] = "csv",
    annotations: Path | None = None,
    whole: Annotated[bool, FLAG] = False,
    selection: Literal["last", "validation", "best_on_test"] | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    calibrated: Annotated[bool, FLAG] = False,
    overwrite: Annotated[bool, FLAG] = False,
) -> int:
    """Classifies recordings, breath by breath. Research use only, not a medical device.

    Breathing cycles come from an annotation file beside the recording, of the same name with .txt (ICBHI) or .json
    (SPRSound); without one the recording is cut into windows of the model's clip length. The results folder gets
    predictions.csv, recordings.csv, errors.csv and run.json. Exit code: 0 all well, 1 all failed, 3 some failed.

    Args:
        run: a run folder or a weights file.
        paths: audio files, folders (searched to the bottom), or patterns such as 'day1/*.wav'.
        out: the results folder; never beside the recordings.
        format: json prints the predictions as JSON on stdout; csv prints a table.
        annotations: folder of annotation files, instead of those beside the recordings.
        whole: one result a recording: all of it through the network in one pass, 1 s to 1 h, whatever is annotated.
        selection: which epoch's weights; the recipe's own choice without it.
        precision: bf16 is quicker where the processor has it; probabilities then differ in the second or third digit.
        calibrated: with RUN/calibration.json of `auscult analyse calibration`: calibrated probabilities, and a column
            abnormal by its threshold.
        overwrite: replace results that are in the folder.
    """
    if not paths:
        raise AuscultError("E_SETTING", "no recording given; name audio files or folders after the run.")
    if annotations is not None and not annotations.is_dir():
        raise AuscultError("E_SETTING", f"--annotations {annotations} is not a folder.")
    if annotations is not None and whole:
        raise AuscultError("E_SETTING", "--whole looks at no annotation; leave out --annotations, or --whole.")
    from ..predict import load
    from ..progress import say

    files, missing = expand(paths)
    check_out(out, files, overwrite)
    prepare_process()
    model = load(run, selection=selection, precision=precision, calibrated=calibrated)
    if whole:
        model.check_any_length()
    say(RESEARCH_ONLY)
    results = Results(errors=missing)
    options: dict[str, Any] = {
        "run": str(run),
        "precision": precision,
        "calibrated": calibrated,
        "paths": [printable(str(p)) for p in paths],
        "annotations": str(annotations) if annotations else None,
        "whole": whole,
    }
    started, state = time.perf_counter(), "stopped"
    try:
        classify(model, files, annotations, whole, results)
        state = "finished"
    finally:  # what is done is not lost when a long job is stopped
        options |= {"state": state, "seconds": round(time.perf_counter() - started, 1)}
        write(out, model, results, options)
    show(model, results, out, format)
    return results.exit_code


def classify(model: "Model", files: Iterable[Path], annotations: Path | None, whole: bool, results: Results) -> None:
    """Fills `results`, one file after another."""
    from ..progress import track

    for file in track(list(files), "recordings"):
        try:
            cycles: Literal["whole"] | None = "whole" if whole else None
            results.predictions.append(model.predict(file, cycles=cycles, annotations=annotations))
        except AuscultError as error:
            results.errors.append((printable(str(file)), error.code, printable(error.message)))


def write(out: Path, model: "Model", results: Results, options: dict[str, Any]) -> None:
    """The four files of a results folder."""
    from ..runs import environment, write_json, write_text

    rows = [row for p in results.predictions for row in p.rows()]
    write_text(out / "predictions.csv", csv_text(model.header, rows))
    columns = ["recording", "duration_s", "native_rate_hz", "cycles_from", "cycles"]
    columns += [*(f"n_{name}" for name in model.classes), "notes"]
    recordings = [
        [p.recording, p.duration_s, p.native_rate_hz, p.cycles_from, len(p.cycles), *p.counts(), "; ".join(p.notes)]
        for p in results.predictions
    ]
    write_text(out / "recordings.csv", csv_text(columns, recordings))
    write_text(out / "errors.csv", csv_text(["recording", "code", "message"], results.errors))
    counts = {"recordings": len(recordings), "cycles": len(rows), "errors": len(results.errors)}
    facts = {"file": str(model.file), "sha256": model.sha256, "classes": model.classes, **model.facts}
    record = {"note": RESEARCH_ONLY, **options, **counts, "weights": facts, "clip_s": model.clip.length_s}
    write_json(out / "run.json", record | {"environment": environment()})


def show(model: "Model", results: Results, out: Path, format: str) -> None:
    """What is printed: results on stdout, words about them on stderr."""
    from rich.console import Console

    from ..analysis import tables
    from ..progress import say

    console = Console()
    if format == "json":
        errors = [dict(zip(("recording", "code", "message"), row, strict=True)) for row in results.errors]
        predictions = [p.to_dict() for p in results.predictions]
        print(json.dumps({"note": RESEARCH_ONLY, "predictions": predictions, "errors": errors}, indent=2))
    elif len(results.predictions) == 1:
        tables.show(console, results.predictions[0].recording, tables.cycle_table(results.predictions[0]))
    elif results.predictions:
        table = tables.recording_table(results.predictions[:SHOWN])
        tables.show(console, "predicted cycles of each class", table)
    for recording, code, message in results.errors[:SHOWN]:
        say(f"{recording}: {code}: {message}" if recording not in message else f"{code}: {message}")
    windows = sum(p.cycles_from == "windows" for p in results.predictions)
    if windows:
        say(WINDOWS.format(n=windows, all=len(results.predictions), length=model.clip.length_s))
    cycles = sum(len(p.cycles) for p in results.predictions)
    more = "" if len(results.predictions) <= SHOWN or format == "json" else f" (the first {SHOWN} are shown)"
    say(f"recordings: {len(results.predictions)}{more}, cycles: {cycles}, errors: {len(results.errors)}; all in {out}")
