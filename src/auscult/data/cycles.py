"""The table every data set becomes: one row per labelled breathing cycle, and what is known about its files.

A reader (`icbhi`, `sprsound`, `synthetic`) turns a folder into a `Corpus`. Nothing here opens audio; the cycles of a
recording that is not on this machine are still counted, and `Corpus.with_audio` leaves them out.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import AuscultError
from ..metrics import Task
from ..signal.io import AUDIO_SUFFIXES

# In the 920 ICBHI files each cycle starts exactly where the one before ends, and no two SPRSound events overlap: the
# largest overlap measured is 0 s. One unit of the last printed digit (1 ms) is allowed for rounding.
OVERLAP_TOLERANCE_S = 0.001
# Measured on the recordings at hand: annotations end at most 0.25 ms after the audio. Beyond 50 ms a file is wrong.
END_TOLERANCE_S = 0.050
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """One labelled breathing cycle (ICBHI) or respiratory event (SPRSound).

    Args:
        recording: stem of the recording's file name.
        patient: patient number as written in the name.
        device: stethoscope or microphone.
        site: where on the chest, as written in the name.
        start_s: start within the recording, seconds.
        end_s: end within the recording, seconds.
        label: index into `Corpus.classes`.
        part: ``train`` or the name of a test part.
        age_years: of the patient; None where the data set does not say.
        sex: of the patient, ``male`` or ``female``; None where the data set does not say.
    """

    recording: str
    patient: str
    device: str
    site: str
    start_s: float
    end_s: float
    label: int
    part: str
    age_years: float | None = None
    sex: str | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One bad file, reported and skipped; `code` is one of `auscult.errors.Code`."""

    path: str
    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """The counts a data set was published with: recordings, and cycles of each class, for every part."""

    recordings: dict[str, int]
    cycles: dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A data set as read from its folder.

    Args:
        name: key in `auscult.data.DATASETS`.
        classes: names of the labels; the first is normal.
        cycles: every annotated cycle, whether or not its audio is here.
        audio: recording -> audio file; a recording without audio is not in it.
        recordings: recording -> part, for every recording that ought to exist.
        tasks: what is scored; the first is the main task.
        train_part: name of the training part.
        test_parts: names of the test parts.
        problems: files that were skipped, and why.
        seen_parts: test parts that share patients with the training part on purpose, to measure seen patients.
        published: the published counts, where there are any.
        recording_patients: recording -> patient, also for recordings without cycles.
    """

    name: str
    classes: tuple[str, ...]
    cycles: tuple[Cycle, ...]
    audio: dict[str, Path]
    recordings: dict[str, str]
    tasks: tuple[Task, ...]
    train_part: str = "train"
    test_parts: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    seen_parts: tuple[str, ...] = ()
    published: Published | None = None
    recording_patients: dict[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """The training part, then the test parts."""
        return (self.train_part, *self.test_parts)

    @property
    def patients(self) -> list[str]:
        """Names of the patients of the cycles, sorted."""
        return sorted({cycle.patient for cycle in self.cycles})

    @property
    def devices(self) -> list[str]:
        """Names of the devices of the cycles, sorted."""
        return sorted({cycle.device for cycle in self.cycles})

    @property
    def missing_audio(self) -> list[str]:
        """Recordings that ought to exist and have no audio file here, sorted."""
        return sorted(self.recordings.keys() - self.audio.keys())

    def with_audio(self) -> "Corpus":
        """The same corpus with only the cycles whose recording has audio; it still knows what is missing."""
        return replace(self, cycles=tuple(cycle for cycle in self.cycles if cycle.recording in self.audio))

    def patients_of(self, part: str) -> set[str]:
        """Patients with a recording in `part`, whether or not it has cycles or audio."""
        if part not in self.parts:
            raise ValueError(f"{part!r} is no part of {self.name}; there are {self.parts}")
        named = {patient for stem, patient in self.recording_patients.items() if self.recordings.get(stem) == part}
        return named | {cycle.patient for cycle in self.cycles if cycle.part == part}

    def shared_patients(self, part: str) -> set[str]:
        """Patients with recordings both in the training part and in the test part `part`."""
        return self.patients_of(self.train_part) & self.patients_of(part)


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
        raise bad_annotation(path, place, f"{column} {_shown(text)} has a comma", "write decimals with a point")
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise bad_annotation(path, place, f"{column} {_shown(text)} is no number", "a time such as 2.436 is needed")
    if value < 0:
        raise bad_annotation(path, place, f"{column} {_shown(text)} is negative", "times count from 0")
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


def check_against_audio(cycles: Sequence[Cycle], duration_s: float) -> None:
    """Refuses cycles that end more than 50 ms after their recording.

    Args:
        cycles: cycles of one recording.
        duration_s: length of its audio in seconds.

    Raises:
        AuscultError: E_ANNOTATION.
    """
    for cycle in cycles:
        if cycle.end_s > duration_s + END_TOLERANCE_S:
            raise AuscultError(
                "E_ANNOTATION",
                f"{cycle.recording}: the cycle from {cycle.start_s:g} s ends at {cycle.end_s:g} s, the audio at "
                f"{duration_s:.3f} s; 50 ms past the end are allowed. The audio is cut short or belongs to another "
                "recording: restore the published file.",
            )


def find_audio(folder: Path) -> dict[str, Path]:
    """Stem -> audio file, for every visible audio file under `folder` in a format soundfile reads.

    Where a recording is there twice, the format named first in `signal.io.AUDIO_SUFFIXES` is taken.
    """
    rank = {suffix: i for i, suffix in enumerate(AUDIO_SUFFIXES)}
    files = [p for p in folder.rglob("*") if p.suffix.lower() in rank and not p.name.startswith(".")]
    files.sort(key=lambda p: (rank[p.suffix.lower()], str(p)), reverse=True)
    return {path.stem: path for path in files}


def require_folder(folder: Path, name: str, advice: str) -> None:
    """Refuses a folder that does not exist.

    Raises:
        AuscultError: E_DATA.
    """
    if not folder.is_dir():
        kind = "is not a folder" if folder.exists() else "does not exist"
        raise AuscultError("E_DATA", f"the {name} folder {folder} {kind}. {advice}")


def contents(folder: Path, limit: int = 8) -> str:
    """The first entries of a folder, for messages about a layout that was not expected.

    >>> contents(Path("/nowhere"))
    'nothing'
    """
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest if names else "nothing"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
