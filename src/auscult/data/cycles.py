"""The table every data set becomes: one row per labelled breathing cycle, and what is known about its files.

A reader (`icbhi`, `sprsound`, `synthetic`) turns a folder into a `Corpus`. Nothing here opens audio; the cycles of a
recording that is not on this machine are still counted, and `Corpus.with_audio` leaves them out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import AuscultError
from ..metrics import Task
from ..signal.io import AUDIO_SUFFIXES

# Measured on the recordings at hand: annotations end at most 0.25 ms after the audio. Beyond 50 ms a file is wrong.
END_TOLERANCE_S = 0.050
UNLABELLED = -1  # label of a window that nobody has annotated (`data.windows`)


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
        label: index into `Corpus.classes`; `UNLABELLED` where a teacher alone speaks of it.
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
    return {path.stem: path for path in audio_files(folder)}


def audio_files(folder: Path) -> list[Path]:
    """Every visible audio file under `folder`; of two that differ in the ending, the preferred one comes last."""
    rank = {suffix: i for i, suffix in enumerate(AUDIO_SUFFIXES)}
    files = [p for p in folder.rglob("*") if p.suffix.lower() in rank and not p.name.startswith(".")]
    return sorted(files, key=lambda p: (rank[p.suffix.lower()], str(p)), reverse=True)


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
