"""One annotated breath, and what a label may be so that every format can hold it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import AuscultError
from .text import bad_annotation, check_times, parse_time, shown

ALLOWED = "a name on one line such as crackle is needed, without spaces around it or a number like 0.83 behind it"
_CONFIDENCE = re.compile(r"(.*\S) (0\.\d{2}|1\.00)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One breath, or one event, of a recording.

    Args:
        start_s: start within the recording, seconds.
        end_s: end, seconds.
        label: name of its class.
        confidence: of the label, 0 to 1; None where nobody gave one.
    """

    start_s: float
    end_s: float
    label: str
    confidence: float | None = None


def checked(rows: Sequence[Row]) -> list[Row]:
    """The rows in order of time, their times rounded to the microsecond, if every format could hold them one by one.

    Raises:
        AuscultError: E_ANNOTATION.
    """
    found = []
    for row in sorted(rows, key=lambda row: (row.start_s, row.end_s)):
        start, end = round(row.start_s, 6), round(row.end_s, 6)
        if not (math.isfinite(end) and 0 <= start < end):
            what = f"a breath from {row.start_s} s to {row.end_s} s"
            raise AuscultError(
                "E_ANNOTATION", f"{what} cannot be written; its start must be before its end, from 0 on."
            )
        if (problem := label_problem(row.label)) is not None:
            raise AuscultError("E_ANNOTATION", f"label {problem} cannot be written; {ALLOWED}.")
        if row.confidence is not None and not 0 <= row.confidence <= 1:
            raise AuscultError("E_ANNOTATION", f"confidence {row.confidence} cannot be written; 0 to 1 is needed.")
        found.append(Row(start + 0.0, end, row.label, row.confidence))  # + 0.0: no "-0"
    return found


def label_problem(label: str) -> str | None:
    """The label as an error shows it, if some format could not hold it; see `ALLOWED`.

    >>> label_problem("Wheeze+Crackle"), label_problem("two\\nlines"), label_problem("crackle 0.83")
    (None, "'two\\\\nlines'", "'crackle 0.83'")
    """
    fine = label and label == label.strip() and label.isprintable() and not _CONFIDENCE.fullmatch(label)
    return None if fine else shown(label)


def with_confidence(row: Row) -> str:
    """Label and confidence as one text.

    >>> with_confidence(Row(0, 1, "crackle", 0.834)), with_confidence(Row(0, 1, "crackle"))
    ('crackle 0.83', 'crackle')
    """
    return row.label if row.confidence is None else f"{row.label} {row.confidence:.2f}"


def label_and_confidence(text: str, path: Path, place: str) -> tuple[str, float | None]:
    """The inverse of `with_confidence`, for a text that somebody may have typed.

    Raises:
        AuscultError: E_ANNOTATION.
    """
    found = _CONFIDENCE.fullmatch(text.strip())
    label, confidence = found.groups() if found else (text.strip(), None)
    return checked_label(label, path, place), None if confidence is None else float(confidence)


def checked_label(label: str, path: Path, place: str) -> str:
    """A label from a file, if it can be one.

    Raises:
        AuscultError: E_ANNOTATION.
    """
    if (problem := label_problem(label)) is not None:
        raise bad_annotation(path, place, f"the label is {problem}", ALLOWED)
    return label


def parse_confidence(text: str, path: Path, place: str) -> float | None:
    """A confidence of 0 to 1; None for an empty cell.

    Raises:
        AuscultError: E_ANNOTATION.
    """
    if not text.strip():
        return None
    value = parse_time(text.strip(), path, place, "Confidence")
    if value > 1:
        raise bad_annotation(path, place, f"Confidence is {shown(text)}", "0 to 1 is needed")
    return value


def in_order(found: Sequence[tuple[Row, str]], path: Path) -> list[Row]:
    """Rows, each with its place in the file, in order of time.

    Raises:
        AuscultError: E_ANNOTATION for none at all, an interval that is empty or repeated, or an overlap; see
            `check_times`.
    """
    if not found:
        raise bad_annotation(path, "", "the file holds no cycle", "one line for each cycle is needed")
    ordered = sorted(found, key=lambda pair: (pair[0].start_s, pair[0].end_s))
    check_times([(row.start_s, row.end_s) for row, _ in ordered], [place for _, place in ordered], path)
    return [row for row, _ in ordered]
