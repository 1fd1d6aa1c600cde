"""CSV text that a spreadsheet shows and never runs."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..formats.text import printable

STARTS_A_FORMULA = ("=", "+", "-", "@")


def guard(cell: Any) -> Any:
    """Text on one line, with a quote mark before what a spreadsheet would take for a formula; numbers stay as they are.

    >>> guard("=cmd.wav"), guard("-1_a.wav"), guard(-1.5), guard("101_1b1.wav")
    ("'=cmd.wav", "'-1_a.wav", -1.5, '101_1b1.wav')

    Source: OWASP, "CSV Injection".
    """
    if not isinstance(cell, str):
        return cell
    line = printable(cell)
    return f"'{line}" if line.startswith(STARTS_A_FORMULA) else line


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""Header and rows as CSV; cells with commas or quotes are quoted.

    >>> csv_text(["recording", "p"], [["=a.wav", 0.25]])
    "recording,p\n'=a.wav,0.25\n"
    """
    return "".join(csv_lines((header, *rows)))


def csv_lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The lines of `csv_text`, one at a time."""
    for row in rows:
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\n").writerow([guard(cell) for cell in row])
        yield out.getvalue()


def probability(value: float) -> float:
    """A probability as it is written: four decimals."""
    return round(float(value), 4)


def exact(value: np.float32) -> float:
    """The shortest decimal that reads back as the same float32: decisions can be made again from it.

    >>> exact(np.float32(0.1))
    0.1
    """
    return float(str(np.float32(value)))
