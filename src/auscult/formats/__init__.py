"""Annotations of breaths in the formats that others read: ICBHI txt, Audacity labels, Raven tables, Praat TextGrids.

    text = write("audacity", [Row(0.036, 0.579, "crackle", 0.83)], "101_1b1.wav", duration_s=20.0)
    rows = read("audacity", "101_1b1.audacity.txt")

A format is one file here, with `write_text`, `read_text` and their line in the tables below. Times are written to the
microsecond. What was written reads back the same, as far as the format can hold it: ICBHI txt holds crackle and wheeze
and no confidence, Audacity labels and TextGrids hold two decimals of the confidence.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from ..errors import unknown
from . import audacity, icbhi, raven, textgrid
from .row import Row, checked
from .text import lines

Kind = Literal["icbhi", "audacity", "raven", "textgrid"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WRITERS = {
    "icbhi": icbhi.write_text,
    "audacity": audacity.write_text,
    "raven": raven.write_text,
    "textgrid": textgrid.write_text,
}
READERS = {
    "icbhi": icbhi.read_text,
    "audacity": audacity.read_text,
    "raven": raven.read_text,
    "textgrid": textgrid.read_text,
}
ENDINGS = {
    "icbhi": ".icbhi.txt",
    "audacity": ".audacity.txt",
    "raven": ".raven.txt",
    "textgrid": ".TextGrid",
}
"""What the name of a file ends with, behind the stem of its recording."""


def write(kind: str, rows: Sequence[Row], recording: str, duration_s: float) -> str:
    """The rows as text of a format, in order of time; write it as UTF-8.

    Args:
        kind: ``icbhi``, ``audacity``, ``raven`` or ``textgrid``.
        recording: path of the audio file; a Raven table names it.
        duration_s: its length in seconds; a TextGrid spans it.

    Raises:
        AuscultError: E_SETTING for an unknown format, E_ANNOTATION for a row that the format cannot hold.
    """
    if kind not in WRITERS:
        raise unknown("format", kind, WRITERS)
    return WRITERS[kind](checked(rows), recording, duration_s)


def read(kind: str, path: str | Path) -> list[Row]:
    """The rows of an annotation file, in order of time; at least one, and none overlaps another by more than 1 ms.

    Args:
        kind: as in `write`; `kind_of` tells it.

    Raises:
        AuscultError: E_SETTING for an unknown format; E_ANNOTATION, naming file, place, value and what is allowed.
    """
    if kind not in READERS:
        raise unknown("format", kind, READERS)
    return READERS[kind](Path(path))


def kind_of(path: str | Path) -> Kind | None:
    """The format of a text file by its name, or else by its first line; None for one that looks like none of them.

    Raises:
        AuscultError: E_ANNOTATION for a file that cannot be read.
    """
    path = Path(path)
    named = [kind for kind in KINDS if path.name.lower().endswith(ENDINGS[kind].lower())]
    if named:
        return named[0]
    first = next((line for line in lines(path) if line.strip()), "")
    if raven.is_header(first):
        return "raven"
    if icbhi.is_line(first):
        return "icbhi"
    return "audacity" if audacity.is_line(first) else None


__all__ = ["ENDINGS", "KINDS", "READERS", "WRITERS", "Kind", "Row", "kind_of", "read", "write"]
