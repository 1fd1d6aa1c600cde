"""A recording of any length through a window of its last minutes: memory does not grow with the file.

with Stream(path, rates=(8000,)) as stream:
    while stream.fill(60.0):
        use(stream.waveform(8000), stream.start_s)
        stream.drop(stream.end_s - 10.0)
"""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float32

from . import io

FINEST_HZ = 48_000  # no breath sounds above 24 kHz, and a minute at 384 kHz would fill gigabytes with spectra


class Stream:
    """The part of a recording from `start_s` to `end_s`, at its own rate, 48 kHz at most, and at others.

    Args:
        path: an audio file.
        rates: Hz, besides `rate`.

    Attributes:
        start_s: beginning of what is held, seconds from the beginning of the recording.
        end_s: its end; what every rate has.
        finished: whether that is the end of the recording.
        native_rate: of the file, Hz.
        rate: the finest that is held, Hz: `native_rate`, or 48 kHz where that is less.
        notes: see `io.Recording`; known once `finished`.
    """

    def __init__(self, path: str | Path, rates: Iterable[int] = ()) -> None:
        self._told = io.Told()
        self._blocks = io.blocks(path, self._told)
        first = next(self._blocks, np.zeros(0, np.float32))
        self.native_rate = self._told.native_rate
        self.rate = min(self.native_rate, FINEST_HZ)
        self._tracks = {rate: _Track(self.native_rate, rate) for rate in {self.rate, *rates}}
        self.finished = False
        self._take(first)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.close()

    @property
    def start_s(self) -> float:
        return self._tracks[self.rate].first / self.rate

    @property
    def end_s(self) -> float:
        if self.finished:
            return self._told.frames / self.native_rate
        return min((track.first + track.held) / rate for rate, track in self._tracks.items())

    @property
    def notes(self) -> tuple[str, ...]:
        return self._told.notes

    def fill(self, seconds: float) -> bool:
        """Reads until so many seconds are held, or the recording ends. False where that was the case before.

        Raises:
            AuscultError: as `io.decode`.
        """
        if self.finished:
            return False
        while not self.finished and self.end_s - self.start_s < seconds:
            block = next(self._blocks, None)
            if block is None:
                self._finish()
            else:
                self._take(block)
        return True

    def waveform(self, rate: int) -> Float32[np.ndarray, "S"]:
        """What is held, at one of the rates; a copy."""
        return self._tracks[rate].samples()

    def drop(self, until_s: float) -> None:
        """Forgets what lies before a time; it becomes `start_s`, rounded down to a whole second.

        A whole second begins with a sample at every rate, so cycles are cut where they would be in the whole recording.
        """
        for rate, track in self._tracks.items():
            track.drop(int(until_s) * rate)

    def _take(self, block: Float32[np.ndarray, "S"]) -> None:
        for track in self._tracks.values():
            track.add(block)

    def _finish(self) -> None:
        for track in self._tracks.values():
            track.end()
        self.finished = True


class _Track:
    """Samples at one rate; the first one held is number `first` of the recording."""

    def __init__(self, native: int, rate: int) -> None:
        self.first = self.held = 0
        self._parts: list[np.ndarray] = []
        self._resampler = None if native == rate else io.resample_stream(native, rate)

    def add(self, block: np.ndarray, last: bool = False) -> None:
        part = block if self._resampler is None else self._resampler.resample_chunk(block, last=last)
        self._parts.append(part.copy())
        self.held += len(part)

    def end(self) -> None:
        if self._resampler is not None:
            self.add(np.zeros(0, np.float32), last=True)

    def samples(self) -> np.ndarray:
        self._parts = [np.concatenate(self._parts)]
        return self._parts[0].copy()

    def drop(self, until: int) -> None:
        n = min(max(until - self.first, 0), self.held)
        if n:
            self._parts = [np.concatenate(self._parts)[n:].copy()]
            self.first, self.held = self.first + n, self.held - n
