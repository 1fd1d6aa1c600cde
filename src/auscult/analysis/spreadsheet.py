"""CSV text that a spreadsheet shows and never runs."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

STARTS_A_FORMULA = ("=", "+", "-", "@")
NOT_PRINTED = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: control characters, lone surrogates, line separators


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
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([guard(cell) for cell in row])
    return out.getvalue()


def probability(value: float) -> float:
    """A probability as it is written: four decimals."""
    return round(float(value), 4)


def printable(text: str) -> str:
    r"""`text` that can be written as UTF-8 and printed on one line: odd bytes and control characters are escaped.

    >>> printable("a\nb\udcff")
    'a\\nb\\udcff'
    """
    escaped = (c if unicodedata.category(c) not in NOT_PRINTED else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)


def exact(value: np.float32) -> float:
    """The shortest decimal that reads back as the same float32: decisions can be made again from it.

    >>> exact(np.float32(0.1))
    0.1
    """
    return float(str(np.float32(value)))
