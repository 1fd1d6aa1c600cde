"""What the readers of annotation files share: their lines, strict times, and errors that name the place."""

import math
import re
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ..errors import AuscultError, Code

# In the 920 ICBHI files each cycle starts exactly where the one before ends, and no two SPRSound events overlap: the
# largest overlap measured is 0 s. One unit of the last printed digit (1 ms) is allowed for rounding.
OVERLAP_TOLERANCE_S = 0.001
MAX_BYTES = 2**24  # 16 MiB: the largest of the 920 ICBHI files has 1.3 kB
NOT_PRINTED = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: control characters, lone surrogates, line separators
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def bad_annotation(path: Path, place: str, what: str, allowed: str) -> AuscultError:
    """E_ANNOTATION for one place of one file: what stands there, and what is allowed."""
    where = f"{path}, {place}" if place else str(path)
    return AuscultError("E_ANNOTATION", f"{where}: {what}; {allowed}. Correct it, or restore the published file.")


def parse_time(text: str, path: Path, place: str, column: str) -> float:
    """A time as a finite number that is not negative, in the unit of the file.

    Stricter than `float`, which takes ``nan``, ``1_0`` and digits of other scripts.

    Raises:
        AuscultError: E_ANNOTATION.
    """
    if "," in text:
        raise bad_annotation(path, place, f"{column} {shown(text)} has a comma", "write decimals with a point")
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise bad_annotation(path, place, f"{column} {shown(text)} is no number", "a time such as 2.436 is needed")
    if value < 0:
        raise bad_annotation(path, place, f"{column} {shown(text)} is negative", "times count from 0")
    return value


def check_times(times: Sequence[tuple[float, float]], places: Sequence[str], path: Path) -> None:
    """Refuses intervals that are empty, repeated, out of order or overlap the one before by more than 1 ms.

    Args:
        times: (start_s, end_s) in the order they are to have.
        places: for each interval, where it stands in the file, for instance ``line 3``.
        path: the file, for the message.

    Raises:
        AuscultError: E_ANNOTATION.
    """
    for i, (start, end) in enumerate(times):
        if start >= end:
            raise bad_annotation(path, places[i], f"start {start:g} s, end {end:g} s", "start must be before end")
        if i == 0:
            continue
        before, last = times[i - 1], places[i - 1]
        if (start, end) == before:
            raise bad_annotation(path, places[i], f"repeats {last} ({start:g} s to {end:g} s)", "each cycle once")
        if start < before[0]:
            what = f"start {start:g} s is before the start of {last}, {before[0]:g} s"
            raise bad_annotation(path, places[i], what, "rows must be in order of time")
        if start < before[1] - OVERLAP_TOLERANCE_S:
            what = f"start {start:g} s is before the end of {last}, {before[1]:g} s"
            raise bad_annotation(path, places[i], what, "cycles may not overlap by more than 1 ms")


def content(path: Path, code: Code = "E_ANNOTATION") -> bytes:
    """The bytes of a small regular file.

    Raises:
        AuscultError: with `code`, for one that is missing, no regular file (a pipe would be waited for), or too large.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise AuscultError(code, f"{path} is no regular file; a text file is needed.")
        if status.st_size > MAX_BYTES:
            allowed = f"at most {MAX_BYTES:,} are read"
            raise AuscultError(code, f"{path} has {status.st_size:,} bytes; {allowed}. It is no annotation.")
        return path.read_bytes()
    except OSError as error:
        raise AuscultError(code, f"{path} cannot be read: {error.strerror}. Check the path.") from error


def decoded(path: Path, code: Code = "E_ANNOTATION") -> str:
    """UTF-8 text of a file without byte order mark, with plain line ends.

    Raises:
        AuscultError: with `code`.
    """
    try:
        text = content(path, code).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: byte {error.start} is no UTF-8 text. Restore the published file."
        raise AuscultError(code, message) from error
    return text.replace("\r\n", "\n")


def lines(path: Path, code: Code = "E_ANNOTATION") -> list[str]:
    """Lines of `decoded`, without empty ones at the end.

    Raises:
        AuscultError: with `code`.
    """
    found = decoded(path, code).split("\n")
    while found and not found[-1].strip():
        found.pop()
    return found


def seconds(time_s: float) -> str:
    """A time to the microsecond, with no more digits than it needs.

    >>> seconds(2.45), seconds(0.0), seconds(30.0), seconds(0.1 + 0.2)
    ('2.45', '0', '30', '0.3')
    """
    return f"{time_s:.6f}".rstrip("0").rstrip(".")


def shown(text: str) -> str:
    """A value as a message shows it.

    >>> shown("1,5")
    "'1,5'"
    """
    return repr(text if len(text) <= 40 else text[:37] + "...")


def printable(text: str) -> str:
    r"""`text` that can be written as UTF-8 and printed on one line: odd bytes and control characters are escaped.

    >>> printable("a\nb\udcff")
    'a\\nb\\udcff'
    """
    escaped = (c if unicodedata.category(c) not in NOT_PRINTED else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)
