"""ICBHI txt: one line a breathing cycle, `start TAB end TAB crackle TAB wheeze`, seconds and flags of 0 or 1.

Times are written with no more digits than they need and lines end with a line feed, as in the 920 official files, which
come out byte for byte as they were.

Source: Rocha et al. 2019 (ICBHI 2017), section 2.3.
"""

from collections.abc import Sequence
from pathlib import Path

from ..errors import AuscultError
from .row import Row
from .text import bad_annotation, check_times, lines, parse_time, seconds, shown

LABELS = ("normal", "crackle", "wheeze", "both")
"""Index = crackle + 2 wheeze."""

FLAGS = {
    "normal": (0, 0),
    "crackle": (1, 0),
    "wheeze": (0, 1),
    "both": (1, 1),
    # SPRSound, as the label map `qlung` of data/label_maps.toml has it
    "rhonchi": (0, 1),
    "stridor": (0, 1),
    "coarse crackle": (1, 0),
    "fine crackle": (1, 0),
    "wheeze+crackle": (1, 1),
}
"""Label in lower case -> (crackle, wheeze)."""


def flags(label: str) -> tuple[int, int] | None:
    """Crackle and wheeze, 0 or 1, of a label in any case; None for one that is not in `FLAGS`.

    >>> flags("Wheeze+Crackle"), flags("Rhonchi"), flags("cough")
    ((1, 1), (0, 1), None)
    """
    return FLAGS.get(label.lower())


def write_text(rows: Sequence[Row], recording: str, duration_s: float) -> str:
    """Rows as lines; confidence has no place.

    Raises:
        AuscultError: E_ANNOTATION for a label that says neither crackle nor wheeze nor normal.
    """
    return "".join(f"{seconds(row.start_s)}\t{seconds(row.end_s)}\t{_columns(row.label)}\n" for row in rows)


def _columns(label: str) -> str:
    found = flags(label)
    if found is None:
        allowed = f"it has columns for crackle and wheeze only, and knows {', '.join(FLAGS)}"
        raise AuscultError(
            "E_ANNOTATION", f"label {shown(label)} cannot be written as ICBHI txt: {allowed}. Choose another format."
        )
    return f"{found[0]}\t{found[1]}"


def read_text(path: Path) -> list[Row]:
    """One row a cycle, its label one of `LABELS`.

    Byte order mark, Windows line ends and empty lines at the end are accepted.

    Raises:
        AuscultError: E_ANNOTATION, naming file, line, value and what is allowed.
    """
    rows = []
    for number, line in enumerate(lines(path), start=1):
        place, columns = f"line {number}", line.split("\t")
        if len(columns) != 4:
            what = f"{len(columns)} columns in {line[:40]!r}"
            raise bad_annotation(path, place, what, "4 are needed, with tabs between: start, end, crackle, wheeze")
        start, end = (parse_time(columns[i], path, place, ("start", "end")[i]) for i in range(2))
        for name, flag in zip(("crackle", "wheeze"), columns[2:], strict=True):
            if flag not in ("0", "1"):
                raise bad_annotation(path, place, f"{name} is {flag[:40]!r}", "it must be 0 or 1")
        rows.append(Row(start, end, LABELS[int(columns[2]) + 2 * int(columns[3])]))
    if not rows:
        raise bad_annotation(path, "", "the file holds no cycle", "one line for each cycle is needed")
    check_times([(row.start_s, row.end_s) for row in rows], [f"line {i + 1}" for i in range(len(rows))], path)
    return rows


def is_line(line: str) -> bool:
    """Whether a line has the four columns of this format."""
    return line.count("\t") == 3
