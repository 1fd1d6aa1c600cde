"""Where the breaths of a recording are: given, annotated, found by `signal.segment`, or windows of one length."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import formats
from .data import sprsound
from .data.cycles import END_TOLERANCE_S
from .errors import AuscultError
from .prediction import Interval, Source

How = Literal["auto", "segment", "windows", "whole"]
"""``auto``: an annotation file beside the recording, else ``segment``; that takes windows where no breath is found."""

MIN_WHOLE_S = 1.0
MAX_WHOLE_S = 3600.0  # memory grows in proportion: 10 minutes take 0.3 GB with nano, 1.7 GB with small
MIN_WINDOW_S = 1.0  # a shorter rest at the end is no breath; it would be repeated to fill the clip
BESIDE = (".txt", *formats.ENDINGS.values(), ".json")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Breaths known before any audio is read, and who says so; None where the audio has to tell."""

    cycles: list[Interval] | None
    source: Source


def known(path: Path, given: Sequence[Interval] | None, how: How, annotations: Path | None) -> Found:
    """What is known of a recording's breaths without hearing it.

    Raises:
        AuscultError: E_ANNOTATION for an annotation file that cannot be trusted.
    """
    if given is not None:
        return Found(cycles=sorted((float(start), float(end)) for start, end in given), source="given")
    if how == "auto" and (file := annotation_of(path, annotations)) is not None:
        return Found(cycles=read(file), source="annotation")
    return Found(cycles=None, source="windows" if how == "windows" else "segmented")


def annotation_of(path: Path, annotations: Path | None = None) -> Path | None:
    """The annotation file of a recording: beside it, or in the folder `annotations`; None where there is none."""
    places = ((annotations or path.parent) / f"{path.stem}{suffix}" for suffix in BESIDE)
    return next((file for file in places if file.is_file() and file != path), None)


def read(file: Path) -> list[Interval]:
    """The breaths of an annotation file, whatever its format.

    Raises:
        AuscultError: E_ANNOTATION for one that cannot be trusted.
    """
    try:
        if file.suffix == ".json":
            return [(start, end) for start, end, _ in sprsound.read_annotation(file)]
        return [(row.start_s, row.end_s) for row in formats.read(formats.kind_of(file) or "icbhi", file)]
    except OSError as error:
        raise AuscultError("E_ANNOTATION", f"{file} cannot be read: {error.strerror}.") from error


def windows(duration_s: float, length_s: float) -> tuple[list[Interval], float]:
    """Windows of `length_s`, one after another, and the rest in seconds that is too short to be one.

    The last window may be shorter, down to 1 s; a recording shorter than that is one window.

    >>> windows(10.0, 4.0), windows(8.5, 4.0)
    (([(0.0, 4.0), (4.0, 8.0), (8.0, 10.0)], 0.0), ([(0.0, 4.0), (4.0, 8.0)], 0.5))
    """
    whole = int(duration_s / length_s)
    found = [(i * length_s, (i + 1) * length_s) for i in range(whole)]
    rest_s = duration_s - whole * length_s
    if not found or rest_s >= MIN_WINDOW_S:
        return [*found, (whole * length_s, duration_s)], 0.0
    return found, rest_s


def check_end(cycles: Sequence[Interval], duration_s: float) -> None:
    """Refuses cycles that end more than 50 ms after the recording.

    Raises:
        AuscultError: E_ANNOTATION.
    """
    for start_s, end_s in cycles:
        if end_s > duration_s + END_TOLERANCE_S:
            raise AuscultError(
                "E_ANNOTATION",
                f"the cycle from {start_s:g} s ends at {end_s:g} s, the audio at {duration_s:.3f} s; the audio is cut "
                "short or the annotation belongs to another recording.",
            )


def within(times: Interval, shift_s: float, rate: int) -> Interval:
    """A breath in the time of a piece that begins at a whole second, cut at the samples it has in the recording.

    Times become samples by truncation; half a sample more keeps that from falling to the sample before.
    """
    if shift_s == 0:
        return times
    first, last = (int(time_s * rate) - round(shift_s * rate) for time_s in times)
    return (first + 0.5) / rate, (last + 0.5) / rate


def check_whole(duration_s: float) -> None:
    """Refuses recordings that one pass cannot take.

    Raises:
        AuscultError: E_TOO_SHORT under 1 s, E_FORMAT over an hour.
    """
    if duration_s < MIN_WHOLE_S:
        raise AuscultError(
            "E_TOO_SHORT", f"the recording lasts {duration_s:.2f} s; in one pass {MIN_WHOLE_S:g} s are needed."
        )
    if duration_s > MAX_WHOLE_S:
        raise AuscultError(
            "E_FORMAT",
            f"the recording lasts {duration_s:.0f} s; one pass takes {MAX_WHOLE_S:g} s at most, its memory grows with "
            "the length. Cut it into shorter files, or predict by cycles or windows.",
        )
