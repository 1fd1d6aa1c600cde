"""From an audio file to float32 mono samples, whatever the file holds.

libsndfile decodes; this file distrusts it. A pipe would block it for ever, a header may claim 2^36 frames or a rate of
1 Hz, a cut file comes back short without a word, NaN passes through. So: look before opening, read in blocks, measure
every block, and say what was found in `Recording.notes` or in an `AuscultError`.
"""

import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from ..errors import AuscultError, Code
from .header import Header, read_header

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64")
"""What a folder scan picks up. A single file is decoded by its content, whatever its name."""

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 384_000
MIN_LENGTH_S = 0.1
MAX_SAMPLES = 2**28  # 1 GiB of float32: 4.6 h at 16 kHz, 1.7 h at 44.1 kHz
MAX_CHANNELS = 32
MAX_PEAK = 1e4  # float files may pass full scale (1.0) a little; 1e4 is no sound
BLOCK_SAMPLES = 2**16

SILENT_SPAN = 2.0**-14  # two steps of 16 bit: a constant offset is silence too
CLIPPED_LEVEL, CLIPPED_SHARE = 0.999, 1e-3  # a normalised file touches full scale once, a clipped one stays there

UNKNOWN_FRAMES = 2**63 - 1  # libsndfile, for a FLAC stream without a length


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """A decoded recording.

    Args:
        waveform: float32 mono samples, full scale 1.
        sample_rate: rate of `waveform` in Hz.
        native_rate: rate of the file in Hz; content above half of it does not exist.
        notes: what a listener should know: ``"truncated"``, ``"length unknown in header"``, ``"stereo mixed to mono"``
            (or ``"8 channels mixed to mono"``), ``"silent"``, ``"clipped"``.
    """

    waveform: Float32[np.ndarray, "S"]
    sample_rate: int
    native_rate: int
    notes: tuple[str, ...] = ()

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return len(self.waveform) / self.sample_rate


def decode(path: str | Path) -> Recording:
    """The recording at its own sample rate; channels are averaged.

    Raises:
        AuscultError: E_NOT_A_FILE (missing, directory, pipe, device, unreadable), E_FORMAT (no decoder knows it, over
            32 channels, over 2^28 samples), E_EMPTY, E_TOO_SHORT (under 0.1 s), E_RATE (outside 1 kHz to 384 kHz),
            E_CORRUPT (decoding breaks midway), E_NONFINITE (NaN, Inf, or a peak above 1e4).
    """
    return _read(path, None)


def load(path: str | Path, sample_rate: int = 16000) -> Recording:
    """The recording at `sample_rate` Hz, resampled block by block with soxr's "HQ" filter.

    A long file costs the memory of its result: two hours at 44.1 kHz are 460 MB at 16 kHz.

    Raises:
        AuscultError: as `decode`; E_SETTING for a `sample_rate` outside 1 kHz to 384 kHz.
    """
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise AuscultError(
            "E_SETTING", f"sample_rate={sample_rate} Hz; {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} are allowed."
        )
    return _read(path, sample_rate)


def _refusal(path: str | Path, code: Code, text: str) -> AuscultError:
    # repr: a name may hold line breaks, or bytes that are no UTF-8 and could not be printed
    return AuscultError(code, f"{os.fspath(path)!r} {text}")


@dataclass(kw_only=True)
class Told:
    """What `blocks` tells of a recording: the rate before the first block, the rest after the last.

    Args:
        native_rate: of the file, Hz.
        frames: samples of a channel.
        notes: see `Recording`.
    """

    native_rate: int = 0
    frames: int = 0
    notes: tuple[str, ...] = ()


def blocks(path: str | Path, told: Told) -> Generator[Float32[np.ndarray, "S"], None, None]:
    """The recording at its own rate in blocks of mono samples, whatever its length; `told` is filled in.

    Raises:
        AuscultError: as `decode`; a length is no reason. Those of the file's end come after its blocks.
    """
    with _open_regular(path) as file:
        try:
            header = read_header(file)
        except OSError as error:
            raise _refusal(path, "E_CORRUPT", f"could not be read: {error.strerror}.") from error
        source = _Source(file)
        with _open_sound(path, source, header) as sound:
            told.native_rate, promised, levels = sound.samplerate, sound.frames, _Levels()
            yield from _mono_blocks(path, sound, levels)
            _check_source(path, source)
            _check_length(path, levels.frames, sound.samplerate)
            streamed = header.streamed or promised == UNKNOWN_FRAMES
            counted = not streamed and (sound.format != "MP3" or header.counted)
            truncated = header.missing_bytes > 0 or (counted and levels.frames < promised)
            told.frames, told.notes = levels.frames, _notes(levels, sound.channels, truncated, streamed)


def _read(path: str | Path, sample_rate: int | None) -> Recording:
    """All blocks in one."""
    told, kept = Told(), bytearray()
    resampler = None
    for block in blocks(path, told):
        rate = sample_rate or told.native_rate
        if resampler is None and rate != told.native_rate:
            resampler = resample_stream(told.native_rate, rate)
        kept += (block if resampler is None else resampler.resample_chunk(block)).tobytes()
        if len(kept) > 4 * MAX_SAMPLES:
            limit = f"over {MAX_SAMPLES / rate / 3600:.1f} h at {rate:,} Hz"
            raise _refusal(path, "E_FORMAT", f"is too long ({limit}); cut it into shorter files.")
    if resampler is not None:
        kept += resampler.resample_chunk(np.zeros(0, np.float32), last=True).tobytes()
    rate = sample_rate or told.native_rate
    waveform = np.frombuffer(kept, np.float32)
    return Recording(waveform=waveform, sample_rate=rate, native_rate=told.native_rate, notes=told.notes)


def resample_stream(native: int, rate: int) -> soxr.ResampleStream:
    """soxr's "HQ" filter for mono samples that come block by block."""
    return soxr.ResampleStream(native, rate, 1, dtype="float32", quality="HQ")


def _open_regular(path: str | Path) -> BinaryIO:
    """The open file. Looks before opening: opening a pipe blocks until somebody writes."""
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "directory" if stat.S_ISDIR(mode) else "pipe, socket or device"
            raise _refusal(path, "E_NOT_A_FILE", f"is a {kind}; give an audio file.")
        return Path(path).open("rb")
    except OSError as error:
        raise _refusal(path, "E_NOT_A_FILE", f"cannot be opened: {error.strerror}. Check the path.") from error
    except ValueError as error:  # a NUL byte in the name
        raise _refusal(path, "E_NOT_A_FILE", f"cannot be a path: {error}.") from error


class _Source:
    """The file as libsndfile's callbacks see it. They cannot raise through C, so an error is kept and raised later."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # a place before the file; libsndfile sees that `tell` did not move
            return -1

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        try:
            return self._file.readinto(buffer)  # type: ignore[attr-defined]
        except OSError as error:
            self.error = error
            return 0

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class _Sound(soundfile.SoundFile):
    """A SoundFile read once from front to back.

    soundfile seeks after every block of a seekable file; that resets the MP3 decoder (other samples than in one read)
    and fails in a FLAC stream without a length.
    """

    def seekable(self) -> bool:
        return False


def _open_sound(path: str | Path, source: _Source, header: Header) -> _Sound:
    if source.seek(0, os.SEEK_END) == 0:
        raise _refusal(path, "E_EMPTY", "has 0 bytes.")
    source.seek(0)
    try:
        sound = _Sound(source)
    except soundfile.LibsndfileError as error:
        _check_source(path, source)
        if header.rate is not None:
            _check_rate(path, header.rate)
        reason = error.error_string.strip(" .")
        raise _refusal(
            path, "E_FORMAT", f"is no audio file that can be decoded ({reason}). Use WAV or FLAC."
        ) from error
    _check_rate(path, sound.samplerate)
    if sound.channels > MAX_CHANNELS:
        raise _refusal(path, "E_FORMAT", f"has {sound.channels} channels; at most {MAX_CHANNELS} are allowed.")
    return sound


def _check_source(path: str | Path, source: _Source) -> None:
    if source.error is not None:
        raise _refusal(path, "E_CORRUPT", f"could not be read to its end: {source.error.strerror}.") from source.error


def _check_rate(path: str | Path, rate: int) -> None:
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        allowed = f"{MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} Hz are allowed"
        raise _refusal(path, "E_RATE", f"has a sample rate of {rate:,} Hz; {allowed}. Check the header.")


@dataclass
class _Levels:
    """What is measured while the blocks go by."""

    frames: int = 0
    low: float = np.inf
    high: float = -np.inf
    clipped: int = 0


def _mono_blocks(path: str | Path, sound: _Sound, levels: _Levels) -> Iterator[np.ndarray]:
    """Mono blocks of the file, each one checked. Memory is bounded by the block, never by what the header claims."""
    buffer = np.empty((max(1, BLOCK_SAMPLES // sound.channels), sound.channels), np.float32)
    while True:
        try:
            block = sound.read(out=buffer)
        except soundfile.LibsndfileError as error:
            where = f"after {levels.frames / sound.samplerate:.2f} s ({error.error_string.strip(' .')})"
            raise _refusal(path, "E_CORRUPT", f"breaks {where}; copy or export it again.") from error
        if len(block) == 0:
            return
        level = np.abs(block)
        peak = float(level.max())
        if not peak <= MAX_PEAK:  # NaN compares false
            text = f"holds a sample of {peak}; finite ones up to {MAX_PEAK:g} are allowed (full scale is 1)."
            raise _refusal(path, "E_NONFINITE", text)
        mono = block.mean(axis=1)
        levels.frames += len(mono)
        levels.low, levels.high = min(levels.low, float(mono.min())), max(levels.high, float(mono.max()))
        levels.clipped += int(np.count_nonzero(level >= CLIPPED_LEVEL))
        yield mono


def _check_length(path: str | Path, frames: int, rate: int) -> None:
    if frames == 0:
        raise _refusal(path, "E_EMPTY", "holds no samples.")
    if frames < MIN_LENGTH_S * rate:
        raise _refusal(path, "E_TOO_SHORT", f"lasts {frames / rate:.4f} s; {MIN_LENGTH_S} s are needed.")


def _notes(levels: _Levels, channels: int, truncated: bool, streamed: bool) -> tuple[str, ...]:
    mixed = "stereo mixed to mono" if channels == 2 else f"{channels} channels mixed to mono"
    found = {
        "truncated": truncated,
        "length unknown in header": streamed,
        mixed: channels > 1,
        "silent": levels.high - levels.low < SILENT_SPAN,
        "clipped": levels.clipped > CLIPPED_SHARE * levels.frames * channels,
    }
    return tuple(note for note, present in found.items() if present)
