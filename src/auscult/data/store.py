"""Features on disk, one memory-mapped array under a fingerprint of everything that made it."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import platformdirs
from numpy.typing import NDArray

from ..config import fingerprint, to_dict
from ..errors import AuscultError
from ..runs import read_json, replacing, sweep, write_json
from ..signal import io
from ..signal.clip import Clip
from .cycles import Corpus, Cycle, Problem

if TYPE_CHECKING:
    import torch

FRONT_END = 1  # raise it when decoding, cutting or the filterbank change their numbers
BLOCK = 2**20
DTYPE = np.float16  # log-mel values lie within +-16: a step of at most 0.008, a thousandth of their spread


@dataclass(frozen=True, kw_only=True)
class Features:
    """Log-mel filterbanks of all cycles of a corpus.

    The frames of one cycle lie behind those of the one before, so cycles of different length waste nothing.

    Args:
        fbank: (frames in all, F), float16 and memory-mapped, or float32 in memory (`data.columns`); the frames of
            cycles that failed are zero.
        frames: (N,) frames of each cycle.
        usable: (N,) False where the recording could not be used.
        problems: one a recording that could not be used.
        file: where the array lies; None where it is in memory only.
    """

    fbank: NDArray[np.floating]
    frames: NDArray[np.int64]
    usable: NDArray[np.bool_]
    problems: tuple[Problem, ...]
    file: Path | None

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """(N,) where the frames of each cycle end in `fbank`."""
        return self.frames.cumsum()

    def row(self, row: int) -> NDArray[np.floating]:
        """The filterbank of one cycle, a view. Shape: (T, F)."""
        return self.fbank[self.ends[row] - self.frames[row] : self.ends[row]]

    def read(self, rows: Sequence[int], *, pinned: bool = False) -> "torch.Tensor":
        """A copy of the filterbanks of some cycles, of the type they have here. Shape: (B, T, F).

        Args:
            pinned: in page-locked memory, from which a GPU copies while the CPU goes on.

        Raises:
            ValueError: the cycles are not of one length.
        """
        import torch  # not at the top: a prediction without torch knows this module too

        lengths = set(self.frames[list(rows)].tolist())
        if len(lengths) != 1:
            raise ValueError(
                f"cycles of {sorted(lengths)} frames cannot share a batch; cycles of one length are needed"
            )
        dtype = torch.from_numpy(np.empty(0, self.fbank.dtype)).dtype
        made = torch.empty(len(rows), lengths.pop(), self.fbank.shape[1], dtype=dtype, pin_memory=pinned)
        array = made.numpy()
        for position, row in enumerate(rows):
            array[position] = self.row(row)
        return made


def cache_folder() -> Path:
    """Where features lie: AUSCULT_CACHE, or the user's cache folder."""
    return Path(os.environ.get("AUSCULT_CACHE") or platformdirs.user_cache_path("auscult")) / "features"


def key(corpus: Corpus, clip: Clip) -> str:
    """The fingerprint: settings, every cycle's place, and name, size and time of every audio file."""
    made_by = {"front_end": FRONT_END, "dtype": np.dtype(DTYPE).name, "clip": to_dict(clip)}
    return fingerprint({**made_by, **places(corpus)}, length=20)


def places(corpus: Corpus) -> dict[str, Any]:
    """The audio a corpus points at, JSON-ready: every cycle's place, and name, size and time of every file."""
    files = {stem: _stamp(path) for stem, path in sorted(corpus.audio.items())}
    return {"files": files, "cycles": [[c.recording, c.start_s, c.end_s] for c in corpus.cycles]}


def _stamp(path: Path) -> list[Any]:
    try:
        stat = path.stat()
    except OSError:  # a link to nowhere; reading it says so
        return [path.name, None, None]
    return [path.name, stat.st_size, stat.st_mtime_ns]


def features(corpus: Corpus, clip: Clip, progress: Callable[[int, int], None] | None = None) -> Features:
    """The features of every cycle of `corpus`, from the store if they are there, else made and stored.

    One bad recording is reported in `problems`, its cycles are marked unusable, and the rest goes on.

    Args:
        corpus: cycles whose recordings have audio; see `Corpus.with_audio`.
        progress: called with (recordings done, recordings in all).

    Raises:
        AuscultError: E_DATA when no recording at all could be used, E_DISK when the store cannot be written.
    """
    file = cache_folder() / f"{corpus.name}-{key(corpus, clip)}.npy"
    record = file.with_suffix(".json")
    if not (file.exists() and record.exists()):
        _make(corpus, clip, file, record, progress)
    facts = read_json(record)
    usable = np.ones(len(corpus.cycles), dtype=bool)
    usable[facts["unusable"]] = False
    problems = tuple(Problem(**p) for p in facts["problems"])
    fbank = np.load(file, mmap_mode="r").reshape(-1, clip.n_mels)  # a view: stores of one length have three axes
    return Features(fbank=fbank, frames=frames(corpus, clip), usable=usable, problems=problems, file=file)


def frames(corpus: Corpus, clip: Clip) -> NDArray[np.int64]:
    """Frames of each cycle's filterbank, from the annotated times alone. Shape: (N,)."""
    if not clip.buckets_s:
        return np.full(len(corpus.cycles), clip.frames, np.int64)
    buckets = [clip.bucket(c.start_s, c.end_s) for c in corpus.cycles]
    return np.array([clip.frames_of(samples) for samples in buckets], np.int64)


def _make(
    corpus: Corpus, clip: Clip, file: Path, record: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    ends = frames(corpus, clip).cumsum()
    one_length = (len(ends), clip.frames)  # stores of one length keep three axes: earlier versions share them
    shape = (*((int(ends[-1]),) if clip.buckets_s else one_length), clip.n_mels)
    problems: list[Problem] = []
    unusable: list[int] = []
    recordings = by_recording(corpus)
    sweep(file.parent)  # of stores that a kill left half made, a gigabyte each
    with replacing(file) as temporary, temporary.open("wb") as array:
        write = _reserved(array, shape)
        for done, (stem, rows) in enumerate(recordings):
            cycles = [corpus.cycles[row] for row in rows]
            try:
                made = recording_features(corpus.audio[stem], cycles, clip)
            except AuscultError as error:
                problems.append(Problem(path=str(corpus.audio[stem]), code=error.code, message=error.message))
                unusable.extend(rows)
            else:
                for row, fbank in zip(rows, made, strict=True):
                    write(int(ends[row]) - len(fbank), fbank)
            if progress:
                progress(done + 1, len(recordings))
        if len(unusable) == len(corpus.cycles):
            first = f" The first problem: {problems[0].message}" if problems else ""
            raise AuscultError("E_DATA", f"no recording of {corpus.name} can be used.{first}")
    write_json(record, {"unusable": unusable, "problems": [asdict(p) for p in problems], "clip": to_dict(clip)})


def by_recording(corpus: Corpus) -> list[tuple[str, list[int]]]:
    """Every recording that has cycles, with their rows."""
    rows = sorted(range(len(corpus.cycles)), key=lambda row: corpus.cycles[row].recording)
    return [(stem, list(group)) for stem, group in groupby(rows, key=lambda row: corpus.cycles[row].recording)]


def _reserved(file: BinaryIO, shape: tuple[int, ...]) -> Callable[[int, NDArray[np.float16]], None]:
    """Writes an array of zeros as .npy; gives what then writes rows of filterbanks (T, F) from a frame on.

    Every page is written at once: a full disk is an error now. Through a memory map it would end the process (SIGBUS).
    """
    head = {"descr": np.lib.format.dtype_to_descr(np.dtype(DTYPE)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)
    start, left = file.tell(), math.prod(shape) * np.dtype(DTYPE).itemsize
    while left:
        left -= file.write(bytes(min(left, BLOCK)))

    def write(frame: int, fbank: NDArray[np.float16]) -> None:
        file.seek(start + frame * fbank.shape[1] * fbank.itemsize)
        file.write(np.ascontiguousarray(fbank).data)

    return write


def recording_features(path: Path, cycles: list[Cycle], clip: Clip) -> list[NDArray[np.float16]]:
    """Decodes one recording and gives the filterbank of each of its cycles. Shape: (T, F) each."""
    waveform = clip.fade_recording(io.load(path, clip.sample_rate).waveform)
    times = [(c.start_s, c.end_s) for c in cycles]
    found = dict[int, NDArray[np.float16]]()
    for positions in clip.by_bucket(times):
        found |= zip(positions, cycle_features(waveform, [times[i] for i in positions], clip), strict=True)
    return [found[i] for i in range(len(cycles))]


def cycle_features(faded: NDArray[np.float32], times: Sequence[tuple[float, float]], clip: Clip) -> NDArray[np.float16]:
    """The filterbanks of cycles of one bucket, as stored. Shape: (N, T, F).

    Args:
        faded: the recording, after `Clip.fade_recording`.
        times: (start_s, end_s) of each cycle.
    """
    import torch

    cut = np.stack([clip.cut(faded, *interval) for interval in times])
    return clip.fbank(torch.from_numpy(cut)).numpy().astype(DTYPE)
