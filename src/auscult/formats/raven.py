"""Raven selection tables: values with tabs between, one row a selection, under a line of column names.

Beside Raven's own columns the table has `Label`, `Confidence` and `Begin Path`, the recording. A cell with quotes is
quoted as in CSV, control characters of a name are escaped. Such tables are opened in spreadsheets too, so no cell
begins as a formula does.

Source: Raven Pro user's manual, "Selection tables"; OWASP, "CSV Injection".
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from .row import Row, checked_label, in_order, parse_confidence
from .text import bad_annotation, decoded, parse_time, printable, shown

BEGIN, END = "Begin Time (s)", "End Time (s)"
COLUMNS = ("Selection", "View", "Channel", BEGIN, END, "Low Freq (Hz)", "High Freq (Hz)", "Label", "Confidence")
PATH = "Begin Path"
LABEL_COLUMNS = ("Label", "Annotation")
"""Where a label is looked for; Raven itself starts with a column Annotation."""

BAND_HZ = ("0.0", "2000.0")
"""A breath has no band of its own: the box is drawn over what every recording from 4 kHz on can hold."""

FORMULA = ("=", "+", "-", "@")


def write_text(rows: Sequence[Row], recording: str, duration_s: float) -> str:
    """Rows as a table of view ``Spectrogram 1``, channel 1."""
    name = printable(recording)
    if name.startswith(FORMULA):
        name = f"./{name}"  # the same file
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow([*COLUMNS, PATH])
    for number, row in enumerate(rows, start=1):
        confidence = "" if row.confidence is None else f"{row.confidence:.4f}"
        times = (f"{row.start_s:.6f}", f"{row.end_s:.6f}")
        writer.writerow([number, "Spectrogram 1", 1, *times, *BAND_HZ, guarded(row.label), confidence, name])
    return out.getvalue()


def read_text(path: Path) -> list[Row]:
    """One row a selection; a selection that is listed once for each view is one row.

    Raises:
        AuscultError: E_ANNOTATION, naming file, line, value and what is allowed.
    """
    reader = csv.reader(io.StringIO(decoded(path), newline=""), delimiter="\t")
    found: dict[tuple[str, Row], str] = {}
    try:
        header = next(reader, [])
        label = _label_column(header, path)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            place = f"line {reader.line_num}"
            if len(cells) < len(header):
                allowed = f"{len(header)} are needed, as in the first line"
                raise bad_annotation(path, place, f"{len(cells)} columns", allowed)
            named = dict(zip(header, cells, strict=False))
            found.setdefault((named.get("Selection", place), _row(named, label, path, place)), place)
    except csv.Error as error:
        raise bad_annotation(path, f"line {reader.line_num}", str(error), "a table with tabs is needed") from error
    return in_order([(row, place) for (_, row), place in found.items()], path)


def _row(cells: dict[str, str], label: str, path: Path, place: str) -> Row:
    start, end = (parse_time(cells[name].strip(), path, place, name) for name in (BEGIN, END))
    text = checked_label(unguarded(cells[label].strip()), path, place)
    return Row(start, end, text, parse_confidence(cells.get("Confidence", ""), path, place))


def _label_column(header: Sequence[str], path: Path) -> str:
    missing = [name for name in (BEGIN, END) if name not in header]
    labels = [name for name in LABEL_COLUMNS if name in header]
    if missing or not labels:
        needed = f"{BEGIN}, {END} and {' or '.join(LABEL_COLUMNS)} are needed"
        raise bad_annotation(path, "line 1", f"the columns are {shown(', '.join(header))}", needed)
    return labels[0]


def guarded(label: str) -> str:
    """A label with a quote mark before what a spreadsheet would take for a formula; `unguarded` takes it off.

    >>> guarded("=1+1"), guarded("crackle"), unguarded(guarded("'=1+1"))
    ("'=1+1", 'crackle', "'=1+1")
    """
    return f"'{label}" if label.lstrip("'").startswith(FORMULA) else label


def unguarded(text: str) -> str:
    """The inverse of `guarded`."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA) else text


def is_header(line: str) -> bool:
    """Whether a line names the columns of a selection table."""
    return BEGIN in line.split("\t")
