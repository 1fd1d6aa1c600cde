"""Where two files, one found and one expected, are not the same: the field of a JSON file, the cell of a table."""

import difflib
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NAMES = ("name", "system", "row", "against", "part", "task")  # what an entry of a list is called by
NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """One thing that is not what it should be.

    Args:
        file: that holds it.
        place: the field, or the line and column.
        found: what stands there.
        expected: what follows from the predictions.
    """

    file: str
    place: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file}: {self.place}: found {self.found}, expected {self.expected}"


def json_mismatches(file: str, found: Any, expected: Any, place: str = "") -> Iterator[Mismatch]:
    """Every field of JSON-ready values that is not the same, to the last bit of a number.

    >>> [str(m) for m in json_mismatches("a.json", {"x": [{"name": "n", "y": 1}]}, {"x": [{"name": "n", "y": 2}]})]
    ['a.json: x.n.y: found 1, expected 2']
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in dict.fromkeys([*expected, *found]):
            inner = f"{place}.{key}".lstrip(".")
            if key in found and key in expected:
                yield from json_mismatches(file, found[key], expected[key], inner)
            else:
                yield Mismatch(file=file, place=inner, found=_there(found, key), expected=_there(expected, key))
    elif isinstance(found, list) and isinstance(expected, list):
        if len(found) != len(expected):
            counts = (f"{len(one)} entries" for one in (found, expected))
            yield Mismatch(file=file, place=place, found=next(counts), expected=next(counts))
        for i, (one, other) in enumerate(zip(found, expected, strict=False)):
            yield from json_mismatches(file, one, other, f"{place}{_label(other, i)}")
    elif found != expected:
        yield Mismatch(file=file, place=place, found=json.dumps(found), expected=json.dumps(expected))


def _there(value: dict[str, Any], key: str) -> str:
    text = json.dumps(value[key]) if key in value else NOTHING
    return text if len(text) <= 60 else f"{text[:57]}..."


def _label(entry: Any, i: int) -> str:
    names = [str(entry[name]) for name in NAMES if name in entry] if isinstance(entry, dict) else []
    return f".{' '.join(names)}" if names else f"[{i}]"


def json_file_mismatches(file: str, text: str, expected: Any, expected_text: str) -> list[Mismatch]:
    """Fields that differ; where all are equal and the text is not, the lines."""
    found = list(json_mismatches(file, json.loads(text), expected))
    return found or list(text_mismatches(file, text, expected_text))


def text_mismatches(file: str, found: str, expected: str, first_line: int = 1) -> Iterator[Mismatch]:
    """Every line that is not the same, in a row of a table every cell.

    Args:
        first_line: number of the first line of `found` in its file.
    """
    lines, others = found.splitlines(), expected.splitlines()
    for a, b, c, d in _unequal(lines, others):
        for i in range(max(b - a, d - c)):
            one = lines[a + i] if a + i < b else None
            other = others[c + i] if c + i < d else None
            yield from _line_mismatches(file, lines, a + i, one, other, first_line)
    if found != expected and lines == others:
        yield Mismatch(file=file, place="the end of a line", found=repr(found[-1:]), expected=repr(expected[-1:]))


def _unequal(lines: list[str], others: list[str]) -> list[tuple[int, int, int, int]]:
    """Places (a to b, c to d) where two texts differ: line by line, or with as few as can be when lines are missing."""
    if len(lines) == len(others):
        return [(i, i + 1, i, i + 1) for i, (one, other) in enumerate(zip(lines, others, strict=True)) if one != other]
    steps = difflib.SequenceMatcher(None, lines, others, autojunk=False).get_opcodes()
    return [(a, b, c, d) for kind, a, b, c, d in steps if kind != "equal"]


def _line_mismatches(
    file: str, lines: list[str], i: int, one: str | None, other: str | None, first_line: int
) -> Iterator[Mismatch]:
    """Cell by cell where both are rows of a table with as many cells."""
    place = f"line {first_line + i}"
    cells, wanted = ([] if line is None else table_cells(line) for line in (one, other))
    if len(cells) != len(wanted) or cells == wanted:  # no row of a table, or one whose words are the same
        pairs = enumerate(zip(one or "", other or "", strict=False))
        start = max(next((at for at, (a, b) in pairs if a != b), 0) - 30, 0)
        yield Mismatch(file=file, place=place, found=_shown(one, start), expected=_shown(other, start))
        return
    head = table_head(lines, i)
    row = " ".join(cell for cell in cells[:3] if re.search("[a-z]", cell) and not re.match(r"[*+-]*\d+\.\d", cell))
    for column, (cell, want) in enumerate(zip(cells, wanted, strict=True)):
        if cell != want:
            name = head[column] if len(head) == len(cells) and head[column] else str(column + 1)
            yield Mismatch(file=file, place=f"{place}, row {row!r}, column {name!r}", found=cell, expected=want)


def table_cells(line: str) -> list[str]:
    r"""The cells of a row of a Markdown or HTML table; none of another line.

    >>> table_cells("| a | 1 |"), table_cells("<tr><td>a</td><td>1<br>2</td></tr>"), table_cells("a")
    (['a', '1'], ['a', '1 2'], [])
    """
    if line.startswith("| "):
        return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
    found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line)
    return [html.unescape(" ".join(re.sub(r"<[^>]+>", " ", cell).split())) for cell in found]


def table_head(lines: list[str], i: int) -> list[str]:
    """The cells of the first row of the table that line `i` is in."""
    while i > 0 and i < len(lines) and table_cells(lines[i - 1]):
        i -= 1
    for back in range(i, max(i - 4, -1), -1):  # HTML has its head a few lines above
        if back < len(lines) and "<thead>" in lines[back]:
            return table_cells(lines[back])
    return table_cells(lines[i]) if i < len(lines) else []


def _shown(line: str | None, start: int) -> str:
    """A line from there on, where the two begin to differ soon."""
    if line is None:
        return NOTHING
    return repr(("..." if start else "") + line[start : start + 90] + ("..." if len(line) > start + 90 else ""))
