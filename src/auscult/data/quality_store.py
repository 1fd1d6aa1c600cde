"""Audio quality on disk: measured once for every cycle, before any padding, and kept beside the features."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..config import fingerprint, from_dict, to_dict
from ..errors import AuscultError
from ..runs import read_json, replacing, write_json
from ..signal import io
from ..signal.quality import SAMPLE_RATE, Quality, audio_quality, rms, rms_range, spectral_entropy
from .cycles import Corpus, Problem
from .store import by_recording, cache_folder, places

MEASURE = 1  # raise it when decoding, cutting or the measures change their numbers
COLUMNS = ("psd", "frames", "rms")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured on the cycles of a corpus; it depends on no setting, so all settings share it.

    Args:
        values: (N, 3) entropy of the mean spectrum, mean entropy of the frames, and RMS (`COLUMNS`); NaN where the
            recording could not be used.
        problems: one a recording that could not be used.
        file: where they lie.
    """

    values: NDArray[np.float64]
    problems: tuple[Problem, ...]
    file: Path

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(N,) False where the recording could not be used."""
        return ~np.isnan(self.values[:, 0])


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How measures become scores.

    Args:
        settings: of the score.
        rms_range: RMS that counts as 0 and as 1.
    """

    settings: Quality
    rms_range: tuple[float, float]

    def scores(self, values: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
        """The audio quality score of measured cycles, in [0, 1]; NaN where a measure is."""
        entropy = values[:, COLUMNS.index(self.settings.entropy)]
        loudness = values[:, COLUMNS.index("rms")]
        return audio_quality(entropy, loudness, self.rms_range, self.settings).astype(np.float32)

    def facts(self) -> dict[str, Any]:
        """The scale, as the facts of a weights file hold it under ``quality``."""
        return {"settings": to_dict(self.settings), "rms_range": list(self.rms_range)}


def scale_in(facts: dict[str, Any]) -> Scale | None:
    """The scale on which a run scored audio quality; None where it did not."""
    if (found := facts.get("quality")) is None:
        return None
    try:
        low, high = map(float, found["rms_range"])
        return Scale(settings=from_dict(Quality, found["settings"]), rms_range=(low, high))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise AuscultError(
            "E_RUN", f"the weights have a scale of audio quality that cannot be: {found!r:.100}."
        ) from error


@dataclass(frozen=True, kw_only=True)
class Graded:
    """The audio quality scores of a corpus, (N,) in [0, 1], and the scale they are on; NaN where a recording is bad."""

    scores: NDArray[np.float32]
    scale: Scale
    problems: tuple[Problem, ...] = ()


def grade(
    corpus: Corpus, how: Quality | Scale, train: Sequence[int], progress: Callable[[int, int], None] | None = None
) -> Graded:
    """The audio quality score of every cycle of a corpus.

    Args:
        how: a scale that a training before has fixed, or settings whose scale the training cycles make.
        train: rows of the training cycles; unusable ones are left out.
        progress: called with (recordings done, recordings in all).

    Raises:
        AuscultError: E_DATA when no recording, or no training cycle where one is needed, can be used; E_DISK.
    """
    found = measured(corpus, progress)
    if isinstance(how, Quality):
        rows = [row for row in train if found.usable[row]]
        if not rows:
            raise AuscultError("E_DATA", f"no training cycle of {corpus.name} can be used; the RMS has no scale.")
        how = Scale(settings=how, rms_range=rms_range(found.values[rows, COLUMNS.index("rms")], how))
    return Graded(scores=how.scores(found.values), scale=how, problems=found.problems)


def measured(corpus: Corpus, progress: Callable[[int, int], None] | None = None) -> Measured:
    """Entropy and RMS of every cycle of `corpus`, from the store if they are there, else measured and stored.

    One bad recording is reported in `problems`, its cycles are marked unusable, and the rest goes on.

    Raises:
        AuscultError: E_DATA when no recording at all could be used, E_DISK when the store cannot be written.
    """
    file = cache_folder() / f"{corpus.name}-quality-{key(corpus)}.npy"
    record = file.with_suffix(".json")
    if not (file.exists() and record.exists()):
        _make(corpus, file, record, progress)
    problems = tuple(Problem(**p) for p in read_json(record)["problems"])
    return Measured(values=np.load(file), problems=problems, file=file)


def key(corpus: Corpus) -> str:
    """The fingerprint: every cycle's place, and name, size and time of every audio file."""
    return fingerprint({"measure": MEASURE, "columns": COLUMNS, **places(corpus)}, length=20)


def _make(corpus: Corpus, file: Path, record: Path, progress: Callable[[int, int], None] | None) -> None:
    values = np.full((len(corpus.cycles), len(COLUMNS)), np.nan)
    problems: list[Problem] = []
    recordings = by_recording(corpus)
    for done, (stem, rows) in enumerate(recordings):
        times = [(corpus.cycles[row].start_s, corpus.cycles[row].end_s) for row in rows]
        try:
            values[rows] = recording_quality(corpus.audio[stem], times)
        except AuscultError as error:
            problems.append(Problem(path=str(corpus.audio[stem]), code=error.code, message=error.message))
        if progress:
            progress(done + 1, len(recordings))
    if np.isnan(values).all():
        first = f" The first problem: {problems[0].message}" if problems else ""
        raise AuscultError("E_DATA", f"no recording of {corpus.name} can be used.{first}")
    with replacing(file) as temporary, temporary.open("wb") as handle:
        np.save(handle, values)
    write_json(record, {"problems": [asdict(p) for p in problems], "columns": COLUMNS})


def recording_quality(path: Path, times: Sequence[tuple[float, float]]) -> Float[np.ndarray, "N 3"]:
    """Decodes one recording and measures each of its cycles.

    Raises:
        AuscultError: for a file that cannot be decoded; E_ANNOTATION for a cycle that holds no sample of it.
    """
    return waveform_quality(io.load(path, SAMPLE_RATE).waveform, times)


def waveform_quality(waveform: NDArray[np.float32], times: Sequence[tuple[float, float]]) -> Float[np.ndarray, "N 3"]:
    """The measures of cycles of a recording, in the order of `COLUMNS`.

    Args:
        waveform: the recording at 16 kHz, neither faded nor padded.
        times: (start_s, end_s) of each cycle.

    Raises:
        AuscultError: E_ANNOTATION for a cycle that holds no sample of it.
    """
    return np.array([cycle_quality(waveform, *interval) for interval in times]).reshape(-1, len(COLUMNS))


def cycle_quality(waveform: NDArray[np.float32], start_s: float, end_s: float) -> tuple[float, float, float]:
    """The measures of one cycle; see `waveform_quality`. What runs past the recording ends with it."""
    cycle = waveform[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)]
    if len(cycle) == 0:
        where = f"a cycle from {start_s} s to {end_s} s holds no sample of a recording of"
        raise AuscultError("E_ANNOTATION", f"{where} {len(waveform) / SAMPLE_RATE:.3f} s. Correct the annotation.")
    found = spectral_entropy(cycle)
    return found["psd"], found["frames"], rms(cycle)
