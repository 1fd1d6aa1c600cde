"""A check on every row of a CSV file, so that a changed row is found and named even where no decision changes.

The last column, ``check``, is the start of the sha256 of the row and of the check before it, so a row that was taken
away or moved shows too. It protects from accidents, not from a forger, who can compute it as well.
"""

import hashlib
from collections.abc import Iterator

COLUMN = "check"
DIGITS = 8


def with_checks(text: str) -> str:
    r"""CSV text, one line a row, with a check at the end of each.

    >>> with_checks("a,b\n1,2\n")
    'a,b,check\n1,2,a472f71b\n'
    """
    head, *rows = text.splitlines()
    lines, before = [f"{head},{COLUMN}"], _check("", head)
    for row in rows:
        before = _check(before, row)
        lines.append(f"{row},{before}")
    return "".join(f"{line}\n" for line in lines)


def has_checks(text: str) -> bool:
    """Whether the file was written with checks."""
    return text.partition("\n")[0].endswith(f",{COLUMN}")


def wrong_checks(text: str) -> Iterator[tuple[int, str, str]]:
    """Number of the line, its check and the one it should have, for every row that does not fit the row before it."""
    head, *rows = text.splitlines()
    before = _check("", head.removesuffix(f",{COLUMN}"))
    for number, line in enumerate(rows, start=2):
        row, _, written = line.rpartition(",")
        if written != (right := _check(before, row)):
            yield number, written, right
        before = written


def sha256(text: str) -> str:
    """sha256 of a whole file, which scores.json keeps: it shows when the last rows are missing."""
    return hashlib.sha256(text.encode()).hexdigest()


def _check(before: str, row: str) -> str:
    return sha256(f"{before}{row}")[:DIGITS]
