"""A recording as the page needs it: one 16-bit mono WAV at the model's rate, and its outline for zooming out.

The browser never meets the user's codec, and the server reads any stretch of it without decoding again.
"""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32, Int16

from ..errors import AuscultError
from ..signal import io
from .room import SPARE

LONGEST_S = 12 * 3600.0  # a few MB of FLAC can hold days of silence
FILE, OUTLINE = "listen.wav", "outline.npy"
STEP = 64  # samples that one pair of the outline stands for
FULL = 32767


def make(path: Path, folder: Path, sample_rate: int) -> float:
    """Decodes `path` once, into `folder`, block by block; gives its length in seconds.

    A float file may pass full scale; it is written again, so much quieter that nothing is clipped.

    Args:
        sample_rate: in Hz.

    Raises:
        AuscultError: as `io.blocks`; E_SETTING for more than twelve hours; E_DISK.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        peak = _write(path, folder, sample_rate, FULL)
        if peak > 1:
            _write(path, folder, sample_rate, FULL / peak)
    except (OSError, soundfile.LibsndfileError) as error:  # of writing; those of reading are AuscultErrors
        raise AuscultError(
            "E_DISK", "the decoded sound cannot be written to the temporary folder; free space."
        ) from error
    return Sound(folder).duration_s


def _write(path: Path, folder: Path, sample_rate: int, gain: float) -> float:
    """The sound and its outline, samples times `gain`; gives the peak before that."""
    outline, rest, peak = [], np.zeros(0, np.int16), 0.0
    with soundfile.SoundFile(folder / FILE, "w", sample_rate, 1, "PCM_16", format="WAV") as out:
        for block in _resampled(path, sample_rate):
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            rest = np.concatenate([rest, np.round(block * gain).clip(-FULL, FULL).astype(np.int16)])
            whole = len(rest) // STEP * STEP
            out.write(rest[:whole])
            if out.frames > LONGEST_S * sample_rate:
                raise AuscultError("E_SETTING", f"it is longer than {LONGEST_S / 3600:g} h; cut it into shorter files.")
            if shutil.disk_usage(folder).free < SPARE:
                raise OSError(errno.ENOSPC, "no space to spare")
            outline.append(extremes(rest[:whole]))
            rest = rest[whole:]
        out.write(rest)
        outline.append(extremes(rest))
    np.save(folder / OUTLINE, np.concatenate(outline))
    return peak


def _resampled(path: Path, sample_rate: int) -> Iterator[Float32[np.ndarray, "S"]]:
    told, resampler = io.Told(), None
    for block in io.blocks(path, told):
        if resampler is None and told.native_rate != sample_rate:
            resampler = io.resample_stream(told.native_rate, sample_rate)
        yield block if resampler is None else resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def extremes(block: Int16[np.ndarray, "S"], step: int = STEP) -> Int16[np.ndarray, "N 2"]:
    """Lowest and highest of every `step` samples, of the rest at the end too.

    >>> extremes(np.array([1, -2, 3, 4], np.int16), 3).tolist()
    [[-2, 3], [4, 4]]
    """
    starts = np.arange(0, len(block), step)
    if not len(block):
        return np.zeros((0, 2), np.int16)
    return np.stack([np.minimum.reduceat(block, starts), np.maximum.reduceat(block, starts)], axis=1)


class Sound:
    """A decoded recording on disk; memory is that of the stretch that is read.

    Args:
        folder: that `make` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE
        with soundfile.SoundFile(self.file) as sound:
            self.samples, self.rate = sound.frames, sound.samplerate

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / self.rate

    def span(self, start_s: float, end_s: float | None) -> tuple[int, int]:
        """First sample and the one behind the last of a stretch, within the recording; never empty."""
        first = min(max(0, round(start_s * self.rate)), self.samples - 1)
        last = self.samples if end_s is None else min(max(0, round(end_s * self.rate)), self.samples)
        return first, max(first + 1, last)

    def read(self, first: int, last: int) -> Float32[np.ndarray, "S"]:
        """Samples of a stretch, full scale 1."""
        with soundfile.SoundFile(self.file) as sound:
            sound.seek(first)
            return sound.read(last - first, dtype="float32")

    def pieces(self, starts: np.ndarray, samples: int) -> Float32[np.ndarray, "N samples"]:
        """Many short stretches of one length."""
        with soundfile.SoundFile(self.file) as sound:
            out = np.empty((len(starts), samples), np.float32)
            for place, start in zip(out, starts.tolist(), strict=True):
                sound.seek(start)
                sound.read(out=place)
            return out

    def outline(self) -> Int16[np.ndarray, "N 2"]:
        """Lowest and highest of every `STEP` samples, memory-mapped."""
        return np.load(self.folder / OUTLINE, mmap_mode="r")
