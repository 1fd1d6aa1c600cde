"""Audacity labels: `start TAB end TAB text` in seconds with six decimals, the text a label and its confidence.

A line may be followed by one of `\\ TAB low TAB high`, the frequencies of the label in Hz; it is read over.

Source: Audacity manual, "Importing and Exporting Labels".
"""

from collections.abc import Sequence
from pathlib import Path

from .row import Row, in_order, label_and_confidence, with_confidence
from .text import NUMBER, bad_annotation, lines, parse_time

FREQUENCIES = "\\"


def write_text(rows: Sequence[Row], recording: str, duration_s: float) -> str:
    """Rows as lines such as ``0.036000 TAB 0.579000 TAB crackle 0.83``."""
    return "".join(f"{row.start_s:.6f}\t{row.end_s:.6f}\t{with_confidence(row)}\n" for row in rows)


def read_text(path: Path) -> list[Row]:
    """One row a label.

    Raises:
        AuscultError: E_ANNOTATION, naming file, line, value and what is allowed.
    """
    found: list[tuple[Row, str]] = []
    for number, line in enumerate(lines(path), start=1):
        place, columns = f"line {number}", line.split("\t")
        if columns[0] == FREQUENCIES:
            _check_frequencies(columns[1:], bool(found), path, place)
            continue
        if len(columns) != 3:
            what = f"{len(columns)} columns in {line[:40]!r}"
            raise bad_annotation(path, place, what, "3 are needed, with tabs between: start, end, label")
        start, end = (parse_time(columns[i], path, place, ("start", "end")[i]) for i in range(2))
        found.append((Row(start, end, *label_and_confidence(columns[2], path, place)), place))
    return in_order(found, path)


def _check_frequencies(columns: Sequence[str], after_label: bool, path: Path, place: str) -> None:
    # Audacity writes -1 for a side of the band that was not chosen
    if not after_label or len(columns) != 2 or not all(map(NUMBER.fullmatch, columns)):
        what = f"frequencies {columns!r:.60}"
        raise bad_annotation(path, place, what, "a backslash, low and high in Hz belong under the line of a label")


def is_line(line: str) -> bool:
    """Whether a line looks like a label: two numbers and a text."""
    columns = line.split("\t")
    return len(columns) == 3 and all(NUMBER.fullmatch(text.replace(",", ".")) for text in columns[:2])
