"""`auscult segment`: the breathing cycles of recordings, found by themselves."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..analysis.spreadsheet import csv_text, printable
from ..errors import AuscultError
from .inputs import check_out, expand
from .process import prepare_memory

Interval = tuple[float, float]
Format = Literal["txt", "csv"]
ALL_FAILED, SOME_FAILED = 1, 3


def segment(
    *paths: Path,
    out: Path | None = None,
    format: Format = "txt",
    overwrite: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Finds the breathing cycles of recordings, from the start of an inspiration to the start of the next.

    Prints them, or writes them into a folder. A recording where no breathing can be told has none: it is named, and
    has an empty file or no row. Exit code: 0 all well, 1 all failed, 3 some failed.

    Args:
        paths: audio files, folders (searched to the bottom), or patterns such as 'day1/*.wav'.
        out: folder to write to; never beside the recordings. Printed without it.
        format: txt has start and end in seconds, parted by a tab, as the first columns of an ICBHI annotation: a file
            for each recording, and where several are printed its name before them. csv is one table with a header.
        overwrite: replace results that are in the folder.
    """
    from ..progress import say, track
    from ..signal.segment import segment_file

    if not paths:
        raise AuscultError("E_SETTING", "no recording given; name audio files or folders.")
    files, missing = expand(paths)
    if out is not None:
        check_stems(files, format)
        check_out(out, files, overwrite)
    prepare_memory()
    found: dict[Path, list[Interval]] = {}
    errors = [(code, text) for _, code, text in missing]
    for file in track(files, "recordings"):
        try:
            found[file] = segment_file(file)
        except AuscultError as error:
            errors.append((error.code, error.message))
    for name, text in texts(found, format, together=out is None).items():
        put(text, out, name)
    for file in (file for file, cycles in found.items() if not cycles):
        say(f"{printable(str(file))}: no breathing cycle can be told")
    for code, text in errors:
        say(f"{code}: {printable(text)}")
    cycles = sum(map(len, found.values()))
    say(f"recordings: {len(found)}, cycles: {cycles}, errors: {len(errors)}{f'; all in {out}' if out else ''}")
    return 0 if not errors else SOME_FAILED if found else ALL_FAILED


def check_stems(files: Sequence[Path], format: Format) -> None:
    """Refuses two recordings that would write one file.

    Raises:
        AuscultError: E_SETTING.
    """
    first: dict[str, Path] = {}
    for file in files if format == "txt" else ():
        other = first.setdefault(file.stem, file)
        if other != file:
            both = f"{printable(str(other))!r} and {printable(str(file))!r}"
            raise AuscultError("E_SETTING", f"{both} would both be {file.stem}.txt; use --format csv, or two folders.")


def texts(found: dict[Path, list[Interval]], format: Format, together: bool) -> dict[str, str]:
    """File name -> its text; one file where all are printed together."""
    if format == "csv":
        rows = [(str(file), *_seconds(cycle)) for file, cycles in found.items() for cycle in cycles]
        return {"cycles.csv": csv_text(("recording", "start_s", "end_s"), rows)}
    if not together:
        return {f"{file.stem}.txt": _lines([_seconds(c) for c in cycles]) for file, cycles in found.items()}
    named = len(found) > 1
    lines: list[Sequence[str]] = [
        (*([printable(str(file))] * named), *_seconds(cycle)) for file, cycles in found.items() for cycle in cycles
    ]
    return {"": _lines(lines)}


def put(text: str, out: Path | None, name: str) -> None:
    """Prints a text, or writes it into the folder."""
    from ..runs import write_text

    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out / name, text)


def _seconds(cycle: Interval) -> tuple[str, str]:
    start_s, end_s = cycle
    return f"{start_s:.3f}", f"{end_s:.3f}"


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)
