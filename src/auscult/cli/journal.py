"""What a prediction has done so far, one line a recording: a job that is stopped, or killed, goes on from there.

Line 1 is what was asked: model, settings, version. Every other line is a recording with the sha256 of its content and
its prediction, or its error. A line that a kill cut short, or that is none of ours, is dropped with what follows it,
and those recordings are done again; so is one whose process died.
"""

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..analysis.spreadsheet import printable
from ..errors import AuscultError
from ..scoring import Line

NAME = "journal.jsonl"
AGAIN = "E_RUN"  # the error of a process or a machine, not of the recording: done again


class Journal:
    """The journal of a results folder.

    Args:
        folder: of the results.
        asked: JSON-ready; what a resumed job must share.
        resume: go on with the one that is there.

    Raises:
        AuscultError: E_SETTING where the one that is there was asked for something else, E_DISK, also for one that is
            no regular file.
    """

    def __init__(self, folder: Path, asked: Line, resume: bool) -> None:
        self.path = folder / NAME
        self._places: dict[tuple[str, str], int] = {}
        try:
            if resume and self.path.exists():
                if not self.path.is_file():  # a pipe would be waited for
                    raise AuscultError("E_DISK", f"{self.path} is no regular file; name another --out.")
                self._read(asked)
            else:
                self._append_first(asked)
            self._file = self.path.open("r+b", buffering=0)  # a full disk must not show later
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise AuscultError("E_DISK", f"cannot use {self.path}: {error.strerror}. Name another --out.") from error

    def close(self) -> None:
        """Leaves the file whole."""
        self._file.close()

    def done(self, file: Path, sha256: str) -> bool:
        """Whether a recording of this name and content is in it."""
        return (printable(str(file)), sha256) in self._places

    def add(self, line: Line) -> None:
        """Writes a recording; when this returns it survives a kill, and a power cut.

        Raises:
            AuscultError: E_DISK; what was written before stays.
        """
        place = self._file.tell()
        try:
            rest = memoryview(json.dumps(line).encode() + b"\n")
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):  # a line that stays cut is dropped by --resume
                self._file.truncate(place)
                self._file.seek(place)
            raise AuscultError("E_DISK", f"cannot write {self.path}: {error.strerror}. --resume goes on.") from error
        self._places[line["recording"], line["sha256"]] = place

    def lines(self, wanted: list[tuple[str, str]]) -> Iterator[Line]:
        """The lines of recordings (name, sha256), in that order; one that is not in it is left out."""
        with self.path.open("rb") as file:
            for key in wanted:
                if key in self._places:
                    file.seek(self._places[key])
                    yield json.loads(file.readline())

    def _append_first(self, asked: Line) -> None:
        from ..runs import write_text

        write_text(self.path, json.dumps(asked) + "\n")

    def _read(self, asked: Line) -> None:
        place, whole = 0, 0
        with self.path.open("rb") as file:
            for number, raw in enumerate(file):
                line = _parsed(raw)
                if line is None or (number > 0 and not _is_result(line)):
                    break  # cut short, or damaged; what follows cannot be trusted
                if number == 0:
                    self._check(line, asked)
                elif line.get("error", [""])[0] != AGAIN:
                    self._places[line["recording"], line["sha256"]] = place
                place += len(raw)
                whole = place
        if whole == 0:
            self._append_first(asked)
        else:
            os.truncate(self.path, whole)

    def _check(self, there: Line, asked: Line) -> None:
        other = sorted(key for key in {*there, *asked} if there.get(key) != asked.get(key))
        if other:
            told = "; ".join(f"{key}: {there.get(key)!r} there, {asked.get(key)!r} now" for key in other)
            raise AuscultError(
                "E_SETTING", f"--resume: {self.path} is of another job ({told:.400}). Name another --out."
            )


def _parsed(raw: bytes) -> Line | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _is_result(line: Line) -> bool:
    """Whether a line holds what `Journal.add` was given: it can become rows of the tables."""
    from ..prediction import Prediction, summary_row

    if not isinstance(line.get("recording"), str) or not isinstance(line.get("sha256"), str):
        return False
    if "prediction" not in line:
        error = line.get("error")
        return isinstance(error, list) and len(error) == 2 and all(isinstance(text, str) for text in error)
    try:
        made = Prediction.from_dict(line["prediction"])
        return bool(summary_row(made)) and isinstance(made.rows(), list)
    except (LookupError, TypeError, ValueError, AttributeError):
        return False


def content_hash(path: Path, annotation: Path | None = None) -> str:
    """sha256 of a recording, followed by that of its annotation where it has one.

    Empty where one of them is no readable file; such a recording is never taken as done.
    """
    from ..runs import file_sha256

    found = []
    for part in (path, annotation) if annotation else (path,):
        try:
            if not stat.S_ISREG(part.stat().st_mode):  # a pipe would block
                return ""
            found.append(file_sha256(part))
        except (OSError, ValueError):
            return ""
    return " ".join(found)
